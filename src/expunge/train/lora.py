"""Thin trained matrices beside frozen linear layers (LoRA), by peft; merged into the layers when the work is done.

Equation: W' = W + (alpha / r) B A, with A [r, in] drawn small, B [out, r] zero at the start.
Paper: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (ICLR 2022).
The model that comes out loads where the old one did, and what changed has rank r at most: A and B are saved beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from expunge.core.errors import ExpungeError
from expunge.core.scale import Lora

FOLDER = "adapter"


@contextmanager
def adapted(model: Any, lora: Lora | None, folder: Path | None = None) -> Iterator[None]:
    """Inside the block only adapters of ``model`` take gradients; after it they are part of its layers.

    The adapter is saved as peft does it, below ``folder``. Raises ExpungeError without peft, and for roles that the
    model has not.
    """
    if lora is None:
        yield
        return
    try:
        import peft
    except ImportError:
        raise ExpungeError("LoRA needs peft, which is not installed: pip install 'expunge[lora]'.") from None
    asked = {name: p.requires_grad for name, p in model.module.named_parameters()}
    config = peft.LoraConfig(r=lora.r, lora_alpha=lora.alpha, target_modules=linear_layers(model, lora.roles))
    around = peft.get_peft_model(model.module, config)
    try:
        yield
        if folder is not None:
            around.save_pretrained(str(folder / FOLDER))
            (folder / FOLDER / "README.md").unlink(missing_ok=True)  # an empty form
    finally:
        around.merge_and_unload()  # in place: ``model.module`` has its own layers again
        if hasattr(model.module, "peft_config"):
            del model.module.peft_config
        for name, p in model.module.named_parameters():
            p.requires_grad_(asked[name])


def linear_layers(model: Any, roles: str) -> list[str]:
    """Names of the linear layers in some roles of a model, in the model's order."""
    parts = model.parts()
    wanted = [role.strip() for role in roles.split("+")]
    if odd := [role for role in wanted if role not in parts]:
        raise ExpungeError(f"the model has no part {', '.join(odd)} for LoRA; it has: {', '.join(parts)}.")
    inside = {id(m) for role in wanted for m in parts[role].modules() if isinstance(m, nn.Linear)}
    found = [name for name, m in model.module.named_modules() if id(m) in inside]
    if not found:
        raise ExpungeError(f"there is no linear layer in {roles}: LoRA has nothing to stand beside.")
    return found
