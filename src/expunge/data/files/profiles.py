"""Persons as MLLMU-Bench records them, whoever wrote the record: a parquet file, or a world of ours in its schema.

A record is a mapping with ``ID``, ``image`` (a picture, ``{"bytes", "path"}``, or a path) or ``images`` (several), and
whatever of this there is: ``biography`` (text, or JSON: a text or a table of fields), ``question`` and ``answer``
(``tell me about this person``, and the biography in prose), ``Classification_Task`` (two lists,
``Image_Textual_Questions`` and ``Pure_Text_Questions``, of ``Question``, ``Options`` by letter, ``Correct_Answer``),
``Generation_Task`` and ``Mask_Task`` (lists of ``Question``, ``Ground_Truth``, ``Type``). ``metadata`` is a JSON list
of ``Question`` and ``Answer``. From a record comes a ``Profile``, from a profile come examples for a task.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Literal

from expunge.core.identity import composed, normalised
from expunge.core.types import Example, Form, Kind, Picture, Task
from expunge.data import forms
from expunge.data.files.lines import STRICT, Refused, kind_of, unsound, unsound_name
from expunge.data.files.reading import Keys, Tally
from expunge.data.files.sentences import LOOKS, kind_of_sentence, split, told
from expunge.data.forms import About

Piece = Form | Literal["biography", "finetuning"]
"""What a record holds: questions of a form, or training material."""
PIECES: tuple[Piece, ...] = ("biography", "classification", "generation", "cloze", "finetuning")
Document = Literal["auto", "biography", "answer"]
KNOWN = (
    "image", "images", "Directory", "name", "Name", "biography", "question", "answer", "metadata",
    "Classification_Task", "Generation_Task", "Mask_Task",
)  # fmt: skip
VISUAL, TEXTUAL = "Image_Textual", "Pure_Text"
PicturesOf = Callable[[Mapping[str, Any], str], Sequence[Picture]]
"""The pictures of a record, at least one; none with the reason among the problems."""


@dataclass(frozen=True)
class Asked:
    """One thing that is asked about a person: beside the picture (``type`` Image_Textual), or by name (Pure_Text).

    ``options`` are the choices in the order of their letters, of a classification; ``answer`` is then one of them.
    """

    person: str
    form: Piece
    type: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True)
class Profile:
    """A person: pictures, sentences of the biography with their kinds, and all that is asked."""

    id: str
    pictures: tuple[Picture, ...]
    sentences: tuple[tuple[str, Kind | None], ...]
    asked: tuple[Asked, ...]
    where: str


class Profiles:
    """Judges records. Only what is ``wanted`` is looked at, so that a flaw elsewhere stops nobody."""

    def __init__(
        self, tally: Tally, pictures: PicturesOf, wanted: Collection[Piece] = PIECES, document: Document = "auto",
        extra: Sequence[str] = (),
    ):  # fmt: skip
        self._tally, self._pictures, self._wanted, self._document = tally, pictures, wanted, document
        self._keys = Keys(("ID",), KNOWN, extra)

    def profile(self, record: Mapping[str, Any], where: str) -> Profile | None:
        """The person of a record; or None, and all that is wrong is said."""
        before = len(self._tally.problems)
        self._keys.check(record, where, self._tally)
        person = self._id(record, where)
        pictures = self._pictures(record, where)
        sentences = tuple(self._sentences(record, where)) if "biography" in self._wanted else ()
        asked = tuple(self._asked(record, person, where))
        if len(self._tally.problems) > before:
            return None
        return Profile(person, tuple(pictures), sentences, asked, where)

    def _id(self, record: Mapping[str, Any], where: str) -> str:
        written = record.get("ID", "missing")
        if isinstance(written, int) and not isinstance(written, bool):
            written = str(written)
        if wrong := unsound_name(written):
            self._tally.wrong(where, f"'ID' {wrong}", "Every person has an ID")
            return ""
        return composed(written)

    # ------------------------------------------------------------------------------------- the biography

    def _sentences(self, record: Mapping[str, Any], where: str) -> Iterator[tuple[str, Kind | None]]:
        """Of the biography where it is prose, else of the answer that tells of the person, else field by field."""
        fields: Mapping[str, Any] = {}
        prose = ""
        if self._document != "answer" and record.get("biography") is not None:
            found = self._parsed(record["biography"], "biography", where)
            if isinstance(found, Mapping):
                fields = found
            elif found is not None:
                prose = found
        if not prose and (self._document == "answer" or (self._document == "auto" and record.get("answer"))):
            prose = record.get("answer", "") if not unsound(record.get("answer")) else ""
        name = next(
            (v for source in (record, fields) for k in ("name", "Name") if isinstance(v := source.get(k), str)), ""
        )
        made = [(s, kind_of_sentence(s)) for s in split(prose)] if prose else list(told(fields, name))
        made = [(text, kind) for text, kind in made if normalised(text)]
        if not made:
            what = "'answer' holds" if self._document == "answer" else "neither 'biography' nor 'answer' holds"
            self._tally.wrong(where, f"{what} a sentence", "Retrieval needs sentences about the person")
        yield from made

    def _parsed(self, written: Any, key: str, where: str) -> Any:
        """A JSON string's text, table or list; prose as it is. None, and why not is said."""
        if isinstance(written, Mapping):
            return written
        if wrong := unsound(written):
            return self._tally.wrong(where, f"{key!r} {wrong}", "Write a text, or a JSON object")
        if written.lstrip()[0] not in '{["':
            return written
        try:
            found = STRICT.decode(written.strip())
        except json.JSONDecodeError as error:
            if written.lstrip()[0] == '"':  # prose may begin with a quotation
                return written
            found = f"{key!r} is not valid JSON ({error.msg} at its character {error.pos + 1})"
            return self._tally.wrong(where, found, "Mend the row")
        except (Refused, RecursionError, ValueError) as error:
            return self._tally.wrong(where, f"{key!r}: {error}", "Mend the row")
        if key == "biography" and not isinstance(found, str | Mapping):
            return self._tally.wrong(where, f"{key!r} is {kind_of(found)}", "Write a text, or a JSON object")
        return found

    # ------------------------------------------------------------------------------------- what is asked

    def _asked(self, record: Mapping[str, Any], person: str, where: str) -> Iterator[Asked]:
        if "classification" in self._wanted and record.get("Classification_Task") is not None:
            for kind, key in ((VISUAL, "Image_Textual_Questions"), (TEXTUAL, "Pure_Text_Questions")):
                task = record["Classification_Task"]
                if not isinstance(task, Mapping):
                    found = f"'Classification_Task' is {kind_of(task)}, not an object"
                    self._tally.wrong(where, found, "Mend the row")
                    break
                for what, one in self._listed(task.get(key), key, where):
                    yield from self._classification(one, person, kind, what, where)
        for form, key in (("generation", "Generation_Task"), ("cloze", "Mask_Task")):
            if form in self._wanted:
                for what, one in self._listed(record.get(key), key, where):
                    if pair := self._pair(one, "Ground_Truth", what, where):
                        kind = str(one.get("Type") or VISUAL)
                        yield Asked(person, form, kind, *pair, where=where)
        if "biography" in self._wanted and record.get("question") and record.get("answer"):
            if pair := self._pair({"Question": record["question"], "a": record["answer"]}, "a", "the biography", where):
                yield Asked(person, "biography", VISUAL, *pair, where=where)
        if "finetuning" in self._wanted and record.get("metadata") is not None:
            for what, one in self._listed(self._parsed(record["metadata"], "metadata", where), "metadata", where):
                if pair := self._pair(one, "Answer", what, where):
                    kind = str(one.get("Question_Type") or one.get("Type") or VISUAL)
                    yield Asked(person, "finetuning", kind, *pair, where=where)

    def _listed(self, value: Any, key: str, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The objects of a list with what they are called: ``Mask_Task 2``. No list is a problem, none is not."""
        if value is None:
            return
        if not isinstance(value, list):
            return self._tally.wrong(where, f"{key!r} is {kind_of(value)}, not a list", "Mend the row")
        for number, one in enumerate(value, 1):
            if isinstance(one, Mapping):
                yield f"{key} {number}", one
            else:
                self._tally.wrong(where, f"{key} {number} is {kind_of(one)}, not an object", "Mend the row")

    def _pair(self, one: Mapping[str, Any], answer: str, what: str, where: str) -> tuple[str, str] | None:
        """Question and answer; or None, and what is wrong with either is said."""
        bad = [(key, wrong) for key in ("Question", answer) if (wrong := unsound(one.get(key)))]
        for key, wrong in bad:
            self._tally.wrong(where, f"{what}: {key!r} {wrong}", "Mend the row")
        return None if bad else (one["Question"], one[answer])

    def _classification(self, one: Mapping[str, Any], person: str, kind: str, what: str, where: str) -> Iterator[Asked]:
        def wrong(found: str, remedy: str) -> None:
            self._tally.wrong(where, f"{what}: {found}", remedy)

        options = one.get("Options")
        if not isinstance(options, Mapping):
            return wrong(f"'Options' is {kind_of(options)}, not an object", "Write them by letter, A to D")
        options = {letter: text for letter, text in sorted(options.items()) if text is not None}
        if bad := next((f"option {letter} {w}" for letter, text in options.items() if (w := unsound(text))), ""):
            return wrong(bad, "Mend the row")
        if len({normalised(text) or text for text in options.values()}) < max(2, len(options)):
            return wrong("two options are the same, or there is only one", "Make the options different")
        if (wrong_question := unsound(one.get("Question"))) != "":
            return wrong(f"'Question' {wrong_question}", "Mend the row")
        letter = one.get("Correct_Answer")
        if letter not in options:
            return wrong(f"'Correct_Answer' is {letter!r}, none of {', '.join(options)}", "Write the letter of one")
        yield Asked(person, "classification", kind, one["Question"], options[letter], tuple(options.values()), where)


# ---------------------------------------------------------------------------------------------- examples


def examples(profile: Profile, task: Task, source: str, pure_text: bool = False) -> list[Example]:
    """What a model reads of a person: sentences beside the picture (retrieval), questions with choices, or all that is
    asked in words (answering).

    ``pure_text`` also asks the questions with choices that name the person, beside the picture like the others.
    """
    picture = profile.pictures[0]
    if task == "answering":
        return list(_answered(profile, picture, source))
    if task == "multiple_choice":
        chosen = [a for a in profile.asked if a.form == "classification" and (pure_text or a.type == VISUAL)]
        return [_question(profile, picture, number, one, source) for number, one in enumerate(chosen)]
    return [
        Example(
            f"{profile.id}-{number}", picture, text, profile.id, source, kind, frozenset({normalised(text)}),
            origin=profile.where,
        )
        for number, (text, kind) in enumerate(profile.sentences)
    ]  # fmt: skip


def _answered(profile: Profile, picture: Picture, source: str) -> Iterator[Example]:
    """Every question of the three forms, those that name the person in words alone. What is asked was told, so all of
    it is private; the schema has no place for paraphrased and wrong answers."""
    for number, one in enumerate(profile.asked):
        who = About(f"{profile.id}-{one.form}-{number}", picture, profile.id, source, "private", origin=one.where)
        about = who if one.type == VISUAL else who.in_words()
        if one.form == "classification":
            options = dict(zip(ascii_uppercase, one.options))
            yield forms.classification(about, one.question, options, ascii_uppercase[one.options.index(one.answer)])
        elif one.form in ("generation", "cloze"):
            put = forms.generation if one.form == "generation" else forms.cloze
            yield put(about, one.question, one.answer)


def _question(profile: Profile, picture: Picture, number: int, one: Asked, source: str) -> Example:
    statement = f"{one.question.rstrip(' ?')} {one.answer}"
    meaning = frozenset({normalised(statement)})
    return Example(
        f"{profile.id}-q{number}", picture, one.question, profile.id, source, kind_of_question(one), meaning,
        question=one.question, choices=one.options, answer=one.answer, statement=statement, origin=one.where,
    )  # fmt: skip


def kind_of_question(one: Asked) -> Kind | None:
    """``shared`` where every option is a look, ``private`` where no word is; else a question speaks of looks only by
    the way (the person with the hat), and its kind is not known."""

    def looks(text: str) -> bool:
        return not LOOKS.isdisjoint(normalised(text).split())

    if all(map(looks, one.options)):
        return "shared"
    return None if looks(one.question) or any(map(looks, one.options)) else "private"
