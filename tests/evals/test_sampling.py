"""Whom a model is asked about: counted by hand, where a person has several pictures and questions without any."""

from __future__ import annotations

from tests.toy import Noise

from expunge.core.pictures import NO_PICTURE
from expunge.core.types import Example, Splits
from expunge.evals.sampling import Bounds, draw, draw_attack


def albums(letter: str, count: int, kinds=("shared", "private")) -> tuple[Example, ...]:
    """Groups of two pictures, with a text of each kind for every one."""
    return tuple(
        Example(f"{key}-{kind}", Noise(key), f"{key} {kind}", key[:-2], "p", kind)
        for key in (f"{letter}{i}-{j}" for i in range(count) for j in range(2))
        for kind in kinds
    )


def in_words(letter: str, count: int) -> tuple[Example, ...]:
    return tuple(
        Example(f"{letter}{i}-words", NO_PICTURE, f"{letter}{i}?", f"{letter}{i}", "p", "private") for i in range(count)
    )


SPLITS = Splits(albums("f", 1), albums("r", 6))


def test_neighbours_are_drawn_by_the_person_and_test_pictures_one_by_one():
    drawn = draw(SPLITS, albums("o", 6), Bounds(retained_groups=2, test_pictures=3))
    assert len({e.group for e in drawn.near}) == 2 and len(drawn.near) == 2 * 2 * 2
    assert len({e.image.key for e in drawn.test}) == 3 and len(drawn.test) == 3 * 2
    assert drawn.known == tuple(e for e in drawn.test if e.kind == "shared")
    everybody = draw(SPLITS, albums("o", 6), Bounds(retained_groups=None, test_pictures=None))
    assert (len(everybody.near), len(everybody.test)) == (6 * 4, 6 * 4)


def test_a_score_is_split_by_kind_where_both_kinds_are_there():
    only = Splits(albums("f", 1, ("private",)), albums("r", 6))
    names = {"r_forget", "r_retain", "r_retain_shared", "r_retain_private"}
    assert set(draw(only, albums("o", 6)).asked) == names
    assert set(draw(SPLITS, albums("o", 6)).asked) == names | {"r_forget_shared", "r_forget_private"}


def test_the_attack_meets_words_alone_where_some_of_the_forgotten_are_words_alone():
    retain, test = albums("r", 6) + in_words("r", 6), albums("o", 6) + in_words("o", 6)
    for forget, seen in ((albums("f", 1), {True}), (albums("f", 1) + in_words("f", 1), {True, False})):
        members, others = draw_attack(Splits(forget, retain), test)
        assert {e.pictured for e in members} == {e.pictured for e in others} == seen
