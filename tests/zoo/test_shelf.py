"""The zoo's models by name, and the originals made from them."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from tests.legs import WORK_S, Clock, Stop, saved

from expunge.backbones.blip import BlipAnswers
from expunge.core.errors import ExpungeError, UnknownName
from expunge.core.run import Run
from expunge.core.types import TASKS
from expunge.testing import small_albef, small_answers, small_blip, small_corpus, small_painter, small_writer
from expunge.train.originals import Recipe
from expunge.zoo import originals, shelf

QUICK = Recipe(epochs=1, lr=1e-3, batch=32)


def test_the_shipped_models_have_cards_that_keep_their_promise():
    card = json.loads((shelf.WEIGHTS / "albef-tiny" / "card.json").read_text())
    assert card["quality"]["scenes_500"]["value"] >= 85 and card["quality"]["public_people_100"]["value"] >= 85
    assert {"recipe", "seed", "commit", "licence"} <= set(card)


def test_no_file_is_too_large():
    sizes = {p: p.stat().st_size for p in shelf.WEIGHTS.rglob("*") if p.is_file()}
    assert max(sizes.values()) < 15e6 and sum(sizes.values()) < 60e6


def test_a_folder_tells_what_is_in_it(tmp_path):
    kinds = {}
    blip = small_blip()
    made = (small_albef(), small_painter(), small_writer(), blip, BlipAnswers.from_matching(blip))
    for name, model in zip("abcde", made, strict=True):
        model.save_pretrained(tmp_path / name)
        kinds[name] = type(shelf.load(tmp_path / name)).__name__
    assert list(kinds.values()) == ["Albef", "StableDiffusion", "Blip2", "Blip", "BlipAnswers"]


@pytest.mark.parametrize("build", [small_albef, small_blip])
def test_a_released_file_tells_what_is_in_it(tmp_path, build):
    model = build()
    model.save_official(tmp_path / "model.pth")
    words = sorted(model.processor.tokenizer.get_vocab().items(), key=lambda item: item[1])
    (tmp_path / "vocab.txt").write_text("\n".join(w for w, _ in words))
    assert type(shelf.load(tmp_path / "model.pth")) is type(model)


def test_a_released_file_of_neither_is_refused(tmp_path):
    torch.save({"model": {"something": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ExpungeError, match="not an ALBEF"):
        shelf.load(tmp_path / "other.pth")


def test_a_file_that_is_no_checkpoint_is_not_asked_for_its_words(tmp_path):
    (tmp_path / "pairs.jsonl").write_text("{}")
    with pytest.raises(ExpungeError, match="is no model: name a folder, or a checkpoint"):
        shelf.backbone_of(tmp_path / "pairs.jsonl")


def test_models_that_are_not_shipped_are_made_once_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path))
    for name, command in shelf.UNSHIPPED.items():
        with pytest.raises(ExpungeError, match=command):
            shelf.load(name)
        small_painter().save_pretrained(shelf.home(name))
        with pytest.raises(ExpungeError, match="not shipped"):  # no card yet: it is being made
            shelf.locate(name)
        (shelf.home(name) / "card.json").write_text("{}")
        assert shelf.locate(name) == shelf.home(name) and tmp_path in shelf.home(name).parents
        assert type(shelf.load(name)).__name__ == "StableDiffusion"
    assert shelf.home("sd-tiny").parent == shelf.WEIGHTS


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(UnknownName, match="albef-tiny"):
        shelf.locate("albef-tinny")
    with pytest.raises(ExpungeError, match=r"no config\.json"):
        shelf.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ExpungeError, match="gpt2"):
        shelf.load(tmp_path)
    with pytest.raises(ExpungeError, match="hub cache"):
        shelf.locate("somebody/something")


def test_an_original_is_made_once_and_from_its_own_data(monkeypatch, tmp_path):
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path))
    corpus, made = small_corpus(), []
    real = originals.train_original
    monkeypatch.setattr(originals, "train_original", lambda *a, **k: made.append(len(a[1])) or real(*a, **k))
    without = [e.id for e in corpus.train[:6]]
    one, again = (originals.original("albef-tiny", corpus, Run(), recipe=QUICK) for _ in range(2))
    originals.original("albef-tiny", corpus, Run(), without=without, recipe=QUICK)
    assert made == [len(corpus.train), len(corpus.train) - 6]
    states = one.module.state_dict(), again.module.state_dict()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_an_original_costs_what_all_legs_of_its_training_took_and_nobodys_waiting(monkeypatch, tmp_path):
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path / "cache"))
    clock, model, corpus = Clock(monkeypatch), small_albef(), small_corpus()
    stops, waiting_s, cached = [True], [1000.0], originals.cached

    def train(start, examples, run, recipe, *, what):
        clock.work(run, stops=stops[0])
        return model

    def awaited(key, build):
        clock.now += waiting_s[0]  # for another process, which then left it unfinished
        return cached(key, build)

    monkeypatch.setattr(originals, "train_original", train)
    monkeypatch.setattr(originals, "cached", awaited)

    def leg():
        run = Run(saved=saved(tmp_path / "saved"))
        originals.original("albef-tiny", corpus, run, recipe=QUICK)
        return run.seconds["training"]

    with pytest.raises(Stop):
        leg()
    stops[0], waiting_s[0] = False, 0.0
    assert leg() == leg() == WORK_S


def test_a_shipped_model_serves_exactly_what_it_was_made_from(monkeypatch, tmp_path):
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(originals, "SHIPPED", tmp_path / "shipped")
    corpus, run = small_corpus(), Run()
    wanted = originals.key("albef-tiny", corpus, (), 0, QUICK)
    assert originals.shipped(wanted) is None
    originals.ship(shelf.load("albef-tiny"), "one", wanted, {"measured": {}})
    assert originals.shipped(wanted) is not None
    assert originals.shipped({**wanted, "seed": 1}) is None
    assert originals.shipped(originals.key("albef-tiny", corpus, ["p000-shared0"], 0, QUICK)) is None
    originals.original("albef-tiny", corpus, run, recipe=QUICK)
    assert run.facts["shipped_models"] == 1 and not (tmp_path / "cache").exists()


def test_models_without_safetensors_have_no_key_and_so_no_original_in_common(tmp_path):
    for name in ("one", "other"):
        small_albef().save_pretrained(tmp_path / name)
        (tmp_path / name / "model.safetensors").rename(tmp_path / name / "pytorch_model.bin")
        with pytest.raises(ExpungeError, match=f"{name} holds no safetensors"):
            originals.key(str(tmp_path / name), small_corpus(), (), 0, QUICK)


def test_the_key_of_weights_is_that_of_all_their_bytes_in_a_row(tmp_path, monkeypatch):
    """As it was when the first originals were kept, without holding a file in memory."""
    for name, held in (("a", b"12" * 70_000), ("b", b""), ("c", b"345")):
        (tmp_path / f"{name}.safetensors").write_bytes(held)
    files, whole = sorted(tmp_path.iterdir()), hashlib.sha256(b"12" * 70_000 + b"345").hexdigest()
    monkeypatch.setattr(Path, "read_bytes", None)
    assert originals.key(str(tmp_path), small_corpus(), (), 0, QUICK)["start"] == whole and len(files) == 3
    assert originals.key(str(files[2]), small_corpus(), (), 0, QUICK)["start"] == hashlib.sha256(b"345").hexdigest()


def test_the_key_names_the_task_only_where_it_is_not_retrieval():
    """Models that were made before there were tasks are found again."""
    keys = {task: originals.key("albef-tiny", small_corpus(task), (), 0, QUICK) for task in TASKS}
    assert set(keys["retrieval"]) == {"what", "start", "data", "without", "seed", "recipe"}
    assert keys["entailment"]["task"] == "entailment" and keys["multiple_choice"]["task"] == "multiple_choice"


def test_the_original_of_a_task_starts_from_the_pretrained_model(monkeypatch, tmp_path):
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path))
    small_albef().save_pretrained(tmp_path / "start")
    made = originals.original(str(tmp_path / "start"), small_corpus("entailment"), Run(), recipe=QUICK)
    again = originals.original(str(tmp_path / "start"), small_corpus("entailment"), Run(), recipe=QUICK)
    assert type(made).__name__ == "AlbefEntailment" == type(again).__name__
    states = made.module.state_dict(), again.module.state_dict()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    start = shelf.start(tmp_path / "start", "entailment").module.state_dict()
    assert any(not torch.equal(start[k], states[0][k]) for k in start)


def test_a_model_that_cannot_start_a_task_is_refused(tmp_path):
    small_painter().save_pretrained(tmp_path / "painter")
    with pytest.raises(ExpungeError, match="cannot be trained on entailment"):
        shelf.start(tmp_path / "painter", "entailment")
    small_answers().save_pretrained(tmp_path / "answers")
    with pytest.raises(ExpungeError, match="made for multiple_choice, not for entailment"):
        shelf.start(tmp_path / "answers", "entailment")
