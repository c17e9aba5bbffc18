"""The one loop: what it draws, what it logs, what it refuses."""

import math

import pytest
import torch

from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.core.types import Splits
from expunge.testing import small_albef, small_corpus, small_splits
from expunge.train.fit import Schedule, _factor, _optimizer, fit
from expunge.train.originals import Recipe, own_recipe, train_original


def test_terms_are_summed_logged_and_minimised():
    model, splits, run = small_albef(), small_splits(), Run()
    start = model.module.vision_proj.weight.detach().clone()

    def loss(forget, retain):
        w = model.module.vision_proj.weight
        return {"a": w.square().mean(), "b": 2 * w.abs().mean()}

    fit(model, loss, splits, run, Schedule(epochs=3, lr=1e-2, batch=4))
    steps = [t for t in run.terms if t["what"] == "training"]
    assert len(steps) == 3 * -(-len(splits.forget) // 4) and set(steps[0]) == {"what", "step", "a", "b"}
    assert steps[-1]["a"] < steps[0]["a"]
    assert not torch.equal(start, model.module.vision_proj.weight)


def test_retained_examples_come_mostly_from_the_same_source():
    splits, seen = small_splits(), []

    def loss(forget, retain):
        seen.append((len(forget), [e.source for e in retain]))
        return {"none": torch.zeros((), requires_grad=True)}

    fit(small_albef(), loss, splits, Run(), Schedule(epochs=2, lr=1e-3, batch=4, retain_ratio=2.0, near=0.75))
    assert all(len(sources) == 2 * n for n, sources in seen)
    people = [s for _, sources in seen for s in sources].count("people") / sum(2 * n for n, _ in seen)
    assert abs(people - 0.75) < 0.1


def test_nothing_is_drawn_when_nothing_is_asked():
    seen = []

    def loss(forget, retain):
        seen.append(len(retain))
        return {"none": torch.zeros((), requires_grad=True)}

    fit(small_albef(), loss, small_splits(), Run(), Schedule(epochs=1, lr=1e-3, batch=4))
    assert set(seen) == {0}


def test_only_the_chosen_parameters_move():
    model = small_albef()
    before = {k: v.clone() for k, v in model.module.state_dict().items()}

    def loss(forget, retain):
        return {"task": model.loss(model.collate(forget)).mean()}

    fit(model, loss, small_splits(), Run(), Schedule(1, 1e-2, 4), params=[model.module.itm_head.weight])
    moved = {k for k, v in model.module.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"itm_head.weight"}


def test_a_loss_that_is_no_number_stops_the_run():
    def loss(forget, retain):
        return {"bad": torch.tensor(float("nan"), requires_grad=True)}

    with pytest.raises(FloatingPointError, match="step 0; try a smaller lr") as told:
        fit(small_albef(), loss, small_splits(), Run(), Schedule(1, 1e-3, 4))
    assert isinstance(told.value, ExpungeError)  # what was asked for, and no defect


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"epochs": -3}, {"batch": 0}, {"batch": -4}, {"lr": 0.0}, {"lr": -1.0}, {"lr": math.nan},
        {"lr": math.inf}, {"least_steps": -1}, {"retain_ratio": -1.0}, {"near": 1.5}, {"weight_decay": -0.1},
    ],
)  # fmt: skip
def test_a_schedule_that_makes_no_sense_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(ExpungeError, match=f"nothing can be trained by this: {name} must"):
        Schedule(**{"epochs": 1, "lr": 1e-3, "batch": 4, **wrong})


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch": -1}, {"lr": 0}])
def test_an_original_is_not_made_by_a_recipe_of_nothing(wrong):
    with pytest.raises(ExpungeError, match="1 option of --recipe cannot be used"):
        own_recipe(wrong)
    with pytest.raises(ExpungeError, match="nothing can be trained by this"):
        _ = Recipe(**{"epochs": 1, "lr": 1e-3, "batch": 4, **wrong}).schedule


def test_same_seed_same_weights_and_order():
    states = []
    for seed in (1, 1, 2):
        model = small_albef()
        trained = train_original(model, small_corpus().train[:24], Run(seed=seed), Recipe(epochs=1, lr=1e-3, batch=8))
        states.append(trained.module.state_dict())
        assert all(torch.equal(v, small_albef().module.state_dict()[k]) for k, v in model.module.state_dict().items())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert any(not torch.equal(states[0][k], states[2][k]) for k in states[0])


