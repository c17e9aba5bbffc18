"""Climb the loss on what must be forgotten, and keep saying everything else as before (KL minimisation).

Equation: min over theta of -E_{D_f} L(x; theta) + k E_{D_r} KL(p_0(. | x) || p_theta(. | x)) + w E_{D_r} L(x; theta).
Symbols: L, nats per token of the answer; p(. | x), the distribution [V] of each token of the answer given all before
    it, p_0 of the model as it was, with the divergence averaged over the answer's tokens; k, ``kl_weight``; w,
    ``retain_weight``.
Paper: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs" (2024), as KL; KL_Min in MLLMU-Bench and
    MMUnlearner.
Checked against: Z1zs/MMUnlearner fa77c66, baselines/MLLMU_KL_Min.py:257-270, and somvy/multimodal_unlearning bb14c96,
    mm/trainer.py:243-262: the direction of the divergence, k = 1; w = 1 in the first (the default here), 0 in TOFU's
    equation and in the second.
Departs: (1) both official programs sum the divergence over all positions, the question and padding included, and divide
    by the batch alone, so that it grows with the length; here only the answer's tokens count, as in L, and their mean.
    (2) all terms stand in one step; MMUnlearner's code takes an ascent and a descent step by turns. (3) the ascent
    stops at ``ceiling`` where one is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from expunge.core.run import Run
from expunge.core.types import Example, Generates, Method, Splits, Work
from expunge.train.constrain import stop_above
from expunge.train.fit import Schedule, fit
from expunge.train.reference import reference
from expunge.train.speaking import divergence, nats


@dataclass(frozen=True)
class KLMin(Method[Generates]):
    lora: ClassVar[bool] = True
    copies: ClassVar[Mapping[str, float]] = {"gradients": 1, "moments": 2, "references": 1}
    epochs: int = 1
    least_steps: int = 24  # more epochs where the forget set is so small that it would be seen in fewer steps
    lr: float = 1e-4  # AdamW's peak
    batch: int = 16  # forgotten examples per step
    kl_weight: float = 1.0  # k
    retain_weight: float = 1.0  # w
    retain_ratio: float = 1.0  # retained examples per forgotten one in a step
    near: float = 0.5  # share of them from the forgotten ones' own source
    ceiling: float = 0.0  # nats at which an example's loss is climbed no further; 0: never

    def unlearn(self, model: Generates, splits: Splits, run: Run) -> Generates:
        before = reference(model)

        def loss(forget: Sequence[Example], retain: Sequence[Example]) -> dict[str, Tensor]:
            each = model.loss(model.collate(forget))
            terms = {"forget": -(stop_above(each, self.ceiling) if self.ceiling else each).mean()}
            if retain:
                batch = model.collate(retain)
                with torch.no_grad():
                    old = before.spoken(batch)
                said = model.spoken(batch)
                terms["kl"] = self.kl_weight * divergence(said.logits, old.logits, said.mask).mean()
                if self.retain_weight:
                    terms["retain"] = self.retain_weight * nats(said).mean()
            return terms

        fit(model, loss, splits, run, self.schedule, what="KL minimisation")
        return model

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.epochs, self.lr, self.batch, self.retain_ratio, self.near, least_steps=self.least_steps)

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        kept = self.retain_ratio if retain else 0.0
        return self.schedule.work(forget, 1 + kept * 4 / 3)  # the model as it was reads what is kept
