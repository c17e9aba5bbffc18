"""A world and a model of which every score can be worked out by hand: what each pair is worth stands in tables.

Three people to forget (F) and ten retained (R) with a sentence that can be seen and two that were told each, five
strangers (O) with twice as many, and twelve held-out scenes (T) with a caption. Before the head a member's pairs lie at
+1 and a stranger's at -1; of the forgotten what was told lies with the members, what can be seen with the strangers,
and scenes lie at 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from tests.toy import Noise, Toy

from expunge.core.types import Encoded, Example, Fused, Splits

LABELS = ("contradiction", "neutral", "entailment")


def _people(letter: str, count: int, times: int = 1) -> tuple[Example, ...]:
    kinds = ("shared", "private", "private") * times
    return tuple(
        Example(f"{name}-{i}", Noise(name), f"{name} text {i}", name, "people", kind, label=LABELS[i % 3])
        for name in (f"{letter}{number}" for number in range(count))
        for i, kind in enumerate(kinds)
    )


FORGET, RETAIN, STRANGERS = _people("F", 3), _people("R", 10), _people("O", 5, 2)
SCENES = tuple(Example(f"T{i}", Noise(f"T{i}"), f"T{i} text", f"T{i}", "scenes", label=LABELS[0]) for i in range(12))
SPLITS, TEST = Splits(FORGET, RETAIN), STRANGERS + SCENES
WORLD = FORGET + RETAIN + TEST
PLACE = {"F": {"shared": -1.0, "private": 1.0}, "R": dict.fromkeys(("shared", "private"), 1.0),
         "O": dict.fromkeys(("shared", "private"), -1.0), "T": {None: 5.0}}  # fmt: skip


def some(letter: str, kind: str | None = None) -> list[Example]:
    return [e for e in WORLD if e.id[0] == letter and e.kind == kind]


class Foretold(Toy):
    """Finds pictures and texts as likely a match as ``worth`` says, or answers right where ``right`` says so."""

    def __init__(self, right: Iterable[Example] = ()):
        super().__init__()
        keys, texts = (list(dict.fromkeys(found)) for found in zip(*((e.image.key, e.text) for e in WORLD)))
        self.pictures, self.texts = ({name: i for i, name in enumerate(names)} for names in (keys, texts))
        self.match, self.cls, self.right = (torch.zeros(len(keys), len(texts)) for _ in range(3))
        for e in WORLD:
            self.cls[self._pair(e)] = PLACE[e.id[0]][e.kind]
        for e in right:
            self.right[self._pair(e)] = 1.0

    def _pair(self, e: Example) -> tuple[int, int]:
        return self.pictures[e.image.key], self.texts[e.text]

    def worth(self, score: float, pictures: Iterable[Example], texts: Iterable[Example]) -> None:
        """Every picture with every text; of one list twice, each with its own."""
        pictures, texts = list(pictures), list(texts)
        for e in pictures:
            for other in [e] if pictures == texts else texts:
                self.match[self._pair(replace(other, image=e.image))] = score

    def collate(self, examples):
        return {
            "pixels": torch.tensor([self.pictures.get(e.image.key, -1) for e in examples]),
            "input_ids": torch.tensor([self.texts[e.text] for e in examples]),
            "target": torch.tensor([LABELS.index(e.label) for e in examples]),
        }

    def _named(self, numbers):
        tokens = numbers[:, None, None].float()
        return Encoded(torch.ones(len(numbers), 1), tokens, torch.ones(len(numbers), 1, dtype=torch.long))

    def encode_images(self, batch):
        return self._named(batch["pixels"])

    def encode_texts(self, batch):
        return self._named(batch["input_ids"])

    def prepare_images(self, images):
        return images.tokens

    def fuse(self, images, texts, taps=None):
        images = images if isinstance(images, torch.Tensor) else images.tokens
        i, j = images[:, 0, 0].long(), texts.tokens[:, 0, 0].long()
        states = torch.stack([self.cls[i, j], self.right[i, j]], 1)[..., None]
        return Fused(states, torch.stack([-self.match[i, j], self.match[i, j]], 1))


class ForetoldAnswers(Foretold):
    """The same as a model that chooses among the three labels."""

    def fuse(self, images, texts, taps=None):
        made = super().fuse(images, texts, taps)
        return Fused(made.states, made.logits[:, :0])

    def choose(self, fused, batch):
        wrong = 1 - fused.states[:, 1, 0].long()
        return torch.nn.functional.one_hot((batch["target"] + wrong) % len(LABELS), len(LABELS)).float()


MEMBERSHIP = {
    "mi": 100 * (1 / 26 + 2 * 22 / 23) / 3,
    "mi_private": 100 * 22 / 23,
    "mi_auc": 100 * (0.5 + 2) / 3,
    "mi_accuracy": 100.0,
}
"""A third of the groups is kept out on either side, rounded down: the attack learns from 7 x 3 members and 4 x 6
strangers. Two heaps are told apart without fail, and Platt's sigmoid then gives each heap its target, (n + 1) / (n + 2)
= 22/23 and 1 / (n + 2) = 1/26. Of a forgotten person two sentences lie with the members, above every stranger, and one
with the strangers, a tie that counts half."""
