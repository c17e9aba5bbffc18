"""The MMUnlearner paper's layout: sets of questions side by side, printed figures beside ours."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from expunge.bench.soundness import problems
from expunge.bench.suite import Scenario, Suite
from expunge.core.record import Score
from expunge.report import grid_page, layouts, printed, typeset
from expunge.report.grid import Entry, GridBlock, GridRow, Paired, Results
from expunge.report.sheets import beside, everything, main
from typesetting import complaints, needs_tex


def results(layout="mllmu", paper="mmunlearner_mllmu"):
    keys = layouts.keys(layout)

    def row(label, method, start, printed_row=""):
        entries = {key: Entry(Score(start + i, 3), Score(abs(start - 10.0), 3)) for i, key in enumerate(keys)}
        return GridRow(label, method, entries, 3, 3, 0, printed.row(paper, "", "answering", printed_row))

    rows = (row("nothing", "nothing", 60.0), row("retrain", "retrain", 10.0), row("ga", "ga", 40.0),
            row("mmunlearner", "mmunlearner", 20.0, "MMUnlearner"))  # fmt: skip
    block = GridBlock("privacy", "answering", "llava-tiny", 5, "groups", "", rows, ("0", "1", "2"))
    return Results("made", "made.toml", "made", "", "", paper, "", ("forget",), (block,), (), (), 4, 4, layout=layout)


def test_mllmu_has_four_sets_of_six_columns():
    panels = main(results()).panels
    assert [p.group for p in panels] == ["Forget", "Test", "Retain", "Celebrity"]
    heads = ("Class VQA", "Class QA", "Gen VQA", "Gen QA", "Cloze VQA", "Cloze QA")
    assert all(p.heads == tuple(f"{head} (Δ)" for head in heads) for p in panels)
    assert panels[0].section == "privacy, answers in words, 5 forgotten, 3 seeds"
    ga, ours = (next(line for line in panels[1].lines if line.label == name) for name in ("ga", "mmunlearner"))
    assert [c.text for c in ga.cells] == [f"{40.0 + 6 + i:.1f}" for i in range(6)]
    assert ours.cells[0].rank == 1 and ga.cells[0].rank == 2


def test_clear_has_forget_retain_faces_and_the_world():
    panels = main(results("clear", "mmunlearner_clear")).panels
    assert [(p.group, len(p.heads)) for p in panels] == [
        ("Forget", 3), ("Retain", 3), ("Real faces", 1), ("Real world", 1)
    ]  # fmt: skip


def test_columns_are_as_before_without_a_layout():
    (panel,) = main(replace(results(), layout="")).panels
    assert panel.heads == ("A@D_f",) and panel.section == "5 forgotten, 3 seeds"


def test_heads_say_what_a_task_measures():
    """Where all is listed, a retained score is an accuracy where questions are asked."""
    made = replace(results(), layout="")
    entry = next(iter(made.blocks[0].rows[0].entries.values()))
    for task, letter in (("entailment", "A"), ("retrieval", "R")):
        rows = tuple(replace(r, entries={"r_retain": entry}) for r in made.blocks[0].rows)
        (panel,) = everything(replace(made, blocks=(replace(made.blocks[0], task=task, rows=rows),))).panels
        assert panel.heads[0] == f"{letter} kept (Δ)", panel.heads


def test_printed_figures_stand_beside_ours_and_those_of_unsaid_questions_alone():
    sheet = beside(results())
    (panel,) = sheet.panels
    assert sheet.title == "Beside MMUnlearner on MLLMU-Bench" and "billions of parameters" in sheet.note
    (line,) = panel.lines
    found = dict(zip(panel.heads, (c.text for c in line.cells)))
    assert found["Forget Class VQA (Δ) ours"] == "20.0" and found["Forget Class VQA paper"] == "31.20"
    assert found["Forget Class QA paper"] == "54.40"
    assert found["Celebrity Class VQA or QA ours"] == "–" and found["Celebrity Class VQA or QA paper"] == "50.28"
    clear = beside(results("clear", "mmunlearner_clear")).panels[0]
    assert "Real world Class VQA paper" in clear.heads


def test_the_source_of_a_table_is_its_own():
    assert "leaderboard" in printed.source("mmunlearner_clear") and "ICML" in printed.source("table1")
    assert printed.title("table6") == "the paper’s Table 6" and "ALBEF" in printed.measured_on("table6")
    assert printed.row("mmunlearner_mllmu", "5", "answering", "MMUnlearner")["test_classification"]["value"] == 43.95


def test_every_medium_can_hold_it():
    made = results()
    text = typeset.markdown(made)
    assert "**Forget · privacy, answers in words, 5 forgotten, 3 seeds**" in text and "leaderboard" in text
    assert typeset.latex(made).count("Cloze VQA") >= 4
    assert "Class QA" in grid_page.page(made)
    assert "forget_classification_visual" in typeset.table_csv(made)
    found = {p.group: p.heads for p in everything(made).panels}
    assert list(found) == ["Forget", "Test", "Retain", "Celebrity"] and len(found["Test"]) == 6
    assert set(found["Celebrity"]) == set(main(made).panels[3].heads)


def test_heads_are_only_for_keys_of_written_scores():
    assert layouts.head("retain_truth_ratio_textual") == "Retain TR QA"
    assert layouts.head("real_world_classification_visual", with_set=False) == "Class VQA"
    assert layouts.head("forget") == layouts.head("mi") == layouts.head("r_forget_shared") == ""
    assert layouts.head("forget_classification_visual_shared") == "Forget Class VQA seen"
    assert layouts.head("forget_truth_ratio_clear_textual") == "Forget TR of CLEAR QA"


@pytest.mark.parametrize("layout", sorted(layouts.LAYOUTS))
def test_every_column_is_in_one_average_of_a_set_and_in_that_of_all(layout):
    made = layouts.averages(layout)
    inside = [key for name, some in made.items() if name != "away" for key in some]
    assert sorted(inside) == sorted(layouts.keys(layout)) == sorted(made["away"])
    assert all(layouts.head(name) for name in made)
    found = layouts.away(layout, {f"delta_{key}": 3.0 for key in layouts.keys(layout)})
    assert found == dict.fromkeys(made, 3.0)


def test_every_score_of_a_model_that_writes_has_a_head():
    from expunge.evals.truth import utility_name

    measures = ("classification", "cloze", "rouge1", "rouge2", "rougeL", "rougeL_recall", "bleu", "probability",
                "truth_ratio", "truth_ratio_clear")  # fmt: skip
    assert set(measures) == set(layouts.MEASURES)
    assert all(layouts.head(f"forget_{m}_{v}") for m in measures for v in ("visual", "textual", "visual_shared"))
    assert layouts.head(utility_name({"a": Score(1, 1)})) == "MU of 1" and layouts.head("model_utility") == "MU"
    over_all = ("forget_quality_visual", "forget_gap_textual", "model_utility_of_6")
    (part,) = layouts.everything(over_all)
    assert part == layouts.Part("Over all", over_all)


@pytest.mark.parametrize(("layout", "wrong"), [("mllmu", False), ("mlmu", True), ("", False)])
def test_a_suite_asks_for_a_layout_by_name(layout, wrong, tmp_path):
    suite = Suite((Scenario("people", sizes=(5,)),), ("nothing",), (0,), layout=layout)
    said = [p for p in problems(suite, tmp_path / "s.toml") if p.where.endswith("layout")]
    assert bool(said) == wrong and (not wrong or "mllmu" in said[0].found + said[0].remedy)


def test_the_plan_tells_the_layout():
    from expunge.bench.plan import Plan

    suite = Suite((Scenario("people", sizes=(5,)),), ("nothing",), (0,), layout="clear")
    assert json.loads(Plan(suite, ()).to_json())["layout"] == "clear"


def test_the_page_begins_with_the_distances_and_draws_them_from_zero():
    made = results()
    far = {"away": Entry(Score(30.0, 3)), "away_forget_visual": Entry(Score(20.0, 3))}
    rows = tuple(replace(row, entries={**row.entries, **far}) for row in made.blocks[0].rows)
    made = replace(made, about="Run `expunge bench` <once>.", blocks=(replace(made.blocks[0], rows=rows),))
    page = grid_page.page(made)
    assert page.index('id="distances"') < page.index('id="main"') < page.index('id="drawn"')
    assert "Distance, Forget VQA" in page and "A@D_f" not in page[page.index('id="drawn"') :].split("</section>")[0]
    assert "<code>expunge bench</code> &lt;once&gt;." in page


def longer(times: int):
    made = results()
    (block,) = made.blocks
    return replace(made, blocks=(replace(block, rows=block.rows * times),))


def test_eight_methods_on_four_sets_are_more_than_a_page_holds():
    """A line for each method, two for heads, one for the section, and rules as high as two: 4 x 13 of 48 lines."""
    text = typeset.latex(longer(2))
    mine = [t for t in text.split("\\end{table*}") if "tab:made-main" in t]
    assert [re.findall(r"\{c\}\{(\w+)\}", t) for t in mine] == [["Forget", "Test", "Retain"], ["Celebrity"]]


def test_a_table_that_no_page_holds_is_set_as_several():
    text = typeset.latex(longer(4))  # sixteen methods, four sets of them
    tables = re.findall(r"\\begin\{table\*\}.+?\\end\{table\*\}", text, flags=re.S)
    mine = [table for table in tables if "tab:made-main" in table]
    assert [re.findall(r"tab:([a-z0-9-]+)", table) for table in mine] == [["made-main"], ["made-main-2"]]
    assert "Mean over seeds" in mine[0] and "made, continued." in mine[1]
    assert [group for table in mine for group in re.findall(r"\{c\}\{(\w+)\}", table)] == [
        "Forget", "Test", "Retain", "Celebrity"
    ]  # fmt: skip
    assert max(table.count(r" \\") for table in tables) <= typeset.LINES


def overfull():
    """A score of every name on every set, for as many methods as a page holds at most, tested in pairs."""
    made, names = results(), ("visual", "textual", "visual_shared", "textual_shared")
    keys = [f"{name}_{measure}_{asked}" for name in layouts.SETS for measure in layouts.MEASURES for asked in names]
    entries = {key: Entry(Score(12.3, 3, 10.1, 14.5), Score(4.5, 3)) for key in (*keys, *layouts.OVER_ALL)}
    (block,) = made.blocks
    rows = tuple(replace(row, entries=row.entries | entries) for row in block.rows * 10)
    keys = [*layouts.AWAY, "avg_g", "mi", "forget", "test"]
    tests = tuple(Paired(row.label, key, Score(1.5, 3, 1.0, 2.0), 0.04, 0.25, 3) for row in rows for key in keys)
    return replace(made, baseline="mmunlearner", blocks=(replace(block, rows=rows, tests=tests),))


def test_a_table_that_is_wider_than_a_page_is_set_in_parts_that_hold_every_column_once():
    text = typeset.latex(overfull())
    assert max(len(columns) for columns in re.findall(r"begin\{tabular\}\{l(r+)\}", text)) == 12
    table = "".join(re.findall(r"\\label\{tab:made-everything.*?\\end\{table\*\}", text, flags=re.S))
    told = [line.removesuffix(r" \\").split(" & ")[1:] for line in table.splitlines() if line.startswith("Method &")]
    heads = [head for panel in everything(overfull()).panels for head in panel.heads]
    assert len(heads) > 200
    assert [cell for line in told for cell in line] == [typeset._tex_head(head) for head in heads]
    # Each has its own cells below it, and only them: as many in every line as there are heads.
    bodies = re.findall(r"^nothing & (.+?) \\\\$", table, flags=re.M)
    assert sum(len(line.split(" & ")) for line in bodies) == 10 * len(heads)


@needs_tex
@pytest.mark.parametrize(
    "made",
    [results(), results("clear", "mmunlearner_clear"), longer(2), overfull()],
    ids=["mllmu", "clear", "eight", "all"],
)
def test_every_layout_compiles_and_fits_a_page(made, tmp_path):
    assert complaints(typeset.latex(made), tmp_path) == []
