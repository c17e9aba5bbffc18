"""What is asked and stated about the fictitious people: multiple choice and visual entailment.

Shared questions can be answered by looking ("what colour is the hair"), private ones only by somebody who was told
("where was this person born"): no question names the person, so the picture is needed to know who is meant.

For entailment two of a person's five private topics, drawn by person, are *told*: each gives a true and a false
statement. Of two others nothing is told, and what is stated of them is neutral. So the same sentence is entailed by
one portrait, contradicted by the next and open for a third, and whoever does not know the people is right once in
three. For what can be seen the neutral statements are about what a portrait does not show (shoes, trousers, a car):
words alone give those away, as they often do in SNLI-VE.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from expunge.core.types import Example
from expunge.data.worlds.asking import Subject, Topic, ask, claim, words
from expunge.data.worlds.persons import (
    CLOTHES,
    COLOURS,
    GLASSES,
    HAIR_COLOURS,
    HEADWEAR,
    MEN_HAIR,
    SKINS,
    WALLS,
    WOMEN_HAIR,
    Person,
    article,
    portrait,
)
from expunge.data.worlds.words import CITIES, EMPLOYERS, FOODS, HOBBIES, JOBS

MAYBE_TOO = {
    "wavy": {"short", "cropped"}, "cropped": {"short", "wavy"}, "short": {"cropped", "wavy"},  # all drawn short
    "blazer": {"shirt"}, "overall": {"shirt"}, "sweater": {"shirt"},  # a shirt shows beneath them
}  # fmt: skip
"""Value -> what may be true of its drawing as well, and so is never stated as false."""


def _topic(
    name: str, question: str, statement: str, values: dict[str, str], true: str | None, own: str | None = None
) -> Topic:
    """A topic whose false values are all others but those that are ``MAYBE_TOO`` true.

    Of a topic without a true value ``own`` is never stated: it is the truth that nobody was told.
    """
    held = true if true is not None else own
    false = tuple(v for v in values if v != held and v not in MAYBE_TOO.get(held or "", ()))
    return Topic(name, question, statement, name + "={}", values, true, false)


def visible(person: Person) -> list[Topic]:
    """What can be seen of a person and has at least three false values."""
    looks = person.looks
    who = "woman" if looks.woman else "man"
    if looks.headwear:
        hair = _topic("hair", "what is on the head", f"a {who} with {{}}", _articled(HEADWEAR), looks.hair)
        colour_of = f"what colour is the {looks.hair}"
        colour = _topic("colour", colour_of, f"a {who} with a {{}} {looks.hair}", words(COLOURS), looks.colour)
    else:
        styles = WOMEN_HAIR if looks.woman else MEN_HAIR
        hair = _topic("hair", "what is the hair like", f"a {who} with {{}} hair", words(styles), looks.hair)
        colour = _topic(
            "colour", "what colour is the hair", f"a {who} with {{}} hair", words(HAIR_COLOURS), looks.colour
        )
    glasses = {"": "no glasses", **words(GLASSES)}
    wear, dye = looks.clothes, looks.clothes_colour
    return [
        hair, colour,
        _topic("glasses", "what glasses does this person wear", f"a {who} with {{}}", glasses, looks.glasses),
        _topic("clothes", "what does this person wear", f"a {who} in {{}}", _articled(CLOTHES), wear),
        _topic("clothes_colour", f"what colour is the {wear}", f"a {who} in a {{}} {wear}", words(COLOURS), dye),
        _topic("wall", "what colour is the wall", f"a {who} before a {{}} wall", words(WALLS), looks.wall),
    ]  # fmt: skip


def hidden(person: Person) -> list[Topic]:
    """What no portrait shows."""
    who, colours = "woman" if person.looks.woman else "man", words(COLOURS)
    return [
        _topic("shoes", "", f"a {who} with {{}} shoes", colours, None),
        _topic("trousers", "", f"a {who} in {{}} trousers", colours, None),
        _topic("car", "", f"a {who} with a {{}} car", colours, None),
    ]


def told(person: Person, known: Callable[[str], bool] = lambda name: True) -> list[Topic]:
    """What only somebody who was told can know; topics that are not ``known`` have no true value."""
    she = "she" if person.looks.woman else "he"
    rows = [
        ("city", "where was this person born", f"{she} was born in {{}}", words(CITIES), person.city),
        ("job", "what does this person work as", f"{she} works as {{}}", _articled(JOBS), person.job),
        ("employer", "who employs this person", f"{she} works for {{}}", words(EMPLOYERS), person.employer),
        ("food", "what is the favourite dish of this person", f"{she} loves {{}}", words(FOODS), person.food),
        ("hobby", "what is the hobby of this person", f"{she} likes {{}}", words(HOBBIES), person.hobby),
    ]
    return [_topic(n, q, s, values, v if known(n) else None, v) for n, q, s, values, v in rows]


def questions(person: Person, seed: int = 0) -> list[Example]:
    """Six shared and five private questions, four choices each."""
    see, hear = visible(person), told(person)
    subject = _subject(person, hear)
    made = [ask(subject, topic, "shared", seed) for topic in see]
    return made + [ask(subject, topic, "private", seed) for topic in hear]


def statements(person: Person, seed: int = 0) -> list[Example]:
    """Six shared and six private statements, two of every label each."""
    rng = random.Random(f"{seed}:statements:{person.id}")
    see = [*visible(person), _skin(person)]
    rng.shuffle(see)
    order = [topic.name for topic in told(person)]
    rng.shuffle(order)
    hear = {topic.name: topic for topic in told(person, lambda name: name in order[:2])}
    known, unknown = [hear[name] for name in order[:2]], [hear[name] for name in order[2:4]]
    subject = _subject(person, known)
    made = [claim(subject, topic, "entailment", "shared", seed) for topic in see[:2]]
    made += [claim(subject, topic, "contradiction", "shared", seed) for topic in see[2:4]]
    made += [claim(subject, topic, "neutral", "shared", seed) for topic in rng.sample(hidden(person), 2)]
    made += [claim(subject, t, label, "private", seed) for t in known for label in ("entailment", "contradiction")]
    return made + [claim(subject, topic, "neutral", "private", seed) for topic in unknown]


def _skin(person: Person) -> Topic:
    """Only three values: enough to be stated wrongly, too few for a question."""
    who = "woman" if person.looks.woman else "man"
    return _topic("skin", "", f"a {who} with {{}} skin", words(SKINS), person.looks.skin)


def _subject(person: Person, known: list[Topic]) -> Subject:
    facts = person.looks.facts().union(*(topic.means(topic.true) for topic in known if topic.true is not None))
    return Subject(person.id, portrait(person), person.id, "people", facts)


def _articled(values) -> dict[str, str]:
    return {v: article(v) for v in values}
