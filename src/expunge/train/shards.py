"""Tensors that an engine has spread over ranks (FSDP2's DTensor): the part that lies here, and the whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def is_sharded(x: Any) -> bool:
    """Whether ``x`` is a DTensor; asked without importing torch.distributed, which costs seconds."""
    return hasattr(x, "to_local") and hasattr(x, "placements")


@torch.no_grad()
def own_part(x: Tensor) -> Tensor:
    """This rank's part, sharing its memory; a plain tensor is its own part. Takes no gradient."""
    return x.to_local() if is_sharded(x) else x.detach()  # type: ignore[attr-defined]


@torch.no_grad()
def whole(x: Any) -> Any:
    """All of ``x`` in main memory where ranks hold parts of it (every rank must ask); anything else as it is."""
    return x.full_tensor().cpu() if is_sharded(x) else x


@torch.no_grad()
def parted(value: Any, like: Any) -> Any:
    """A whole tensor cut as ``like`` is cut, where that is and has its shape; anything else as it is."""
    if not is_sharded(like) or getattr(value, "shape", None) != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
