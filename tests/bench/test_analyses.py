"""What the paper shows beside its tables, measured by the bench on toy models and drawn from what the cells hold."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree
from dataclasses import replace

import pytest
from tests.bench.bench_toys import suite_text, write_methods, write_own_data

from expunge.bench import analyses, runner
from expunge.bench.drawing import draw
from expunge.bench.findings import analysed
from expunge.bench.harvest import harvest
from expunge.bench.suite import LOOKS, MADE
from expunge.core import plugins
from expunge.core.run import Run
from expunge.evals.joining import map_overlap
from expunge.generators.shapes import PRESETS, Settings
from expunge.report import grid_page, typeset
from expunge.report.findings import sheets
from expunge.report.illustrations import illustrations
from expunge.scenario import Scenario
from expunge.testing import small_albef, small_corpus, small_painter, small_writer
from expunge.zoo import originals
from typesetting import complaints, needs_tex

pytestmark = pytest.mark.slow

ALL = f"analyses = {json.dumps([*LOOKS, *MADE])}"


def methods(place, shares_anchors: bool = False) -> str:
    made = f'epochs = 1, least_steps = 1, painter = "{place / "sd"}", writer = "{place / "blip2"}"'
    both = f'{{name = "cse", label = "both", options = {{{made}}}}}'
    alone = f'{{name = "cse", label = "only U\'", options = {{{made}, anchors = "specific"}}}}'
    again = f'{{name = "cse", label = "again", options = {{{made}, lr = 1e-3}}}}'
    rows = ['"nothing"', '"retrain"', '"./quick.py"', both, alone, *([again] if shares_anchors else [])]
    return f"[{', '.join(rows)}]"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The embedded people at toy size: what they were trained into is a small random ALBEF, MVI learns a few steps."""
    place = tmp_path_factory.mktemp("analyses") / "own"
    write_own_data(place)
    write_methods(place)
    small_painter().save_pretrained(place / "sd")
    small_writer().save_pretrained(place / "blip2")
    corpus = small_corpus()
    corpus = replace(corpus, pretrain=tuple(e for e in corpus.train + corpus.validation + corpus.test))
    with pytest.MonkeyPatch.context() as patched:
        load = plugins.load_data
        patched.setattr(plugins, "load_data", lambda name, **o: corpus if name == "people" else load(name, **o))
        patched.setattr(originals, "original", lambda *a, without=(), **k: small_albef(seed=1 + bool(without)))
        patched.setitem(PRESETS, "default", Settings(epochs=2, least_steps=0))
        yield place


@pytest.fixture(scope="module")
def folder(world):
    text = suite_text(methods(world), seeds="[0, 1]", sizes="[3]", against="retrain", top=ALL)
    text = text.replace('"./pairs.jsonl"', '"people"').replace('pretrained = "ALBEF.pth"\n', "")
    (world / "looked.toml").write_text(text)
    done = runner.run(world / "looked.toml", world / "looked", workers=0)
    assert done.is_whole, done.failures
    return done.folder


@pytest.fixture(scope="module")
def results(folder):
    return harvest(folder)


@pytest.fixture(scope="module")
def found(results):
    return results.blocks[0].findings


def sheet(results, name):
    return next(s for s in sheets(results) if s.name == name)


def cells(folder, results):
    told = [json.loads(p.read_text()) for p in sorted((folder.parent / "cells").glob("*.json"))]
    return {one["label"]: one for one in told}


def test_shared_models_are_looked_at_and_only_makers_of_anchors_asked_for_them(folder, results):
    by_label = cells(folder, results)
    asked = {label.split(" · ")[0]: set(one["analyses"]) for label, one in by_label.items()}
    assert asked["before"] == asked["retrained"] == asked["quick"] == set(LOOKS)
    assert asked["both"] == asked["only U'"] == {*LOOKS, *MADE}
    assert all(not one["notes"] for one in by_label.values()), "nothing had to be left out"


