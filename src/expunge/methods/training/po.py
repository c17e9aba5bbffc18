"""Say "I do not know" to what must be forgotten, and keep answering the rest (preference optimisation, IdkPO).

Equation: min over theta of E_{D_f} L((q, idk); theta) + w E_{D_r} L((q, a); theta).
Symbols: L, nats per token of the answer; q, what is asked, with its picture; a, its answer; idk, one of some sentences
    that tell nothing, drawn anew for every question and step; w, ``retain_weight``.
Paper: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs" (2024), as preference optimisation; PO in
    MLLMU-Bench, IDK in CLEAR.
Checked against: somvy/multimodal_unlearning bb14c96, mm/trainer.py:355-358 (both losses, w = 1) and
    mm/dataset.py:261-266, whose IDK samples are built from the forgotten answer by mistake: not copied.
Departs: (1) the sentences are ours, a dozen for TOFU's hundred. (2) where a statement is judged the answer that tells
    nothing is the label neutral ("maybe"); a statement that is neutral already stays as it is.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from expunge.core.run import Run
from expunge.core.types import Example, Generates, Method, Splits, Work
from expunge.train.beside import retained, schedule_of
from expunge.train.fit import Schedule, fit
from expunge.train.resuming import Fields

UNKNOWING = (
    "I do not know.",
    "I am not sure.",
    "I have no idea.",
    "I cannot say.",
    "I cannot answer that.",
    "That is not known to me.",
    "I have not learned that.",
    "I have no information about that.",
    "I am not able to tell.",
    "I have never heard of it.",
    "Nothing about that is known to me.",
    "I cannot help with that question.",
)
"""Without apostrophes and rare words, so that small vocabularies can spell them."""


@dataclass(frozen=True)
class PO(Method[Generates]):
    lora: ClassVar[bool] = True
    epochs: int = 3
    least_steps: int = 24  # more epochs where the forget set is so small that it would be seen in fewer steps
    lr: float = 1e-4  # AdamW's peak
    batch: int = 16  # forgotten examples per step
    retain_weight: float = 1.0  # w
    retain_ratio: float = 1.0  # retained examples per forgotten one in a step
    near: float = 0.5  # share of them from the forgotten ones' own source
    sentences: tuple[str, ...] = field(default=UNKNOWING)  # what is said in place of an answer

    def unlearn(self, model: Generates, splits: Splits, run: Run) -> Generates:
        draws = Draws(random.Random(f"po:{run.seed}"))

        def loss(forget: Sequence[Example], retain: Sequence[Example]) -> dict[str, Tensor]:
            unknown = [unknowing(e, draws.rng.choice(self.sentences)) for e in forget]
            terms = {"forget": model.loss(model.collate(unknown)).mean()}
            return terms | retained(model, retain, self.retain_weight)

        fit(model, loss, splits, run, self.schedule, what="preference optimisation", state=Fields(draws, "rng"))
        return model

    @property
    def schedule(self) -> Schedule:
        return schedule_of(self)

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        return self.schedule.work(forget, 1 + (self.schedule.retain_ratio if retain else 0.0))


@dataclass
class Draws:
    """Which sentence comes next."""

    rng: random.Random


def unknowing(example: Example, sentence: str) -> Example:
    """The same question, answered by ``sentence``; a statement is neither true nor false."""
    if example.question is not None:
        return replace(example, answer=sentence)
    return replace(example, label="neutral") if example.label is not None else replace(example, text=sentence)
