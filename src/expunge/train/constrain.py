"""What keeps a gradient or a score where it should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return gradients[0] * weight, None


def scale_gradient(x: Tensor, weight: Tensor) -> Tensor:
    """``x`` unchanged forward; its gradient times ``weight`` (broadcast against x) backward."""
    return _Scale.apply(x, weight.detach())


@dataclass(frozen=True)
class Scaled:
    """A tap that scales the gradient of hidden states by ``weight``, which has a row for each pair that is fused."""

    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return scale_gradient(x, self.weight)

    def take(self, rows: Any) -> Scaled:
        return Scaled(self.weight[rows])


def stop_below(x: Tensor, floor: float) -> Tensor:
    """``x`` where it exceeds ``floor``, else the constant: minimising it stops there."""
    return x.clamp(min=floor)


def stop_above(x: Tensor, ceiling: float) -> Tensor:
    """``x`` where it is below ``ceiling``, else the constant: maximising it stops there."""
    return x.clamp(max=ceiling)


def frozen(parameters) -> Any:
    """Context: these parameters take no gradient inside the block and are as they were after it."""
    from contextlib import contextmanager

    @contextmanager
    def block():
        kept = [(p, p.requires_grad) for p in parameters]
        for p, _ in kept:
            p.requires_grad_(False)
        try:
            yield
        finally:
            for p, asked in kept:
                p.requires_grad_(asked)

    return block()
