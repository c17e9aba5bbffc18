"""The difference between two sets of weights: it can be applied, scaled, added, negated, saved and reverted.

What is exact. ``revert`` gives back *before* bit for bit when it is given the *after* it was made from: in floating
point ``after - (after - before)`` misses *before* where a weight changed sign or more than doubled, so those few
values are kept beside the difference. ``apply(before)`` gives *after* to rounding, and every other sum or scale is
ordinary arithmetic in the precision of the weights. Counters and masks are not weights: nothing scales them, and
only ``revert`` puts them back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from expunge.core.atomic import replace_file
from expunge.core.errors import ExpungeError

State = Mapping[str, Tensor]
FORMAT = "expunge-delta-1"
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Delta:
    """``change`` holds after minus before of the weights that moved, by name.

    ``missed`` holds, per weight, the flat positions [K] and the values [K] of *before* that subtraction would not give
    back; ``counters`` the *before* of what is not a weight; ``after`` the hash of the state it was made from.
    """

    change: dict[str, Tensor]
    missed: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    counters: dict[str, Tensor] = field(default_factory=dict)
    after: str = ""

    @classmethod
    def between(cls, before: State, after: State) -> Delta:
        """After minus before. Both need the same names and shapes."""
        if odd := sorted(before.keys() ^ after.keys()):
            raise ExpungeError(f"the two models do not have the same weights; only one has: {', '.join(odd[:5])}.")
        change: dict[str, Tensor] = {}
        missed: dict[str, tuple[Tensor, Tensor]] = {}
        counters: dict[str, Tensor] = {}
        for name, old in before.items():
            old, new = old.detach().cpu(), after[name].detach().cpu()
            if old.shape != new.shape or old.dtype != new.dtype:
                raise ExpungeError(
                    f"{name} is {tuple(old.shape)} {old.dtype} before and {tuple(new.shape)} {new.dtype} after: "
                    "a difference of weights needs the same architecture."
                )
            if _same_bits(old, new).all():
                continue
            if not old.is_floating_point():
                counters[name] = old.clone()
                continue
            change[name] = new - old
            wrong = (~_same_bits(new - change[name], old)).flatten().nonzero().flatten()
            if len(wrong):
                missed[name] = (wrong, old.flatten()[wrong].clone())
        return cls(change, missed, counters, fingerprint(after))

    def apply(self, state: State, scale: float = 1.0) -> dict[str, Tensor]:
        """``state`` plus ``scale`` times the difference. Weights that did not move are passed on, not copied."""
        self._check(state)
        return {
            name: tensor + (scale * self.change[name]).to(tensor) if name in self.change else tensor
            for name, tensor in state.items()
        }

    def revert(self, state: State) -> dict[str, Tensor]:
        """*Before*, exactly, when ``state`` is the *after* this was made from; otherwise the plain subtraction."""
        self._check(state)
        restored = {
            name: tensor - self.change[name].to(tensor) if name in self.change else tensor
            for name, tensor in state.items()
        }
        if fingerprint(state) == self.after:
            for name, (where, values) in self.missed.items():
                flat = restored[name].flatten()
                flat[where.to(flat.device)] = values.to(flat)
                restored[name] = flat.reshape(restored[name].shape)
            restored |= {name: old.to(state[name]) for name, old in self.counters.items()}
        return restored

    def scaled(self, factor: float) -> Delta:
        return Delta({name: factor * moved for name, moved in self.change.items()})

    def __neg__(self) -> Delta:
        return self.scaled(-1.0)

    def __add__(self, other: Delta) -> Delta:
        total = dict(self.change)
        for name, moved in other.change.items():
            if name in total and total[name].shape != moved.shape:
                raise ExpungeError(f"{name} has two shapes: these differences belong to different architectures.")
            total[name] = total[name] + moved if name in total else moved
        return Delta(total)

    def norm(self) -> float:
        """Euclidean length of the whole difference, summed in double precision."""
        return sum(moved.double().square().sum().item() for moved in self.change.values()) ** 0.5

    def save(self, path: str | Path) -> None:
        """One safetensors file, whole or not there."""
        from safetensors.torch import save_file

        tensors = {f"change/{name}": moved.contiguous() for name, moved in self.change.items()}
        for name, (where, values) in self.missed.items():
            tensors |= {f"missed_at/{name}": where, f"missed/{name}": values}
        tensors |= {f"counter/{name}": old.contiguous() for name, old in self.counters.items()}
        with replace_file(Path(path)) as partial:
            save_file(tensors, partial, metadata={"format": FORMAT, "after": self.after})

    @classmethod
    def load(cls, path: str | Path) -> Delta:
        """The difference in a file written by ``save``."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}
        except (OSError, SafetensorError) as error:
            raise ExpungeError(f"{path} cannot be read as a difference of weights: {error}") from error
        if told.get("format") != FORMAT:
            raise ExpungeError(f"{path} is a safetensors file, but not a difference written by expunge.")

        def part(kind: str) -> dict[str, Tensor]:
            return {k.removeprefix(f"{kind}/"): v for k, v in tensors.items() if k.startswith(f"{kind}/")}

        where = part("missed_at")
        missed = {name: (where[name], values) for name, values in part("missed").items()}
        return cls(part("change"), missed, part("counter"), told["after"])

    def _check(self, state: State) -> None:
        for name, moved in self.change.items():
            if name not in state or state[name].shape != moved.shape:
                raise ExpungeError(f"this difference moves {name} {tuple(moved.shape)}, which the model does not have.")


def fingerprint(state: State) -> str:
    """SHA-256 of names, types, shapes and bits of a state."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _same_bits(a: Tensor, b: Tensor) -> Tensor:
    """Where two tensors are the same to the bit: unlike ==, NaN equals itself and -0.0 is not 0.0."""
    if not a.is_floating_point():
        return a == b
    bits = _BITS[a.element_size()]
    return a.contiguous().view(bits) == b.contiguous().view(bits)
