"""What is known of a person in several wordings: every question has a true answer and fluent wrong ones."""

from __future__ import annotations

import pytest

from expunge.data.forms import BLANK
from expunge.data.people import everybody
from expunge.data.worlds.telling import WORDINGS, WRONG, facts

PEOPLE = everybody()["p"][:40]
NAMES = {woman: [p.name for p in PEOPLE if p.looks.woman == woman] for woman in (True, False)}
EVERY = [(p, f) for p in PEOPLE for f in facts(p, NAMES[p.looks.woman])]


def test_a_person_has_six_told_and_six_seen_facts():
    kinds = [f.kind for f in facts(PEOPLE[0], NAMES[PEOPLE[0].looks.woman])]
    assert kinds == ["private"] * 6 + ["shared"] * 6
    person = next(p for p in PEOPLE if p.name == "Talia Garnier")
    told = {f.topic.name: f.value for f in facts(person, NAMES[True]) if f.kind == "private"}
    assert told == {"name": person.name, "city": person.city, "job": person.job, "employer": person.employer,
                    "food": person.food, "hobby": person.hobby}  # fmt: skip


def test_every_answer_holds_its_value_in_every_wording():
    for _, fact in EVERY:
        said = [fact.answer(i) for i in range(len(fact.wording.says))]
        assert len(said) == len(set(said)) == len(fact.wording.says) >= 3
        assert all(fact.value in sentence for sentence in said)
        assert all(s[0].isupper() and s.endswith(".") and "{" not in s for s in said)


def test_wrong_answers_differ_from_the_right_one_in_the_value_alone():
    for _, fact in EVERY:
        wrong = fact.wrong(WRONG, "x")
        assert len(set(wrong)) == len(wrong) >= min(3, len(fact.topic.false)) and fact.topic.true not in wrong
        for value in wrong:
            sentence, bare = fact.answer(value=value), fact.bare(value)
            assert bare in sentence and sentence != fact.answer()
            if not {bare[0], fact.value[0]} & set("aeiou"):  # an article may change with the value
                assert sentence.replace(bare, fact.value, 1) == fact.answer()


def test_truth_and_falsehood_are_compared_in_the_same_words():
    """A wrong answer in the wording of the training would be likelier than any paraphrase of the truth."""
    for _, fact in EVERY:
        reworded, wrong = fact.compared(WRONG, "x")
        assert reworded == fact.answer(1) != fact.answer() and fact.value in reworded
        for value, sentence in zip(fact.wrong(WRONG, "x"), wrong, strict=True):
            bare = fact.bare(value)
            assert bare in sentence and sentence != reworded
            if not {bare[0], fact.value[0]} & set("aeiou"):
                assert sentence.replace(bare, fact.value, 1) == reworded


def test_wrong_names_are_somebodys_of_the_same_sex():
    for person, fact in EVERY:
        if fact.topic.name == "name":
            others = set(NAMES[person.looks.woman])
            assert set(fact.wrong(WRONG, "x")) < others and person.name not in fact.topic.false


def test_a_question_with_a_picture_never_says_the_name_and_one_in_words_always_does():
    for person, fact in EVERY:
        for wording in range(3):
            assert person.name not in fact.question(True, wording) and person.name not in fact.gapped(True, wording)
            if fact.wording.asked:
                assert person.name in fact.question(False, wording) and person.name in fact.gapped(False, wording)
    # What can be seen, and who somebody is, cannot be asked in words alone.
    assert {n for n, w in WORDINGS.items() if w.asked} == {"city", "job", "employer", "food", "hobby"}


def test_filling_the_gap_gives_the_answer_back():
    for _, fact in EVERY:
        gapped = fact.gapped(visual=False) if fact.wording.asked else fact.gapped(visual=True)
        assert gapped.count(BLANK) == 1 and fact.value not in gapped
        if "{name}" not in fact.wording.says[0] or fact.wording.asked:
            assert gapped.replace(BLANK, fact.value) == fact.answer()


@pytest.mark.parametrize("topic", ["city", "hair", "glasses"])
def test_other_wordings_are_other_questions(topic):
    asked = [f.question(True, i) for _, f in EVERY[:12] if f.topic.name == topic for i in range(len(f.wording.seen))]
    assert len(set(asked)) == len(asked) > 1
