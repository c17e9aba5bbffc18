"""Every backbone that is saved by itself keeps the same promises."""

import pytest
import torch

from expunge.core import plugins
from expunge.core.types import Backbone
from expunge.testing import (
    small_albef,
    small_answers,
    small_blip,
    small_blip_answers,
    small_blip_entailment,
    small_corpus,
    small_entailment,
    small_mllm,
    small_painter,
    small_writer,
)
from expunge.zoo.shelf import made_for

BUILDERS = {
    "albef": small_albef,
    "albef that answers": small_answers,
    "albef that judges": small_entailment,
    "blip": small_blip,
    "blip that answers": small_blip_answers,
    "blip that judges": small_blip_entailment,
    "blip2": small_writer,
    "mllm": small_mllm,
    "mllm of Qwen2-VL": lambda: small_mllm("qwen2_vl"),
}


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def build(request):
    return BUILDERS[request.param]


def test_the_battery_sees_every_package():
    assert {name.split()[0] for name in BUILDERS} | {"stable_diffusion"} == {
        e.name for e in plugins.entries("backbones")
    }


def test_a_backbone_keeps_its_promises(build, tmp_path):
    model = build()
    assert isinstance(model, Backbone) and model.parts()
    examples = small_corpus(made_for(model)).train[:4]
    batch = model.collate(examples)
    buffers = {k: v.clone() for k, v in model.module.named_buffers()}
    with torch.no_grad():
        torch.manual_seed(0)
        told = model.loss(batch)
        assert told.shape == (4,) and told.isfinite().all()
        model.save_pretrained(tmp_path)
        torch.manual_seed(0)
        assert torch.equal(type(model).from_pretrained(tmp_path).loss(batch), told)
        twin = model.clone()
        for parameter in twin.module.parameters():
            parameter.add_(0.1)
        torch.manual_seed(0)
        assert torch.equal(model.loss(batch), told)
    assert all(torch.equal(buffers[k], v) for k, v in model.module.named_buffers())


def entry_of(model):
    module = type(model).__module__
    return next(e for e in plugins.entries("backbones") if f"{module}.".startswith(f"{e.module}."))


def test_what_the_source_says_is_what_the_model_has(build):
    """The capability matrix is read off the source; a loaded model is asked for its members."""
    model = build()
    entry = entry_of(model)
    assert plugins.provides(model) == entry.serves.get(made_for(model), entry.provides)


def test_a_package_has_what_its_models_have_together():
    found = {}
    for make in (*BUILDERS.values(), small_painter):
        model = make()
        found.setdefault(entry_of(model).name, set()).update(plugins.provides(model))
    assert found == {e.name: set(e.provides) for e in plugins.entries("backbones")}
