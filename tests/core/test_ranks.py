"""Alone, nothing of it is there; as one of several a process knows its place."""

from contextlib import nullcontext

import pytest

from expunge.core import ranks
from expunge.core.errors import ExpungeError


def test_alone_everything_is_as_if_it_were_not_there():
    assert (ranks.count(), ranks.index(), ranks.is_first()) == (1, 0, True)
    assert ranks.gather("x") == ["x"] and ranks.from_first("x") == "x" and ranks.done_by_first(lambda: 5) == 5
    with pytest.raises(KeyError), ranks.together():
        raise KeyError
    with ranks.by_first(lambda: nullcontext("mine"), lambda: nullcontext("not mine")) as held:
        assert held == "mine"
    ranks.refuse_many("", "")


def test_launchers_say_who_this_is(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert (ranks.count(), ranks.index(), ranks.is_first()) == (2, 1, False)
    with pytest.raises(ExpungeError, match="2 processes were started together, but one is enough: be alone"):
        ranks.refuse_many("one is enough", "be alone")
    monkeypatch.delenv("WORLD_SIZE")
    assert ranks.index() == 0
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "3")
    monkeypatch.delenv("RANK")
    assert (ranks.count(), ranks.index()) == (4, 3)


def test_other_processes_than_the_first_say_nothing(monkeypatch, capsys):
    from expunge import console

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with console.progress() as shown:
        shown.start("work", 2)
        shown.finish()
    left = []
    monkeypatch.setattr(console.os, "_exit", left.append)
    monkeypatch.setattr(console, "ALONE_S", 0.0)
    with console.kind_errors():
        raise ranks.Elsewhere("process 0 says why")
    assert left == [2] and capsys.readouterr().err == ""
    with console.kind_errors():
        raise ExpungeError("mine alone.")
    assert capsys.readouterr().err == "process 1 of 2: expunge: mine alone.\n"
