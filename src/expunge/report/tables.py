"""The same table three ways: for the terminal (rich), for a README (Markdown) and for the page (plain cells).

One row per model or method. In parentheses stands the difference to the retrained model, in small print the 95 %
interval. The best method of each column is marked; the retrained model (the reference) and doing nothing (a
control, which trivially keeps everything) do not compete.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from expunge.core.record import Better, Record
from expunge.report import layouts
from expunge.report.measures import (
    BY_KEY,
    MEMORY,
    STAGES,
    SUMMARY,
    competes,
    duration,
    finite,
    interval,
    is_reference,
    measures,
    memory,
    method_name,
    number,
    score,
    signed,
    summary,
    task_of,
    value,
)  # fmt: skip

SCORE_COLUMNS = (
    "mi", "r_forget", "r_forget_shared", "r_forget_private", "r_forget_named", "r_test", "r_retain_shared",
    "r_retain_private",
)  # fmt: skip
HEADS = {
    "mi": "MI", "r_forget": "R@D_f", "r_forget_shared": "D_f seen", "r_forget_private": "D_f told",
    "r_forget_named": "D_f named", "r_test": "R@D_test",
    "r_retain_shared": "kept seen", "r_retain_private": "kept told", "seconds": "time", "memory": "memory",
    "gpu_memory": "GPU memory",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One number as text: the value, its interval, its distance to the retrained model."""

    text: str = "–"
    interval: str = ""
    delta: str = ""
    best: bool = False


@dataclass(frozen=True)
class Column:
    """``better`` is None where no row is called the best."""

    key: str
    head: str
    title: str
    better: Better | None


@dataclass(frozen=True)
class Row:
    label: str
    cells: tuple[Cell, ...]
    reference: bool = False


