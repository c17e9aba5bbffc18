"""Looking at a suite's folder without measuring anything; without a model library where the plan there still holds."""

from __future__ import annotations

from pathlib import Path

from expunge.bench import cells
from expunge.bench import suite as suites
from expunge.bench.drawing import Drawn, draw
from expunge.bench.harvest import plan_of


def folder_of(suite: str, out: Path | None) -> Path:
    """The suite's folder, its plan brought up to date when the suite's text has changed."""
    path = suites.find(suite)
    folder = cells.folder_of(path.stem, out)
    told = plan_of(folder)
    if told is None or told["text"] != path.read_text(encoding="utf-8"):
        from expunge.bench.runner import prepare

        prepare(suite, out)
    return folder


def table(suite: str, out: Path | None) -> Drawn:
    return draw(folder_of(suite, out))


def listing(suite: str, out: Path | None) -> str:
    """One line for each cell: its hash, its state, what it is; failures with their reason."""
    folder = folder_of(suite, out)
    told, shelf = plan_of(folder), cells.Shelf(folder.parent)
    assert told is not None
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
