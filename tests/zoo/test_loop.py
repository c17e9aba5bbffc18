"""Pretraining that is stopped and goes on ends exactly where an uninterrupted one does."""

import functools
import random
import time

import pytest
import torch
from torch import nn

from expunge.zoo.loop import Schedule, factor, pretrain, seconds_spent


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.GELU(), nn.Linear(8, 2))


def lesson(module: nn.Module):
    """Random data from both generators, so that a resumed run must restore each."""

    def terms(rng: random.Random, step: int):
        x = torch.randn(5, 4) + rng.random()
        return {"one": module(x).square().mean(), "two": 0.1 * module(x).abs().mean()}

    return terms


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def quiet(line: str) -> None:
    pass


class Stopped(Exception):
    pass


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("stop_at", [1, 7])
def test_resumed_equals_straight_bit_for_bit(tmp_path, average, stop_at):
    schedule = Schedule(steps=12, lr=0.01, warmup=3, save_seconds=0.0, average=average, say_every=1000)
    straight = network()
    pretrain(straight, lesson(straight), schedule, tmp_path / "straight", seed=5, say=quiet)

    halted = network()
    inner = lesson(halted)

    def until(rng, step):
        if step == stop_at:
            raise Stopped
        return inner(rng, step)

    with pytest.raises(Stopped):
        pretrain(halted, until, schedule, tmp_path / "halted", seed=5, say=quiet)
    resumed = network()
    torch.manual_seed(99)
    pretrain(resumed, lesson(resumed), schedule, tmp_path / "halted", seed=5, say=quiet)
    assert all(torch.equal(a, b) for a, b in zip(weights(straight), weights(resumed), strict=True))


def test_a_finished_training_is_only_loaded(tmp_path):
    schedule = Schedule(steps=4, lr=0.01, warmup=1, average=0.5)
    first = network()
    pretrain(first, lesson(first), schedule, tmp_path, say=quiet)

    def never(rng, step):
        raise AssertionError("a finished training took a step")

    second = network()
    pretrain(second, never, schedule, tmp_path, say=quiet)
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


def test_the_seconds_of_all_legs_are_counted(tmp_path):
    short, long = (Schedule(steps=n, lr=0.01, warmup=1, save_seconds=0.0) for n in (2, 4))
    spent = []
    for schedule in (short, long):
        module = network()
        wait = functools.partial(time.sleep, 0.06)
        pretrain(module, lesson(module), schedule, tmp_path / "stage", say=quiet, after_step=wait)
        spent.append(seconds_spent(tmp_path))
    assert spent[0] >= 0.1 and spent[1] >= spent[0] + 0.05  # they are rounded
    assert seconds_spent(tmp_path / "nothing") == 0


def test_the_average_is_of_the_weights(tmp_path):
    """With a decay of one half after the first steps: mean = (mean + weight) / 2."""
    seen: list[torch.Tensor] = []
    module = nn.Linear(1, 1, bias=False)
    begun = module.weight.detach().clone()
    schedule = Schedule(steps=3, lr=0.1, warmup=1, weight_decay=0.0, average=0.5)
    pretrain(
        module, lambda rng, step: {"t": module.weight.sum()}, schedule, tmp_path,
        after_step=lambda: seen.append(module.weight.detach().clone()), say=quiet,
    )  # fmt: skip
    mean = begun
    for step, weight in enumerate(seen):
        decay = min(0.5, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * weight
    torch.testing.assert_close(module.weight.detach(), mean)


def test_matrices_decay_at_the_rate_of_the_step_and_biases_follow_their_gradient_alone(tmp_path):
    """A matrix without a gradient decays, at a quarter and then at half of the peak rate; where the gradient stays the
    same every step of AdamW is the rate itself."""
    module = nn.Linear(3, 2)
    weight, bias = weights(module)
    schedule = Schedule(steps=2, lr=0.5, warmup=4, weight_decay=0.2)
    pretrain(module, lambda *_: {"t": module.bias.sum() + 0 * module.weight.sum()}, schedule, tmp_path, say=quiet)
    torch.testing.assert_close(module.weight.detach(), weight * (1 - 0.5 * 0.2 / 4) * (1 - 0.5 * 0.2 / 2))
    torch.testing.assert_close(module.bias.detach(), bias - 0.5 / 4 - 0.5 / 2)


def test_a_step_follows_the_clipped_gradient_of_the_sum_of_all_terms(tmp_path):
    """Gradients of 100 and then of 1 - 2, clipped to 1 and -1: AdamW's first step is the rate, and in the second the
    moments are (0.9 x 0.1 - 0.1) / (1 - 0.9^2) and 1."""
    module = nn.Linear(1, 1, bias=False)
    begun = module.weight.item()
    told = [{"a": 100 * module.weight.sum()}, {"a": 1.0 * module.weight.sum(), "b": -2.0 * module.weight.sum()}]
    schedule = Schedule(steps=2, lr=0.1, warmup=1, weight_decay=0.0, floor=1.0)
    pretrain(module, lambda rng, step: told[step], schedule, tmp_path, say=quiet)
    assert module.weight.item() == pytest.approx(begun - 0.1 + 0.1 * 0.01 / 0.19, abs=1e-6)


def test_the_rate_climbs_and_falls():
    schedule = Schedule(steps=100, warmup=10, floor=0.1)
    rates = [factor(step, schedule) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == pytest.approx(1.0)
    assert rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.1) and rates[55] == pytest.approx(0.55)