def test_words_are_the_models_own_shift_over_seeds(folder, results, found):
    by_label = cells(folder, results)
    shifts = {}
    for seed in (0, 1):
        before, after = (
            {
                (r["picture"], r["word"]): r["match"]
                for r in by_label[f"{who} · own 3 · seed {seed}"]["analyses"]["words"]["words"]
            }
            for who in ("before", "both")
        )
        assert before.keys() == after.keys()
        for (_, word), match in before.items():
            shifts.setdefault(word, {}).setdefault(seed, []).append(after[_, word] - match)
    row = next(r for r in found.words["both"] if r["seeds"] == 2)
    told = shifts[row["word"]]
    assert row["shift"] == pytest.approx(sum(sum(x) / len(x) for x in told.values()) / 2)
    assert row["pictures"] == sum(map(len, told.values())) >= 2
    panel = next(p for p in sheet(results, "words-shifted").panels if p.group.endswith(": both"))
    assert panel.stub == "Word" and len(panel.heads) == len(panel.lines[0].cells) == 7
    assert {r["word"] for r in found.words["both"]} >= {one.label for one in panel.lines} - {"–"}


def test_told_and_seen_words_are_told_apart_by_the_data(folder, results, found):
    """Mean over the seeds of the mean shift of each kind, from the cells alone; the lists of words pick theirs."""
    by_label = cells(folder, results)
    means: dict[str, list[float]] = {"told": [], "seen": []}
    counts = dict.fromkeys(means, 0)
    for seed in (0, 1):
        before, after = (
            by_label[f"{who} · own 3 · seed {seed}"]["analyses"]["words"]["words"] for who in ("before", "both")
        )
        for kind in means:
            shifts = [b["match"] - a["match"] for a, b in zip(before, after, strict=True) if a["kind"] == kind]
            means[kind].append(sum(shifts) / len(shifts))
            counts[kind] += len(shifts)
    assert set(found.kinds) == {"quick", "both", "only U'", "retrained"}
    for kind, seeds in means.items():
        one = found.kinds["both"][kind]
        assert one["shift"].value == pytest.approx(sum(seeds) / 2, abs=1e-6) and one["shift"].n == 2
        assert one["words"] == counts[kind] > 10
    panel = sheet(results, "words-shifted").panels[0]
    assert panel.group.endswith("told and seen words")
    assert panel.heads[:4] == ("told: match before", "told: shift", "told: n", "seen: match before")
    line = next(line for line in panel.lines if line.label == "both")
    assert line.cells[2].text == str(counts["told"]) and line.cells[1].half and line.cells[0].text != "–"
    assert [one.label for one in panel.lines if one.reference] == ["retrained"]


def test_where_a_model_still_looks_is_a_number_for_the_forgotten_and_for_those_who_stay(folder, results, found):
    by_label = cells(folder, results)
    values = []
    for seed in (0, 1):
        before, after = (
            by_label[f"{who} · own 3 · seed {seed}"]["analyses"]["attention"]["looked"] for who in ("before", "both")
        )
        assert len(before["forget"]) == 3 and 1 < len(before["retain"]) <= analyses.LOOKED
        assert len({one["group"] for one in before["retain"]}) == len(before["retain"])
        values += [map_overlap(before["forget"], after["forget"])]
    told = [sum(v for _, v in pairs) / len(pairs) for pairs in values if pairs]
    assert told and found.scores["both"]["overlap_forget"].value == pytest.approx(sum(told) / len(told))
    assert {"overlap_forget", "overlap_retain"} <= set(found.scores["retrained"])
    assert "overlap_forget" not in found.scores["before"]
    panel = sheet(results, "inside").panels[0]
    both = next(line for line in panel.lines if line.label == "both")
    assert both.cells[panel.heads.index("look D_f (%)")].text == f"{sum(told) / len(told):.1f}"


def test_matches_have_a_drawing_and_two_numbers(folder, results, found):
    assert set(found.matching) == {"before", "quick", "both", "only U'", "retrained"} and len(found.groups) == 3
    own = [100 * row[i] for i, row in enumerate(found.matching["before"])]
    by_label = cells(folder, results)
    scores = analysed(by_label[f"before · own 3 · seed {found.seed}"])
    assert scores["matching_own"].value == pytest.approx(sum(own) / 3, abs=0.01) and scores["matching_own"].n == 3
    assert scores["matching_others"].n == 6
    lines = {line.label: line for line in sheet(results, "inside").panels[0].lines}
    both = [analysed(by_label[f"both · own 3 · seed {s}"])["matching_own"].value for s in (0, 1)]
    assert lines["both"].cells[0].text == f"{sum(both) / 2:.1f}" and lines["both"].cells[0].half
    assert lines["before"].reference and lines["retrained"].reference


