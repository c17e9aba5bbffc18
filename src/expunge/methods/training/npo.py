"""Treat the forgotten as what nobody prefers, measured against the model as it was (negative preference optimisation).

Equation: min over theta of -(2 / beta) E_{D_f} log sigmoid(-beta [log p_theta(x) - log p_0(x)]) + w E_{D_r} L(x;
    theta).
Symbols: p_theta(x) = exp(-L(x; theta)) with L the model's own task loss (nats per example); p_0 the same of the model
    as it was; beta, how soon an example that is forgotten stops pulling; w, ``retain_weight``.
Paper: Zhang et al., "Negative Preference Optimization" (COLM 2024); beta 0.4 in MMUnlearner's and UMU-Bench's runs.
Checked against: the paper's limits, in the tests: at p_theta = p_0 its gradient is gradient ascent's, and for beta ->
    0 its value is gradient ascent's up to a constant; it is bounded below by 0 where gradient ascent is not bounded.
Departs: (1) a contrastive task loss is no probability of one example; its negative takes the place of log p all the
    same. (2) the reference is the original; MMUnlearner's runs take the base model fine-tuned on what is kept. (3) the
    retain term is off where ``retain_weight`` is 0, as in the paper's plain form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.core.run import Run
from expunge.core.types import Backbone, Example, Method, Splits, Work
from expunge.train.beside import retained, schedule_of
from expunge.train.fit import Schedule, fit
from expunge.train.reference import reference


@dataclass(frozen=True)
class NPO(Method[Backbone]):
    lora: ClassVar[bool] = True
    copies: ClassVar[Mapping[str, float]] = {"gradients": 1, "moments": 2, "references": 1}
    epochs: int = 1
    least_steps: int = 24  # more epochs where the forget set is so small that it would be seen in fewer steps
    lr: float = 1e-4  # AdamW's peak
    batch: int = 16  # forgotten examples per step
    beta: float = 0.4
    retain_weight: float = 1.0  # w
    retain_ratio: float = 1.0  # retained examples per forgotten one in a step
    near: float = 0.5  # share of them from the forgotten ones' own source

    def unlearn(self, model: Backbone, splits: Splits, run: Run) -> Backbone:
        before = reference(model)

        def loss(forget: Sequence[Example], retain: Sequence[Example]) -> dict[str, Tensor]:
            batch = model.collate(forget)
            with torch.no_grad():
                old = before.loss(batch)
            terms = {"forget": dispreferred(model.loss(batch), old, self.beta).mean()}
            return terms | retained(model, retain, self.retain_weight)

        fit(model, loss, splits, run, self.schedule, what="negative preference optimisation")
        return model

    @property
    def schedule(self) -> Schedule:
        return schedule_of(self)

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        kept = self.schedule.retain_ratio if retain else 0.0
        return self.schedule.work(forget, 1 + 1 / 3 + kept)  # the model as it was reads what is forgotten


def dispreferred(loss: Tensor, old: Tensor, beta: float) -> Tensor:
    """NPO's term per example [B] from the losses [B] of the model under training and of the one before, in nats."""
    # log p_theta - log p_0 = old - loss
    return -(2.0 / beta) * F.logsigmoid(beta * (loss - old))
