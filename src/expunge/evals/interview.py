"""All that is asked of a model that writes, and all scores that come of its answers.

Beside the measures of ``evals.written`` there are the names that every task has, so that the same page and the same
summary read them: ``r_forget``, ``r_retain`` and ``r_test`` are right letters and blanks beside a picture, in per cent,
the first two also by kind; ``r_forget_named`` is what was told of the forgotten, asked by name alone.
(Of data without letters and blanks they are ROUGE-L's recall of sentences, and a note says so.)
``mi`` is a likelihood attack: the classifier of ``evals.membership`` reads the nats per token of the right answers in
sentences and nothing else. Strangers of whom nothing was told are its non-members, as they are in retrieval.
Samples depend on data and seed only, never on the model: before, after and oracle answer the same questions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from expunge.core.record import Better, Scores
from expunge.core.run import Run
from expunge.core.types import Example, Generates, Splits
from expunge.evals import sampling, written
from expunge.evals.membership import Membership, attempt
from expunge.evals.sampling import Bounds
from expunge.evals.truth import Ratios
from expunge.tasks.answering import Writings, predict, weigh

BOUNDS = Bounds(retained_groups=30, attack=300)
"""Writing is slow: of thirty retained people everything is asked, some fifty questions each."""


@dataclass(frozen=True)
class Interview:
    """What a model will be asked: ``sets`` as in the benchmark's table, and of ``rights`` the share of right answers.

    ``forget`` is always among the sets.
    """

    sets: dict[str, tuple[Example, ...]]
    rights: dict[str, tuple[Example, ...]]
    members: tuple[Example, ...]
    others: tuple[Example, ...]
    notes: tuple[str, ...]

    def everyone(self) -> tuple[Example, ...]:
        """Every example that is asked, once, in order of appearance."""
        asked = (e for examples in (*self.sets.values(), *self.rights.values()) for e in examples)
        return tuple({e.id: e for e in asked}.values())


@dataclass(frozen=True)
class WrittenEvidence:
    """What the scores were computed from, without the model. ``ratios`` are what forget quality compares."""

    interview: Interview
    writings: Writings
    membership: Membership | None
    ratios: Ratios
    notes: tuple[str, ...] = field(default_factory=tuple)


def sets_of(splits: Splits, asked: Mapping[str, Sequence[Example]]) -> dict[str, tuple[Example, ...]]:
    """The sets of a benchmark's table: forget and retain with what ``Corpus.asked`` adds to them, then the others."""
    retain, named = apart(splits)
    kept = {e.group for e in retain if e.group is not None}
    gone = {e.group for e in splits.forget if e.group is not None} - kept
    found: dict[str, tuple[Example, ...]] = dict.fromkeys(asked, ()) | {
        "forget": (*splits.forget, *named), "retain": retain,
    }  # fmt: skip
    for name, examples in asked.items():
        out = gone if name == "retain" else kept  # somebody forgotten in part has stayed
        found[name] += tuple(e for e in examples if e.group not in out)
    order = sorted(found, key=lambda name: {"forget": 0, "test": 1, "retain": 2}.get(name, 3))
    return {name: found[name] for name in order}


def apart(splits: Splits) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """What is retained, without and with what is said in words alone of those whose pictures are all forgotten.

    The latter is kept and asked about among the forgotten all the same: whether it stayed is what a method that forgets
    by the picture is judged by.
    """
    whole = {e.group for e in splits.forget if not e.pictured} | {e.group for e in splits.retain if e.pictured}
    unseen = {e.group for e in splits.forget if e.pictured} - whole - {None}
    named = tuple(e for e in splits.retain if e.group in unseen)
    return tuple(e for e in splits.retain if e.group not in unseen), named


def set_interview(
    splits: Splits, test_examples: Sequence[Example], bounds: Bounds = BOUNDS, seed: int = 0, *,
    asked: Mapping[str, Sequence[Example]] | None = None,
) -> Interview:  # fmt: skip
    """Draw the questions: all about the forgotten, of those who stay as many as ``bounds`` say."""
    retain, _ = apart(splits)
    drawn = sampling.draw(replace(splits, retain=retain), test_examples, bounds, seed)
    near = {e.group for e in drawn.near} - {None}
    sets = sets_of(splits, asked or {})
    sets["retain"] = tuple(e for e in sets["retain"] if e.group in near) or drawn.near
    rights = {
        name: _pictured([e for e in examples if kind is None or e.kind == kind])
        for name, (examples, kind) in drawn.asked.items()
    }
    rights["r_forget_named"] = tuple(e for e in sets["forget"] if not e.pictured and e.kind != "shared")
    rights["r_test"] = _pictured(drawn.known)
    for name, examples in sets.items():  # what an audit adds, such as a choice of names, counts too
        if name in ("forget", "retain") and f"r_{name}" in rights:
            extra = {e.id: e for e in (*rights[f"r_{name}"], *_pictured(examples))}
            rights[f"r_{name}"] = tuple(extra.values())
    return Interview(
        {name: some for name, some in sets.items() if some}, {name: some for name, some in rights.items() if some},
        drawn.members, drawn.others, drawn.notes,
    )  # fmt: skip


def _pictured(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Those with a picture; all of them where there is none with one."""
    return tuple(e for e in examples if e.pictured) or tuple(examples)


def hold_interview(
    model: Generates, splits: Splits, interview: Interview, run: Run | None = None, *, seed: int = 0
) -> tuple[Scores, WrittenEvidence]:
    """Ask one model everything and score what it writes.

    Returns the scores of ``evals.written`` and those named above, and the evidence with notes on what is absent. Raises
    ValueError when there is nothing to forget.
    """
    if not splits.forget:
        raise ValueError("nothing to measure: the forget set is empty")
    run = run or Run()
    writings = predict(model, interview.everyone(), run)
    scores = written.score_sets(interview.sets, writings, seed=seed)
    for name, examples in interview.rights.items():
        better: Better = "oracle" if name.startswith("r_forget") else "higher"
        if (score := written.rightness(examples, writings, better, seed=seed)) is not None:
            scores[name] = score
    notes = list(interview.notes)
    if not any(e.form in ("classification", "cloze") for e in interview.rights.get("r_forget", ())):
        notes.append("No question has a letter or a blank: r_forget and its like are the ROUGE-L recall of sentences.")
    membership = None
    attacked = tuple(e for e in splits.forget if e.form in ("generation", None))
    if interview.members and attacked:
        pools = (attacked, interview.members, interview.others)
        nats = [_finite(np.concatenate(weigh(model, some, [(e.answer or "",) for e in some], run))) for some in pools]
        membership, refused = attempt(*pools, tuple(one[:, None] for one in nats), seed=seed)  # type: ignore[arg-type]
        scores |= membership.scores() if membership else {}
        notes += refused
    if writings.broken:
        notes.append(f"{writings.broken} answers had likelihoods that were not numbers: the model diverged.")
    return scores, WrittenEvidence(
        interview, writings, membership, written.ratios(interview.sets["forget"], writings), tuple(notes)
    )


def _finite(nats: np.ndarray) -> np.ndarray:
    """What is not a number is as unlikely as can be: a model that diverged does not look like one that knows."""
    return np.nan_to_num(nats, nan=_WORST, posinf=_WORST)


_WORST = -math.log(np.finfo(np.float32).tiny)
