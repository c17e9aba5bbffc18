"""The fictitious people themselves: what can be seen of them and what was told, invented and drawn.

Portraits are DiceBear ``avataaars`` drawings with every option set, so attribute tuples are unique and nothing is left
to a default. ``people`` makes a data set of them, ``people_questions`` asks about them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from expunge.data.worlds.drawing import DrawnPicture
from expunge.data.worlds.words import CITIES, EMPLOYERS, FOODS, HOBBIES, JOBS, MEN, SURNAMES, WOMEN

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
    return drawn(Looks(**json.loads(key.split(":", 1)[1])), {})


def drawn(looks: Looks, pose: Mapping[str, Any]) -> str:
    """SVG of somebody who looks like that. ``pose`` are options of the drawing that have nothing to do with looks."""
    from dicebear import Avatar

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
        **pose,
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


def portrait(person: Person) -> DrawnPicture:
    """The one picture of a person."""
    return DrawnPicture("portrait:" + json.dumps(asdict(person.looks), sort_keys=True), portrait_svg)


def article(words: str) -> str:
    """Words as one says them: ``an overall``, but ``round glasses``."""
    plural = words.endswith("glasses")
    return words if plural else ("an " if words[0] in "aeiou" else "a ") + words
