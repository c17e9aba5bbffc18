"""Choosing among a few answers, and how often that is right: what multiple choice and entailment share.

Equation: accuracy = 100 * mean over examples of [the right choice has the greatest score].
Departs: a tie counts by its expected value over random tie-breaking, and a score that is not a number is the worst
possible, as in ``tasks.recall``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from expunge.core.groups import group_of
from expunge.core.record import Better, Score
from expunge.core.run import Run
from expunge.core.types import LABELS, Answers, Example, Generates, batches
from expunge.tasks.encoding import Blank, Encodings, Precision, encode, judging, take
from expunge.tasks.intervals import bootstrap, by_group
from expunge.train.rows import spread


@dataclass(frozen=True)
class Choices:
    """What a model chose, without the model: one row per example, in the order they were given.

    ``broken`` counts examples with a score that was not a number. ``cls`` holds the state before the head:
    fused, or the one from which a model that generates says its first word.
    """

    ids: tuple[str, ...]
    scores: Tensor  # [n, C] logits or nats, -inf where an example has fewer choices
    target: Tensor  # [n] index of the right choice, -1 where it is not known
    cls: Tensor | None = None  # [n, d]
    broken: int = 0

    @property
    def chances(self) -> Tensor:
        """[n, C] softmax over the choices."""
        return self.scores.softmax(-1)

    def rows(self, examples: Iterable[Example]) -> list[int]:
        """The rows of some examples. Raises ValueError for one that was not predicted."""
        place = {name: i for i, name in enumerate(self.ids)}
        try:
            return [place[e.id] for e in examples]
        except KeyError as missing:
            raise ValueError(f"example {missing} was not predicted") from None


def choose(
    model: Answers | Generates,
    examples: Sequence[Example],
    run: Run | None = None,
    *,
    batch: int = 64,
    keep_cls: bool = False,
    precision: Precision = "float32",
) -> Choices:
    """Score every example's choices.

    A model that encodes pictures and texts apart does so once each, however often they are asked about; one that
    generates reads every choice after its question. Raises what ``encoding.judging`` raises, and ``ValueError`` without
    examples.
    """
    if not examples:
        raise ValueError("nothing to predict: no example was given")
    run = run or Run()
    judge: Callable[[Sequence[Example]], Judged] = partial(_spoken, model, keep_cls)
    if isinstance(model, Answers):
        judge = partial(_fused, model, encode(model, examples, run, batch=batch, precision=precision))

    def judged(some: Sequence[Example]) -> Judged:
        scored, target, state = judge(some)
        return scored.float().cpu(), target.cpu(), state.float().cpu() if keep_cls and state is not None else None

    with judging(model, precision), run.stage("choosing answers", len(examples)):
        done = spread(list(batches(examples, batch)), judged, run.progress, len)
    scores, targets, states = zip(*done)
    most = max(s.shape[1] for s in scores)
    wide = [torch.nn.functional.pad(s, (0, most - s.shape[1]), value=-torch.inf) for s in scores]
    every = torch.cat(wide)
    odd = every.isnan() | (every == torch.inf)
    return Choices(
        tuple(e.id for e in examples), every.masked_fill(odd, -torch.inf), torch.cat(targets),
        torch.cat(states) if keep_cls else None, int(odd.any(1).sum()),
    )  # fmt: skip


Judged = tuple[Tensor, Tensor, Tensor | None]
"""Scores [B, C], targets [B] and states [B, d]."""


def _fused(model: Answers, encodings: Encodings, some: Sequence[Example]) -> Judged:
    rows, columns = encodings.pairs(some).to(encodings.images.tokens.device).T
    fused = model.fuse(take(encodings.images, rows), take(encodings.words, columns))
    asked = model.collate([replace(e, image=Blank()) for e in some])
    return model.choose(fused, asked), asked["target"], fused.states[:, 0]


def _spoken(model: Generates, keep_state: bool, some: Sequence[Example]) -> Judged:
    target = [LABELS.index(e.label) if e.label else e.choices.index(e.answer) if e.answer in e.choices else -1
              for e in some]  # fmt: skip
    return model.score_choices(some), torch.tensor(target), model.prompt_states(some) if keep_state else None


def rightness(choices: Choices) -> np.ndarray:
    """How right each example is, [n] in [0, 1]: a fraction where the best score is shared, 0 where all are broken.

    Raises ValueError where the right choice is not known.
    """
    if bool((choices.target < 0).any()):
        raise ValueError("accuracy needs the right choice of every example")
    scores = choices.scores
    tied = (scores == scores.max(1, keepdim=True).values) & ~torch.isneginf(scores)
    hit = tied[torch.arange(len(scores)), choices.target]
    return (hit / tied.sum(1).clamp(min=1)).double().numpy()


def accuracy(
    choices: Choices,
    examples: Sequence[Example],
    better: Better = "higher",
    *,
    seed: int = 0,
    replicates: int = 1_000,
) -> Score:
    """Accuracy in per cent over some of the predicted examples; ``n`` counts them, the interval resamples groups."""
    right = rightness(choices)[choices.rows(examples)]
    groups = [group_of(e) for e in examples]
    names = sorted(set(groups))
    sums, counts = by_group(groups, names, right)
    low, high = bootstrap(
        lambda drawn: 100 * (drawn @ sums) / (drawn @ counts), len(names), seed=seed, replicates=replicates
    )
    return Score(float(100 * right.mean()), len(right), low, high, better)
