"""How much a loss hangs on each weight: gradients and squared gradients, streamed, and kept in float32.

Equation: ``fisher`` per sample: F_p = mean over samples of (dL_i / dtheta_p)^2, the diagonal of the empirical Fisher
    information; per batch: mean over batches of (d mean(L) / dtheta_p)^2, which is smaller by about the batch's size
    and loses what cancels within a batch.
Symbols: L [B], nats per example; theta_p one weight.
Paper: per batch is what MMUnlearner's official code computes; SSD and SalUn have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from expunge.core.errors import Diverged
from expunge.core.run import Run
from expunge.core.types import Example, batches
from expunge.train.ranking import CHUNK
from expunge.train.shards import own_part


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that take a gradient, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def gradients(
    named: Mapping[str, nn.Parameter], losses: Iterable[Tensor], *, keep_graph: bool = False
) -> Iterator[dict[str, Tensor]]:
    """The gradient of each loss by name, one after the other; names that it does not reach are left out.

    ``keep_graph`` where the losses share one. Works on whatever ``backward`` fills, so also on sharded parameters,
    whose gradients are sharded. What stood in ``grad`` before stands there afterwards.
    """
    with _own_gradients(named.values()):
        for loss in losses:
            loss.backward(retain_graph=keep_graph)
            found = {name: p.grad for name, p in named.items() if p.grad is not None}
            for p in named.values():
                p.grad = None
            yield found


def summed(named: Mapping[str, nn.Parameter], losses: Iterable[Tensor]) -> dict[str, Tensor]:
    """The gradient of the losses' sum by name, in float32 (this rank's part)."""
    total: dict[str, Tensor] = {}
    for found in gradients(named, losses):
        for name, gradient in found.items():
            part = own_part(gradient).to(torch.float32)
            total[name] = total[name].add_(part) if name in total else part.clone()
    return total


class SquaredGradients:
    """The mean of squared gradients, in float32 whatever the weights are in: four bytes per weight."""

    def __init__(self, named: Mapping[str, nn.Parameter]):
        self._sums = {n: torch.zeros(own_part(p).shape, device=p.device) for n, p in named.items()}
        self._count = 0

    def add(self, gradients: Mapping[str, Tensor]) -> None:
        """One more gradient; what it does not name counts as zero."""
        for name, gradient in gradients.items():
            total = self._sums[name].view(-1)
            for start, piece in enumerate(own_part(gradient).reshape(-1).split(CHUNK)):
                piece = piece.to(torch.float32)
                total[start * CHUNK : start * CHUNK + len(piece)].addcmul_(piece, piece)
        self._count += 1

    def mean(self) -> dict[str, Tensor]:
        """By name. Ends the streaming: the sums become the means, in place. Raises Diverged, a FloatingPointError,
        where a gradient was not finite."""
        for name, total in self._sums.items():
            total.div_(max(float(self._count), 1.0))
            if not torch.isfinite(total.sum()):
                raise Diverged(
                    f"a gradient of {name} is not finite, or too large to be squared: evaluate the model first, since "
                    "its loss on these examples may be no number; or compute in more places (--precision fp32)."
                )
        return self._sums


def fisher(
    named: Mapping[str, nn.Parameter],
    loss: Callable[[Sequence[Example]], Tensor],
    examples: Sequence[Example],
    run: Run,
    *,
    per: Literal["sample", "batch"] = "sample",
    batch: int = 16,
    what: str = "weighing parameters",
) -> dict[str, Tensor]:
    """Mean squared gradient of every parameter in ``named``, zero where the loss does not reach.

    ``loss`` gives [B]. ``per="sample"`` squares each example's own gradient, one backward pass for each through the
    graph of its batch: a contrastive loss keeps the neighbours that it needs, and with ``batch=1`` engines that allow
    one backward pass only (FSDP) do as well. ``per="batch"`` squares the gradient of the batch's mean.
    """
    squares = SquaredGradients(named)
    with run.stage(what, len(examples)):
        for some in batches(examples, batch):
            each = loss(some)
            wanted = [each.mean()] if per == "batch" else list(each)
            for found in gradients(named, wanted, keep_graph=len(wanted) > 1):
                squares.add(found)
            run.progress.advance(len(some))
    return squares.mean()


@contextmanager
def _own_gradients(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    before: list[tuple[Any, Tensor | None]] = [(p, p.grad) for p in parameters]
    for p, _ in before:
        p.grad = None
    try:
        yield
    finally:
        for p, gradient in before:
            p.grad = gradient
