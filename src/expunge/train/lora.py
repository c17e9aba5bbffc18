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

from expunge.core.scale import Lora
from expunge.train import adapters
from expunge.train.adapters import LANGUAGE

FOLDER = "adapter"
TOWERS = ("vision", "text", "fusion")
"""What is adapted where nobody says, of models that do not write."""


@contextmanager
def lora_trained(model: Any, lora: Lora | None, folder: Path | None = None, seed: int = 0) -> Iterator[None]:
    """Inside the block only adapters of ``model``, drawn from ``seed``, take gradients; after it they are part of its
    layers. Without ``lora`` nothing happens.

    The adapter is saved as peft does it, below ``folder``. Raises ExpungeError without peft, and for roles that the
    model has not.
    """
    if lora is None:
        yield
        return
    asked = {name: p.requires_grad for name, p in model.module.named_parameters()}
    parts = model.parts()
    own = LANGUAGE if set(LANGUAGE) <= set(parts) else TOWERS
    roles = [role.strip() for role in lora.roles.split("+")] if lora.roles else own
    adapters.adapt(model.module, parts, rank=lora.r, alpha=lora.alpha, dropout=0.0, roles=roles, seed=seed)
    try:
        yield
        if folder is not None:
            _save(model.module, folder / FOLDER)
    finally:
        adapters.merge(model.module)
        for name, p in model.module.named_parameters():
            p.requires_grad_(asked[name])


def _save(module: Any, folder: Path) -> None:
    """As ``peft.PeftModel`` saves it, so that peft opens it on the model of before."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir()
    module.peft_config["default"].save_pretrained(str(folder))
    state = get_peft_model_state_dict(module)
    save_file(
        {f"base_model.model.{name}": tensor.detach().cpu().contiguous() for name, tensor in state.items()},
        folder / "adapter_model.safetensors", metadata={"format": "pt"},
    )  # fmt: skip
