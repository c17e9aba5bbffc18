"""What is foreseen, as tables for a terminal: nothing in them was measured here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.table import Table

from expunge.core.amounts import gigabytes
from expunge.report.measures import count


def request(outlook: Any) -> Iterator[Table | str]:
    """Lines and tables of one request (``foresight.Outlook``)."""
    yield outlook.title
    yield from (f"not on this machine: {one}" for one in outlook.missing)
    yield table(
        ("", "steps", "pairs", "memory", "time", "from"),
        [
            (f.what, *steps(f.work), memory(f.memory), time(f.seconds), f.by or "–")
            for f in outlook.forecasts
        ],
    )  # fmt: skip
    for forecast in outlook.forecasts:
        yield from (f"note: {note}" for note in forecast.notes)
    if outlook.memory is not None:
        yield table(("memory", "copies", "numbers", "bytes"), outlook.memory.rows())
    yield f"free: {gigabytes(outlook.machine.free)} on {outlook.machine.what}"
    yield from standing(outlook.rate)
    yield from (f"note: {note}" for note in outlook.notes)


def standing(rate: Any) -> Iterator[str]:
    """What every estimate of time rests on."""
    yield "pairs: those that go through the model, in training passes (forward alone is a third)"
    yield f"times without a measurement: estimates, at {rate.flops:.1e} operations a second ({rate.what})"
    yield "nothing was loaded and nothing measured"


NAMED = ("task", "model", "row", "from")
"""Columns of words; the others, but for the first, are numbers."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    made = Table(box=None, pad_edge=False)
    for i, name in enumerate(head):
        made.add_column(name, justify="left" if name in NAMED or not i else "right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def steps(work: Any) -> tuple[str, str]:
    return ("?", "?") if work is None else (f"{work.steps:,}", f"{work.pairs:,.0f}")


def memory(held: Any) -> str:
    return "?" if held is None else gigabytes(held.bytes())


def time(seconds: float | None) -> str:
    """``3 s``, ``4 min`` or ``2.5 h``: estimates have no more digits."""
    if seconds is None:
        return "?"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 59.5 * 60 else f"{seconds / 3600:.1f} h"


def grid(found: Any) -> Iterator[Table | str]:
    """Lines and a table of a suite's grid (``bench.foreseeing.Grid``)."""
    yield f"{found.suite.title or found.suite.name}: {sum(row.cells for row in found.rows)} cells"
    yield from (f"not on this machine: {one}" for one in found.missing)
    rows, last = [], None
    for row in found.rows:
        block = (f"{row.scenario} {row.size}", row.task, row.model)
        shown = block if block != last else ("", "", "")
        last = block
        f = row.forecast
        rows.append(
            (*shown, f.what, str(row.cells), *steps(f.work), memory(f.memory), time(f.seconds), f.by or "–")
        )  # fmt: skip
    head = (
        "scenario",
        "task",
        "model",
        "row",
        "cells",
        "steps",
        "pairs",
        "memory",
        "time each",
        "from",
    )
    yield table(head, rows)
    whole = [row.seconds for row in found.rows if row.seconds is not None]
    unknown = len(found.rows) - len(whole)
    more = f", without {count(unknown, 'row')} that nobody can say" if unknown else ""
    told = f"about {time(sum(whole))}" if whole else "nobody can say"
    yield f"all these cells one after the other: {told}{more if whole else ''}; originals and evaluation not counted"
    yield from standing(found.rate)
    yield from (f"note: {note}" for note in found.notes)
