"""LoRA on a chat model, put on and merged in place: the model keeps its class and its names (see ``train.adapters``).

Needs the extra ``lora``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import nn

from expunge.core.errors import ExpungeError
from expunge.train.adapters import adapted, plain_name

__all__ = ["ROLES", "adapt", "adapted", "merge", "plain_name"]

ROLES = ("language",)
"""Where the paper's baselines put adapters: MLLMU-Bench and MMUnlearner adapt the language model's linear layers."""


def adapt(
    model: nn.Module,
    parts: Mapping[str, nn.Module],
    *,
    rank: int = 16,
    alpha: float = 16.0,
    dropout: float = 0.05,
    roles: Collection[str] = ROLES,
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
    for name, layer in list(model.named_modules()):
        if not hasattr(layer, "base_layer"):
            continue
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    return model