def test_two_threads_give_the_same_weights_twice():
    """At the size of albef-tiny, where torch does share the work out."""
    from expunge.zoo import shelf

    start, states = shelf.load("albef-tiny"), []
    torch.set_num_threads(2)
    try:
        for _ in range(2):
            trained = train_original(start, small_corpus().train[:64], Run(), Recipe(epochs=2, lr=1e-3, batch=64))
            states.append(trained.module.state_dict())
    finally:
        torch.set_num_threads(1)
    assert not torch.are_deterministic_algorithms_enabled()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_splits_of_one_example_train():
    model, one = small_albef(), small_splits().forget[:1]
    train_original(model, one, Run(), Recipe(epochs=1, lr=1e-3, batch=8))
    assert Splits(one, ()).retain == ()


def test_steps_have_a_least_and_a_most():
    schedule = Schedule(epochs=2, lr=1e-3, batch=4, least_steps=7, most_steps=12)
    assert schedule.steps(4) == 7  # one batch: seven epochs of it
    assert schedule.steps(20) == 10
    assert schedule.steps(100) == 12
    assert Schedule(epochs=2, lr=1e-3, batch=4).steps(100) == 50
    seen: list[int] = []

    def loss(forget, _):
        seen.append(len(forget))
        return {"task": model.loss(model.collate(forget)).mean()}

    model, forget = small_albef(), small_splits().retain[:10]
    fit(model, loss, Splits(forget, ()), Run(0), Schedule(epochs=9, lr=1e-3, batch=4, most_steps=5))
    assert seen == [4, 4, 2, 4, 4]


def test_the_rate_warms_up_and_falls_by_a_cosine():
    schedule = Schedule(epochs=1, lr=1.0, batch=1, warmup=0.2, floor=0.1)
    found = [_factor(step, 10, schedule) for step in range(10)]
    assert found[:2] == [0.5, 1.0] and found[2] == 1.0
    # half way down after the warm-up (four of eight steps) it stands half way between the peak and the floor
    assert found[6] == pytest.approx(0.55) and found[9] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 7 / 8)))
    assert found[2:] == sorted(found[2:], reverse=True)


def test_only_matrices_decay():
    model = small_albef()
    trained = [p for p in model.module.parameters() if p.requires_grad]
    made = _optimizer(trained, Schedule(epochs=1, lr=1e-3, batch=1, weight_decay=0.3))
    kinds = {len(group["params"]): group["weight_decay"] for group in made.param_groups}
    few, many = sum(p.ndim <= 1 for p in trained), sum(p.ndim > 1 for p in trained)
    assert few != many and kinds == {many: 0.3, few: 0.0}


def test_another_seed_draws_others_in_another_order():
    def walked(seed: int) -> list[list[str]]:
        seen: list[list[str]] = []
        model = small_albef()

        def loss(forget, retain):
            seen.append([e.id for e in (*forget, *retain)])
            return {"task": model.loss(model.collate(forget)).mean()}

        fit(
            model, loss, small_splits(), Run(seed), Schedule(epochs=1, lr=1e-4, batch=4, retain_ratio=1.0, most_steps=3)
        )
        return seen

    assert walked(0) == walked(0) != walked(1)


def test_the_seed_of_the_run_rules_torchs_draws_however_they_stood_before():
    def drawn(seed: int, before: int) -> list[float]:
        seen: list[float] = []

        def loss(forget, retain):
            seen.append(torch.rand(()).item())
            return {"none": torch.zeros((), requires_grad=True)}

        model = small_albef()
        torch.manual_seed(before)
        fit(model, loss, small_splits(), Run(seed), Schedule(epochs=1, lr=1e-3, batch=4, most_steps=2))
        return seen

    assert drawn(3, before=0) == drawn(3, before=1) != drawn(4, before=1)


@pytest.mark.parametrize("clip, length", [(0.25, 0.25), (100.0, 50.0), (0.0, 50.0)])
def test_a_gradient_longer_than_the_clip_is_cut_to_its_length(clip, length):
    """The loss is 30 and 40 times one weight each of two matrices: a gradient of length 50. A clip of 0 cuts nothing,
    and a step leaves the gradient that it took."""
    model = small_albef()
    one, other = model.module.vision_proj.weight, model.module.text_proj.weight

    def loss(forget, retain):
        return {"line": 30 * one[0, 0] - 40 * other[1, 1]}

    fit(model, loss, small_splits(), Run(), Schedule(1, 1e-4, 4, clip=clip, most_steps=1), params=[one, other])
    assert one.grad[0, 0].item() == pytest.approx(0.6 * length, rel=1e-4)
    assert other.grad[1, 1].item() == pytest.approx(-0.8 * length, rel=1e-4)
