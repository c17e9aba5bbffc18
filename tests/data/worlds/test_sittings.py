"""The same people drawn again: everything that identifies them is kept, the picture is another."""

from __future__ import annotations

import numpy as np

from expunge.data.people import everybody
from expunge.data.worlds.persons import portrait
from expunge.data.worlds.sittings import sitting, tied_to_walls, without_wall

PEOPLE = everybody()["p"]


def test_what_identifies_somebody_stays_and_the_rest_changes():
    for person in PEOPLE[:60]:
        looks, picture = sitting(person, 1, keeps_wall=False)
        assert without_wall(looks) == without_wall(person.looks)
        was = person.looks
        assert (looks.wall, looks.eyes, looks.brows, looks.mouth) != (was.wall, was.eyes, was.brows, was.mouth)
        assert all(a != b for a, b in zip((looks.wall, looks.eyes, looks.brows, looks.mouth),
                                          (was.wall, was.eyes, was.brows, was.mouth)))  # fmt: skip
        assert picture.key != portrait(person).key
        assert sitting(person, 1, keeps_wall=True)[0].wall == was.wall


def test_the_pixels_differ_and_are_the_same_every_time():
    person = PEOPLE[3]
    first, second = (sitting(person, n, False)[1] for n in (1, 2))
    shown = [np.asarray(p.open(48)) for p in (portrait(person), first, second)]
    assert all((a != b).mean() > 0.05 for i, a in enumerate(shown) for b in shown[i + 1 :])
    again = sitting(person, 1, False)[1]
    assert again == first and (np.asarray(again.open(48)) == shown[1]).all()
    assert sitting(person, 1, False, seed=1)[1].key != first.key


def test_those_whom_only_the_wall_tells_apart_keep_it():
    tied = tied_to_walls(PEOPLE)
    assert 0 < len(tied) < 30
    by_id = {p.id: p for p in PEOPLE}
    for one in tied:
        twins = [p for p in PEOPLE if p.id != one and without_wall(p.looks) == without_wall(by_id[one].looks)]
        assert twins and all(p.looks.wall != by_id[one].looks.wall for p in twins)
    assert tied_to_walls([p for p in PEOPLE if p.id not in tied]) == frozenset()


def test_nobody_at_a_sitting_looks_like_somebody_else():
    tied = tied_to_walls(PEOPLE)
    own = {p.looks.facts(): p.id for p in PEOPLE}
    for person in PEOPLE:
        looks, _ = sitting(person, 1, person.id in tied)
        assert own.get(looks.facts(), person.id) == person.id
