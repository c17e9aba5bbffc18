"""A suite: the grid that somebody wants, read from TOML and checked before anything starts.

    title = "one line, for `expunge list suites`"
    seeds = [0, 1, 2]
    models = ["albef-tiny"]        # or "*": every model of the zoo that can be asked
    methods = ["nothing", "cse"]   # or "*", or tables [[methods]] with name, label, options
    paper = "table1"               # the printed table to lay beside ours
    analyses = ["words", "map"]    # what is looked at beside the scores, and drawn: see ``bench.analyses``

    [[scenarios]]
    label = "privacy"
    data = "people"
    sizes = [5, 50]                # how many are forgotten, drawn by seed …
    unit = "groups"                # … as groups, pictures or samples of ``source``; or who = ["p017"]
    tasks = ["retrieval"]          # or "*"

A path (data, a model's folder, a method's file) is read from the suite's own folder. Everything that is wrong is said
at once, with file, key and the nearest name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from expunge.core import plugins
from expunge.core.errors import DataError, ExpungeError, Problem, UnknownName
from expunge.report import printed

Unit = Literal["groups", "pictures", "samples"]
STRICT = ConfigDict(extra="forbid")
MADE_COLUMNS = ("inception_score", "self_bleu", "private_leak", "attribute_agreement")
"""Columns that the analysis ``anchors`` measures."""
COLUMNS = ("mi", "forget", "test", "avg_g", "m_eff", "m_rel", "m_loc", *MADE_COLUMNS, "seconds")
"""What a table may show; ``forget`` and ``test`` are recall or accuracy, whichever the task measures."""
LOOKS = ("words", "matching", "attention", "map")
"""Analyses of any model: the shared cells before and retrained are looked at, too."""
MADE = ("anchors", "factors")
"""Analyses of what a method made its anchors from."""
ALL = "*"


@with_config(STRICT)
@dataclass(frozen=True)
class Method:
    """One row: a method with its options. ``label`` stands in the table, ``paper`` is its row in the printed one."""

    name: str
    label: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    paper: str = ""

    @property
    def shown(self) -> str:
        return self.label or Path(self.name).stem


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
    that the others are tested against in pairs."""

    scenarios: tuple[Scenario, ...]
    methods: tuple[Method | str, ...] | Literal["*"]
    seeds: tuple[int, ...]
    models: tuple[str, ...] | Literal["*"] = ("albef-tiny",)
    title: str = ""
    about: str = ""
    against: Literal["retrain", "none"] = "retrain"
    baseline: str = ""
    columns: tuple[str, ...] = ("mi", "forget", "test", "avg_g", "seconds")
    analyses: tuple[str, ...] = ()
    paper: str = ""
    name: str = ""
    text: str = ""
    path: str = ""

    @property
    def rows(self) -> tuple[Method, ...]:
        """The methods as tables, in order; ``*`` is everything that `expunge list methods` shows."""
        if self.methods == ALL:
            return tuple(Method(entry.name) for entry in plugins.entries("methods"))
        return tuple(Method(m) if isinstance(m, str) else m for m in self.methods)

    @property
    def held_against(self) -> str:
        """The label of the row that the paired tests compare with; empty when there is none."""
        return self.baseline or next((m.shown for m in self.rows if m.name == "cse"), "")


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
    if problems := list(_problems(told, path)):
        raise DataError(problems)
    return told


def place(suite: Suite, name: str) -> str:
    """A path of the suite made whole; a name of ours stays as it is. A name wins over a file: write ./people."""
    beside = Path(suite.path).parent / name
    if name.startswith("/") or not beside.exists() or ("/" not in name and "." not in name):
        return name
    return str(beside)


# ---------------------------------------------------------------------------------------------- what is wrong

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


