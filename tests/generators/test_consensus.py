"""What generated texts answer: counted over all texts of one picture, and nothing where none speaks of the matter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expunge.generators.consensus import answers
from expunge.testing import small_splits


@pytest.fixture
def asked():
    """Two questions about one picture and one about another."""
    some = small_splits(2, "multiple_choice").forget
    first = next(e for e in some if e.kind == "shared")
    other = next(e for e in some if e.image.key != first.image.key)
    hair = replace(first, choices=("red", "black", "light brown"), answer="red")
    where = "where was this person born"
    born = replace(first, id="born", question=where, choices=("lisbon", "oslo", "the hague"), answer="oslo")
    return [hair, born, replace(other, choices=("red", "black"), answer="black")]


def test_every_text_of_the_picture_is_heard_and_no_other(asked):
    texts = [["a woman with red hair", "red hair"], ["she has black hair"], ["black hair"]]
    assert answers(asked, texts) == [(2 / 3, 1 / 3, 0.0), (0.0, 0.0, 0.0), (0.0, 1.0)]


def test_of_several_colours_the_one_beside_the_thing_asked_about_counts(asked):
    """A caption names hair, clothes and wall, each with its colour."""
    hair = replace(asked[0], question="what colour is the hair")
    coat = replace(asked[0], id="coat", question="what colour is the coat")
    texts = [["a woman with red hair in a black coat"], ["a coat, black"]]
    assert answers([hair, coat], texts) == [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)], "the second does not speak of hair"


def test_a_colour_that_others_are_asked_for_takes_the_place_too(asked):
    """Silver is no choice here: the text answers silver, and not what stands farther off."""
    hair = replace(asked[0], question="what colour is the hair")
    other = replace(asked[2], question="what colour is the hair", choices=("silver", "black"), answer="silver")
    found = answers([hair, other], [["short silver hair, a red coat"], ["silver hair"]])
    assert found == [(0.0, 0.0, 0.0), (1.0, 0.0)]


def test_words_that_only_ask_are_not_asked_about(asked):
    """A writer that once wrote "what" does not silence all other texts."""
    hair = replace(asked[0], question="what colour is the hair")
    assert answers([hair], [["red hair", "what a coat"]]) == [(1.0, 0.0, 0.0)]


def test_a_choice_of_several_words_needs_all_of_them(asked):
    assert answers(asked, [["brown hair"], ["in the light"], []])[0] == (0.0, 0.0, 0.0)
    assert answers(asked, [["light brown hair"], ["born in the hague"], []])[:2] == [(0.0, 0.0, 1.0), (0.0, 0.0, 1.0)]


def test_a_choice_without_content_is_never_said(asked):
    only = replace(asked[0], choices=("the", "red"))
    assert answers([only], [["the red one"]]) == [(0.0, 1.0)]
