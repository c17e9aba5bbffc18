"""The quick score that methods search by: it knows who knows and who guesses."""

from dataclasses import replace

import pytest
import torch

from expunge.core.types import Fused
from expunge.train.measure import share_right
from toy import Toy, ToyAnswers, labelled, people, scene, scenes


class Knows(Toy):
    """Matches by the number in the names of picture and owner; ``known`` owners only."""

    def __init__(self, known):
        super().__init__()
        self.known = set(known)

    def collate(self, examples):
        batch = super().collate(examples)
        batch["pixels"][:, 0, 0] = torch.tensor([float(int(e.image.key[1:])) for e in examples])
        batch["input_ids"][:, 0] = torch.tensor([int(e.group[1:]) for e in examples])
        return batch

    def encode_images(self, batch):
        who = batch["pixels"][:, 0, :1]
        return super().encode_images(batch)._replace(tokens=who[:, None])

    def encode_texts(self, batch):
        encoded = super().encode_texts(batch)
        return encoded._replace(tokens=batch["input_ids"][:, :, None].float())

    def fuse(self, images, texts, taps=None):
        same = images.tokens[:, 0, 0] == texts.tokens[:, 0, 0]
        known = torch.tensor([int(x) in self.known for x in images.tokens[:, 0, 0]])
        return Fused(texts.tokens, torch.stack([torch.zeros(len(same)), (same & known).float()], 1))


def test_who_knows_is_right_and_who_does_not_is_not():
    asked = scenes("s", 6)
    assert share_right(Knows(range(6)), asked) == 1.0
    assert share_right(Knows([0, 1, 2]), asked) == pytest.approx(0.5)
    assert share_right(Knows([]), asked) == 0.0
    assert share_right(Knows(range(6)), ()) == 0.0


def test_one_owner_alone_is_right_above_even_odds():
    assert share_right(Knows([0]), tuple(scene("s0"))) == 1.0
    assert share_right(Knows([]), tuple(scene("s0"))) == 0.0


def test_a_text_that_is_true_of_the_picture_is_no_rival():
    """Two people of the same looks share a sentence: who knows nothing but looks is right about it."""

    class Reads(Knows):
        def fuse(self, images, texts, taps=None):
            return Fused(texts.tokens, torch.stack([torch.zeros(len(texts.mask)), texts.mask.sum(1).float()], 1))

    one, other = scene("s0"), scene("s1")
    long = replace(one[0], text="a much longer text that always scores more than the others do", group="s2")
    short, true = one[0], frozenset({"ground"})
    assert share_right(Reads([]), [short], [long, *other]) == 0.0
    assert share_right(Reads([]), [short], [replace(long, meaning=true)]) == 1.0


def test_same_seed_same_share_and_the_model_stays_as_it_was():
    model, asked = Toy(), people("p", 5)
    model.module.train()
    shares = {share_right(model, asked, seed=3) for _ in range(3)}
    assert len(shares) == 1 and model.module.training


def test_choosing_counts_known_targets_only():
    model = ToyAnswers()
    model.module.eval()
    asked = labelled(people("p", 3))
    with torch.no_grad():
        batch = model.collate(asked)
        chosen = model.choose(model.fuse(model.encode_images(batch), model.encode_texts(batch)), batch).argmax(1)
    right = float((chosen == batch["target"]).float().mean())
    assert share_right(model, asked) == pytest.approx(right)
    assert share_right(model, [*asked, *people("q", 2)]) == pytest.approx(right)
