"""Climb the loss on what must be forgotten, and look at nothing else.

Equation: theta' = theta after descent on -E_{x in D_f} L_task(x; theta).
Symbols: L_task, the model's own task loss (nats per pair).
Paper: comparison "GA" (§5); one epoch as "neggrad" in MultiDelete.
Checked against: CLU-UML/MultiDelete 4b0bfd3, where "neggrad" trains with the positive loss by mistake: not copied.
Departs: lr and the least number of steps were chosen on other people (`expunge bench search`, docs/log.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from expunge.core.run import Run
from expunge.core.types import Backbone, Method, Splits, Work
from expunge.train.fit import Schedule
from expunge.train.task import train_task


@dataclass(frozen=True)
class GradientAscent(Method[Backbone]):
    by_task: ClassVar[Mapping[str, Mapping[str, Any]]] = {"entailment": {"lr": 3e-4}}
    lora: ClassVar[bool] = True
    epochs: int = 1
    least_steps: int = 24  # more epochs where the forget set is so small that it would be seen in fewer steps
    lr: float = 1e-4
    batch: int = 16

    def unlearn(self, model: Backbone, splits: Splits, run: Run) -> Backbone:
        train_task(model, splits.forget, run, self.schedule, what="gradient ascent", sign=-1.0)
        return model

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.epochs, self.lr, self.batch, least_steps=self.least_steps)

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        return self.schedule.work(forget)
