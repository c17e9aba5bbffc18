"""What SLUG promises: one layer moves, by a step along its own gradient, chosen among those that no other beats."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.core.run import Run
from expunge.core.types import Splits
from expunge.methods.editing.slug import SLUG, Judge, Layer, Trial, gradients, measured, pareto, weight_matrices
from expunge.testing import small_albef
from toy import Toy, ToyAnswers
from toy_splits import KINDS, SPLITS, fresh

OPTIONS = SLUG(trials=5, judged=12, candidates=2, target=-1.0)


def moved(before, model):
    return {k for k, v in model.module.state_dict().items() if not torch.equal(v, before[k])}


def state(model):
    return {k: v.clone() for k, v in model.module.state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", ["task", "cosine"])
def test_exactly_one_layer_moves_along_its_gradient(kind, objective):
    model, run = fresh(kind), Run(seed=0)
    before = state(model)
    torch.manual_seed(0)
    after = replace(OPTIONS, objective=objective).unlearn(model, SPLITS, run)
    (name,) = moved(before, after)
    assert name == run.facts["slug_layer"] and name in weight_matrices(model)
    shift = after.module.state_dict()[name] - before[name]
    assert shift.norm() > 0 and run.facts["slug_step"] > 0
    assert 0 <= run.facts["slug_alignment"] <= 1 + 1e-6 and run.facts["slug_importance"] > 0


def test_the_forget_loss_rises_along_the_step():
    model = fresh(Toy)
    batch = model.collate(SPLITS.forget)
    with torch.no_grad():
        before = model.loss(batch).mean().item()
    found = gradients(model, SPLITS.forget, "task", 4, Run())
    for name, gradient in found.items():
        weight = model.module.get_parameter(name)
        with torch.no_grad():
            weight.add_(gradient, alpha=1e-3)
            assert model.loss(batch).mean().item() >= before
            weight.sub_(gradient, alpha=1e-3)


@pytest.mark.parametrize("size", [1, 4, 99])
def test_gradients_are_those_of_the_mean_whatever_the_batch(size):
    model = fresh(Toy)
    model.loss(model.collate(SPLITS.forget)).mean().backward()
    found = gradients(model, SPLITS.forget, "task", size, Run())
    for name, p in model.module.named_parameters():
        assert torch.allclose(found.get(name, torch.zeros(())), p.grad if p.grad is not None else torch.zeros(()),
                              atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_leaves_the_model_as_it_was_and_a_step_of_nothing_changes_nothing(kind):
    model, run = fresh(kind), Run(seed=0)
    before = state(model)
    layer, gradient = Layer("see.weight", "vision", 1.0, 0.0), torch.ones_like(model.module.see.weight)
    judge = Judge(OPTIONS, model, SPLITS, random.Random(0), run)
    untouched = judge.judged(layer, 0.0)
    tried = replace_first(judge, 0.0).search(layer, gradient)
    assert moved(before, model) == set()
    assert all((t.forget, t.retained, t.step) == (untouched.forget, untouched.retained, 0.0) for t in tried[:1])
    judge.options = replace(OPTIONS, first=0.1)
    judge.search(layer, gradient)
    assert moved(before, model) == set()


def replace_first(judge, first):
    judge.options = replace(judge.options, first=first)
    return judge


def test_steps_double_until_it_has_forgotten_and_then_close_in():
    """Forgotten from 5 on; the first step is a tenth of the norm over the gradient's, here 1."""
    model, run = fresh(Toy), Run(seed=0)
    weight = model.module.see.weight
    layer = Layer("see.weight", "vision", 1.0, 0.0)
    judge = Judge(replace(OPTIONS, trials=6, target=0.0), model, SPLITS, random.Random(0), run)
    judge.judged = lambda layer, step: Trial(layer, step, 0.0 if step >= 5 else 1.0, 1.0)  # type: ignore[method-assign]
    gradient = torch.ones_like(weight)
    gradient *= 0.1 * weight.detach().norm() / gradient.norm()
    steps = [t.step for t in judge.search(layer, gradient)]
    assert steps == pytest.approx([1, 2, 4, 8, 4 + 2, 4 + 1], rel=1e-4)


def test_the_best_trial_forgets_enough_then_keeps_most_then_steps_least():
    judge = Judge(replace(OPTIONS, target=0.25), fresh(Toy), SPLITS, random.Random(0), Run())
    layer = Layer("x", "vision", 1.0, 0.0)

    def trial(forget, retained, step=1.0):
        return Trial(layer, step, forget, retained)

    assert min([trial(0.5, 1.0), trial(0.2, 0.3)], key=judge.order) == trial(0.2, 0.3)
    assert min([trial(0.0, 0.3), trial(0.25, 0.9)], key=judge.order) == trial(0.25, 0.9)
    assert min([trial(0.1, 0.9, 2.0), trial(0.2, 0.9, 1.0)], key=judge.order) == trial(0.2, 0.9, 1.0)


def test_a_target_below_zero_is_what_guessing_gives():
    def judge(kind):
        return Judge(OPTIONS, fresh(kind), SPLITS, random.Random(0), Run())

    assert judge(Toy).target == pytest.approx(1 / 8)
    assert 1 / 3 < judge(ToyAnswers).target < 1 / 2  # some offer two choices, the others three


points = st.lists(st.tuples(st.floats(0, 9), st.floats(0, 1)), min_size=1, max_size=30)


@given(points)
def test_nothing_beats_a_layer_of_the_front_and_something_beats_all_others(found):
    layers = [Layer(str(i), "vision", x, y) for i, (x, y) in enumerate(found)]
    front = pareto(layers)
    assert front and front[0].importance == max(x.importance for x in layers)

    def beaten(x):
        return any(y.importance > x.importance and y.alignment < x.alignment for y in layers)

    assert not any(map(beaten, front)) and all(beaten(x) for x in layers if x not in front)


def test_no_bias_norm_embedding_position_or_temperature_is_edited():
    found = weight_matrices(small_albef())
    assert {"vision", "text", "fusion"} == set(found.values())
    for word in ("bias", "Norm", "norm", "embeddings", "pos_embed", "cls_token", "temp"):
        assert not [name for name in found if word in name]
    assert found["itm_head.weight"] == found["vision_proj.weight"] == "fusion"


def test_alignment_is_the_cosine_of_the_two_gradients():
    model = fresh(Toy)
    g = gradients(model, SPLITS.forget, "task", 16, Run())
    assert all(x.alignment == pytest.approx(1.0, abs=1e-5) for x in measured(model, g, {k: -v for k, v in g.items()}))
    assert all(x.alignment == 0.0 for x in measured(model, g, {}))


def test_without_retained_data_it_still_edits():
    model, run = fresh(Toy), Run(seed=0)
    before = state(model)
    OPTIONS.unlearn(model, Splits(SPLITS.forget, ()), run)
    assert len(moved(before, model)) == 1
