"""A whole run on somebody's own pictures with a checkpoint in the released layout."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageOps

import expunge
from expunge import showing
from expunge.core.errors import DataError, ExpungeError
from expunge.core.folder import amend, open_run
from expunge.core.run import Run
from expunge.evals.assessment import Assessment
from expunge.testing import small_albef, small_corpus, small_painter, small_writer
from writing_pairs import write_pairs


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """pictures/, pairs.jsonl, ALBEF.pth with its vocab.txt, and two generators."""
    place = tmp_path_factory.mktemp("own")
    write_pairs(place, small_corpus())
    model = small_albef()
    model.save_official(place / "ALBEF.pth")
    words = sorted(model.processor.tokenizer.get_vocab().items(), key=lambda item: item[1])
    (place / "vocab.txt").write_text("\n".join(word for word, _ in words))
    # Two heads of eight leave no trace in the tensors; the loader takes four, so the test's model is the loaded one.
    small_painter().save_pretrained(place / "painter")
    small_writer().save_pretrained(place / "writer")
    return place


def options(place):
    return [f"painter={place / 'painter'}", f"writer={place / 'writer'}", "epochs=1", "least_steps=1", "batch=6"]


def asked(place):
    return sorted({e.group for e in small_corpus().train if e.source == "people"})[:2]


@pytest.fixture(scope="module")
def result(place):
    return expunge.forget(
        place / "ALBEF.pth", place / "pairs.jsonl", asked(place), "cse", options(place), seed=5,
        out=place / "runs" / "one", with_samples=True, allow_leakage=True,
    )  # fmt: skip


def test_everything_a_run_leaves(place, result):
    run = open_run(result.folder, verify=True)
    expected = {
        "spec.json", "record.json", "delta.safetensors", "log.jsonl", "report.html", "panels.json",
        "model/model.safetensors", "model.pth",
    }  # fmt: skip
    assert expected <= set(run.files)
    record = run.record()
    assert record.requested == record.forgotten == asked(place) and record.rejected == []
    assert {"r_forget", "r_forget_shared", "r_forget_private", "r_test", "mi"} <= set(record.scores["after"])
    assert all(s.n > 0 for stage in record.scores.values() for s in stage.values())
    assert record.cost["seconds"] > record.cost["seconds_mvi"] > 0 and record.cost["peak_memory_mb"] > 0
    assert {"private_leak", "picture_distance"} <= set(record.generator)
    assert record.environment["versions"]["torch"] and record.spec["hash"] == run.spec().hash


def test_the_written_models_score_the_same(place, result):
    data = expunge.load_data(place / "pairs.jsonl")
    splits = data.split(asked(place))
    (place / "again").mkdir(exist_ok=True)
    (place / "again" / "vocab.txt").write_text((place / "vocab.txt").read_text())
    (place / "again" / "model.pth").write_bytes((result.folder / "model.pth").read_bytes())
    for source in (result.folder / "model", place / "again" / "model.pth"):
        assessment = Assessment(splits, data.test, 5)
        scores = assessment.add("after", expunge.load_model(source), Run(seed=5))
        assert {k: s.value for k, s in scores.items()} == {k: s.value for k, s in result.record.scores["after"].items()}


def test_the_difference_takes_the_edit_back(place, result):
    before = expunge.load_model(place / "ALBEF.pth").module.state_dict()
    after = expunge.load_model(result.folder / "model").module.state_dict()
    restored = expunge.Delta.load(result.folder / "delta.safetensors").revert(after)
    assert any(not torch.equal(before[k], after[k]) for k in before)
    assert all(torch.equal(before[k], restored[k]) for k in before)


def test_same_seed_same_scores_to_the_last_bit(place, result):
    again = expunge.forget(
        place / "ALBEF.pth", place / "pairs.jsonl", asked(place), "cse", options(place), seed=5, allow_leakage=True
    )
    assert again.record.scores == result.record.scores and again.folder is None


def test_the_page_shows_people_only_when_asked(place, result):
    portrait = "data:image/png;base64,"
    assert portrait in (result.folder / "report.html").read_text()
    quiet = expunge.forget(
        place / "ALBEF.pth", place / "pairs.jsonl", asked(place), "gradient_ascent", out=place / "runs" / "quiet",
        allow_leakage=True,
    )  # fmt: skip
    private = [e.text for e in small_corpus().train if e.group in asked(place) and e.kind == "private"]
    assert "<figcaption>gradient ascent</figcaption>" in (quiet.folder / "report.html").read_text()
    for file in ("report.html", "record.json", "log.jsonl", "spec.json", "panels.json"):
        text = (quiet.folder / file).read_text()
        assert portrait not in text and not any(sentence in text for sentence in private)


def test_a_later_evaluation_is_held_against_a_retrained_run(place, result):
    with pytest.raises(ExpungeError, match="not compared with a retrained model"):
        expunge.evaluate(result.folder, against=str(result.folder))
    expunge.forget(
        place / "ALBEF.pth", place / "pairs.jsonl", asked(place), "retrain", ["epochs=1"], out=place / "runs" / "clean",
        pretrained=place / "ALBEF.pth", allow_leakage=True, seed=5,
    )  # fmt: skip
    again = expunge.evaluate(result.folder, against=str(place / "runs" / "clean"))
    assert again.record.scores["after"] == result.record.scores["after"]
    assert again.record.scores["oracle"] == open_run(place / "runs" / "clean").record().scores["after"]
    expunge.forget(
        place / "ALBEF.pth", place / "pairs.jsonl", asked(place)[:1], "retrain", ["epochs=1"],
        pretrained=place / "ALBEF.pth", allow_leakage=True, seed=5, out=place / "runs" / "fewer",
    )  # fmt: skip
    with pytest.raises(ExpungeError, match="differs in examples to be forgotten"):  # trained without other people
        expunge.evaluate(result.folder, against=str(place / "runs" / "fewer"))
    told = open_run(result.folder, verify=True).record()
    after, oracle = told.scores["after"], told.scores["oracle"]
    apart = [abs(after[name].value - oracle[name].value) for name in ("mi", "r_forget", "r_test")]
    assert told.summary["avg_g"] == pytest.approx(sum(apart) / 3) and max(apart) > 0
    expunge.evaluate(result.folder)
    alone = open_run(result.folder).record()
    assert "oracle" not in alone.scores and alone.summary == {}


def test_a_later_evaluation_and_report_keep_what_the_page_had(place, result, tmp_path):
    folder = open_run(result.folder)
    own, other = folder.record(), replace(folder.record(), spec={"method": "nothing", "hash": "another"})
    amend(folder.path, showing.texts({}, [("cse", own), ("nothing", other)]))
    picture, compared = "data:image/png;base64,", "Compared with other methods"
    told = (place / "runs" / "one" / "report.html").read_text()
    drawn = [f"<figcaption>{what}</figcaption>" for what in ("mvi", "editing (CSE)")]
    assert picture in told and all(one in told for one in drawn)
    again = expunge.evaluate(result.folder)
    page = (result.folder / "report.html").read_text()
    assert page.count(picture) == told.count(picture) and compared in page and all(one in page for one in drawn)
    assert [label for label, _ in again.comparisons] == ["cse", "nothing"] and again.comparisons[0][1] is again.record
    for_others = expunge.api.write_report([result.folder], tmp_path / "page.html").read_text()
    assert compared in for_others and all(one in for_others for one in drawn) and picture not in for_others
    assert again.report(tmp_path / "mine.html").read_text() == page


def test_requests_by_text_and_picture_are_accounted_for_and_not_repeated(place):
    one, two = asked(place)
    lines = [json.loads(line) for line in (place / "pairs.jsonl").read_text().splitlines()]
    told = next(line["text"] for line in lines if line["group"] == one and line["kind"] == "private")
    picture = next(line["image"] for line in lines if line["group"] == two)
    held = [line["id"] for line in lines if line["image"] == picture and line["split"] == "train"]
    wanted = [{"text": told}, {"picture": picture}, {"id": held[0]}]
    (place / "who.jsonl").write_text("\n".join(map(json.dumps, wanted)))
    result = expunge.forget(
        place / "ALBEF.pth", place / "pairs.jsonl", str(place / "who.jsonl"), "nothing", out=place / "runs" / "file",
        allow_leakage=True,
    )  # fmt: skip
    record = open_run(result.folder).record()
    assert record.requested == [f"text of {place / 'who.jsonl'}:1", f"picture={picture}", f"id={held[0]}"]
    assert [(m["how"], m["examples"]) for m in record.matched] == [("text", 1), ("same picture", len(held)), ("id", 1)]
    assert record.matched[2]["same_as"] == [f"{place / 'who.jsonl'}:2"] and not record.rejected
    spec = open_run(result.folder).spec()
    assert spec.forget[1:] == (*held, held[0]) and len(spec.forget) == 2 + len(held)
    for file in ("report.html", "record.json", "spec.json"):
        text = (result.folder / file).read_text()
        assert told not in text and "neither forgotten nor rejected" not in text
    again = expunge.evaluate(result.folder)
    assert again.record.scores == result.record.scores and again.record.matched == record.matched


def test_look_alikes_are_forgotten_too_when_asked(place):
    lines = [json.loads(line) for line in (place / "pairs.jsonl").read_text().splitlines()]
    portrait = next(line["image"] for line in lines if line["group"] == asked(place)[0])
    copied = next(line for line in lines if line["group"] not in asked(place) and line["split"] == "train")
    copied["image"] = "pictures/mirrored.png"
    ImageOps.mirror(Image.open(place / portrait)).save(place / copied["image"])
    (place / "near.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = expunge.examine(asked(place), place / "near.jsonl", allow_leakage=True)
    assert found.included == () and found.account["requests"][0]["look_alikes"][0]["id"] == copied["id"]
    record = expunge.forget(
        place / "ALBEF.pth", place / "near.jsonl", asked(place), "nothing", allow_leakage=True, include_near=True
    ).record
    assert [(one["id"], one["turn"]) for one in record.included] == [(copied["id"], "mirrored")]
    assert record.spec["forget"] == [*asked(place), copied["id"]] and record.forgotten == [*asked(place), copied["id"]]


def test_bad_requests_stop_before_anything_starts(place):
    with pytest.raises(DataError, match="nobody"):
        expunge.forget(place / "ALBEF.pth", place / "pairs.jsonl", ["nobody"], out=place / "runs" / "none")
    with pytest.raises(ExpungeError, match="no model called"):
        expunge.forget("albef-huge", place / "pairs.jsonl", asked(place))
    with pytest.raises(ExpungeError, match="pretrained"):
        expunge.forget(
            place / "ALBEF.pth", place / "pairs.jsonl", asked(place), "nothing", against="retrain", allow_leakage=True
        )
    assert not (place / "runs" / "none").exists()


def test_a_killed_run_leaves_nothing_that_looks_whole(place):
    out = place / "runs" / "killed"
    command = [
        sys.executable, "-m", "expunge", "forget", "--model", str(place / "ALBEF.pth"), "--data",
        str(place / "pairs.jsonl"), "--forget", ",".join(asked(place)), "--out", str(out), "--allow-leakage",
        *(word for option in options(place) if "epochs" not in option for word in ("-p", option)), "-p", "epochs=9999",
    ]  # fmt: skip
    running = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and running.poll() is None:
            if any(p.stat().st_size for p in (place / "runs").glob(".killed.partial-*/log.jsonl")):
                break
            time.sleep(0.1)
        else:
            pytest.fail("the run never began to edit")
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert not out.exists()
    with pytest.raises(ExpungeError):
        open_run(out)
