"""Only missing cells run, workers do not step on each other, kills lose nothing, failures are reported."""

import csv
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tests.bench.bench_toys import suite_text, write_methods, write_own_data

from expunge.bench import runner
from expunge.bench.board import _Lines, at_work, sentence
from expunge.bench.cells import Cell, Setting, Shelf
from expunge.bench.harvest import harvest
from expunge.core import cache
from expunge.core.cache import cached
from expunge.core.errors import ExpungeError


def grid(count: int = 6) -> list[Cell]:
    settings = [Setting("m", "w", "d", "f", (f"p{i}",), i, "retrieval") for i in range(count)]
    return [Cell("method", at, "cse", label=f"cse · seed {at.seed}") for at in settings]


def scored(cell: Cell) -> dict:
    value = random.Random(cell.hash).uniform(0, 100)
    return {"scores": {"mi": {"value": value, "n": 3}}, "cost": {}, "wall_seconds": 2.0, "environment": {}}


def test_only_missing_cells_run(tmp_path):
    shelf, cells, asked = Shelf(tmp_path), grid(), []

    def measure(cell, progress):
        asked.append(cell.hash)
        return scored(cell)

    assert runner.work(cells[:4], shelf, measure) == 4
    (shelf.folder / "cells" / f"{cells[2].hash}.json").unlink()
    (shelf.folder / "cells" / f"{cells[3].hash}.json").write_text('{"hash": "half a fi')
    assert runner.work(cells, shelf, measure) == 4
    assert sorted(asked) == sorted([c.hash for c in cells] + [cells[2].hash, cells[3].hash])
    assert runner.work(cells, shelf, measure) == 0


def test_a_failing_cell_is_kept_and_the_others_go_on(tmp_path):
    shelf, cells, broken = Shelf(tmp_path), grid(), [True]

    def measure(cell, progress):
        if cell is cells[1] and broken[0]:
            raise ExpungeError("the loss is not finite.")
        return scored(cell)

    assert runner.work(cells, shelf, measure) == 6
    told = runner.outcome(cells, shelf)
    assert (told.status.done, told.status.failed, told.is_whole) == (5, 1, False)
    (failure,) = told.failures
    assert failure["reason"] == "the loss is not finite." and "in measure" in failure["traceback"]
    assert failure["label"] == "cse · seed 1" and failure["environment"]["python"]
    assert runner.work(cells, shelf, measure) == 0  # it is not tried again unless asked
    broken[0] = False
    assert shelf.forgive(cells) == 1 and runner.work(cells, shelf, measure) == 1
    assert runner.outcome(cells, shelf).is_whole and not list((shelf.folder / "failed").glob("*.json"))


def test_an_interrupt_leaves_nothing(tmp_path):
    shelf, cells = Shelf(tmp_path), grid()

    def measure(cell, progress):
        if cell is cells[2]:
            raise KeyboardInterrupt
        return scored(cell)

    with pytest.raises(KeyboardInterrupt):
        runner.work(cells, shelf, measure)
    assert shelf.state(cells[1]) == "done" and shelf.state(cells[2]) == "missing"
    assert not list((shelf.folder / "running").iterdir()) and not list((shelf.folder / "cells").glob(".*"))
    with shelf.claim(cells[2]) as ours:
        assert ours


def _busy(folder, log):
    def measure(cell, progress):
        with open(log, "a") as file:
            file.write(f"{cell.hash} {os.getpid()}\n")
        time.sleep(0.02)
        return scored(cell)

    runner.work(grid(24), Shelf(folder), measure)


def test_workers_share_a_folder_and_never_a_cell(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_busy, args=(tmp_path / "s", tmp_path / "log")) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(h for h, _ in lines) == sorted(c.hash for c in grid(24))
    assert len({pid for _, pid in lines}) > 1


def _patient(folder):
    def measure(cell, progress):
        time.sleep(0.03)
        return scored(cell)

    runner.work(grid(40), Shelf(folder), measure)


