"""What comes of going through a data set: examples by split, every complaint, and totals that balance.

An *item* is what a file counts: a line, an element of a list, a row. It may give several examples (a picture with five
captions). Whatever is wrong with one rejects that item alone, so that all of a file is told at once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from expunge.core.errors import FileFault, Problem
from expunge.core.identity import composed
from expunge.core.refusal import Nearest
from expunge.core.types import Corpus, Example, Task
from expunge.data.files.lines import Line, unsound_name
from expunge.data.fingerprint import fingerprint

SPLITS = ("train", "validation", "test")
ASKED = "asked "
"""Before the name of a set that only an audit asks (``Corpus.asked``): then that stands in place of a split."""
Row = tuple[str, Example]
"""A split and an example of it."""


@dataclass(frozen=True)
class Reading:
    """``items`` = ``accepted`` + ``rejected``, with every reason in ``problems``; ``warnings`` stop nothing.

    ``mentioned`` counts rejected items by their ids and groups, so that a request for one is not called unknown.
    ``stopping`` are the problems of whole files, which leaving out items does not mend. ``left_out`` is what of
    ``mentioned`` was skipped.
    """

    name: str
    parts: Mapping[str, tuple[Example, ...]]
    problems: tuple[Problem, ...]
    items: int
    accepted: int
    rejected: int
    mentioned: Mapping[str, int] = field(default_factory=dict)
    task: Task = "retrieval"
    licence: str = ""
    warnings: tuple[Problem, ...] = ()
    stopping: tuple[Problem, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.accepted + self.rejected != self.items:
            raise AssertionError(f"{self.name}: {self.items} items, but {self.accepted} + {self.rejected} were counted")

    def corpus(self) -> Corpus:
        parts = self.parts
        return Corpus(
            self.name, parts["train"], parts["validation"], parts["test"], licence=self.licence,
            fingerprint=fingerprint(parts), task=self.task, warnings=self.warnings,
            asked={name.removeprefix(ASKED): some for name, some in parts.items() if name.startswith(ASKED)},
            left_out=self.left_out,
        )  # fmt: skip


class Tally:
    """Counts items while they are gone through, and gathers what they give and what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.rows: list[Row] = []
        self.mentioned: Counter[str] = Counter()
        self._of_items: set[int] = set()  # which of the problems are those of an item
        self.items = self.accepted = self.rejected = 0
        self._taken: dict[str, tuple[str, str]] = {}  # composed id -> (id as written, where)

    def wrong(self, where: str, found: str, remedy: str) -> None:
        self.problems.append(Problem(where, found, remedy))

    def go_through(
        self,
        lines: Iterable[Line],
        turn: Callable[[dict[str, Any], str], Sequence[Row]],
        names: Callable[[dict[str, Any]], Iterable[str]],
    ) -> tuple[int, int]:
        """Let ``turn`` make rows of every item. One of which it complains is rejected, and gives nothing.

        ``names`` says which ids and groups a rejected item would have had. Returns how many were accepted and rejected.
        """
        before = self.accepted, self.rejected
        for where, value in lines:
            self.items += 1
            told = len(self.problems)
            rows = turn(value, where) if value is not None else ()
            if value is None and self.problems and not isinstance(self.problems[-1], FileFault):
                told -= 1  # said by whoever read the item, just now
            self._of_items.update(range(told, len(self.problems)))
            if value is None or len(self.problems) > told:
                self.rejected += 1
                self.mentioned.update({composed(name.strip()) for name in names(value or {})})
            else:
                self.accepted += 1
                self.rows += rows
        return self.accepted - before[0], self.rejected - before[1]

    def claim(self, value: Any, where: str, what: str = "id") -> None:
        """An id belongs to one item: in any of its Unicode spellings."""
        if wrong := unsound_name(value):
            return self.wrong(where, f"the {what} {wrong}", "A request could not name it: mend it")
        if (name := composed(value)) not in self._taken:
            self._taken[name] = (value, where)
            return
        written, first = self._taken[name]
        if written == value:
            self.wrong(where, f"the {what} {value!r} was already used at {first}", "Give every line its own id")
        else:
            found = f"the {what} {value!r} is the {what} used at {first} in another Unicode spelling"
            self.wrong(where, found, "Give every line its own id, in composed form (NFC)")

    def reading(self, name: str, task: Task, licence: str = "", warnings: Sequence[Problem] = ()) -> Reading:
        return Reading(
            name, with_facts(self.rows), tuple(self.problems), self.items, self.accepted, self.rejected,
            dict(self.mentioned), task, licence, tuple(warnings),
            tuple(p for number, p in enumerate(self.problems) if number not in self._of_items),
        )  # fmt: skip