@dataclass(frozen=True)
class Grid:
    """A finished table: columns that hold at least one number, rows in the order given."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def compare(named: Sequence[tuple[str, Record]]) -> Grid:
    """One row per record, with the scores of its *after* model; records of one task.

    Where all have a retrained model the best is the nearest to it, as in a suite's tables.
    """
    columns = _columns(task_of(named[0][1]) if named else "retrieval")
    rows: list[list[Cell]] = []
    competing: list[dict[str, float]] = []
    compared = all(record.scores.get("oracle") for _, record in named)
    for label, record in named:
        names = (label, method_name(record))
        shown = [_cell(record, "after", column.key) for column in columns]
        rows.append([replace(cell, delta="") for cell in shown] if is_reference(*names) else shown)
        merits = {c.key: v for c in columns if (v := _merit(record, c, compared)) is not None}
        competing.append(merits if competes(*names) else {})
    return _grid(columns, [label for label, _ in named], _mark(columns, rows, competing), named)


def stages(record: Record) -> Grid:
    """One row per stage of a single run: before, after, retrained. Summary and cost belong to *after*."""
    columns = _columns(task_of(record))
    present = [stage for stage in STAGES if record.scores.get(stage)]
    rows = [[_cell(record, stage, column.key) for column in columns] for stage in present]
    return _grid(columns, [STAGES[stage] for stage in present], rows, [])


def _columns(task: str) -> tuple[Column, ...]:
    known = {m.key: m for m in measures(task)}
    heads = HEADS if task == "retrieval" else {k: head.replace("R@", "A@") for k, head in HEADS.items()}
    scores = [Column(k, heads[k], f"{known[k].name}. {known[k].plain}", known[k].better) for k in SCORE_COLUMNS]
    papers = [Column(m.key, m.short, f"{m.name}. {m.plain}", m.better) for m in SUMMARY]
    costs = [
        Column(
            "seconds",
            HEADS["seconds"],
            "Wall-clock time; in small print the share of MVI, which makes the stand-ins.",
            None,  # doing less always wins it
        ),
        Column("memory", HEADS["memory"], "Peak memory of the process, without an accelerator’s.", None),
        Column("gpu_memory", HEADS["gpu_memory"], "Peak of what it held on the accelerator.", None),
    ]
    # Some are to be as the retrained model's, some high, some low, and no mark would say which.
    wrote = [Column(k, layouts.head(k), layouts.head(k), None) for k in layouts.written_keys(task)]
    return (*scores, *wrote, *papers, *costs)


def _cell(record: Record, stage: str, key: str) -> Cell:
    if key in BY_KEY or layouts.head(key):
        one = score(record, stage, key)
        if one is None:
            return Cell()
        digits = 2 if layouts.is_share(key) else 1
        oracle = value(record, "oracle", key)
        delta = "" if oracle is None or stage == "oracle" else signed(one.value - oracle, digits)
        return Cell(number(one.value, digits), interval(one, 2 * digits - 2), delta)
    if stage != "after":
        return Cell("")
    if key == "seconds":
        mvi = record.cost.get("seconds_mvi")
        return Cell(duration(record.cost.get("seconds")), f"MVI {duration(mvi)}" if finite(mvi) and mvi else "")
    if key in MEMORY:
        return Cell(memory(record.cost.get(MEMORY[key])))
    return Cell(number(summary(record).get(key), 2))


def _merit(record: Record, column: Column, compared: bool) -> float | None:
    """How good this record is in this column; larger is better. None where it has no number, or nobody is the best."""
    if column.better is None:
        return None
    if column.key in BY_KEY:
        found, oracle = value(record, "after", column.key), value(record, "oracle", column.key)
        if compared:
            return None if found is None or oracle is None else round(-abs(found - oracle), 9)
        return None if column.better == "oracle" else found
    found = summary(record).get(column.key)
    if found is None or not finite(found):
        return None
    return -found if column.better == "lower" else found


def _mark(columns: Sequence[Column], rows: list[list[Cell]], merits: list[dict[str, float]]) -> list[list[Cell]]:
    for i, column in enumerate(columns):
        found = [m[column.key] for m in merits if column.key in m]
        if len(set(found)) < 2:
            continue  # nobody to be better than
        for row, merit in zip(rows, merits, strict=True):
            if merit.get(column.key) == max(found):
                row[i] = replace(row[i], best=True)
    return rows


def _grid(
    columns: Sequence[Column], labels: Sequence[str], rows: list[list[Cell]], named: Sequence[tuple[str, Record]]
) -> Grid:
    used = [i for i in range(len(columns)) if any(row[i].text not in ("", "–") for row in rows)]
    reference = [is_reference(label, method_name(record)) for label, record in named] or [False] * len(rows)
    return Grid(
        tuple(columns[i] for i in used),
        tuple(
            Row(label, tuple(row[i] for i in used), ref)
            for label, row, ref in zip(labels, rows, reference, strict=True)
        ),
    )


# ------------------------------------------------------------------------------------------ terminal


@dataclass(frozen=True)
class TerminalTable:
    """A grid that rich can print. Columns that do not fit beside the others go into a second block below."""

    grid: Grid
    title: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for i, part in enumerate(_blocks(self.grid, options.max_width)):
            if i:
                yield Text("")
            yield self._block(part, self.title if i == 0 else "")
        cells = [cell for row in self.grid.rows for cell in row.cells]
        said = ["(±) difference to the retrained model"] if any(c.delta for c in cells) else []
        said += ["below: 95 % interval"] if any(c.interval for c in cells) else []
        said += ["green: best method"] if any(c.best for c in cells) else []
        yield Text(" · ".join(said), style="dim")

    def __str__(self) -> str:
        """The same without colours, for ``print``."""
        held = io.StringIO()
        Console(file=held, width=140, color_system=None).print(self)
        return held.getvalue().rstrip()

    def _block(self, indices: Sequence[int], title: str) -> Table:
        table = Table(
            box=box.SIMPLE_HEAD,
            title=title or None,
            title_style="bold",
            title_justify="left",
            pad_edge=False,
            padding=(0, 0, 0, 1),
        )
        table.add_column("")
        for i in indices:
            table.add_column(self.grid.columns[i].head, justify="right", no_wrap=True)
        for row in self.grid.rows:
            style = "italic" if row.reference else ""
            table.add_row(Text(row.label, style=style), *(_rich_cell(row.cells[i]) for i in indices))
        return table


def terminal_table(grid: Grid, title: str = "") -> TerminalTable:
    """For ``rich.print``."""
    return TerminalTable(grid, title)


def _rich_cell(cell: Cell) -> Text:
    text = Text(cell.text, style="bold green" if cell.best else "")
    if cell.delta:
        text.append(f" ({cell.delta})", style="dim")
    if cell.interval:
        text.append(f"\n{cell.interval}", style="dim")
    return text


def _blocks(grid: Grid, width: int) -> list[list[int]]:
    """Column indices, cut into as few blocks as the width allows."""
    gap = 2
    first = max((len(row.label) for row in grid.rows), default=0) + gap
    blocks: list[list[int]] = [[]]
    used = first
    for i, column in enumerate(grid.columns):
        cells = [_rich_cell(row.cells[i]).plain.split("\n") for row in grid.rows]
        need = max(len(column.head), *(len(line) for lines in cells for line in lines)) + gap
        if blocks[-1] and used + need > width:
            blocks.append([])
            used = first
        blocks[-1].append(i)
        used += need
    return [block for block in blocks if block]


# ------------------------------------------------------------------------------------------ Markdown


def markdown(grid: Grid) -> str:
    """A GitHub table; ends with a newline."""
    head = "| | " + " | ".join(_escape(c.head) for c in grid.columns) + " |"
    rule = "|---|" + "---:|" * len(grid.columns)
    lines = [head, rule]
    for row in grid.rows:
        label = f"*{_escape(row.label)}*" if row.reference else _escape(row.label)
        lines.append("| " + " | ".join([label, *(_markdown_cell(cell) for cell in row.cells)]) + " |")
    return "\n".join(lines) + "\n"


def _markdown_cell(cell: Cell) -> str:
    parts = [f"**{cell.text}**" if cell.best else cell.text]
    if cell.delta:
        parts.append(f"({cell.delta})")
    if cell.interval:
        parts.append(f"<sub>{cell.interval}</sub>")
    return " ".join(parts)


def _escape(text: str) -> str:
    for mark in "\\|*<_":
        text = text.replace(mark, "&lt;" if mark == "<" else "\\" + mark)
    return text.replace("\n", " ")
