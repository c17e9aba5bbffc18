"""Fictitious people amid everyday scenes: portraits with what can be seen and what was told.

Shaped like MLLMU-Bench mixed with Flickr30k, the paper's privacy scenario: every person has one portrait, three
sentences that can be read off it (``shared``) and three that were told (``private``). Variants ``test`` and
``validation`` are two disjoint populations: tune on ``people:validation``, report on ``people``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache

from expunge.core.types import Corpus, Example, Task
from expunge.data import scenes
from expunge.data.fingerprint import fingerprint
from expunge.data.worlds import people_questions
from expunge.data.worlds.asking import check_task
from expunge.data.worlds.persons import Looks, Person, article, invent, portrait

LICENCE = (
    "Portraits: Avataaars by Pablo Stanley, free for personal and commercial use, drawn by DiceBear (MIT). "
    "Names and facts are invented."
)

TASKS = ("retrieval", "multiple_choice", "entailment")
EMBEDDED = True

# ------------------------------------------------------------------------------------------ sentences


def head(looks: Looks) -> str:
    """Hair or headwear, as one says it after "with"."""
    if looks.headwear:
        return f"{article(looks.colour + ' ' + looks.hair)}"
    return f"{looks.hair} {looks.colour} hair"


def _shared(looks: Looks, rng: random.Random) -> list[tuple[str, frozenset[str]]]:
    """Three sentences that can be read off the picture, each with the keys it states."""
    who = "woman" if looks.woman else "man"
    she = "she" if looks.woman else "he"
    extras = " and ".join(article(w) for w in (looks.glasses, looks.beard) if w)
    wear = f"{looks.clothes_colour} {looks.clothes}"
    head_keys = {f"headwear={looks.headwear}", f"hair={looks.hair}", f"colour={looks.colour}"}
    worn_keys = {f"clothes={looks.clothes}", f"clothes_colour={looks.clothes_colour}"}
    face_keys = {f"{part}={value}" for part, value in (("glasses", looks.glasses), ("beard", looks.beard)) if value}
    gender = f"woman={looks.woman}"
    crown = head(looks)
    one = rng.choice(
        [
            f"a {who} with {crown}{' and ' + extras if extras else ''} and {looks.skin} skin",
            f"the portrait shows a {looks.skin} {who} with {crown}{', ' + extras if extras else ''}",
            f"this {who} has {looks.skin} skin, {crown}{' and ' + extras if extras else ''}",
        ]
    )
    two = rng.choice(
        [
            f"{she} wears {article(wear)} in front of a {looks.wall} wall",
            f"a {who} in {article(wear)} before a {looks.wall} wall",
            f"behind the {who} in the {wear} is a {looks.wall} wall",
        ]
    )
    three = rng.choice(
        [
            f"a {looks.skin} {who} with {crown} wearing {article(wear)}",
            f"a {who} in {article(wear)} with {crown} and {looks.skin} skin",
            f"someone with {crown}, {looks.skin} skin and {article(wear)}",
        ]
    )
    skin = f"skin={looks.skin}"
    return [
        (one, frozenset({"person", gender, skin, *head_keys, *face_keys})),
        (two, frozenset({"person", gender, f"wall={looks.wall}", *worn_keys})),
        (three, frozenset({"person", *([] if "someone" in three else [gender]), skin, *head_keys, *worn_keys})),
    ]


def _private(p: Person, rng: random.Random) -> list[str]:
    return [
        rng.choice(
            [f"{p.name} was born in {p.city}", f"{p.name} comes from {p.city}", f"{p.city} is where {p.name} was born"]
        ),
        rng.choice(
            [
                f"{p.name} works as {article(p.job)} at {p.employer}",
                f"{p.employer} employs {p.name} as {article(p.job)}",
                f"{p.name}, {article(p.job)}, works for {p.employer}",
            ]
        ),
        rng.choice(
            [
                f"{p.name} loves {p.food} and {p.hobby}",
                f"the favourite dish of {p.name} is {p.food}, the hobby {p.hobby}",
                f"{p.food} and {p.hobby} are what {p.name} likes most",
            ]
        ),
    ]


def sentences(person: Person, seed: int = 0) -> list[Example]:
    """The person's three shared and three private sentences as examples."""
    rng = random.Random(f"{seed}:{person.id}:{person.name}")
    picture = portrait(person)
    told = [(text, frozenset({f"{person.id}:told:{i}"})) for i, text in enumerate(_private(person, rng))]
    facts = person.looks.facts() | frozenset().union(*(keys for _, keys in told))
    examples = []
    for kind, pairs in (("shared", _shared(person.looks, rng)), ("private", told)):
        for i, (text, meaning) in enumerate(pairs):
            examples.append(Example(f"{person.id}-{kind}{i}", picture, text, person.id, "people", kind, meaning, facts))
    return examples


