"""What is foreseen is what happens, nothing is loaded for it, and what cannot fit is refused before anything is."""

import dataclasses

import pytest
import torch

import published
import saved_toys
from expunge import api, foresight
from expunge.core import plugins
from expunge.core.errors import ExpungeError
from expunge.core.options import foresee, options
from expunge.core.run import Run
from expunge.core.types import Work
from expunge.testing import small_albef, small_splits
from expunge.train import budget as budgets
from expunge.train.budget import Machine
from expunge.train.originals import PAPER, Recipe
from expunge.zoo import shelf
from toy import Toy
from toy_splits import SPLITS, fresh

METHODS = [entry.name for entry in plugins.entries("methods")]
QUICK = {
    "finetune": {"epochs": 2, "batch": 5}, "gradient_ascent": {"least_steps": 7, "batch": 3},
    "multidelete": {"epochs": 3, "batch": 4, "least_steps": 0}, "bad_teacher": {"least_steps": 3, "batch": 7},
    "adversarial": {"epochs": 2, "batch": 4, "least_steps": 0, "iterations": 2, "stop_at": -1.0},
    "cse": {"anchors": "random", "epochs": 2, "batch": 4, "least_steps": 0},
}  # fmt: skip


HERE = Machine("a core", 8e9)
STEPLESS = {"nothing", "manu", "ssd"}
"""They measure and then change the weights once."""


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("task", ["retrieval", "multiple_choice", "entailment"])
def test_every_method_of_ours_says_what_it_will_do(name, task):
    work = foresee(options(plugins.load_method(name), task=task), 50, 4000, task)
    assert work is not None and (work.pairs > 0) == (name != "nothing")
    assert (work.steps > 0) == (name not in STEPLESS)
    assert set(work.lent) == set(plugins.models(plugins.load_method(name)))


@pytest.mark.parametrize("name", QUICK)
def test_steps_are_those_that_are_taken(name):
    method, run = options(plugins.load_method(name), QUICK[name]), Run(seed=0)
    torch.manual_seed(0)
    model, splits = (small_albef(), small_splits()) if name == "cse" else (fresh(Toy), SPLITS)
    method.unlearn(model, splits, run)
    counts = len(splits.forget), len(splits.retain)
    assert foresee(method, *counts, "retrieval").steps == len({one["step"] for one in run.terms if "step" in one})


def test_a_users_method_need_not_say_and_is_not_believed_when_it_says_nonsense():
    @dataclasses.dataclass(frozen=True)
    class Mine:
        foresee: str = "an option of that name"

    assert foresee(Mine(), 1, 1, "retrieval") is None
    held = foresight.of_method(
        Mine(), foresight.size_of("albef-tiny"), 5, 50, "retrieval", foresight.Rate(1e9, "x"), HERE
    )
    assert held.seconds is None and {i.name for i in held.memory.items} >= {"weights", "gradients", "moments"}


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    def load(name):
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr(shelf, "load", load)


ASKED = {"model": "albef-tiny", "data": "scenes", "data_options": {"size": 20}, "method": "cse"}


@pytest.fixture(scope="module")
def someone():
    return [plugins.load_data("scenes", size=20).train[0].id]


def test_what_cannot_fit_is_refused_before_anything_is_loaded(monkeypatch, nothing_is_loaded, someone):
    monkeypatch.setattr(budgets, "machine", lambda: Machine("this machine", 1e6))
    with pytest.raises(ExpungeError, match=r"cse on albef-tiny needs \d+ MB at least .* has 1 MB free"):
        api.forget(**ASKED, forget=someone, allow_leakage=True)


def test_a_tight_fit_is_a_note(monkeypatch):
    size, method = foresight.size_of("albef-tiny"), options(plugins.load_method("cse"))
    need = foresight.of_method(method, size, 50, 500, "retrieval", foresight.Rate(1e9, "x"), HERE).memory
    monkeypatch.setattr(budgets, "machine", lambda: Machine("this machine", need.bytes() - 1))
    (told,) = foresight.check_memory(method, "albef-tiny", 50, 500, "retrieval")
    assert "a batch below 16" in told and "painter" in told
    monkeypatch.setattr(budgets, "machine", lambda: Machine("this machine", need.bytes()))
    assert foresight.check_memory(method, "albef-tiny", 50, 500, "retrieval") == []


