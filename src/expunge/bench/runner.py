"""Workers on a suite's folder: each takes the next cell that nobody works on, until none is left.

A worker is a process of its own, so that one that dies takes nothing with it: its lock falls, the cell is missing again
and the next worker, or the next call, measures it. Nothing is ever half-written. When the process that started it is
stopped, or dies, a worker first saves what it trains.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from expunge.bench import grounds, reading
from expunge.bench import plan as plans
from expunge.bench.cells import Cell, Setting, Shelf, folder_of
from expunge.bench.locking import check_locks
from expunge.core.atomic import replace_file
from expunge.core.cache import Busy, without_waiting
from expunge.core.folder import explained
from expunge.core.run import Progress
from expunge.core.spec import canonical
from expunge.core.stopping import Stopped, asked, heeded

POLL_S = 0.5
STOPPED = 130
SAVING_S = 60.0  # a worker that is asked to stop may finish a step and save it


@dataclass(frozen=True)
class Status:
    """How far a grid is. ``left_s`` is None as long as nothing has been measured to guess from."""

    total: int
    done: int
    failed: int
    running: list[dict[str, Any]] = field(default_factory=list)
    left_s: float | None = None

    @property
    def missing(self) -> int:
        return self.total - self.done - self.failed


@dataclass(frozen=True)
class Outcome:
    """What a call came to. ``died`` says how workers ended that did not end by themselves, ``passed_on`` how many cells
    were written as one file."""

    folder: Path
    status: Status
    failures: list[dict[str, Any]]
    died: list[str] = field(default_factory=list)
    passed_on: int = 0

    @property
    def is_whole(self) -> bool:
        return self.status.done == self.status.total


Watch = Callable[[Status], None]
Drive = Callable[[Sequence[Cell], Shelf, Watch], list[str]]
"""Has missing cells measured somewhere, and says how those ended that died."""


def prepare(suite: str | Path, out: str | Path | None = None) -> tuple[plans.Plan, Shelf]:
    """The plan, written into the suite's folder, and the shelf of cells above it that it shares with other suites."""
    made = plans.expand(reading.read(suite))
    folder = folder_of(made.suite.name, out)
    _write(made.to_json("..", grounds.of(made)), folder)
    return made, Shelf(folder.parent)


def _write(plan: str, folder: Path) -> None:
    with explained(folder / plans.PLAN, "plan"), replace_file(folder / plans.PLAN) as partial:
        partial.write_text(plan, encoding="utf-8")


def run(
    suite: str | Path,
    out: str | Path | None = None,
    workers: int = 1,
    retry: bool = False,
    watch: Watch | None = None,
    drive: Drive | None = None,
) -> Outcome:
    """Measure what is missing with ``workers`` processes; ``retry`` also what failed. Returns when nothing is left.

    With ``drive`` somebody else does the work, such as a cluster's tasks. No worker means this process.
    ``watch`` is called about twice a second. An interrupt, or a signal that is ``heeded``, lets the workers save what
    they train, ``SAVING_S`` at most, and is raised again; a second one ends them at once.
    """
    made, shelf = prepare(suite, out)
    folder = folder_of(made.suite.name, out)
    plan = (folder / plans.PLAN).read_text(encoding="utf-8")
    check_locks(shelf.folder)
    shelf.sweep()
    if retry:
        shelf.forgive(made.cells())
    died: list[str] = []
    if drive is not None:
        died = drive(made.cells(), shelf, watch or (lambda _: None))
    elif not workers:
        work(made.cells(), shelf)
    elif status(made.cells(), shelf).missing:
        died = _drive(made, shelf, workers, watch or (lambda _: None))
    _write(plan, folder)  # another version may have looked there meanwhile, and left the plan that it would measure
    return outcome(made.cells(), shelf, died, folder)


def outcome(cells: Sequence[Cell], shelf: Shelf, died: Sequence[str] = (), folder: Path | None = None) -> Outcome:
    """What is there now, with every failure; ``folder`` is the suite's."""
    found = [told for cell in cells if shelf.state(cell) == "failed" and (told := shelf.failure(cell.hash))]
    return Outcome(folder or shelf.folder, status(cells, shelf), found, list(died))


