"""Push what a middle layer makes of the forgotten towards noise, and hold it still for the rest (RMU).

Equation: min over theta of E_{D_f} |h_theta(x) - c u|^2 + a E_{D_r} |h_theta(x) - h_0(x)|^2, mean over tokens and d.
Symbols: h [T, d], hidden states of the whole sequence after one layer of the language model, h_0 of the model as it
    was; u [d], a random direction with entries in [0, 1) and unit length; c, its length: ``steer`` times the mean
    length of h_0 on the step's forget batch, or with ``relative=false`` ``steer`` itself; a, ``alpha``.
Paper: Li et al., "The WMDP Benchmark: Measuring and Reducing Malicious Use With Unlearning" (ICML 2024), layer 7 of 32
    counted from zero, the MLP output weights of that layer and the two before it; the length relative to h_0 is Dang et
    al., "On Effects of Steering Latent Representation for LLM Unlearning" (AAAI 2025).
Checked against: somvy/multimodal_unlearning bb14c96, mm/trainer.py:302-330 (layer 7, the direction's draw, c 300, a 1),
    as restated in notes on it. Its mean over tokens before the distance, which pads enter, is not copied.
Departs: (1) layer 7, the eighth, is a depth, so that small models have one. (2) pictures' tokens count like words: they
    are in the sequence. (3) a is the paper's program's default, and not tuned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.core.types import Example, Generates, Method, Splits, Work
from expunge.train import neurons
from expunge.train.fit import Schedule, fit
from expunge.train.reference import reference
from expunge.train.words import mean_over


@dataclass(frozen=True)
class RMU(Method[Generates]):
    copies: ClassVar[Mapping[str, float]] = {"gradients": 1, "moments": 2, "references": 1}
    epochs: int = 3
    least_steps: int = 24  # more epochs where the forget set is so small that it would be seen in fewer steps
    lr: float = 1e-4  # AdamW's peak
    batch: int = 16  # forgotten examples per step
    depth: float = 8 / 32  # how deep in the language model the layer lies, in (0, 1]
    steer: float = 5.0  # c
    relative: bool = True  # whether c is in mean lengths of the forgotten's own states
    alpha: float = 100.0  # a
    trained: Literal["mlp", "all"] = "mlp"  # MLP output weights of three layers up to this one, or all below it
    retain_ratio: float = 1.0  # retained examples per forgotten one in a step
    near: float = 0.5  # share of them from the forgotten ones' own source

    def unlearn(self, model: Generates, splits: Splits, run: Run) -> Generates:
        layer, moved = self.place(model)
        before = reference(model)
        towards = direction(model.traits.feature_width, run.seed)
        run.facts["rmu_layer"] = layer

        def loss(forget: Sequence[Example], retain: Sequence[Example]) -> dict[str, Tensor]:
            batch = model.collate(forget)
            states, mask = model.hidden_states(batch, layer).float(), batch["attention_mask"]
            length = self.steer
            if self.relative:
                with torch.no_grad():
                    old = before.hidden_states(batch, layer).float()
                length = length * mean_over(old.norm(dim=-1), mask).mean()
            terms = {"forget": distance(states, length * towards.to(states), mask)}
            if retain:
                batch = model.collate(retain)
                with torch.no_grad():
                    old = before.hidden_states(batch, layer).float()
                states = model.hidden_states(batch, layer).float()
                terms["retain"] = self.alpha * distance(states, old, batch["attention_mask"])
            return terms

        fit(model, loss, splits, run, self.schedule, what="misdirecting states", params=moved)
        return model

    def place(self, model: Generates) -> tuple[int, list[nn.Parameter] | None]:
        """The layer, and what is trained (None: all). Raises ExpungeError where no layer has an MLP that is known."""
        blocks = list(neurons.outputs(model.parts()["language"]).values())
        if not blocks:
            raise ExpungeError(f"RMU found no feed-forward block in the language model of {model.traits.name}.")
        layer = min(len(blocks), max(1, round(self.depth * len(blocks))))
        if self.trained == "all":
            return layer, None
        return layer, [p for block in blocks[max(0, layer - 3) : layer] for p in block.parameters()]

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.epochs, self.lr, self.batch, self.retain_ratio, self.near, least_steps=self.least_steps)

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        kept = self.retain_ratio if retain else 0.0
        return self.schedule.work(forget, (1 + kept) * 4 / 3)  # the model as it was reads along


def direction(width: int, seed: int) -> Tensor:
    """u [width]."""
    drawn = torch.rand(width, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm()


def distance(states: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of states [B, T, d] and target ([d] or alike) over width, tokens of the mask, and B."""
    return mean_over((states - target).square().mean(-1), mask).mean()
