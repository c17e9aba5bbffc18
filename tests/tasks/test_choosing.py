"""Accuracy by hand-made cases, and predictions of a real model against the plain loop."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from expunge.core.types import LABELS
from expunge.tasks import entailment, multiple_choice
from expunge.tasks.choosing import Choices, accuracy, choose, rightness
from expunge.testing import small_answers, small_corpus, small_entailment, small_mllm


def made(scores, target, broken=0):
    ids = tuple(f"e{i}" for i in range(len(scores)))
    return Choices(ids, torch.tensor(scores), torch.tensor(target), broken=broken)


def examples(groups):
    first = small_corpus("multiple_choice").train[0]
    return [replace(first, id=f"e{i}", group=group) for i, group in enumerate(groups)]


def test_right_wrong_and_tied():
    inf = math.inf
    choices = made(
        [[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [5.0, 5.0, 1.0], [2.0, 2.0, 2.0], [-inf, -inf, -inf], [1.0, 0.0, -inf]],
        [0, 0, 1, 2, 0, 2],
    )
    assert rightness(choices).tolist() == [1.0, 0.0, 0.5, pytest.approx(1 / 3), 0.0, 0.0]


def test_accuracy_over_groups_with_interval():
    choices = made([[1.0, 0.0]] * 6 + [[0.0, 1.0]] * 2, [0] * 8)
    score = multiple_choice.score(choices, examples("aabbccdd"))
    assert (score.value, score.n, score.better) == (75.0, 8, "higher")
    assert 0 <= score.low < 75 < score.high <= 100  # d is wrong altogether: groups are resampled, not questions
    part = accuracy(choices, examples("aabbccdd")[:4], "oracle")
    assert (part.value, part.n, part.better, part.high) == (100.0, 4, "oracle", 100.0) and part.low < 50
    assert accuracy(choices, examples("aabbccdd")) == accuracy(choices, examples("aabbccdd"))


def test_what_cannot_be_scored():
    with pytest.raises(ValueError, match="right choice"):
        rightness(made([[1.0, 0.0]], [-1]))
    with pytest.raises(ValueError, match="'e1' was not predicted"):
        accuracy(made([[1.0, 0.0]], [0]), examples("ab"))
    with pytest.raises(ValueError, match="no example"):
        choose(small_entailment(), [])


@pytest.mark.parametrize(
    ("build", "task", "predict"),
    [(small_answers, "multiple_choice", multiple_choice.predict), (small_entailment, "entailment", entailment.predict)],
)
def test_predictions_are_those_of_the_plain_loop(build, task, predict):
    model, some = build(), small_corpus(task).train[:20:3]
    found = predict(model, some, batch=3)
    assert found.ids == tuple(e.id for e in some) and found.broken == 0
    with torch.no_grad():
        for i, e in enumerate(some):
            batch = model.collate([e])
            plain = model.choose(model.pair(batch), batch)
            torch.testing.assert_close(found.scores[i], plain[0], atol=1e-5, rtol=1e-5)
            assert found.target[i] == batch["target"][0] >= 0
    torch.testing.assert_close(found.chances.sum(1), torch.ones(len(some)))


def test_shorter_lists_are_never_chosen_from():
    model, some = small_answers(), list(small_corpus("multiple_choice").train[:3])
    some[1] = replace(some[1], choices=(some[1].answer, "something else"))
    found = multiple_choice.predict(model, some)
    assert found.scores[1, 2:].tolist() == [-math.inf, -math.inf]
    assert found.chances[1, :2].sum() == pytest.approx(1.0)


def test_a_model_that_diverged_is_never_right():
    model, some = small_entailment(), small_corpus("entailment").train[:4]
    with torch.no_grad():
        model.module.cls_head[2].bias.fill_(torch.nan)
    found = entailment.predict(model, some)
    assert found.broken == 4 and rightness(found).tolist() == [0.0] * 4


def test_examples_of_another_task_are_refused():
    with pytest.raises(ValueError, match="is no question"):
        multiple_choice.predict(small_answers(), small_corpus("entailment").train[:2])
    with pytest.raises(ValueError, match="none of contradiction, neutral, entailment"):
        entailment.predict(small_entailment(), small_corpus("multiple_choice").train[:2])


@pytest.mark.parametrize(("task", "asking"), [("multiple_choice", multiple_choice), ("entailment", entailment)])
def test_a_model_that_speaks_is_judged_by_what_it_would_say(task, asking):
    model, examples = small_mllm(), small_corpus(task).train[:7]
    choices = asking.predict(model, examples, batch=3)
    with torch.no_grad():
        assert torch.allclose(choices.scores, model.score_choices(examples), atol=1e-4)
    right = [LABELS.index(e.label) if e.label else e.choices.index(e.answer) for e in examples]
    assert choices.target.tolist() == right
    states = choose(model, examples, batch=4, keep_cls=True).cls
    assert states is not None and states.shape == (7, model.traits.feature_width)
