"""Learn the forgotten better in several ways, and walk back only where all of them went the same way (NegMerge).

Equation: theta' = theta - s m * mean_k tau_k, with tau_k = theta_k - theta, theta_k = theta after descent on E_{D_f}
    L(x; theta) with the k-th setting, and m = 1 where all tau_k have one sign, else 0.
Symbols: L, the model's own task loss (nats per example); tau_k, task vectors; s, ``scale``.
Paper: Kim et al., "NegMerge: Sign-Consensual Weight Merging for Machine Unlearning" (ICML 2025).
Checked against: no code is released; notes on the paper (10 to 30 fine-tunes; 5 to 10 % of the weights remain).
Departs: (1) the settings are every one of ``rates`` with its own order of the examples; the source varies augmentation
    as well, which small drawn pictures do not bear. (2) fewer fine-tunes by default: each costs a training on D_f. (3)
    s is an option; the source picks it on validation data.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from expunge.core.delta import Delta
from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.core.types import Backbone, Method, Splits, Work
from expunge.train.fit import Schedule
from expunge.train.task import train_task


@dataclass(frozen=True)
class NegMerge(Method[Backbone]):
    copies: ClassVar[Mapping[str, float]] = {"gradients": 1, "moments": 2, "references": 1, "deltas": 2}
    rates: tuple[float, ...] = (1e-4, 2e-4, 3e-4, 5e-4)  # AdamW's peaks: one fine-tune for each
    epochs: int = 3  # passes over the forget set, each
    least_steps: int = 24  # more epochs where the forget set is so small that it would be seen in fewer steps
    batch: int = 16
    scale: float = 1.0  # s

    def unlearn(self, model: Backbone, splits: Splits, run: Run) -> Backbone:
        if not self.rates:
            raise ExpungeError("NegMerge needs at least one of 'rates' to fine-tune with.")
        before = model.module.state_dict()
        total: dict[str, Tensor] | None = None
        for turn, rate in enumerate(self.rates):
            tuned = model.clone()
            schedule = self.schedule(rate)
            what = f"learning the forgotten better ({turn + 1} of {len(self.rates)})"
            examples = random.Random(f"negmerge:{run.seed}:{turn}").sample(splits.forget, len(splits.forget))
            train_task(tuned, examples, run, schedule, what=what)
            vector = Delta.between(before, tuned.module.state_dict()).change
            total = vector if total is None else agreeing(total, vector)
        mean = Delta(total or {}).scaled(1 / len(self.rates))
        weights = sum(t.numel() for t in before.values() if t.is_floating_point())
        run.facts["agreeing_share"] = sum(int(t.count_nonzero()) for t in mean.change.values()) / weights
        model.module.load_state_dict(mean.apply(before, -self.scale))
        return model

    def schedule(self, rate: float) -> Schedule:
        return Schedule(self.epochs, rate, self.batch, least_steps=self.least_steps)

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        one = self.schedule(1.0).work(forget)  # the rate changes no step
        return replace(one, steps=len(self.rates) * one.steps, pairs=len(self.rates) * one.pairs)


def agreeing(total: Mapping[str, Tensor], vector: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sum of task vectors so far and one more, 0 where their signs differ.

    What is 0 stays 0, so the order does not matter and two copies suffice however many there are. A weight that a
    vector does not move has no sign and agrees with nobody.
    """
    return {
        name: torch.where(sum_.sign() == vector[name].sign(), sum_ + vector[name], 0.0)
        for name, sum_ in total.items()
        if name in vector
    }