def test_ten_kills_lose_nothing_and_leave_nothing_half_written(tmp_path):
    context, rng, shelf = multiprocessing.get_context("fork"), random.Random(3), Shelf(tmp_path)
    missing = [40]
    for _ in range(10):
        worker = context.Process(target=_patient, args=(tmp_path,))
        worker.start()
        wanted, deadline = missing[-1] - rng.randrange(4), time.monotonic() + 30  # on a busy machine, too
        while len(list((tmp_path / "cells").glob("*.json"))) < 40 - wanted and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.06))
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(30)
        missing.append(runner.status(grid(40), shelf).missing)
        for path in (tmp_path / "cells").glob("*.json"):
            json.loads(path.read_text())
    assert missing == sorted(missing, reverse=True) and 0 < missing[-1] < 40
    runner.work(grid(40), shelf, lambda cell, _: scored(cell))
    assert all(shelf.result(c.hash)["scores"] == scored(c)["scores"] for c in grid(40))
    assert not list((tmp_path / "failed").iterdir()) and not shelf.running()
    shelf.sweep(older_than=0.0)
    assert not list((tmp_path / "cells").glob(".*"))


def test_a_locked_cell_is_left_and_come_back_to(tmp_path):
    shelf, cells = Shelf(tmp_path), grid(3)
    order = []

    def measure(cell, progress):
        order.append(cell.setting.seed)
        return scored(cell)

    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(f"""
            import time
            from filelock import FileLock
            with FileLock({str(shelf.folder / "locks" / (cells[0].hash + ".lock"))!r}):
                print("held", flush=True)
                time.sleep(1.5)
        """)],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline()
    assert runner.work(cells, shelf, measure) == 3 and order == [1, 2, 0]
    holder.wait()


def test_a_worker_stays_with_its_setting_and_enters_another_workers_last(tmp_path):
    """What cells of a setting share is made once; whoever comes to it while it is being made would wait."""
    settings = [Setting("m", "w", "d", "f", (name,), 0, "retrieval") for name in "abc"]
    cells = [Cell("method", at, method) for method in ("cse", "slug", "retrain") for at in settings]
    shelf, asked = Shelf(tmp_path), []

    def measure(cell, progress):
        asked.append(cell.setting.who[0])
        return scored(cell)

    with shelf.claim(cells[0]):
        with pytest.raises(KeyboardInterrupt):  # the held cell is never free: stop when all others are settled

            def waiting(_):
                raise KeyboardInterrupt

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(runner.time, "sleep", waiting)
                runner.work(cells, shelf, measure)
    assert asked == ["b", "b", "b", "c", "c", "c", "a", "a"]


def test_a_cell_that_needs_what_another_is_making_is_put_back_and_waited_for_last(tmp_path, monkeypatch):
    cells, shelf, order = grid(3), Shelf(tmp_path / "grid"), []

    def measure(cell, progress):
        def make(folder):
            (folder / "model").write_text("one")

        order.append(cell.setting.seed)
        if cell != cells[2]:
            cached({"original of": "both"}, make, tmp_path / "cache")
        return scored(cell)

    def measure_here(folder):
        """Another worker makes the original until this one has nothing else to do."""
        (folder / "model").write_text("one")

        def slept(_):
            monkeypatch.undo()
            raise Released

        monkeypatch.setattr(runner.time, "sleep", slept)
        with pytest.raises(Released):
            runner.work(cells, shelf, measure)

    class Released(Exception):
        pass

    cached({"original of": "both"}, measure_here, tmp_path / "cache")
    assert order == [0, 1, 2, 0, 1] and [shelf.state(cell) for cell in cells] == ["missing", "missing", "done"]
    assert runner.work(cells, shelf, measure) == 2
    assert not list((shelf.folder / "running").iterdir()) and not list((shelf.folder / "failed").iterdir())


