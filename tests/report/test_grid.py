"""The tables of a suite from hand-made cells: every number, mark and rule that can be worked out by hand."""

import csv
import io
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from expunge.bench import plan as plans
from expunge.bench.cells import Cell, Setting, Shelf
from expunge.bench.drawing import draw
from expunge.bench.harvest import _numbers, harvest, plan_of
from expunge.bench.plan import Block, Plan, Row
from expunge.bench.suite import Scenario, Suite
from expunge.core.errors import ExpungeError
from expunge.core.record import Score
from expunge.report import grid_page, printed, typeset
from expunge.report.grid import Entry, GridRow, Paired
from expunge.report.sheets import beside, everything, main, paired_tests
from typesetting import complaints, needs_tex

SEEDS = (0, 1, 2)
NOTHING, ORACLE = (60.0, 90.0, 92.0), [(14.0, 10.0, 95.0), (15.0, 12.0, 95.0), (13.0, 14.0, 95.0)]
RESULTS = Path(__file__).parents[2] / "docs" / "results"
PUBLISHED = sorted(path.relative_to(RESULTS).as_posix() for path in RESULTS.glob("*/*.tex"))
GAPS = {
    "cse": [(1, 2, 3), (2, 2, 5), (3, 2, 1)],
    "finetune": [(1, 30, 1), (1, 30, 1), (1, 30, 1)],
    "gradient_ascent": [(4, 20, 40), (5, 20, 40)],
}
"""Distances to the retrained model in MI, R@D_f and R@D_test, seed by seed; gradient ascent failed on the last."""


def setting(seed, size):
    return Setting("albef-tiny", "w", "people", "f", tuple(f"p{i}" for i in range(size)), seed, "retrieval")


def measured(shelf, cell, values, seconds=None):
    names = ("mi", "r_forget", "r_test")
    scores = {n: {"value": v, "n": 30, "low": None, "high": None, "better": "oracle"} for n, v in zip(names, values)}
    cost = {} if seconds is None else {"seconds": seconds}
    environment = {"commit": "0123456789abcdef", "dirty": False, "hardware": {"processor": "a chip", "cores": 2}}
    shelf.finish(cell, {"scores": scores, "cost": cost, "wall_seconds": 5.0, "environment": environment})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    shelf = Shelf(folder)
    suite = Suite(
        (Scenario("people", "privacy", sizes=(5, 50)),), ("nothing",), SEEDS, title="A & B_1", baseline="cse",
        paper="table1", name="made", text='title = "A & B_1"',
    )  # fmt: skip
    blocks = []
    for size in (5, 50):
        before = {s: Cell("before", setting(s, size), label=f"before {size} {s}") for s in SEEDS}
        oracle = {s: Cell("retrained", setting(s, size), label=f"retrained {size} {s}") for s in SEEDS}
        rows = [Row("nothing", "nothing", "", before), Row("retrain", "retrain", "Retrain", oracle)]
        for name, paper in (("finetune", "Finetune"), ("gradient_ascent", "GA"), ("cse", "Ours")):
            cells = {s: Cell("method", setting(s, size), name, label=f"{name} {size} {s}") for s in SEEDS}
            rows.append(Row(name, name, paper, cells))
            for s, gaps in zip(SEEDS, GAPS[name]):
                values = [o + g for o, g in zip(ORACLE[s], gaps)]
                measured(shelf, cells[s], values, 10.0 * (s + 1))
        for s in SEEDS:
            measured(shelf, before[s], NOTHING)
            measured(shelf, oracle[s], ORACLE[s], 100.0)
        try:
            raise RuntimeError("<b>not finite</b>")
        except RuntimeError as error:
            shelf.fail(rows[3].cells[2], error, {}, 1.0)
        blocks.append(Block("privacy", "retrieval", "albef-tiny", size, "groups", "retrieval", str(size), tuple(rows),
                            before, oracle))  # fmt: skip
    (folder / plans.PLAN).write_text(Plan(suite, tuple(blocks)).to_json())
    return folder


@pytest.fixture(scope="module")
def results(folder):
    return harvest(folder)