def work(cells: Sequence[Cell], shelf: Shelf, measure: Callable[[Cell, Progress], dict[str, Any]] | None = None) -> int:
    """One worker, in this process: returns how many cells it settled. Cells that others hold are come back to.

    A worker stays with a setting as long as it has cells, and enters one where it meets another worker last: cells of
    a setting share models and anchors. A cell that needs what another is just making is put back, too, and waited for
    when nothing else is left.
    """
    if measure is None:
        from expunge.bench.workshop import Workshop

        measure = Workshop(shelf.folder).measure
    settled, mine, waits = 0, None, False
    while left := [cell for cell in cells if not shelf.is_settled(cell)]:
        before, put_back = settled, False
        shared: list[Setting] = []
        while left:
            left.sort(key=lambda cell: 0 if cell.setting == mine else 2 if cell.setting in shared else 1)  # stable
            cell = left.pop(0)
            with shelf.claim(cell) as ours:
                if not ours:
                    shared.append(cell.setting)
                elif not shelf.is_settled(cell):  # nobody was faster
                    if _settle(cell, shelf, measure, waits):
                        settled, waits, mine = settled + 1, False, cell.setting
                    else:
                        put_back, mine = True, None
                        shared.append(cell.setting)
        if settled == before:
            waits = put_back
            time.sleep(POLL_S)
    return settled


def _settle(cell: Cell, shelf: Shelf, measure: Callable[[Cell, Progress], dict[str, Any]], waits: bool) -> bool:
    """Measure a claimed cell. False, and nothing kept, where it needs what another is making and does not wait."""
    since = time.time()
    shelf.note(cell, since)
    try:
        with nullcontext() if waits else without_waiting():
            measured = measure(cell, Noted(cell, shelf, since))
    except Busy:
        return False
    except Exception as error:  # the grid goes on; the failure is kept and reported
        from expunge.core.environment import environment

        shelf.fail(cell, error, environment(), time.time() - since)
    else:
        shelf.finish(cell, measured)
    return True


class Noted:
    """Progress as a note beside the cell, at most once a second: whoever watches the folder reads it there."""

    def __init__(self, cell: Cell, shelf: Shelf, since: float):
        self._cell, self._shelf, self._since = cell, shelf, since
        self._open: list[list[Any]] = []  # what, total, done
        self._said = 0.0

    def start(self, what: str, total: int) -> None:
        self._open.append([what, total, 0])
        self._say()

    def advance(self, steps: int = 1) -> None:
        if self._open:
            self._open[-1][2] += steps
            self._say()

    def finish(self) -> None:
        if self._open:
            self._open.pop()

    def _say(self) -> None:
        if time.monotonic() - self._said >= 1.0:
            self._said = time.monotonic()
            what, total, done = self._open[-1]
            self._shelf.note(self._cell, self._since, f"{what}, {done} of {total}")


# ---------------------------------------------------------------------------------------------- processes


