"""RMU and MANU: states and neurons of a language model."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from chatting import SPLITS, acquainted, seen, stranger, words
from expunge.core.errors import ExpungeError
from expunge.core.pictures import NO_PICTURE
from expunge.core.run import Run
from expunge.core.types import Splits
from expunge.methods.editing.manu import MANU, Activity, importance, silence
from expunge.methods.training.rmu import RMU, direction, distance
from expunge.testing import small_mllm
from expunge.train import neurons

STEPS = {"epochs": 1, "least_steps": 3, "lr": 1e-3, "batch": 4}


def test_rmus_direction_has_unit_length_and_no_negative_entries():
    u = direction(16, 3)
    assert math.isclose(u.norm().item(), 1.0, rel_tol=1e-6) and (u >= 0).all()
    assert torch.equal(u, direction(16, 3)) and not torch.equal(u, direction(16, 4))


def test_rmus_distance_is_a_mean_over_what_is_no_pad():
    states = torch.tensor([[[1.0, 3.0], [99.0, 99.0]], [[0.0, 0.0], [2.0, 0.0]]])
    mask = torch.tensor([[1, 0], [1, 1]])
    assert distance(states, torch.tensor([1.0, 1.0]), mask).item() == pytest.approx((2.0 + (1.0 + 1.0) / 2) / 2)


@pytest.mark.parametrize("relative", [True, False])
def test_rmu_starts_at_the_value_that_a_hand_would_compute(relative):
    run, model = Run(seed=5), stranger()
    batch = model.collate(SPLITS.forget)
    with torch.no_grad():
        h = model.hidden_states(batch, 1)
    mask = batch["attention_mask"].bool()
    c = 3.0
    if relative:
        c *= torch.stack([row[m].norm(dim=-1).mean() for row, m in zip(h, mask)]).mean().item()
    target = c * direction(h.shape[-1], 5)
    wanted = torch.stack([(row[m] - target).square().mean() for row, m in zip(h, mask)]).mean().item()
    RMU(**{**STEPS, "lr": 0.1}, depth=0.5, steer=3.0, relative=relative).unlearn(model, SPLITS, run)
    assert run.facts["rmu_layer"] == 1 and run.terms[0]["forget"] == pytest.approx(wanted, rel=1e-3, abs=2e-5)
    assert run.terms[0]["retain"] == 0.0 < run.terms[-1]["retain"]  # nothing has drifted at the start


@pytest.mark.parametrize("trained", ["mlp", "all"])
def test_rmu_moves_mlp_outputs_or_all_that_lies_below_the_layer(trained):
    model = small_mllm("qwen2_vl")
    splits = Splits(SPLITS.forget, SPLITS.retain)
    before = {n: p.detach().clone() for n, p in model.module.named_parameters()}
    RMU(**STEPS, depth=0.5, trained=trained).unlearn(model, splits, Run(seed=0))
    changed = {n for n, p in model.module.named_parameters() if not torch.equal(p, before[n])}
    outputs = {"model.language_model.layers.0.mlp.down_proj.weight"}
    assert changed == outputs if trained == "mlp" else outputs < changed
    assert not any("layers.1." in n and "language_model" in n or "lm_head" in n for n in changed)


def test_with_adapters_rmu_trains_those_of_its_layers():
    pytest.importorskip("peft")
    model = stranger().adapt(rank=2, dropout=0.0)
    before = {n: p.detach().clone() for n, p in model.module.named_parameters()}
    RMU(**STEPS, depth=0.5).unlearn(model, SPLITS, Run(seed=0))
    changed = {n for n, p in model.module.named_parameters() if not torch.equal(p, before[n])}
    assert changed and all("layers.0.mlp.down_proj.lora_" in n for n in changed)


# ------------------------------------------------------------------------------------ finding neurons


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "qwen2_5_vl", "idefics2"])
def test_every_feed_forward_block_is_found_by_its_output(family):
    parts = small_mllm(family).parts()
    assert list(neurons.outputs(parts["language"])) == [f"layers.{i}.mlp.down_proj" for i in range(2)]
    assert len(neurons.outputs(parts["vision"])) == 2  # and no attention, though it is as wide


def test_with_adapters_the_same_blocks_are_found():
    pytest.importorskip("peft")
    plain, model = stranger(), stranger().adapt(rank=2)
    found = neurons.outputs(model.parts()["language"])
    assert list(found) == list(neurons.outputs(plain.parts()["language"]))
    assert all(hasattr(layer, "base_layer") for layer in found.values())


# ------------------------------------------------------------------------------------ MANU


def activity(rows, tau=0.1):
    made = Activity(tau)
    for row in rows:  # one by one: streaming changes nothing
        made.add("x", torch.tensor([row]))
    return made


def test_manus_importance_by_hand():
    """Two examples, one neuron: with picture 1 and 3, without 0 and 1."""
    found = importance(activity([[1.0], [3.0]]), activity([[0.0], [1.0]]), "x").item()
    absolute = (2 - 0.5) / 2.5
    frequency = (2 - 1) / 3
    variance = math.sqrt(2.0 + 0.5)
    energy = math.sqrt((10 - 1) / 11)
    assert found == pytest.approx(absolute + frequency + variance + energy, rel=1e-5)


def test_a_neuron_that_pictures_do_not_change_counts_by_its_variance_alone():
    rows = [[0.5, -2.0], [1.5, 4.0]]
    found = importance(activity(rows), activity(rows), "x")
    assert torch.allclose(found, torch.tensor(rows).var(0).mul(2).sqrt())
    single = importance(activity(rows[:1]), activity(rows[:1]), "x")
    assert torch.equal(single, torch.zeros(2))  # one example has no variance


def test_scores_are_the_ratio_or_the_difference_and_never_negative():
    f, r = torch.tensor([2.0, 1.0]), torch.tensor([1.0, 4.0])
    assert torch.allclose(MANU().scores(f, r), torch.tensor([2.0, 0.25]), rtol=1e-4)
    assert torch.equal(MANU(score="difference", weight=0.5).scores(f, r), torch.tensor([1.5, 0.0]))


def test_manu_reads_the_last_token_of_each_question_with_and_without_its_picture():
    model, method = acquainted(), MANU(batch=3)
    layers = neurons.outputs(model.parts()["language"])
    found = method.importances(model, layers, seen(SPLITS.forget + SPLITS.retain), Run())
    name = next(iter(layers))
    read = {}
    for shown in (True, False):
        rows = []
        for e in seen(SPLITS.forget + SPLITS.retain):
            hook = layers[name].register_forward_pre_hook(lambda _, x, rows=rows: rows.append(x[0][0, -1:].detach()))
            model.hidden_states(model.collate([e if shown else replace(e, image=NO_PICTURE)]))  # alone: no pad
            hook.remove()
        read[shown] = Activity(0.1)
        for row in rows:
            read[shown].add(name, row)
    torch.testing.assert_close(found[name], importance(read[True], read[False], name), rtol=1e-3, atol=1e-4)


def test_the_share_with_the_greatest_scores_is_cut_and_nothing_else():
    model, run = acquainted(), Run(seed=0)
    before = {n: p.detach().clone() for n, p in model.module.named_parameters()}
    method = MANU(share=0.25)
    layers = neurons.outputs(model.parts()["language"])
    of = [method.importances(model, layers, seen(part), Run()) for part in (SPLITS.forget, SPLITS.retain)]
    joined = torch.cat([method.scores(of[0][n], of[1][n]) for n in layers])
    method.unlearn(model, SPLITS, run)
    cut = torch.cat([(layer.weight == 0).all(0) for layer in layers.values()])
    assert run.facts["silenced_neurons"] == cut.sum() == 16
    assert joined[cut].min() >= joined[~cut].max()
    for name, p in model.module.named_parameters():
        changed = (p != before[name]).any(0) if "language_model" in name and "down_proj" in name else p != before[name]
        assert "down_proj" in name or not changed.any()


def test_half_a_decay_halves_and_adapters_are_cut_with_their_layer():
    line = nn.Linear(3, 2)
    wanted = line.weight.detach() * torch.tensor([1.0, 0.5, 1.0])
    silence(line, torch.tensor([False, True, False]), 0.5)
    torch.testing.assert_close(line.weight.detach(), wanted)
    pytest.importorskip("peft")
    model = stranger().adapt(rank=2, dropout=0.0)
    for layer in neurons.outputs(model.parts()["language"]).values():
        nn.init.normal_(layer.lora_B["default"].weight)
    model.module.eval()
    MANU(share=0.3).unlearn(model, SPLITS, Run(seed=0))
    merged = model.clone().merge()
    for layer in neurons.outputs(merged.parts()["language"]).values():
        assert layer.weight.shape[1] == 32
    total = sum(int((x.weight == 0).all(0).sum()) for x in neurons.outputs(merged.parts()["language"]).values())
    assert total == round(0.3 * 64)


def test_manu_needs_pictures_and_blocks():
    with pytest.raises(ExpungeError, match="no example to forget has a picture"):
        MANU().unlearn(stranger(), replace(SPLITS, forget=tuple(words(SPLITS.forget))), Run())
    bare = SimpleNamespace(parts=lambda: {"language": nn.Linear(2, 2)}, traits=SimpleNamespace(name="bare"))
    with pytest.raises(ExpungeError, match="no known MLP"):
        MANU().unlearn(bare, SPLITS, Run())
    with pytest.raises(ExpungeError, match="no feed-forward block in the language model of bare"):
        RMU().place(bare)
