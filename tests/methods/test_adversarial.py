"""What L2UL promises: twins within reach that look like others, and weights that stay where it matters."""

import random
from dataclasses import replace

import pytest
import torch

from expunge.core.run import Run
from expunge.core.scale import Scale
from expunge.core.types import Splits
from expunge.methods.training.adversarial import (
    Adversarial,
    Duel,
    _score_of,
    attack,
    false_choices,
    importance,
    output,
    right_loss,
)  # fmt: skip
from toy import Toy, ToyAnswers, labelled, people
from toy_splits import KINDS, SPLITS, fresh

OPTIONS = Adversarial(epochs=2, least_steps=0, batch=4, twins=1, iterations=8, lr=1e-2, stop_at=-1.0)
BROAD = (torch.tensor(-9.0), torch.tensor(9.0))


def twins_of(kind, options=OPTIONS, splits=SPLITS):
    run = Run(seed=0)
    model = fresh(kind)
    return model, options.make_twins(model, splits, run), run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epsilon", [0.05, 0.5, 4.0])
def test_the_attack_stays_within_reach_and_raises_the_score(kind, epsilon):
    model = fresh(kind)
    batch = model.collate(SPLITS.forget)
    if kind is ToyAnswers:
        batch["target"] = false_choices(model, batch, random.Random(0))
    score = _score_of(model, batch)
    pixels = batch["pixels"]
    found = attack(score, pixels, epsilon, epsilon / 8, 20, torch.Generator().manual_seed(0), BROAD)
    far = (found - pixels).flatten(1).norm(dim=1)
    assert far.max() <= epsilon * (1 + 1e-5) and far.min() > 0
    with torch.no_grad():
        assert (score(found) > score(pixels)).all()


def test_the_attack_stays_among_the_values_that_pixels_have():
    model = fresh(Toy)
    batch = model.collate(SPLITS.forget)
    low, high = batch["pixels"].min(), batch["pixels"].max()
    found = attack(
        _score_of(model, batch), batch["pixels"], 8.0, 2.0, 10, torch.Generator().manual_seed(0), (low, high)
    )
    assert found.min() >= low and found.max() <= high
    assert (found - batch["pixels"]).flatten(1).norm(dim=1).max() <= 8.0 * (1 + 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_twins_have_false_targets_and_leave_no_gradient(kind):
    model, twins, run = twins_of(kind, replace(OPTIONS, twins=2))
    assert len(twins) == run.facts["twins"] == 2 * len(SPLITS.forget)
    truth = {e.id: e for e in SPLITS.forget}
    for twin in twins:
        own = truth[twin.of]
        if kind is ToyAnswers:
            assert twin.example is own and twin.target != ToyAnswers.LABELS.index(own.label)
            assert 0 <= twin.target < len(own.choices)
        else:
            assert twin.example.group != own.group and twin.example.image == own.image
    assert run.facts["attack_raised"] > 0.9
    assert all(p.requires_grad and p.grad is None for p in model.module.parameters())


def test_the_number_of_twins_is_bounded_and_one_person_looks_like_somebody_held_out():
    assert len(twins_of(Toy, replace(OPTIONS, twins=5, most=7))[1]) == 7
    one = Splits(labelled(people("f", 1)), (), SPLITS.holdout)
    assert {t.example.source for t in twins_of(Toy, splits=one)[1]} == {"scenes"}


@pytest.mark.parametrize("kind", KINDS)
def test_importance_is_a_share_in_every_tensor(kind):
    omega = importance(fresh(kind), SPLITS.forget, Run())
    assert set(omega) == {k for k, _ in fresh(kind).module.named_parameters()}
    for weights in omega.values():
        assert weights.min() >= 0 and weights.max() <= 1
    assert omega["head.weight"].min() == 0 and omega["head.weight"].max() == 1


def test_importance_is_the_gradient_of_the_squared_norm():
    """By differences, on one weight of the head."""
    model, one = fresh(Toy), SPLITS.forget[:1]
    batch = model.collate(one)
    weight = model.module.head.weight
    (gradient,) = torch.autograd.grad(output(model, batch).square().sum(), weight)
    scaled = (gradient.abs() - gradient.abs().min()) / (gradient.abs().max() - gradient.abs().min())
    assert torch.allclose(importance(model, one, Run())["head.weight"], scaled)
    with torch.no_grad():
        values = []
        for shift in (1e-2, -2e-2):
            weight[0, 0] += shift
            values.append(output(model, batch).square().sum().item())
    assert gradient[0, 0].item() == pytest.approx((values[0] - values[1]) / 2e-2, rel=1e-2, abs=1e-3)


def drift(model, start):
    return sum((p - p0).square().sum().item() for p, p0 in zip(model.module.parameters(), start)) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_great_lambda_holds_the_weights_where_they_were(kind):
    start = [p.detach().clone() for p in fresh(kind).module.parameters()]
    far = {}
    for strength in (0.0, 1e6):
        run = Run(seed=0)
        options = replace(OPTIONS, epochs=20, strength=strength)
        far[strength] = drift(options.unlearn(fresh(kind), SPLITS, run), start)
    assert far[1e6] < 0.2 * far[0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_are_the_papers_loss(kind):
    model, twins, run = twins_of(kind)
    omega = importance(model, SPLITS.forget, Run())
    duel = Duel(OPTIONS, model, SPLITS, twins, omega, run)
    torch.manual_seed(0)
    found = duel.terms(SPLITS.forget, ())
    torch.manual_seed(0)
    assert found["forget"].item() == pytest.approx(-0.5 * right_loss(model, model.collate(SPLITS.forget)).item())
    assert found["drift"].item() == 0.0 and found["twins"].item() > 0
    with torch.no_grad():
        model.module.head.weight.add_(0.1)
    expected = 0.5 * ((1 - omega["head.weight"]) * 0.01).sum().item()
    assert duel.terms(SPLITS.forget, ())["drift"].item() == pytest.approx(expected, rel=1e-4)


def test_it_stops_when_nothing_is_known_any_more():
    """Everything is a share of at most 1: the first look is the last."""
    run = Run(seed=0)
    replace(OPTIONS, epochs=9, stop_at=1.0).unlearn(fresh(Toy), SPLITS, run)
    steps = [t for t in run.terms if "drift" in t]
    assert len(steps) == -(-len(SPLITS.forget) // 4)
    run = Run(seed=0)
    replace(OPTIONS, epochs=9).unlearn(fresh(Toy), SPLITS, run)
    assert len([t for t in run.terms if "drift" in t]) == 9 * -(-len(SPLITS.forget) // 4)
    run = Run(seed=0, scale=Scale(accumulate=2))  # an epoch is one in portions, too
    replace(OPTIONS, epochs=9, stop_at=1.0).unlearn(fresh(Toy), SPLITS, run)
    assert len([t for t in run.terms if "drift" in t]) == len(steps)


def test_examples_without_an_answer_do_not_count():
    model = fresh(ToyAnswers)
    known, unknown = SPLITS.forget[:4], people("u", 1)
    with_unknown = right_loss(model, model.collate([*known, *unknown]))
    assert with_unknown.item() == pytest.approx(right_loss(model, model.collate(known)).item(), rel=1e-5)
    assert false_choices(model, model.collate(unknown), random.Random(0)).tolist() == [-1] * len(unknown)
