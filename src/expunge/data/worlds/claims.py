"""What sentences about the embedded worlds state, read off their words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from expunge.core.text import plain
from expunge.core.types import Example
from expunge.data.worlds import compositions, persons


def _one_of(words: Iterable[str]) -> str:
    return "(" + "|".join(sorted(map(re.escape, words), key=len, reverse=True)) + ")"


_PATTERNS = {
    ("hair", "colour"): rf"\b{_one_of(persons.HAIR_STYLES)} {_one_of(persons.HAIR_COLOURS)} hair\b",
    ("colour", "hair"): rf"\b{_one_of(persons.COLOURS)} {_one_of(persons.HEADWEAR)}\b",
    ("clothes_colour", "clothes"): rf"\b{_one_of(persons.COLOURS)} {_one_of(persons.CLOTHES)}\b",
    ("wall",): rf"\b{_one_of(persons.WALLS)} wall\b",
    ("skin",): rf"\b{_one_of(persons.SKINS)}\b",
    ("glasses",): rf"\b{_one_of(persons.GLASSES)}\b",
    ("beard",): rf"\b{_one_of(persons.BEARDS)}\b",
}


def portrait_claims(text: str) -> set[str]:
    """The attributes that a sentence states of a portrait, as the keys of ``Looks.facts``."""
    text = plain(text)
    claims: set[str] = set()
    for names, pattern in _PATTERNS.items():
        for found in re.finditer(pattern, text):
            claims |= {f"{name}={value}" for name, value in zip(names, found.groups(), strict=True)}
    return claims


def scene_claims(text: str) -> set[str]:
    """The things and the ground that a sentence states of a scene."""
    text = plain(text)
    claims = {f"has={word}" for word in text.split() if word in compositions.THINGS}
    return claims | {
        f"ground={g}" for g in re.findall(rf"\b{_one_of(compositions.GROUNDS)} (?:ground|picture)\b", text)
    }


def claims(text: str, example: Example) -> set[str]:
    """What ``text`` states of the picture of ``example``, as keys that ``example.facts`` may hold.

    Empty for sources that are not one of the embedded worlds: their words are not known.
    """
    readers = {"people": portrait_claims, "scenes": scene_claims}
    return readers[example.source](text) if example.source in readers else set()
