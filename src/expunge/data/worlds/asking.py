"""Questions with choices and statements with labels, made from what is known of a picture.

A ``Topic`` is one thing that may be known: the hair's colour, somebody's birthplace. It knows the true value and the
values that are false, so that choices and labels follow from facts and from nothing else. Everything random is drawn
from the example's own id: neither the size of a world nor the order of its parts changes an example.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from expunge.core.errors import UnknownName
from expunge.core.types import TASKS, Example, Kind, Picture

WRONG = 3
"""Wrong choices beside the right one: as many as in the paper, but from the same list (its own are unrelated)."""


@dataclass(frozen=True)
class Topic:
    """``values`` maps every possible value to its words in a sentence; ``false`` are those not true of this picture.

    ``statement`` and ``key`` hold ``{}`` where the value's words, or the value itself, stand. ``key`` becomes the
    canonical fact. A topic without a ``true`` value is one that nothing is known about.
    """

    name: str
    question: str
    statement: str
    key: str
    values: Mapping[str, str]
    true: str | None
    false: tuple[str, ...]

    def says(self, value: str) -> str:
        return self.statement.format(self.values[value])

    def answer(self, value: str) -> str:
        """The value as an answer: a bare word, where the statement may need an article."""
        return value or self.values[value]

    def means(self, value: str) -> frozenset[str]:
        return frozenset({self.key.format(value)})


@dataclass(frozen=True)
class Subject:
    """A picture that is asked about: who or what it is and all that is true of it."""

    id: str
    picture: Picture
    group: str
    source: str
    facts: frozenset[str]


def ask(subject: Subject, topic: Topic, kind: Kind, seed: int) -> Example:
    """A question with four choices in random order; exactly one is true. ``statement`` is the question answered."""
    assert topic.true is not None
    identity = f"{subject.id}-{topic.name}"
    rng = random.Random(f"{seed}:choices:{identity}")
    chosen = [topic.true, *rng.sample(sorted(topic.false), WRONG)]
    rng.shuffle(chosen)
    return Example(
        identity, subject.picture, topic.question, subject.group, subject.source, kind,
        topic.means(topic.true), subject.facts, topic.question, tuple(map(topic.answer, chosen)),
        topic.answer(topic.true), statement=topic.says(topic.true),
    )  # fmt: skip


def claim(subject: Subject, topic: Topic, label: str, kind: Kind, seed: int) -> Example:
    """A statement about a topic with its label.

    Entailment states the true value, contradiction a false one; neutral states a value of a topic of which nothing is
    known. ``statement`` is the truth of the matter, where it differs and is known.
    """
    identity = f"{subject.id}-{topic.name}-{label}"
    rng = random.Random(f"{seed}:claim:{identity}")
    value = topic.true if label == "entailment" else rng.choice(sorted(topic.false))
    assert value is not None and (topic.true is None) == (label == "neutral")
    truth = topic.says(topic.true) if label == "contradiction" and topic.true is not None else ""
    return Example(
        identity, subject.picture, topic.says(value), subject.group, subject.source, kind, topic.means(value),
        subject.facts, label=label, statement=truth,
    )  # fmt: skip


def check_task(task: str, tasks: Collection[str] = TASKS) -> None:
    """Raises ``UnknownName`` with the nearest of ``tasks``."""
    if task not in tasks:
        raise UnknownName("task", task, tasks)


def words(values: Collection[str]) -> dict[str, str]:
    """Values that are their own words."""
    return {v: v for v in values}
