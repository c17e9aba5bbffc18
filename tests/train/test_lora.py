"""Adapters: what moves has low rank, the model has its own layers again, and methods must agree."""

import peft
import pytest
import torch

from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.core.scale import Lora, Scale
from expunge.methods.editing.slug import SLUG
from expunge.methods.training.gradient_ascent import GradientAscent
from expunge.outcome import unlearn
from expunge.testing import small_albef, small_blip, small_mllm, small_splits
from expunge.train.lora import lora_trained


@pytest.mark.parametrize("build", [small_albef, small_blip])
def test_the_change_has_the_rank_that_was_asked(build, tmp_path):
    model = build()
    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    run = Run(0, tmp_path, scale=Scale(lora=Lora(2, 16, "vision+fusion")))
    after, _ = unlearn(GradientAscent(least_steps=3), model, small_splits(), run)
    states = after.module.state_dict()
    assert states.keys() == before.keys()
    moved = [k for k in before if not torch.equal(before[k], states[k])]
    inside = {id(p) for role in ("vision", "fusion") for p in after.parts()[role].parameters()}
    assert moved and all(id(after.module.get_parameter(name)) in inside for name in moved)
    assert max(int(torch.linalg.matrix_rank(states[k] - before[k], rtol=1e-4)) for k in moved) <= 2
    assert all(p.requires_grad for p in after.module.parameters())
    assert sorted(p.name for p in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    plain = build()  # what peft reads back onto the model of before is what was trained
    again = peft.PeftModel.from_pretrained(plain.module, str(tmp_path / "adapter")).merge_and_unload().state_dict()
    assert all(torch.allclose(again[k], v, atol=1e-6) for k, v in states.items())
    after.save_pretrained(tmp_path / "model")
    loaded = type(after).from_pretrained(tmp_path / "model").module.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in states.items())


def test_where_no_roles_are_named_the_model_decides():
    for build, inside in ((small_albef, {"vision", "text", "fusion"}), (lambda: small_mllm("llava"), {"language"})):
        model = build()
        before = {n: p.detach().clone() for n, p in model.module.named_parameters()}
        own = {id(p) for role in inside for p in model.parts()[role].parameters()}
        with lora_trained(model, Lora(r=2)):
            trained = [p for p in model.module.parameters() if p.requires_grad]
            assert trained and all(p.ndim == 2 and 2 in p.shape for p in trained)
            with torch.no_grad():
                for p in trained:
                    p.add_(0.1)
        moved = [p for n, p in model.module.named_parameters() if not torch.equal(p, before[n])]
        assert moved and all(id(p) in own for p in moved)


def test_methods_and_roles_that_do_not_fit_are_refused():
    asked = Run(scale=Scale(lora=Lora()))
    with pytest.raises(ExpungeError, match="SLUG does not say"):
        unlearn(SLUG(), small_albef(), small_splits(), asked)
    asked.scale = Scale(lora=Lora(roles="vision+wheels"))
    with pytest.raises(ExpungeError, match="no part called 'wheels'; there is vision"):
        unlearn(GradientAscent(), small_albef(), small_splits(), asked)
