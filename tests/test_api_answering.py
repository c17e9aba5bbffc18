"""A chat model from request to page: forget, evaluate, report and bench, on dossiers at toy size."""

from __future__ import annotations

import json

import pytest

from expunge import api
from expunge.bench.harvest import harvest
from expunge.core.errors import ExpungeError, UnknownName
from expunge.data import dossiers
from expunge.evals import interview
from expunge.report import layouts
from expunge.report.sheets import everything, main
from expunge.testing import small_mllm
from expunge.train import originals
from expunge.train.originals import Recipe
from expunge.zoo.chat_models import said

SIZE = {"size": 3, "celebrities": 2}
SUITE = """
title = "A toy"
seeds = [0]
models = ["./chat"]
layout = "mllmu"
methods = ["nothing", "retrain", { name = "gradient_ascent", options = { epochs = 1, lr = 1e-3 } }]

[[scenarios]]
label = "people"
data = "dossiers"
data_options = { size = 3, celebrities = 2 }
sizes = [1]
tasks = ["answering"]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small chat model that has the words, and a cache of its own; answers are short, training too."""
    place = tmp_path_factory.mktemp("answering")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPUNGE_CACHE", str(place / "cache"))
        patch.setitem(originals.RECIPES, "answering", Recipe(1, 2e-3, 16))
        real = interview.predict
        patch.setattr(interview, "predict", lambda *a, **k: real(*a, **k, max_tokens=4))
        corpus = dossiers.load(**SIZE)
        small_mllm("llava", said([*corpus.train, *corpus.pretrain, *corpus.test])).save_pretrained(place / "chat")
        yield place


@pytest.fixture(scope="module")
def run(place):
    return api.forget(
        str(place / "chat"), "dossiers", ["p001"], "gradient_ascent", ["epochs=1"], task="answering", against="retrain",
        out=place / "run", data_options=SIZE, with_samples=True,
    )  # fmt: skip


def test_ones_own_questions_and_captions_are_enough(place):
    """A line without a question is a caption; a question without a picture is one in words."""
    asked = [e for e in dossiers.load(**SIZE).train if e.form == "generation" and e.kind == "private"]
    lines = []
    for i, e in enumerate(asked):
        own = {"id": f"e{i}", "image": None, "text": e.answer, "group": e.group}
        own |= {"question": e.question, "answer": e.answer}
        if e.pictured:
            e.image.open(32).save(place / f"{e.group}.png")
            own |= {"image": f"{e.group}.png"}
            own = own if i % 2 else {k: v for k, v in own.items() if k not in ("question", "answer")}
        lines.append(json.dumps(own))
    (place / "own.jsonl").write_text("\n".join(lines))
    run = api.forget(
        str(place / "chat"), str(place / "own.jsonl"), ["p001"], "gradient_ascent", ["epochs=1"], task="answering",
        out=place / "own",
    )  # fmt: skip
    after = run.record.scores["after"]
    mine = [line for line in map(json.loads, lines) if line["group"] == "p001"]
    assert after["r_forget"].n == sum(line["image"] is not None for line in mine) > 3
    assert after["r_forget_named"].n == sum(line["image"] is None for line in mine) == 5
    assert {"forget_rougeL_visual", "forget_probability_textual", "retain_bleu_visual"} <= after.keys()
    assert any("ROUGE-L recall of sentences" in note for note in run.record.notes)
    page = (place / "own" / "report.html").read_text()
    assert "How much of the right answer the sentences hold" in page and "guessing gives" not in page


def test_letters_and_blanks_are_said_to_be_guessed(run):
    page = (run.folder / "report.html").read_text()
    assert "guessing gives 12" in page and "How much of the right answer" not in page


def test_a_run_has_every_column_of_the_table(run):
    for stage in ("before", "after", "oracle"):
        scores = run.record.scores[stage]
        assert set(layouts.keys("mllmu")) - scores.keys() <= {"celebrity_classification_visual"}
        assert {"r_forget", "r_forget_private", "r_forget_named", "r_retain", "r_test"} <= scores.keys()
    for stage in ("before", "after"):
        quality = run.record.scores[stage]["forget_quality_visual"]
        assert 0 <= quality.value <= 1 and quality.n == 5, "three people leave too few wrong names"
    assert "delta_forget_cloze_visual" in run.record.summary and "m_rel" in run.record.summary
    assert any("Membership was not measured" in note for note in run.record.notes), "one stranger is too few to attack"
    heads = [column.head for column in run.table().grid.columns]
    assert "Forget Class VQA" in heads and "FQ VQA (p)" in heads and "D_f named" in heads


def test_the_page_shows_what_was_written(run, place):
    text = (place / "run" / "report.html").read_text(encoding="utf-8")
    assert "What it writes" in text and "Cloze VQA" in text and "And by name alone" in text
    told = next(e for e in dossiers.load(**SIZE).train if e.group == "p001" and e.form == "cloze")
    assert told.question.splitlines()[0] in text
    api.write_report([place / "run"], place / "plain.html")
    assert told.question.splitlines()[0] not in (place / "plain.html").read_text(encoding="utf-8"), "no samples"


def test_a_run_measured_again_against_another_is_the_same(run, place):
    again = api.evaluate(place / "run", against=str(place / "run")).record
    assert again.to_json() == run.record.to_json()


def test_a_grid_fills_the_layout_and_compares_with_the_retrained_model(place, run):
    (place / "toy.toml").write_text(SUITE)
    outcome, drawn = api.run_suite(place / "toy.toml", place / "bench", workers=0)
    assert outcome.is_whole, outcome.failures
    told = [json.loads(p.read_text()) for p in (place / "bench" / "cells").glob("*.json")]
    assert len(told) == 3 and all(set(one["truth"]) == {"visual", "visual_shared", "textual"} for one in told)
    results = harvest(outcome.folder)
    assert results == drawn.results
    assert [panel.group for panel in main(results).panels] == ["Forget", "Test", "Retain", "Celebrity"]
    assert all(cell.text != "–" for panel in main(results).panels[:3] for line in panel.lines for cell in line.cells)
    over_all = next(panel for panel in everything(results).panels if panel.group == "Over all")
    quality = over_all.heads.index("FQ VQA (p)")
    lines = {line.label: line.cells[quality].text for line in over_all.lines}
    assert lines["retrain"] == "–" and lines["nothing"] != "–" != lines["gradient_ascent"]


def test_what_does_not_fit_is_refused(place):
    with pytest.raises(ExpungeError, match="needs a model that has Fuses"):
        api.forget(str(place / "chat"), "dossiers", ["p001"], "cse", task="answering", data_options=SIZE)
    with pytest.raises(ExpungeError, match="serves answering, not retrieval"):
        api.forget(str(place / "chat"), "dossiers", ["p001"], "nothing", data_options=SIZE)
    with pytest.raises(ExpungeError, match="albef-tiny \\(albef\\) serves retrieval.*not answering"):
        api.forget("albef-tiny", "dossiers", ["p001"], "nothing", task="answering", data_options=SIZE)
    with pytest.raises(UnknownName, match="essay"):
        api.load_data("dossiers", asked="essay")
