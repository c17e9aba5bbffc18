"""What became of every request, as plain data: for a table, for machines, and for the record of a run.

An entry names the request, its fate, and what a person should know before signing: look-alikes that stay, examples of
the same group that stay, and other requests for the same examples.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from expunge.core.errors import Problem
from expunge.core.refusal import place
from expunge.core.types import Corpus, Example, Splits
from expunge.requests.alike import Alike, Likeness
from expunge.requests.asked import Request
from expunge.requests.matching import Requests
from expunge.requests.register import Fate, Status


class Inclusion(NamedTuple):
    """An example that nobody asked for, forgotten because its picture looks like one that is."""

    example: Example
    like: Example
    apart: int
    turn: str

    def told(self) -> dict[str, Any]:
        return {"id": self.example.id, "like": self.like.id, "apart": self.apart, "turn": self.turn}


def include(alike: Sequence[Alike], retain: Sequence[Example]) -> list[Inclusion]:
    """Every kept example whose picture looks like one to be forgotten, beside the nearest of these."""
    nearest: dict[str, tuple[Likeness, Example]] = {}
    for asked, kept in alike:
        for likeness in kept:
            key = likeness.example.image.key
            if key not in nearest or likeness.apart < nearest[key][0].apart:
                nearest[key] = (likeness, asked)
    return [
        Inclusion(e, asked, likeness.apart, likeness.turn)
        for e in retain
        if e.image.key in nearest
        for likeness, asked in [nearest[e.image.key]]
    ]


def ledger(
    requests: Requests,
    corpus: Corpus,
    splits: Splits,
    alike: Sequence[Alike] = (),
    included: Sequence[Inclusion] = (),
) -> dict[str, Any]:
    """All requests with their fates, in the order asked, and totals that balance, or AssertionError.

    ``alike`` is what still looks alike across ``splits``, ``included`` what was added to the forget set.
    """
    counts = Counter(fate.status for fate in requests.fates.values())
    forgotten = {e.id for e in splits.forget}
    named = set(requests.ids)
    if forgotten != named | {one.example.id for one in included}:
        raise AssertionError("the balance is off: forgotten must equal matched and included together")
    entries = [_entry(request, fate) for request, fate in requests.fates.items()]
    _add_overlaps(requests, entries)
    _add_stays(requests, corpus, forgotten, alike, entries)
    return {
        "requested": len(requests.requested),
        "totals": {status: counts[status] for status in get_args(Status)},
        "examples": {"matched": len(named), "included": len(forgotten - named), "forgotten": len(forgotten)},
        "requests": entries,
        "included": [one.told() for one in included],
    }


_BY_CHOICE = ("id", "pictures of the group")
"""How a request is matched that has said itself which of a group is meant."""


def doubts(account: dict[str, Any]) -> list[Problem]:
    """Warnings that follow from a ledger: the same asked for twice, and groups of which a part stays."""
    warnings = []
    for entry in account["requests"]:
        if entry["same_as"]:
            others = entry["same_as"]
            more = f" (and {len(others) - 1} more requests)" if len(others) > 1 else ""
            found = f"asks for examples that {others[0]}{more} asks for, too"
            warnings.append(Problem(entry["where"], found, "They are forgotten once; drop one if it was not meant"))
        if entry["group_stays"] and not entry["how"].startswith(_BY_CHOICE):
            of = ", ".join(f"{n} of group {group!r}" for group, n in entry["group_stays"].items())
            found = f"leaves other examples of the same group ({of})"
            warnings.append(Problem(entry["where"], found, "Ask by group if all of it is meant"))
    return warnings


def _entry(request: Request, fate: Fate) -> dict[str, Any]:
    return {
        "request": request.label,
        "where": request.where,
        "reason": request.reason,
        "status": fate.status,
        "how": fate.how,
        "examples": len(fate.ids),
        "ids": list(fate.ids),
        "near": [_told(n) for n in fate.near],
        "found": fate.found,
        "remedy": fate.remedy,
        "same_as": [],
        "group_stays": {},
        "look_alikes": [],
    }


def _told(likeness: Likeness) -> dict[str, Any]:
    example, apart, turn = likeness
    return {"id": example.id, "where": place(example), "apart": apart, "turn": turn}


def _add_overlaps(requests: Requests, entries: list[dict[str, Any]]) -> None:
    """To every later request the earlier ones that share an example with it."""
    holders: dict[str, dict[str, None]] = defaultdict(dict)
    for (request, fate), entry in zip(requests.fates.items(), entries, strict=True):
        entry["same_as"] = list(dict.fromkeys(where for name in fate.ids for where in holders[name]))
        for name in fate.ids:
            holders[name].setdefault(request.where)


def _add_stays(
    requests: Requests, corpus: Corpus, forgotten: set[str], alike: Sequence[Alike], entries: list[dict[str, Any]]
) -> None:
    """What is close to a request and yet kept: look-alikes of its pictures, the rest of its groups."""
    examples = {e.id: e for e in corpus.train}
    left = Counter(e.group for e in corpus.train if e.group is not None and e.id not in forgotten)
    close = {one.asked.image.key: one.kept for one in alike}
    for fate, entry in zip(requests.fates.values(), entries, strict=True):
        named = [examples[name] for name in fate.ids]
        likenesses = [n for key in dict.fromkeys(e.image.key for e in named) for n in close.get(key, ())]
        nearest: dict[str, Likeness] = {}  # a picture that stays may look like several that go: it is still one
        for one in likenesses:
            known = nearest.get(one.example.image.key)
            if known is None or one.apart < known.apart:
                nearest[one.example.image.key] = one
        entry["look_alikes"] = [_told(n) for n in nearest.values()]
        entry["group_stays"] = {g: left[g] for g in dict.fromkeys(e.group for e in named) if g and left[g]}