def line(panel, label):
    return next(line for line in panel.lines if line.label == label)


def test_what_a_shared_model_could_not_be_asked_is_not_drawn_and_machines_come_by_their_share(folder, tmp_path):
    """One draw of the model before has no MI, one of the retrained ones no number at all for what is tested."""
    plan = json.loads((folder / plans.PLAN).read_text())
    (tmp_path / plans.PLAN).write_text(json.dumps(plan))
    shelf, block = Shelf(tmp_path), plan["blocks"][0]
    for number, one in enumerate(plan["cells"]):
        if told := Shelf(folder).result(one):
            told["environment"] = {"seed": number, "commit": "few" if number < 3 else "many"}
            if one == block["before"]["1"]:
                told["scores"]["mi"]["value"] = None
            if one == block["retrained"]["2"]:
                del told["scores"]["r_test"]
            shelf.adopt(told)
    found = harvest(tmp_path)
    stages = found.blocks[0].stages
    assert {name: score.value for name, score in stages["before"].items()} == {"r_forget": 90.0, "r_test": 92.0}
    # (14 + 15 + 13) / 3 and (10 + 12 + 14) / 3
    assert {name: score.value for name, score in stages["retrained"].items()} == {"mi": 14.0, "r_forget": 12.0}
    assert found.environments == ((found.done - 3, {"commit": "many"}), (3, {"commit": "few"})) and found.done > 6


def test_the_main_table_has_the_right_numbers(results):
    panel = main(results).panels[0]
    assert panel.heads == ("MI (Δ)", "R@D_f (Δ)", "R@D_test (Δ)", "Avg.G", "T (s)")
    mi, forget, test, avg, seconds = line(panel, "cse").cells
    # MI 15, 17, 16: mean 16, sample deviation 1, half width t(0.975, 2) / sqrt(3)
    half = stats.t.ppf(0.975, 2) * 1 / math.sqrt(3)
    assert (mi.text, mi.half, mi.gap) == ("16.0", f"{half:.1f}", "2.0")
    assert (forget.text, forget.gap) == ("14.0", "2.0") and (test.text, test.gap) == ("98.0", "3.0")
    # Avg.G is the mean of the three distances: (6 + 9 + 6) / 9
    assert avg.text == f"{21 / 9:.2f}" and seconds.text == "20.0"
    nothing = line(panel, "nothing").cells
    assert nothing[0].gap == f"{46:.1f}" and nothing[4].text == "–"
    retrain = line(panel, "retrain")
    assert retrain.reference and retrain.cells[3].text == "0.00" and retrain.cells[0].gap == ""


def test_the_best_and_second_compete_by_their_distance(results):
    panel = main(results).panels[0]
    ranks = {one.label: [cell.rank for cell in one.cells] for one in panel.lines}
    assert ranks["cse"] == [2, 1, 2, 1, 0] and ranks["finetune"] == [1, 2, 1, 2, 0]
    assert set(ranks["nothing"]) | set(ranks["retrain"]) == {0}
    assert set(ranks["gradient_ascent"]) == {0}, "a row that lacks a seed does not compete"


def test_what_is_the_same_but_for_its_last_bits_shares_a_rank(results):
    (block, *_), key = results.blocks, "m_loc"
    best, equal, worse = (Entry(Score(value, 3)) for value in (97.38562091503269, 97.38562091503267, 90.0))
    rows = tuple(
        replace(row, entries={key: entry}, measured=3, wanted=3, method=row.label)
        for row, entry in zip(
            [r for r in block.rows if r.label in ("finetune", "cse", "gradient_ascent")], (best, worse, equal)
        )
    )
    (panel,) = everything(replace(results, blocks=(replace(block, rows=rows),))).panels
    assert [one.cells[0].rank for one in panel.lines] == [1, 0, 1]


def test_shares_are_shown_finely_enough(results):
    block = results.blocks[0]
    rows = tuple(replace(row, entries={"model_utility": Entry(Score(0.314, 3))}) for row in block.rows)
    (panel,) = everything(replace(results, blocks=(replace(block, rows=rows),))).panels
    assert {one.cells[0].text for one in panel.lines} == {"0.31"}


