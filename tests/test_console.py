"""Progress says what is being done and how long is left; columns line up."""

from __future__ import annotations

import io

import pytest

from expunge.console import Bars, Lines, columns


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_tell_the_time_left_but_not_too_often():
    clock, out = Clock(), io.StringIO()
    lines = Lines(out, every=10, clock=clock)
    lines.start("training", 100)
    for _ in range(25):
        clock.now += 1
        lines.advance()
    lines.finish()
    assert out.getvalue().splitlines() == [
        "training …",
        "training: 10 of 100, about 1 min 30 s left",
        "training: 20 of 100, about 1 min 20 s left",
        "training: done in 25 s",
    ]


def test_stages_nest():
    clock, out = Clock(), io.StringIO()
    lines = Lines(out, every=0, clock=clock)
    lines.start("outer", 2)
    lines.start("inner", 9)
    lines.finish()
    clock.now += 5
    lines.advance()
    lines.finish()
    assert out.getvalue().splitlines()[-2:] == ["outer: 1 of 2, about 5 s left", "outer: done in 5 s"]


@pytest.mark.parametrize("made", [Bars, lambda: Lines(io.StringIO())])
def test_too_many_calls_do_no_harm(made):
    shown = made()
    shown.advance()
    shown.finish()
    shown.start("one", 1)
    shown.start("two", 1)
    shown.advance(5)
    shown.finish()
    shown.finish()
    shown.finish()
    assert shown._open == []


def test_columns_line_up_and_the_last_one_wraps(monkeypatch):
    monkeypatch.setenv("COLUMNS", "44")
    text = columns([("a", "short"), ("longer", "one two three four five six seven eight")], "  ")
    assert text.splitlines() == [
        "  a       short",
        "  longer  one two three four five six seven",
        "          eight",
    ]
