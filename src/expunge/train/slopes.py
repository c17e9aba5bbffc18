"""Up on what is forgotten, down on what is kept: both in one step, or in turns (``Schedule.descents``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from expunge.core.types import Backbone, Example
from expunge.train.constrain import stop_above

Order = Literal["sum", "alternate"]


@dataclass
class Slopes:
    """The terms of gradient difference, as ``fit`` takes them: of whatever it gives.

    ``ceiling`` is in nats: an example's loss is climbed no further (0: for ever).
    """

    model: Backbone
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    ceiling: float = 0.0
    climbs: bool = True  # whether the last step did

    def terms(self, forget: Sequence[Example], retain: Sequence[Example]) -> dict[str, Tensor]:
        model = self.model
        self.climbs = bool(forget)
        terms: dict[str, Tensor] = {}
        if forget:
            each = model.loss(model.collate(forget))
            terms["forget"] = -self.forget_weight * (stop_above(each, self.ceiling) if self.ceiling else each).mean()
        if retain:
            terms["retain"] = self.retain_weight * model.loss(model.collate(retain)).mean()
        return terms
