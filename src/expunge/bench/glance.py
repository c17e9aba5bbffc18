"""Looking at a suite's folder without measuring anything; without a model library where the plan there still holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from expunge.bench import cells, exchange
from expunge.bench import suite as suites
from expunge.bench.drawing import Drawn, draw
from expunge.bench.harvest import plan_of


def folder_of(suite: str, out: Path | None) -> Path:
    """The suite's folder, its plan brought up to date when the suite's text has changed."""
    folder = cells.folder_of(suites.called(suite), out)
    told = plan_of(folder)
    if told is None or told["text"] != suites.find(suite).read_text(encoding="utf-8"):
        from expunge.bench.runner import prepare

        prepare(suite, out)
    return folder


def take(suite: str, out: Path | None, sources: Iterable[str | Path]) -> exchange.Taken:
    """Put the suite's cells that ``sources`` hold where they would lie had they been measured here.

    The plan is made anew: where a default has changed since it was written, other cells are asked for.
    """
    from expunge.bench.runner import prepare

    made, shelf = prepare(suite, out)
    return exchange.take(sources, (cell.hash for cell in made.cells()), shelf)


def pass_on(suite: str, out: Path | None, path: str | Path) -> int:
    """Write the suite's finished cells as one file, which ``take`` reads; how many they are."""
    told, shelf = _plan(suite, out)
    return exchange.write(path, told["cells"], shelf)


def table(suite: str, out: Path | None) -> Drawn:
    return draw(folder_of(suite, out))


def listing(suite: str, out: Path | None) -> str:
    """One line for each cell: its hash, its state, what it is; failures with their reason."""
    told, shelf = _plan(suite, out)
    running = {note["hash"] for note in shelf.running()}
    lines = []
    for one in told["cells"]:
        if shelf.result(one) is not None:
            state = "done"
        elif failure := shelf.failure(one):
            state = "failed"
        else:
            state = "running" if one in running else "missing"
        reason = f": {' '.join(failure['reason'].split())}" if state == "failed" else ""
        lines.append(f"{one[:12]}  {state:<8} {told['labels'][one]}{reason}")
    return "\n".join(lines)


def _plan(suite: str, out: Path | None) -> tuple[dict[str, Any], cells.Shelf]:
    folder = folder_of(suite, out)
    told = plan_of(folder)
    assert told is not None
    return told, cells.Shelf(folder.parent)
