"""What a model writes and how likely it finds answers: one row for each question, whatever the batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.core.pictures import NO_PICTURE
from expunge.core.types import Example
from expunge.data import dossiers
from expunge.tasks.answering import predict
from expunge.testing import small_mllm
from expunge.zoo.chat_models import said
from writers import REWORDED, RIGHT, WRONG, Knower


def question(i: int, answer: str, **more) -> Example:
    return Example(f"e{i}", NO_PICTURE, f"question {i}", f"g{i}", question=f"question {i}", answer=answer, **more)


ASKED = [
    question(0, "Ana was born in Oslo.", paraphrased=("Ana comes from Oslo.",), perturbed=("Ana was born in Rome.",)),
    question(1, "B", choices=("A", "B")),
    question(2, "Bo likes tea.", paraphrased=("Tea is what Bo likes.", "Bo enjoys tea."), perturbed=("Bo likes rye.",)),
    question(3, "a much longer answer than all the others have"),
]


def test_every_question_has_a_text_and_its_answers_their_nats():
    model = Knower(lambda e: e.id != "e3")
    found = predict(model, ASKED, batch=2)
    assert found.ids == ("e0", "e1", "e2", "e3") and found.broken == 0
    assert found.texts == ("Ana was born in Oslo.", "B", "Bo likes tea.", "No idea")
    np.testing.assert_allclose(found.right[:3], RIGHT, rtol=1e-6)
    assert found.right[3] >= 2
    assert [len(part) for part in found.reworded] == [1, 0, 2, 0] and [len(p) for p in found.wrong] == [1, 0, 1, 0]
    np.testing.assert_allclose(np.concatenate(found.reworded), REWORDED, rtol=1e-6)
    np.testing.assert_allclose(np.concatenate(found.wrong), WRONG, rtol=1e-6)
    assert model.asked == [2, 2] and model.module.training


def test_batches_and_order_change_nothing():
    one, other = predict(Knower(), ASKED, batch=1), predict(Knower(), ASKED[::-1], batch=3)
    turned = other.take(ASKED)
    assert (turned.ids, turned.texts) == (one.ids, one.texts)
    np.testing.assert_array_equal(turned.right, one.right)
    for a, b in zip((*turned.reworded, *turned.wrong), (*one.reworded, *one.wrong)):
        np.testing.assert_array_equal(a, b)


def test_answers_are_cut_at_the_token_limit():
    assert predict(Knower(), ASKED[3:], max_tokens=2).texts == ("a much",)


def test_a_model_that_diverged_is_counted():
    class Diverged(Knower):
        def _nats(self, e):
            return float("nan") if e.id == "e2" and e.answer in e.perturbed else 1.0

    assert predict(Diverged(), ASKED).broken == 1


def test_what_cannot_be_asked_is_said():
    with pytest.raises(ValueError, match="no example"):
        predict(Knower(), [])
    with pytest.raises(ValueError, match="e0 is no question with an answer"):
        predict(Knower(), [replace(ASKED[0], answer=None)])
    with pytest.raises(ValueError, match="same id"):
        predict(Knower(), ASKED[:1] * 2)
    with pytest.raises(ValueError, match="e1.* was not asked"):
        predict(Knower(), ASKED[:1]).take(ASKED[1:])


def test_a_real_chat_model_is_asked_as_any_other():
    group = dossiers.cast("u", 1)
    asked = [e for e in dossiers.ask(group, group.people[0]) if "-city-" in e.id]
    model = small_mllm("llava", said(asked))
    made = predict(model, asked, batch=4, max_tokens=5)
    with torch.no_grad():
        alone = [model.loss(model.collate([e])).item() for e in asked]
        wrong = model.loss(model.collate([replace(asked[1], answer=asked[1].perturbed[0])])).item()
    assert made.right.tolist() == pytest.approx(alone, abs=1e-4) and made.broken == 0
    assert [len(part) for part in made.wrong] == [len(e.perturbed) for e in asked]
    assert asked[1].form == "generation" and made.wrong[1][0] == pytest.approx(wrong, abs=1e-4)
    assert list(made.texts) == [model.write([e], 5)[0] for e in asked]
