"""Sheets and drawings of a suite where a row fails, sizes differ, settings were searched, or a reference is missing."""

from dataclasses import replace

import pytest

from expunge.core.record import Score
from expunge.report import grid_page, plots
from expunge.report.grid import Chosen, Entry, GridBlock, GridCell, GridRow, Results
from expunge.report.sheets import beside, best_settings, main

OURS = {"mi": Entry(Score(50.0, 3, 47.0, 53.0), Score(4.0, 3)), "forget": Entry(Score(60.0, 3), Score(9.0, 3)),
        "avg_g": Entry(Score(6.5, 3)), "m_eff": Entry(Score(96.0, 3))}  # fmt: skip
PRINTED = {"mi": {"value": 13.98, "delta": 0.46}, "avg_g": {"value": 5.01}}


def block(*rows: GridRow, **more) -> GridBlock:
    made = GridBlock("privacy", "retrieval", "albef", 5, "groups", "", rows, ("0", "1", "2"))
    return replace(made, **more)


def results(*blocks: GridBlock, **more) -> Results:
    made = Results("s", "s", "T", "", "", "table1", "cse", ("mi", "forget", "avg_g", "m_eff"), blocks, (), (), 1, 3)
    return replace(made, **more)


CSE = GridRow("cse", "cse", OURS, 3, 3, 0, PRINTED)
RETRAIN = GridRow("retrain", "retrain", OURS, 3, 3, 0, PRINTED, is_reference=True)


def test_failed_is_what_has_no_cell_at_all_and_else_a_number_is_only_missing():
    some = GridRow("some", "some", {"mi": OURS["mi"]}, 3, 2, 1)
    none = GridRow("none", "none", {}, 3, 0, 3)
    later = GridRow("later", "later", {}, 3, 0, 0)
    (panel,) = main(results(block(some, none, later))).panels
    assert [[cell.text for cell in line.cells][:2] for line in panel.lines] == [
        ["50.0", "–"], ["failed", "failed"], ["–", "–"]]  # fmt: skip
    assert [line.mark for line in panel.lines] == [
        "† 2 of 3 seeds, 1 failed", "† 0 of 3 seeds, 3 failed", "† 0 of 3 seeds"]  # fmt: skip


def test_the_reference_has_no_distance_printed_or_ours():
    (panel,) = beside(results(block(CSE, RETRAIN))).panels
    ours, theirs = panel.lines
    assert ours.cells[:2] == (GridCell("50.0", "3.0", "4.0"), GridCell("13.98", "", "0.46"))
    assert theirs.cells[:2] == (GridCell("50.0", "3.0"), GridCell("13.98")) and theirs.reference


def test_another_size_than_the_papers_is_said():
    def group(printed):
        return beside(results(block(CSE, printed_size=printed))).panels[0].group

    assert group("") == group("5") == "privacy, retrieval" and group("500") == "privacy, retrieval; the paper’s 500"


def test_sizes_are_sections_where_all_scenarios_have_the_same():
    def places(*sizes):
        blocks = [block(CSE, scenario=name, size=size) for name, size in sizes]
        return [(p.section, p.group) for p in main(results(*blocks)).panels]

    assert places(("a", 5), ("b", 5)) == [
        ("5 forgotten, 3 seeds", "a, retrieval"), ("5 forgotten, 3 seeds", "b, retrieval")]  # fmt: skip
    assert places(("a", 5), ("b", 7)) == [
        ("", "a, retrieval, 5 forgotten, 3 seeds"), ("", "b, retrieval, 7 forgotten, 3 seeds")]  # fmt: skip
    (panel,) = main(results(block(CSE, seeds=("0",)))).panels
    assert panel.section == "5 forgotten, 1 seed"


@pytest.mark.parametrize(("rule", "head", "price"), [
    ("avg_g", "Avg.G", GridCell("80.0", "", "3.0")), ("away", "distance", GridCell("80.0", "", "3.0")),
    ("points_off", "points off", GridCell("80.0", "", "+3.0")),
])  # fmt: skip
def test_a_price_is_a_distance_or_a_change_which_has_a_sign(rule, head, price):
    chosen = Chosen("cse", "cse lr=1", rule, 2.5, 7, 8, 12, {"r_test": (80.0, 3.0)})
    sheet = best_settings(results(block(CSE), chosen=(chosen, Chosen("ga", None, rule, None, 0, 8, 0))))
    (panel,) = sheet.panels
    assert panel.heads[:3] == (head, "settings", "cells") and panel.lines[0].label == "cse lr=1"
    assert panel.lines[0].cells == (GridCell("2.50"), GridCell("7 of 8"),
                                    GridCell("12"), price)  # fmt: skip
    assert panel.lines[1].label == "ga: nothing measured in common yet" and panel.lines[1].cells[0].text == "–"
    assert ("since before" in sheet.note) == (rule == "points_off") and panel.heads[3].startswith("D_test (")


def test_points_are_held_against_the_retrained_models_own_number(monkeypatch):
    """Its recall for what is found, 100 for what is 100 minus a distance, nothing for a distance."""
    drawn = {}

    def methods(rows, reference, name, title, distances=False):
        drawn[title.rpartition(": ")[2]] = ([label for label, _ in rows], reference and reference.value, distances)
        return "<svg>"

    monkeypatch.setattr(plots, "methods", methods)
    short = replace(
        CSE, label="short", entries={key: replace(e, score=replace(e.score, n=2)) for key, e in OURS.items()}
    )
    stages = {"retrained": {"r_forget": Score(12.0, 3), "forget": Score(-1.0, 3), "mi": Score(40.0, 3)}}
    grid_page.page(results(block(CSE, short, RETRAIN, stages=stages)), [])
    rows = ["cse", "short †"]
    assert drawn == {
        "Average gap to the retrained model": (rows, None, True), "Taken for training material": (rows, 40.0, False),
        "found or answered right": (rows, 12.0, False), "Effectiveness": (rows, 100.0, False),
    }  # fmt: skip


def test_the_page_reads_leading_sheets_first_and_text_as_text():
    chosen = Chosen("cse", "cse <lr>", "avg_g", 2.0, 7, 8, 12)
    html = grid_page.page(results(block(CSE, RETRAIN), chosen=(chosen,), about="Try `expunge` & <b>"), [])
    places = [html.index(f'<h2 id="{name}"') for name in ("chosen", "main", "drawn", "everything", "beside")]
    assert places == sorted(places)
    assert "<code>expunge</code> &amp; &lt;b&gt;" in html and "cse &lt;lr&gt;" in html
    for dirty, told in ((True, "c0ffee with changes that are not committed"), (False, "c0ffee")):
        assert grid_page._machine(2, {"commit": "c0ffee", "dirty": dirty})["Commit"] == told
