"""Prepared models are built once, found again, and never half there."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from expunge.core.cache import Busy, cache_root, cached, without_waiting
from expunge.core.errors import ExpungeError


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    """Counts how often it was asked to build."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        (folder / "weights").write_text(f"built {self.times}")


def test_it_is_built_once_for_a_key(root):
    build = Builder()
    first = cached({"recipe": "a", "seed": 0}, build)
    assert cached({"seed": 0, "recipe": "a"}, build) == first and build.times == 1
    assert first.parent == root and (first / "weights").read_text() == "built 1"
    assert (first / "key.json").read_text() == '{"recipe":"a","seed":0}'
    assert cached({"recipe": "a", "seed": 1}, build) != first and build.times == 2


def test_a_failed_build_leaves_nothing_and_can_be_tried_again(root):
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise FileNotFoundError("the user's picture")

    with pytest.raises(FileNotFoundError):
        cached({"k": 1}, fail)
    assert [p for p in root.iterdir() if p.suffix != ".lock"] == []
    assert (cached({"k": 1}, Builder()) / "weights").exists()


def test_what_was_damaged_is_built_again(root):
    build = Builder()
    (cached({"k": 1}, build) / "weights").unlink()
    assert (cached({"k": 1}, build) / "weights").read_text() == "built 2"


def test_whoever_does_not_wait_is_told_that_another_is_making_it(root):
    inner, outer = Builder(), Builder()

    def build(folder: Path) -> None:
        with without_waiting(), pytest.raises(Busy):
            cached({"k": 1}, inner)
        assert cached({"k": 2}, inner)
        outer(folder)

    place = cached({"k": 1}, build)
    with without_waiting():
        assert cached({"k": 1}, inner) == place
    assert (inner.times, outer.times) == (1, 1)


def test_two_processes_build_once(root):
    code = """
        import os, time
        from expunge.core.cache import cached
        def build(folder):
            (folder / "weights").write_text(str(os.getpid()))
            with open(os.environ["EXPUNGE_CACHE"] + ".log", "a") as log: log.write("built\\n")
            time.sleep(0.5)
        print((cached({"k": 1}, build) / "weights").read_text())
    """
    both = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [child.communicate(timeout=60)[0].strip() for child in both]
    assert said[0] == said[1] != "" and Path(f"{root}.log").read_text() == "built\n"


def test_somebody_may_keep_things_elsewhere(root, tmp_path):
    build, there = Builder(), tmp_path / "grid" / "anchors"
    place = cached({"k": 1}, build, there)
    assert place.parent == there and cached({"k": 1}, build, there) == place and build.times == 1
    assert not root.exists() and cached({"k": 1}, build).parent == root and build.times == 2
    (tmp_path / "file").write_text("")
    with pytest.raises(ExpungeError, match="cannot keep what was prepared in .*file"):
        cached({"k": 1}, build, tmp_path / "file")


def test_the_root_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.delenv("EXPUNGE_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "expunge"


def test_a_root_that_cannot_be_written_is_said_in_words(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ExpungeError, match="Set EXPUNGE_CACHE"):
        cached({"k": 1}, Builder())
