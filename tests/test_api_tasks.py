"""Whole runs of models that answer: on the embedded people at toy size, and on somebody's own questions."""

from __future__ import annotations

import json

import pytest
import torch

import expunge
from expunge.core.errors import DataError, ExpungeError
from expunge.core.folder import open_run
from expunge.report import page, tables
from expunge.testing import (
    small_albef,
    small_answers,
    small_corpus,
    small_entailment,
    small_mllm,
    small_painter,
    small_writer,
)

SCORES = {
    "r_forget", "r_forget_shared", "r_forget_private", "r_test", "r_retain", "r_retain_shared", "r_retain_private",
    "mi", "mi_auc", "mi_accuracy", "mi_private",
}  # fmt: skip
SMALL = {"size": 12, "scene_count": 12}
TASKS = ("multiple_choice", "entailment")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("tasks")
    small_albef().save_pretrained(place / "start")
    small_painter().save_pretrained(place / "painter")
    small_writer().save_pretrained(place / "writer")
    return place


def options(place):
    models = [f"painter={place / 'painter'}", f"writer={place / 'writer'}"]
    return [*models, "epochs=1", "least_steps=1", "batch=12", "mvi_preset=paper", "texts_per_sample=1"]


@pytest.mark.parametrize("task", TASKS)
def test_a_run_on_the_embedded_people(place, task):
    out = place / f"run-{task}"
    result = expunge.forget(
        place / "start", "people", ["p003"], "cse", options(place), seed=1, out=out, task=task, against="retrain",
        data_options=SMALL, with_samples=True,
    )  # fmt: skip
    record = open_run(out, verify=True).record()
    assert record.spec["task"] == task and record.forgotten == ["p003"]
    assert all(SCORES == set(record.scores[stage]) for stage in ("before", "after", "oracle"))
    assert record.scores["after"]["r_forget"].n == len(small_corpus(task).split(["p003"]).forget)
    after, oracle = record.scores["after"], record.scores["oracle"]
    apart = [abs(after[name].value - oracle[name].value) for name in ("mi", "r_forget", "r_test")]
    assert record.summary["avg_g"] == pytest.approx(sum(apart) / 3) and max(apart) > 0
    assert 0 < record.cost["seconds_mvi"] < record.cost["seconds"]
    loaded = expunge.load_model(out / "model")
    assert type(loaded) is type(result.model)
    states = loaded.module.state_dict(), result.model.module.state_dict()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    shown = (out / "report.html").read_text()
    assert "How often the answer is right" in shown and "A@D_f" in str(result.table())
    asked = next(e for e in small_corpus(task).train if e.group == "p003" and e.kind == "private")
    assert asked.text in shown and "before a search" not in shown
    again = expunge.evaluate(out)
    assert again.record.scores["after"] == record.scores["after"]
    assert again.record.scores["oracle"] == record.scores["oracle"]


def own(place, task):
    """The small corpus as somebody's own file, its pictures in another folder."""
    folder, pictures = place / f"own-{task}", place / "album"
    folder.mkdir(exist_ok=True)
    pictures.mkdir(exist_ok=True)
    corpus, names, lines = small_corpus(task), {}, []
    for split in ("train", "validation", "test"):
        for e in getattr(corpus, split):
            if e.image.key not in names:
                names[e.image.key] = f"{task}-{len(names)}.png"
                e.image.open(32).save(pictures / names[e.image.key])
            line = {"id": e.id, "image": names[e.image.key], "text": e.described, "group": e.group}
            line |= {"source": e.source, "kind": e.kind, "split": split}
            if task == "entailment":
                line |= {"text": e.text, "label": e.label}
            else:
                line |= {"question": e.question, "choices": e.choices, "answer": e.answer}
            lines.append(json.dumps(line))
    (folder / "asked.jsonl").write_text("\n".join(lines))
    return folder / "asked.jsonl", pictures


@pytest.mark.parametrize(("task", "build"), [("multiple_choice", small_answers), ("entailment", small_entailment)])
def test_a_run_on_somebodys_own_data_is_evaluated_with_its_pictures_and_its_pretrained_model(place, task, build):
    data, pictures = own(place, task)
    build().save_pretrained(place / task)
    out = place / f"mine-{task}"
    result = expunge.forget(
        place / task, data, ["p002"], "gradient_ascent", out=out, task=task, images=pictures,
        pretrained=place / "start",
    )  # fmt: skip
    spec = open_run(out).spec()
    assert (spec.task, spec.images, spec.pretrained) == (task, str(pictures), str(place / "start"))
    again = expunge.evaluate(out)
    assert again.record.scores["after"] == result.record.scores["after"]
    held = expunge.evaluate(out, against="retrain")  # from the pretrained model that the spec remembers
    assert set(held.record.scores["oracle"]) == set(result.record.scores["after"])


@pytest.mark.parametrize("task", TASKS)
def test_a_model_that_speaks_serves_both_tasks_with_the_same_weights(place, task):
    data, pictures = own(place, task)
    small_mllm().save_pretrained(place / "speaks")
    out = place / f"spoken-{task}"
    result = expunge.forget(
        place / "speaks", data, ["p002"], "gradient_ascent", ["lr=1e-3"], out=out, task=task, images=pictures
    )
    before, after = (result.record.scores[stage] for stage in ("before", "after"))
    assert SCORES == set(after) and before["r_forget"].n == after["r_forget"].n > 5
    assert "How often the answer is right" in (out / "report.html").read_text()
    assert expunge.evaluate(out).record.scores["after"] == after
    with pytest.raises(ExpungeError, match="needs a model that has"):
        expunge.forget(place / "speaks", data, ["p002"], "cse", task=task, images=pictures)


def test_a_model_of_another_task_stops_before_anything_starts(place):
    data, pictures = own(place, "entailment")
    small_answers().save_pretrained(place / "asks")
    for model, said in ((place / "asks", "made for multiple_choice"), (place / "start", "made for retrieval")):
        with pytest.raises(ExpungeError, match=said):
            expunge.forget(model, data, ["p002"], "nothing", out=place / "none", task="entailment", images=pictures)
    with pytest.raises(DataError, match=r"asked\.jsonl:1: the key 'question' is missing"):
        expunge.forget(place / "asks", data, ["p002"], "nothing", task="multiple_choice", images=pictures)
    with pytest.raises(ExpungeError, match="Did you mean 'entailment'"):
        expunge.forget(place / "start", "people", ["p002"], "nothing", task="entailmemt")
    with pytest.raises(ExpungeError, match="the task is no option of the data"):
        expunge.forget(place / "start", "people", ["p002"], "nothing", data_options={"task": "entailment"})
    assert not (place / "none").exists()


def test_the_same_question_about_many_is_no_leak():
    for task in TASKS:
        problems, _ = expunge.check(["p001"], "people", task=task)
        assert problems == []


def test_tables_of_retrieval_speak_of_recall(place):
    record = open_run(place / "run-entailment").record()
    record.spec = {**record.spec, "task": "retrieval"}
    heads = [column.head for column in tables.stages(record).columns]
    assert "R@D_f" in heads and "A@D_f" not in heads
    assert "How often a search succeeds" in page.page(record)
