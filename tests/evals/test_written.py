"""All scores of a model that writes: forgetting must show where it happened, and doing nothing must not pass for it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import betaincinv

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


def question(name: str, answer: str, form="generation", group: str | None = "", kind=None, **more) -> Example:
    group = name if group == "" else group
    return Example(name, NO_PICTURE, "", group, kind=kind, question="?", answer=answer, form=form, **more)


def test_the_nine_parts_of_the_utility_by_hand():
    """Of each part two people with the same numbers, so that an interval is what two can say. In words said, in nats:

    retain: half of the answer; 1/2; truth 0 and falsehood ln 4, hence 1 - 1/4. What can be seen does not count.
    real people: a third of it; 1/2 beside 1/4 is 2/3; 4 over 2, hence 1 - 1/2.
    world: three quarters of it; 1/2 beside 1/8 is 4/5; 8 over 2, hence 1 - 1/4.
    """
    ln = math.log
    asked = {
        "retain": [question(f"a{i}", "red hat", kind="private", paraphrased=("x",), perturbed=("y",)) for i in (0, 1)]
        + [question("seen", "red hat", kind="shared", paraphrased=("x",), perturbed=("y",))],
        "real_faces": [question(f"b{i}", "red hat now", "classification", perturbed=("y",)) for i in (0, 1)],
        "real_world": [question(f"c{i}", "red hat now big", "classification", perturbed=("y",)) for i in (0, 1)],
    }
    rows = [("red", ln(2), [0.0], [ln(4)])] * 2 + [("red hat", 0.1, [0.0], [9.0])]
    rows += [("red", ln(2), [], [ln(4)])] * 2 + [("red hat now", ln(2), [], [ln(8)])] * 2
    texts, right, reworded, wrong = zip(*rows)
    arrays = (tuple(map(np.array, part)) for part in (reworded, wrong))
    wrote = Writings(tuple(e.id for some in asked.values() for e in some), texts, np.array(right), *arrays)
    found = written.utility(asked, wrote)
    parts = [1 / 2, 1 / 2, 3 / 4, 1 / 3, 2 / 3, 1 / 2, 3 / 4, 4 / 5, 3 / 4]
    assert set(found) == {"model_utility"} and found["model_utility"].n == 9
    told = found["model_utility"]
    bounds = [(2 * p, 3 - 2 * p, 2 * p + 1, 2 - 2 * p) for p in parts]  # Clopper and Pearson's for such a share of two
    low, high = zip(*[(betaincinv(a, b, 0.025), betaincinv(c, d, 0.975)) for a, b, c, d in bounds])
    expected = [pytest.approx(9 / sum(1 / one for one in some)) for some in (low, parts, high)]
    assert [told.low, told.value, told.high] == expected


def test_a_sentence_is_right_where_it_is_the_answer_and_intervals_are_over_people():
    told = question("a", "Tom lives here")
    assert written.is_right(told, " Tom lives  here") and not written.is_right(told, "Tom lives here now")
    cloze = [question(f"q{i}", "Tom", "cloze", group) for i, group in enumerate(("one", "one", None, None))]
    wrote = Writings(tuple(e.id for e in cloze), ("Tom", "no", "Tom", "no"), np.zeros(4), ((),) * 4, ((),) * 4)
    one, none = (written.rightness(some, wrote, "oracle") for some in (cloze[:2], cloze[2:]))
    assert one is not None and none is not None and one.value == none.value == 50
    assert math.isnan(one.low) and (none.low, none.high) == (0, 100), "nobody's questions are a unit each"
