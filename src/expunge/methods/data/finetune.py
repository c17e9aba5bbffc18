"""Go on training on the retained data and hope that the rest fades.

Equation: theta' = theta after some epochs of descent on E_{x in D_r} L_task(x; theta).
Symbols: L_task, the model's own task loss (nats per pair).
Paper: comparison "Finetune" (§5); one epoch in MultiDelete's runner.
Checked against: CLU-UML/MultiDelete 4b0bfd3, runner_unlearn.py:113-114 (one epoch).
Departs: three epochs at the rate of the original's training, chosen on other people (`expunge bench search`,
docs/log.md): one epoch leaves more of what was told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.core.run import Run
from expunge.core.types import Backbone, Method, Splits, Work
from expunge.train.fit import Schedule, fast_precision
from expunge.train.task import train_task


@dataclass(frozen=True)
class Finetune(Method[Backbone]):
    lora: ClassVar[bool] = True
    epochs: int = 3
    lr: float = 1e-3
    batch: int = 32

    def unlearn(self, model: Backbone, splits: Splits, run: Run) -> Backbone:
        train_task(model, splits.retain, run, self.schedule, what="fine-tuning on what is kept")
        return model

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.epochs, self.lr, self.batch, precision=fast_precision())

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        return self.schedule.work(retain)
