"""Generation quality: known answers, and that each score can be bad."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from sacrebleu.metrics import BLEU
from tests.toy import Noise, Toy, people

from expunge.core.pictures import HeldPicture
from expunge.core.run import Run
from expunge.core.types import Example
from expunge.data import people as world
from expunge.data.worlds.claims import claims
from expunge.evals.generation import (
    attribute_agreement,
    generation_quality,
    inception_score,
    private_leak,
    self_bleu,
)
from expunge.evals.probes import PictureClassifier, factors, modality_probe
from expunge.generators import mvi
from expunge.generators.quality import measure
from expunge.generators.shapes import PRESETS, Anchors
from expunge.testing import small_albef, small_painter, small_splits, small_writer

FORGET = people("f", 4)


def anchors(texts, examples=FORGET):
    return Anchors([[e.image.open(16)] for e in examples], [[texts(e)] for e in examples])


# ------------------------------------------------------------------------------ Inception Score


def test_no_idea_scores_one_and_certain_even_classes_score_their_number():
    assert inception_score(np.full((20, 5), 0.2)).value == pytest.approx(1)
    certain = inception_score(np.tile(np.eye(5), (8, 1)))
    assert certain.value == pytest.approx(5) and certain.n == 40 and certain.low < 5 <= certain.high
    assert inception_score(np.tile(np.eye(5)[:1], (8, 1))).value == pytest.approx(1)  # sure, and always the same


def test_the_inception_score_is_its_formula_and_counts_groups():
    p = np.random.default_rng(0).dirichlet(np.ones(4), size=30)
    kl = (p * np.log(p / p.mean(0))).sum(1)
    score = inception_score(p)
    assert score.value == pytest.approx(math.exp(kl.mean())) and 1 < score.low < score.value <= score.high < 4
    assert score == inception_score(p) and score != inception_score(p, seed=1)
    assert math.isnan(inception_score(p, ["one"] * 30).low)
    three = inception_score(p, [f"g{i % 3}" for i in range(30)])
    assert three.value == pytest.approx(score.value) and (three.low, three.high) != (score.low, score.high)


@pytest.mark.parametrize("wrong", [np.ones((2, 3)), np.ones(3), np.empty((0, 3)), np.array([[1.5, -0.5]])])
def test_what_is_no_table_of_probabilities_is_refused(wrong):
    with pytest.raises(ValueError, match="not class probabilities"):
        inception_score(wrong)


# ------------------------------------------------------------------------------------ Self-BLEU


def test_same_texts_score_a_hundred_and_unlike_ones_nothing():
    same = self_bleu(["a man in a red hoodie"] * 6)
    assert same.value == pytest.approx(100) and same.n == 6 and same.better == "lower"
    assert self_bleu(["Two words.", "two words"]).value == pytest.approx(100)  # fewer than four, cleaned alike
    assert self_bleu(["", ""]).value == pytest.approx(100)  # saying nothing twice is no variety
    unlike = self_bleu([" ".join(f"w{i}-{j}x{i}" for j in range(8)) for i in range(6)])
    assert unlike.value < 30
    assert self_bleu([" ".join(f"w{i}q{j}" for j in range(8)) for i in range(6)]).value == 0


def test_self_bleu_is_sacrebleus_score_against_all_others():
    rng = random.Random(0)
    texts = [
        " ".join(rng.choice("red blue hat man in a of".split()) for _ in range(rng.randint(1, 9))) for _ in "x" * 25
    ]
    judge = BLEU(smooth_method="exp", effective_order=True, tokenize="none")
    one_by_one = [judge.sentence_score(t, texts[:i] + texts[i + 1 :]).score for i, t in enumerate(texts)]
    assert self_bleu(texts).value == pytest.approx(np.mean(one_by_one), abs=1e-6)


def test_self_bleu_draws_a_part_of_many_and_needs_two():
    texts = [f"{i} men and {i % 7} dogs in {i % 3} cars" for i in range(60)]
    some = self_bleu(texts, at_most=20)
    assert some.n == 20 and some == self_bleu(texts, at_most=20) and some != self_bleu(texts, at_most=20, seed=1)
    with pytest.raises(ValueError, match="there are 1"):
        self_bleu(["alone"])
    with pytest.raises(ValueError, match="there are 1"):
        self_bleu(["said", "twice"], None, ["one picture"] * 2)


def test_what_one_pictures_texts_have_in_common_is_no_repetition():
    unlike = [" ".join(f"w{i}q{j}" for j in range(8)) for i in range(4)]
    pictures = [f"p{i}" for i in range(4) for _ in "abc"]
    same_words = self_bleu([unlike[i] for i in range(4) for _ in "abc"], None, pictures)
    assert same_words.value == 0 and same_words.n == 4
    assert self_bleu([unlike[0]] * 12, None, pictures).value == pytest.approx(100)
    # Three texts a picture, a third of which every picture shares: two that meet it in a round say the same.
    mixed = self_bleu([[f"of {i} only {i}x {i}y", f"{i}a {i}b {i}c {i}d", "a man in a hat"][k] for i in range(4)
                       for k in range(3)], None, pictures, rounds=200)  # fmt: skip
    assert mixed.value == pytest.approx(100 * (1 / 3) * (1 - (2 / 3) ** 3), abs=8)


def test_made_and_real_texts_have_as_many_to_be_compared_with():
    """Four R_2 of each sentence are not four times the references, and a picture's own sentences are none of them."""
    four = Anchors([[] for _ in FORGET], [[e.text] * 4 for e in FORGET])
    found = generation_quality(four, FORGET)
    assert found["self_bleu"].n == found["self_bleu_real"].n == 4
    own = [f"{e.image.key} {e.image.key}x {e.image.key}y {e.image.key}z" for e in FORGET]
    apart = generation_quality(Anchors([[] for _ in FORGET], [[t] * 4 for t in own]), FORGET)
    assert apart["self_bleu"].value == 0 and apart["self_bleu_real"].value > 20