def test_attention_is_of_the_same_three_pairs_for_every_model(found):
    shown = {label: [(p["which"], p["text"], p["picture"]) for p in pairs] for label, pairs in found.attention.items()}
    assert set(shown) == {"before", "quick", "both", "only U'", "retrained"}
    assert len({json.dumps(pairs) for pairs in shown.values()}) == 1
    assert [which for which, _, _ in shown["before"]] == ["forgotten", "retained", "everyday"]
    maps = [p["map"] for p in found.attention["before"]]
    assert all(max(v for row in m for v in row) in (0, 1) for m in maps)
    assert maps != [p["map"] for p in found.attention["both"]]


def test_the_map_holds_all_stages_and_cosines_do_not_depend_on_it(folder, results, found):
    assert set(found.maps) == {"quick", "both", "only U'"}
    points = found.maps["both"]
    assert {p["stage"] for p in points} == {"before", "after", "oracle"}
    assert {p["split"] for p in points} == {"forget", "retain"} and {p["side"] for p in points} == {"image", "text"}
    scores = found.scores["both"]
    assert {"cosine_forget", "cosine_retain", "cosine_strangers"} <= set(scores)
    assert all(-1 <= scores[f"cosine_{k}"].value <= 1 for k in ("forget", "retain", "strangers"))


def test_anchors_are_scored_and_shown_for_every_way_of_making_them(results, found):
    assert set(found.samples) == {"both", "only U'"}
    ours, alone = found.samples["both"], found.samples["only U'"]
    assert [s["text"] for s in ours] == [s["text"] for s in alone] and len(ours) == 3
    assert len({s["group"] for s in ours}) == 3
    assert [s["drawn"] for s in ours] != [s["drawn"] for s in alone]
    panel = sheet(results, "anchors").panels[0]
    assert {line.label for line in panel.lines} == {"both", "only U'"} and "Self-BLEU-4" in panel.heads
    assert {"inception_score", "self_bleu", "private_leak", "attributes_stated"} <= set(found.scores["both"])
    assert "right for" in sheet(results, "anchors").note
    entry = next(row for row in results.blocks[0].rows if row.label == "both").entries["self_bleu"]
    assert entry.score.n == 2 and entry.gap is None
    panel = sheet(results, "written").panels[0]
    assert panel.heads == ("Ground truth", "both", "only U'") and panel.prose
    assert panel.lines[0].picture.startswith("data:image/png;base64,")


def test_factors_have_fresh_probes_beside_the_papers_numbers(results, found):
    scores = found.scores["both"]
    assert {
        f"modality_{f}{s}" for f in ("specific", "consistent") for s in ("", "_control", "_pictures", "_texts")
    } <= set(scores)
    read, apart = [p for p in sheet(results, "factors").panels if "both" in p.group]
    lines = {line.label: [c.text for c in line.cells] for line in read.lines}
    assert lines["A_text, paper’s θ_M"] == ["0.66", "99.90", "45.76", "52.31"]
    ours = [lines["A_text, fresh probe"], lines["A_image, fresh probe"]]
    assert all(float(a) + float(b) == pytest.approx(100, abs=0.11) for a, b in zip(*ours))
    assert float(ours[1][0]) == pytest.approx(scores["modality_specific_pictures"].value, abs=0.06)
    assert apart.heads == ("U'", "K'")
    lines = {line.label: [c.text for c in line.cells] for line in apart.lines}
    for name, suffix in (("picture or text, both sides", ""), ("the same, centred", "_centred")):
        told = [scores[f"modality_{factor}{suffix}"].value for factor in ("specific", "consistent")]
        assert lines[name] == [f"{value:.1f}" for value in told]
    assert "–" not in lines["centred, by chance"]
    assert scores["modality_consistent_centred"].value < scores["modality_consistent"].value


