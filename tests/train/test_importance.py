"""Streamed gradients are those of one pass; squares are of what they say they are of."""

import math

import pytest
import torch

from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.train.importance import SquaredGradients, fisher, summed, trained
from toy import Toy
from toy_splits import SPLITS, fresh


def losses(model):
    return lambda some: model.loss(model.collate(some))


@pytest.mark.parametrize("size", [1, 4, 99])
def test_per_sample_is_each_samples_own_square(size):
    model = fresh(Toy)
    named = trained(model.module)
    found = fisher(named, losses(model), SPLITS.forget, Run(), per="sample", batch=size)
    wanted = {n: torch.zeros_like(p) for n, p in named.items()}
    for start in range(0, len(SPLITS.forget), size):
        some = SPLITS.forget[start : start + size]
        for i in range(len(some)):
            one = torch.autograd.grad(losses(model)(some)[i], list(named.values()), allow_unused=True)
            for n, g in zip(named, one):
                if g is not None:
                    wanted[n] += g.square() / len(SPLITS.forget)
    assert all(torch.allclose(found[n], wanted[n], rtol=1e-4, atol=1e-9) for n in named)
    assert all(p.grad is None for p in named.values())


def test_per_batch_is_the_square_of_the_batchs_mean():
    model = fresh(Toy)
    named = trained(model.module)
    found = fisher(named, losses(model), SPLITS.forget, Run(), per="batch", batch=len(SPLITS.forget))
    losses(model)(SPLITS.forget).mean().backward()
    for n, p in named.items():
        assert torch.allclose(found[n], torch.zeros_like(p) if p.grad is None else p.grad.square(), rtol=1e-4)


def test_gradients_that_stood_there_before_stand_there_afterwards():
    model = fresh(Toy)
    named = trained(model.module)
    marks = {n: torch.full_like(p, 7.0) for n, p in named.items()}
    for n, p in named.items():
        p.grad = marks[n]
    found = summed(named, [losses(model)(SPLITS.forget).mean()])
    assert all(p.grad is marks[n] and (p.grad == 7).all() for n, p in named.items())
    assert found and all(found[n].abs().max() < 7 for n in found)


def test_squares_of_half_precision_gradients_are_kept_in_float32():
    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    squares = SquaredGradients({"p": p})
    for _ in range(1000):  # in bfloat16 the sum would stand still at 256 times the summand, and 1e-20 is no float16
        squares.add({"p": torch.tensor([1e-10, 1.0, 0.0], dtype=torch.bfloat16)})
    mean = squares.mean()["p"]
    assert mean.dtype == torch.float32
    assert mean.tolist() == pytest.approx([float(torch.tensor(1e-10).bfloat16()) ** 2, 1.0, 0.0], rel=1e-3, abs=0)


@pytest.mark.parametrize("wrong", [math.inf, math.nan, 1e30])
def test_a_gradient_that_is_not_finite_is_refused(wrong):
    squares = SquaredGradients({"bad": torch.nn.Parameter(torch.zeros(2))})
    squares.add({"bad": torch.tensor([0.0, wrong])})
    with pytest.raises(FloatingPointError, match="bad is not finite.*evaluate the model first") as told:
        squares.mean()
    assert isinstance(told.value, ExpungeError)
