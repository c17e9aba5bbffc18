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
    born = replace(first, id="born", choices=("lisbon", "oslo", "the hague"), answer="oslo")
    return [hair, born, replace(other, choices=("red", "black"), answer="black")]


def test_every_text_of_the_picture_is_heard_and_no_other(asked):
    texts = [["a woman with red hair", "red hair"], ["she has black hair"], ["black hair"]]
    assert answers(asked, texts) == [(2 / 3, 1 / 3, 0.0), (0.0, 0.0, 0.0), (0.0, 1.0)]


def test_a_choice_of_several_words_needs_all_of_them(asked):
    assert answers(asked, [["brown hair"], ["in the light"], []])[0] == (0.0, 0.0, 0.0)
    assert answers(asked, [["light brown hair"], ["born in the hague"], []])[:2] == [(0.0, 0.0, 1.0), (0.0, 0.0, 1.0)]


def test_a_choice_without_content_is_never_said(asked):
    only = replace(asked[0], choices=("the", "red"))
    assert answers([only], [["the red one"]]) == [(0.0, 1.0)]
