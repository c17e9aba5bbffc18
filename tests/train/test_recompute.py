"""Activations computed twice are the same, and are computed twice."""

import pytest
import torch
from PIL import Image

from expunge.core.errors import ExpungeError
from expunge.core.pictures import HeldPicture
from expunge.core.run import Run
from expunge.core.scale import Scale
from expunge.core.types import Example
from expunge.testing import small_albef, small_answers, small_blip, small_mllm, small_splits
from expunge.train.fit import Schedule
from expunge.train.recompute import layers, recomputing
from expunge.train.task import train_task
from expunge.zoo.shelf import made_for


@pytest.mark.parametrize(("build", "count"), [(small_albef, 4), (small_blip, 3), (small_answers, 6)])
def test_the_weights_are_the_same_bit_for_bit(build, count):
    states, calls = [], []
    for scale in (Scale(), Scale(recompute=True)):
        model, seen = build(), []
        found = layers(model.module)
        assert len(found) == count
        norm = next(m for m in found[0].modules() if isinstance(m, torch.nn.LayerNorm))
        norm.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        some = small_splits(task=made_for(model)).forget[:6]
        train_task(model, some, Run(1, scale=scale), Schedule(1, 1e-3, 6), what="")
        states.append(model.module.state_dict())
        calls.append(len(seen))
    assert calls[1] > calls[0]
    assert all(torch.equal(states[0][k], v) for k, v in states[1].items())
    assert "forward" not in vars(found[0])  # as it was


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_chat_models_layers_are_those_that_transformers_names(family):
    model, found = small_mllm(family, ["what is in the picture"]), []
    example = Example("e", HeldPicture("red", Image.new("RGB", (32, 32), "red")), "", question="what", answer="picture")
    for wanted in (False, True):
        model.module.zero_grad()
        calls = []
        hook = layers(model.module)[-1].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        inner = next(m for m in layers(model.module)[-1].modules() if isinstance(m, torch.nn.Linear))
        twice = inner.register_forward_hook(lambda *_, calls=calls: calls.append(2))
        with recomputing(model.module, wanted):
            model.loss(model.collate([example])).mean().backward()
        hook.remove(), twice.remove()
        assert calls.count(2) == 1 + wanted
        found.append({n: p.grad.clone() for n, p in model.module.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys() and all(torch.equal(found[0][n], found[1][n]) for n in found[0])


def test_a_model_that_names_no_layers_is_refused():
    with pytest.raises(ExpungeError, match="a Linear"), recomputing(torch.nn.Linear(1, 1)):
        pass
