"""Gradient checkpointing: a layer's activations are dropped and computed again when its gradient is wanted.

Memory for time: what is kept of a layer is its input. The numbers are the same bit for bit on a CPU. transformers' own
switch works in training mode only, and unlearning trains in evaluation mode; so it is done here, for the layers that a
model names in ``recomputable``, or in ``_no_split_modules`` as transformers calls them.
Paper: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from expunge.core.errors import ExpungeError

MARK = "recomputed"


@contextmanager
def recomputing(module: nn.Module, wanted: bool = True) -> Iterator[None]:
    """Inside the block every layer of ``module`` keeps its input only. ExpungeError for a model that names none."""
    found = layers(module) if wanted else []
    if wanted and not found:
        raise ExpungeError(f"gradient checkpointing is not known for a {type(module).__name__}: it names no layers.")
    for layer in found:
        layer.forward = partial(_again, layer.forward)  # beneath the hooks of ``__call__``: engines gather only once
        setattr(layer, MARK, True)
    try:
        yield
    finally:
        for layer in found:
            del layer.forward
            delattr(layer, MARK)


def run(layer: nn.Module, call: Callable[..., Any], *given: Any) -> Any:
    """``call(*given)``, which uses the parts of ``layer`` without its ``forward``, as that would be run."""
    return (_again if getattr(layer, MARK, False) else _once)(call, *given)


def layers(module: nn.Module) -> list[nn.Module]:
    """The layers of a model by the names of their classes; those of momentum copies take no gradient and stay."""
    names = set(getattr(module, "recomputable", None) or getattr(module, "_no_split_modules", None) or ())
    return [m for m in module.modules() if {c.__name__ for c in type(m).__mro__} & names]


def _again(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return call(*given, **named)
    return checkpoint(call, *given, use_reentrant=False, **named)


def _once(call: Callable[..., Any], *given: Any) -> Any:
    return call(*given)
