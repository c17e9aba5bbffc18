"""The two losses of Table 7 on real generator classes at toy size."""

import math
from dataclasses import replace

import pytest
import torch

from expunge.core.run import Run
from expunge.generators import mvi
from expunge.generators.auxiliary import Beside, Critic
from expunge.generators.shapes import PRESETS
from expunge.testing import small_painter, small_splits, small_writer


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def generators(request):
    made = small_painter(request.param), small_writer()
    for generator in made:
        generator.module.requires_grad_(False)
    return made


@pytest.fixture(scope="module")
def forget():
    return small_splits(1).forget


def settings(**weights):
    return replace(PRESETS["default"], epochs=2, least_steps=0, batch=4, **weights)


def test_the_perfect_prediction_amounts_to_the_picture_itself(generators, forget, monkeypatch):
    painter = generators[0]
    torch.manual_seed(0)
    latents, noise = torch.randn(2, 4, 3, 8, 8)[:, :, :1].expand(-1, -1, 4, -1, -1)
    timesteps = torch.tensor([10, 300, 700, 950])
    target = painter._target(latents, noise, timesteps)

    class Sure:
        sample = target

    monkeypatch.setattr(type(painter.unet), "forward", lambda *a, **k: Sure)
    error, clean = painter.denoise(latents, torch.zeros(4, 3, 16), noise=noise, timesteps=timesteps)
    assert error.max() < 1e-8 and torch.allclose(clean, latents, atol=1e-4)


def test_equal_pictures_look_equal_and_others_do_not(generators, forget):
    painter = generators[0]
    parts = mvi.take_apart(*generators, forget)
    states = parts.from_text
    assert painter.perceptual_distance(parts.latents, parts.latents, states).abs().max() == 0
    other = (parts.latents + 0.5).requires_grad_()
    distance = painter.perceptual_distance(other, parts.latents, states)
    assert distance.shape == (len(parts),) and (distance > 0).all()
    distance.sum().backward()
    assert other.grad.abs().sum() > 0
    assert not painter.unet.mid_block._forward_hooks


@pytest.mark.parametrize("weights", [{"w_adversarial": 1.0}, {"w_perceptual": 1.0}], ids=lambda w: next(iter(w)))
def test_the_gradient_of_each_term_alone_reaches_the_posteriors(generators, forget, weights):
    parts = mvi.take_apart(*generators, forget)
    torch.manual_seed(0)
    model = mvi.Mvi(*generators, parts, settings(**weights))
    terms = model(parts, torch.arange(4), Beside(generators[0], 4, model.settings))
    (name,) = set(terms) - {"modality", "picture", "text", "kl"}
    assert f"w_{name}" in weights
    terms[name].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.of_picture.out.parameters())
    assert model.of_text.out.weight.grad is None, "the picture is drawn from U'_1 and K'_2"


def test_both_train_without_moving_the_generators(generators, forget):
    frozen = [{k: v.clone() for k, v in g.module.state_dict().items()} for g in generators]
    run = Run(seed=0)
    trained, _ = mvi.train(*generators, forget, run, settings(w_adversarial=0.5, w_perceptual=2.0))
    plain_run = Run(seed=0)
    plain, _ = mvi.train(*generators, forget, plain_run, settings())
    for generator, before in zip(generators, frozen, strict=True):
        assert all(torch.equal(v, before[k]) for k, v in generator.module.state_dict().items())
        assert all(p.grad is None for p in generator.module.parameters())
    assert {"adversarial", "perceptual", "critic"} <= set(run.terms[0])
    # The first batch is the same until the first step: the new terms draw after the old ones.
    assert {k: v for k, v in run.terms[0].items() if k in plain_run.terms[0]} == plain_run.terms[0]
    assert {n for n, _ in trained.named_parameters()} == {n for n, _ in plain.named_parameters()}
    assert any(not torch.equal(v, plain.state_dict()[k]) for k, v in trained.state_dict().items())
    again, _ = mvi.train(*generators, forget, Run(seed=0), settings(w_adversarial=0.5, w_perceptual=2.0))
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in trained.state_dict().items())


def test_the_critic_learns_to_tell_and_only_from_its_own_loss():
    torch.manual_seed(0)
    beside = Beside(small_painter(), 4, settings(w_adversarial=1.0), lr=1e-2)
    real, made = torch.randn(16, 4, 8, 8) + 1, torch.randn(16, 4, 8, 8) - 1
    losses = []
    for _ in range(30):
        beside.terms(made, real, torch.zeros(16, 3, 16))
        losses.append(beside.learn()["critic"].item())
    assert losses[-1] < 0.2 * losses[0]
    assert (beside.critic(real) > 0).all() and (beside.critic(made) < 0).all()
    # What MVI minimises asks for the opposite.
    fooled = beside.terms(real, real, torch.zeros(16, 3, 16))["adversarial"]
    assert fooled < beside.terms(made, real, torch.zeros(16, 3, 16))["adversarial"]


def test_each_term_is_its_mean_times_its_weight(monkeypatch):
    """A critic without an opinion gives 0 to all: softplus(0) = log 2, and twice that is its own loss."""
    painter = small_painter()
    monkeypatch.setattr(painter, "perceptual_distance", lambda *_: torch.tensor([1.0, 3.0]))
    beside = Beside(painter, 4, settings(w_adversarial=0.1, w_perceptual=5.0))
    torch.nn.init.zeros_(beside.critic.say.weight)
    torch.nn.init.zeros_(beside.critic.say.bias)
    terms = beside.terms(torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.zeros(2, 3, 16))
    assert terms["adversarial"].item() == pytest.approx(0.1 * math.log(2))
    assert terms["perceptual"].item() == pytest.approx(5.0 * 2.0)
    assert beside.learn()["critic"].item() == pytest.approx(2 * math.log(2))


def test_no_critic_where_it_has_no_weight():
    beside = Beside(small_painter(), 4, settings(w_perceptual=1.0))
    assert beside.critic is None and beside.learn() == {}
    assert Critic(4)(torch.zeros(3, 4, 8, 8)).shape == (3,)


def test_the_presets_of_the_table_differ_by_their_weights_only():
    rows = {name: vars(PRESETS[name]) for name in ("default", "adversarial", "perceptual", "both")}
    weights = ("w_adversarial", "w_perceptual")
    assert [tuple(bool(row[w]) for w in weights) for row in rows.values()] == [
        (False, False), (True, False), (False, True), (True, True),
    ]  # fmt: skip
    assert len({tuple((k, v) for k, v in row.items() if k not in weights) for row in rows.values()}) == 1
