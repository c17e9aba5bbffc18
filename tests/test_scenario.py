"""Who is forgotten is drawn by seed, the same in every version."""

import hashlib

import pytest

from expunge.core import plugins
from expunge.core.errors import ExpungeError
from expunge.scenario import draw, load_corpus
from expunge.testing import small_corpus


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
