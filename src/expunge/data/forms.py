"""The three ways in which MLLM benchmarks ask: options and a letter, a whole sentence, the word for a blank.

Whatever is asked, of invented people or of published records, becomes an ``Example`` here and nowhere else, so the
words around a question are the same for all data. They are ours: the benchmarks' own prompts say the same at more
length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from expunge.core.pictures import NO_PICTURE
from expunge.core.types import Example, Form, Kind, Picture

LETTERS = ("A", "B", "C", "D")
BLANK = "__"
"""How the published records write the gap of a cloze."""
INSTRUCTIONS: Mapping[Form, str] = {
    "classification": "Answer with one letter.",
    "generation": "Answer in one sentence.",
    "cloze": f"What stands in the place of {BLANK}?",
}


@dataclass(frozen=True)
class About:
    """Whom a question is about. ``picture`` is ``NO_PICTURE`` for a question in words alone."""

    id: str
    picture: Picture
    group: str | None
    source: str
    kind: Kind | None = None
    meaning: frozenset[str] = field(default_factory=frozenset)
    facts: frozenset[str] = field(default_factory=frozenset)
    origin: str = ""

    def in_words(self) -> About:
        """The same without the picture."""
        return replace(self, picture=NO_PICTURE)


def classification(about: About, question: str, options: Mapping[str, str], correct: str, truth: str = "") -> Example:
    """A question whose answer is the letter of one of ``options``, in their order."""
    listed = "\n".join(f"{letter}: {text}" for letter, text in options.items())
    read = f"{question}\n{listed}\n{INSTRUCTIONS['classification']}"
    return _example(about, "classification", read, correct, truth, choices=tuple(options))


def generation(
    about: About, question: str, answer: str, paraphrased: Sequence[str] = (), perturbed: Sequence[str] = ()
) -> Example:
    """A question answered in a sentence."""
    read = f"{question}\n{INSTRUCTIONS['generation']}"
    made = _example(about, "generation", read, answer, answer)
    return replace(made, paraphrased=tuple(paraphrased), perturbed=tuple(perturbed))


def cloze(about: About, gapped: str, value: str, truth: str = "") -> Example:
    """A sentence with ``BLANK`` where ``value`` belongs."""
    return _example(about, "cloze", f"{gapped}\n{INSTRUCTIONS['cloze']}", value, truth)


def _example(about: About, form: Form, read: str, answer: str, truth: str, choices: tuple[str, ...] = ()) -> Example:
    # ``text`` is the same as ``question``, as in every data set of questions: some models read the one, some the other.
    return Example(
        about.id, about.picture, read, about.group, about.source, about.kind, about.meaning, about.facts, read,
        choices, answer, statement=truth, form=form, origin=about.origin,
    )  # fmt: skip