def test_a_model_of_unknown_size_is_not_judged(tmp_path):
    assert foresight.check_memory(options(plugins.load_method("cse")), str(tmp_path), 5, 5, "retrieval") == []


def test_a_dry_run_tells_all_and_loads_nothing(nothing_is_loaded, someone):
    found = api.foresee(**ASKED, forget=someone, against="retrain", allow_leakage=True)
    assert [f.what for f in found.forecasts] == [
        "the original, unless it is kept", "cse", "retrained, unless it is kept",
    ]  # fmt: skip
    assert all(f.work and f.memory and f.seconds for f in found.forecasts) and found.missing == ()
    lent = next(f for f in found.forecasts if f.what == "cse").work
    assert isinstance(lent, Work) and set(lent.lent) == {"painter", "writer"}


def test_data_that_is_not_here_leaves_the_memory(tmp_path, nothing_is_loaded):
    found = api.foresee("albef-tiny", tmp_path / "none.jsonl", ["a"], "gradient_ascent")
    assert "none.jsonl" in found.missing[0] and found.memory is not None and found.forecasts[0].work is None
    told = {"folder": tmp_path, "images": tmp_path / "gone"}
    found = api.foresee("albef-tiny", "flickr30k", ["a"], "gradient_ascent", data_options=told, make_original=True)
    assert found.missing == (f"the data at {tmp_path / 'gone'}",) and found.forecasts[0].work is None


def test_an_original_that_is_made_by_a_recipe_is_foreseen_by_it(tmp_path, nothing_is_loaded):
    published.flickr30k(tmp_path)
    told = {"data_options": {"folder": tmp_path}, "against": "retrain", "allow_leakage": True}
    given = api.foresee("albef-tiny", "flickr30k", ["1001"], "gradient_ascent", pretrained="albef-tiny", **told)
    assert [f.what for f in given.forecasts] == ["gradient_ascent", "retrained, unless it is kept"]
    recipe = {"epochs": 3, "batch": 4}
    made = api.foresee("albef-tiny", "flickr30k", ["1001"], "gradient_ascent", make_original=recipe, **told)
    assert [f.what for f in made.forecasts[::2]] == ["the original, unless it is kept", "retrained, unless it is kept"]
    assert made.forecasts[0].work.steps == 9  # three times 12 captions in batches of 4
    assert given.forecasts[1].work.steps == PAPER.schedule.work(10).steps, "two captions of twelve are forgotten"
    told |= {"method": "retrain", "against": None}
    asked = [({"pretrained": "albef-tiny"}, PAPER), ({"make_original": recipe}, Recipe(3, PAPER.lr, 4))]
    for more, by in asked:
        alone = api.foresee("albef-tiny", "flickr30k", ["1001"], **told, **more)
        work = next(f for f in alone.forecasts if f.what == "retrain").work
        assert work == by.schedule.work(10)


def test_a_card_too_small_for_both_generators_is_foreseen_from_their_folders(tmp_path):
    """What CSE would do on a device of that size is told before anything is loaded; without a device there is nothing
    to tell, nor of generators that are not there."""
    folders = {"painter": saved_toys.save_painter("1.5", tmp_path / "sd"),
               "writer": saved_toys.save_writer("opt", tmp_path / "blip2")}  # fmt: skip
    size, rate = foresight.size_of("albef-tiny"), foresight.Rate(1e9, "x")

    def told(machine: Machine, **changed) -> str:
        cse = options(plugins.load_method("cse"), {**{k: str(v) for k, v in folders.items()}, **changed})
        return " ".join(foresight.of_method(cse, size, 5, 50, "retrieval", rate, machine).notes)

    assert "Both generators fit into 40.0 GB at once" in told(Machine("a card", 40e9, True))
    assert "do not fit into 1.0 GB" in told(Machine("a card", 1e9, True))
    assert "generators" not in told(HERE)
    assert "is not here" in (gone := told(Machine("a card", 1e9, True), writer=str(tmp_path / "gone")))
    assert "do not fit" not in gone
