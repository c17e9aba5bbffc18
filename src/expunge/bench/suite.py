"""A suite: the grid that somebody wants, read from TOML and checked before anything starts.

    title = "one line, for `expunge list suites`"
    seeds = [0, 1, 2]
    models = ["albef-tiny"]        # or "*": every model of the zoo that can be asked
    methods = ["nothing", "cse"]   # or "*", or tables [[methods]] with name, label, options, grid
    paper = "table1"               # the printed table to lay beside ours
    analyses = ["words", "map"]    # what is looked at beside the scores, and drawn: see ``bench.analyses``
    budget = 8                     # as many settings must every method with a grid have

    [[scenarios]]
    label = "privacy"
    data = "people"
    sizes = [5, 50]                # how many are forgotten, drawn by seed …
    unit = "groups"                # … as groups, pictures or samples of ``source``; or who = ["p017"]
    tasks = ["retrieval"]          # or "*"

A method with ``grid = { lr = [1e-4, 3e-4], epochs = [1, 5] }`` is searched: it is one row for every combination of the
values, on top of its ``options``, and the results say which was best.

A path (data, a model's folder, a method's file) is read from the suite's own folder. Everything that is wrong is said
at once, with file, key and the nearest name (``soundness``).
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from expunge.core import plugins
from expunge.core.errors import DataError, ExpungeError, Problem
from expunge.core.types import Unit

STRICT = ConfigDict(extra="forbid")
MADE_COLUMNS = ("inception_score", "self_bleu", "private_leak", "attribute_agreement")
"""Columns that the analysis ``anchors`` measures."""
COLUMNS = ("mi", "forget", "test", "avg_g", "avg_split", "m_eff", "m_rel", "m_loc", *MADE_COLUMNS, "seconds")
"""What a table may show; ``forget`` and ``test`` are recall or accuracy, whichever the task measures."""
LOOKS = ("words", "matching", "attention", "map")
"""Analyses of any model: the shared cells before and retrained are looked at, too."""
MADE = ("anchors", "factors")
"""Analyses of what a method made its anchors from."""
ALL = "*"


@with_config(STRICT)
@dataclass(frozen=True)
class Method:
    """A method with its options. ``label`` stands in the table, ``paper`` is its row in the printed one.

    With a ``grid``, lists of values by option, it is a row for each of ``settings``.
    """

    name: str
    label: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    paper: str = ""

    @property
    def shown(self) -> str:
        return self.label or Path(self.name).stem

    @property
    def settings(self) -> tuple[Method, ...]:
        """One method for every combination of the grid's values, the last option turning fastest; or itself alone."""
        if not self.grid:
            return (self,)
        crossed = (dict(zip(self.grid, values)) for values in itertools.product(*self.grid.values()))
        return tuple(replace(self, label=self._called(one), options=self.options | one, grid={}) for one in crossed)

    def _called(self, setting: Mapping[str, Any]) -> str:
        return " ".join([self.shown, *(f"{name}={value}" for name, value in setting.items())])


@with_config(STRICT)
@dataclass(frozen=True)
class Scenario:
    """What is forgotten out of what. ``images``, ``pretrained`` and ``allow_leakage`` are for data of one's own.

    ``paper`` names the printed column group (by default the task), ``paper_sizes`` the printed sizes beside ``sizes``.
    """

    data: str
    label: str = ""
    data_options: dict[str, Any] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()
    unit: Unit = "groups"
    source: str = ""
    who: tuple[str, ...] = ()
    tasks: tuple[str, ...] | Literal["*"] = ("retrieval",)
    models: tuple[str, ...] | Literal["*"] | None = None
    seeds: tuple[int, ...] | None = None
    images: str | None = None
    pretrained: str | None = None
    allow_leakage: bool = False
    paper: str = ""
    paper_sizes: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        return self.label or Path(self.data).stem