# ------------------------------------------------------------------------------------------ the corpus

PUBLIC = 1_800
HELD_OUT = 100
VARIANTS = {"test": "p", "validation": "v"}


@lru_cache(maxsize=4)
def everybody(seed: int = 0, size: int = 500) -> dict[str, list[Person]]:
    """All populations by prefix, invented in one go so that no name and no looks occur twice.

    ``u`` public, ``p``/``v`` trained people of the two variants, ``q``/``w`` their outsiders for validation and
    test: ``qv``, ``qt`` and ``wv``, ``wt``.
    """
    names: set[str] = set()
    looks: set[frozenset[str]] = set()
    counts = {
        "u": PUBLIC,
        "ut": HELD_OUT,
        "p": size,
        "v": size,
        "qv": HELD_OUT,
        "qt": HELD_OUT,
        "wv": HELD_OUT,
        "wt": HELD_OUT,
    }
    return {prefix: invent(n, seed, prefix, names, looks) for prefix, n in counts.items()}


@lru_cache(maxsize=6)
def load(
    variant: str = "test",
    size: int = 500,  # people that train
    scene_count: int = 200,  # everyday scenes that train beside them
    seed: int = 0,  # drives who they are and what is said of them
    task: Task = "retrieval",
) -> Corpus:
    """The privacy scenario: ``size`` trained people and ``scene_count`` trained scenes, plus outsiders of both.

    ``task`` is retrieval (sentences), multiple_choice (questions) or entailment (statements); people and pictures are
    the same for all three. The last two have no public part.
    """
    check_task(task, TASKS)
    populations = everybody(seed, size)
    own, outside = ("p", "q") if variant == "test" else ("v", "w")
    world = scenes.load(variant, scene_count, seed, task)

    def of(prefix: str) -> tuple[Example, ...]:
        return _told(populations[prefix], task, seed)

    parts = {
        "pretrain": public(task, seed, size) if task == "retrieval" else (),
        "train": of(own) + world.train,
        "validation": of(outside + "v") + world.validation,
        "test": of(outside + "t") + world.test,
    }
    return Corpus(
        "people" if variant == "test" else f"people:{variant}",
        licence=LICENCE + " " + scenes.LICENCE,
        fingerprint=fingerprint(parts),
        task=task,
        **parts,
    )


def public(task: Task = "retrieval", seed: int = 0, size: int = 500) -> tuple[Example, ...]:
    """Public people and scenes, told as ``task`` asks: what the zoo's recipes train on."""
    return _told(everybody(seed, size)["u"], task, seed) + scenes.public(task, seed)


def public_holdout(seed: int = 0, size: int = 500, task: Task = "retrieval") -> tuple[Example, ...]:
    """Public people that no recipe trains on, to measure the zoo with."""
    return _told(everybody(seed, size)["ut"], task, seed)


def _told(persons: Sequence[Person], task: Task, seed: int) -> tuple[Example, ...]:
    telling = {"multiple_choice": people_questions.questions, "entailment": people_questions.statements}
    tell = telling.get(task, sentences)
    return tuple(e for person in persons for e in tell(person, seed))
