"""Cells that differ in editing only make their anchors once, and each of them pays for it."""

import json
from dataclasses import replace

import pytest
from tests.bench.bench_toys import suite_text, write_own_data

from expunge.bench import plan as plans
from expunge.bench import reading
from expunge.bench.workshop import Workshop
from expunge.core.run import Silent
from expunge.evals.assessment import Assessment
from expunge.generators import mvi
from expunge.scenario import Scenario
from expunge.testing import lend


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    place = tmp_path_factory.mktemp("workshop") / "own"
    write_own_data(place)
    fixed = 'epochs = 1, least_steps = 1, batch = 6, mvi_preset = "paper", texts_per_sample = 1'
    methods = f'[{{name = "cse", options = {{{fixed}}}, grid = {{lr = [1e-4, 1e-2]}}}}]'
    (place / "anchors.toml").write_text(suite_text(methods, seeds="[0]", sizes="[1]"))
    return [c for c in plans.expand(reading.read(place / "anchors.toml")).cells() if c.kind == "method"]


def test_anchors_are_made_once_and_paid_by_everybody(cells, tmp_path, monkeypatch):
    made = []
    train = mvi.train
    monkeypatch.setattr(Scenario, "lend", lambda self, name: lend(name))
    monkeypatch.setattr(mvi, "train", lambda *more: made.append(1) or train(*more))
    workshop = Workshop(tmp_path)
    one, two = (workshop.measure(cell, Silent()) for cell in cells)
    assert len(made) == 1 and [r["facts"]["anchors_remembered"] for r in (one, two)] == [False, True]
    (place,) = [p.parent for p in (tmp_path / "anchors").glob("*/anchors.json")]
    told, peak = (json.loads((place / name).read_text()) for name in ("anchors.json", "cost.json"))
    for result in (one, two):
        cost = result["cost"]
        assert cost["seconds_mvi"] == told["seconds"] and cost["peak_memory_mb"] >= peak["peak_memory_mb"] > 0
        assert cost["seconds"] > cost["seconds_mvi"] + 0.9 * cost["seconds_cse"]
    # Measured where nothing is remembered, the same cell has the same scores.
    alone = Workshop().measure(cells[1], Silent())
    assert len(made) == 2 and alone["scores"] == two["scores"] != one["scores"]
    assert {k: v for k, v in two["facts"].items() if k != "anchors_remembered"} == alone["facts"]
    assert "anchors_remembered" not in alone["facts"]
    # Other weights of a generator are other anchors, under the same name.
    other = replace(cells[1], models={**cells[1].models, "painter": "taught again"})
    assert workshop.measure(other, Silent())["facts"]["anchors_remembered"] is False and len(made) == 3


def test_nothing_of_one_cell_stands_in_the_next(cells, monkeypatch):
    """Cells of a setting are asked the same questions, one after the other."""
    found = iter([(["low on words"], {"told": 0.5}), ([], {})])

    def add(self, stage, model, run):
        notes, truth = next(found)
        self.notes += notes
        if truth:
            self.truth[stage] = truth
        self.scores[stage] = {}

    monkeypatch.setattr(Assessment, "add", add)
    cells, workshop = [replace(one, kind="before", options={}) for one in cells], Workshop()
    one, two = (workshop.measure(cell, Silent()) for cell in cells)
    assert "low on words" in one["notes"] and one["truth"] == {"told": 0.5}
    assert "low on words" not in two["notes"] and "truth" not in two


def test_a_broken_making_leaves_nothing_and_is_tried_again(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(Scenario, "lend", lambda self, name: lend(name))
    with monkeypatch.context() as broken:
        broken.setattr(mvi, "generate", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Workshop(tmp_path).measure(cells[0], Silent())
    # K' was whole before it broke, and is kept; of the anchors nothing is.
    left = {p.name for p in (tmp_path / "anchors").glob("*/*")}
    assert "parts.safetensors" in left and not any(name.startswith("anchors") or name.endswith(".png") for name in left)
    assert Workshop(tmp_path).measure(cells[0], Silent())["facts"]["anchors_remembered"] is False