def test_the_skill_of_the_attack_is_nobodys_merit(results):
    block = results.blocks[0]
    rows = tuple(
        replace(row, entries={"mi_accuracy": Entry(Score(60.0 + i, 3), Score(float(i), 3))}, wanted=3)
        for i, row in enumerate(block.rows)
    )
    (panel,) = everything(replace(results, blocks=(replace(block, rows=rows),))).panels
    assert {one.cells[0].rank for one in panel.lines} == {0}


def test_a_model_that_was_retrained_again_is_held_against_the_first(folder, tmp_path):
    """The floor of all distances: its method is the reference's, its cells are not."""
    told = json.loads((folder / plans.PLAN).read_text())
    block = told["blocks"][0]
    again = next(row for row in block["rows"] if row["label"] == "cse")
    again["label"], again["method"] = "retrained again", "retrain"
    told["baseline"], told["shelf"] = "retrained again", str(folder)
    (tmp_path / plans.PLAN).write_text(json.dumps(told))
    made = harvest(tmp_path)
    row = line(main(made).panels[0], "retrained again")
    assert not row.reference and row.cells[0].gap == "2.0" and {cell.rank for cell in row.cells} == {0}
    assert {t.label for t in made.blocks[0].tests} >= {"nothing", "finetune"}
    assert "retrained again" in grid_page.page(made)[grid_page.page(made).index('id="drawn"') :]


def test_a_failed_cell_is_never_dropped(results):
    assert [f.label for f in results.failures] == ["gradient_ascent 5 2", "gradient_ascent 50 2"]
    assert line(main(results).panels[0], "gradient_ascent").mark == "† 2 of 3 seeds, 1 failed"
    for text in (typeset.markdown(results), grid_page.page(results)):
        assert "gradient_ascent 5 2" in text.replace("\\_", "_") and "2 of 3 seeds" in text
    assert "<b>not finite</b>" not in grid_page.page(results)
    assert (results.done, results.total, results.missing) == (28, 30, ())


@pytest.fixture(scope="module")
def lacking(folder, tmp_path_factory):
    """The same, but finetune's attack could not be measured on the last seed of five people."""
    copied = shutil.copytree(folder, tmp_path_factory.mktemp("lacking") / "grid")
    told = json.loads((copied / plans.PLAN).read_text())
    (one,) = (row["cells"]["2"] for row in told["blocks"][0]["rows"] if row["label"] == "finetune")
    cell = json.loads((copied / "cells" / f"{one}.json").read_text())
    cell["scores"]["mi"]["value"] = None
    (copied / "cells" / f"{one}.json").write_text(json.dumps(cell))
    return harvest(copied)


def test_a_number_that_lacks_a_seed_is_marked_and_does_not_compete(lacking, results):
    mi, forget, test, avg, _ = line(main(results).panels[0], "finetune").cells
    assert mi.rank == 1 and avg.rank == 2  # with all its seeds
    short = line(main(lacking).panels[0], "finetune")
    mi, forget, test, avg, _ = short.cells
    assert (mi.text, mi.gap, mi.rank) == ("15.5†", "1.0", 0) and avg.text.endswith("†") and avg.rank == 0
    assert (forget.text, forget.rank, test.rank) == ("42.0", 2, 1)
    assert short.mark == "† MI, Avg.G: 2 of 3 seeds"
    assert line(main(lacking).panels[1], "finetune").mark == ""
    assert "15.5† ±" in typeset.markdown(lacking) and "MI, Avg.G: 2 of 3 seeds" in typeset.markdown(lacking)
    assert "15.5$\\dagger$" in typeset.latex(lacking)
    page = grid_page.page(lacking)
    assert "<b>15.5†</b>" in page and "MI, Avg.G: 2 of 3 seeds" in page
    assert page.count("finetune †") == 2 * 2  # two drawings that say it in words, too


