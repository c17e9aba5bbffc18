"""What a person is shown of predictions: the answer that was chosen, how sure, and whether it is right."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.toy import Noise, Toy, people, scenes

from expunge.core.groups import digest
from expunge.core.types import Example
from expunge.evals.panels import NO_ANSWER, answer_panels, person_panels, written_panels
from expunge.tasks.answering import Writings
from expunge.tasks.choosing import Choices, rightness
from expunge.tasks.gallery import Gallery
from expunge.tasks.retrieval import predict


def asked(i: int, **more) -> Example:
    return Example(f"q{i}", Noise(f"p{i // 2}"), f"text {i}", group=f"g{i // 2}", **more)


QUESTIONS = [asked(0, kind="private", choices=("Oslo", "Kyoto"), answer="Oslo"), asked(1, label="neutral"),
             asked(2, choices=("tea", "rice"), answer="rice")]  # fmt: skip


def choices(*scores: tuple[float, ...]) -> Choices:
    return Choices(("q2", "q1", "q0"), torch.tensor(scores), torch.tensor([1, 1, 0]))


def test_of_an_answer_the_chosen_one_its_chance_and_whether_it_is_right():
    nothing = -torch.inf
    before = choices((0.0, 2.0, nothing), (0.0, 1.0, 3.0), (3.0, 0.0, nothing))
    after = choices((2.0, 0.0, nothing), (0.0, 9.0, 3.0), (0.0, 3.0, nothing))
    first, second = answer_panels({"before": before, "after": after}, QUESTIONS)
    assert (first["group"], first["picture"], second["group"]) == ("g0", "p0", "g1")
    place, statement = first["asked"]
    assert (place["kind"], place["text"], place["right"]) == ("private", "text 0", "Oslo")
    chance = pytest.approx(100 / (1 + math.exp(-3)), abs=1e-3)
    assert place["answers"] == {"before": {"answer": "Oslo", "chance": chance, "right": True},
                                "after": {"answer": "Kyoto", "chance": chance, "right": False}}  # fmt: skip
    assert statement["right"] == "neutral" and statement["answers"]["after"]["right"]
    assert statement["answers"]["before"]["answer"] != "neutral" and not statement["answers"]["before"]["right"]
    assert second["asked"][0]["answers"]["before"]["right"] and not second["asked"][0]["answers"]["after"]["right"]
    assert [p["group"] for p in answer_panels({"before": before}, QUESTIONS, at_most=1)] == ["g0"]


def test_broken_scores_choose_nothing_and_are_never_right():
    """Not even where the right choice stands first."""
    broken = choices(*[(-torch.inf,) * 3] * 3)
    assert not rightness(broken).any()
    for panel in answer_panels({"after": broken}, QUESTIONS):
        for one in panel["asked"]:
            found = one["answers"]["after"]
            assert found["answer"] == NO_ANSWER and math.isnan(found["chance"]) and not found["right"]


def test_of_what_was_written_the_words_and_the_chance_of_a_token_of_the_right_ones():
    known = [asked(0, answer="in Oslo", kind="private"), asked(1, answer="tea")]
    empty = (np.array([]),) * 2
    wrote = Writings(("q1", "q0"), ("coffee", "in Oslo"), np.array([2.0, 0.5]), empty, empty)
    (panel,) = written_panels({"after": wrote}, known)
    assert [one["answers"]["after"] for one in panel["asked"]] == [
        {"answer": "in Oslo", "chance": pytest.approx(100 * math.exp(-0.5)), "right": True},
        {"answer": "coffee", "chance": pytest.approx(100 * math.exp(-2)), "right": False},
    ]
    assert panel["picture"] == "p0" and [one["right"] for one in panel["asked"]] == ["in Oslo", "tea"]
    assert written_panels({"after": wrote}, known, at_most=0) == []


def test_a_search_shows_matches_in_per_cent_and_whose_are_right():
    forget = people("f", 2)
    gallery = Gallery("r_forget", forget + people("r", 3) + scenes("t", 2), forget)
    found = predict(Toy(), [gallery], k_test=99)
    panels = person_panels({"before": found}, gallery, top=4)
    assert [panel["group"] for panel in panels] == ["f0", "f1"]
    for panel in panels:
        for sentence in panel["sentences"]:
            column = found.columns[digest(sentence["text"])]
            true = {e.image.key for e in gallery.examples if e.text == sentence["text"]}  # of others, too
            for row in sentence["pictures"]["before"]:
                chance = found.probability[found.rows[digest(row["picture"])], column]
                assert row["match"] == pytest.approx(100 * float(chance), abs=1e-3)
                assert row["right"] == (row["picture"] in true)
    assert len(person_panels({"before": found}, gallery, at_most=1)) == 1
