"""Rows of a batch shared out among ranks: every rank computes its share and is given all of them.

A loss may compare anything in its batch with anything else (contrast, hard negatives, similarities of strangers), and
methods invent new ones. So ranks do not each take a part of the loss: all of them see the whole batch and compute the
same loss with the same draws, and what is dear in it, the encoders and the fusion (``by_rows``), is shared out by rows
and gathered. No loss has to know how many ranks there are, and in-batch terms see every feature, whoever made it.

Gradients: N ranks hold the same loss L, so what is differentiated is N L, and engines average over the N ranks: that
is the gradient of L, whether something was computed once, on every rank, or in shares. It needs the exact transpose of
gathering: the sum over ranks of the gradient of each row. (The trap: taking one's own rows of one's own gradient misses
what the other ranks' rows did with them, and dividing by N again makes every step N times too small.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.core import ranks
from expunge.core.run import Progress

C = TypeVar("C", bound=Callable[..., Any])
Item = TypeVar("Item")
Made = TypeVar("Made", bound=tuple)

_sharing = False
_settling = True
_calls = 0


@contextmanager
def sharing(wanted: bool = True, *, settling: bool = True) -> Iterator[None]:
    """Inside the block the methods marked ``by_rows`` share their rows out, where there are several ranks.

    ``settling``: where one rank fails the others are told at once. Not where ranks wait for one another inside layers:
    there the one that fails leaves, and the launcher ends the others.
    """
    global _sharing, _settling
    before = _sharing, _settling
    _sharing, _settling = wanted and ranks.count() > 1, settling
    try:
        yield
    finally:
        _sharing, _settling = before


def by_rows(method: C) -> C:
    """Mark a backbone's method whose rows do not see one another: shared out inside ``sharing``, as it is elsewhere.

    Its arguments are indexed by row: tensors [B, ...], dicts of them, and whatever has ``take`` or is indexed itself
    (encoded, prepared). A tap is shared only where it has ``take``: a plain function may hold rows of the whole batch.
    """

    @wraps(method)
    def shared(self: Any, *given: Any, **named: Any) -> Any:
        rows = _height(given[0]) if _sharing else 0
        taps = [tap for value in (*given, *named.values()) if _are_taps(value) for tap in value.values()]
        if not rows or not all(hasattr(tap, "take") for tap in taps):
            return method(self, *given, **named)
        return _shared(lambda *g, **n: method(self, *g, **n), rows, given, named, self.module.training)

    return shared  # type: ignore[return-value]


def shares(rows: int) -> list[int]:
    """How many of ``rows`` each rank has: as even as can be, the first ranks having one more."""
    many = ranks.count()
    return [rows // many + (i < rows % many) for i in range(many)]


def gather_rows(mine: Tensor, counts: Sequence[int]) -> Tensor:
    """Every rank's rows [counts[i], ...] below one another, on every rank; gradients come back to whoever made them."""
    if len(counts) == 1:
        return mine
    if torch.is_grad_enabled() and mine.requires_grad:
        return _Gather.apply(mine, tuple(counts))  # type: ignore[return-value]
    return _exchange(mine, counts)


