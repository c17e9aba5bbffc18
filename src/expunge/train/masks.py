"""Which weights may move: one bit for each, packed; made from importances without a sort, saved, joined, and held.

A mask is made of a parameter's own part, so that under FSDP every rank has the masks of its shards. Importances are
ranked before an engine shards anything: every rank then has them all, and the same thresholds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.train.ranking import chunks, kth_magnitude, magnitudes, size
from expunge.train.resuming import once
from expunge.train.shards import own_part

SHAPES = "shapes"  # the key of a file's metadata


@dataclass(frozen=True)
class Mask:
    """One bit per weight of a tensor of ``shape``, eight to a byte, the first in the lowest bit; spare bits are 0."""

    bits: Tensor  # uint8 [ceil(n / 8)]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, x: Tensor, chosen: Callable[[Tensor], Tensor]) -> Mask:
        """The mask of this rank's part of ``x``: ``chosen`` says it [n] for a flat piece [n]."""
        packed = [_pack(chosen(piece)) for piece in chunks(x)]
        part = own_part(x)
        bits = torch.cat(packed) if packed else torch.empty(0, dtype=torch.uint8, device=part.device)
        return cls(bits, tuple(part.shape))

    def __len__(self) -> int:
        return math.prod(self.shape)

    def __invert__(self) -> Mask:
        flipped = ~self.bits
        if spare := -len(self) % 8:
            flipped[-1] &= 0xFF >> spare
        return Mask(flipped, self.shape)

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.bits & self._like(other), self.shape)

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.bits | self._like(other), self.shape)

    def _like(self, other: Mask) -> Tensor:
        if self.shape != other.shape:
            raise ValueError(f"masks of {list(self.shape)} and {list(other.shape)} are not about the same weights")
        return other.bits

    def count(self) -> int:
        """How many weights are in the mask."""
        ones = torch.arange(256, device=self.bits.device)
        ones = sum((ones >> i) & 1 for i in range(8))
        return int((torch.bincount(self.bits, minlength=256) * ones).sum())

    def unpacked(self) -> Tensor:
        """As bool, a byte per weight, in the tensor's shape: for small ones, and for tests."""
        pieces = [flags for flags, _ in self._beside(torch.empty(self.shape, device=self.bits.device))]
        return torch.cat(pieces).reshape(self.shape) if pieces else torch.empty(self.shape, dtype=torch.bool)

    def apply_(self, x: Tensor) -> None:
        """Put zero, in place, wherever ``x`` is outside the mask; what stands there now may be NaN."""
        for flags, piece in self._beside(x):
            piece.masked_fill_(~flags, 0)

    def outside(self, x: Tensor) -> list[Tensor]:
        """A copy of what of ``x`` is outside the mask, for ``put_back_``."""
        return [piece[~flags] for flags, piece in self._beside(x)]

    def put_back_(self, x: Tensor, kept: Iterable[Tensor]) -> None:
        """Write what ``outside`` copied to where it came from."""
        for (flags, piece), values in zip(self._beside(x), kept):
            piece.masked_scatter_(~flags, values.to(piece.device))  # engines may have moved it

    @torch.no_grad()
    def _beside(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Pieces of the mask as bool with the same pieces of ``x``, as views."""
        part = own_part(x)
        if tuple(part.shape) != self.shape:
            raise ValueError(f"this mask is about a tensor of {list(self.shape)}, not of {list(part.shape)}")
        if not part.is_contiguous():
            raise ValueError("the mask of a tensor that is not contiguous would change a copy of it")
        start = 0
        for piece in chunks(part):
            bits = self.bits[start // 8 : (start + len(piece) + 7) // 8].to(piece.device)
            yield _unpack(bits, len(piece)), piece
            start += len(piece)


def _pack(flags: Tensor) -> Tensor:
    flags = torch.nn.functional.pad(flags.to(torch.uint8), (0, -len(flags) % 8)).view(-1, 8)
    bits = flags[:, 0].clone()
    for i in range(1, 8):
        bits |= flags[:, i] << i
    return bits


def _unpack(bits: Tensor, count: int) -> Tensor:
    flags = torch.empty(len(bits), 8, dtype=torch.bool, device=bits.device)
    for i in range(8):
        flags[:, i] = (bits >> i) & 1
    return flags.view(-1)[:count]


class Masks(dict[str, Mask]):
    """A mask for each of many parameters, by name."""

    def __invert__(self) -> Masks:
        return Masks({name: ~mask for name, mask in self.items()})

    def __and__(self, other: Mapping[str, Mask]) -> Masks:
        """In both; only parameters that both know."""
        return Masks({name: mask & other[name] for name, mask in self.items() if name in other})

    def count(self) -> int:
        return sum(mask.count() for mask in self.values())

    def apply_(self, gradients: Mapping[str, Tensor | None]) -> None:
        """Put zero outside the masks, in place; a gradient without a mask is zero everywhere."""
        for name, gradient in gradients.items():
            if gradient is None:
                continue
            if name in self:
                self[name].apply_(gradient)
            else:
                own_part(gradient).zero_()

    def save(self, path: str | Path) -> None:
        """One safetensors file, a byte for eight weights."""
        from safetensors.torch import save_file

        shapes = json.dumps({name: mask.shape for name, mask in self.items()})
        save_file({name: mask.bits for name, mask in self.items()}, str(path), metadata={SHAPES: shapes})

    @classmethod
    def load(cls, path: str | Path) -> Masks:
        """What ``save`` wrote. Raises ExpungeError for a file that holds no masks."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                shapes = {name: tuple(shape) for name, shape in json.loads((file.metadata() or {})[SHAPES]).items()}
                masks = cls({name: Mask(file.get_tensor(name), shape) for name, shape in shapes.items()})
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            raise ExpungeError(f"{path} holds no masks that can be read: {type(error).__name__}: {error}") from error
        for name, mask in masks.items():
            if mask.bits.dtype != torch.uint8 or mask.bits.shape != (-(-len(mask) // 8),):
                raise ExpungeError(f"{path}: {name} does not hold one bit for each of {list(mask.shape)} weights.")
        return masks


def greatest(importances: Mapping[str, Tensor], share: float) -> Masks:
    """The ``share`` in [0, 1] of all weights whose importance is greatest in magnitude, over all tensors.

    Whatever equals the least of them is in, too, so a mask may hold more than was asked; what is zero is never in, so
    it may hold fewer. Raises ValueError as ``kth_magnitude`` does.
    """
    tensors = list(importances.values())
    total = size(tensors)
    wanted = round(share * total)
    if not 0 <= wanted <= total:
        raise ValueError(f"a share lies in [0, 1], not {share}")
    least = kth_magnitude(tensors, total - wanted + 1) if wanted else math.inf

    def chosen(piece: Tensor) -> Tensor:
        found = magnitudes(piece)
        return (found >= least) & (found > 0) if wanted else torch.zeros_like(found, dtype=torch.bool)

    return Masks({name: Mask.of(x, chosen) for name, x in importances.items()})


def outweighing(
    forget: Mapping[str, Tensor], retain: Mapping[str, Tensor], factor: float = 1.0, floor: float = 1e-15
) -> Masks:
    """Weights whose importance for the forgotten is at least ``factor`` times that for the retained.

    forget + floor >= factor (retain + floor), in float32, weight by weight: no order is needed, and no rank needs
    another. With a factor of 1 or less weights that neither knows are in (MMUnlearner has 1e-15 and 1). Names that
    ``retain`` lacks are ranked against zero. Raises ValueError for NaN.
    """
    made = Masks()
    for name, x in forget.items():
        others = chunks(retain[name]) if name in retain else None

        def chosen(piece: Tensor, others: Iterator[Tensor] | None = others, name: str = name) -> Tensor:
            other = (
                next(others).to(torch.float32) if others is not None else torch.zeros_like(piece, dtype=torch.float32)
            )
            mine = piece.to(torch.float32)
            if bool(mine.isnan().any() | other.isnan().any()):
                raise ValueError(f"an importance of {name} is NaN")
            return mine + floor >= factor * (other + floor)

        made[name] = Mask.of(x, chosen)
    return made


@contextmanager
def only_inside(parameters: Mapping[str, nn.Parameter], masks: Mapping[str, Mask]) -> Iterator[None]:
    """Whatever optimisers do inside the block, weights outside the masks stay as they are, bit for bit.

    A gradient of zero does not hold a weight: AdamW's decay shrinks it, and a momentum from before moves it. So what is
    outside is copied at the start and put back after every step of every optimiser. ``parameters`` without a mask are
    held whole. Costs as many bytes as the weights outside take. Mask the gradients as well (``Masks.apply_`` in
    ``after_backward``) so that clipping counts only what moves; where steps inside and outside the masks alternate,
    enter the block for each.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook

    held = {name: masks.get(name) or Mask.of(p, lambda x: torch.zeros_like(x, dtype=torch.bool))
            for name, p in parameters.items()}  # fmt: skip
    kept = {name: mask.outside(parameters[name]) for name, mask in held.items()}

    def put_back(*_: object) -> None:
        for name, mask in held.items():
            mask.put_back_(parameters[name], kept[name])

    hook = register_optimizer_step_post_hook(put_back)
    try:
        yield
    finally:
        hook.remove()


def made_once(run: Run, name: str, make: Callable[[], Masks]) -> Masks:
    """What ``make`` gives, kept with the run's checkpoints: a run that was stopped reads it."""
    file = "masks.safetensors"
    return once(run, name, make, lambda masks, at: masks.save(at / file), lambda at: Masks.load(at / file))
