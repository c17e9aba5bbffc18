"""What a model that answers is asked, and how it is scored."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.evals import foretold
from tests.evals.foretold import MEMBERSHIP, ForetoldAnswers, some

from expunge.core.types import Splits
from expunge.evals import assessment
from expunge.evals.answers import examine, set_exam
from expunge.evals.assessment import Assessment
from expunge.evals.sampling import Bounds
from expunge.tasks.choosing import rightness
from expunge.testing import small_answers, small_corpus, small_entailment, small_splits

NAMES = {"r_forget", "r_forget_shared", "r_forget_private", "r_test", "r_retain", "r_retain_shared", "r_retain_private"}
BOTH = [(small_answers, "multiple_choice"), (small_entailment, "entailment")]


@pytest.mark.parametrize(("build", "task"), BOTH)
def test_all_scores_are_there_and_are_what_they_say(build, task):
    splits, test = small_splits(2, task), small_corpus(task).test
    exam = set_exam(splits, test, Bounds(retained_groups=5, test_pictures=3))
    scores, evidence = examine(build(), splits, exam)
    assert set(scores) == NAMES | {"mi", "mi_auc", "mi_private", "mi_accuracy"} and evidence.notes == ()
    right = dict(zip(evidence.choices.ids, rightness(evidence.choices), strict=True))
    for name in NAMES:
        asked = exam.sets[name]
        assert scores[name].n == len(asked)
        assert scores[name].value == pytest.approx(100 * sum(right[e.id] for e in asked) / len(asked))
        assert scores[name].better == ("oracle" if name.startswith("r_forget") else "higher")
    assert exam.sets["r_forget"] == splits.forget
    assert {e.kind for e in exam.sets["r_forget_private"]} == {"private"}
    assert len({e.group for e in exam.sets["r_retain"]}) == 5
    assert {e.source for e in exam.sets["r_retain"]} == {"people"}
    assert not any(e.kind == "private" for e in exam.sets["r_test"])
    assert len({e.image.key for e in exam.sets["r_test"]}) == 6
    again, _ = examine(build(), splits, exam)
    assert again == scores


def test_the_attack_reads_the_state_before_the_head():
    splits, test = small_splits(2, "entailment"), small_corpus("entailment").test
    model, exam = small_entailment(), set_exam(small_splits(2, "entailment"), test)
    scores, evidence = examine(model, splits, exam)
    with torch.no_grad():
        model.module.cls_head[2].weight.normal_()
        batch = model.collate(splits.forget[:5])
        states = model.pair(batch).states[:, 0]
    other, _ = examine(model, splits, exam)
    assert {k: v for k, v in other.items() if k.startswith("mi")} == {
        k: v for k, v in scores.items() if k.startswith("mi")
    }
    rows = evidence.choices.rows(splits.forget[:5])
    torch.testing.assert_close(evidence.choices.cls[rows], states, atol=1e-5, rtol=1e-5)


def test_an_attack_that_is_refused_ends_nothing():
    splits, test = small_splits(2, "entailment"), small_corpus("entailment").test
    exam = set_exam(splits, test)
    few = {e.group for e in exam.members[:1]}
    few = replace(exam, members=tuple(e for e in exam.members if e.group in few))
    scores, evidence = examine(small_entailment(), splits, few)
    assert set(scores) == NAMES and evidence.membership is None
    assert "Membership was not measured: membership needs at least 3 groups" in evidence.notes[0]


def test_what_cannot_be_measured_is_absent_and_said():
    splits = small_splits(1, "multiple_choice")
    untold = tuple(replace(e, kind=None) for e in splits.forget)
    alone = Splits(untold, ())
    scores, evidence = examine(small_answers(), alone, set_exam(alone, ()))
    assert set(scores) == {"r_forget"} and len(evidence.notes) == 3
    with pytest.raises(ValueError, match="forget set is empty"):
        examine(small_answers(), Splits((), ()), set_exam(alone, ()))


def test_the_assessment_chooses_by_the_task():
    splits, corpus = small_splits(2, "multiple_choice"), small_corpus("multiple_choice")
    assessment = Assessment(splits, corpus.test, 0, task="multiple_choice")
    from expunge.core.run import Run

    for stage in ("before", "after"):
        assessment.add(stage, small_answers(), Run(), look=True)
    assert assessment.scores["before"] == assessment.scores["after"]
    shown = assessment.shown()
    assert shown["people"] == [] and len(shown["answers"]) == 2 and shown["map"]
    asked = shown["answers"][0]["asked"]
    assert len(asked) == 11
    for e, row in zip(splits.forget, asked, strict=False):
        given = row["answers"]["before"]
        assert row["right"] == e.answer and given["answer"] in e.choices
        assert given["right"] == (given["answer"] == e.answer) and 25 <= given["chance"] <= 100


@pytest.mark.parametrize("task", ["retrieval", "multiple_choice"])
def test_what_is_shown_of_two_stages_is_before_and_then_after(monkeypatch, task):
    monkeypatch.setattr(assessment.joining, "feature_map", lambda stages: stages)
    monkeypatch.setattr(assessment.joining, "word_shift", lambda *stages: stages)
    made = Assessment(foretold.SPLITS, foretold.TEST, task=task)
    made.looks = {
        stage: {what: f"{what} {stage}" for what in ("words", "matching", "features", "gradcam")}
        for stage in ("oracle", "after", "before")
    }
    shown, both = made.shown(), ("before", "after")
    assert shown["map"] == {stage: f"features {stage}" for stage in both}
    if task == "retrieval":
        assert shown["words"] == tuple(f"words {stage}" for stage in both)
        assert all(shown[what] == {stage: f"{what} {stage}" for stage in both} for what in ("matching", "gradcam"))


def test_every_score_of_a_model_whose_answers_are_known():
    right = some("F", "shared")[:1] + some("F", "private")[:5] + some("R", "shared")[:3] + some("R", "private")[:11]
    model = ForetoldAnswers(right + some("O", "private") + some("T")[:3])
    scores, evidence = examine(model, foretold.SPLITS, set_exam(foretold.SPLITS, foretold.TEST))
    known = {
        "r_forget": 6 / 9, "r_forget_shared": 1 / 3, "r_forget_private": 5 / 6, "r_retain": 14 / 30,
        "r_retain_shared": 3 / 10, "r_retain_private": 11 / 20, "r_test": 3 / 22,
    }  # fmt: skip
    expected = {name: 100 * value for name, value in known.items()} | MEMBERSHIP
    assert {name: score.value for name, score in scores.items()} == pytest.approx(expected, abs=0.05)
    assert evidence.notes == ()
