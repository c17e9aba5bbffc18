"""Fictitious people as dossiers that an MLLM is asked about: with a picture, by name, in three forms.

Shaped like MLLMU-Bench, with the people of ``people``: the same persons under the same ids, so a request means the same
people in both. What was told is asked with the picture and in words alone, what can be seen with the picture only. The
four sets of the benchmark's table come of the corpus and a request: forget, test (the forgotten in pictures and
wordings that nobody trained on), retain, and celebrity, which public people play.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import get_args

from expunge.core.errors import UnknownName
from expunge.core.types import Corpus, Example, Form, Task
from expunge.data import forms
from expunge.data.fingerprint import fingerprint
from expunge.data.forms import LETTERS, About
from expunge.data.people import LICENCE, VARIANTS, everybody
from expunge.data.worlds.persons import Person, portrait
from expunge.data.worlds.sittings import sitting, tied_to_walls
from expunge.data.worlds.telling import WRONG, Fact, facts

TASKS = ("answering",)
EMBEDDED = True
FORMS: tuple[Form, ...] = get_args(Form)
CELEBRITIES = 150
"""Public people who play the real celebrities of MLLMU-Bench, of whom there are 153."""
FAMOUS = 30
"""Of them so many are asked about in an audit."""
SHOWN = {True: "seen", False: "asked"}
"""How an id says whether a question comes with a picture."""


@dataclass(frozen=True)
class Cast:
    """People who are told apart from one another: the names that wrong answers come from, and who keeps the wall."""

    people: tuple[Person, ...]
    names: dict[bool, tuple[str, ...]]
    walls: frozenset[str]
    seed: int

    @classmethod
    def of(cls, people: Iterable[Person], seed: int = 0) -> Cast:
        people = tuple(people)
        names = {woman: tuple(p.name for p in people if p.looks.woman == woman) for woman in (True, False)}
        return cls(people, names, tied_to_walls(people), seed)

    def facts(self, person: Person) -> list[Fact]:
        return facts(person, self.names[person.looks.woman])

    def sitting(self, person: Person, number: int):
        """The looks and the picture at a sitting; number 0 is the portrait that models are trained on."""
        if number == 0:
            return person.looks, portrait(person)
        return sitting(person, number, person.id in self.walls, self.seed)


@lru_cache(maxsize=8)
def cast(prefix: str, size: int | None = None, seed: int = 0) -> Cast:
    """The first ``size`` people of a population of ``people.everybody``; None takes all."""
    return Cast.of(everybody(seed)[prefix][:size], seed)


# ------------------------------------------------------------------------------------------ examples


def ask(
    group: Cast, person: Person, *, asked: Sequence[Form] = FORMS, sitting: int = 0, wording: int = 0
) -> list[Example]:
    """Every question about one person. ``sitting`` 0 and ``wording`` 0 are the picture and words of training.

    The topics with fewer than three wrong values are not asked with options.
    """
    looks, picture = group.sitting(person, sitting)
    here = replace(person, looks=looks)
    known = group.facts(here)
    true = looks.facts().union(*(fact.topic.means(fact.topic.true) for fact in known if fact.topic.true is not None))
    made = []
    for fact in known:
        about = About(
            person.id, picture, person.id, "people", fact.kind, fact.topic.means(fact.topic.true or ""), true,
        )  # fmt: skip
        for visual in (True, False) if fact.wording.asked else (True,):
            for form in asked:
                made += _put(fact, form, about if visual else about.in_words(), visual, wording, group.seed, sitting)
    return made


def _put(
    fact: Fact, form: Form, about: About, visual: bool, wording: int, seed: int, sitting: int
) -> Iterator[Example]:
    name = identity(about.id, fact, form, visual, sitting, wording)
    about = replace(about, id=name)
    if form == "cloze":
        yield forms.cloze(about, fact.gapped(visual, wording), fact.value, fact.answer())
    elif form == "generation":
        reworded, wrong = fact.compared(WRONG, f"{seed}:{fact.name}")
        yield forms.generation(about, fact.question(visual, wording), fact.answer(), (reworded,), wrong)
    elif has_options(fact):
        options, correct = choices(fact, f"{seed}:{name}")
        yield forms.classification(about, fact.question(visual, wording), options, correct, fact.answer())


def identity(person: str, fact: Fact, form: Form, visual: bool, sitting: int = 0, wording: int = 0) -> str:
    """The id of a question, from which its options are drawn."""
    changed = f"-{sitting}.{wording}" if sitting or wording else ""
    return f"{person}-{fact.topic.name}-{form}-{SHOWN[visual]}{changed}"


def has_options(fact: Fact) -> bool:
    """Whether there are wrong values enough to choose among."""
    return len(fact.topic.false) >= len(LETTERS) - 1


def choices(fact: Fact, seed: str) -> tuple[dict[str, str], str]:
    """Four options by letter, in an order drawn by ``seed``, and the letter of the right one."""
    values = [fact.value, *map(fact.bare, fact.wrong(len(LETTERS) - 1, seed))]
    random.Random(f"{seed}:options").shuffle(values)
    return dict(zip(LETTERS, values)), LETTERS[values.index(fact.value)]


# ------------------------------------------------------------------------------------------ sets


def load(
    variant: str = "test",
    size: int = 100,  # people that train
    celebrities: int = 60,  # public people, whom the pretrained model knows
    seed: int = 0,  # drives who they are and what is asked
    asked: Sequence[Form] | str = FORMS,  # forms of question, with commas
    task: Task = "answering",
) -> Corpus:
    """Questions about ``size`` trained people; strangers in validation and test; public people in ``pretrain``.

    Strangers in validation are asked only what can be seen. Those in test are asked all: nobody told the model anything
    about them, so they are what an attacker compares with. Beside the training examples an audit asks ``test``, the
    same people at another sitting and in other words, and ``celebrity``, ``FAMOUS`` of the public people: the first of
    them, in validation the last, so that a search is not judged by questions that are reported later. ``asked``
    names the forms, with commas between them where it is one text. Raises UnknownName for a form or a task that there
    is not.
    """
    if task != "answering":
        raise UnknownName("task of dossiers", task, ["answering"])
    asked = _forms(asked)
    own, outside = (VARIANTS[variant], {"test": "q", "validation": "w"}[variant])

    def of(prefix: str, count: int | None = None, again: int = 0) -> tuple[Example, ...]:
        group = cast(prefix, count, seed)
        return tuple(e for p in group.people for e in ask(group, p, asked=asked, sitting=again, wording=again))

    parts = {
        "pretrain": of("u", celebrities),
        "train": of(own, size),
        "validation": tuple(e for e in of(outside + "v", max(1, size // 5)) if e.kind == "shared"),
        "test": of(outside + "t", max(1, size // 5)),
    }
    known = cast("u", celebrities, seed)
    famous = {p.id for p in (known.people[:FAMOUS] if variant == "test" else known.people[-FAMOUS:])}
    sets = {"test": of(own, size, again=1), "celebrity": tuple(e for e in parts["pretrain"] if e.group in famous)}
    name = "dossiers" if variant == "test" else f"dossiers:{variant}"
    mark = fingerprint(parts | {f"asked {key}": some for key, some in sets.items()})
    return Corpus(name, licence=LICENCE, fingerprint=mark, task="answering", asked=sets, **parts)


def _forms(asked: Sequence[Form] | str) -> tuple[Form, ...]:
    for form in (named := asked.split(",") if isinstance(asked, str) else asked):
        if form not in FORMS:
            raise UnknownName("form of question", form, FORMS)
    return tuple(form for form in FORMS if form in named)


def drawn(group: Cast, percent: int) -> tuple[Person, ...]:
    """The people that ``forget_<percent>`` holds, in the group's order; smaller shares are within larger ones."""
    order = list(group.people)
    random.Random(f"{group.seed}:forget").shuffle(order)
    chosen = {p.id for p in order[: max(1, round(len(order) * percent / 100))]}
    return tuple(p for p in group.people if p.id in chosen)
