"""A suite: the grid that somebody wants, read from TOML and checked before anything starts.

    title = "one line, for `expunge list suites`"
    seeds = [0, 1, 2]
    models = ["albef-tiny"]        # or "*": every model of the zoo that can be asked
    methods = ["nothing", "cse"]   # or "*", or tables [[methods]] with name, label, options, grid
    paper = "table1"               # the printed table to lay beside ours
    layout = "mllmu"               # lay the main table out so, instead of by columns: see ``report.layouts``
    analyses = ["words", "map"]    # what is looked at beside the scores, and drawn: see ``bench.analyses``
    budget = 8                     # as many settings must every method with a grid have

    [[scenarios]]
    label = "privacy"
    data = "people"
    sizes = [5, 50]                # how many are forgotten, drawn by seed …
    unit = "groups"                # … as groups, pictures, samples or pictured of ``source``; or who = ["p017"]
    tasks = ["retrieval"]          # or "*"
    make_original = { epochs = 5, lr = 1e-5, batch = 32 }   # your own data: the original is trained first, not given
    settings.retrieval.gradient_ascent = { lr = 3e-5 }   # what a search chose for this scenario, by task and method

A method with ``grid = { lr = [1e-4, 3e-4], epochs = [1, 5] }`` is searched: it is one row for every combination of the
values, on top of its ``options``, and the results say which was best.

    [paths]                        # places by name: "$flickr30k" anywhere above is that place
    flickr30k = "data/flickr30k"   # or --path flickr30k=FOLDER, or EXPUNGE_PATH_FLICKR30K

Wherever a suite is named, ``privacy:retrieval`` is what ``privacy`` asks of that task alone.

A path (data, a model's folder, a method's file) is read from the suite's own folder. Everything that is wrong is said
at once, with file, key and the nearest name (``reading``, ``soundness``).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, with_config

from expunge.core import plugins
from expunge.core.errors import ExpungeError, UnknownName
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
SHIPPED = Path(__file__).resolve().parent / "suites"
FILLED = ("name", "text", "path", "task")
"""What of a suite is not written in its file: its folder's name, the file, and the task that alone is asked."""


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
class Counts:
    """What a data set holds for a task, for ``--dry-run`` where it is not on this machine: training and test examples,
    and how many examples one of the scenario's units has. Never read where the data is there."""

    train: int
    test: int = 0
    each: float = 1.0


@with_config(STRICT)
@dataclass(frozen=True)
class Expected:
    """The same of a model by its name in ``[paths]``: weights, a training pass of one example in 10^9 operations, and
    the numbers that are kept of it for the way back."""

    weights: int
    gflop: float
    activations: float = 0.0


@with_config(STRICT)
@dataclass(frozen=True)
class Stated:
    """A machine that estimates are made for: 10^12 operations a second that are reached there, and its memory in GB."""

    what: str
    teraflops: float
    memory_gb: float


@with_config(STRICT)
@dataclass(frozen=True)
class Scenario:
    """What is forgotten out of what. ``images``, ``pretrained``, ``allow_leakage`` and ``make_original`` are for data
    of one's own; the last is true, or a table of epochs, lr and batch, where models are what originals are made from.

    ``settings`` are options by task and method, where others than a method's defaults were chosen for such data; what a
    row says itself wins. ``paper`` names the printed column group (by default the task), ``paper_sizes`` the printed
    sizes beside ``sizes``; ``expected`` holds counts by task.
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
    make_original: bool | dict[str, Any] = False
    settings: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    paper: str = ""
    paper_sizes: tuple[str, ...] = ()
    expected: dict[str, Counts] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        return self.label or Path(self.data).stem


@with_config(STRICT)
@dataclass(frozen=True)
class Suite:
    """The whole grid. ``against`` is ``retrain`` or ``none``: without it no gap is known. ``baseline`` labels the row
    that the others are tested against in pairs. ``budget`` is how many settings every method with a grid must have.
    ``paths`` are places by name; ``expected`` and ``machine`` serve ``--dry-run`` only."""

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
    layout: str = ""
    paths: dict[str, str] = field(default_factory=dict)
    expected: dict[str, Expected] = field(default_factory=dict)
    machine: Stated | None = None
    name: str = ""
    text: str = ""
    path: str = ""
    task: str = ""

    @property
    def asked(self) -> str:
        """What names this suite from anywhere on this machine, its task included."""
        return ":".join(filter(None, (self.path, self.task)))

    @property
    def typed(self) -> str:
        """What somebody types to ask for it: its name where it is ours, else its file's."""
        ours = Path(self.path).parent == SHIPPED
        return ":".join(filter(None, (Path(self.path).stem if ours else Path(self.path).name, self.task)))

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
    """The file of a suite: a path, or a name that `expunge list suites` shows, with a task after it or without."""
    name, _ = part(suite)
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise ExpungeError(f"there is no suite file {name}.")
        return Path(name)
    return plugins.find("suites", name).path


def part(suite: str | Path) -> tuple[str, str]:
    """``privacy:retrieval`` as the suite and its task, which is empty where none is named.

    Raises UnknownName for a task that there is not. The colon of a Windows drive names none.
    """
    name, _, task = str(suite).rpartition(":")
    if not name or any(mark in task for mark in "/\\."):
        return str(suite), ""
    known = [entry.name for entry in plugins.entries("tasks")]
    if task not in known:
        raise UnknownName("task", task, known)
    return name, task


def called(suite: str | Path) -> str:
    """What the suite's folder, tables and page are called."""
    return "_".join(filter(None, (find(suite).stem, part(suite)[1])))


def placed_options(suite: Suite, scenario: Scenario) -> dict[str, Any]:
    """The data's options, with the folders among them read from the suite's own folder."""
    folders = plugins.places(place(suite, scenario.data))
    beside = Path(suite.path).parent
    return {
        key: str(beside / Path(value).expanduser()) if key in folders and isinstance(value, str) else value
        for key, value in scenario.data_options.items()
    }


def place(suite: Suite, name: str) -> str:
    """A path of the suite made whole; a name of ours stays as it is. A name wins over a file: write ./people."""
    beside = Path(suite.path).parent / name
    if name.startswith("/") or not beside.exists() or ("/" not in name and "." not in name):
        return name
    return str(beside)


def options_of(scenario: Scenario, method: Method, task: str) -> dict[str, Any]:
    """What a row asks of its method in a scenario, but for the method's defaults."""
    return scenario.settings.get(task, {}).get(Path(method.name).stem, {}) | method.options


def tasks_of(scenario: Scenario) -> tuple[str, ...]:
    """What is asked in a scenario; ``*`` is all that its data serve, writing only where they serve nothing else: other
    models write than match and choose."""
    if scenario.tasks == ALL:
        served = set(plugins.find("data", plugins.reader(scenario.data)).tasks)
        wanted = served - {"answering"} or served
        return tuple(entry.name for entry in plugins.entries("tasks") if entry.name in wanted)
    return tuple(scenario.tasks)
