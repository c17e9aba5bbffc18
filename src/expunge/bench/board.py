"""How a grid talks while it runs: cells done, time left, what is being worked on; and its table in the terminal."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from expunge.bench.runner import Status, Watch
from expunge.report.grid import GridCell, Panel, Results
from expunge.report.measures import duration
from expunge.report.sheets import best_settings, distances, main


def sentence(status: Status) -> str:
    """``12 of 50 cells, 1 failed, about 1 h 10 min left``."""
    text = f"{status.done} of {status.total} cells"
    if status.failed:
        text += f", {status.failed} failed"
    if status.missing and status.left_s is not None:
        text += f", about {duration(status.left_s)} left"
    return text


def at_work(note: dict[str, Any]) -> str:
    """``cse · people 50 · seed 1 (2 min 05 s): editing (CSE), 34 of 120``; on which machine, where it is another."""
    host = note.get("host")
    where = f" on {host}" if host and host != socket.gethostname() else ""
    text = f"{note['label']}{where} ({duration(max(0.0, time.time() - note['since']))})"
    return text + (f": {note['what']}" if note.get("what") else "")


@contextmanager
def board(to: TextIO | None = None) -> Iterator[Watch]:
    """Yields what ``runner.run`` may call: a live board where somebody watches, lines otherwise."""
    stream = to or sys.stderr
    if not stream.isatty():
        yield _Lines(stream)
        return
    with Live(console=Console(file=stream), refresh_per_second=4, transient=True) as live:
        yield lambda status: live.update(_drawn(status))


def _drawn(status: Status) -> Group:
    bar = ProgressBar(total=max(1, status.total), completed=status.done + status.failed, width=48)
    return Group(Text(sentence(status), style="bold"), bar, *(Text("  " + at_work(n)) for n in status.running))


class _Lines:
    """For a file or a pipe: a line when a cell is settled, and every half minute what is being worked on."""

    def __init__(self, to: TextIO, every: float = 30.0):
        self._to, self._every = to, every
        self._settled, self._said = -1, 0.0

    def __call__(self, status: Status) -> None:
        settled, now = status.done + status.failed, time.monotonic()
        if settled == self._settled and now - self._said < self._every:
            return
        self._settled, self._said = settled, now
        running = "; ".join(at_work(note) for note in status.running)
        print(sentence(status) + (f" · {running}" if running else ""), file=self._to, flush=True)


def terminal(results: Results) -> Group:
    """The main table, its averages and what a search chose, panel by panel, for ``rich.print``."""
    panels = [*main(results).panels, *distances(results).panels, *best_settings(results).panels]
    return Group(*(part for panel in panels for part in (Text(""), _table(panel))))


def _table(panel: Panel) -> Table:
    title = ", ".join(part for part in (panel.group, panel.section) if part)
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for head in panel.heads:
        table.add_column(head, justify="right", no_wrap=True)
    for line in panel.lines:
        label = line.label + (f" {line.mark}" if line.mark else "")
        table.add_row(Text(label, style="italic" if line.reference else ""), *map(_text, line.cells))
    return table


def _text(cell: GridCell) -> Text:
    text = Text(cell.text, style={1: "bold green", 2: "underline"}.get(cell.rank, ""))
    if cell.half:
        text.append(f" ±{cell.half}", style="dim")
    if cell.gap:
        text.append(f" ({cell.gap})", style="not bold not underline")
    return text