def test_a_distance_that_lacks_a_seed_does_not_compete_either():
    whole = GridRow("cse", "cse", {"mi": Entry(Score(5.0, 3), Score(2.0, 3))}, 3, 3, 0)
    short = GridRow("ga", "ga", {"mi": Entry(Score(5.0, 3), Score(1.0, 2))}, 3, 3, 0)
    assert whole.competes("mi") and not whole.lacks("mi")
    assert not short.competes("mi") and short.lacks("mi") and not short.competes("r_test")
    for name in ("retrain", "oracle", "nothing", "before"):
        assert not GridRow(name, name, whole.entries, 3, 3, 0).competes("mi")


def test_the_accelerators_memory_has_a_column_of_its_own(results):
    told = {"scores": {}, "cost": {"seconds": 3.0, "peak_memory_mb": 800.0, "peak_gpu_memory_mb": 5200.0}}
    numbers = _numbers(told, None, "")
    assert numbers == {"seconds": 3.0, "memory": 800.0, "gpu_memory": 5200.0}
    row = GridRow("cse", "cse", {key: Entry(Score(value, 1)) for key, value in numbers.items()}, 1, 1, 0)
    (panel,) = everything(replace(results, blocks=(replace(results.blocks[0], rows=(row,)),))).panels
    assert dict(zip(panel.heads, (c.text for c in panel.lines[0].cells))) == {
        "T (s)": "3.0", "memory (MB)": "800", "GPU memory (MB)": "5200",
    }  # fmt: skip


def test_a_paired_test_says_where_it_has_fewer_seeds(lacking, results):
    panel = paired_tests(lacking).panels[0]
    cells = dict(zip(panel.heads, line(panel, "finetune (n = 3)").cells))
    assert cells["Avg.G"].gap == "n = 2" and cells["Δ R@D_f"].gap == ""
    assert re.search(r"\(n = 2\) \|", typeset.markdown(lacking)) and "fewer seeds" in paired_tests(lacking).note
    assert "fewer seeds" not in paired_tests(results).note


def test_what_cannot_be_tested_is_a_dash_that_is_explained(results):
    panel = paired_tests(results).panels[0]
    at = panel.heads.index("Δ R@D_f")
    found = line(panel, "finetune (n = 3)").cells[at : at + 3]  # 30 - 2 points on every seed
    assert [cell.text for cell in found] == ["+28.00", "–", "0.250"]
    spread = Paired("finetune", "mi", Score(2.0, 3, 1.0, 3.0), 0.01, 0.25, 3)
    without = replace(results, blocks=(replace(results.blocks[0], tests=(spread,)),))
    assert "p (t) is a dash" in paired_tests(results).note and "a dash" not in paired_tests(without).note


def test_paired_tests_are_scipys(results):
    sheet = paired_tests(results)
    panel = sheet.panels[0]
    assert panel.heads[:3] == ("Avg.G", "p (t)", "p (W)")
    assert [one.label for one in panel.lines] == ["nothing (n = 3)", "finetune (n = 3)", "gradient_ascent (n = 2)"]
    ours, theirs = [2, 3, 2], [32 / 3] * 3
    cells = line(panel, "finetune (n = 3)").cells
    assert cells[0].text == f"+{sum(theirs) / 3 - 7 / 3:.2f}"
    assert cells[1].text == f"{stats.ttest_rel(theirs, ours).pvalue:.3f}"
    assert cells[2].text == f"{stats.wilcoxon([a - b for a, b in zip(theirs, ours)]).pvalue:.3f}" == "0.250"
    assert "cannot go below 0.25" in sheet.note


def test_the_papers_numbers_stand_beside_ours(results):
    panel = beside(results).panels[1]
    assert panel.heads[:2] == ("MI (Δ) ours", "MI paper")
    cells = line(panel, "cse").cells
    assert (cells[1].text, cells[1].gap) == ("13.98", "0.46") and cells[7].text == "5.01" and cells[9].text == "0.22"
    assert [one.label for one in panel.lines] == ["retrain", "finetune", "gradient_ascent", "cse"]


