"""The everyday world: two or three Twemoji drawings in a relation on a coloured ground, five captions each.

Shaped like Flickr30k. A *composition* is a set of things together with their relation; compositions are dealt to
the splits, so validation and test hold combinations no model has seen. Captions are ``shared`` knowledge: all of
them can be read off the picture.
"""

from __future__ import annotations

import itertools
import random
from functools import lru_cache

from expunge.core.types import Corpus, Example, Task
from expunge.data.fingerprint import fingerprint
from expunge.data.worlds import scene_questions
from expunge.data.worlds.asking import check_task
from expunge.data.worlds.compositions import GROUNDS, RELATIONS, THINGS, Composition, article, picture_of

LICENCE = "Scenes: Twemoji graphics by Twitter and contributors, CC-BY 4.0."
TASKS = ("retrieval", "multiple_choice", "entailment")
EMBEDDED = True

VARIANTS = {"test": "s", "validation": "w"}
PUBLIC = 5_000
HELD_OUT = 500


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
def load(
    variant: str = "test",
    size: int = 1_000,  # scenes that train
    seed: int = 0,  # drives what is drawn and said
    task: Task = "retrieval",
) -> Corpus:
    """``size`` training scenes, 500 for validation, 500 for test; five captions, four questions or six statements each.

    ``task`` is retrieval, multiple_choice or entailment. For retrieval there are 5 000 public scenes beside them. The
    pictures are the same whatever the task. The copyright scenario forgets a sample of the training pictures
    (``scenario.draw``).
    """
    check_task(task, TASKS)
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
    telling = {"multiple_choice": scene_questions.questions, "entailment": scene_questions.statements}
    made = [telling[task](name, full, seed) if task in telling else captioned(name, full) for name, full in drawn]
    return tuple(itertools.chain.from_iterable(made))
