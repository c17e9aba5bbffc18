"""Cells pass from one machine to another as one file: what was measured is not measured again, what is odd is told."""

import json

import pytest
from tests.bench.bench_toys import suite_text, write_methods, write_own_data

from expunge import api
from expunge.bench import exchange, glance
from expunge.bench.cells import Cell, Setting, Shelf
from expunge.core.errors import DataError, ExpungeError


def grid(count: int = 4) -> list[Cell]:
    settings = [Setting("m", "w", "d", "f", (f"p{i}",), i, "retrieval") for i in range(count)]
    return [Cell("method", at, "cse", label=f"cse · seed {at.seed}") for at in settings]


def finished(folder, cells) -> Shelf:
    shelf = Shelf(folder)
    for at, cell in enumerate(cells):
        score = {"value": at / 3, "n": 5, "low": float("nan"), "high": 1.5, "better": "oracle"}
        shelf.finish(cell, {"scores": {"mi": score}, "cost": {"seconds": 0.1 + at}, "environment": {"commit": "c"}})
    return shelf


def hashes(cells) -> list[str]:
    return [cell.hash for cell in cells]


def test_what_was_written_comes_back_to_the_byte_in_the_plans_order(tmp_path):
    cells = grid()
    here, there = finished(tmp_path / "here", cells[:3]), Shelf(tmp_path / "there")
    assert exchange.write(tmp_path / "all.jsonl", hashes(cells[::-1]), here) == 3
    lines = [json.loads(line)["label"] for line in (tmp_path / "all.jsonl").read_text("utf-8").splitlines()]
    assert lines == ["cse · seed 2", "cse · seed 1", "cse · seed 0"]
    assert exchange.take([tmp_path / "all.jsonl"], hashes(cells), there) == exchange.Taken(3, 0, 0)
    for cell in cells[:3]:
        name = f"cells/{cell.hash}.json"
        assert (there.folder / name).read_bytes() == (here.folder / name).read_bytes()
    assert there.state(cells[3]) == "missing"


def test_what_is_measured_here_stays_and_what_failed_here_is_replaced(tmp_path):
    cells = grid()
    exchange.write(tmp_path / "x" / "some-cells.jsonl", hashes(cells), finished(tmp_path / "a", cells))
    shelf = Shelf(tmp_path / "b")
    shelf.finish(cells[0], {"scores": {}, "cost": {}, "environment": {"commit": "mine"}})
    shelf.fail(cells[1], ExpungeError("no luck."), {}, 1.0)
    (tmp_path / "x" / "rows.jsonl").write_text("of something else\n")
    taken = exchange.take([tmp_path / "x"], hashes(cells[:3]), shelf)  # of a folder every such file is read
    assert taken == exchange.Taken(2, 1, 1)
    assert shelf.result(cells[0].hash)["environment"]["commit"] == "mine"
    assert shelf.state(cells[1]) == "done" and shelf.failure(cells[1].hash) is None
    assert shelf.state(cells[3]) == "missing"  # of another suite
    assert exchange.take([tmp_path / "x"], hashes(cells[:3]), shelf) == exchange.Taken(0, 3, 1)


def test_what_is_no_cell_is_told_with_its_line_and_nothing_is_taken(tmp_path):
    cells = grid()
    path = tmp_path / "some.jsonl"
    exchange.write(path, hashes(cells), finished(tmp_path / "a", cells))
    good = path.read_text("utf-8").splitlines()
    forged, old, empty = (json.loads(line) for line in good[1:4])
    forged["cell"]["seed"] = 7
    old["format"] = 0
    del empty["scores"]
    path.write_text("\n".join([good[0], *map(json.dumps, (forged, old, empty)), '{"half": "a']), "utf-8")
    shelf = Shelf(tmp_path / "b")
    with pytest.raises(DataError) as found:
        exchange.take([path, tmp_path / "gone.jsonl", tmp_path / "b" / "failed"], hashes(cells), shelf)
    told = str(found.value)
    assert f"{path}:2: has a hash that does not fit" in told and f"{path}:3: is no finished cell of format 1" in told
    assert f"{path}:4: holds no scores" in told and f"{path}:5" in told
    assert "gone.jsonl: does not exist" in told and "failed: holds no *cells.jsonl" in told
    assert not list((shelf.folder / "cells").iterdir())


def test_a_file_of_nothing_takes_nobodys_place(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text("something\n")
    with pytest.raises(ExpungeError, match="no cell is finished yet"):
        exchange.write(path, hashes(grid()), Shelf(tmp_path / "a"))
    assert path.read_text() == "something\n"


def test_a_method_of_ones_own_stands_beside_numbers_that_others_measured(tmp_path):
    """The whole way: a suite measured, passed on, and met again by a suite with one more method, which alone runs."""
    own = tmp_path / "own"
    write_own_data(own)
    write_methods(own)
    (own / "first.toml").write_text(suite_text('["nothing", "./quick.py"]', "[0]", "[1]"))
    outcome, _ = api.run_suite(
        own / "first.toml", tmp_path / "a", workers=0, cells_to=tmp_path / "passed" / "cells.jsonl"
    )
    assert outcome.is_whole and outcome.status.total == outcome.passed_on == 2
    (own / "second.toml").write_text(
        suite_text(
            '["nothing", "./quick.py", {name = "./quick.py", label = "mine", options = {size = 0.2}}]', "[0]", "[1]"
        )
    )
    before = glance.listing(glance.folder_of(str(own / "second.toml"), tmp_path / "b", pytest.fail))
    assert before.count("missing") == 3
    heard: list[exchange.Taken] = []
    outcome, drawn = api.run_suite(
        own / "second.toml", tmp_path / "b", workers=0, cells_from=[tmp_path / "passed"], on_taken=heard.append
    )
    assert outcome.is_whole and heard == [exchange.Taken(2, 0, 0)]
    labels = [json.loads(path.read_text("utf-8"))["finished"] for path in (tmp_path / "a" / "cells").glob("*.json")]
    kept = [json.loads(path.read_text("utf-8"))["finished"] for path in (tmp_path / "b" / "cells").glob("*.json")]
    assert len(kept) == 3 and set(labels) <= set(kept)
    assert [row.label for row in drawn.results.blocks[0].rows] == ["nothing", "quick", "mine"]
