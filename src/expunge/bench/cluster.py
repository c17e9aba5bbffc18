"""A grid on a Ray cluster: every setting with missing cells is a task, which goes to wherever there is room for it.

Cells of a setting share models and anchors, so they stay together. Tasks claim, measure and write cells as any worker
does, so the grid's folder must be one that all machines of the cluster see, and whatever else works on it may go on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expunge.bench import runner
from expunge.bench.cells import Cell, Shelf
from expunge.core.errors import ExpungeError


@dataclass(frozen=True)
class Resources:
    """What one task needs of a machine."""

    cpus: float = 1.0
    gpus: float = 0.0


def drive(cells: Sequence[Cell], shelf: Shelf, watch: runner.Watch, resources: Resources) -> list[str]:
    """Send all missing cells to the cluster, and wait for them. Returns how those tasks ended that died.

    The cluster is the one that RAY_ADDRESS names, or one on this machine. Raises ExpungeError without Ray, and where
    nothing in the cluster has what a task needs.
    """
    ray = _ray()
    mine = not ray.is_initialized()
    if mine and os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False)
    elif mine:
        ray.init(include_dashboard=False, log_to_driver=False)
    try:
        has = ray.cluster_resources()
        _refuse_too_much(has, resources)
        task = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=0)(_work)
        left = {task.remote(some, str(shelf.folder.resolve())): some for some in by_setting(cells, shelf)}
        told, died = runner.Told(cells, shelf, min(len(left), at_once(has, resources))), []
        try:
            while left:
                watch(told.status())
                ready, _ = ray.wait(list(left), timeout=runner.POLL_S)
                for reference in ready:
                    some = left.pop(reference)
                    try:
                        ray.get(reference)
                    except ray.exceptions.RayError as error:
                        died.append(f"the task of {some[0].label} ended with {type(error).__name__}: {_first(error)}")
        except BaseException:
            for reference in left:
                ray.cancel(reference, force=True)
            raise
        watch(told.status())
        return died
    finally:
        if mine:
            ray.shutdown()


def at_once(has: Mapping[str, float], wanted: Resources) -> int:
    """How many tasks fit into the whole cluster at a time."""
    asked = {"CPU": wanted.cpus, "GPU": wanted.gpus}
    return min((int(has.get(name, 0.0) // each) for name, each in asked.items() if each), default=sys.maxsize)


def by_setting(cells: Sequence[Cell], shelf: Shelf) -> list[list[Cell]]:
    """The missing cells of each setting, in the plan's order."""
    found: list[list[Cell]] = []
    for cell in cells:
        if shelf.is_settled(cell):
            continue
        group = next((some for some in found if some[0].setting == cell.setting), None)
        if group is None:
            found.append([cell])
        else:
            group.append(cell)
    return found


def _work(cells: list[Cell], folder: str) -> int:
    """One task: on some machine of the cluster, in a process of its own."""
    from pathlib import Path

    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder} is not there: all machines must share the grid's folder (--out)")
    return runner.work(cells, Shelf(folder))


def _refuse_too_much(has: dict[str, float], wanted: Resources) -> None:
    for name, asked in (("CPU", wanted.cpus), ("GPU", wanted.gpus)):
        if asked > has.get(name, 0.0):
            raise ExpungeError(
                f"a task asks for {asked:g} {name}s, and the whole cluster has {has.get(name, 0.0):g}: it would wait "
                "for ever. Ask for less, or set RAY_ADDRESS to a larger cluster."
            )


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ExpungeError("--ray needs Ray, which is not installed: pip install 'expunge[ray]'.") from None
    return ray


def _first(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else ""
