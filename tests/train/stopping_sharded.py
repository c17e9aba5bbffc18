"""A training whose weights FSDP2 shares out: straight through, stopped, and going on. See ``test_sharded_stop.py``.

Launched as two processes; the first writes what it has to FOLDER/found.pt.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from expunge.core import ranks, stopping
from expunge.core.checkpoints import Checkpoints, Pace
from expunge.core.packing import read_state
from expunge.core.run import Run, Silent
from expunge.methods.training.ga_diff import GADiff
from expunge.testing import small_albef, small_splits

STOP_AT = 3


class Asking(Silent):
    """A bar that asks the second process to stop after some steps."""

    taken = 0

    def advance(self, count: int = 1) -> None:
        self.taken += 1
        if self.taken == STOP_AT and ranks.index() == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def trained(saved: Checkpoints | None, bar: Silent) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    model, run = small_albef(), Run(3, saved=saved, progress=bar)
    GADiff(least_steps=6, lr=1e-3).unlearn(model, small_splits(), run)
    return model.module.state_dict(), run.terms


def held(saved: Checkpoints) -> dict[str, list[int]]:
    """How many numbers the newest checkpoint holds of every weight, and of what the optimiser remembers of each."""
    place, _ = saved.newest("gradient difference") or (Path(), {})
    parts = read_state(place / "state")["parts"]
    moments = [one["exp_avg"] for one in parts["optimizer"]["state"].values()]
    return {
        "weights": [v.numel() for v in parts["model"]["parameters"].values()],
        "moments": [m.numel() for m in moments],
    }


def main(place: Path) -> None:
    def saved() -> Checkpoints:
        return Checkpoints(place / "saved", Pace())

    straight, stopped = trained(None, Silent()), ""
    try:
        with stopping.heeded():
            trained(saved(), Asking())
    except stopping.Stopped as error:
        stopped = error.saved
    sizes = ranks.done_by_first(lambda: held(saved()))
    resumed = trained(saved(), Silent())
    if ranks.is_first():
        torch.save({"straight": straight, "stopped": stopped, "resumed": resumed, "sizes": sizes}, place / "found.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
