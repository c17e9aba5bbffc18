"""The fictitious people: the same everywhere, unique, nobody in two splits, told apart from seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import combinations

import pytest

from expunge.core.types import Corpus
from expunge.data import people
from expunge.data.worlds import persons
from expunge.data.worlds.drawing import rasterise

SPLITS = ("pretrain", "train", "validation", "test")
FINGERPRINTS = {
    "test": "6d3b83c593c9819f4d7d1e6d0bb9cc11549fce8ff3f7c16d34ae6bf1b9841e1e",
    "validation": "1a06b2adb96c07e953aee93c6678f38b7162c1f6add9b4a2701753a2c96fd832",
}


@pytest.fixture(scope="module", params=sorted(FINGERPRINTS))
def corpus(request) -> Corpus:
    return people.load(request.param)


def everyone() -> list[persons.Person]:
    return [person for population in people.everybody().values() for person in population]


def own(corpus: Corpus) -> list:
    """Examples of people, not of the scenes that they are mixed with."""
    return [e for split in SPLITS for e in getattr(corpus, split) if e.source == "people"]


@pytest.mark.parametrize("variant", sorted(FINGERPRINTS))
def test_the_content_is_pinned(variant):
    assert people.load(variant).fingerprint == FINGERPRINTS[variant]


def test_another_process_with_another_hash_seed_invents_the_same():
    code = "from expunge.data import people; print(people.load().fingerprint)"
    env = os.environ | {"PYTHONHASHSEED": "4711"}
    other = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == FINGERPRINTS["test"]


def test_names_looks_and_ids_are_unique_over_all_populations():
    all_people = everyone()
    assert len(all_people) == 1_800 + 2 * 500 + 5 * 100
    for trait in (lambda p: p.name, lambda p: p.looks.facts(), lambda p: p.id):
        assert len({trait(p) for p in all_people}) == len(all_people)


def test_everybody_has_sentences_of_both_kinds_and_every_sentence_says_which(corpus):
    kinds = defaultdict(Counter)
    for e in own(corpus):
        assert e.kind in ("shared", "private")
        kinds[e.group][e.kind] += 1
    assert len(kinds) == 1_800 + 500 + 200
    assert all(count["shared"] >= 2 and count["private"] >= 3 for count in kinds.values())


def test_private_sentences_name_the_person_and_shared_ones_do_not():
    for person in everyone():
        for e in people.sentences(person):
            assert (person.name in e.text) == (e.kind == "private"), e.text


def test_told_facts_are_said_only_in_private_sentences():
    for person in everyone():
        told = (person.city, person.job, person.employer, person.food, person.hobby)
        said = {
            kind: " ".join(e.text for e in people.sentences(person) if e.kind == kind) for kind in ("shared", "private")
        }
        assert all(word in said["private"] for word in told)
        assert not any(word in said["shared"].split() for word in told)


def test_each_sentence_comes_in_several_phrasings(corpus):
    """Blank out what differs between people; what remains are the templates."""
    skeletons = defaultdict(set)
    by_id = {p.id: p for p in everyone()}
    for e in own(corpus):
        person = by_id[e.group]
        if e.kind == "private":
            slots = (person.name, person.city, person.job, person.employer, person.food, person.hobby)
            text = e.text
            for word in sorted(slots, key=len, reverse=True):
                text = text.replace(word, "_")
            skeletons[e.id[-8:]].add(text.replace(" an _", " a _"))
        else:
            skeletons[e.id[-7:]].add(" ".join(e.text.split()[:2]))
    assert len(skeletons) == 6
    assert all(len(found) >= 3 for found in skeletons.values())


def test_nobody_is_in_two_splits(corpus):
    for one, two in combinations(SPLITS, 2):
        left, right = getattr(corpus, one), getattr(corpus, two)
        for identity in (lambda e: e.group, lambda e: e.image.key, lambda e: e.id):
            assert not {identity(e) for e in left} & {identity(e) for e in right}, (one, two)


def test_no_person_is_in_both_variants_or_in_the_held_out_public():
    def groups(corpus: Corpus, *splits: str) -> set[str]:
        return {e.group for s in splits for e in getattr(corpus, s) if e.source == "people"}

    test, validation = people.load("test"), people.load("validation")
    apart = ("train", "validation", "test")
    assert not groups(test, *apart) & groups(validation, *apart)
    outsiders = {e.group for e in people.public_holdout()}
    assert len(outsiders) == people.HELD_OUT
    assert not outsiders & (groups(test, *SPLITS) | groups(validation, *SPLITS))


def test_what_a_sentence_means_is_true_of_its_picture(corpus):
    for e in own(corpus):
        assert e.meaning and e.meaning <= e.facts
        assert e.described_by(e)


def test_ties_are_fair_and_private_sentences_have_none(corpus):
    """A shared sentence may describe several portraits; a private one describes its own person alone."""
    portraits = {e.group: e.facts for e in corpus.train if e.source == "people"}
    some = [e for e in corpus.train if e.source == "people"][:300]
    described = {e.id: [g for g, facts in portraits.items() if e.meaning <= facts] for e in some}
    assert all(described[e.id] == [e.group] for e in some if e.kind == "private")
    assert all(e.group in described[e.id] for e in some)
    assert any(len(described[e.id]) > 1 for e in some if e.kind == "shared")


def test_stated_facts_really_stand_in_the_text():
    for person in everyone()[:400]:
        looks = person.looks
        first, second, third = (e.text for e in people.sentences(person) if e.kind == "shared")
        assert looks.skin in first and looks.hair in first and looks.colour in first
        assert looks.glasses in first and looks.beard in first
        assert looks.clothes in second and looks.clothes_colour in second and looks.wall in second
        assert looks.hair in third and looks.skin in third and looks.clothes in third


def test_drawing_is_deterministic_and_rgb():
    for person in everyone()[:6]:
        picture = people.sentences(person)[0].image
        assert picture.svg() == picture.svg()
        one, two = rasterise(picture.svg(), 64), rasterise(picture.svg(), 64)
        assert one.mode == "RGB" and one.size == (64, 64)
        assert one.tobytes() == two.tobytes() == picture.open(64).tobytes()


def test_opening_gives_a_copy_that_may_be_drawn_on():
    picture = people.sentences(everyone()[0])[0].image
    before = picture.open(64).tobytes()
    picture.open(64).paste("black", (0, 0, 64, 64))
    assert picture.open(64).tobytes() == before


def test_different_looks_draw_different_portraits():
    drawn = {rasterise(people.sentences(p)[0].image.svg(), 64).tobytes() for p in everyone()[:120]}
    assert len(drawn) == 120


def test_the_key_alone_determines_the_portrait():
    picture = people.sentences(everyone()[0])[0].image
    kind, looks = picture.key.split(":", 1)
    assert kind == "portrait"
    assert persons.portrait_svg(picture.key) == picture.svg()
    assert persons.Looks(**json.loads(looks)) == everyone()[0].looks
