"""The neurons of a model: hidden units of its feed-forward blocks, found by how the blocks are built."""

from __future__ import annotations

from typing import Any

from torch import nn

STILL = (nn.Identity, nn.Dropout)
"""Leaves without weights that are no activation."""


def outputs(part: nn.Module) -> dict[str, Any]:
    """The layer that reads the neurons of every feed-forward block below ``part``, by name, first block first.

    A block is a module whose own children are an activation and two or three linear layers, of which the last reads
    what the others write (Llama, Qwen, Mistral, CLIP, OPT). A layer that carries adapters counts as the layer it is.
    """
    found = {}
    for name, module in part.named_modules():
        children = dict(module.named_children())
        lines = {key: child for key, child in children.items() if _is_linear(child)}
        if len(lines) not in (2, 3) or not any(map(_is_activation, children.values())):
            continue
        *before, last = lines
        if all(lines[key].out_features == lines[last].in_features for key in before):
            found[f"{name}.{last}".removeprefix(".")] = lines[last]
    return found


def _is_linear(module: nn.Module) -> bool:
    """With adapters it is no ``nn.Linear`` any more, but as wide as one."""
    return hasattr(module, "in_features") and hasattr(module, "out_features")


def _is_activation(module: nn.Module) -> bool:
    bare = next(module.parameters(), None) is None and next(module.buffers(), None) is None
    return bare and next(module.children(), None) is None and not isinstance(module, STILL)
