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


def ascent(slopes, pixels, epsilon, step, iterations, allowed=BROAD):
    """The attack on a score whose gradient is ``slopes`` everywhere, from one and the same random start."""
    return attack(
        lambda x: (x * slopes).sum(1), pixels, epsilon, step, iterations, torch.Generator().manual_seed(0), allowed
    )


def slanted(rows, width=6):
    """Pixels, and slopes of very different lengths."""
    draw = torch.Generator().manual_seed(5)
    pixels, slopes = torch.randn(2, rows, width, generator=draw)
    return pixels, slopes * torch.logspace(-3, 3, rows)[:, None]


def test_one_step_of_the_attack_goes_its_length_uphill_and_back_onto_the_ball():
    """By hand: start + step * direction; where that is farther than epsilon, it is pulled straight back to it."""
    pixels, slopes = slanted(64)
    start = ascent(slopes, pixels, 1.0, 0.8, iterations=0)
    uphill = start + 0.8 * slopes / slopes.norm(dim=1, keepdim=True)
    away = uphill - pixels
    far = away.norm(dim=1, keepdim=True)
    assert 10 < (far > 1).sum() < 54  # both kinds of rows are there
    wanted = torch.where(far > 1, pixels + away / far, uphill)
    torch.testing.assert_close(ascent(slopes, pixels, 1.0, 0.8, iterations=1), wanted, atol=1e-5, rtol=1e-4)


def test_the_attack_starts_anywhere_in_the_ball():
    """The length of the start is drawn evenly: its mean is half the radius."""
    pixels, slopes = slanted(2000)
    away = (ascent(slopes, pixels, 3.0, 0.5, iterations=0) - pixels).norm(dim=1)
    assert away.max() <= 3.0 and away.mean().item() == pytest.approx(1.5, abs=4 * 3 / 12**0.5 / 2000**0.5)


def test_the_attack_finds_the_highest_point_of_the_ball():
    """Of a score that rises evenly this is the point a radius uphill."""
    pixels, slopes = slanted(8)
    wanted = pixels + 2.0 * slopes / slopes.norm(dim=1, keepdim=True)
    torch.testing.assert_close(ascent(slopes, pixels, 2.0, 1.0, iterations=60), wanted, atol=1e-4, rtol=0)


def test_the_attack_ends_at_the_edge_of_what_pixels_may_be():
    """Uphill is straight along both axes: 0.35 each of a radius of 0.5. From 0.9 the first has but 0.1 to go."""
    slopes, allowed = torch.tensor([[1.0, 1.0]]), (torch.tensor(-1.0), torch.tensor(1.0))
    free = ascent(slopes, torch.tensor([[0.5, 0.0]]), 0.5, 0.1, 200, allowed)
    assert free[0].tolist() == pytest.approx([0.5 + 0.5 / 2**0.5, 0.5 / 2**0.5], abs=1e-3)
    close = ascent(slopes, torch.tensor([[0.9, 0.0]]), 0.5, 0.1, 200, allowed)
    assert close[0, 0].item() == 1.0 and 0.3 < close[0, 1].item() <= 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_score_is_how_much_a_picture_looks_like_its_false_target(kind):
    """One pair at a time: log p of the choice; or log p of a match plus the cosine over the temperature."""
    model = fresh(kind)
    batch = model.collate(SPLITS.forget[:5])
    if kind is ToyAnswers:
        batch["target"] = torch.tensor([1, 0, -1, 1, 0])
    with torch.no_grad():
        found = _score_of(model, batch)(batch["pixels"])
        for i in range(5):
            one = {name: values[i : i + 1] for name, values in batch.items()}
            image, text = model.encode_images(one), model.encode_texts(one)
            fused = model.fuse(image, text)
            if kind is ToyAnswers:
                wanted = 0.0 if i == 2 else model.choose(fused, one).softmax(1)[0, one["target"][0]].log().item()
            else:
                cosine = torch.dot(image.feature[0], text.feature[0]).item()
                wanted = fused.logits.softmax(1)[0, 1].log().item() + cosine / 0.07
            assert found[i].item() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_twins_go_to_the_limits_of_the_forgotten_pictures_and_no_farther(kind):
    """From far more than all pixels away."""
    model, twins, _ = twins_of(kind, replace(OPTIONS, epsilon=500.0, step=100.0))
    pixels = model.collate(SPLITS.forget)["pixels"]
    made = torch.stack([t.pixels for t in twins])
    assert made.min() == pixels.min() and made.max() == pixels.max()


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


@pytest.mark.parametrize("kind", KINDS)
def test_the_twins_of_a_step_teach_the_false_target_by_their_number(kind):
    """Two for each pair: they weigh 2/3 and the pairs 1/3. One twin at a time, its own pixels beside its own text."""
    model, twins, _ = twins_of(kind, replace(OPTIONS, twins=2))
    duel = Duel(OPTIONS, model, SPLITS, twins, importance(model, SPLITS.forget, Run()), Run())
    some = SPLITS.forget[2:7]
    nats = []
    for twin in (t for t in twins if t.of in {e.id for e in some}):
        batch = model.collate([twin.example])
        assert not torch.equal(batch["pixels"][0], twin.pixels)
        batch["pixels"] = twin.pixels[None]
        fused = model.fuse(model.encode_images(batch), model.encode_texts(batch))
        scores, right = (model.choose(fused, batch), twin.target) if kind is ToyAnswers else (fused.logits, 1)
        nats.append(-scores.softmax(1)[0, right].log().item())
    found = duel.terms(some, ())
    assert len(nats) == 10 and found["twins"].item() == pytest.approx(2 / 3 * sum(nats) / 10, rel=1e-4)
    told = -1 / 3 * right_loss(model, model.collate(some)).item()
    assert found["forget"].item() == pytest.approx(told, rel=1e-4)


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
