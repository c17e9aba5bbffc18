"""LoRA adapters put on a model and merged in place: the model keeps its class and its names. Needs the extra ``lora``.

A layer ``….q_proj`` becomes ``….q_proj.base_layer`` with ``….q_proj.lora_A.default`` and ``….lora_B.default`` beside
it. ``plain_name`` gives the name that the weight has in a model without adapters, so that a mask or an importance that
was computed for ``….q_proj.weight`` finds its layer, and ``adapted`` gives the layers by that name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from expunge.core.errors import ExpungeError

LANGUAGE = ("language",)
"""Where the paper's baselines put adapters: MLLMU-Bench and MMUnlearner adapt the language model's linear layers."""
_MARK = ".base_layer."
_ADDED = (".lora_A.", ".lora_B.", ".lora_magnitude_vector.", ".lora_embedding_A.", ".lora_embedding_B.")


def plain_name(name: str) -> str | None:
    """The name without adapters of a parameter's name with them; None for what an adapter added."""
    return None if any(mark in name for mark in _ADDED) else name.replace(_MARK, ".")


def adapted(model: nn.Module) -> dict[str, Any]:
    """Layers that carry an adapter, by the plain name of their weight; empty where none does."""
    return {f"{name}.weight": layer for name, layer in model.named_modules() if hasattr(layer, "base_layer")}


def adapt(
    model: nn.Module,
    parts: Mapping[str, nn.Module],
    *,
    rank: int = 16,
    alpha: int = 16,
    dropout: float = 0.05,
    roles: Collection[str] = LANGUAGE,
    seed: int = 0,
) -> None:
    """Put adapters on every linear layer of the parts called ``roles``, drawn from ``seed``; all else is frozen.

    Defaults are MMUnlearner's for LLaVA-1.5 (rank 16, alpha 16, dropout 0.05). Raises ExpungeError where peft is not
    installed, where a role is unknown or has no linear layer, and where there are adapters already.
    """
    import torch

    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ExpungeError("LoRA needs peft: install expunge with the extra 'lora', as in expunge[lora].") from None
    if adapted(model):
        raise ExpungeError("this model carries adapters already. Merge them first.")
    if unknown := sorted(set(roles) - set(parts)):
        raise ExpungeError(f"no part called {unknown[0]!r}; there is {', '.join(parts)}.")
    chosen = {id(layer) for role in roles for layer in parts[role].modules() if isinstance(layer, nn.Linear)}
    targets = [name for name, layer in model.named_modules() if id(layer) in chosen]
    if not targets:
        raise ExpungeError(f"{', '.join(roles)} holds no linear layer that could be adapted.")
    settings = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, model)


def merge(model: nn.Module) -> nn.Module:
    """Add every adapter to its weight and take it off, in place; returns the model, which has its old names again."""
    layers: list[tuple[str, Any]] = list(model.named_modules())
    for name, layer in layers:
        if not hasattr(layer, "base_layer"):
            continue
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    return model
