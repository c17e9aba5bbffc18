"""What a model writes when it is asked, and how likely it finds the right, the reworded and the wrong answers.

Equation: text = the greedy answer; nats of an answer a to a question q = -(1/|a|) log p(a|q), |a| its tokens with
the end. Everything that MLLM benchmarks score follows from these two (``evals.wording``, ``evals.truth``).
Paper: Maini et al., "TOFU" (2024); Liu et al., "MLLMU-Bench" (2025): 50 new tokens, greedy. Departs: no few-shot
examples stand before a question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from expunge.core.run import Run
from expunge.core.types import Backbone, Example, batches
from expunge.tasks.encoding import Precision, judging

MAX_TOKENS = 50


class Writes(Backbone, Protocol):
    """What is asked of a model here. ``loss`` must be the mean over an answer's tokens, in nats, for each example."""

    def write(self, examples: Sequence[Example], max_tokens: int = 32) -> list[str]:
        """The greedy answer to each question; the known answer is unread."""
        ...


@dataclass(frozen=True)
class Writings:
    """What a model wrote, without the model: one row per example, in the order they were given.

    ``right`` holds nats per token of the known answer, [n]; ``reworded`` and ``wrong`` those of ``paraphrased`` and
    ``perturbed``, an array for each example, empty where it has none. What is not a number stays so; ``broken`` counts
    the examples that have one.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    right: np.ndarray
    reworded: tuple[np.ndarray, ...]
    wrong: tuple[np.ndarray, ...]

    @cached_property
    def broken(self) -> int:
        rows = zip(self.right, self.reworded, self.wrong)
        return sum(not all(np.isfinite(part).all() for part in row) for row in rows)

    def take(self, examples: Iterable[Example]) -> Writings:
        """The rows of some examples. Raises ValueError for one that was not asked."""
        place = {name: i for i, name in enumerate(self.ids)}
        try:
            rows = [place[e.id] for e in examples]
        except KeyError as missing:
            raise ValueError(f"example {missing} was not asked") from None
        lists = (tuple(part[i] for i in rows) for part in (self.reworded, self.wrong))
        return Writings(tuple(self.ids[i] for i in rows), tuple(self.texts[i] for i in rows), self.right[rows], *lists)


def predict(
    model: Writes,
    examples: Sequence[Example],
    run: Run | None = None,
    *,
    batch: int = 32,
    max_tokens: int = MAX_TOKENS,
    precision: Precision = "model",
) -> Writings:
    """Ask every question once. Raises ValueError without examples, and for one without question or answer."""
    if not examples:
        raise ValueError("nothing to predict: no example was given")
    for e in examples:
        if not e.question or not e.answer:
            raise ValueError(f"example {e.id} is no question with an answer")
    run = run or Run()
    texts: list[str] = []
    with judging(model, precision), run.stage("writing answers", len(examples)):
        for some in batches(examples, batch):
            texts += model.write(some, max_tokens)
            run.progress.advance(len(some))
    right = _nats(model, examples, run, batch, precision)
    reworded, wrong = (
        _several(model, examples, [getattr(e, name) for e in examples], run, batch, precision)
        for name in ("paraphrased", "perturbed")
    )
    return Writings(tuple(e.id for e in examples), tuple(texts), right, reworded, wrong)


def _several(
    model: Writes,
    examples: Sequence[Example],
    answers: Sequence[Sequence[str]],
    run: Run,
    batch: int,
    precision: Precision,
) -> tuple[np.ndarray, ...]:
    """Nats of each example's own list of answers."""
    flat = [replace(e, answer=answer) for e, several in zip(examples, answers) for answer in several]
    nats = _nats(model, flat, run, batch, precision)
    return tuple(np.split(nats, np.cumsum([len(several) for several in answers])[:-1]))


def _nats(model: Writes, examples: Sequence[Example], run: Run, batch: int, precision: Precision) -> np.ndarray:
    """[n]; longest answers together, so that little is padded. The order of the result is that of ``examples``."""
    found = np.zeros(len(examples))
    order = sorted(range(len(examples)), key=lambda i: -len(examples[i].answer or ""))
    with judging(model, precision), run.stage("weighing answers", len(examples)):
        for some in batches(order, batch):  # type: ignore[arg-type]
            losses = model.loss(model.collate([examples[i] for i in some]))  # type: ignore[index]
            found[np.asarray(some)] = losses.double().cpu().numpy()
            run.progress.advance(len(some))
    return found
