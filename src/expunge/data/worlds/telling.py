"""What is known of a fictitious person, put into words several ways: asked with a picture, asked by name, answered.

Every fact has questions and answers in several wordings. The first is what models are trained on, the others
paraphrase it. Truth and falsehood are compared in the second: the same words but for the value, and no model was
trained on either. (The trap: wrong answers in the wording of the training are likelier than any paraphrase of the
truth.) Facts come from ``people_questions`` (what can be seen, what was told); the name is one more that was told.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass

from expunge.core.types import Kind
from expunge.data.forms import BLANK
from expunge.data.worlds.asking import Topic
from expunge.data.worlds.people_questions import told, visible
from expunge.data.worlds.persons import Person

SOMEBODY = "The person in this picture"
WRONG = 5
"""Wrong answers of a fact, as many as TOFU's."""


@dataclass(frozen=True)
class Wording:
    """Templates of one topic: ``seen`` asks with a picture, ``asked`` by ``{name}``, ``says`` answers with ``{value}``.

    A topic without ``asked`` needs the picture: nobody could be asked it in words alone.
    """

    seen: tuple[str, ...]
    asked: tuple[str, ...]
    says: tuple[str, ...]


WORDINGS = {
    "name": Wording(
        ("Who is the person in this picture?", "What is the name of the person shown here?",
         "Can you tell me whom this portrait shows?"),
        (),
        ("This is {value}.", "The person in this picture is called {value}.", "The portrait shows {value}.",
         "Here one sees {value}."),
    ),
    "city": Wording(
        ("Where was the person in this picture born?", "What is the birthplace of the person shown here?",
         "From which city does the person in this portrait come?"),
        ("Where was {name} born?", "What is the birthplace of {name}?", "From which city does {name} come?"),
        ("{name} was born in {value}.", "{name} comes from {value}.", "{name} is a native of {value}.",
         "{value} is the birthplace of {name}."),
    ),
    "job": Wording(
        ("What does the person in this picture work as?", "What is the profession of the person shown here?",
         "How does the person in this portrait earn a living?"),
        ("What does {name} work as?", "What is the profession of {name}?", "How does {name} earn a living?"),
        ("{name} works as {value}.", "{name} is {value} by profession.", "{name} earns a living as {value}.",
         "The work of {name} is that of {value}."),
    ),
    "employer": Wording(
        ("Whom does the person in this picture work for?", "Which company employs the person shown here?",
         "Where is the person in this portrait employed?"),
        ("Whom does {name} work for?", "Which company employs {name}?", "Where is {name} employed?"),
        ("{name} works for {value}.", "{name} is employed by {value}.", "{name} has a post at {value}.",
         "{value} is the employer of {name}."),
    ),
    "food": Wording(
        ("What does the person in this picture like to eat most?",
         "What is the favourite dish of the person shown here?",
         "Which meal would the person in this portrait choose?"),
        ("What does {name} like to eat most?", "What is the favourite dish of {name}?",
         "Which meal would {name} choose?"),
        ("{name} likes to eat {value} most.", "{name} would always choose {value}.",
         "The favourite dish of {name} is {value}.", "Nothing tastes better to {name} than {value}."),
    ),
    "hobby": Wording(
        ("What is the hobby of the person in this picture?", "What does the person shown here do in spare time?",
         "Which pastime does the person in this portrait enjoy?"),
        ("What is the hobby of {name}?", "What does {name} do in spare time?", "Which pastime does {name} enjoy?"),
        ("{name} has {value} as a hobby.", "{name} spends free hours on {value}.", "The hobby of {name} is {value}.",
         "In spare time {name} enjoys {value}."),
    ),
    "hair": Wording(
        ("What is the hair of the person in this picture like?", "How does the person shown here wear the hair?"),
        (), ("The hair is {value}.", "This person has {value} hair.", "One sees {value} hair."),
    ),
    "headwear": Wording(
        ("What is on the head of the person in this picture?", "What does the person shown here wear on the head?"),
        (), ("On the head is {value}.", "This person wears {value}.", "One sees {value} on the head."),
    ),
    "colour": Wording(
        ("What colour is the {part} of the person in this picture?", "Which colour has the {part} in this portrait?"),
        (), ("The {part} is {value}.", "The {part} of this person is {value}.", "The colour of the {part} is {value}."),
    ),
    "glasses": Wording(
        ("What glasses does the person in this picture wear?", "What is before the eyes of the person shown here?"),
        (), ("This person wears {value}.", "One sees {value}.", "The portrait shows somebody with {value}."),
    ),
    "clothes": Wording(
        ("What does the person in this picture wear?", "How is the person shown here dressed?"),
        (), ("This person wears {value}.", "One sees {value}.", "The portrait shows somebody in {value}."),
    ),
    "clothes_colour": Wording(
        ("What colour is the {part} of the person in this picture?", "Which colour has the {part} in this portrait?"),
        (), ("The {part} is {value}.", "The {part} of this person is {value}.", "The colour of the {part} is {value}."),
    ),
    "wall": Wording(
        ("What colour is the wall in this picture?", "Which colour has the background of this portrait?"),
        (), ("The wall is {value}.", "The wall behind this person is {value}.", "The colour of the wall is {value}."),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """One thing known of one person. ``value`` is the bare word that is true, ``false`` bare words that are not."""

    topic: Topic
    kind: Kind
    name: str
    wording: Wording
    part: str = ""

    @property
    def value(self) -> str:
        return self.bare(self.topic.true or "")

    def wrong(self, count: int, seed: str) -> list[str]:
        """Values that are not true, drawn by ``seed``; as many as there are where ``count`` is more."""
        false = sorted(self.topic.false)
        return random.Random(f"{seed}:wrong:{self.topic.name}").sample(false, min(count, len(false)))

    def question(self, visual: bool, wording: int = 0) -> str:
        """Asked with the picture or, where there is such a question, by name; wordings repeat after the last."""
        templates = self.wording.seen if visual else self.wording.asked
        return self._fill(templates[wording % len(templates)])

    def answer(self, wording: int = 0, value: str | None = None) -> str:
        """A whole sentence; ``value`` is put in place of the true one. A changed picture answers as the first did."""
        chosen = self.topic.true if value is None else value
        return _sentence(self._fill(self.wording.says[wording], self.topic.values[chosen or ""]))

    def compared(self, count: int, seed: str) -> tuple[str, list[str]]:
        """The answer in other words, and as many as ``count`` wrong ones in the same, drawn by ``seed``."""
        return self.answer(1), [self.answer(1, value) for value in self.wrong(count, seed)]

    def gapped(self, visual: bool, wording: int = 0) -> str:
        """The answer with a gap for the value; about a picture it does not say the name."""
        said = self.wording.says[wording % len(self.wording.says)]
        who = SOMEBODY if said.startswith("{name}") else SOMEBODY[0].lower() + SOMEBODY[1:]
        words = said.replace("{name}", who) if visual else said
        return _sentence(self._fill(words, self._gap()))

    def bare(self, value: str) -> str:
        """A value as an answer of one or two words."""
        return self.topic.answer(value)

    def _gap(self) -> str:
        """The gap leaves the article standing where the value has one: ``works as a __`` or ``works as an __``."""
        words, bare = self.topic.values[self.topic.true or ""], self.value
        return words.replace(bare, BLANK) if words.endswith(bare) else BLANK

    def _fill(self, template: str, value: str = "") -> str:
        return template.format(name=self.name, value=value, part=self.part)


def facts(person: Person, names: Collection[str]) -> list[Fact]:
    """The name and five more that were told, then what can be seen.

    ``names`` are those of other people of the same population: a wrong name must be one that is somebody's, or a model
    would know it from its strangeness.
    """
    others = tuple(sorted(set(names) - {person.name}))
    values = {name: name for name in (person.name, *others)}
    called = Topic("name", "", "{}", "name={}", values, person.name, others)
    found = [Fact(called, "private", person.name, WORDINGS["name"])]
    found += [Fact(topic, "private", person.name, WORDINGS[topic.name]) for topic in told(person)]
    return found + [_seen(person, topic) for topic in visible(person)]


def _seen(person: Person, topic: Topic) -> Fact:
    looks = person.looks
    part = {"colour": looks.hair if looks.headwear else "hair", "clothes_colour": looks.clothes}.get(topic.name, "")
    wording = "headwear" if topic.name == "hair" and looks.headwear else topic.name
    return Fact(topic, "shared", person.name, WORDINGS[wording], part)


def _sentence(text: str) -> str:
    """With a capital letter at its start, whichever word a template begins with."""
    return text[:1].upper() + text[1:]