def test_with_nothing_else_left_a_worker_waits(tmp_path, monkeypatch):
    (cell,), shelf, waited = grid(1), Shelf(tmp_path), []

    def measure(cell, progress):
        waited.append(cache._WAITS.get())
        if not waited[-1]:
            raise cache.Busy
        return scored(cell)

    monkeypatch.setattr(runner.time, "sleep", lambda _: None)
    assert runner.work([cell], shelf, measure) == 1
    assert waited == [False, True] and cache._WAITS.get()


def test_progress_says_what_runs_and_how_long_is_left(tmp_path):
    shelf, cells = Shelf(tmp_path), grid()
    for cell in cells[:2]:
        shelf.finish(cell, scored(cell))
    notes = runner.Noted(cells[2], shelf, time.time() - 65)
    notes.start("editing (CSE)", 120)
    status = runner.Told(cells, shelf, workers=2).status()
    assert (status.total, status.done, status.missing) == (6, 2, 4)
    assert status.left_s == pytest.approx((0.5 + 1 + 1 + 1) * 2.0 / 2)
    assert sentence(status) == "2 of 6 cells, about 3.5 s left"
    assert at_work(status.running[0]) == "cse · seed 2 (1 min 05 s): editing (CSE), 0 of 120"
    with open(tmp_path / "lines", "w") as file:
        say = _Lines(file)
        say(status)
        say(status)
    assert len((tmp_path / "lines").read_text().splitlines()) == 1


def test_time_left_is_read_off_the_same_options_before_the_same_names(tmp_path):
    at = [Setting("m", "w", "d", "f", ("p",), seed, "retrieval") for seed in (0, 1)]
    cells = [Cell("method", one, "cse", {"epochs": epochs}) for one in at for epochs in (1, 50)]
    shelf = Shelf(tmp_path)
    for cell, seconds in zip(cells[:2], (10.0, 500.0)):
        shelf.finish(cell, scored(cell) | {"wall_seconds": seconds})
    assert runner.status([cells[0], cells[1], cells[3]], shelf).left_s == 500.0
    assert runner.status(cells, shelf).left_s == 510.0
    other = Cell("method", at[1], "cse", {"epochs": 7})
    assert runner.status([*cells[:2], other], shelf).left_s == 255.0  # nobody was asked that: the mean of its kind


def test_notes_of_the_dead_are_not_believed(tmp_path):
    shelf, (cell,) = Shelf(tmp_path), grid(1)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    shelf.note(cell, time.time())
    path = shelf.folder / "running" / f"{cell.hash}.json"
    assert shelf.running()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": dead.pid}))
    assert not shelf.running()


# ---------------------------------------------------------------------------------------------- real models


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("bench") / "own"
    write_own_data(place)
    write_methods(place)
    return place


def numbers(file) -> list[dict]:
    """A table's numbers but for the measured time and memory."""
    with open(file) as opened:
        return [row for row in csv.DictReader(opened) if row["column"] not in ("seconds", "memory")]


KILLING = Path(__file__).with_name("killing_cells.py")
STEPS = 40


def worked(place: Path, name: str, kills: int) -> tuple[Path, dict]:
    """The grid of ``killed.toml`` in a folder of its own, by workers of which the first ``kills`` are killed."""
    words = [str(place / "killed.toml"), str(place / name), str(kills), "7"]
    done = subprocess.run(
        [sys.executable, str(KILLING), *words], capture_output=True, text=True, timeout=800, check=False
    )
    assert done.returncode == 0, done.stderr
    return place / name, json.loads(done.stdout.splitlines()[-1])


def beginnings(out: Path) -> dict[int, int]:
    """The first step that each process took."""
    found: dict[int, int] = {}
    for line in (out / "steps").read_text().splitlines():
        process, step = map(int, line.split())
        found.setdefault(process, step)
    return found


