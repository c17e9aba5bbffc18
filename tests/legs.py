"""A training that is stopped and gone on with, under a clock that nobody but the test moves."""

from __future__ import annotations

import time
from pathlib import Path

from expunge.core.checkpoints import Checkpoints, Pace
from expunge.core.run import Run
from expunge.train.resuming import lasting

STEPS, STEP_S = 4, 10.0
WORK_S = STEPS * STEP_S
"""What the whole training takes, in however many legs."""


class Stop(BaseException):
    """As a kill: nobody catches it."""


class Clock:
    """Stands in for ``time.perf_counter``."""

    def __init__(self, monkeypatch):
        self.now = 5000.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def work(self, run: Run, *, stops: bool) -> None:
        """The training; one that ``stops`` is killed amid its third step, with two saved."""
        with lasting(run, "training", {}) as training:
            for step in training.steps(STEPS):
                self.now += STEP_S
                if stops and step == 2:
                    raise Stop


def saved(folder: Path) -> Checkpoints:
    """Where a leg saves every step."""
    return Checkpoints(folder, Pace(steps=1))
