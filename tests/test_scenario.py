"""Who is forgotten is drawn by seed, the same in every version."""

import hashlib
from dataclasses import replace

import pytest
from tests.legs import WORK_S, Clock, Stop, saved

from albums import album, row
from expunge.core import plugins
from expunge.core.errors import DataError, ExpungeError
from expunge.core.options import options as read_options
from expunge.core.run import Silent
from expunge.core.scale import Scale
from expunge.core.spec import Spec
from expunge.methods.data import retrain
from expunge.requests.matching import Requests
from expunge.scenario import Scenario, draw, load_corpus
from expunge.testing import small_albef, small_corpus, small_splits
from expunge.train.originals import PAPER, RECIPES, Recipe
from expunge.zoo import originals

__all__ = ["album", "row"]


def test_the_same_people_are_drawn_as_ever():
    """Those of the README's tables; ``expunge demo`` forgets the first five."""
    people = plugins.load_data("people")
    assert draw(people, 5, "groups", 0) == ("p103", "p127", "p297", "p367", "p424")
    fifty = ",".join(draw(people, 50, "groups", 4))
    assert (
        hashlib.sha256(fifty.encode()).hexdigest() == "ccb9675e6f31083bf605d3b94a95b509c075256077ba32a04d6f43790e0984aa"
    )


def test_the_same_seed_draws_the_same_and_pictures_come_whole():
    whole = small_corpus()
    ids = draw(whole, 3, "pictures", 1, "scenes")
    chosen = [e for e in whole.train if e.id in ids]
    assert len({e.image.key for e in chosen}) == 3
    assert len(chosen) == sum(e.image.key in {c.image.key for c in chosen} for e in whole.train)
    assert ids == draw(whole, 3, "pictures", 1, "scenes") != draw(whole, 3, "pictures", 2, "scenes")
    assert len(draw(whole, 4, "samples", 0)) == 4


def test_people_are_drawn_by_their_pictures_alone():
    dossiers = load_corpus("dossiers", data_options={"size": 12, "celebrities": 2}, task="answering")
    splits = dossiers.split(draw(dossiers, 2, "pictured", 0))
    who = {e.group for e in splits.forget}
    assert who == set(draw(dossiers, 2, "groups", 0)) and all(e.pictured for e in splits.forget)
    stays = [e for e in splits.retain if e.group in who]
    assert stays and not any(e.pictured for e in stays)
    with pytest.raises(ExpungeError, match="has 12 groups with pictures of people, so 13"):
        draw(dossiers, 13, "pictured", 0)


def test_a_task_is_asked_of_the_same_pictures():
    told = load_corpus("scenes", data_options={"size": 60})
    asked = load_corpus("scenes", data_options={"size": 60}, task="entailment")
    one, two = (c.split(draw(c, 10, "pictures", 0)).forget for c in (told, asked))
    gone = {e.image.key for e in one}
    assert len(gone) == 10 and len(one) == 50 and gone == {e.image.key for e in two}
    assert gone.isdisjoint(e.image.key for e in told.split(draw(told, 10, "pictures", 0)).retain)


def test_more_than_there_are_cannot_be_drawn():
    scenes = load_corpus("scenes", data_options={"size": 60})
    with pytest.raises(ExpungeError, match="scenes has 60 pictures, so 61 cannot be forgotten"):
        draw(scenes, 61, "pictures", 0)
    with pytest.raises(ExpungeError, match="has 12 groups of people, so 13 cannot"):
        draw(small_corpus(), 13, "groups", 0)


def test_the_task_is_no_option_of_the_data():
    with pytest.raises(ExpungeError, match="the task is no option"):
        load_corpus("scenes", data_options={"task": "entailment"})


def asked(album, row, *names, **changes) -> tuple[Spec, Scenario]:
    lines = [row(n, **(changes if n == 1 else {})) for n in range(4)]
    path = album.write(*lines, row(4, image="3.png", group="g3"))
    read = Scenario.read("albef-tiny", path, list(names), None, True, 0, None, Silent())
    return Spec("albef-tiny", str(path), read.names), read


