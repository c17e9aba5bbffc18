"""Climb the loss on what must be forgotten and descend it on what is kept (gradient difference).

Equation: min over theta of -E_{D_f} L(x; theta) + w E_{D_r} L(x; theta).
Symbols: L, the model's own task loss (nats per example); w, ``retain_weight``.
Paper: Liu, Liu and Stone, "Continual Learning and Private Unlearning" (CoLLAs 2022), as GA_Diff in TOFU, MLLMU-Bench
    and MMUnlearner; w = 1 in CLEAR.
Checked against: notes on those three; no code was run.
Departs: (1) both terms stand in one step (``order=sum``), as TOFU and CLEAR have it; ``alternate`` takes a step up,
    then a step down, as MMUnlearner's code does. (2) the ascent stops for an example whose loss has passed
    ``ceiling``: without a bound the one term grows for ever and drowns the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.core.run import Run
from expunge.core.types import Backbone, Method, Splits, Work
from expunge.train.fit import Schedule, fit
from expunge.train.slopes import Order, Slopes


@dataclass(frozen=True)
class GADiff(Method[Backbone]):
    lora: ClassVar[bool] = True
    epochs: int = 1
    least_steps: int = 24  # more epochs where the forget set is so small that it would be seen in fewer steps
    lr: float = 1e-4  # AdamW's peak
    batch: int = 16  # forgotten examples per step
    retain_weight: float = 1.0  # w
    retain_ratio: float = 1.0  # retained examples per forgotten one in a step
    near: float = 0.5  # share of them from the forgotten ones' own source
    order: Order = "sum"  # both terms in one step, or one after the other
    ceiling: float = 0.0  # nats at which an example's loss is climbed no further; 0: never

    def unlearn(self, model: Backbone, splits: Splits, run: Run) -> Backbone:
        slopes = Slopes(model, retain_weight=self.retain_weight, ceiling=self.ceiling)
        fit(model, slopes.terms, splits, run, self.schedule, what="gradient difference")
        return model

    @property
    def schedule(self) -> Schedule:
        descents = 1 if self.order == "alternate" else 0
        return Schedule(
            self.epochs, self.lr, self.batch, self.retain_ratio, self.near,
            least_steps=self.least_steps, descents=descents,
        )  # fmt: skip

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        return self.schedule.given(retain).work(forget, 1 + (self.retain_ratio if retain else 0.0))
