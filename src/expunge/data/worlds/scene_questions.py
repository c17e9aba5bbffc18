"""What is asked and stated about the everyday scenes: all of it follows from the composition, all of it is shared.

A scene is fully described by its things, their relation and the ground, so what it does not hold is false. Neutral
statements are about what no drawing shows: whether a thing is old, or heavy, or for sale.
"""

from __future__ import annotations

import random

from expunge.core.types import Example
from expunge.data.worlds.asking import Subject, Topic, ask, claim, words
from expunge.data.worlds.compositions import GROUNDS, RELATIONS, THINGS, Composition, article, picture_of

UNSEEN = words(("old", "new", "heavy", "light", "cheap", "for sale"))


def questions(identity: str, full: Composition, seed: int = 0) -> list[Example]:
    """Four questions of four choices; wrong things are nowhere in the picture."""
    first, relation, second, third, ground = full
    subject, rng = _subject(identity, full), random.Random(f"{seed}:questions:{identity}")
    back = RELATIONS[relation]
    seen = rng.choice([thing for thing in (first, second, third) if thing])
    topics = [
        _thing("first", f"what is {relation} the {second}", f"{{}} {relation} {article(second)}",
               f"{{}} {relation} {second}", first, full),
        _thing("second", f"what is {back} the {first}", f"{{}} {back} {article(first)}",
               f"{first} {relation} {{}}", second, full),
        _thing("thing", "what is in the picture", "there is {}", "has={}", seen, full),
        _ground(full),
    ]  # fmt: skip
    return [ask(subject, topic, "shared", seed) for topic in topics]


def statements(identity: str, full: Composition, seed: int = 0) -> list[Example]:
    """Six statements, two of every label: the relation, a thing or the ground, and what cannot be seen."""
    first, relation, second, third, _ = full
    subject, rng = _subject(identity, full), random.Random(f"{seed}:statements:{identity}")
    things = [thing for thing in (first, second, third) if thing]
    other = [_thing("thing", "", "there is {}", "has={}", rng.choice(things), full), _ground(full)]
    rng.shuffle(other)
    unseen = [
        Topic(f"{thing}-state", "", f"the {thing} is {{}}", f"{thing} is {{}}", UNSEEN, None, tuple(UNSEEN))
        for thing in rng.sample(things, 2)
    ]
    right, wrong = _order(full, rng.random() < 0.5), _order(full, rng.random() < 0.5)
    made = [claim(subject, topic, "entailment", "shared", seed) for topic in (right, other[0])]
    made += [claim(subject, topic, "contradiction", "shared", seed) for topic in (wrong, other[1])]
    return made + [claim(subject, topic, "neutral", "shared", seed) for topic in unseen]


def _thing(name: str, question: str, statement: str, key: str, true: str, full: Composition) -> Topic:
    first, _, second, third, _ = full
    absent = tuple(thing for thing in THINGS if thing not in (first, second, third))
    return Topic(name, question, statement, key, {thing: article(thing) for thing in THINGS}, true, absent)


def _ground(full: Composition) -> Topic:
    first, _, second, _, ground = full
    statement = f"{article(first)} and {article(second)} before a {{}} ground"
    others = tuple(g for g in GROUNDS if g != ground)
    return Topic("ground", "what colour is the ground", statement, "ground={}", words(GROUNDS), ground, others)


def _order(full: Composition, turned: bool) -> Topic:
    """Which way round the related things stand; ``turned`` says it from the other side."""
    first, relation, second, _, _ = full
    said = {}
    for one, two in ((first, second), (second, first)):
        start, word, end = (two, RELATIONS[relation], one) if turned else (one, relation, two)
        said[f"{one} {relation} {two}"] = f"{article(start)} {word} {article(end)}"
    right, wrong = said
    return Topic("order", "", "{}", "{}", said, right, (wrong,))


def _subject(identity: str, full: Composition) -> Subject:
    picture, group, facts = picture_of(full)
    return Subject(identity, picture, group, "scenes", facts)
