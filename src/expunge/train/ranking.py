"""The k-th smallest magnitude of many tensors, exactly, without sorting or joining them.

Two passes over the bit patterns of float32. Of numbers that are not negative the patterns stand in the numbers' own
order, so the upper half of the pattern is a bin, the lower half a place in the bin: the first pass counts 65 536 bins
and finds the one that holds the k-th, the second counts 65 536 places in that bin. Both counts are integers, so they
are the same in any order and on any device. Every rank counts what it has, as each sees the whole batch
(``train.rows``): of a tensor that an engine has sharded that is a part, whose order is not that of the whole.

Half precision is widened, which is exact. Minus zero is zero. Infinities are the greatest magnitudes; NaN has no place
in the order and is refused. Peak extra memory: ``EXTRA_BYTES``, however large the tensors are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from expunge.train.shards import own_part

CHUNK = 1 << 20  # elements looked at together; a multiple of 8, so that packed bits of a chunk are whole bytes
EXTRA_BYTES = 24 << 20  # stated bound, as a test measures it; a tensor that is not contiguous is copied besides
BINS = 1 << 16
INFINITY = 0x7F800000  # its bit pattern; those of NaN are greater
EXACT = (torch.float32, torch.bfloat16, torch.float16)


def chunks(x: Tensor) -> Iterator[Tensor]:
    """This rank's part of ``x`` as flat pieces of at most ``CHUNK`` elements; views where ``x`` is contiguous."""
    flat = own_part(x).reshape(-1)
    if len(flat):  # an empty tensor would split into one empty piece
        yield from flat.split(CHUNK)


def kth_magnitude(tensors: Sequence[Tensor], k: int) -> float:
    """The k-th smallest of all |x|, k from 1, as ``torch.kthvalue`` of the joined magnitudes would give it.

    ``tensors`` are float32, bfloat16 or float16, of any shapes. Raises ValueError for a k that is out of range, for NaN
    and for other types.
    """
    _check_types(tensors)
    device = own_part(tensors[0]).device if len(tensors) else torch.device("cpu")
    coarse = _coarse(tensors, device)
    nan, total = int(coarse[BINS]), int(coarse[:BINS].sum())
    if nan:
        raise ValueError(f"{nan} of {total} numbers are NaN: they have no place in an order")
    if not 1 <= k <= total:
        raise ValueError(f"there are {total} numbers, so there is no {k}-th smallest")
    high, left = _place(coarse[:BINS], k)
    low, _ = _place(_fine(tensors, high, device), left)
    return float(torch.tensor((high << 16) | low, dtype=torch.int32).view(torch.float32))


def size(tensors: Iterable[Tensor]) -> int:
    """How many numbers there are."""
    return sum(own_part(x).numel() for x in tensors)


def magnitudes(chunk: Tensor) -> Tensor:
    """|x| in float32; a new tensor."""
    return chunk.to(torch.float32).abs()


def _coarse(tensors: Iterable[Tensor], device: torch.device) -> Tensor:
    """Numbers by the upper half of their pattern, [65 536], and then how many of them are NaN, [1]."""
    counts = torch.zeros(BINS + 1, dtype=torch.int64, device=device)
    for x in tensors:
        for chunk in chunks(x):
            bits = magnitudes(chunk).view(torch.int32)
            counts[BINS] += (bits > INFINITY).sum().to(device)
            counts[:BINS] += torch.bincount(bits >> 16, minlength=BINS).to(device)
    return counts


def _fine(tensors: Iterable[Tensor], high: int, device: torch.device) -> Tensor:
    """Numbers of one bin by the lower half of their pattern, [65 536]."""
    counts = torch.zeros(BINS, dtype=torch.int64, device=device)
    for x in tensors:
        for chunk in chunks(x):
            bits = magnitudes(chunk).view(torch.int32)
            inside = bits[(bits >> 16) == high] & (BINS - 1)
            counts += torch.bincount(inside, minlength=BINS).to(device)
    return counts


def _place(counts: Tensor, k: int) -> tuple[int, int]:
    """The place whose count reaches the k-th, and which of that place's numbers it is, from 1."""
    reached = counts.cumsum(0)
    at = int(torch.searchsorted(reached, k))
    return at, k - int(reached[at] - counts[at])


def _check_types(tensors: Iterable[Tensor]) -> None:
    for x in tensors:
        if x.dtype not in EXACT:
            known = ", ".join(str(t).removeprefix("torch.") for t in EXACT)
            raise ValueError(f"magnitudes of {x.dtype} cannot be ordered exactly in 32 bits; there is: {known}")