# --------------------------------------------------------------------------- leaks and agreement


def test_leaks_have_an_interval_and_agree_with_the_run_record():
    copied, silent = anchors(lambda e: e.text), anchors(lambda e: "a green wall")
    found = private_leak(copied, FORGET)
    assert found["private_leak"].value == pytest.approx(100) and found["private_leak"].n == 8
    assert found["private_leak_chance"].value == pytest.approx(100 * measure(copied, FORGET)["private_leak_chance"])
    assert 0 < found["private_leak_chance"].value < 50
    assert private_leak(silent, FORGET)["private_leak"].value == 0
    assert private_leak(silent, FORGET)["private_leak"].high > 0  # four people cannot show that it never happens
    shared = [e for e in FORGET if e.kind == "shared"]
    assert private_leak(anchors(lambda e: e.text, shared), shared) == {}


PORTRAITS = tuple(e for e in world.public_holdout() if e.source == "people")[:60]


def test_true_sentences_agree_and_another_persons_do_so_by_chance():
    true = attribute_agreement(anchors(lambda e: e.text, PORTRAITS), PORTRAITS)
    assert true["attribute_agreement"].value == 100 and true["attribute_agreement"].low < 100
    assert true["attribute_agreement"].n == sum(len(claims(e.text, e)) for e in PORTRAITS) > 60
    assert true["attribute_agreement_chance"].value < 50
    other = {e.id: PORTRAITS[i - 30].text for i, e in enumerate(PORTRAITS)}
    false = attribute_agreement(anchors(lambda e: other[e.id], PORTRAITS), PORTRAITS)
    assert false["attribute_agreement"].high < true["attribute_agreement"].low
    silent = attribute_agreement(anchors(lambda e: "hello", PORTRAITS), PORTRAITS)
    assert set(silent) == {"attributes_stated"} and silent["attributes_stated"].value == 0


def test_sentences_of_unknown_worlds_are_not_judged():
    unknown = [replace(e, source="holiday") for e in PORTRAITS]
    assert attribute_agreement(anchors(lambda e: e.text, unknown), unknown) == {}
    hair = attribute_agreement(anchors(lambda e: e.text), FORGET, lambda text, e: {f"hair={text.split()[-2]}"})
    assert hair["attribute_agreement"].n == len(FORGET)


# --------------------------------------------------------------------------- picture classifier


class Flat(Noise):
    """A picture of one colour, which its key names."""

    def open(self, pixels):
        image = super().open(pixels)
        image.paste({"red": (250, 20, 20), "blue": (20, 20, 250)}[self.key.split(":")[0]], (0, 0, pixels, pixels))
        return image


def walls(count, told=lambda i: ("red", "blue")[i % 2]):
    pictures = [Flat(f"{('red', 'blue')[i % 2]}:{i}") for i in range(count)]
    return [Example(f"e{i}", p, "wall", f"g{i}", facts=frozenset({f"wall={told(i)}"})) for i, p in enumerate(pictures)]


def test_a_classifier_reads_what_can_be_seen_and_only_that():
    able = PictureClassifier.train(Toy(), walls(20), ["wall"])
    assert able.accuracy.value == 100 and able.accuracy.n == 20
    p = able.probabilities([e.image for e in walls(10)])
    assert p.shape == (10, 2) and np.allclose(p.sum(1), 1) and inception_score(p).value > 1.8
    rng = random.Random(0)
    made_up = [rng.choice(["red", "blue"]) for _ in range(80)]
    assert PictureClassifier.train(Toy(), walls(80, lambda i: made_up[i]), ["wall"]).accuracy.value < 70
    with pytest.raises(ValueError, match="do not tell apart"):
        PictureClassifier.train(Toy(), walls(20, lambda i: "red"), ["wall"])


