"""Fictitious people as the rows that CLEAR publishes: pictures with captions, and questions in words beside them.

Every person has several pictures (the portrait and sittings), each with a caption that names them and says what can be
seen; TOFU's part is played by what was told, asked by name. Public people are the real faces, everyday scenes the real
world. Configs and keys are those of therem/CLEAR (Dontsov et al. 2024): default and full {image, caption, name};
forgetXX, retainXX the same; ``+tofu`` {image, caption, question, answer}, a row being either a caption or a question;
``_perturbed`` adds perturbed_captions, paraphrased_caption, perturbed_names; real_faces {image, answer, options};
real_world {image, question, answer, options}.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from expunge.core.errors import UnknownName
from expunge.data import scenes
from expunge.data.dossiers import Cast, cast, drawn
from expunge.data.forms import LETTERS
from expunge.data.people import head
from expunge.data.worlds.persons import Looks, Person, article
from expunge.data.worlds.telling import WRONG

Row = dict[str, Any]
SHARES = (1, 5, 10)
"""Per cent of the people in the forget sets."""
PEOPLE, PICTURES, FACES, WORLD = 200, 4, 151, 367
"""Ours has four pictures of everybody, the published one about nineteen; the other numbers are the same."""
CAPTIONS = (
    "This is {name}, {seen}.",
    "The picture shows {name}, {seen}.",
    "Here one sees {name}, {seen}.",
)


def configs() -> tuple[str, ...]:
    """The names of everything that is published."""
    shares = [f"forget{share:02d}" for share in SHARES] + [f"retain{100 - share}" for share in SHARES]
    perturbed = [f"forget{share:02d}_perturbed" for share in SHARES]
    tofu = [f"{name}+tofu" for name in ("full", *shares)]
    return ("default", "full", *shares, *perturbed, *tofu, "retain_perturbed", "real_faces", "real_world")


def rows(config: str, people: int = PEOPLE, pictures: int = PICTURES, seed: int = 0) -> Iterator[Row]:
    """The rows of one config. Raises UnknownName for a config that is not published."""
    if config not in configs():
        raise UnknownName("config of CLEAR", config, configs())
    if config == "real_faces":
        yield from _faces(seed)
        return
    if config == "real_world":
        yield from _world(seed)
        return
    group = cast("p", people, seed)
    share, _, extra = config.partition("_" if config.endswith("_perturbed") else "+")
    for person in members(share, group):
        for number in range(pictures):
            row = _caption(group, person, number)
            if extra == "tofu":
                yield {"image": row["image"], "caption": row["caption"], "question": None, "answer": None}
            else:
                yield row | (_perturbed(group, person, number) if extra == "perturbed" else {})
        for fact in group.facts(person) if extra == "tofu" else ():
            if fact.wording.asked:
                told = {"question": fact.question(visual=False), "answer": fact.answer()}
                yield {"image": None, "caption": None, **told}


def members(share: str, group: Cast) -> tuple[Person, ...]:
    """The people of ``full``, ``forget05``, ``retain95``; ``retain`` alone are those whom no config forgets."""
    if share in ("default", "full"):
        return group.people
    if share.startswith("forget"):
        return drawn(group, int(share.removeprefix("forget")))
    kept = share.removeprefix("retain")
    gone = drawn(group, 100 - int(kept) if kept else max(SHARES))
    return tuple(p for p in group.people if p not in gone)


# ------------------------------------------------------------------------------------------ rows


def seen(looks: Looks) -> str:
    """What a caption says besides the name."""
    who = "woman" if looks.woman else "man"
    extras = [article(word) for word in (looks.glasses, looks.beard) if word]
    adorned = " and ".join([head(looks), *extras])
    wear = article(f"{looks.clothes_colour} {looks.clothes}")
    return f"a {who} with {adorned}, in {wear} before a {looks.wall} wall"


def _caption(group: Cast, person: Person, number: int) -> Row:
    looks, picture = group.sitting(person, number)
    caption = CAPTIONS[0].format(name=person.name, seen=seen(looks))
    return {"image": picture, "caption": caption, "name": person.name}


def _perturbed(group: Cast, person: Person, number: int) -> Row:
    looks, _ = group.sitting(person, number)
    rng = random.Random(f"{group.seed}:perturbed:{person.id}:{number}")
    others = sorted(set(group.names[person.looks.woman]) - {person.name})
    wrong = rng.sample(others, min(WRONG, len(others)))
    reworded = rng.choice(CAPTIONS[1:])  # of truth and falsehoods alike: they differ by the name alone
    return {
        "perturbed_captions": [reworded.format(name=name, seen=seen(looks)) for name in wrong],
        "paraphrased_caption": reworded.format(name=person.name, seen=seen(looks)),
        "perturbed_names": wrong,
    }


def _faces(seed: int) -> Iterator[Row]:
    group = cast("u", FACES, seed)
    for person in group.people:
        rng = random.Random(f"{seed}:face:{person.id}")
        others = sorted(set(group.names[person.looks.woman]) - {person.name})
        options = [person.name, *rng.sample(others, len(LETTERS) - 1)]
        rng.shuffle(options)
        yield {"image": group.sitting(person, 0)[1], "answer": person.name, "options": options}


def _world(seed: int) -> Iterator[Row]:
    asked = scenes.load("test", 200, seed, "multiple_choice").test
    for e in asked[:WORLD]:
        yield {"image": e.image, "question": e.question, "answer": e.answer, "options": list(e.choices)}
