"""Looking at a suite's folder without measuring anything; without a model library where the plan there still holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from expunge.bench import cells, exchange, grounds
from expunge.bench import suite as suites
from expunge.bench.harvest import plan_of
from expunge.core.errors import ExpungeError

SAID = 4
"""How many changes are named."""


def folder_of(suite: str, out: Path | None, tell: Callable[[str], None]) -> Path:
    """The suite's folder, its plan made anew where anything that decides about its cells has changed since.

    Where that cannot be, because data or a model is not on this machine, the plan stays as it was made, and ``tell`` is
    told which one it is. Raises ExpungeError where the suite itself is another one.
    """
    folder = cells.folder_of(suites.called(suite), out)
    told = plan_of(folder)
    if told is not None and not (other := grounds.changed(told, suite)):
        return folder
    from expunge.bench.runner import prepare

    try:
        prepare(suite, out)
    except ExpungeError as error:
        if told is None or told["text"] != suites.find(suite).read_text(encoding="utf-8"):
            raise
        changed = ", ".join(other[:SAID]) + (f" and {len(other) - SAID} more" if len(other) > SAID else "")
        tell(
            f"{_named(told)} is shown; since then there changed {changed}, so today's might ask for other cells. "
            f"It cannot be made anew here: {error}"
        )
    return folder


def _named(told: dict[str, Any]) -> str:
    """A plan by when it was made, and at which commit."""
    then = told.get("grounds")
    if then is None:
        return "an old plan"
    return f"the plan of {then['made']}" + (f" (commit {then['commit'][:7]})" if then["commit"] else "")


def take(suite: str, out: Path | None, sources: Iterable[str | Path]) -> exchange.Taken:
    """Put the suite's cells that ``sources`` hold where they would lie had they been measured here.

    The plan is made anew: where a default has changed since it was written, other cells are asked for.
    """
    from expunge.bench.runner import prepare

    made, shelf = prepare(suite, out)
    return exchange.take(sources, (cell.hash for cell in made.cells()), shelf)


def pass_on(folder: Path, path: str | Path) -> int:
    """Write the finished cells of the plan in a suite's folder as one file, which ``take`` reads; how many they are."""
    told = _plan(folder)
    return exchange.write(path, told["cells"], cells.Shelf(folder.parent))


def listing(folder: Path) -> str:
    """One line for each cell of the plan there: its hash, its state, what it is; failures with their reason."""
    told, shelf = _plan(folder), cells.Shelf(folder.parent)
    running = {note["hash"] for note in shelf.running()}
    lines = []
    for one in told["cells"]:
        failure = shelf.failure(one)
        if shelf.result(one) is not None:
            state = "done"
        elif failure:
            state = "failed"
        else:
            state = "running" if one in running else "missing"
        reason = f": {' '.join(failure['reason'].split())}" if failure and state == "failed" else ""
        lines.append(f"{one[:12]}  {state:<8} {told['labels'][one]}{reason}")
    return "\n".join(lines)


def _plan(folder: Path) -> dict[str, Any]:
    told = plan_of(folder)
    assert told is not None
    return told