def _problems(suite: Suite, path: Path) -> Iterable[Problem]:
    """What the shape alone cannot tell: names that do not exist, options that no method has, doubles."""

    def wrong(key: str, found: str, remedy: str) -> Problem:
        return Problem(f"{path}: {key}", found, remedy)

    yield from (wrong(k, *f) for k, f in _names(suite))
    labels = [m.shown for m in suite.rows]
    for label in sorted({one for one in labels if labels.count(one) > 1}):
        yield wrong("methods", f"two rows are called {label!r}", "Give each its own label.")
    if not labels:
        yield wrong("methods", "there is none", "Name at least one.")
    if suite.baseline and suite.baseline not in labels:
        yield wrong("baseline", f"no row is called {suite.baseline!r}", f"There is: {', '.join(labels)}.")
    for column in suite.columns:
        if column not in COLUMNS:
            yield wrong("columns", f"no column called {column!r}", f"There is: {', '.join(COLUMNS)}.")
    for asked in suite.analyses:
        if asked not in LOOKS + MADE:
            yield wrong("analyses", *_split(UnknownName("analysis", asked, LOOKS + MADE)))
    for column in set(suite.columns) & set(MADE_COLUMNS) if "anchors" not in suite.analyses else ():
        yield wrong("columns", f"{column!r} is measured on anchors", 'Write analyses = ["anchors"].')
    shown = [s.shown for s in suite.scenarios]
    for label in sorted({one for one in shown if shown.count(one) > 1}):
        yield wrong("scenarios", f"two are called {label!r}", "Give each its own label.")
    if not suite.scenarios:
        yield wrong("scenarios", "there is none", "Write at least one [[scenarios]].")
    for i, scenario in enumerate(suite.scenarios):
        key = f"scenarios[{i}]"
        if bool(scenario.sizes) == bool(scenario.who):
            yield wrong(key, "it needs either sizes or who", 'Write sizes = [5, 50], or who = ["p017"].')
        if any(size < 1 for size in scenario.sizes):
            yield wrong(f"{key}.sizes", "a size below one", "Forget at least one.")
        if scenario.paper_sizes and len(scenario.paper_sizes) != len(scenario.sizes):
            yield wrong(f"{key}.paper_sizes", "not as many as sizes", "Write one printed size for each.")
        for where, seeds in ((f"{key}.seeds", scenario.seeds), ("seeds", suite.seeds)):
            if seeds is not None and (not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0):
                yield wrong(where, f"{list(seeds)} are no seeds", "Write different numbers from 0 up.")


def _names(suite: Suite) -> Iterable[tuple[str, tuple[str, str]]]:
    """(key, (what is wrong, what to do)) for every name, each looked up where the program will look it up."""
    from expunge.core.options import options
    from expunge.zoo import shelf

    if suite.paper and suite.paper not in printed.tables():
        yield "paper", (f"no printed table called {suite.paper!r}", f"There is: {', '.join(printed.tables())}.")
    for i, method in enumerate(suite.rows):
        key = f"methods[{i}]"
        try:
            chosen = plugins.load_method(place(suite, method.name))
        except ExpungeError as error:
            yield f"{key}.name", _split(error)
            continue
        try:
            options(chosen, method.options)
        except ExpungeError as error:
            yield f"{key}.options", _split(error)
    listed = {("models", suite.models)} | {(f"scenarios[{i}].models", s.models) for i, s in enumerate(suite.scenarios)}
    for key, models in sorted(listed, key=lambda one: one[0]):
        for model in models if models and models != ALL else ():
            try:
                shelf.locate(place(suite, model))
            except ExpungeError as error:
                yield key, _split(error)
    tasks = [entry.name for entry in plugins.entries("tasks")]
    for i, scenario in enumerate(suite.scenarios):
        key = f"scenarios[{i}]"
        for task in scenario.tasks if scenario.tasks != ALL else ():
            if task not in tasks:
                yield f"{key}.tasks", _split(UnknownName("task", task, tasks))
        data = place(suite, scenario.data)
        if plugins.is_path(data):
            if not Path(data).exists():
                yield f"{key}.data", (f"there is no data at {data}", "A path is read from the suite's own folder.")
            continue
        try:
            plugins.find("data", data.partition(":")[0])
        except ExpungeError as error:
            yield f"{key}.data", _split(error)


def _split(error: ExpungeError) -> tuple[str, str]:
    """A sentence of what is wrong and one of what to do, out of one message."""
    found, _, remedy = str(error).partition(". ")
    return found.rstrip("."), remedy or "`expunge list` shows what there is."


def gist(options: Mapping[str, Any]) -> str:
    """Options in a few words, for a line of progress."""
    return ", ".join(f"{k}={v}" for k, v in options.items())
