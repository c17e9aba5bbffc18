"""What methods share that walk the forget set with retained examples beside it: how they walk, and the retain term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from expunge.core.types import Backbone, Example
from expunge.train.fit import Schedule


class Beside(Protocol):
    """The options that such methods have."""

    @property
    def epochs(self) -> int: ...
    @property
    def least_steps(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def batch(self) -> int: ...
    @property
    def retain_weight(self) -> float: ...
    @property
    def retain_ratio(self) -> float: ...
    @property
    def near(self) -> float: ...


def schedule_of(asked: Beside) -> Schedule:
    """Retained examples accompany the forgotten ones only where their term weighs anything."""
    ratio = asked.retain_ratio if asked.retain_weight else 0.0
    return Schedule(asked.epochs, asked.lr, asked.batch, ratio, asked.near, least_steps=asked.least_steps)


def retained(model: Backbone, retain: Sequence[Example], weight: float) -> dict[str, Tensor]:
    """``weight`` times the mean task loss of ``retain`` as the term ``retain``; no term without examples or weight."""
    return {"retain": weight * model.loss(model.collate(retain)).mean()} if retain and weight else {}
