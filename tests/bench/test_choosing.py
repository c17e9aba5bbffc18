"""A search has one rule for the best setting, and every form of the results says it."""

import csv
import io
import json
import re

import pytest
from rich.console import Console

from expunge.bench import plan as plans
from expunge.bench.board import terminal
from expunge.bench.cells import Cell, Setting, Shelf
from expunge.bench.choosing import points_off
from expunge.bench.drawing import draw
from expunge.bench.harvest import harvest
from expunge.bench.plan import Block, Plan, Row
from expunge.bench.suite import Method, Scenario, Suite
from expunge.report import layouts, typeset
from expunge.report.sheets import best_settings, distances, paired_tests, sheets

NAMES = ("mi", "r_forget", "r_test", "r_retain", "r_forget_shared", "r_forget_private")
BEFORE = (60.0, 90.0, 92.0, 90.0, 90.0, 90.0)
RETRAINED = (34.0, 45.0, 91.0, 89.0, 80.0, 5.0)
SEARCHED = Method("gradient_ascent", grid={"lr": [1.0, 2.0, 3.0]})
A, B, C = (row.shown for row in SEARCHED.settings)


def scored(values):
    named = values if isinstance(values, dict) else dict(zip(NAMES, values))
    scores = {n: {"value": v, "n": 30, "low": None, "high": None, "better": "oracle"} for n, v in named.items()}
    return {"scores": scores, "cost": {}, "wall_seconds": 5.0, "environment": {}}


def away(gap, seen=0.0, told=0.0, kept=0.0):
    """As the retrained model, but ``gap`` points off in each of the three that Avg.G is made of."""
    mi, forget, test, retain, shared, private = RETRAINED
    return (mi + gap, forget - gap, test - gap, retain + kept, shared + seen, private + told)


def folder_of(
    place, cells, against="retrain", failed=(), sizes=(5, 50), searched=(SEARCHED,), layout="", beside=RETRAINED
):
    """A suite's folder; ``cells`` is {(label, size, seed): values}, ``failed`` names those that failed."""
    shelf = Shelf(place)
    suite = Suite(
        (Scenario("people", "people", sizes=sizes),), searched, (0, 1), against=against, name="search",
        title="A search", layout=layout,
    )  # fmt: skip
    blocks = []
    for size in sizes:
        settings = {
            s: Setting("m", "w", "people", "f", tuple(f"p{i}" for i in range(size)), s, "retrieval") for s in (0, 1)
        }
        before = {s: Cell("before", at, label=f"before {size} {s}") for s, at in settings.items()}
        retrained = {s: Cell("retrained", at, label=f"retrained {size} {s}") for s, at in settings.items()}
        rows = []
        for method in suite.rows:
            row = {s: Cell("method", at, method.name, method.options, label=f"{method.shown} {size} {s}")
                   for s, at in settings.items()}  # fmt: skip
            rows.append(Row(method.shown, method.name, "", row))
            for s in row:
                if (method.shown, size, s) in cells:
                    shelf.finish(row[s], scored(cells[method.shown, size, s]))
                if (method.shown, size, s) in failed:
                    shelf.fail(row[s], RuntimeError("not finite"), {}, 1.0)
        for s in settings:
            shelf.finish(before[s], scored(BEFORE))
            if against == "retrain":
                shelf.finish(retrained[s], scored(beside))
        blocks.append(Block("people", "retrieval", "m", size, "groups", "", str(size), tuple(rows), before,
                            retrained if against == "retrain" else {}))  # fmt: skip
    (place / plans.PLAN).write_text(Plan(suite, tuple(blocks)).to_json())
    return place


def test_the_best_is_nearest_to_the_retrained_model_on_what_all_were_measured_on(tmp_path):
    cells = {
        (A, 5, 0): away(3),
        (A, 50, 0): away(5, seen=-4.0),
        (B, 5, 0): away(4),
        (B, 50, 0): away(2, seen=6.0, told=-5.0),
    }
    (one,) = harvest(folder_of(tmp_path / "one", cells)).chosen
    assert (one.label, one.score, one.rule) == (B, pytest.approx(3.0), "avg_g")
    assert (one.measured, one.settings, one.cells) == (2, 3, 2)
    # seen: 80 and 86, off by 0 and 6; told: 5 and 0, off by 0 and 5; test: 87 and 89, off by 4 and 2
    assert one.prices["r_forget_shared"] == pytest.approx((83.0, 3.0))
    assert one.prices["r_forget_private"] == pytest.approx((2.5, 2.5))
    assert one.prices["r_test"] == pytest.approx((88.0, 3.0)) and one.prices["r_retain"] == pytest.approx((89.0, 0.0))
    # A second size that only one of them has does not count.
    del cells[B, 50, 0]
    (one,) = harvest(folder_of(tmp_path / "two", cells)).chosen
    assert (one.label, one.score, one.cells) == (A, pytest.approx(3.0), 1)
    # Nor does a seed of which the retrained model is not there yet.
    folder = folder_of(tmp_path / "three", cells | {(A, 5, 1): away(9), (B, 5, 1): away(1)})
    assert harvest(folder).chosen[0].label == B
    told = json.loads((folder / "plan.json").read_text())
    (folder / "cells" / f"{told['blocks'][0]['retrained']['1']}.json").unlink()
    assert harvest(folder).chosen[0].label == A


