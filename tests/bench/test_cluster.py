"""A grid's settings as tasks of a Ray cluster of this machine."""

import os

import pytest

from expunge.bench import cluster, runner
from expunge.bench.cells import Cell, Setting, Shelf
from expunge.core.errors import ExpungeError


def grid() -> list[Cell]:
    settings = [Setting("m", "w", "d", "f", (f"p{i}",), i, "retrieval") for i in range(3)]
    return [Cell("method", at, name, label=f"{name} · seed {at.seed}") for at in settings for name in ("cse", "slug")]


def told() -> dict:
    return {"scores": {}, "cost": {}, "wall_seconds": 1.0, "environment": {}}


def test_missing_cells_stay_together_by_setting(tmp_path):
    shelf, cells = Shelf(tmp_path), grid()
    shelf.finish(cells[0], told())
    shelf.finish(cells[2], told())
    shelf.finish(cells[3], told())
    assert cluster.by_setting(cells, shelf) == [[cells[1]], [cells[4], cells[5]]]


@pytest.mark.parametrize(
    ("wanted", "fit"), [(cluster.Resources(4, 0), 4), (cluster.Resources(1, 1), 2), (cluster.Resources(2.5, 0.25), 6)]
)
def test_as_many_tasks_go_on_at_a_time_as_the_cluster_has_room_for(wanted, fit):
    assert cluster.at_once({"CPU": 16.0, "GPU": 2.0, "memory": 1e9}, wanted) == fit
    assert cluster.at_once({"CPU": 16.0}, cluster.Resources(0, 0)) > 10**6


def test_the_time_left_is_shared_among_the_tasks_that_have_room(tmp_path, monkeypatch):
    """Three settings, and a cluster for one of them at a time."""

    class Ray:
        is_initialized = staticmethod(lambda: True)
        cluster_resources = staticmethod(lambda: {"CPU": 1.0})
        wait = staticmethod(lambda left, timeout: (left[:1], left[1:]))
        get = staticmethod(lambda reference: None)

        @staticmethod
        def remote(**named):
            class Task:
                made = iter(range(9))
                remote = staticmethod(lambda *words: next(Task.made))

            return lambda function: Task

    monkeypatch.setattr(cluster, "_ray", lambda: Ray)
    shelf, cells, seen = Shelf(tmp_path), grid(), []
    shelf.finish(cells[0], told() | {"wall_seconds": 8.0})
    assert cluster.drive(cells, shelf, seen.append, cluster.Resources(1, 0)) == []
    assert seen[0].left_s == 5 * 8.0


def test_more_than_the_cluster_has_is_refused():
    with pytest.raises(ExpungeError, match="asks for 2 GPUs, and the whole cluster has 0"):
        cluster._refuse_too_much({"CPU": 2.0}, cluster.Resources(1, 2))


def test_tasks_measure_what_is_missing_and_a_dead_one_is_told(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def work(cells, folder):  # instead of models
        shelf = Shelf(folder)
        for cell in cells:
            if cell.setting.seed == 1:
                os._exit(3)
            with shelf.claim(cell) as ours:
                assert ours
                shelf.finish(cell, {"scores": {}, "cost": {}, "wall_seconds": 1.0, "environment": {}})

    monkeypatch.setattr(cluster, "_work", work)
    shelf, cells, seen = Shelf(tmp_path), grid(), []
    died = cluster.drive(cells, shelf, seen.append, cluster.Resources())
    assert len(died) == 1 and died[0].startswith("the task of cse · seed 1 ended with WorkerCrashedError")
    status = runner.status(cells, shelf)
    assert (status.done, status.missing) == (4, 2) and seen[-1].done == 4
