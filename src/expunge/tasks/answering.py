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

import numpy as np

from expunge.core.run import Run
from expunge.core.types import Example, Generates, batches
from expunge.tasks.encoding import Precision, judging

MAX_TOKENS = 50


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
    model: Generates,
    examples: Sequence[Example],
    run: Run | None = None,
    *,
    batch: int = 32,
    max_tokens: int = MAX_TOKENS,
    precision: Precision = "model",
) -> Writings:
    """Ask every question once. ``loss`` must be the mean over an answer's tokens in nats, as ``Generates`` says. Raises
    ValueError without examples, and for one without question or answer.
    """
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
    right = weigh(model, examples, run, batch=batch, precision=precision)
    reworded, wrong = (
        _several(model, examples, [getattr(e, name) for e in examples], run, batch, precision)
        for name in ("paraphrased", "perturbed")
    )
    return Writings(tuple(e.id for e in examples), tuple(texts), right, reworded, wrong)


def _several(
    model: Generates,
    examples: Sequence[Example],
    answers: Sequence[Sequence[str]],
    run: Run,
    batch: int,
    precision: Precision,
) -> tuple[np.ndarray, ...]:
    """Nats of each example's own list of answers."""
    flat = [replace(e, answer=answer) for e, several in zip(examples, answers) for answer in several]
    nats = weigh(model, flat, run, batch=batch, precision=precision)
    return tuple(np.split(nats, np.cumsum([len(several) for several in answers])[:-1]))


def weigh(
    model: Generates, examples: Sequence[Example], run: Run, *, batch: int = 32, precision: Precision = "model"
) -> np.ndarray:
    """Nats per token of every known answer, [n].

    Longest answers together, so that little is padded; the order of the result is that of ``examples``.
    """
    found = np.zeros(len(examples))
    order = sorted(range(len(examples)), key=lambda i: -len(examples[i].answer or ""))
    with judging(model, precision), run.stage("weighing answers", len(examples)):
        for some in batches(order, batch):  # type: ignore[arg-type]
            losses = model.loss(model.collate([examples[i] for i in some]))  # type: ignore[index]
            found[np.asarray(some)] = losses.double().cpu().numpy()
            run.progress.advance(len(some))
    return found
