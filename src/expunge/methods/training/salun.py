"""Teach wrong answers about the forgotten, and move only the weights that the forgotten hang on most (SalUn).

Equation: min over m theta + (1 - m) theta_0 of E_{D_f} L(x, y'; theta) + w E_{D_r} L(x, y; theta);
    m = 1 where |sum over D_f of grad L(x, y; theta_0)| is among the greatest ``share`` of all weights.
Symbols: L, the model's own task loss (nats per example); y', a wrong answer drawn anew for every example and step; w,
    ``retain_weight``.
Paper: Fan et al., "SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency" (ICLR 2024), with random
    labels; half of all weights.
Checked against: OPTML-Group/Unlearn-Saliency a6e89fd, Classification/generate_mask.py (the magnitude of the signed
    sum, not the sum of magnitudes; one order over all weights) and unlearn/RL.py:11-36 (gradients masked, weights
    outside put back after each step).
Departs: (1) y' is never right; the source draws evenly from all classes. It is another choice, another label, another
    person's answer or another picture's text (``train.mislabelling``). (2) both terms stand in one step, with as many
    retained examples as ``retain_ratio`` says; the source walks D_f, then all of D_r. (3) AdamW for SGD 0.013.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from expunge.core.run import Run
from expunge.core.types import Backbone, Example, Method, Splits, Work, batches
from expunge.train import importance
from expunge.train.beside import retained, schedule_of
from expunge.train.fit import Schedule, fit, repeatable
from expunge.train.masks import Masks, greatest, made_once, only_inside
from expunge.train.mislabelling import mislabelled
from expunge.train.resuming import Fields


@dataclass(frozen=True)
class SalUn(Method[Backbone]):
    lora: ClassVar[bool] = True
    copies: ClassVar[Mapping[str, float]] = {"gradients": 1, "moments": 2, "references": 1}  # what is held outside
    epochs: int = 3
    least_steps: int = 24  # more epochs where the forget set is so small that it would be seen in fewer steps
    lr: float = 1e-4  # AdamW's peak
    batch: int = 16  # forgotten examples per step
    share: float = 0.5  # of all weights that may move
    retain_weight: float = 1.0  # w
    retain_ratio: float = 1.0  # retained examples per forgotten one in a step
    near: float = 0.5  # share of them from the forgotten ones' own source

    def unlearn(self, model: Backbone, splits: Splits, run: Run) -> Backbone:
        named = importance.trained(model.module)
        masks = made_once(run, "masks", lambda: self.masks(model, splits.forget, run))
        run.facts["mask_share"] = masks.count() / max(1, sum(map(len, masks.values())))
        wrong = Wrong(random.Random(f"salun:{run.seed}"))

        def loss(forget: Sequence[Example], retain: Sequence[Example]) -> dict[str, Tensor]:
            other = mislabelled(forget, retain or splits.retain or splits.forget, wrong.rng)
            terms = {"forget": model.loss(model.collate(other)).mean()}
            return terms | retained(model, retain, self.retain_weight)

        def clear() -> None:
            masks.apply_({name: p.grad for name, p in named.items()})

        with only_inside(named, masks):
            fit(
                model, loss, splits, run, self.schedule, what="random labels",
                after_backward=clear, state=Fields(wrong, "rng"),
            )  # fmt: skip
        return model

    def masks(self, model: Backbone, forget: Sequence[Example], run: Run) -> Masks:
        """One for every parameter that is trained."""
        named = importance.trained(model.module)
        # Shuffled: in file order a batch holds one owner's pairs, whose loss is another where pairs contrast.
        shuffled = random.Random(f"salun:masks:{run.seed}").sample(list(forget), len(forget))
        torch.manual_seed(run.seed)
        with run.timed("gradients"), repeatable():
            losses = (model.loss(model.collate(some)).sum() for some in batches(shuffled, self.batch))
            found = importance.summed(named, losses)
        unreached = {n: torch.zeros_like(p, dtype=torch.float32) for n, p in named.items() if n not in found}
        return greatest(found | unreached, self.share)

    @property
    def schedule(self) -> Schedule:
        return schedule_of(self)

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        one = self.schedule.work(forget, 1 + (self.schedule.retain_ratio if retain else 0.0))
        return Work(one.steps, one.pairs + forget, one.batch)


@dataclass
class Wrong:
    """Which wrong answer comes next."""

    rng: random.Random