def test_classes_are_combinations_of_attributes():
    both = [replace(e, facts=e.facts | {f"big={i % 3}"}) for i, e in enumerate(walls(24))]
    p = PictureClassifier.train(Toy(), both, ["wall", "big"]).probabilities([e.image for e in both])
    assert p.shape == (24, 6) and np.allclose(p.sum(1), 1)
    again = PictureClassifier.train(Toy(), both[::-1], ["wall", "big"]).probabilities([e.image for e in both])
    assert np.array_equal(p, again)


# ----------------------------------------------------------------------------- modality (Table 5)


def test_a_fresh_probe_finds_what_is_there_and_nothing_in_noise():
    rng = np.random.default_rng(0)
    groups = [f"g{i // 3}" for i in range(120)]
    pictures, texts = rng.normal(size=(120, 24)), rng.normal(size=(120, 10))
    told = modality_probe("x", pictures + 3, texts, groups)
    assert told["modality_x"].value > 95 and told["modality_x"].n == 240
    assert 35 < told["modality_x_control"].value < 65
    sides = told["modality_x_pictures"], told["modality_x_texts"]
    assert sum(s.value for s in sides) / 2 == pytest.approx(told["modality_x"].value) and sides[0].n == 120
    same = rng.normal(size=(2, 120, 24))
    assert 35 < modality_probe("x", *same, groups)["modality_x"].value < 65
    assert told == modality_probe("x", pictures + 3, texts, groups)


def test_taking_each_sides_mean_away_hides_any_modality():
    rng = np.random.default_rng(0)
    groups = [f"g{i}" for i in range(100)]
    apart = rng.normal(size=(100, 8)) + 5, rng.normal(size=(100, 8)) - 5
    assert modality_probe("x", *apart, groups)["modality_x"].value == 100
    assert modality_probe("x", *apart, groups, centred=True)["modality_x"].value < 65


def test_a_probe_refuses_what_it_cannot_judge():
    x = np.zeros((4, 3))
    with pytest.raises(ValueError, match="one group only"):
        modality_probe("x", x, x, ["g"] * 4)
    with pytest.raises(ValueError, match="4 pictures and 4 texts of 3 pairs"):
        modality_probe("x", x, x, list("abc"))


# ----------------------------------------------------------------------------------- all of it


@pytest.mark.slow
def test_the_whole_on_real_generator_classes():
    splits = small_splits(2)
    forget = splits.forget
    trained, parts = mvi.train(
        small_painter(), small_writer(), forget, Run(), replace(PRESETS["default"], epochs=1, least_steps=0)
    )
    made = mvi.generate(trained, parts, Run(), steps=1, max_tokens=4, pictures=2)
    u, k = factors(trained, parts)["specific"], factors(trained, parts)["consistent"]
    assert u[0].shape == u[1].shape == (len(forget), 64)
    padded = parts.text_mask.bool()
    first = parts.from_text[0][padded[0]].mean(0)
    assert torch.allclose(torch.from_numpy(k[1][0]).float(), first, atol=1e-5)
    judge = PictureClassifier.train(small_albef(), PORTRAITS)
    scores = generation_quality(made, forget, classifier=judge)
    assert {
        "inception_score", "inception_score_real", "classifier_accuracy", "self_bleu", "self_bleu_real", "private_leak",
        "private_leak_chance", "attributes_stated",
    } <= set(scores)  # fmt: skip
    drawn = [picture for pictures in made.pictures for picture in pictures]
    p = judge.probabilities([HeldPicture(str(i), picture) for i, picture in enumerate(drawn)])
    expected = math.exp((p * np.log(p / p.mean(0))).sum(1).mean())
    assert scores["inception_score"].value == pytest.approx(expected) and scores["inception_score"].n == len(drawn)
    assert len(drawn) == 2 * len(forget) and p.shape[1] > 1
    assert scores == generation_quality(made, forget, classifier=judge)
    with pytest.raises(ValueError, match="anchors for"):
        generation_quality(made, forget[:-1])


def test_without_a_classifier_the_texts_are_still_judged():
    found = generation_quality(anchors(lambda e: e.text), FORGET)
    assert set(found) == {"self_bleu", "self_bleu_real", "private_leak", "private_leak_chance"}
    assert found["self_bleu"] == found["self_bleu_real"]