@pytest.mark.slow
def test_ten_kills_and_a_resume_give_the_uninterrupted_table(place):
    """Killed when a cell, or a step of a training, has just been done; each training goes on from its last step."""
    trained = f'{{name = "multidelete", options = {{epochs = 1, least_steps = {STEPS}, batch = 6}}}}'
    methods = f'["nothing", "./quick.py", {trained}, "./slow.py"]'
    (place / "killed.toml").write_text(suite_text(methods, seeds="[0, 1]", sizes="[1]"))
    straight, _ = worked(place, "straight", 0)
    resumed, told = worked(place, "killed", 10)
    assert len(told["kills"]) == 10 and 0 < told["missing"] < told["total"] == 8, told

    saved = [0, *(kill["saved"] for kill in told["kills"])]
    processes, began = [*(kill["process"] for kill in told["kills"]), told["last"]], beginnings(resumed)
    assert [began.get(p, step % STEPS) for p, step in zip(processes, saved)] == [step % STEPS for step in saved]
    assert sum(0 < began.get(process, 0) for process in processes) > 2, "no training went on from a step"
    assert set(beginnings(straight).values()) == {0}

    tables = [numbers(out / "killed" / "tables" / "killed.csv") for out in (straight, resumed)]
    assert tables[0] == tables[1] and len(tables[0]) > 15
    scores = [
        {c.name: json.loads(c.read_text())["scores"] for c in (o / "cells").iterdir()} for o in (straight, resumed)
    ]
    assert scores[0] == scores[1] and len(scores[0]) == 8
    logs = [{log.name: json.loads(log.read_text()) for log in (o / "logs").iterdir()} for o in (straight, resumed)]
    assert logs[0] == logs[1] and [len(log) for log in logs[0].values()] == [STEPS] * 2
    assert not list((resumed / "failed").iterdir()) and not list((resumed / "saved").iterdir())


