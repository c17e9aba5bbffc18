"""Texts that say nearly the same."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from expunge.core.types import Example
from expunge.data import people
from expunge.data.files.pictures import FilePicture
from expunge.requests.wording import FRAME, Closest, find_reworded


def told(name: str, text: str, kind=None) -> Example:
    return Example(
        name, FilePicture(f"{name}.png", Path("x"), name), text, name, kind=kind, origin=f"mine.jsonl:{name}"
    )


SECRET = "Ana has worked at the old mill since May"


@pytest.mark.parametrize(
    "kept",
    [
        "Ana has worked at the new mill since May", "Ana has worked at the old mill since early May",
        "Ana has worked at the mill since May", "Since May Ana has worked at the old mill!",
    ],
)  # fmt: skip
def test_one_word_changed_added_dropped_or_the_same_in_another_order(kept):
    (warning,) = find_reworded([told("1", SECRET)], [told("2", "the weather is fine today indeed"), told("3", kept)])
    assert warning.where == "mine.jsonl:1" and "nearly the one at mine.jsonl:3, which is kept" in warning.found
    assert "mill" not in str(warning), "warnings are recorded, and a record holds nothing that was forgotten"


@pytest.mark.parametrize(
    "kept",
    [
        "Ana has worked at the new mill since June", SECRET.upper() + "!", "Ana worked at the mill since May",
        "a hat", "Ana has worked at at the mill since May since",
    ],
)  # fmt: skip
def test_two_words_are_too_many_and_equal_texts_are_not_near_but_the_same(kept):
    assert find_reworded([told("1", SECRET)], [told("2", kept)]) == []


def test_short_texts_say_too_little():
    assert find_reworded([told("1", "a red hat here")], [told("2", "a blue hat here")]) == []
    assert len(find_reworded([told("1", "a red hat right here")], [told("2", "a blue hat right here")])) == 1


def test_what_both_call_shared_is_no_leak():
    kept = "Ana has worked at the new mill since May"
    for mine, other, many in (("shared", "shared", 0), ("shared", None, 1), ("private", "shared", 1)):
        assert len(find_reworded([told("1", SECRET, mine)], [told("2", kept, other)])) == many


def test_many_are_one_warning():
    retain = [told(str(n), SECRET.replace("old", word)) for n, word in enumerate(("new", "big"), 2)]
    (warning,) = find_reworded([told("1", SECRET)], retain)
    assert "mine.jsonl:3 and 1 more" in warning.found  # in the order of the texts, "big" first


def test_a_form_letter_does_not_flood():
    def born(n: int) -> Example:
        return told(str(n), f"the person called n{n} was born in Riga")

    few, many = [born(n) for n in range(FRAME)], [born(n) for n in range(FRAME + 1)]
    assert len(find_reworded(few[:1], few[1:])) == 1
    assert find_reworded(many[:1], many[1:]) == []


def test_embedded_people_are_left_out_since_their_sentences_are_near_by_design():
    splits = people.load().split([f"p{n:03d}" for n in range(50)])
    assert find_reworded(splits.forget, splits.retain) == []
    as_files = [
        [told(e.id, e.text, e.kind) for e in side if e.source == "people"] for side in (splits.forget, splits.retain)
    ]
    assert find_reworded(*as_files), "otherwise they could be compared after all"


def test_tens_of_thousands_of_texts_take_a_moment():
    def letter(n: int, who: str) -> Example:
        return told(f"{who}{n}", f"in the year {n} {who} wrote the letter number {n * 7} to king {n % 97}")

    retain, forget = [letter(n, "somebody") for n in range(20_000)], [letter(n, "nobody") for n in range(500)]
    began = time.process_time()
    assert len(find_reworded(forget, retain)) == 500
    assert time.process_time() - began < 10


def test_the_closest_text_is_suggested_by_its_rare_words():
    texts = [f"the portrait number {n} shows a man in the garden" for n in range(5_000)]
    closest = Closest([*texts, "ana works at the mill in riga", "ana sleeps"])
    began = time.process_time()
    for _ in range(50):
        assert closest("ana works in the mill at riga") == "ana works at the mill in riga"
    assert time.process_time() - began < 5
    assert closest("the portrait number 77 shows a woman in the garden") == texts[77]
    assert closest("zebra") == "" and closest("") == "" and Closest([])("a") == ""