@with_config(STRICT)
@dataclass(frozen=True)
class Suite:
    """The whole grid. ``against`` is ``retrain`` or ``none``: without it no gap is known. ``baseline`` labels the row
    that the others are tested against in pairs. ``budget`` is how many settings every method with a grid must have."""

    scenarios: tuple[Scenario, ...]
    methods: tuple[Method | str, ...] | Literal["*"]
    seeds: tuple[int, ...]
    models: tuple[str, ...] | Literal["*"] = ("albef-tiny",)
    title: str = ""
    about: str = ""
    against: Literal["retrain", "none"] = "retrain"
    baseline: str = ""
    budget: int | None = None
    columns: tuple[str, ...] = ("mi", "forget", "test", "avg_g", "seconds")
    analyses: tuple[str, ...] = ()
    paper: str = ""
    name: str = ""
    text: str = ""
    path: str = ""

    @property
    def written(self) -> tuple[Method, ...]:
        """The methods as tables, in order; ``*`` is everything that `expunge list methods` shows."""
        if self.methods == ALL:
            return tuple(Method(entry.name) for entry in plugins.entries("methods"))
        return tuple(Method(m) if isinstance(m, str) else m for m in self.methods)

    @property
    def rows(self) -> tuple[Method, ...]:
        """One for every row: a method with a grid is as many as it has settings."""
        return tuple(row for method in self.written for row in method.settings)

    @property
    def searches(self) -> dict[str, tuple[str, ...]]:
        """Every method with a grid -> the labels of its settings."""
        return {m.shown: tuple(row.shown for row in m.settings) for m in self.written if m.grid}

    @property
    def held_against(self) -> str:
        """The label of the row that the paired tests compare with; empty when there is none."""
        return self.baseline or next((m.shown for m in self.written if m.name == "cse" and not m.grid), "")


def find(suite: str | Path) -> Path:
    """The file of a suite: a path, or a name that `expunge list suites` shows."""
    if str(suite).endswith(".toml"):
        if not Path(suite).is_file():
            raise ExpungeError(f"there is no suite file {suite}.")
        return Path(suite)
    return plugins.find("suites", str(suite)).path


def read(suite: str | Path) -> Suite:
    """The suite, checked. Raises DataError with everything that is wrong."""
    path = find(suite)
    text = path.read_text(encoding="utf-8")
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ExpungeError(f"{path}: this is no TOML: {error}.") from error
    taken = {"name", "text", "path"} & raw.keys()  # they are the program's to fill in
    if taken:
        raise DataError([Problem(f"{path}: {key}", "no such key", "Remove it.") for key in sorted(taken)])
    try:
        told = TypeAdapter(Suite).validate_python(raw | {"name": path.stem, "text": text, "path": str(path.resolve())})
    except ValidationError as error:
        raise DataError([_problem(path, one) for one in _told_once(error)]) from None
    from expunge.bench.soundness import problems

    if found := list(problems(told, path)):
        raise DataError(found)
    return told


def place(suite: Suite, name: str) -> str:
    """A path of the suite made whole; a name of ours stays as it is. A name wins over a file: write ./people."""
    beside = Path(suite.path).parent / name
    if name.startswith("/") or not beside.exists() or ("/" not in name and "." not in name):
        return name
    return str(beside)


# ---------------------------------------------------------------------------------------------- what has no shape

_SHAPES: dict[str, type] = {"methods": Method, "scenarios": Scenario}


def _told_once(error: ValidationError) -> Iterable[Any]:
    """Pydantic tells of every member of a union; the one that the value was meant for suffices."""
    found: dict[str, Any] = {}
    for one in error.errors():
        key = _spelled(one["loc"])
        known = found.get(key)
        if known is None or known["type"] == "literal_error":
            found[key] = one
    # A misspelt key inside a table is told there; that the table is no string is then noise.
    inner = [k for k in found if "." in k]
    return [one for k, one in found.items() if not any(other.startswith(k + ".") for other in inner)]


def _spelled(loc: tuple[Any, ...]) -> str:
    """``("scenarios", 0, "sizes")`` as ``scenarios[0].sizes``, without the names of a union's members."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not any(mark in str(part) for mark in "[(") and str(part) not in ("Method", "Scenario", "str"):
            text += f".{part}" if text else str(part)
    return text


def _problem(path: Path, one: Any) -> Problem:
    where = f"{path}: {_spelled(one['loc'])}"
    if one["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        shape = _SHAPES.get(str(one["loc"][0]), Suite) if len(one["loc"]) > 1 else Suite
        known = [f.name for f in fields(shape) if f.name not in ("name", "text", "path") or shape is not Suite]
        near = get_close_matches(str(one["loc"][-1]), known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        return Problem(where, "no such key", f"{hint}There is: {', '.join(sorted(known))}.")
    if one["type"] in ("missing", "missing_argument"):
        return Problem(where, "this key is missing", "Write it.")
    return Problem(where, one["msg"], f"It reads {one['input']!r}.")
