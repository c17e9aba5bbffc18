"""A grid is foreseen from its suite: without its data and models, and from what was measured before."""

import json
from pathlib import Path

import pytest
from tests.bench.bench_toys import suite_text, write_methods, write_own_data

from expunge.bench import foreseeing, places, reading
from expunge.bench import plan as plans
from expunge.core.errors import DataError, ExpungeError
from expunge.report import outlook
from expunge.report.printed import rows
from expunge.train.originals import PAPER

RECIPES = sorted((Path(__file__).parents[2] / "recipes" / "paper").glob("*.toml"))


def test_every_table_of_the_paper_has_a_recipe():
    assert [path.stem for path in RECIPES] == [f"table{i}" for i in range(1, 10)]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_foreseen_without_data_and_models(path, monkeypatch):
    for name in ("ALBEF", "BLIP", "SD21", "SD15", "BLIP2_T5", "BLIP2_OPT", "MLLMU", "FLICKR30K", "VQA", "SNLI_VE"):
        monkeypatch.setenv(f"EXPUNGE_PATH_{name}", f"/nowhere/{name.lower()}")
    found = foreseeing.foresee(path, "nowhere")
    assert any("/nowhere/sd21" in one for one in found.missing) and any("/nowhere/fl" in one for one in found.missing)
    assert found.rows and all(row.cells == 3 for row in found.rows)
    for row in found.rows:
        assert row.forecast.work is not None and row.forecast.memory is not None and row.seconds is not None
        assert not row.forecast.notes, "a model without an expected size"
    told = [part for part in outlook.grid(found) if isinstance(part, str)]
    assert any("not on this machine" in line for line in told) and "nothing was loaded" in " ".join(told)
    with pytest.raises(DataError, match="/nowhere/sd21"):
        reading.read(path)  # only a dry run may do without


@pytest.mark.parametrize("path", [p for p in RECIPES if p.stem not in ("table5", "table9")], ids=lambda p: p.stem)
def test_every_printed_row_is_asked_for(path):
    suite = reading.read(path, [])
    assert suite.paper == path.stem and all(
        s.make_original == {"epochs": 5, "lr": 1e-5, "batch": 32} for s in suite.scenarios
    )
    if path.stem in ("table3", "table4", "table7", "table8"):
        assert set(rows(suite.paper, "privacy")) == {row.paper for row in suite.rows}
    else:
        assert len(suite.rows) == 9
    assert all(s.expected.keys() == set(s.tasks) for s in suite.scenarios)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    place = tmp_path_factory.mktemp("foreseen") / "own"
    write_own_data(place)
    write_methods(place)
    return place


METHODS = '["./quick.py", {name = "gradient_ascent", options = {epochs = 2, batch = 4, least_steps = 0}}]'


def test_what_own_data_is_held_against_is_foreseen_as_the_paper_makes_it(own):
    (own / "toy.toml").write_text(suite_text(METHODS, against="retrain"))
    rows = foreseeing.foresee(own / "toy.toml", own / "runs").rows
    work = next(row.forecast.work for row in rows if row.forecast.what == "retrained")
    assert work.batch == PAPER.batch and work.steps % PAPER.epochs == 0


def test_counts_come_from_the_data_where_it_is_there(own):
    (own / "toy.toml").write_text(suite_text(METHODS, more="expected = { retrieval = { train = 9 } }"))
    found = foreseeing.foresee(own / "toy.toml", own / "runs")
    assert found.missing == () and not any("expects" in note for note in found.notes)
    ascent = [row for row in found.rows if row.forecast.what == "gradient_ascent"]
    assert [row.size for row in ascent] == [1, 2] and ascent[0].forecast.work.pairs < ascent[1].forecast.work.pairs
    assert next(row for row in found.rows if row.forecast.what == "quick").forecast.work is None  # it does not say


def test_seconds_of_cells_that_were_measured_win_over_operations(own):
    (own / "toy.toml").write_text(suite_text(METHODS))
    cell = {"kind": "method", "method": "gradient_ascent", "options": {"epochs": 2, "batch": 4, "least_steps": 0},
            "model": "ALBEF.pth", "task": "retrieval"}  # fmt: skip
    told = {"cell": cell, "examples": {"forget": 8, "retain": 30}, "cost": {"seconds": 20.0}}  # 4 steps
    shelf = own / "shelf" / "cells"
    shelf.mkdir(parents=True)
    (shelf / "a.json").write_text(json.dumps(told))
    (shelf / "torn.json").write_text("{")
    row = next(r for r in foreseeing.foresee(own / "toy.toml", own / "shelf").rows if "ascent" in r.forecast.what)
    assert row.forecast.seconds == pytest.approx(5.0 * row.forecast.work.steps) and "1 measured cell" in row.forecast.by


def test_a_place_is_named_once_and_this_machine_may_say_another(own, monkeypatch):
    text = suite_text(METHODS).replace('"./pairs.jsonl"', '"$mine/pairs.jsonl"').replace('["ALBEF.pth"]', '["$model"]')
    (own / "placed.toml").write_text(text + '\n[paths]\nmine = "."\nmodel = "ALBEF.pth"\n')
    suite = reading.read(own / "placed.toml")
    assert suite.scenarios[0].data == str(own / "pairs.jsonl") and suite.models == (str(own / "ALBEF.pth"),)
    monkeypatch.setenv("EXPUNGE_PATH_MODEL", "before")  # so that it is put back
    places.override([f"model={own}/other.pth"])
    with pytest.raises(DataError, match="other.pth"):
        reading.read(own / "placed.toml")
    (own / "wrong.toml").write_text(text + '\n[paths]\nmin = "."\n')
    with pytest.raises(ExpungeError, match=r"wrong.toml: '\$mod.*lacks|wrong.toml: '\$mine.*Did you mean \$min"):
        reading.read(own / "wrong.toml")
    for text in ("model", "=x", "a b=c", "model="):
        with pytest.raises(ExpungeError, match="NAME=FOLDER"):
            places.override([text])


def test_where_things_lie_is_no_part_of_a_cell_and_the_originals_recipe_is(own):
    text = suite_text('["nothing"]', sizes="[1]", seeds="[0]").replace('pretrained = "ALBEF.pth"\n', "")

    def cells(text):
        (own / "same.toml").write_text(text)
        return plans.expand(reading.read(own / "same.toml")).cells()

    (plain,) = cells(text)
    (placed,) = cells(text.replace('"./pairs.jsonl"', f'"{own}/pairs.jsonl"'))
    assert placed.hash == plain.hash
    (other,) = cells(text + "make_original = { epochs = 1, lr = 1e-3, batch = 8 }\n")
    assert other.hash != plain.hash and other.setting.recipe == {"epochs": 1, "lr": 1e-3, "batch": 8}
