"""The same people drawn another time: MLLMU-Bench's test set asks about pictures that no model was trained on.

A sitting changes the expression (eyes, brows, mouth), the pose (mirrored, tilted, nearer or farther) and the wall, and
keeps everything that tells a person from all others: hair, headwear, skin, beard, glasses, clothes and their colours.
Where two people differ in nothing but the wall, the wall is what identifies them, and they keep it.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace

from expunge.data.worlds.drawing import DrawnPicture
from expunge.data.worlds.persons import BROWS, EYES, MOUTHS, WALLS, Looks, Person, drawn

TILT = 8
"""Degrees to either side."""
NEARNESS = (92, 96, 104)
"""Per cent of the usual size."""


def without_wall(looks: Looks) -> frozenset[str]:
    """What identifies somebody before any wall."""
    return frozenset(fact for fact in looks.facts() if not fact.startswith("wall="))


def tied_to_walls(people: Iterable[Person]) -> frozenset[str]:
    """The ids of those whom nothing but the wall tells from somebody else."""
    people = list(people)
    count = Counter(without_wall(p.looks) for p in people)
    return frozenset(p.id for p in people if count[without_wall(p.looks)] > 1)


def sitting(person: Person, number: int, keeps_wall: bool, seed: int = 0) -> tuple[Looks, DrawnPicture]:
    """How the person looks at sitting ``number`` (from 1 up) and the picture; both differ from sitting to sitting."""
    rng = random.Random(f"{seed}:sitting:{person.id}:{number}")
    was = person.looks
    walls = [wall for wall in sorted(WALLS) if wall != was.wall]
    looks = replace(
        was,
        eyes=rng.choice([e for e in EYES if e != was.eyes]),
        brows=rng.choice([b for b in BROWS if b != was.brows]),
        mouth=rng.choice([m for m in MOUTHS if m != was.mouth]),
        wall=was.wall if keeps_wall else rng.choice(walls),
    )
    pose = {
        "flip": rng.choice(["none", "horizontal"]),
        "rotate": rng.choice([-TILT, -TILT // 2, TILT // 2, TILT]) % 360,
        "scale": rng.choice(NEARNESS) / 100,
    }
    told = {"looks": asdict(looks), "pose": pose, "number": number}
    return looks, DrawnPicture("sitting:" + json.dumps(told, sort_keys=True), sitting_svg)


def sitting_svg(key: str) -> str:
    """Draw the sitting that a picture key describes."""
    told = json.loads(key.split(":", 1)[1])
    return drawn(Looks(**told["looks"]), told["pose"])
