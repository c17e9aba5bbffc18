"""Training on the task itself: how original and retrained models come about, and what the simple controls do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from expunge.core.run import Run
from expunge.core.types import Example, Splits
from expunge.train.fit import Schedule, fit


def train_task(
    model: Any, examples: Sequence[Example], run: Run, schedule: Schedule, *, what: str, sign: float = 1.0
) -> None:
    """Descend (or with ``sign=-1`` ascend) the task loss over ``examples``, in place.

    A group's sentences are spread over the batches by shuffling; the loss needs at least two groups in a batch to
    contrast anything.
    """

    def loss(forget: Sequence[Example], _: Sequence[Example]):
        return {"task": sign * model.loss(model.collate(forget)).mean()}

    fit(model, loss, Splits(tuple(examples), ()), run, schedule, what=what)
