"""A plan that lies there is shown as long as all that it was made from is as it was; otherwise it is made anew."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from tests.bench.bench_toys import suite_text, write_methods, write_own_data

from expunge.bench import glance, grounds, runner
from expunge.bench import plan as plans
from expunge.core.errors import ExpungeError

PATHS = '\n[paths]\npeople = "."\n'


@pytest.fixture
def place(tmp_path, made):
    """Data, methods and a suite of one's own, which a test may change."""
    own = shutil.copytree(made, tmp_path / "own")
    (own / "toy.toml").write_text(
        suite_text('["nothing", "./quick.py"]', "[0]", "[1]").replace("./pairs", "$people/pairs") + PATHS
    )
    return own


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("glance") / "own"
    write_own_data(place)
    write_methods(place)
    return place


def look(place, tell=pytest.fail) -> tuple[str, list[str]]:
    """The plan's text and the hashes of its cells."""
    folder = glance.folder_of(str(place / "toy.toml"), place / "out", tell)
    text = (folder / "plan.json").read_text()
    return text, json.loads(text)["cells"]


def test_a_plan_that_holds_is_not_made_again(place, monkeypatch):
    first = look(place)
    monkeypatch.setattr(runner, "prepare", lambda *_: pytest.fail("it was made again"))
    assert look(place) == first


def edit_method(place, monkeypatch):
    (place / "quick.py").write_text((place / "quick.py").read_text().replace("0.05", "0.06"))


def edit_model(place, monkeypatch):
    with open(place / "ALBEF.pth", "ab") as file:
        file.write(b"more")
    plans.weights.cache_clear()  # another process would ask again


def edit_data(place, monkeypatch):
    lines = (place / "pairs.jsonl").read_text().splitlines()
    (place / "pairs.jsonl").write_text("\n".join(lines[:-1]))


def name_another_place(place, monkeypatch):
    shutil.copytree(place, place.parent / "other")
    edit_data(place.parent / "other", monkeypatch)
    monkeypatch.setenv("EXPUNGE_PATH_PEOPLE", str(place.parent / "other"))


@pytest.mark.parametrize("change", [edit_method, edit_model, edit_data, name_another_place])
def test_what_decides_about_cells_is_looked_at(place, monkeypatch, change):
    _, cells = look(place)
    change(place, monkeypatch)
    assert set(look(place)[1]) != set(cells)


@pytest.mark.parametrize("name", ["_sources", "versions"])
def test_another_version_of_expunge_or_of_what_draws_its_worlds_makes_its_own_plan(place, monkeypatch, name):
    text, cells = look(place)
    monkeypatch.setattr(grounds, name, lambda *_: "other")
    again, same = look(place)
    assert again != text and same == cells


def test_an_old_plan_is_made_anew_and_one_that_cannot_be_says_which_it_is(place):
    text, cells = look(place)
    plan = place / "out" / "toy" / "plan.json"
    old = {key: value for key, value in json.loads(text).items() if key != "grounds"}
    plan.write_text(json.dumps(old))
    assert json.loads(look(place)[0])["grounds"]
    (place / "pairs.jsonl").unlink()
    said: list[str] = []
    assert look(place, said.append)[1] == cells
    (one,) = said
    assert one.startswith("the plan of 20") and f"changed {place}" in one and "cannot be made anew here" in one
    plan.write_text(json.dumps(old))
    look(place, said.append)
    assert said[1].startswith("an old plan is shown")
    (place / "toy.toml").write_text((place / "toy.toml").read_text() + "\n")
    with pytest.raises(ExpungeError):  # of a suite that reads otherwise it is no plan at all
        look(place)


def test_a_time_is_no_content_but_asks_for_a_look(place, monkeypatch):
    text, cells = look(place)
    os.utime(place / "pairs.jsonl", (1, 1))
    again, same = look(place)
    assert again != text and same == cells
