"""How the command line talks: progress with the time left, aligned columns, errors without tracebacks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from expunge.core import ranks
from expunge.core.amounts import duration
from expunge.core.errors import ExpungeError
from expunge.core.run import Silent

FINE, FAILED, BAD_INPUT, BUG = 0, 1, 2, 70  # a stopped command leaves with 128 and the signal's number
ALONE_S = 3.0
"""How long a process waits for the first to speak before it takes an error for its own."""


class Bars:
    """Progress for a terminal: what is being done, a bar, the time left. Stages may nest."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
            transient=True,
        )
        self._open: list[Any] = []

    def start(self, what: str, total: int) -> None:
        if not self._open:
            self._bars.start()
        self._open.append(self._bars.add_task("  " * len(self._open) + what, total=total))

    def advance(self, steps: int = 1) -> None:
        if self._open:
            self._bars.advance(self._open[-1], steps)

    def finish(self) -> None:
        if not self._open:
            return
        self._bars.remove_task(self._open.pop())
        if not self._open:
            self._bars.stop()

    def close(self) -> None:
        self._bars.stop()


class Lines:
    """Progress for a file or a pipe: a line when a stage starts, every ``every`` seconds, and when it is done."""

    def __init__(self, to: TextIO | None = None, every: float = 15.0, clock: Callable[[], float] = time.monotonic):
        self._to = to or sys.stderr
        self._every = every
        self._clock = clock
        self._open: list[_Stage] = []

    def start(self, what: str, total: int) -> None:
        self._open.append(_Stage(what, total, self._clock()))
        self._say(f"{what} …")

    def advance(self, steps: int = 1) -> None:
        if not self._open:
            return
        stage, now = self._open[-1], self._clock()
        stage.done += steps
        if now - stage.said >= self._every and stage.done < stage.total:
            stage.said = now
            left = (now - stage.began) / stage.done * (stage.total - stage.done)
            self._say(f"{stage.what}: {stage.done} of {stage.total}, about {duration(left, tenths=False)} left")

    def finish(self) -> None:
        if self._open:
            stage = self._open.pop()
            self._say(f"{stage.what}: done in {duration(self._clock() - stage.began, tenths=False)}")

    def _say(self, text: str) -> None:
        print(text, file=self._to, flush=True)


class _Stage:
    """A stage that is under way; times are the clock's seconds."""

    def __init__(self, what: str, total: int, now: float):
        self.what, self.total, self.began, self.said, self.done = what, total, now, now, 0


@contextmanager
def progress() -> Iterator[Bars | Lines | Silent]:
    """Bars where somebody watches, lines otherwise; off the screen at the end, whatever happens. Of several processes
    that work together the first one speaks."""
    if not ranks.is_first():
        yield Silent()
        return
    shown = Bars() if sys.stderr.isatty() else Lines()
    try:
        yield shown
    finally:
        if isinstance(shown, Bars):
            shown.close()


def columns(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Rows with aligned columns; the last one is wrapped to the terminal's width under its own column."""
    import shutil
    import textwrap

    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    start = len(indent) + sum(widths) + 2 * len(widths)
    room = max(30, shutil.get_terminal_size((120, 24)).columns - start)
    lines: list[str] = []
    for row in rows:
        first = indent + "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths))
        text = textwrap.wrap(row[-1], room) or [""]
        lines += [(first + text[0]).rstrip(), *(" " * start + more for more in text[1:])]
    return "\n".join(lines)


def complain(text: str) -> None:
    """One plain message on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def kind_errors() -> Iterator[None]:
    """Say what went wrong in words and leave with its exit code. ``EXPUNGE_DEBUG=1`` shows the traceback instead."""
    if os.environ.get("EXPUNGE_DEBUG", "") not in ("", "0"):
        yield
        return
    try:
        yield
    except ranks.Elsewhere:
        _leave(BAD_INPUT, "")
    except ExpungeError as error:
        _leave(BAD_INPUT, f"expunge: {error}")
    except Exception as error:
        _leave(
            BUG,
            f"expunge: this is a defect of expunge, not of your input: {type(error).__name__}: {error}\n"
            "Set EXPUNGE_DEBUG=1 to see where it happened, and please report it.",
        )


@contextmanager
def stoppable() -> Iterator[None]:
    """A request to stop ends the step under way, is answered in one line, and leaves with its exit code."""
    from expunge.core.stopping import Stopped, heeded

    try:
        with heeded():
            yield
    except Stopped as stopped:
        going_on = "; the same command goes on from there." if stopped.saved else ": there was nothing to save yet."
        told = f"{stopped}: {stopped.saved}{going_on}" if stopped.saved else f"{stopped}{going_on}"
        _leave(stopped.exit_code, told)


def _leave(code: int, text: str) -> None:
    """Say why, and leave. Of several processes the first speaks first; what all of them met is then said once, since
    their launcher ends the others. Whoever leaves must not wait for them on the way out."""
    if ranks.count() == 1:
        complain(text)
        sys.exit(code)
    if not ranks.is_first():
        time.sleep(ALONE_S)
        text = f"process {ranks.index()} of {ranks.count()}: {text}" if text else ""
    if text:
        complain(text)
    sys.stdout.flush()
    os._exit(code)