def _drive(made: plans.Plan, shelf: Shelf, workers: int, watch: Watch) -> list[str]:
    """Start workers, watch them, wait for all. Returns how those ended that died."""
    context = multiprocessing.get_context("spawn")
    listening, ours = context.Pipe(duplex=False)
    threads = max(1, (os.cpu_count() or 1) // workers)
    told = Told(made.cells(), shelf, workers)
    started: list[BaseProcess] = []
    try:
        with _threads(threads):
            for i in range(workers):
                words = (made.suite.asked, str(shelf.folder), listening)
                process = context.Process(target=_worker, args=words, name=f"worker {i + 1}")
                process.start()
                started.append(process)
        while any(process.is_alive() for process in started):
            watch(told.status())
            wait([process.sentinel for process in started if process.is_alive()], timeout=POLL_S)
    except BaseException as error:
        whole = _stop(started, ours)
        if isinstance(error, Stopped):
            error.saved = "what was being trained is saved" if whole else "what was saved before stays"
        raise
    watch(told.status())
    return [f"{p.name} ended with {_ending(p.exitcode)}" for p in started if p.exitcode]


def _stop(started: Sequence[BaseProcess], ours: Connection) -> bool:
    """Let workers save and end; those that take too long, or all when one more signal comes, are killed. Whether none
    had to be."""
    ours.close()  # no signal: a worker may have had the terminal's already, and a second would stop it at once
    deadline = time.monotonic() + SAVING_S
    try:
        for process in started:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:
        left = [process for process in started if process.is_alive()]
        for process in left:
            process.kill()
    return not left


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Share the cores among the workers, unless somebody decided already."""
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]


def _worker(suite: str, folder: str, starter: Connection) -> None:
    """A worker process: reads the suite for itself, and ends when the one that started it says so, or is gone."""
    threading.Thread(target=_end_with, args=(starter,), daemon=True).start()
    try:
        with heeded():
            work(plans.expand(reading.read(suite)).cells(), Shelf(folder))
    except KeyboardInterrupt:
        os._exit(STOPPED)
    os._exit(0)  # everything is on disk; taking a model library down in good order takes seconds


def _end_with(starter: Connection) -> None:
    """Once the other end is closed, by hand or by a death, stop as for a signal, saving first what is being trained."""
    wait([starter])
    if not asked():
        os.kill(os.getpid(), signal.SIGTERM)  # to the process: only that wakes a main thread that sleeps
    time.sleep(SAVING_S)
    os._exit(STOPPED)


def _ending(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


# ---------------------------------------------------------------------------------------------- how far it is


class Told:
    """How far a grid is, read from its folder; remembers what is done, so that a large grid is cheap to watch.

    ``workers`` is how many cells are measured at a time.
    """

    def __init__(self, cells: Sequence[Cell], shelf: Shelf, workers: int = 1):
        self._cells, self._shelf, self._workers = list(cells), shelf, max(1, workers)
        self._states: dict[str, str] = {}
        self._seconds: dict[str, float] = {}

    def status(self) -> Status:
        for cell in self._cells:
            if self._states.get(cell.hash) != "done":
                state = self._shelf.state(cell)
                self._states[cell.hash] = state
                if state == "done" and (result := self._shelf.result(cell.hash)):
                    self._seconds[cell.hash] = float(result.get("wall_seconds", 0.0))
        states = [self._states[cell.hash] for cell in self._cells]
        mine = {cell.hash for cell in self._cells}
        running = [note for note in self._shelf.running() if note["hash"] in mine]
        return Status(
            len(states), states.count("done"), states.count("failed"), running, self._left({n["hash"] for n in running})
        )

    def _left(self, running: set[str]) -> float | None:
        """Seconds until all is done: what each missing cell's nearest relatives took, shared among the workers."""
        took: dict[tuple, list[float]] = {}
        for cell in self._cells:
            if cell.hash in self._seconds:
                for key in _relatives(cell):
                    took.setdefault(key, []).append(self._seconds[cell.hash])
        if not took:
            return None
        total = 0.0
        for cell in self._cells:
            if self._states[cell.hash] == "missing":
                known = next(took[key] for key in _relatives(cell) if key in took)
                total += sum(known) / len(known) * (0.5 if cell.hash in running else 1.0)
        return total / self._workers


def _relatives(cell: Cell) -> list[tuple]:
    """Groups of cells that take about as long, the nearest first; the last holds every cell."""
    at = cell.setting
    return [
        (cell.kind, cell.method, canonical(cell.options), at.model, at.data, at.task, len(at.who)),
        (cell.kind, cell.method, tuple(sorted(cell.options)), at.model, at.data, at.task, len(at.who)),
        (cell.kind, cell.method, at.model, at.task),
        (cell.kind, cell.method),
        (cell.kind,),
        (),
    ]


def status(cells: Sequence[Cell], shelf: Shelf) -> Status:
    return Told(cells, shelf).status()
