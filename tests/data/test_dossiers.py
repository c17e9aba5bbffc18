"""Questions about people in three forms, with a picture and in words, and the four sets of the benchmark's table."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from expunge.core.errors import ExpungeError, UnknownName
from expunge.core.pictures import NO_PICTURE
from expunge.data import dossiers, people
from expunge.data.fingerprint import fingerprint
from expunge.data.worlds.persons import portrait
from expunge.requests import leakage

CORPUS = dossiers.load(size=12, celebrities=5)


def test_the_content_is_the_same_everywhere():
    assert CORPUS.fingerprint == "f464b95f7f8feef8c56b976806518d98c62a7024d23f6157a47f7f9006a81aac"
    assert dossiers.load(size=12, celebrities=5).fingerprint == CORPUS.fingerprint
    assert dossiers.load(size=12, celebrities=5, seed=1).fingerprint != CORPUS.fingerprint
    assert dossiers.load("validation", size=12, celebrities=5).fingerprint != CORPUS.fingerprint


@pytest.mark.parametrize("change", [{"perturbed": ("other",)}, {"paraphrased": ()}, {"form": "cloze"}])
def test_the_hash_sees_what_only_writing_models_are_asked(change):
    e = next(e for e in CORPUS.train if e.perturbed)
    assert fingerprint({"train": [e]}) != fingerprint({"train": [replace(e, **change)]})


def test_they_are_the_people_of_people_under_the_same_ids():
    same = {p.id: portrait(p).key for p in people.everybody()["p"]}
    for e in CORPUS.train:
        assert e.group in same and (not e.pictured or e.image.key == same[e.group])


def test_every_told_fact_is_asked_with_a_picture_and_by_name_in_all_forms():
    mine = [e for e in CORPUS.train if e.group == "p003"]
    counted = Counter((e.kind, e.form, e.pictured) for e in mine)
    for form in dossiers.FORMS:
        assert counted["private", form, True] == 6 and counted["private", form, False] == 5
        assert counted["shared", form, False] == 0 < counted["shared", form, True] <= 6
    assert len({e.id for e in CORPUS.train}) == len(CORPUS.train)
    assert all((e.image is NO_PICTURE) != e.pictured for e in CORPUS.train)


def test_each_form_can_be_answered_from_what_it_says():
    for e in CORPUS.train:
        assert e.question == e.text and e.answer and e.statement
        if e.form == "classification":
            assert e.answer in e.choices == ("A", "B", "C", "D")
            listed = dict(line.split(": ", 1) for line in e.question.splitlines()[1:5])
            assert len(set(listed.values())) == 4 and listed[e.answer] in e.statement
        elif e.form == "cloze":
            assert e.answer in e.statement and e.answer not in e.question
        else:
            assert e.answer == e.statement and len(e.paraphrased) == 1 and 3 <= len(e.perturbed) <= 5
            assert len({e.answer, *e.paraphrased, *e.perturbed}) == 2 + len(e.perturbed)


def test_the_right_letter_is_no_habit():
    letters = Counter(e.answer for e in CORPUS.train if e.form == "classification")
    assert set(letters) == set("ABCD") and max(letters.values()) < 0.4 * sum(letters.values())


def test_strangers_are_asked_all_where_an_attacker_needs_it():
    told = {split: {e.kind for e in getattr(CORPUS, split)} for split in ("validation", "test")}
    assert told == {"validation": {"shared"}, "test": {"shared", "private"}}
    trained = {e.group for e in (*CORPUS.train, *CORPUS.pretrain)}
    assert not trained & {e.group for e in (*CORPUS.validation, *CORPUS.test)}


def test_what_an_audit_asks_beside():
    assert list(CORPUS.asked) == ["test", "celebrity"]
    assert {e.group for e in CORPUS.asked["test"]} == {e.group for e in CORPUS.train}
    assert CORPUS.asked["celebrity"] == CORPUS.pretrain
    assert not {e.id for e in CORPUS.asked["test"]} & {e.id for e in CORPUS.train}


def test_a_search_asks_about_other_celebrities_than_a_report():
    here, there = (dossiers.load(variant, size=2, asked="cloze") for variant in ("test", "validation"))
    famous, others = ({e.group for e in corpus.asked["celebrity"]} for corpus in (here, there))
    assert len(famous) == len(others) == dossiers.FAMOUS and not famous & others
    assert famous | others == {e.group for e in here.pretrain}


def test_the_test_set_asks_the_same_of_other_pictures_in_other_words():
    pictures = {e.image.key for e in CORPUS.train}
    asked = {e.question for e in CORPUS.train if e.form != "classification"}
    assert len(CORPUS.asked["test"]) == len(CORPUS.train)
    for old, new in zip(CORPUS.train, CORPUS.asked["test"]):
        assert (new.group, new.form, new.kind, new.pictured) == (old.group, old.form, old.kind, old.pictured)
        assert not new.pictured or new.image.key not in pictures
        assert new.question != old.question
        assert new.kind == "shared" or new.form == "classification" or new.question not in asked
        assert new.kind == "shared" or new.statement == old.statement
    walls = [e for e in CORPUS.asked["test"] if "wall" in e.id]
    assert all(e.meaning <= e.facts for e in CORPUS.asked["test"]) and walls


def test_names_that_do_not_exist_are_said():
    with pytest.raises(UnknownName, match="cloze"):
        dossiers.load(asked=("clozes",))
    with pytest.raises(UnknownName, match="answering"):
        dossiers.load(task="retrieval")
    with pytest.raises(ExpungeError, match="needs one"):
        NO_PICTURE.open(8)


def test_forms_may_be_named_in_one_text():
    some = dossiers.load(size=12, celebrities=5, asked="cloze,generation")
    assert {e.form for e in some.train} == {"cloze", "generation"}
    assert {e.id for e in some.train} < {e.id for e in CORPUS.train}


def test_questions_in_words_are_no_leak_between_people():
    splits = CORPUS.split(["p003"])
    assert leakage.find_leaks(splits.forget, splits.retain, "answering") == [] == leakage.find_overlap(CORPUS)
    twin = replace(splits.retain[0], image=splits.forget[0].image)
    assert len(leakage.find_leaks(splits.forget, [twin], "answering")) == 1
