"""One worker on a suite at a time, killed as soon as something new lies on the disk and a random moment has passed.

    python killing_cells.py SUITE OUT KILLS SEED

Trainings are saved after every step where there is a kill at all. ``OUT/steps`` gets a line for every step that is
taken, ``OUT/logs`` the whole log of every training that came to its end. Imports everything once and forks a process
for every leg. Prints one JSON object: of each kill the process, the kind of progress that was waited for and the step
that was saved; and how many cells were missing after the last.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from expunge.bench import drawing, runner, workshop
from expunge.bench.cells import Shelf, folder_of
from expunge.core import checkpoints
from expunge.core.run import Run


def watched(out: Path, pace: checkpoints.Pace) -> None:
    """Save at that pace, and note steps and logs beside the grid."""
    log, unlearn = Run.log, workshop.unlearn

    def noted(run: Run, **numbers) -> None:
        with open(out / "steps", "a") as file:
            file.write(f"{os.getpid()} {numbers['step']}\n")
        log(run, **numbers)

    def kept(method, model, splits, run: Run):
        found = unlearn(method, model, splits, run)
        if run.terms:
            (out / "logs" / f"{type(method).__name__}-{run.seed}.json").write_text(json.dumps(run.terms))
        return found

    Run.log, workshop.unlearn = noted, kept
    workshop.opened = functools.partial(checkpoints.opened, pace=pace)


def saved_step(out: Path) -> int:
    """The newest step of the training under way; 0 where none is."""
    whole = [p.parent / checkpoints.ABOUT for p in (out / "saved").glob(f".*/[0-9]*/{checkpoints.MARKER}")]
    return max((json.loads(p.read_text())["step"] for p in whole), default=0)


def progress(out: Path) -> dict[str, set[str]]:
    """What is whole by now."""
    return {
        "cell": {p.name for p in (out / "cells").glob("[!.]*.json")},
        "step": {str(p) for p in (out / "saved").glob(".*/[0-9]*")},
    }


def until(kind: str, out: Path, worker: int) -> None:
    """Until the worker has done a cell, or saved a step, that was not there."""
    before, deadline = progress(out)[kind], time.monotonic() + 300
    while not progress(out)[kind] - before:
        assert time.monotonic() < deadline and not os.waitpid(worker, os.WNOHANG)[0], f"no new {kind}"
        time.sleep(0.01)


def main() -> None:
    suite, out, kills, rng = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), random.Random(sys.argv[4])
    made, shelf = runner.prepare(suite, out)
    (out / "logs").mkdir()
    watched(out, checkpoints.Pace(steps=1 if kills else 0))

    def worker() -> int:
        if not (child := os.fork()):
            runner.work(made.cells(), Shelf(out))
            os._exit(0)
        return child

    told = []
    for turn in range(kills):
        child, kind = worker(), "cell" if turn % 5 == 0 else "step"
        until(kind, out, child)
        time.sleep(rng.uniform(0, 0.08))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "it ended before it was killed"
        told.append({"process": child, "kind": kind, "saved": saved_step(out)})
    missing = runner.status(made.cells(), shelf).missing
    last = worker()
    assert os.waitpid(last, 0)[1] == 0
    drawing.draw(folder_of(made.suite.name, out))
    print(json.dumps({"kills": told, "missing": missing, "total": len(made.cells()), "last": last}))


if __name__ == "__main__":
    main()