@pytest.mark.slow
def test_the_command_runs_reports_what_failed_and_resumes(place):
    (place / "toy.toml").write_text(
        suite_text('["nothing", "./quick.py", "./broken.py"]', seeds="[0]", sizes="[1]", top='baseline = "quick"')
    )
    command = [sys.executable, "-m", "expunge", "bench", str(place / "toy.toml"), "--out", str(place / "out")]
    done = subprocess.run([*command, "--workers", "2"], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 1, done.stderr
    assert re.search("failed: broken · own 1 · seed 0: .*broken.py:[0-9]+: RuntimeError: no such luck", done.stderr)
    assert "quick" in done.stdout
    assert "1 failed" in done.stdout
    written = {p: p.stat().st_mtime_ns for p in (place / "out" / "cells").iterdir()}
    assert len(written) == 2
    page = (place / "out" / "toy" / "report.html").read_text()
    assert "no such luck" in page and "http" not in page.replace("http-equiv", "")
    again = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert again.returncode == 1 and {p: p.stat().st_mtime_ns for p in (place / "out" / "cells").iterdir()} == written
    listed = subprocess.run([*command, "--list"], capture_output=True, text=True, timeout=600, check=True).stdout
    assert [line.split()[1] for line in listed.splitlines()] == ["done", "done", "failed"]


@pytest.mark.slow
def test_workers_end_when_the_command_is_killed(place):
    (place / "orphans.toml").write_text(
        suite_text('[{name = "./slow.py", options = {size = 60.0}}]', seeds="[0]", sizes="[1]")
    )
    out = place / "orphans"
    running = subprocess.Popen(
        [sys.executable, "-m", "expunge", "bench", str(place / "orphans.toml"), "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not any("taking its time" in p.read_text() for p in (out / "running").glob("*.json")):
        assert time.monotonic() < deadline and running.poll() is None, "the slow method never began"
        time.sleep(0.1)
    (note,) = Shelf(out).running()
    running.send_signal(signal.SIGKILL)
    running.wait()
    deadline = time.monotonic() + 60
    while Shelf(out).running():
        assert time.monotonic() < deadline, f"worker {note['pid']} goes on although nobody waits for it"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=str)
def test_a_signal_to_the_command_alone_lets_its_workers_save(place, number):
    """A worker hears of it when its end of a pipe closes; pace and length are such that nothing else saves."""
    name = f"stopped{int(number)}"
    words = '[{name = "multidelete", options = {epochs = 1, least_steps = 400, batch = 6}}]'
    (place / f"{name}.toml").write_text(suite_text(words, seeds="[0]", sizes="[1]"))
    out = place / name
    running = subprocess.Popen(
        [sys.executable, "-m", "expunge", "bench", str(place / f"{name}.toml"), "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not any(re.search("MultiDelete.*, [1-9]", p.read_text()) for p in (out / "running").glob("*.json")):
        assert time.monotonic() < deadline and running.poll() is None, "it never began to train"
        time.sleep(0.1)
    (note,) = Shelf(out).running()
    running.send_signal(number)
    _, said = running.communicate(timeout=runner.SAVING_S + 60)
    if number == signal.SIGTERM:
        assert running.returncode == 143 and "Traceback" not in said, said
        assert said.splitlines()[-1].endswith("what was being trained is saved; the same command goes on from there.")
        assert not Shelf(out).running(), "the command left before its worker"
    deadline = time.monotonic() + runner.SAVING_S + 60
    while Shelf(out).running():
        assert time.monotonic() < deadline, "its worker goes on"
        time.sleep(0.1)
    (told,) = (out / "saved").glob(f".{note['hash']}.checkpoints/*/about.json")
    assert 0 < json.loads(told.read_text())["step"] < 400
    assert runner.status(runner.prepare(place / f"{name}.toml", out)[0].cells(), Shelf(out)).missing == 1


def test_a_worker_that_does_not_end_is_killed_in_time(monkeypatch):
    """It has been asked, and has had its time."""
    monkeypatch.setattr(runner, "SAVING_S", 2.0)
    context = multiprocessing.get_context("fork")
    deaf = context.Process(target=time.sleep, args=(60,))
    deaf.start()  # before there is a pipe, or a fork of it would keep the pipe open
    listening, ours = context.Pipe(duplex=False)
    quick = context.Process(target=_listens, args=(listening, ours))
    quick.start()
    assert not runner._stop([quick, deaf], ours)
    deaf.join(30)
    quick.join(30)
    assert (quick.exitcode, deaf.exitcode) == (0, -signal.SIGKILL)


def _listens(listening, ours):
    ours.close()  # a fork has the other end, too
    multiprocessing.connection.wait([listening])


def test_a_look_with_another_version_does_not_change_what_is_drawn_in_the_end(place):
    suite, out = place / "looked.toml", place / "looked"
    suite.write_text(suite_text('["nothing", "./quick.py"]', seeds="[0]", sizes="[1]"))
    (plan,) = (runner.prepare(suite, out)[0].to_json(".."),)

    def work(cells, shelf, watch):
        (out / "looked" / "plan.json").write_text("{}")
        return []

    runner.run(suite, out, drive=work)
    there = json.loads((out / "looked" / "plan.json").read_text())
    assert {key: value for key, value in there.items() if key != "grounds"} == json.loads(plan)


def test_suites_share_what_either_measured(place):
    (place / "one.toml").write_text(suite_text('["nothing", "./quick.py"]'))
    (place / "two.toml").write_text(suite_text('["./quick.py", "./slow.py"]'))
    (one, shelf), (two, same) = (runner.prepare(place / f"{name}.toml", place / "shared") for name in ("one", "two"))
    assert shelf.folder == same.folder == place / "shared"
    runner.work(one.cells(), shelf, lambda cell, _: {"scores": {}, "cost": {}})
    left = [cell.method for cell in two.cells() if not same.is_settled(cell)]
    assert left and set(left) == {"slow"}
    assert {harvest(place / "shared" / name).done for name in ("one", "two")} == {len(one.cells())}
    (place / "cells.toml").write_text(suite_text('["nothing"]'))
    with pytest.raises(ExpungeError, match="cannot be called 'cells'"):
        runner.prepare(place / "cells.toml", place / "shared")
