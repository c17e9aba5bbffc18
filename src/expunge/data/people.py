"""Fictitious people amid everyday scenes: portraits with what can be seen and what was told.

Shaped like MLLMU-Bench mixed with Flickr30k, the paper's privacy scenario: every person has one portrait, three
sentences that can be read off it (``shared``) and three that were told (``private``). Portraits are DiceBear
``avataaars`` drawings with every option set, so attribute tuples are unique and nothing is left to a default.
Variants ``test`` and ``validation`` are two disjoint populations: tune on ``people:validation``, report on
``people``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files

from expunge.core.types import Corpus, Example, Task
from expunge.data import scenes
from expunge.data.asking import check_task
from expunge.data.drawing import DrawnPicture
from expunge.data.fingerprint import fingerprint
from expunge.data.words import CITIES, EMPLOYERS, FOODS, HOBBIES, JOBS, MEN, SURNAMES, WOMEN

LICENCE = (
    "Portraits: Avataaars by Pablo Stanley, free for personal and commercial use, drawn by DiceBear (MIT). "
    "Names and facts are invented."
)

# Each table maps the word used in sentences to the drawing's option.
HAIR_STYLES = {
    "long": "straight01", "bobbed": "bob", "curly": "curly", "frizzy": "fro", "tied": "bun", "short": "shortFlat",
    "wavy": "shortWaved", "cropped": "theCaesar", "shaggy": "shaggyMullet", "plaited": "dreads01",
}  # fmt: skip
HEADWEAR = {"winter hat": "winterHat02", "turban": "turban", "hijab": "hijab", "fedora": "hat"}
HAIR_COLOURS = {"black": "#2c1b18", "brown": "#724133", "blond": "#d6b370", "red": "#c93305", "silver": "#e8e1e1"}
SKINS = {"pale": "#ffdbb4", "tan": "#d08b5b", "dark": "#614335"}
BEARDS = {"beard": "beardMedium", "long beard": "beardMajestic", "moustache": "moustacheMagnum"}
GLASSES = {"round glasses": "round", "sunglasses": "sunglasses", "reading glasses": "prescription02"}
CLOTHES = {
    "hoodie": "hoodie", "blazer": "blazerAndShirt", "overall": "overall", "shirt": "shirtCrewNeck",
    "sweater": "collarAndSweater",
}  # fmt: skip
COLOURS = {
    "red": "#ff5c5c", "blue": "#25557c", "green": "#4c9a52", "white": "#ffffff", "pink": "#ff9ec4",
    "yellow": "#ffd83d",
}  # fmt: skip
WALLS = {
    "sky": "#9fd8f5",
    "lemon": "#fff3a3",
    "mint": "#b7f0cf",
    "rose": "#f7c6d0",
    "grey": "#b9bec4",
    "violet": "#b9a3e3",
}
EYES = ("default", "happy", "side", "squint")
BROWS = ("default", "defaultNatural", "flatNatural", "raisedExcited")
MOUTHS = ("default", "smile", "serious", "twinkle")

WOMEN_HAIR = ("long", "bobbed", "curly", "frizzy", "tied", "plaited", "wavy")
MEN_HAIR = ("short", "wavy", "cropped", "shaggy", "frizzy", "plaited", "curly")


@dataclass(frozen=True)
class Looks:
    """What can be seen. ``hair`` is a style, or headwear's name when ``headwear`` is true."""

    woman: bool
    headwear: bool
    hair: str
    colour: str  # of the hair, or of the hat
    skin: str
    beard: str  # "" for none
    glasses: str  # "" for none
    clothes: str
    clothes_colour: str
    wall: str
    eyes: str = "default"
    brows: str = "default"
    mouth: str = "smile"

    def facts(self) -> frozenset[str]:
        """Canonical keys of everything that sentences may state about the picture."""
        stated = ("headwear", "hair", "colour", "skin", "beard", "glasses", "clothes", "clothes_colour", "wall")
        values = asdict(self)
        return frozenset({"person", f"woman={self.woman}", *(f"{name}={values[name]}" for name in stated)})


@dataclass(frozen=True)
class Person:
    """A whole fictitious person: looks and what was told of them."""

    id: str
    name: str
    looks: Looks
    city: str
    job: str
    employer: str
    food: str
    hobby: str