def with_facts(rows: Iterable[Row]) -> dict[str, tuple[Example, ...]]:
    """True of a picture is whatever any of its texts says, wherever the same picture stands; a label may deny it."""
    rows = list(rows)
    facts: dict[str, set[str]] = defaultdict(set)
    for _, example in rows:
        if example.label in ("contradiction", "neutral"):
            continue
        facts[example.image.key] |= example.meaning
    frozen = {key: frozenset(said) for key, said in facts.items()}
    parts: dict[str, list[Example]] = {name: [] for name in SPLITS}
    for split, example in rows:
        parts.setdefault(split, []).append(replace(example, facts=frozen.get(example.image.key, frozenset())))
    return {name: tuple(examples) for name, examples in parts.items()}


def skipped(reading: Reading) -> Reading:
    """The same with the problems of its items as warnings: what could not be used is left out, and said, instead of
    stopping. A file that is broken as a whole stops all the same, since nobody knows what else it held."""
    problems = tuple(p for p in reading.problems if p not in reading.stopping)
    if not problems:
        return reading
    total = f"{reading.rejected:,} of {reading.items:,} items are left out"
    said = Problem(reading.name, total, "Nothing of them can be forgotten: who asks for one is refused")
    warnings = (*reading.warnings, said, *problems[:SHOWN])
    return replace(reading, problems=reading.stopping, left_out=reading.mentioned, warnings=warnings)


SHOWN = 20


def joined(name: str, readings: Sequence[Reading]) -> Reading:
    """Several data sets as one, for a model that was trained on all of them. An id or a group that two of them use is
    refused: a request for it would mean both."""
    first = readings[0]
    parts = {split: tuple(e for r in readings for e in r.parts[split]) for split in SPLITS}
    problems = [p for r in readings for p in r.problems]
    seen: dict[str, Example] = {}
    for e in (e for part in parts.values() for e in part):
        if (other := seen.setdefault(e.id, e)) is not e:
            problems.append(Problem(e.origin, f"the id {e.id!r} was already used at {other.origin}", "Rename one"))
    held: dict[str, tuple[str, Example]] = {}
    for r in readings:
        for group, e in {e.group: e for split in SPLITS for e in reversed(r.parts[split]) if e.group}.items():
            owner, other = held.setdefault(group, (r.name, e))
            if owner != r.name:
                found = f"the group {group!r} is also one of {owner}, at {other.origin}"
                problems.append(Problem(e.origin, found, "Rename one: a request would mean both"))
    items, accepted, rejected = (sum(getattr(r, n) for r in readings) for n in ("items", "accepted", "rejected"))
    return Reading(
        name, parts, tuple(problems), items, accepted, rejected, _added(r.mentioned for r in readings), first.task,
        " ".join(r.licence for r in readings), tuple(w for r in readings for w in r.warnings), tuple(problems),
        _added(r.left_out for r in readings),
    )  # fmt: skip


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)


# ---------------------------------------------------------------------------------------------- one item


class Keys:
    """Which keys an item must have, which it may have, and what is said of any other."""

    def __init__(self, required: Sequence[str], known: Sequence[str] = (), extra: Sequence[str] = ()):
        self.required = tuple(required)
        self.known = (*required, *known, *extra)
        self._near = Nearest(self.known, budget=1_000)

    def check(self, value: Mapping[str, Any], where: str, tally: Tally) -> None:
        for key in value:
            if key not in self.known:
                hint = self._near(key) or f"Known are {', '.join(self.known)}"
                tally.wrong(where, f"unknown key {key!r}", f"{hint}; to read past it: -d extra={key}")
        for key in self.required:
            if key not in value:
                tally.wrong(where, f"the key {key!r} is missing", "Every item needs it")


def stem(name: str) -> str:
    """What a picture is called by a request: its file's name without folder and ending, composed."""
    return composed(PurePosixPath(name).stem)
