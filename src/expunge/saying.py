"""What the command line prints of what the API gave back: tables, lines, and where everything lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from expunge.core.ranks import is_first


def say_account(found: Any, as_json: bool) -> None:
    """What became of every request: a table, or all of it with the findings as one JSON object."""
    if as_json:
        typer.echo(found.to_json())
    elif found.account:
        from expunge.report import ledger

        _wide_console().print(ledger.table(found.account), highlight=False)
        typer.echo(ledger.totals(found.account))


NOTES = 8
"""How many notes of a run are printed; its record and its page have all of them."""


def say_result(result: Any) -> None:
    """The table, the verdict, why something was not measured, and where everything lies; said by one process."""
    if not is_first():
        return
    from rich.console import Console

    _wide_console().print(result.table(), markup=False, highlight=False)
    Console().print(result.verdict(), markup=False, highlight=False)
    notes = list(dict.fromkeys(result.record.notes))
    for note in notes[:NOTES]:
        typer.echo(f"note: {note}")
    if left := notes[NOTES:]:
        typer.echo(f"… {len(left)} more notes are in the record and on the page")
    if result.folder is not None:
        typer.echo(f"run: {result.folder}")
        page = Path(result.folder) / "report.html"
        if page.is_file():
            typer.echo(f"page: {page}")


def say_foreseen(kind: str, outlook: Any) -> None:
    """Lines and tables of what would be done."""
    from expunge.report import outlook as drawn

    console = _wide_console()
    for part in getattr(drawn, kind)(outlook):
        console.print(part, markup=False, highlight=False, soft_wrap=isinstance(part, str))


def say_drawn(drawn: Any) -> None:
    """The main table, and where the files lie."""
    from expunge.bench.board import terminal
    from expunge.report.typeset import standing

    _wide_console().print(terminal(drawn.results), highlight=False)
    typer.echo(standing(drawn.results))
    for path in drawn.files.values():
        typer.echo(str(path))


def say_taken(taken: Any) -> None:
    """What became of cells that others measured."""
    told = [f"{taken.new} finished cells were taken", f"{taken.known} were here already" if taken.known else ""]
    told += [f"{taken.others} are not of this suite and were left" if taken.others else ""]
    typer.echo("; ".join(filter(None, told)))


def say_passed_on(count: int, path: Path) -> None:
    typer.echo(f"{count} finished cells are in {path}; they name who was forgotten")


def _wide_console() -> Any:
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)  # nobody's window is too narrow for a file
