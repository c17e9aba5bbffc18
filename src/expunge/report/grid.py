"""A suite's results over seeds, and the sheets of text cells that they are shown as: shapes only.

A sheet is made of panels. A panel stands for one column group (scenario, task, model) in one section (how many were
forgotten), has its own columns, and one line for each method. ``sheets`` fills them, ``typeset`` writes them as
Markdown, LaTeX and CSV, ``grid_page`` draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from expunge.core.record import Score
from expunge.report import measures

TASKS = {"retrieval": "retrieval", "multiple_choice": "multiple choice", "entailment": "entailment",
         "answering": "answers in words"}  # fmt: skip
PRICES = {"r_forget_shared": "D_f seen", "r_forget_private": "D_f told", "r_forget_named": "D_f by name",
          "r_retain": "kept", "r_test": "D_test"}  # fmt: skip
"""The splits that show at what price a setting was best."""


# ------------------------------------------------------------------------------------------ what was measured


@dataclass(frozen=True)
class Entry:
    """One number over seeds, and its mean distance to the retrained model of the same seed.

    Seeds where a number could not be measured are left out of it, and ``n`` says so.
    """

    score: Score
    gap: Score | None = None

    @property
    def n(self) -> int:
        """Seeds that have the number and, where it has one, its distance."""
        return min(self.score.n, self.gap.n) if self.gap else self.score.n


@dataclass(frozen=True)
class GridRow:
    """One method in one block. ``wanted`` cells were asked for, ``measured`` are there, ``failed`` could not be."""

    label: str
    method: str
    entries: Mapping[str, Entry]
    wanted: int
    measured: int
    failed: int
    printed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    is_reference: bool = False  # its cells are the retrained models that all others are held against

    def competes(self, column: str) -> bool:
        """Whether the row may be the best of a column: only with a number of every seed, since those that failed are
        not the ones that would have looked best."""
        entry = self.entries.get(column)
        return entry is not None and entry.n == self.wanted and measures.competes(self.method)

    def lacks(self, column: str) -> bool:
        """Whether a number lacks seeds that the row's cells were measured on."""
        entry = self.entries.get(column)
        return entry is not None and entry.n < self.measured


@dataclass(frozen=True)
class Paired:
    """A row against the baseline, seed by seed: its distance to the retrained model minus the baseline's."""

    label: str
    column: str
    difference: Score
    t: float
    wilcoxon: float
    n: int


@dataclass(frozen=True)
class GridBlock:
    """One scenario, task, model and size. ``stages`` holds the shared models' scores over seeds."""

    scenario: str
    task: str
    model: str
    size: int
    unit: str
    printed_size: str
    rows: tuple[GridRow, ...]
    seeds: tuple[str, ...]
    tests: tuple[Paired, ...] = ()
    stages: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    findings: Any = None  # report.findings.Findings: what its cells looked at


UNITS = {"groups": "forgotten", "pictures": "pictures forgotten", "samples": "samples forgotten",
         "pictured": "forgotten by their pictures"}  # fmt: skip


def size_of(block: GridBlock) -> str:
    """``34 pictures forgotten``."""
    return f"{block.size} {UNITS.get(block.unit, 'forgotten')}"


def column_group(blocks: Sequence[GridBlock], block: GridBlock) -> str:
    """Scenario and task of a block, and its model where ``blocks`` have several."""
    parts = [block.scenario, TASKS.get(block.task, block.task.replace("_", " "))]
    if len({one.model for one in blocks}) > 1:
        parts.append(block.model)
    return ", ".join(parts)


@dataclass(frozen=True)
class Chosen:
    """The best setting of a searched method; ``label`` is None as long as its settings have no cell in common.

    ``rule`` is ``avg_g``, in a suite with a layout ``away``, and ``points_off`` where there are no retrained models.
    ``measured`` of ``settings`` have numbers; ``score`` is a mean over ``cells``, as are ``prices``: for each of
    ``PRICES`` the value and its distance to the retrained model, or the change since before.
    """

    method: str
    label: str | None
    rule: str
    score: float | None
    measured: int
    settings: int
    cells: int
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    label: str
    reason: str
    traceback: str
    hash: str


@dataclass(frozen=True)
class Results:
    """A whole suite. ``environments`` counts the cells of every machine and commit, the most frequent first."""

    suite: str
    typed: str  # what `expunge bench` is asked for
    title: str
    about: str
    text: str
    paper: str
    baseline: str
    columns: tuple[str, ...]
    blocks: tuple[GridBlock, ...]
    failures: tuple[Failure, ...]
    missing: tuple[str, ...]
    done: int
    total: int
    chosen: tuple[Chosen, ...] = ()
    left_out: tuple[str, ...] = ()
    environments: tuple[tuple[int, Mapping[str, Any]], ...] = ()
    drawn: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    layout: str = ""  # of ``report.layouts``; empty for ``columns``


# ------------------------------------------------------------------------------------------ sheets


@dataclass(frozen=True)
class GridCell:
    """``text ± half (gap)``; ``rank`` is 1 for the best, 2 for the second, 0 for the others. ``text`` ends with † where
    seeds are lacking, and in a paired test ``gap`` says how many there are."""

    text: str = "–"
    half: str = ""
    gap: str = ""
    rank: int = 0


@dataclass(frozen=True)
class Line:
    label: str
    cells: tuple[GridCell, ...]
    reference: bool = False
    mark: str = ""
    picture: str = ""  # a data URI, shown on the page


@dataclass(frozen=True)
class Panel:
    """``stub`` stands over the labels; the cells of ``prose`` are sentences, not numbers."""

    section: str
    group: str
    heads: tuple[str, ...]
    lines: tuple[Line, ...]
    stub: str = "Method"
    prose: bool = False


@dataclass(frozen=True)
class Sheet:
    name: str
    title: str
    note: str
    panels: tuple[Panel, ...]
