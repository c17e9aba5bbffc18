"""Cells and labels as Markdown, LaTeX and CSV: marks stay where they belong, and no text breaks a table."""

import csv
import io
import math
from dataclasses import replace

import pytest

from expunge.core.record import Score
from expunge.report import typeset
from expunge.report.grid import Chosen, Entry, GridBlock, GridCell, GridRow, Line, Panel, Results


def test_no_text_breaks_a_markdown_table():
    evil = "a | b *c* <i>d</i> `e`"
    lines = (
        Line(evil, (GridCell(evil), GridCell("1.0", "0.2", "0.3", 1), GridCell("2.0", rank=2), GridCell("<0.001"))),
    )
    text = typeset._markdown_table(Panel("", "g", ("A|B", "x_y", "z", "p"), lines, stub="Word", prose=True))
    head, rule, row = text.splitlines()
    assert {line.replace("\\|", "").count("|") for line in (head, rule, row)} == {6}
    assert rule == "|---|---|---|---|---|" and "<i>" not in row.replace("\\<", "")
    assert r"| a \| b \*c\* &lt;i>d&lt;/i> \`e\` |" in row
    assert row.endswith("| **1.0** ±0.2 (0.3) | <u>2.0</u> | &lt;0.001 |")


@pytest.mark.parametrize(("cell", "told"), [
    (GridCell("1.0", "0.2", "0.3"), r"1.0 (0.3){\tiny$\,\pm$0.2}"), (GridCell("1.0", rank=1), r"\textbf{1.0}"),
    (GridCell("1.0", "0.2", "0.3", 2), r"\underline{1.0 (0.3)}{\tiny$\,\pm$0.2}"),
    (GridCell("−1 % & {x}_y†"), r"$-$1 \% \& \{x\}\_y$\dagger$"),
])  # fmt: skip
def test_cells_in_latex(cell, told):
    assert typeset._tex_cell(cell) == told


@pytest.mark.parametrize(("head", "told"), [
    ("R@D_f (Δ)", r"R@$\mathcal{D}_{f}$ ($\Delta\downarrow$)"), ("R@D_test", r"R@$\mathcal{D}_{test}$"),
    ("M_eff", r"$\mathcal{M}_{eff}$$\,\uparrow$"), ("Avg.G", r"Avg.G$\,\downarrow$"), ("U'_1", "$U'_1$"),
    ("Avg.G split", r"Avg.G split$\,\downarrow$"), ("All columns", r"All columns$\,\downarrow$"),
])  # fmt: skip
def test_heads_in_latex_say_which_way_is_good(head, told):
    assert typeset._tex_head(head) == told


def made(**more) -> Results:
    score, gap = Score(50.0, 3, 40.0, math.nan), Score(4.0, 3, 1.0, 7.0)
    rows = (
        GridRow("cse", "cse", {"mi": Entry(score, gap), "seconds": Entry(Score(9.0, 1))}, 3, 3, 0,
                {"hours": {"value": 0.5}, "mi": {"value": 13.98, "delta": 0.46}}),
        GridRow("ga", "ga", {}, 3, 0, 2), GridRow("late", "late", {}, 3, 0, 0),
    )  # fmt: skip
    block = GridBlock("privacy", "retrieval", "albef", 5, "groups", "", rows, ("0", "1", "2"))
    plain = Results("s", "s", "", "", "", "", "cse", ("mi",), (block,), (), (), 1, 3)
    return replace(plain, **more)


def test_the_csv_has_every_number_in_its_column_and_hours_of_the_paper_as_seconds():
    chosen = Chosen("cse", "cse lr=1", "avg_g", 3.5, 2, 2, 6, {"r_test": (90.0, 2.0)})
    results = made(chosen=(chosen, Chosen("ga", None, "avg_g", None, 0, 2, 0)))
    rows = list(csv.DictReader(io.StringIO(typeset.table_csv(results))))
    assert all(None not in row and None not in row.values() for row in rows), "as many fields as heads"
    mi, seconds, failed, missing, best, price, none = rows
    assert list(mi.values())[6:] == ["mi", "50", "40", "", "3", "3", "4", "1", "7", "13.98", "0.46"]
    assert (seconds["mean"], seconds["gap"], seconds["printed"]) == ("9", "", "1800.0")
    assert (failed["column"], failed["n"], failed["wanted"]) == ("failed", "0", "3") and missing["column"] == "missing"
    assert (best["scenario"], best["method"], best["column"], best["mean"], best["n"]) == (
        "chosen", "cse lr=1", "avg_g", "3.5", "6")  # fmt: skip
    assert (price["column"], price["mean"], price["n"], price["gap"]) == ("r_test", "90", "6", "2")
    assert (none["method"], none["column"], none["mean"]) == ("ga", "missing", "")


def test_what_is_not_there_is_said_in_numbers():
    from expunge.report.grid import Failure

    results = made(failures=(Failure("ga 5 0", "no", "", "h"),), missing=("late 5 0",), seconds=61.0, drawn="today")
    assert typeset.standing(results) == "1 of 3 cells measured, 1 failed, 1 not yet; 1 min 01 s of work. Drawn today."
    assert typeset.standing(made(drawn="today")).startswith("1 of 3 cells measured; 0.0 s of work.")


def test_long_and_wide_tables_are_cut_and_lose_nothing():
    cells = tuple(GridCell(str(i)) for i in range(30))
    wide = Panel("", "g", tuple(f"h{i}" for i in range(30)), (Line("a", cells),))
    parts = typeset._parts(wide)
    assert [len(p.heads) for p in parts] == [12, 12, 6] and [c.text for p in parts for c in p.lines[0].cells] == [
        str(i) for i in range(30)]  # fmt: skip
    long = [[Panel("", str(i), ("h",), (Line("a", (GridCell(),)),) * 15)] for i in range(5)]  # 20 lines each with heads
    assert [len(page) for page in typeset._paged(long)] == [2, 2, 1]
    one, other = (
        Panel("s", "a", ("h",), (Line("x", (GridCell("1"),)),)),
        Panel("s", "b", ("h",), (Line("y", (GridCell("2"),)),)),
    )
    assert typeset._bundles([one, other]) == [[one], [other]], "other rows do not stand side by side"
    assert typeset._bundles([one, replace(one, group="b")]) == [[one, replace(one, group="b")]]


def test_where_it_comes_from_says_what_was_not_committed_and_how_it_was_computed():
    hardware = {"processor": "a chip", "cores": 2, "precision": "fp32"}
    told = {"commit": "0123456789abcdef", "dirty": True, "platform": "linux", "python": "3.11"}
    told |= {"versions": {"torch": "2.13", "x": "1"}, "hardware": hardware}
    text = typeset._provenance(made(typed="mine", environments=((3, told), (1, {"dirty": False})), text="seeds = [0]"))
    assert (
        "* 3 cells: commit `0123456789ab` with changes, a chip, 2 cores, fp32, linux, Python 3.11, torch 2.13" in text
    )
    assert "* 1 cells: commit `unknown`, ?, ? cores, ?, Python ?, " in text
    assert "`expunge bench mine`" in text and "```toml\nseeds = [0]\n```" in text
