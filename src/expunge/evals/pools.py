"""Whom a membership attack learns from: members and strangers of equal make-up, or why there are none.

No model is needed for it, so that ``expunge check`` foresees by the same rule what an evaluation will refuse.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain, islice, zip_longest

from expunge.core.errors import ExpungeError
from expunge.core.groups import group_of
from expunge.core.types import Example

Stratum = tuple[str, str | None, bool]
"""Source, kind, and whether there is a picture."""

LEAST_GROUPS = 3
"""Fewer people or scenes than this cannot be split into a part to learn from and a part to test on."""


class AttackRefused(ExpungeError):
    """The attack would read something other than membership; ``lacking`` says what the data have too little of."""

    def __init__(self, lacking: str, remedy: str = ""):
        super().__init__(f"{lacking}. {remedy}".rstrip())
        self.lacking = lacking


def draw_pools(
    forget: Sequence[Example], retain: Iterable[Example], outside: Iterable[Example], *, cap: int = 2_000, seed: int = 0
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Members and non-members of equal number in every stratum (source, kind, pictured or not), drawn by the group.

    Groups are taken whole, in random order. Where that leaves fewer than can be split, because a few large ones fill
    the pool, every group gives as evenly as it can. Where even that leaves too few the source is no part of the pools.
    Depends on data and seed only, so every model is attacked with the same examples. ``cap`` bounds each class;
    it is shared out among sources evenly as far as they reach. Where (nearly) a whole source is forgotten there are no
    members of it: what membership looks like is then learned from the other sources, in each of which members and
    non-members balance.

    Raises:
        AttackRefused: a source of the forget set has too few non-members, or next to none of its members' kinds, or
            nobody has members to compare with.
    """
    retain, outside = tuple(retain), tuple(outside)
    sides = [by_source(side) for side in (retain, outside)]
    shared = sorted(s for s in sides[0].keys() & sides[1].keys() if min(len(side[s]) for side in sides) >= LEAST_GROUPS)
    for source in sorted({e.source for e in forget} - set(shared)):
        for side, name in zip(sides, ("retained", "held-out"), strict=True):
            count = len(side.get(source, {}))
            if count < LEAST_GROUPS and not (name == "retained" and shared):
                raise AttackRefused(
                    f"there {'is 1' if count == 1 else f'are {count}'} {name} group{'s' * (count != 1)}{_of(source)} "
                    f"and {LEAST_GROUPS} are needed",
                    "Against another population the attack would tell populations apart, not members. Add held-out "
                    "examples of the same kind.",
                )
    available = {s: min(sum(map(len, side[s].values())) for side in sides) for s in shared}
    room, allowed = cap, {}
    for position, source in enumerate(sorted(shared, key=lambda s: available[s])):
        allowed[source] = min(available[source], room // (len(shared) - position))
        room -= allowed[source]
    members: tuple[Example, ...] = ()
    others: tuple[Example, ...] = ()
    for source in shared:
        orders: list[list[list[Example]]] = []
        for side, name in zip(sides, ("in", "out"), strict=True):
            order = sorted(side[source])
            random.Random(f"membership:{name}:{source}:{seed}").shuffle(order)
            orders.append([sorted(side[source][group], key=lambda e: e.id) for group in order])
        for take in (_whole, partial(_evenly, seed=seed)):
            pair = _balanced(*(take(groups, allowed[source]) for groups in orders))
            if can_be_split := min(len({group_of(e) for e in side}) for side in pair) >= LEAST_GROUPS:
                members, others = members + pair[0], others + pair[1]
                break
        if not can_be_split and source in {e.source for e in forget}:
            raise AttackRefused(
                f"fewer than {LEAST_GROUPS} retained and held-out groups{_of(source)} have examples of the same kind "
                "(shared or private, with a picture or without)",
                "Add held-out examples of the kinds that are retained.",
            )
    if not members:
        raise AttackRefused(
            "no kind (shared or private, with a picture or without) is among the retained examples and among the "
            "held-out ones"
        )
    return members, others


def _of(source: str) -> str:
    return f" of the source {source!r}" if source else ""


def _whole(groups: Sequence[Sequence[Example]], count: int) -> list[Example]:
    """One group after the other, the last cut off at ``count`` examples in all."""
    return list(islice(chain.from_iterable(groups), count))


def _evenly(groups: Sequence[Sequence[Example]], count: int, seed: int) -> list[Example]:
    """In turns, at random within each group, so that kinds are mixed as they are there; ``count`` examples in all."""
    rng = random.Random(f"membership:evenly:{seed}")
    mixed = [rng.sample(group, len(group)) for group in groups]
    return list(islice((e for turn in zip_longest(*mixed) for e in turn if e is not None), count))


def by_source(examples: Iterable[Example]) -> dict[str, dict[str, list[Example]]]:
    """Examples by their source, then by their group."""
    found: dict[str, dict[str, list[Example]]] = {}
    for e in examples:
        found.setdefault(e.source, {}).setdefault(group_of(e), []).append(e)
    return found


def _stratum(e: Example) -> Stratum:
    return e.source, e.kind, e.pictured


def _balanced(members: Sequence[Example], others: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Equal numbers in every stratum; what has no counterpart goes."""
    room: dict[Stratum, int] = {}
    for stratum in {_stratum(e) for e in members}:
        room[stratum] = min(sum(_stratum(e) == stratum for e in side) for side in (members, others))

    def cut(side: Sequence[Example]) -> tuple[Example, ...]:
        left, kept = dict(room), []
        for e in side:
            if left.get(_stratum(e), 0) > 0:
                left[_stratum(e)] -= 1
                kept.append(e)
        return tuple(kept)

    return cut(members), cut(others)
