"""Do nothing: the control that must look like not forgetting.

Equation: theta' = theta.
Symbols: theta, all weights.
Paper: none; design §7, known answers for every audit.
Departs: nothing to depart from.
"""

from __future__ import annotations

from dataclasses import dataclass

from expunge.core.run import Run
from expunge.core.types import Backbone, Method, Splits


@dataclass(frozen=True)
class Nothing(Method[Backbone]):
    def unlearn(self, model: Backbone, splits: Splits, run: Run) -> Backbone:
        return model
