"""One process equals two: the same weights, answers and draws, whoever computed which rows."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.core.scale import Scale
from expunge.methods.training.adversarial import Adversarial
from expunge.testing import small_albef, small_splits
from expunge.train.engine import Engine, portions
from launching import DDP, launched

SCRIPT = Path(__file__).with_name("in_step.py")


@pytest.fixture(scope="module")
def alone():
    told = importlib.util.spec_from_file_location("in_step", SCRIPT)
    module = importlib.util.module_from_spec(told)
    sys.modules["in_step"] = module
    told.loader.exec_module(module)
    return module.everything()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The same, by two processes."""
    place = tmp_path_factory.mktemp("two")
    launched(DDP, SCRIPT, place)
    return torch.load(place / "2.pt")


def farthest(one, other):
    assert one.keys() == other.keys()
    return max(float((one[k].float() - other[k].float()).abs().max()) for k in one)


def test_rows_come_back_in_order(alone, two):
    assert alone["gathered"][0] == [3] and two["gathered"][0] == [2, 1]
    for one, other in zip(alone["gathered"][1:], two["gathered"][1:], strict=True):
        pairs = zip(one, other, strict=True) if isinstance(one, tuple) else [(one, other)]
        for a, b in pairs:
            assert (a is None) == (b is None)
            assert a is None or (a.dtype == b.dtype and torch.equal(a, b))


def test_what_is_dealt_out_in_turn_comes_back_in_order(alone, two):
    assert alone["dealt"] == two["dealt"] == [["1", "2", "3", "4"], ["5"]]


def test_questions_shared_out_are_answered_as_by_one(alone, two):
    one, other = alone["written"], two["written"]
    assert one["ids"] == [f"e{i}" for i in range(1, 8)] and [len(part) for part in one["reworded"]][:3] == [1, 2, 0]
    assert len(set(one["right"])) == 7 and one == other


def test_a_plain_mean_gives_the_same_weights(alone, two):
    assert farthest(alone["plain mean"], two["plain mean"]) < 1e-6
    assert farthest(alone["plain mean"], alone["plain mean in portions"]) < 1e-6
    assert farthest(alone["plain mean"], two["plain mean in portions"]) < 1e-6


@pytest.mark.parametrize("count", [5, 1])
def test_gradients_of_terms_within_the_batch_have_the_same_length(alone, two, count):
    one, other = (found[f"gradients of {count}"] for found in (alone, two))
    assert one.keys() == other.keys() and len(one) > 20
    for name, gradient in one.items():
        assert torch.allclose(gradient, other[name], rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize(
    "method",
    [
        "finetune", "gradient_ascent", "cse", "multidelete", "bad_teacher", "adversarial", "ga_diff", "npo", "salun",
        "mmunlearner", "slug",
    ],
)  # fmt: skip
def test_methods_give_the_same_weights(alone, two, method):
    """AdamW moves a weight whose gradient is next to nothing by its sign: single ones may differ by some of a step."""
    start = small_albef().module.state_dict()
    apart = {k: (alone[method][k] - two[method][k]).abs() for k in alone[method]}
    assert max(float(m.max()) for m in apart.values()) < 1e-4
    assert max(float(m.mean()) for m in apart.values()) < 1e-5
    moved = sum(float((alone[method][k] - start[k]).abs().sum()) for k in start)
    assert sum(float(m.sum()) for m in apart.values()) < 0.02 * moved
    assert two["alike"]


def test_draws_and_terms_are_the_same(alone, two):
    assert len(alone["draws"]) == len(two["draws"]) > 8
    for one, other in zip(alone["draws"], two["draws"]):
        assert one.keys() == other.keys()
        assert all(one[k] == pytest.approx(other[k], abs=2e-4) for k in one if not isinstance(one[k], str))


def test_answers_are_the_same_bit_for_bit(alone, two):
    assert torch.equal(alone["answers"]["itm"], two["answers"]["itm"])
    assert torch.equal(alone["answers"]["itc"], two["answers"]["itc"])
    assert str(alone["answers"]["scores"]) == str(two["answers"]["scores"])


def test_an_error_of_one_rank_reaches_the_other(two):
    first, second = two["failing"].split(" / ")
    assert first.startswith("Elsewhere: process 1 of 2 stopped")
    assert second == "ValueError: a picture that only this process cannot read"


def test_a_loss_that_reads_weights_refuses_to_see_parts_of_them(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "ACCELERATE_USE_FSDP": "true"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ExpungeError, match="Adv holds every weight .* without FSDP"):
        Adversarial().unlearn(small_albef(), small_splits(), Run())


def test_portions_cover_a_step_once():
    parts = portions(list(range(7)), list(range(14)), 3)
    assert [len(f) for f, _ in parts] == [2, 3, 2] and [len(r) for _, r in parts] == [4, 6, 4]  # each weighs the same
    assert [i for f, _ in parts for i in f] == list(range(7)) and [i for _, r in parts for i in r] == list(range(14))
    assert len(portions([1, 2], [], 8)) == 2  # never a part without anything to forget
    assert len(portions([], [1, 2, 3], 8)) == 3  # nor, where there is nothing, without anything to keep
    assert [(len(f), len(r)) for f, r in portions([1] * 8, [2, 2], 4)] == [(4, 1), (4, 1)]


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "--precision bf16"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "--fsdp_version 2"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "pip install deepspeed"),
    ],
)
def test_what_cannot_be_done_is_refused(monkeypatch, told, sentence):
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    model = torch.nn.Linear(1, 1)

    class Bare:
        module = model

    with pytest.raises(ExpungeError, match=sentence):
        Engine(
            Bare(), lambda f, r: {}, list(model.parameters()), lambda p: torch.optim.SGD(p, 0.1), "fp32", 0.0, Scale()
        )