def spread(
    items: Sequence[Item], work: Callable[[Item], Made], progress: Progress, size: Callable[[Item], int]
) -> list[Made]:
    """``work`` done on every item by one of the ranks, in order, on every rank; neighbours stay with one rank.

    Results are tuples of tensors or None, without gradients; they may differ in all sizes. ``size`` says how far an
    item moves the bar. Raises on every rank what ``work`` raises on one. Every rank must ask.
    """
    many = ranks.count()
    owners = [i * many // len(items) for i in range(len(items))]
    mine: list[Made] = []
    with ranks.together():
        for item, owner in zip(items, owners):
            if owner == ranks.index():
                mine.append(work(item))
                progress.advance(many * size(item))
    return mine if many == 1 else _everybodys(mine, owners)


def deal(
    items: Sequence[Item], work: Callable[[Item], Any], progress: Progress, size: Callable[[Item], int]
) -> list[Any]:
    """The same for results of any kind (they are pickled). Items are dealt out in turn, so that where the long ones
    come first nobody has them all. Every rank must ask."""
    many = ranks.count()
    mine = []
    with ranks.together():
        for item in items[ranks.index() :: many]:
            mine.append(work(item))
            progress.advance(many * size(item))
    hands = ranks.gather(mine)
    return [hands[i % many][i // many] for i in range(len(items))]


# ---------------------------------------------------------------------------------------------- inside


def _shared(method: Callable[..., Any], rows: int, given: Sequence, named: Mapping, training: bool) -> Any:
    """The method on this rank's rows, all ranks' results. If it fails on one rank it fails on all."""
    counts = shares(rows)
    start, size = sum(counts[: ranks.index()]), counts[ranks.index()]
    # A rank without a row computes one that nobody wants: engines wait for every rank in every layer.
    chosen = slice(start, start + size) if size else slice(0, 1)
    error: Exception | None = None
    made: Any = None
    settling = _settling
    try:
        with sharing(False), _own_draws() if training else nullcontext():
            made = method(*(_some(v, chosen) for v in given), **{k: _some(v, chosen) for k, v in named.items()})
    except Exception as caught:
        if not settling:
            raise
        error = caught
    if settling:
        _settle(error)
    return _gathered(made, size, counts)


def _settle(error: Exception | None) -> None:
    """``ranks.settle``, at the price of one number where all is well."""
    from torch import distributed

    failed = torch.tensor([0 if error is None else 1], device=ranks.device())
    distributed.all_reduce(failed)
    if int(failed):
        ranks.settle(error)


@contextmanager
def _own_draws() -> Iterator[None]:
    """Dropout of this rank's rows: other draws than the other ranks', and the common generator stays common."""
    global _calls
    _calls += 1
    device = ranks.device()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((torch.initial_seed() + 7919 * _calls + 104729 * (ranks.index() + 1)) % 2**63)
        yield


def _height(value: Any) -> int:
    """How many rows an argument has."""
    if isinstance(value, Mapping):
        return len(next(iter(value.values())))
    return len(getattr(value, "tokens", getattr(value, "states", value)))


def _are_taps(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and not any(isinstance(v, Tensor) for v in value.values())


def _some(value: Any, chosen: slice) -> Any:
    """The chosen rows of an argument."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {k: v.take(chosen) if hasattr(v, "take") and callable(v) else v[chosen] for k, v in value.items()}
    if isinstance(value, tuple):  # a named one: encoded or fused
        taken: Any = type(value)
        return taken(*(None if v is None else v[chosen] for v in value))
    return value[chosen]


def _gathered(made: Any, size: int, counts: Sequence[int]) -> Any:
    """Tensors, or named tuples of tensors, of all ranks."""
    if made is None:
        return None
    if isinstance(made, Tensor):
        return gather_rows(made[:size], counts)
    return type(made)(*(_gathered(part, size, counts) for part in made))


def _everybodys(mine: Sequence[Any], owners: Sequence[int]) -> list[Any]:
    """Tuples of tensors in order, of which rank ``owners[k]`` has made the k-th."""
    told = ranks.gather([[None if t is None else (tuple(t.shape), t.dtype) for t in made] for made in mine])
    flat = [_bytes(t) for made in mine for t in made if t is not None]
    home = next((t.device for made in mine for t in made if t is not None), ranks.device())
    sizes = [[_size(one) for made in some for one in made] for some in told]
    empty = torch.empty(0, dtype=torch.uint8)
    held = _exchange(torch.cat(flat) if flat else empty, [sum(one) for one in sizes]).split([sum(one) for one in sizes])
    parts = [iter(part.split(one)) for part, one in zip(held, sizes)]
    shapes = [iter(some) for some in told]
    found = []
    for owner in owners:
        made = [(next(parts[owner]), one) for one in next(shapes[owner])]
        found.append(tuple(None if one is None else _unpacked(part, *one).to(home) for part, one in made))
    return found


def _size(told: tuple[tuple[int, ...], torch.dtype] | None) -> int:
    """Bytes of a tensor of that shape and type."""
    return 0 if told is None else torch.Size(told[0]).numel() * told[1].itemsize


class _Gather(torch.autograd.Function):
    """Forward: all ranks' rows. Backward: the sum over ranks of the gradient of this rank's rows."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.counts = counts
        return _exchange(mine, counts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        from torch import distributed

        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        start = sum(ctx.counts[: ranks.index()])
        return total[start : start + ctx.counts[ranks.index()]], None


def _exchange(mine: Tensor, counts: Sequence[int]) -> Tensor:
    """All ranks' rows. They travel as bytes, so that every type may; shorter ones are padded, as all must be equal."""
    from torch import distributed

    mine, most = mine.detach(), max(counts)
    if not most or not mine[:1].numel() and mine.dim() > 1 and 0 in mine.shape[1:]:
        return mine.new_empty(sum(counts), *mine.shape[1:])
    home, where = mine.device, ranks.device()
    wide = F.pad(mine, (0, 0) * (mine.dim() - 1) + (0, most - len(mine)))
    flat = _bytes(wide).to(where)
    held = [torch.empty_like(flat) for _ in counts]
    distributed.all_gather(held, flat)
    return torch.cat([_unpacked(h, wide.shape, mine.dtype)[:n].to(home) for h, n in zip(held, counts)])


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _unpacked(flat: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    if not flat.numel():
        return torch.empty(tuple(shape), dtype=dtype, device=flat.device)
    # A slice of bytes may begin anywhere; another type must begin where it fits.
    return flat.clone().view(dtype).reshape(tuple(shape))