def test_the_printed_numbers_know_their_rows():
    assert printed.tables() == ["mmunlearner_clear", "mmunlearner_mllmu", *(f"table{i}" for i in range(1, 10))]
    assert printed.row("table2", "1K", "entailment", "Ours")["avg_g"]["value"] == 4.77
    assert printed.row("table4", "50", "privacy", "P+N+G-Opt")["m_rel"]["value"] == 99.33
    assert printed.row("table1", "7", "retrieval", "Ours") == {} == printed.row("table9", "", "", "Ours")
    assert printed.row("table7", "", "privacy", "+both")["inception_score"]["value"] == 9.1
    assert printed.rows("table5", "privacy")["K'_2"]["text"]["value"] == 52.31
    assert len(printed.rows("table9", "privacy")) == 30 and "ICML" in printed.source("table9")


def test_the_csv_has_one_line_for_each_number(results):
    rows = list(csv.DictReader(io.StringIO(typeset.table_csv(results))))
    (one,) = [r for r in rows if (r["size"], r["method"], r["column"]) == ("50", "cse", "avg_g")]
    assert float(one["mean"]) == pytest.approx(7 / 3, abs=1e-4) and one["n"] == one["wanted"] == "3"
    assert float(one["printed"]) == 5.01
    (short,) = [r for r in rows if (r["size"], r["method"], r["column"]) == ("5", "gradient_ascent", "mi")]
    assert (short["n"], short["wanted"]) == ("2", "3") and float(short["gap"]) == 4.5


def test_markdown_tables_are_square(results):
    blocks = re.findall(r"(?:^\|.*\n)+", typeset.markdown(results), flags=re.M)
    assert len(blocks) == 2 * 4  # two sizes of the table, everything, beside the paper, the tests
    for block in blocks:
        assert len({row.count("|") for row in block.splitlines()}) == 1
    assert "**14.0** ±" in blocks[0] and "<u>16.0</u> ±" in blocks[0]


def test_latex_is_well_formed(results):
    text = typeset.latex(results)
    assert text.count("\\begin{table*}") == text.count("\\end{table*}") == 4
    assert "A \\& B\\_1" in text and "\\textbf{14.0 (2.0)}" in text and "\\underline{16.0 (2.0)}" in text
    for table in re.findall(r"\\begin\{tabular\}\{(lr+)\}(.+?)\\end\{tabular\}", text, flags=re.S):
        width = len(table[0])
        rows = re.findall(r"^(?!\\multicolumn|&)(.+?) \\\\$", table[1], flags=re.M)
        assert len(rows) >= 2 * 3 and all(len(re.findall(r"(?<!\\)&", row)) == width - 1 for row in rows)
    assert not re.search(r"[±Δ†−–αΔ]", text)


@needs_tex
def test_latex_compiles(results, tmp_path):
    assert complaints(typeset.latex(results), tmp_path) == []


@needs_tex
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_table_fits_a_page(name, tmp_path):
    assert complaints((RESULTS / name).read_text(), tmp_path) == []


def test_published_tables_are_found():
    assert {"copyright/copyright.tex", "privacy_retrieval/privacy_retrieval.tex"} <= set(PUBLISHED)


def test_the_page_is_one_safe_file(results):
    page = grid_page.page(results)
    assert page == grid_page.page(results)
    assert "http" not in page.replace("http-equiv", "") and page.count("<svg") == 2 * 4
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "0123456789abcdef" in page and "title = &#34;A &amp; B_1&#34;" in page


def test_drawing_writes_all_and_nothing_half(folder):
    drawn = draw(folder)
    assert set(drawn.files) == {"md", "tex", "csv", "html"} and all(p.stat().st_size for p in drawn.files.values())
    assert not list(Path(folder).rglob(".*partial*"))
    assert [len(p.lines) for p in everything(drawn.results).panels] == [5, 5]


def test_what_is_no_suite_is_refused(tmp_path):
    assert plan_of(tmp_path) is None
    with pytest.raises(ExpungeError, match="not the folder of a suite"):
        harvest(tmp_path)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(ExpungeError, match="cannot be read"):
        plan_of(tmp_path)
