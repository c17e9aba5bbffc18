"""Names of weights in a model that carries LoRA adapters.

A layer ``….q_proj`` becomes ``….q_proj.base_layer`` with ``….q_proj.lora_A.default`` and ``….lora_B.default`` beside
it. ``plain_name`` gives the name that the weight has in a model without adapters, so that a mask or an importance that
was computed for ``….q_proj.weight`` finds its layer, and ``adapted`` gives the layers by that name.
"""

from __future__ import annotations

from typing import Any

from torch import nn

_MARK = ".base_layer."
_ADDED = (".lora_A.", ".lora_B.", ".lora_magnitude_vector.", ".lora_embedding_A.", ".lora_embedding_B.")


def plain_name(name: str) -> str | None:
    """The name without adapters of a parameter's name with them; None for what an adapter added."""
    return None if any(mark in name for mark in _ADDED) else name.replace(_MARK, ".")


def adapted(model: nn.Module) -> dict[str, Any]:
    """Layers that carry an adapter, by the plain name of their weight; empty where none does."""
    return {f"{name}.weight": layer for name, layer in model.named_modules() if hasattr(layer, "base_layer")}
