"""The search over options: one budget for all, and a stated rule for the best."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from expunge.core import plugins
from expunge.core.options import options
from expunge.core.run import Run
from expunge.evals.assessment import Assessment
from expunge.testing import small_albef, small_corpus, small_splits

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def search(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import search

    return search


def row(label, seed, private=0.0, shared=90.0, avg_g=None, size=5):
    scores = {
        "r_forget": 50.0,
        "r_forget_private": private,
        "r_forget_shared": shared,
        "r_retain": 90.0,
        "r_test": 95.0,
    }
    return {
        "method": label, "size": size, "seed": seed, "scores": {k: {"value": v} for k, v in scores.items()},
        "before": {"r_forget_shared": 90.0, "r_retain": 90.0, "r_test": 92.0},
        "summary": {} if avg_g is None else {"avg_g": avg_g},
    }  # fmt: skip


def test_every_method_has_as_many_settings_and_all_can_be_used(search):
    grids = search.grids(search.GRIDS)
    every = {e.name for e in plugins.entries("methods")} - {"nothing", "retrain"}
    assert every <= set(grids) and {len(found) for found in grids.values()} == {8}
    for method, found in grids.items():
        made = [options(plugins.load_method(method), setting) for setting in found]
        assert len(set(made)) == 8


def test_a_grid_that_favours_somebody_is_refused(search, tmp_path):
    (tmp_path / "grids.toml").write_text("[slug]\ntrials = [1, 2]\n[cse]\nlr = [1e-4]\n")
    with pytest.raises(ValueError, match="as many"):
        search.grids(tmp_path / "grids.toml")
    with pytest.raises(ValueError, match="no grid for magic"):
        search.grids(search.GRIDS, ["magic"])


def test_the_best_is_nearest_to_the_retrained_model_on_what_all_were_measured_on(search):
    rows = [row("a", 0, avg_g=3.0), row("a", 1, avg_g=5.0), row("b", 0, avg_g=4.0), row("b", 1, avg_g=2.0)]
    assert search.best(rows, ["a", "b", "c"]).label == "b"
    # A second seed that only one of them has does not count.
    assert search.best(rows[:3], ["a", "b"]).label == "a"
    assert "2 of 3 settings, 2 cells each" in search.best(rows, ["a", "b", "c"]).text
    assert search.best([], ["a"]).label is None


def test_without_a_retrained_model_what_is_left_and_what_was_lost_count(search):
    rows = [row("a", 0, private=10.0), row("b", 0, private=0.0, shared=75.0), row("c", 0, private=4.0, shared=88.0)]
    assert [search.cost(r) for r in rows] == [10.0, 15.0, 6.0]
    assert search.best(rows, ["a", "b", "c"]).label == "c"


def test_a_line_that_was_cut_off_does_not_count_and_goes_away(search, tmp_path):
    from forgetting import Measurements, read

    out = tmp_path / "cells.jsonl"
    out.write_text(json.dumps(row("a", 0)) + "\n" + json.dumps(row("b", 0))[:40])
    assert [r["method"] for r in read(out)] == ["a"]
    Measurements("validation", out)._write(row("c", 0))
    assert [r["method"] for r in read(out)] == ["a", "c"]
    assert read(tmp_path / "none.jsonl") == []


def test_cells_of_one_scenario_are_measured_and_written(search, tmp_path):
    from forgetting import Cell, Measurements, read, table

    splits = small_splits()

    def scenario(oracle):
        return SimpleNamespace(
            assessment=lambda: Assessment(splits, small_corpus().test), run=lambda folder: Run(),
            original=small_albef, oracle=lambda run: oracle, splits=splits,
        )  # fmt: skip

    cells = [Cell("nothing", (), "nothing"), Cell("gradient_ascent", ("lr=1e-2",), "gradient_ascent lr=0.01")]
    where = {"size": 2, "seed": 0, "variant": "validation"}
    Measurements("validation", tmp_path / "cells.jsonl")._scenario(scenario(small_albef(seed=1)), cells, where)
    still, moved = read(tmp_path / "cells.jsonl")
    assert {k: v["value"] for k, v in still["scores"].items()} == still["before"] == moved["before"]
    assert moved["method"] == "gradient_ascent lr=0.01" and moved["options"]["lr"] == 1e-2
    assert moved["oracle"] and moved["summary"]["avg_g"] >= 0 and moved["cost"]["seconds"] > 0
    assert "| gradient_ascent lr=0.01 |" in table(read(tmp_path / "cells.jsonl"))
    assert search.best([still, moved], ["nothing", "gradient_ascent lr=0.01"]).label