def portrait_svg(key: str) -> str:
    """Draw the portrait whose picture key holds the looks as JSON after the first colon."""
    from dicebear import Avatar

    looks = Looks(**json.loads(key.split(":", 1)[1]))
    hair_colour = "#2c1b18" if looks.headwear else HAIR_COLOURS[looks.colour]
    top = HEADWEAR[looks.hair] if looks.headwear else HAIR_STYLES[looks.hair]
    options = {
        "seed": "fixed",
        "topVariant": [top],
        "topProbability": 100,
        "hairColor": [hair_colour],
        "hatColor": [COLOURS[looks.colour] if looks.headwear else "#ffffff"],
        "skinColor": [SKINS[looks.skin]],
        "facialHairVariant": [BEARDS.get(looks.beard, "beardMedium")],
        "facialHairProbability": 100 if looks.beard else 0,
        "facialHairColor": [hair_colour],
        "accessoriesVariant": [GLASSES.get(looks.glasses, "round")],
        "accessoriesProbability": 100 if looks.glasses else 0,
        "accessoriesColor": ["#262e33"],
        "clothesVariant": [looks.clothes and CLOTHES[looks.clothes]],
        "clothesColor": [COLOURS[looks.clothes_colour]],
        "clothesGraphicVariant": ["diamond"],
        "eyesVariant": [looks.eyes],
        "eyebrowsVariant": [looks.brows],
        "mouthVariant": [looks.mouth],
        "noseVariant": ["default"],
        "backgroundColor": [WALLS[looks.wall]],
    }
    return Avatar(_style(), options).to_string()


@lru_cache(maxsize=1)
def _style():
    from dicebear import Style

    return Style(json.loads(files("dicebear_styles").joinpath("avataaars.json").read_text("utf-8")))


# ------------------------------------------------------------------------------------------ invention


def _looks(rng: random.Random) -> Looks:
    woman = rng.random() < 0.5
    headwear = rng.random() < 0.22
    if headwear:
        hair = rng.choice(("winter hat", "fedora", "hijab") if woman else ("winter hat", "fedora", "turban"))
        colour = rng.choice(sorted(COLOURS))
    else:
        hair = rng.choice(WOMEN_HAIR if woman else MEN_HAIR)
        colour = rng.choice(sorted(HAIR_COLOURS))
    beard = rng.choice(sorted(BEARDS)) if not woman and rng.random() < 0.5 else ""
    glasses = rng.choice(sorted(GLASSES)) if rng.random() < 0.5 else ""
    return Looks(
        woman, headwear, hair, colour, rng.choice(sorted(SKINS)), beard, glasses, rng.choice(sorted(CLOTHES)),
        rng.choice(sorted(COLOURS)), rng.choice(sorted(WALLS)), rng.choice(EYES), rng.choice(BROWS),
        rng.choice(MOUTHS),
    )  # fmt: skip


def invent(count: int, seed: int, prefix: str, taken_names: set[str], taken_looks: set) -> list[Person]:
    """``count`` people with unique names and unique stated looks; both sets are added to."""
    rng = random.Random(f"people:{prefix}:{seed}")
    people = []
    while len(people) < count:
        looks = _looks(rng)
        name = f"{rng.choice(WOMEN if looks.woman else MEN)} {rng.choice(SURNAMES)}"
        facts = looks.facts()
        if name in taken_names or facts in taken_looks:
            continue
        taken_names.add(name)
        taken_looks.add(facts)
        told = (rng.choice(words) for words in (CITIES, JOBS, EMPLOYERS, FOODS, HOBBIES))
        people.append(Person(f"{prefix}{len(people):03d}", name, looks, *told))
    return people


# ------------------------------------------------------------------------------------------ sentences


def article(words: str) -> str:
    """Words as one says them: ``an overall``, but ``round glasses``."""
    plural = words.endswith("glasses")
    return words if plural else ("an " if words[0] in "aeiou" else "a ") + words


def _head(looks: Looks) -> str:
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
    head = _head(looks)
    one = rng.choice(
        [
            f"a {who} with {head}{' and ' + extras if extras else ''} and {looks.skin} skin",
            f"the portrait shows a {looks.skin} {who} with {head}{', ' + extras if extras else ''}",
            f"this {who} has {looks.skin} skin, {head}{' and ' + extras if extras else ''}",
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
            f"a {looks.skin} {who} with {head} wearing {article(wear)}",
            f"a {who} in {article(wear)} with {head} and {looks.skin} skin",
            f"someone with {head}, {looks.skin} skin and {article(wear)}",
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


def portrait(person: Person) -> DrawnPicture:
    """The one picture of a person."""
    return DrawnPicture("portrait:" + json.dumps(asdict(person.looks), sort_keys=True), portrait_svg)


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
    variant: str = "test", size: int = 500, scene_count: int = 200, seed: int = 0, task: Task = "retrieval"
) -> Corpus:
    """The privacy scenario: ``size`` trained people and ``scene_count`` trained scenes, plus outsiders of both.

    ``task`` is retrieval (sentences), multiple_choice (questions) or entailment (statements); people and pictures are
    the same for all three. The last two have no public part.
    """
    check_task(task)
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
    from expunge.data import people_questions

    telling = {"multiple_choice": people_questions.questions, "entailment": people_questions.statements}
    tell = telling.get(task, sentences)
    return tuple(e for person in persons for e in tell(person, seed))
