"""What is foreseen is said with the digits that an estimate has, and what nobody knows is not a zero."""

from types import SimpleNamespace as Some

import pytest
from rich.console import Console

from expunge.report import outlook


@pytest.mark.parametrize(("seconds", "told"), [
    (None, "?"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (90, "2 min"), (3569, "59 min"), (3590, "1.0 h"),
    (9000, "2.5 h"),
])  # fmt: skip
def test_times_have_few_digits_and_the_unit_that_fits(seconds, told):
    assert outlook.time(seconds) == told


def foreseen(what: str, seconds, work=None, memory=None) -> Some:
    return Some(what=what, work=work, memory=memory, seconds=seconds, by="", notes=[f"about {what}"])


def row(what: str, seconds, cells: int = 3, size: int = 5) -> Some:
    work = None if seconds is None else Some(steps=1200, pairs=38400.4)
    held = None if seconds is None else Some(bytes=lambda: 2.5e9)
    whole = None if seconds is None else cells * seconds
    forecast = foreseen(what, seconds, work, held)
    where = {"scenario": "people", "size": size, "task": "retrieval", "model": "albef-tiny"}
    return Some(**where, cells=cells, forecast=forecast, seconds=whole)


def printed(parts) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))
    for part in parts:
        console.print(part)
    return console.export_text()


def grid(*rows) -> str:
    return printed(outlook.grid(Some(
        suite=Some(title="", name="mine"), rows=rows, missing=["/nowhere/sd"], notes=["n"],
        rate=Some(flops=2.5e10, what="a chip"),
    )))  # fmt: skip


def test_a_grid_adds_up_what_is_known_and_says_of_how_many_it_knows_nothing():
    told = grid(row("cse", 600.0), row("quick", None, cells=1), row("cse", 1200.0, size=50))
    lines = told.splitlines()
    assert lines[0] == "mine: 7 cells" and lines[1] == "not on this machine: /nowhere/sd"
    assert lines[3].split() == ["people", "5", "retrieval", "albef-tiny", "cse", "3", "1,200", "38,400", "2.5", "GB",
                                "10", "min", "–"]  # fmt: skip
    assert lines[4].split() == ["quick", "1", "?", "?", "?", "?", "–"], "the same block is named once"
    assert lines[5].split()[:2] == ["people", "50"]
    assert "about 1.5 h, without 1 row that nobody can say; originals" in told and "2.5e+10 operations" in told
    assert "nothing was loaded and nothing measured" in told and "note: n" in told


def test_a_grid_of_which_nothing_is_known_takes_no_zero_seconds():
    told = grid(row("quick", None), row("slow", None, size=50))
    assert "one after the other: nobody can say; originals" in told and "0 s" not in told


def test_a_request_is_foreseen_with_what_is_missing_and_what_is_free():
    told = printed(outlook.request(Some(
        title="cse on albef-tiny", missing=["ALBEF.pth"], memory=Some(rows=lambda: [("weights", "2", "10 M", "80 MB")]),
        forecasts=[foreseen("mvi", 30.0), foreseen("cse", None)], machine=Some(free=4e9, what="this machine"),
        rate=Some(flops=1e9, what="a chip"), notes=["n"],
    )))  # fmt: skip
    assert "not on this machine: ALBEF.pth" in told and "free: 4.0 GB on this machine" in told
    assert "note: about mvi" in told and "note: n" in told and "80 MB" in told and "30 s" in told
