"""Our people as the records that MLLMU-Bench publishes; ``mllmu`` reads such records, whoever wrote them.

A record is a mapping with the published keys: image (of the test set: ``images``, a list), ID, Directory, biography (a
JSON string), question, answer, Classification_Task, Generation_Task and Mask_Task. ``records`` makes them of our
people, with a ``Picture`` where the files hold bytes (``publishing`` writes those).

Source: MLLMMU/MLLMU-Bench (Liu et al. 2025); the gap of a cloze is written ``__``, the type of a question Image_Textual
or Pure_Text. Departs: ft_Data, the authors' own training file, is not made; train on Full_Set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from expunge.core.errors import DataError, Problem
from expunge.data.dossiers import CELEBRITIES, Cast, cast, choices, drawn, has_options, identity
from expunge.data.worlds.persons import Person
from expunge.data.worlds.telling import Fact

Record = dict[str, Any]
SHARES = (5, 10, 15)
"""Per cent of the people in the forget sets."""
TYPES = {True: "Image_Textual", False: "Pure_Text"}
LISTS = {True: "Image_Textual_Questions", False: "Pure_Text_Questions"}
ASKED = "Who is the person in this picture, and what do you know?"
LABELS = {"name": "Name", "city": "Born in", "job": "Occupation", "employer": "Employer", "food": "Favourite dish",
          "hobby": "Hobby"}  # fmt: skip


def configs(size: int = 500, celebrities: int = CELEBRITIES, seed: int = 0) -> dict[str, tuple[str, int]]:
    """Every config -> what it holds: the population's prefix and the number of records."""
    people = cast("p", size, seed)
    found = {"Full_Set": ("p", size), "Test_Set": ("p", size), "Retain_Set": ("u", celebrities)}
    for share in SHARES:
        forgotten = len(drawn(people, share))
        found |= {f"forget_{share}": ("p", forgotten), f"retain_{100 - share}": ("p", size - forgotten)}
    return found


def records(config: str, size: int = 500, celebrities: int = CELEBRITIES, seed: int = 0) -> Iterator[Record]:
    """The records of one config in the order of their IDs. Raises DataError for a config that is not published."""
    if config == "Retain_Set":
        group = cast("u", celebrities, seed)
        people = group.people
    else:
        group = cast("p", size, seed)
        people = _members(config, group)
    for person in people:
        yield record(group, person, sittings=(1, 2) if config == "Test_Set" else ())


def _members(config: str, group: Cast) -> tuple[Person, ...]:
    if config in ("Full_Set", "Test_Set"):
        return group.people
    for share in SHARES:
        chosen = drawn(group, share)
        if config == f"forget_{share}":
            return chosen
        if config == f"retain_{100 - share}":
            return tuple(p for p in group.people if p not in chosen)
    raise DataError([Problem(config, "is no config of MLLMU-Bench", f"There is: {', '.join(configs())}")])


def record(group: Cast, person: Person, sittings: tuple[int, ...] = ()) -> Record:
    """One person. With ``sittings`` the pictures are changed and the questions put in other words, as in Test_Set."""
    wording = 1 if sittings else 0
    sitting = sittings[0] if sittings else 0
    told = [fact for fact in group.facts(person) if fact.kind == "private"]
    pictures = [group.sitting(person, number)[1] for number in sittings or (0,)]
    asked = [(fact, visual) for fact in told for visual in (True, False) if visual or fact.wording.asked]

    def options(fact: Fact, visual: bool) -> Record:
        name = identity(person.id, fact, "classification", visual, sitting, wording)
        listed, correct = choices(fact, f"{group.seed}:{name}")
        return {"Question": fact.question(visual, wording), "Options": listed, "Correct_Answer": correct}

    def row(question: str, truth: str, visual: bool) -> Record:
        return {"Question": question, "Ground_Truth": truth, "Type": TYPES[visual]}

    return {
        **({"images": pictures} if sittings else {"image": pictures[0]}),
        "ID": person.id,
        "Directory": f"people/{person.id}.png",
        "biography": json.dumps({LABELS[fact.topic.name]: fact.value for fact in told}, ensure_ascii=False),
        "question": ASKED,
        "answer": " ".join(fact.answer() for fact in told),
        "Classification_Task": {
            LISTS[v]: [options(f, v) for f, visual in asked if visual == v and has_options(f)] for v in LISTS
        },
        "Generation_Task": [row(f.question(visual, wording), f.answer(), visual) for f, visual in asked],
        "Mask_Task": [row(f.gapped(visual, wording), f.value, visual) for f, visual in asked],
    }
