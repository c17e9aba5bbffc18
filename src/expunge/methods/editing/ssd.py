"""Shrink the weights that matter much more for the forgotten than for all training data (selective synaptic dampening).

Equation: theta_p <- theta_p min(lambda I_D,p / I_f,p, 1) where I_f,p > alpha I_D,p.
Symbols: I_f, I_D, mean squared gradient of the task loss over D_f and over all training data; alpha, how much greater
    it must be; lambda, ``dampening``.
Paper: Foster et al., "Fast Machine Unlearning Without Retraining Through Selective Synaptic Dampening" (AAAI 2024);
    alpha 10, lambda 1 on ResNet-18.
Checked against: if-loops/selective-synaptic-dampening cdfdc0e, src/ssd.py:147-216: gradients of a batch's mean loss are
    squared, the comparison is strict, I_D takes in D_f.
Departs: (1) I_D is measured on at most ``examples`` examples of all, drawn at random. (2) alpha is lower: the source's
    is for classifiers that have learned their training data by heart; it is an option to be searched like any other.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from expunge.core.run import Run
from expunge.core.types import Backbone, Method, Splits, Work
from expunge.train import importance
from expunge.train.fit import repeatable
from expunge.train.shards import own_part


@dataclass(frozen=True)
class SSD(Method[Backbone]):
    copies: ClassVar[Mapping[str, float]] = {"gradients": 3}  # one, and the squares of both sets
    alpha: float = 10.0  # selection: smaller dampens more weights
    dampening: float = 1.0  # lambda: smaller dampens them more
    per: Literal["batch", "sample"] = "batch"  # whose gradient is squared
    batch: int = 16
    examples: int = 512  # of all training data, at most

    def unlearn(self, model: Backbone, splits: Splits, run: Run) -> Backbone:
        rng = random.Random(f"ssd:{run.seed}")
        everything = [*splits.forget, *splits.retain]
        some = rng.sample(everything, min(self.examples, len(everything)))
        # Shuffled as those are: in file order a batch holds one owner's pairs, and where pairs contrast their loss is
        # another.
        forget = rng.sample(list(splits.forget), len(splits.forget))
        named = importance.trained(model.module)
        torch.manual_seed(run.seed)
        with run.timed("gradients"), repeatable():
            weighed = [
                importance.fisher(
                    named, lambda x: model.loss(model.collate(x)), part, run, per=self.per, batch=self.batch, what=what
                )
                for part, what in ((forget, "weighing the forgotten"), (some, "weighing everything"))
            ]
        count = dampen(named, *weighed, self.alpha, self.dampening)
        run.facts["dampened_share"] = count / max(1, sum(p.numel() for p in named.values()))
        return model

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        read = forget + min(self.examples, forget + retain)
        return Work(0, read, min(self.batch, forget))


@torch.no_grad()
def dampen(
    named: Mapping[str, nn.Parameter],
    forget: Mapping[str, Tensor],
    everything: Mapping[str, Tensor],
    alpha: float,
    dampening: float,
) -> int:
    """Shrink, in place; returns how many weights were selected."""
    count = 0
    for name, parameter in named.items():
        chosen = forget[name] > alpha * everything[name]  # strict: what neither knows stays
        factor = (dampening * everything[name] / forget[name]).clamp(max=1.0)
        own_part(parameter).mul_(torch.where(chosen, factor, 1.0))
        count += int(chosen.sum())
    return count
