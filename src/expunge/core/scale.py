"""How a run computes: in which precision, in how many portions, with how much memory. Never what it computes.

Nothing here is a method's option, and with nothing asked every number is what it was without this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from expunge.core.errors import ExpungeError, UnknownName

Precision = Literal["fp32", "bf16", "auto"]


@dataclass(frozen=True)
class Lora:
    """Train two thin matrices beside each linear layer of some roles instead of the layer (Hu et al., ICLR 2022).

    The layer's change is ``alpha / r`` times their product, of rank ``r``. ``roles`` are those of ``Backbone.parts``,
    joined by ``+``; "" takes the language model of a model that has one, else vision, text and fusion.
    """

    r: int = 8
    alpha: int = 16
    roles: str = ""

    def __post_init__(self) -> None:
        if self.r < 1 or self.alpha <= 0:
            raise ExpungeError("--lora needs r of at least 1 and alpha above 0.")


@dataclass(frozen=True)
class Scale:
    """``precision`` is that of every training loop ("" leaves each its own; auto: bf16 where the hardware computes in
    it); ``accumulate`` is into how many portions a step's batch is cut; ``recompute`` is gradient checkpointing."""

    precision: Precision | Literal[""] = ""
    accumulate: int = 1
    recompute: bool = False
    lora: Lora | None = None

    def __post_init__(self) -> None:
        if self.precision and self.precision not in get_args(Precision):
            raise UnknownName("precision", self.precision, get_args(Precision))
        if self.accumulate < 1:
            raise ExpungeError(f"--accumulate must be at least 1, not {self.accumulate}.")

    def asked(self) -> dict[str, Any]:
        """What differs from the default, as plain data for a spec."""
        told = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return told | ({"lora": dict(vars(self.lora))} if self.lora else {})

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Scale:
        """Back from ``asked``."""
        lora = told.get("lora")
        return cls(**{**told, "lora": Lora(**lora) if lora else None})


def read_lora(text: str) -> Lora:
    """``r=8,alpha=16,roles=fusion+text``; what is left out has its default. Raises ExpungeError on anything else."""
    known = {f.name: f.type for f in fields(Lora)}
    values: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = (p.strip() for p in part.partition("="))
        if not equals:
            raise ExpungeError(f"--lora is written r=8,alpha=16,roles=vision+text; {part!r} has no value.")
        if name not in known:
            raise UnknownName("setting of --lora", name, known)
        try:
            values[name] = {"int": int, "str": str}[str(known[name])](value)
        except ValueError:
            raise ExpungeError(f"--lora {name}={value}: this must be a whole number.") from None
    return Lora(**values)
