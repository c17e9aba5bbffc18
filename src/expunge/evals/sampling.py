"""Whom a model will be asked about: drawn by data and seed only, so that every model answers the same questions."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from expunge.core.groups import group_of
from expunge.core.types import Example, Kind, Splits
from expunge.evals.pools import AttackRefused, draw_pools

KINDS: dict[str, Kind | None] = {"": None, "_shared": "shared", "_private": "private"}


@dataclass(frozen=True)
class Bounds:
    """How much is asked, for its cost. None takes all."""

    retained_groups: int | None = 60  # near neighbours
    test_pictures: int | None = 80  # of every source, with all their texts
    attack: int = 600  # examples in each pool of the membership attack


BOUNDS = Bounds()


@dataclass(frozen=True)
class Sample:
    """Examples by what they are asked for.

    ``asked``: (examples, kind) by the name of their score, ``r_forget`` and ``r_retain``, each also ``_shared`` and
    ``_private`` where the data say which is which. ``near``: retained groups of the forgotten examples' own source.
    ``test``: held-out examples; ``known``: those without the private ones, which nobody ever told the model.
    ``members`` and ``others``: whom the membership attack learns from, both empty where it is refused. ``notes`` say
    what is absent.
    """

    asked: dict[str, tuple[tuple[Example, ...], Kind | None]]
    near: tuple[Example, ...]
    test: tuple[Example, ...]
    known: tuple[Example, ...]
    members: tuple[Example, ...]
    others: tuple[Example, ...]
    notes: tuple[str, ...]


def draw(splits: Splits, test_examples: Sequence[Example], bounds: Bounds = BOUNDS, seed: int = 0) -> Sample:
    """Draw within ``bounds``."""
    rng = random.Random(f"questions:{seed}")
    near = _some_groups(splits.near, bounds.retained_groups, rng)
    test: tuple[Example, ...] = ()
    for source in sorted({e.source for e in test_examples}):
        test += _some_groups(
            [e for e in test_examples if e.source == source], bounds.test_pictures, rng, by_picture=True
        )
    known = tuple(e for e in test if e.kind != "private")
    notes = []
    if not near:
        notes.append("No retained example shares the forgotten examples' source: near neighbours were not measured.")
    if not known and test:
        notes.append(
            f"All {len(test)} test examples are private, and nobody ever told the model what is private of strangers: "
            "r_test was not measured. Hold out shared ones, too."
        )
    elif not known:
        notes.append("There are no test examples: r_test was not measured. Hold some out.")
    try:
        members, others = draw_attack(splits, test_examples, bounds, seed)
    except AttackRefused as refusal:
        members, others = (), ()
        notes.append(f"Membership was not measured: {refusal}")
    else:
        if gone := sorted({e.source for e in splits.forget} - {e.source for e in members}):
            notes.append(
                f"Next to nothing of {', '.join(map(repr, gone))} is retained: the membership attack learned from the "
                "other sources what a member looks like."
            )
    asked = {"r_forget": splits.forget, "r_retain": near}
    return Sample(_by_kind(asked), near, test, known, members, others, tuple(notes))


def draw_attack(
    splits: Splits, test_examples: Sequence[Example], bounds: Bounds = BOUNDS, seed: int = 0
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Whom the membership attack learns from. Like is compared with like: of a model that writes only what is answered
    in a sentence, and where pictures alone are forgotten only what has one.

    Raises AttackRefused, see ``draw_pools``.
    """
    seen = all(e.pictured for e in splits.forget)

    def counts(e: Example) -> bool:
        return e.form in ("generation", None) and (e.pictured or not seen)

    pools = ([e for e in part if counts(e)] for part in (splits.forget, splits.retain, test_examples))
    return draw_pools(*pools, cap=bounds.attack, seed=seed)


def _by_kind(asked: dict[str, tuple[Example, ...]]) -> dict[str, tuple[tuple[Example, ...], Kind | None]]:
    """Every score whole, and by kind where both kinds are there."""
    found = {}
    for name, examples in asked.items():
        split = {"shared", "private"} <= {e.kind for e in examples}
        for suffix, kind in KINDS.items():
            if examples and (kind is None or split):
                found[name + suffix] = (examples, kind)
    return found


def _some_groups(
    examples: Iterable[Example], at_most: int | None, rng: random.Random, *, by_picture: bool = False
) -> tuple[Example, ...]:
    """All examples of ``at_most`` groups (or pictures) drawn at random, in the given order."""

    def unit(e: Example) -> str:
        return e.image.key if by_picture else group_of(e)

    examples = tuple(examples)
    names = sorted({unit(e) for e in examples})
    chosen = set(names if at_most is None or len(names) <= at_most else rng.sample(names, at_most))
    return tuple(e for e in examples if unit(e) in chosen)