def test_mvi_is_trained_again_where_its_anchors_came_from_elsewhere(world):
    groups = sorted({e.group for e in small_corpus().train if e.source == "people"})[:2]
    scenario = Scenario.read(str(world / "ALBEF.pth"), "people", groups, None, False, 0, None, Run().progress)
    cse = plugins.load_method("cse")(painter=str(world / "sd"), writer=str(world / "blip2"))
    run = scenario.run(None)
    cse.make_anchors(scenario.splits, run)
    told = analyses.analyse(["factors"], analyses.Subject(scenario, None, cse, run, lambda: None))
    elsewhere = scenario.run(None)
    elsewhere.keep["anchors"] = run.keep["anchors"]
    again = analyses.analyse(["factors"], analyses.Subject(scenario, None, cse, elsewhere, lambda: None))
    assert told == again and told["factors"]["scores"] and not elsewhere.terms
    drawn = replace(cse, anchors="random")
    none = analyses.analyse(["factors"], analyses.Subject(scenario, None, drawn, scenario.run(None), lambda: None))
    assert not none["factors"]["scores"] and "no U'" in none["factors"]["notes"][0]


def test_everything_is_drawn_into_the_page_and_as_files(folder, results):
    drawn = draw(folder)
    names = [p.name for p in drawn.figures]
    assert len(set(names)) == len(names) and all(p.parent.name == "figures" for p in drawn.figures)
    for kind in ("matching", "attention", "map", "words", "drawn"):
        assert any(name.startswith(kind) for name in names), kind
    for path in drawn.figures:
        text = path.read_text()
        assert "var(--" not in text and xml.etree.ElementTree.fromstring(text).tag.endswith("svg")
    page = drawn.files["html"].read_text()
    assert page.count("<svg") >= len(names) and "http" not in page.replace("http-equiv", "")
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert sum(len(one.figures) for one in illustrations(results)) == len(names)
    text = drawn.files["md"].read_text()
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        assert len({re.sub(r"\\\|", "", row).count("|") for row in block.splitlines()}) == 1
    tex = typeset.latex(results)
    assert "paper's $\\theta$" in tex and tex.count("\\begin{table*}") == tex.count("\\end{table*}")
    assert "p{0." in tex and not re.search("[θ±’]", tex)
    assert "modality_consistent_control" in drawn.files["csv"].read_text()
    assert grid_page.page(results) == grid_page.page(results)


@needs_tex
def test_what_the_paper_shows_beside_its_tables_compiles_and_fits_a_page(results, tmp_path):
    assert complaints(typeset.latex(results), tmp_path) == []


def test_of_your_own_data_only_numbers_are_kept(world):
    text = suite_text(methods(world, shares_anchors=True), seeds="[0]", sizes="[2]", top=ALL)
    (world / "private.toml").write_text(text)
    done = runner.run(world / "private.toml", world / "private", workers=0)
    assert done.is_whole, done.failures
    results = harvest(done.folder)
    one = results.blocks[0].findings
    assert one.scores["both"].keys() >= {"matching_own", "cosine_forget", "self_bleu", "modality_specific"}
    # One cell found its anchors made by the other, and no MVI with them.
    by_label = cells(done.folder, results)
    facts = [by_label[f"{label} · own 2 · seed 0"]["facts"]["anchors_remembered"] for label in ("both", "again")]
    assert facts == [False, True]
    probes = [{k: v for k, v in one.scores[label].items() if "modality" in k} for label in ("both", "again")]
    assert probes[0] == probes[1] and probes[0]
    assert not one.words and not one.attention and not one.maps and not one.samples
    assert list(one.groups) == ["1", "2"]
    assert sum("are not stored" in note for note in one.notes) == 4
    assert "are not stored" in sheet(results, "anchors").note
    texts = [json.loads(line)["text"] for line in (world / "pairs.jsonl").read_text().splitlines()]
    for path in [*(world / "private" / "cells").iterdir(), *draw(done.folder).files.values()]:
        held = path.read_text()
        assert "data:image" not in held and not [t for t in texts if t in held], path
