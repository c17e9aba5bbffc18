"""What a model writes when it is asked, and how likely it finds the right, the reworded and the wrong answers.

Equation: text = the greedy answer; nats of an answer a to a question q = -(1/|a|) log p(a|q), |a| its tokens with
the end. Everything that MLLM benchmarks score follows from these two (``evals.wording``, ``evals.truth``).
Paper: Maini et al., "TOFU" (2024); Liu et al., "MLLMU-Bench" (2025): 50 new tokens, greedy. Departs: no few-shot
examples stand before a question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from expunge.core.run import Run
from expunge.core.types import Example, Generates, batches
from expunge.tasks.encoding import Precision, judging
from expunge.train.rows import deal

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
    """Ask every question once. Raises ValueError without examples, for two of one id, and for one without question or
    answer.
    """
    if not examples:
        raise ValueError("nothing to predict: no example was given")
    for e in examples:
        if not e.question or not e.answer:
            raise ValueError(f"example {e.id} is no question with an answer")
    if len({e.id for e in examples}) < len(examples):
        raise ValueError("two questions have the same id")
    run = run or Run()
    texts = dict.fromkeys((e.id for e in examples), "")
    # Long answers together: a batch is written until its last one ends.
    parts = list(batches(sorted(examples, key=lambda e: -len(e.answer or "")), batch))
    with judging(model, precision), run.stage("writing answers", len(examples)):
        wrote = deal(parts, lambda some: model.write(some, max_tokens), run.progress, len)
    for some, written in zip(parts, wrote):
        texts.update(zip((e.id for e in some), written))
    nats = weigh(
        model, examples, [(e.answer or "", *e.paraphrased, *e.perturbed) for e in examples], run, batch=batch,
        precision=precision,
    )  # fmt: skip
    ends = [1 + len(e.paraphrased) for e in examples]
    return Writings(
        tuple(texts), tuple(texts.values()), np.array([one[0] for one in nats]),
        tuple(one[1:end] for one, end in zip(nats, ends)), tuple(one[end:] for one, end in zip(nats, ends)),
    )  # fmt: skip


def weigh(
    model: Generates,
    examples: Sequence[Example],
    answers: Sequence[Sequence[str]],
    run: Run,
    *,
    batch: int = 32,
    precision: Precision = "model",
) -> list[np.ndarray]:
    """Nats per token of each of an example's own answers, [C] for every example, in the order of ``examples``.

    Examples with as many answers, and as long ones, are read together, so that little is padded.
    """
    order = sorted(range(len(examples)), key=lambda i: (-len(answers[i]), -max(map(len, answers[i]))))
    parts = [order[start : start + batch] for start in range(0, len(order), batch)]

    def weighed(rows: Sequence[int]) -> list[np.ndarray]:
        nats = model.weigh([examples[i] for i in rows], [answers[i] for i in rows])
        return [one.double().cpu().numpy() for one in nats]

    with judging(model, precision), run.stage("weighing answers", len(examples)):
        dealt = deal(parts, weighed, run.progress, len)
    found = {i: nats for rows, several in zip(parts, dealt) for i, nats in zip(rows, several)}
    return [found[i] for i in range(len(examples))]
