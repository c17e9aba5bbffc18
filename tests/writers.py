"""Models that write what they are told to know: answers and likelihoods that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from expunge.core.types import Example, Traits

RIGHT, REWORDED, WRONG, UNKNOWN = 0.1, 0.3, 3.0, 2.0
"""Nats per token of an answer that is known to be right, meant, or wrong; and of any answer where nothing is known."""


class Knower:
    """Writes the right answer to what it ``knows`` and nothing of use to all else. ``asked`` collects batch sizes."""

    def __init__(self, knows: Callable[[Example], bool] = lambda e: True) -> None:
        self.knows, self.asked = knows, []
        self.module = nn.Dropout(0.5)
        self.traits = Traits("knower", 8, 64)

    def write(self, examples: Sequence[Example], max_tokens: int = 32) -> list[str]:
        assert not self.module.training and not torch.is_grad_enabled()
        self.asked.append(len(examples))
        return [self._says(e, max_tokens) for e in examples]

    def _says(self, e: Example, max_tokens: int) -> str:
        return " ".join((e.answer or "").split()[:max_tokens]) if self.knows(e) else "No idea"

    def weigh(self, examples: Sequence[Example], answers: Sequence[Sequence[str]]) -> list[torch.Tensor]:
        assert not self.module.training and not torch.is_grad_enabled()
        rows = [[self._nats(replace(e, answer=answer)) for answer in own] for e, own in zip(examples, answers)]
        return [torch.tensor(row) for row in rows]

    def _nats(self, e: Example) -> float:
        if not self.knows(e):
            # A little of its own for every question, or all ratios would be one and the same number.
            return UNKNOWN + (sum(map(ord, e.id + (e.answer or ""))) % 17) / 100
        return WRONG if e.answer in e.perturbed else REWORDED if e.answer in e.paraphrased else RIGHT
