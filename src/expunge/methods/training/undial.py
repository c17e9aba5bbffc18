"""Learn from oneself, with the forgotten words made less likely (self-distillation with adjusted logits, UNDIAL).

Equation: min over theta of E_{D_f} KL(softmax(z_0 - gamma 1[v = y]) || softmax(z_theta)) + w E_{D_r} L(x; theta), mean
    over the answer's tokens.
Symbols: z [V], the logits of one token of the answer given all before it; z_0 of the model as it was; y, the token that
    stands there; gamma, how much less likely it becomes, in nats of log-odds; w, ``retain_weight``.
Paper: Dong et al., "UNDIAL: Self-Distillation with Adjusted Logits for Robust Unlearning in Large Language Models"
    (NAACL 2025); gamma 3, 10 or 30.
Checked against: dong-river/LLM_unlearning 89856dc, utils/ft_utils.py:148 (the subtraction), exp/create_exp_su.py:18
    (the strengths), as restated in notes on it. The paper minimises the cross-entropy; the divergence is the
    same up to a constant and is 0 at the target.
Departs: (1) the paper uses nothing that is kept (``retain_weight`` 0); here it is on, as for the other methods. (2)
    only the answer's tokens are taught, as only they bear loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from expunge.core.run import Run
from expunge.core.types import Example, Generates, Method, Splits, Spoken, Work
from expunge.train.beside import retained, schedule_of
from expunge.train.fit import Schedule, fit
from expunge.train.reference import reference
from expunge.train.speaking import divergence


@dataclass(frozen=True)
class UNDIAL(Method[Generates]):
    lora: ClassVar[bool] = True
    copies: ClassVar[Mapping[str, float]] = {"gradients": 1, "moments": 2, "references": 1}
    epochs: int = 3
    least_steps: int = 24  # more epochs where the forget set is so small that it would be seen in fewer steps
    lr: float = 1e-4  # AdamW's peak
    batch: int = 16  # forgotten examples per step
    gamma: float = 10.0
    retain_weight: float = 1.0  # w
    retain_ratio: float = 1.0  # retained examples per forgotten one in a step
    near: float = 0.5  # share of them from the forgotten ones' own source

    def unlearn(self, model: Generates, splits: Splits, run: Run) -> Generates:
        before = reference(model)

        def loss(forget: Sequence[Example], retain: Sequence[Example]) -> dict[str, Tensor]:
            batch = model.collate(forget)
            with torch.no_grad():
                target = adjusted(before.spoken(batch), self.gamma)
            said = model.spoken(batch)
            terms = {"forget": divergence(said.logits, target, said.mask).mean()}
            return terms | retained(model, retain, self.retain_weight)

        fit(model, loss, splits, run, self.schedule, what="self-distillation")
        return model

    @property
    def schedule(self) -> Schedule:
        return schedule_of(self)

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        kept = self.schedule.retain_ratio if retain else 0.0
        return self.schedule.work(forget, 1 + 1 / 3 + kept)  # the model as it was reads what is forgotten


def adjusted(said: Spoken, gamma: float) -> Tensor:
    """Logits [B, N, V] with ``gamma`` taken off each answer's own token."""
    own = said.targets.clamp_min(0)[..., None]
    return said.logits.float().scatter_add(-1, own, said.logits.new_full(own.shape, -gamma, dtype=torch.float32))