def test_a_setting_that_failed_is_not_chosen_and_takes_nothing_from_the_others(tmp_path):
    cells = {(A, 5, 0): away(1), (B, 5, 0): away(4), (B, 50, 0): away(2), (C, 5, 0): away(1), (C, 50, 0): away(9)}
    (one,) = harvest(folder_of(tmp_path, cells, failed=[(A, 50, 0)])).chosen
    assert (one.label, one.measured, one.settings, one.cells) == (B, 2, 3, 2)


def test_nothing_in_common_is_said(tmp_path):
    results = harvest(folder_of(tmp_path, {(A, 5, 0): away(1), (B, 50, 0): away(1)}))
    assert results.chosen[0].label is None and results.chosen[0].cells == 0
    (line,) = best_settings(results).panels[0].lines
    assert line.label == "gradient_ascent: nothing measured in common yet" and line.cells[1].text == "2 of 3"
    assert "missing" in typeset.table_csv(results)


def test_without_a_retrained_model_what_is_left_and_what_was_lost_count(tmp_path):
    def left(private=0.0, shared=90.0):
        return (50.0, 50.0, 95.0, 90.0, shared, private)

    before = dict(zip(NAMES, BEFORE))
    found = [left(private=10.0), left(shared=75.0), left(private=4.0, shared=88.0)]
    assert [points_off(dict(zip(NAMES, one)), before) for one in found] == [10.0, 15.0, 6.0]
    assert points_off({"r_forget": 40.0, "r_test": 90.0}, before) == 42.0  # nothing is told apart in scenes
    cells = {(label, 5, 0): one for label, one in zip((A, B, C), found)}
    results = harvest(folder_of(tmp_path, cells, against="none"))
    (one,) = results.chosen
    assert (one.label, one.score, one.rule) == (C, 6.0, "points_off")
    assert one.prices["r_forget_shared"] == (88.0, -2.0) and one.prices["r_test"] == (95.0, 3.0)
    sheet = best_settings(results)
    assert sheet.panels[0].heads[0] == "points off" and "lost since before" in sheet.note
    assert [cell.text for cell in sheet.panels[0].lines[0].cells[:4]] == ["6.00", "3 of 3", "1", "88.0"]
    assert sheet.panels[0].lines[0].cells[3].gap == "−2.0"


def test_in_a_suite_with_a_layout_the_whole_table_counts(tmp_path):
    def written(**off):
        return dict(zip(NAMES, RETRAINED)) | dict.fromkeys(layouts.keys("mllmu"), 40.0) | off

    near = written(mi=90.0, forget_cloze_visual=34.0)  # MI stands in no column
    far = written(retain_classification_textual=60.0, retain_cloze_textual=30.0)
    lacking = {key: value for key, value in written().items() if key != "test_cloze_visual"}
    cells = {(label, 5, s): one for label, one in ((A, near), (B, far), (C, lacking)) for s in (0, 1)}
    results = harvest(folder_of(tmp_path, cells, layout="mllmu", beside=written(), sizes=(5,)))
    (one,) = results.chosen
    assert (one.label, one.score, one.rule) == (A, pytest.approx(6 / 24), "away")
    assert one.measured == 2  # a mean that lacks a column would pass for better
    assert "over all columns of the table" in best_settings(results).note
    (panel,) = distances(results).panels
    assert panel.heads[:2] == ("Forget VQA", "Forget QA") and panel.heads[-1] == "All columns"
    lines = {line.label: dict(zip(panel.heads, line.cells)) for line in panel.lines}
    assert lines[A]["Forget VQA"].text == "2.00" and lines[A]["All columns"].text == "0.25"
    assert lines[B]["Retain QA"].text == "10.00" and lines[B]["All columns"].text == "1.25"
    assert (lines[A]["All columns"].rank, lines[B]["All columns"].rank) == (1, 2)
    assert lines[C]["All columns"].text == "–" and lines[C]["Forget VQA"].text == "0.00"
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(terminal(results))
    assert "All columns" in console.export_text()


def test_every_form_of_the_results_shows_what_was_chosen(tmp_path):
    cells = {(label, size, s): away(gap) for gap, label in enumerate((B, C, A), 1) for size in (5, 50) for s in (0, 1)}
    drawn = draw(folder_of(tmp_path, cells))
    results = drawn.results
    assert [sheet.name for sheet in sheets(results)] == ["main", "chosen", "everything"]
    assert paired_tests(results).panels == ()  # no setting is what the others are held against
    sheet = best_settings(results)
    assert "smallest mean Avg.G over the cells" in sheet.note and "share" in sheet.note
    assert sheet.panels[0].lines[0].label == B == "gradient_ascent lr=2.0"
    markdown = drawn.files["md"].read_text()
    assert "## Chosen" in markdown and re.search(r"\| gradient\\_ascent lr=2.0 \| 1.00 \| 3 of 3 \| 4 \|", markdown)
    assert "\\label{tab:search-chosen}" in drawn.files["tex"].read_text()
    page = drawn.files["html"].read_text()
    assert '<h2 id="chosen">Chosen</h2>' in page
    (row,) = [r for r in csv.DictReader(io.StringIO(drawn.files["csv"].read_text()))
              if r["scenario"] == "chosen" and r["column"] == "avg_g"]  # fmt: skip
    assert (row["method"], float(row["mean"]), row["n"]) == (B, 1.0, "4")
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(terminal(results))
    assert "smallest Avg.G" in (text := console.export_text()) and re.search(rf"{B} +1\.00 +3 of 3", text)


def test_a_suite_without_a_search_chooses_nothing(tmp_path):
    results = harvest(folder_of(tmp_path, {}, searched=(Method("finetune"),)))
    assert results.chosen == () and "chosen" not in [sheet.name for sheet in sheets(results)]
