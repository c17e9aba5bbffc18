"""Questions and statements: every label and every choice is checked against the people and scenes themselves.

The judge below reads the words of an example with patterns of its own and looks the truth up in the person or in the
composition; it uses neither ``facts`` nor ``meaning`` nor the tables that made the example.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest

from expunge.api import load_data
from expunge.core.errors import UnknownName
from expunge.data import people, scenes

VARIANTS = ("test", "validation")
TASKS = ("multiple_choice", "entailment")
SPLITS = ("train", "validation", "test")
RETRIEVAL = {
    ("people", "test"): "6d3b83c593c9819f4d7d1e6d0bb9cc11549fce8ff3f7c16d34ae6bf1b9841e1e",
    ("people", "validation"): "1a06b2adb96c07e953aee93c6678f38b7162c1f6add9b4a2701753a2c96fd832",
    ("scenes", "test"): "badfe493b6f5cea68d7643880e646e616a544cbbeedf4a877ba5359aab74748d",
}
TASKED = {
    "multiple_choice": "81f16e102a9a0af23cf1eb43edc323bd43c7f11d74805c53eaabdb4234185104",
    "entailment": "24108f45d95fc4c5752e24a5759d9ae1cc5517136bdfe4bb73f30cf04a5e1873",
}


@pytest.fixture(scope="module")
def known():
    return {p.id: p for population in people.everybody().values() for p in population}


def every(name, task, variant="test"):
    corpus = {"people": people, "scenes": scenes}[name].load(variant, task=task)
    return [e for split in SPLITS for e in getattr(corpus, split)]


# ------------------------------------------------------------------------------------------ the judge


def bare(words):
    return re.sub(r"^(an?|no) ", lambda m: "no " if m[0] == "no " else "", words)


def of_person(words, person, told):
    """True, False or None (unknown) for a statement about a person; ``told`` are the private topics one may know."""
    looks = person.looks
    who = "woman" if looks.woman else "man"
    she = "she" if looks.woman else "he"
    private = {
        "was born in": ("city", person.city), "works as": ("job", person.job),
        "works for": ("employer", person.employer), "loves": ("food", person.food),
        "likes": ("hobby", person.hobby),
    }  # fmt: skip
    for verb, (topic, truth) in private.items():
        if found := re.fullmatch(f"{she} {verb} (.+)", words):
            return bare(found[1]) == truth if topic in told else None
    found = re.fullmatch(rf"a {who} (with|in|before) (.+)", words)
    assert found, words
    place, what = found[1], bare(found[2])
    if re.fullmatch(r"\w+ (shoes|trousers|car)", what):
        return None
    if place == "before":
        return what == f"{looks.wall} wall"
    if place == "in":
        return what in (looks.clothes, f"{looks.clothes_colour} {looks.clothes}")
    if what.endswith("glasses"):
        return what == (looks.glasses or "no glasses")
    if what.endswith("skin"):
        return what == f"{looks.skin} skin"
    if looks.headwear:
        return what in (looks.hair, f"{looks.colour} {looks.hair}")
    return what in (f"{looks.hair} hair", f"{looks.colour} hair")


def of_scene(words, key):
    """The same for a scene, whose picture key spells its composition."""
    first, relation, second, third, ground = key.split(":", 1)[1].split("|")
    things = {first, second, third} - {""}
    back = {"left of": "right of", "above": "below"}[relation]
    if found := re.fullmatch(r"there is (.+)", words):
        return bare(found[1]) in things
    if found := re.fullmatch(r"(.+) and (.+) before an? (\w+) ground", words):
        return {bare(found[1]), bare(found[2])} <= things and found[3] == ground
    if found := re.fullmatch(r"the (\w+) is .+", words):
        assert found[1] in things
        return None
    found = re.fullmatch(r"(.+) (left of|right of|above|below) (.+)", words)
    assert found, words
    return (bare(found[1]), found[2], bare(found[3])) in {(first, relation, second), (second, back, first)}


def statement_of(question, answer, e, known):
    """A question with one of its answers, as a sentence the judge can read."""
    if e.source == "scenes":
        if found := re.fullmatch(r"what is (left of|right of|above|below) the (\w+)", question):
            return f"{answer} {found[1]} {found[2]}"
        if question == "what colour is the ground":
            first, _, second, _, _ = e.image.key.split(":", 1)[1].split("|")
            return f"{first} and {second} before a {answer} ground"
        assert question == "what is in the picture"
        return f"there is {answer}"
    looks = known[e.group].looks
    who, she = ("woman", "she") if looks.woman else ("man", "he")
    if found := re.fullmatch(r"what colour is the (.+)", question):
        thing = found[1]
        place = {"wall": "before", "hair": "with"}.get(thing) or ("with" if thing == looks.hair else "in")
        return f"a {who} {place} {answer} {thing}" if thing == "hair" else f"a {who} {place} a {answer} {thing}"
    forms = {
        "where was this person born": f"{she} was born in {answer}",
        "what does this person work as": f"{she} works as a {answer}",
        "who employs this person": f"{she} works for {answer}",
        "what is the favourite dish of this person": f"{she} loves {answer}",
        "what is the hobby of this person": f"{she} likes {answer}",
        "what is the hair like": f"a {who} with {answer} hair",
        "what is on the head": f"a {who} with a {answer}",
        "what glasses does this person wear": f"a {who} with {answer}",
        "what does this person wear": f"a {who} in a {answer}",
    }
    return forms[question]


EVERYTHING = {"city", "job", "employer", "food", "hobby"}


def judge(words, e, known, told=EVERYTHING):
    return of_scene(words, e.image.key) if e.source == "scenes" else of_person(words, known[e.group], told)


# ------------------------------------------------------------------------------------------ the truth of all of them


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["people", "scenes"])
def test_one_choice_is_right_and_the_others_are_wrong(name, variant, known):
    for e in every(name, "multiple_choice", variant):
        assert len(e.choices) == len(set(e.choices)) == 4 and e.text == e.question
        judged = [judge(statement_of(e.question, choice, e, known), e, known) for choice in e.choices]
        assert judged.count(True) == 1 and judged.count(False) == 3
        assert e.choices[judged.index(True)] == e.answer
        assert judge(e.statement, e, known) is True
        assert e.meaning <= e.facts


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["people", "scenes"])
def test_every_label_follows(name, variant, known):
    examples = every(name, "entailment", variant)
    told = {}
    for e in examples:  # what is told of a person is what some private statement entails
        if e.kind == "private":
            told.setdefault(e.group, set())
            if e.label == "entailment":
                told[e.group].add(e.id.split("-")[1])
    assert all(len(topics) == 2 for topics in told.values())
    expected = {True: "entailment", False: "contradiction", None: "neutral"}
    for e in examples:
        assert e.label == expected[judge(e.text, e, known, told.get(e.group, set()))], e
        assert (e.meaning <= e.facts) == (e.label == "entailment")
        if e.label == "contradiction":
            assert judge(e.statement, e, known) is True
        elif e.label == "neutral" and e.kind == "private":
            assert judge(e.text, e, known) is False  # nor is the untold truth ever stated


def test_a_neutral_statement_is_about_nothing_that_is_known():
    for name in ("people", "scenes"):
        for e in every(name, "entailment"):
            topics = {fact.split("=")[0] for fact in e.facts}
            (stated,) = e.meaning
            if e.label == "neutral":
                assert stated.split("=")[0] not in topics


@pytest.mark.parametrize("name", ["people", "scenes"])
def test_labels_are_balanced_for_every_picture_and_kind(name):
    counts = Counter((e.image.key, e.kind, e.label) for e in every(name, "entailment"))
    assert set(counts.values()) == {2}


def test_choices_stand_anywhere():
    places = Counter(e.choices.index(e.answer) for e in every("people", "multiple_choice"))
    total = sum(places.values())
    assert all(0.23 < places[i] / total < 0.27 for i in range(4))


def test_private_labels_cannot_be_guessed_from_words():
    """Knowing only which verb or which word is used says next to nothing about the label."""
    private = [e for e in every("people", "entailment") if e.kind == "private"]
    for cut in (slice(0, 3), slice(-1, None)):
        by_words = {}
        for e in private:
            by_words.setdefault(tuple(e.text.split()[cut]), Counter())[e.label] += 1
        best = sum(max(c.values()) for c in by_words.values()) / len(private)
        assert best < 0.45  # a third, and what 160 cells of chance add to it


def test_no_question_names_the_person(known):
    for variant in VARIANTS:
        for task in TASKS:
            for e in every("people", task, variant):
                if e.source == "people":
                    first, last = known[e.group].name.split()
                    assert first not in f"{e.text} {e.statement}" and last not in f"{e.text} {e.statement}".split()


# ------------------------------------------------------------------------------------------ the corpora


@pytest.mark.parametrize(("name", "variant"), sorted(RETRIEVAL))
def test_the_retrieval_corpora_are_what_they_were(name, variant):
    """Originals are kept by these fingerprints."""
    corpus = {"people": people, "scenes": scenes}[name].load(variant)
    assert corpus.fingerprint == RETRIEVAL[name, variant] and corpus.task == "retrieval"
    assert not any(e.question or e.choices or e.label or e.statement for e in corpus.train)


@pytest.mark.parametrize("task", TASKS)
def test_the_same_everywhere(task):
    assert people.load(task=task).fingerprint == TASKED[task]


@pytest.mark.parametrize("task", TASKS)
def test_people_and_pictures_are_those_of_retrieval(task):
    """So nobody who is tested was trained, whatever the task."""
    plain, asked = people.load(), people.load(task=task)
    for split in SPLITS:
        assert {e.group for e in getattr(plain, split)} == {e.group for e in getattr(asked, split)}
        assert {e.image.key for e in getattr(plain, split)} == {e.image.key for e in getattr(asked, split)}
    groups = [{e.group for e in getattr(asked, split)} for split in SPLITS]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    ids = [e.id for split in SPLITS for e in getattr(asked, split)]
    assert len(ids) == len(set(ids)) and asked.pretrain == () and asked.task == task


@pytest.mark.parametrize("task", TASKS)
def test_a_world_of_another_size_asks_the_same(task):
    few, many = people.load(size=20, scene_count=10, task=task), people.load(task=task)
    there = {(e.id, e.image.key): e for e in many.train}
    same = [e for e in few.train if (e.id, e.image.key) in there]
    assert len(same) > 100 and all(there[e.id, e.image.key] == e for e in same)


def test_an_answer_changes_the_fingerprint():
    from dataclasses import replace

    from expunge.data.fingerprint import fingerprint

    examples = people.load(task="multiple_choice").train[:5]
    turned = (replace(examples[0], choices=examples[0].choices[::-1]), *examples[1:])
    assert fingerprint({"train": examples}) != fingerprint({"train": turned})


def test_a_task_that_does_not_exist():
    with pytest.raises(UnknownName, match="Did you mean 'entailment'"):
        load_data("people", task="entailments")
    assert load_data("people:validation", task="entailment").name == "people:validation"
    assert load_data("scenes", task="multiple_choice").task == "multiple_choice"
