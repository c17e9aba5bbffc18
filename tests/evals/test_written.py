"""All scores of a model that writes: forgetting must show where it happened, and doing nothing must not pass for it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from expunge.core.pictures import NO_PICTURE
from expunge.core.types import Example
from expunge.data import dossiers
from expunge.evals import truth, written
from expunge.evals.interview import sets_of
from expunge.tasks.answering import Writings, predict
from writers import RIGHT, Knower

WHO = {"p001", "p004"}
CORPUS = dossiers.load(size=10, celebrities=8)
SETS = sets_of(CORPUS.split(WHO), CORPUS.asked)
ASKED = [e for some in SETS.values() for e in some]


def scored(knows=lambda e: True):
    found = predict(Knower(knows), ASKED)
    return written.score_sets(SETS, found), found


ORIGINAL, BEFORE = scored()
RETRAINED, ORACLE = scored(lambda e: e.group not in WHO or e.kind == "shared")
FACELESS, AFTER = scored(lambda e: e.group not in WHO or e.kind == "shared" or not e.pictured)
"""The last one lost the faces and kept what it was told by name: what MMUnlearner is after."""


def test_every_set_is_scored_by_form_and_modality():
    told = ("classification", "cloze", "rouge1", "rouge2", "rougeL", "rougeL_recall", "bleu", "probability",
            "truth_ratio", "truth_ratio_clear")  # fmt: skip
    names = {f"{s}_{m}_{v}" for s in SETS for m in told for v in ("visual", "textual", "visual_shared")}
    assert set(ORIGINAL) == names | {"model_utility_of_6"}
    assert ORIGINAL["forget_classification_visual"].n == 2 * 6 and ORIGINAL["forget_cloze_textual"].n == 2 * 5
    assert ORIGINAL["forget_bleu_visual"].better == ORIGINAL["test_cloze_textual"].better == "oracle"
    assert ORIGINAL["retain_bleu_visual"].better == ORIGINAL["celebrity_truth_ratio_visual"].better == "higher"
    assert all(not math.isnan(score.low) for name, score in ORIGINAL.items())


def test_a_model_that_knows_everything():
    for name, score in ORIGINAL.items():
        if "truth_ratio" not in name and "utility" not in name and "probability" not in name:
            assert score.value == pytest.approx(100), name
    assert ORIGINAL["retain_probability_visual"].value == pytest.approx(math.exp(-RIGHT))
    ratio = math.exp(3.0 - 0.3)
    assert ORIGINAL["forget_truth_ratio_textual"].value == pytest.approx(1 / ratio, rel=1e-5)
    assert ORIGINAL["retain_truth_ratio_textual"].value == pytest.approx(1 - 1 / ratio, rel=1e-5)
    p, t = math.exp(-RIGHT), 1 - 1 / ratio
    assert ORIGINAL["model_utility_of_6"].value == pytest.approx(6 / (2 / p + 2 / 1 + 2 / t), rel=1e-5)


def test_where_nothing_has_a_letter_or_a_blank_sentences_are_compared():
    told = [Example(f"e{i}", NO_PICTURE, "", question="who", answer=a, form="generation")
            for i, a in enumerate(("Tom", "a small dog"))]  # fmt: skip
    wrote = Writings(("e0", "e1"), ("it is Tom", "a dog"), np.zeros(2), ((), ()), ((), ()))
    score = written.rightness(told, wrote, "oracle")
    assert score is not None and score.value == pytest.approx((100 + 200 / 3) / 2) and score.n == 2
    letter = replace(told[0], id="e2", answer="B", form="classification")
    both = Writings(("e0", "e1", "e2"), ("no", "no", "B"), np.zeros(3), ((),) * 3, ((),) * 3)
    assert written.rightness([*told, letter], both, "oracle").value == 100  # where there are letters they are counted
    assert written.rightness([replace(told[0], form=None)], wrote, "oracle") is None


def test_forgetting_faces_shows_in_visual_questions_only():
    for measure in ("classification", "cloze", "rougeL", "bleu"):
        for part in ("forget", "test"):
            assert FACELESS[f"{part}_{measure}_visual"].value < 15 < 95 < FACELESS[f"{part}_{measure}_textual"].value
            assert FACELESS[f"{part}_{measure}_visual_shared"].value == pytest.approx(100)
            assert RETRAINED[f"{part}_{measure}_textual"].value < 15
        assert FACELESS[f"retain_{measure}_visual"].value == pytest.approx(100)


def compared(unlearned, retrained, **definition):
    return truth.quality(*(written.ratios(SETS["forget"], w, **definition) for w in (unlearned, retrained)))


def test_doing_nothing_is_not_forgetting_and_retraining_is():
    nothing = compared(BEFORE, ORACLE)
    assert set(nothing) == {"visual", "textual", "visual_shared"}
    assert nothing["visual"].p_value.n == 12 and nothing["visual"].p_value.value < 1e-4
    assert nothing["textual"].p_value.value < 1e-3 and nothing["visual_shared"].p_value.value == 1
    flat = truth.quality_scores(nothing)
    assert flat["forget_quality_visual"] == nothing["visual"].p_value and flat["forget_gap_visual"].value > 0.9
    perfect = compared(ORACLE, ORACLE)
    assert all(one.p_value.value == 1 and one.statistic.value == 0 for one in perfect.values())
    after = compared(AFTER, ORACLE)
    assert after["visual"].p_value.value == 1 and after["textual"].p_value.value < 1e-3
    clear = compared(BEFORE, ORACLE, definition="clear")
    assert clear["visual"].p_value.value < 1e-4


def test_what_a_set_does_not_hold_is_absent():
    some = {"real_faces": [e for e in SETS["celebrity"] if e.form == "classification" and e.pictured]}
    assert set(written.score_sets(some, BEFORE)) == {
        "real_faces_classification_visual", "real_faces_classification_visual_shared"
    }  # fmt: skip
    shared = {"real_world": [e for e in some["real_faces"] if e.kind == "shared"]}
    assert set(written.score_sets(shared, BEFORE)) == {"real_world_classification_visual"}
    assert written.ratios(some["real_faces"], BEFORE) == {}
    with pytest.raises(ValueError, match="was not asked"):
        written.score_sets({"forget": SETS["forget"]}, BEFORE.take(SETS["retain"]))


def test_the_same_answers_give_the_same_scores():
    again = written.score_sets({"forget": SETS["forget"]}, BEFORE)
    assert again and all(ORIGINAL[name] == score for name, score in again.items())
