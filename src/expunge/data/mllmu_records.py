"""Profiles as the records that MLLMU-Bench publishes, and such records, whoever wrote them, as questions.

A record is a mapping with the published keys: image (of the test set: ``images``, a list), ID, Directory, biography (a
JSON string), question, answer, Classification_Task, Generation_Task and Mask_Task. ``records`` makes them of our
people, with a ``Picture`` where the files hold bytes (``publishing`` writes those); ``questions`` turns one into
examples. The published schema has no place for paraphrased and wrong answers, so examples from records have none.

Source: MLLMMU/MLLMU-Bench (Liu et al. 2025); the gap of a cloze is written ``__``, the type of a question Image_Textual
or Pure_Text. Departs: ft_Data, the authors' own training file, is not made; train on Full_Set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from expunge.core.errors import DataError, Problem
from expunge.core.types import Example, Picture
from expunge.data import forms
from expunge.data.dossiers import CELEBRITIES, Cast, cast, choices, drawn, identity
from expunge.data.forms import About
from expunge.data.persons import Person
from expunge.data.telling import Fact

Record = dict[str, Any]
SHARES = (5, 10, 15)
"""Per cent of the people in the forget sets."""
TYPES = {True: "Image_Textual", False: "Pure_Text"}
LISTS = {True: "Image_Textual_Questions", False: "Pure_Text_Questions"}
ASKED = "Who is the person in this picture, and what do you know?"
LABELS = {"name": "Name", "city": "Born in", "job": "Occupation", "employer": "Employer", "food": "Favourite dish",
          "hobby": "Hobby"}  # fmt: skip


# ------------------------------------------------------------------------------------------ ours


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
        "Classification_Task": {LISTS[v]: [options(f, visual) for f, visual in asked if visual == v] for v in LISTS},
        "Generation_Task": [row(f.question(visual, wording), f.answer(), visual) for f, visual in asked],
        "Mask_Task": [row(f.gapped(visual, wording), f.value, visual) for f, visual in asked],
    }


# ------------------------------------------------------------------------------------------ anybody's


def questions(record: Record, where: str, source: str = "mllmu", picture: Picture | None = None) -> list[Example]:
    """A published record as examples of all three forms; what it asks was told, so all of it is private.

    ``where`` names the record in errors (``file:row``). ``picture`` is shown where the record holds bytes and not a
    ``Picture``; of a test record's ``images`` the first is. Raises DataError for a record that lacks something.
    """
    name = str(_need(record, "ID", where))
    shown = picture or record.get("image") or next(iter(record.get("images") or ()), None)
    if not isinstance(shown, Picture):
        raise DataError([Problem(where, "the record has no picture", "Give it one, or mend image or images")])
    about = {True: About("", shown, name, source, "private", origin=where)}
    about[False] = about[True].in_words()
    made = []
    task = _need(record, "Classification_Task", where)
    for visual, key in LISTS.items():
        for i, one in enumerate(_many(task.get(key), f"{where}: {key}")):
            at = f"{where}: {key}[{i}]"
            options, correct = _options(one, at)
            who = _named(about[visual], f"{name}-classification-{TYPES[visual]}-{i}")
            made.append(forms.classification(who, _need(one, "Question", at), options, correct))
    for key, put in (("Generation_Task", forms.generation), ("Mask_Task", forms.cloze)):
        for i, one in enumerate(_many(record.get(key), f"{where}: {key}")):
            at = f"{where}: {key}[{i}]"
            if (kind := _need(one, "Type", at)) not in TYPES.values():
                raise DataError([Problem(at, f"the Type is {kind!r}", f"It may be {' or '.join(TYPES.values())}")])
            who = _named(about[kind == TYPES[True]], f"{name}-{key}-{i}")
            made.append(put(who, _need(one, "Question", at), _need(one, "Ground_Truth", at)))
    return made


def _named(about: About, name: str) -> About:
    return About(name, about.picture, about.group, about.source, about.kind, origin=about.origin)


def _options(one: Mapping[str, Any], where: str) -> tuple[dict[str, str], str]:
    """Options by letter; parquet fills letters that a question does not have with null. The answer must be one."""
    options = {letter: text for letter, text in _need(one, "Options", where).items() if text is not None}
    correct = _need(one, "Correct_Answer", where)
    if correct not in options:
        found = f"the Correct_Answer {correct!r} is none of the options {', '.join(options)}"
        raise DataError([Problem(where, found, "Mend the record")])
    return options, correct


def _need(record: Mapping[str, Any], key: str, where: str) -> Any:
    value = record.get(key)
    if value is None or value == "":
        raise DataError([Problem(where, f"the record has no {key!r}", "Every record of MLLMU-Bench has it")])
    return value


def _many(value: Any, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list):
        raise DataError([Problem(where, "is not a list of questions", "Read the file with its own schema")])
    return value