def test_a_finished_run_is_read_again_unless_its_data_changed(album, row):
    spec, read = asked(album, row, "g0", {"id": "e3"})
    again = Scenario.of(spec, Silent(), read.about())
    assert again.splits == read.splits and again.about() == read.about()
    asked(album, row, "g0", text="something else")
    with pytest.raises(ExpungeError, match=r"content of the data \(\w{12} then, \w{12} now\)") as refused:
        Scenario.of(spec, Silent(), read.about())
    assert read.about()["content of the data"][:12] in str(refused.value) and "Put the data back" in str(refused.value)
    assert "examples to be forgotten" not in str(refused.value)
    asked(album, row, "g0", group="g0")  # the group has grown since
    with pytest.raises(ExpungeError, match=r"and examples to be forgotten \(\w{12} then"):
        Scenario.of(spec, Silent(), read.about())
    assert Scenario.of(spec, Silent()).splits.forget  # runs of before recorded nothing


def test_problems_of_the_data_do_not_hide_those_of_the_request(album, row):
    with pytest.raises(DataError) as refused:
        asked(album, row, "g0", "nobody", {"gruop": "g1"}, text="")
    found = "\n".join(p.found for p in refused.value.problems)
    assert "'text' is empty" in found and "'nobody'" in found and "unknown key 'gruop'" in found


@pytest.fixture
def trained(monkeypatch):
    """(recipe, seed, scale) of every training that would have been done; nothing is trained."""
    done = []

    def train(start, examples, run, recipe, *, what):
        done.append((recipe, run.seed, run.scale))
        return start

    for module in (retrain, originals):
        monkeypatch.setattr(module, "train_original", train)
    return done


def scenario_of(own_data: bool, **more) -> Scenario:
    """One whose models are small; the run's seed is 3."""
    read = Scenario("start", small_corpus(), Requests((), {}), small_splits(), 3, Silent(), own_data, **more)
    read._lent |= {"start": small_albef(), "public": small_albef()}
    return read


def test_what_the_users_original_is_held_against_is_made_as_the_paper_makes_it_whatever_the_runs_seed(trained):
    read = scenario_of(own_data=True, pretrained="public")
    run = read.run(None)
    run.scale = Scale(accumulate=2)
    read.oracle(run)
    assert trained == [(PAPER, 0, run.scale)]


def test_retraining_as_a_method_follows_the_recipe_of_the_original(trained):
    made = Recipe(2, 3e-4, 8)
    for told, expected in (
        ({"own_data": True, "pretrained": "public"}, PAPER),
        ({"own_data": True, "recipe": made}, made),
        ({"own_data": False}, RECIPES["retrieval"]),
    ):
        read = scenario_of(**told)
        for asked, wanted in (((), expected), (("epochs=1",), replace(expected, epochs=1))):
            method = read_options(retrain.Retrain, asked)
            method.unlearn(small_albef(), read.splits, read.run(None))
            assert trained.pop()[:2] == (wanted, 3), told


def test_retraining_costs_what_all_its_legs_took_and_not_what_came_before(tmp_path, monkeypatch):
    clock, splits = Clock(monkeypatch), small_splits()
    stops, reading_s = [True], [1000.0]

    def train(start, examples, run, recipe, *, what):
        clock.work(run, stops=stops[0])
        return start

    def lend(self, name):
        if name not in self._lent:
            clock.now += reading_s[0]
        return self._lent.setdefault(name, name)

    monkeypatch.setattr(retrain, "train_original", train)
    monkeypatch.setattr(Scenario, "lend", lend)

    def leg():
        requests = Requests((), {})
        scenario = Scenario("mine", small_corpus(), requests, splits, 0, Silent(), own_data=True, saved=saved(tmp_path))
        scenario.oracle(scenario.run(None))
        return scenario.retraining_seconds

    with pytest.raises(Stop):
        leg()
    stops[0], reading_s[0] = False, 0.0
    assert leg() == WORK_S
