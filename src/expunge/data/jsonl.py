"""The user's own pairs: one JSON object per line, pictures beside them, everything checked before anything starts.

A line holds ``id``, ``image`` (a path below the root), ``text`` and ``group`` (the person, artist or concept that a
request may name; ``null`` when there is none). It may hold ``kind`` (shared, private), ``split`` (train, validation,
test; train when absent), ``source`` (the population, so that audits compare like with like), and for questions
``question`` with ``choices`` and ``answer``, or ``label``. For the task *multiple_choice* every line needs the first
three, and ``text`` is the question answered in a sentence; for *entailment* ``text`` is what is judged and ``label``
one of contradiction, neutral and entailment. For *answering* a line with a ``question`` is asked just that and should
be answered with ``answer`` (with the letter of it where there are ``choices``); a line without is a caption, and the
model is asked what is in the picture. There ``image`` may be ``null``: a question in words alone.

    {"id": "p1", "image": "pics/ana.jpg", "text": "Ana plays the violin.", "group": "ana", "kind": "private"}

``--data FILE.jsonl`` names the file, ``--images FOLDER`` what its pictures are named from where that is not the file's
own folder. A folder given as ``--data`` is read by its ``captions.jsonl``. Other keys are refused: leave such columns
out.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from expunge.core.errors import DataError, Problem
from expunge.core.identity import composed, normalised
from expunge.core.pictures import NO_PICTURE
from expunge.core.refusal import Nearest
from expunge.core.types import DESCRIBE, LABELS, Corpus, Example, Picture, Task
from expunge.data import forms
from expunge.data.files.album import Album
from expunge.data.files.lines import STRICT, kind_of, read_objects, unsound, unsound_name
from expunge.data.files.reading import SPLITS, Reading, Row, Tally
from expunge.data.forms import About

TASKS = ("retrieval", "multiple_choice", "entailment", "answering")
INSIDE_FOLDER = "captions.jsonl"
KINDS = ("shared", "private")
REQUIRED = ("id", "image", "text", "group")
KEYS = (*REQUIRED, "kind", "split", "source", "question", "choices", "answer", "label")


def load(path: str | Path, root: str | Path | None = None, task: Task = "retrieval") -> Corpus:
    """The corpus in a JSONL file, or in a folder's ``captions.jsonl``. Raises one ``DataError`` with all problems.

    ``root`` is the folder that pictures are named from and may not leave; by default where the file lies. ``task``
    decides what a model will read: captions, questions with choices, statements with labels, or questions to answer.
    """
    reading = read(path, root, task)
    if reading.problems:
        raise DataError(reading.problems)
    return reading.corpus()


def read(path: str | Path, root: str | Path | None = None, task: Task = "retrieval") -> Reading:
    """Go through the whole file and decode every distinct picture once, never stopping at a problem."""
    file = Path(path)
    if file.is_dir():
        file = file / INSIDE_FOLDER
    name = file.resolve().parent.name if file.name == INSIDE_FOLDER else file.name
    tally = Tally()
    if unlike := _unlike(Path(path), file):
        tally.problems.append(unlike)
        return tally.reading(name, task)
    has_root = root is None or Path(root).is_dir()
    if not has_root:  # said once, and not for every line
        found, remedy = "is no folder, and pictures are named from it", "Say where they lie: --images FOLDER"
        tally.wrong(os.path.abspath(str(root)), found, remedy)
    album = Album(Path(root) if root is not None else file.parent)

    def turn(value: dict[str, Any], where: str) -> Sequence[Row]:
        before = len(tally.problems)
        in_words = task == "answering" and "question" in value and value.get("image", "") is None
        _check_keys({**value, "image": "none"} if in_words else value, where, tally.problems)
        _check_question(value, where, tally.problems)
        _check_task(value, task, where, tally.problems)
        if not unsound_name(value.get("id")):  # said already
            tally.claim(value["id"], where)
        picture = NO_PICTURE if in_words else None
        if has_root and not in_words:
            picture = album.take(value.get("image"), where, tally.problems)
        if len(tally.problems) > before or picture is None:
            return ()
        example = _example(value, picture, where, task)
        return [(value.get("split", "train"), _to_write(example) if task == "answering" else example)]

    tally.go_through(read_objects(file, tally.problems), turn, _names)
    if tally.rows and not tally.problems and not any(split == "train" for split, _ in tally.rows):
        tally.wrong(str(file), "no line is in the train split", "Only what was trained can be forgotten")
    return tally.reading(name, task)


def _unlike(given: Path, file: Path) -> Problem | None:
    """Why what ``--data`` was given is no JSONL, where it is called something else or is a folder without it."""
    if file != given and not file.exists():
        named = next((p.name for p in sorted(given.glob("*.jsonl"))), "FILE.jsonl")
        remedy = f"Name your own file: --data {given / named}"
        return Problem(str(file), "does not exist, and a folder is read by the file of that name", remedy)
    if file.suffix == ".jsonl" or not file.is_file():
        return None
    try:
        with open(file, "rb") as lines:
            first = next((raw for raw in iter(lambda: lines.readline(1 << 16), b"") if raw.strip()), b"")
        is_object = isinstance(STRICT.decode(first.decode("utf-8-sig").strip()), dict)
    except OSError:
        return None  # said by whoever reads it
    except (ValueError, RecursionError):
        # A broken line among sound ones is told by its number; what does not even look like one is another format.
        is_object = first.lstrip().startswith(b'{"')
    if is_object or not first:
        return None
    return Problem(str(file), "is a file, but own data is JSONL, one object a line", "See `expunge show jsonl`")


# ---------------------------------------------------------------------------------------------- one line

_known_key = Nearest(KEYS, budget=1_000, cutoff=0.75)


def _check_keys(value: dict[str, Any], where: str, problems: list[Problem]) -> None:
    def wrong(found: str, remedy: str) -> None:
        problems.append(Problem(where, found, remedy))

    for key in value:
        if key not in KEYS:
            known = f"Known are {', '.join(KEYS)}: rename the key, or leave it out of every line"
            wrong(f"unknown key {key!r}", f"{_known_key(key)} {known}".strip())
    for key in REQUIRED:
        if key not in value:
            remedy = "Name the person or concept, or write null" if key == "group" else "Every line needs it"
            wrong(f"the key {key!r} is missing", remedy)
    for key, judge in (
        ("id", unsound_name), ("image", unsound), ("text", unsound), ("group", unsound_name),
        ("kind", unsound), ("split", unsound), ("source", unsound_name),
        ("question", unsound), ("answer", unsound), ("label", unsound_name),
    ):  # fmt: skip
        if key not in value or (key == "group" and value[key] is None):
            continue
        if reason := judge(value[key]):
            wrong(f"{key!r} {reason}", "Put a string with something in it" if "string" in reason else "Mend the line")
        elif key == "text" and not normalised(value[key]):
            wrong(f"'text' holds no words ({value[key]!r})", "Write what the picture shows")
        elif key in ("kind", "split") and value[key] not in (allowed := KINDS if key == "kind" else SPLITS):
            wrong(f"{key!r} is {value[key]!r}", Nearest(allowed)(value[key]) or f"It may be {', '.join(allowed)}")


def _check_question(value: dict[str, Any], where: str, problems: list[Problem]) -> None:
    def wrong(found: str, remedy: str) -> None:
        problems.append(Problem(where, found, remedy))

    if "question" in value and "answer" not in value and "label" not in value:
        wrong("the question has neither 'answer' nor 'label'", "Add the right answer")
    for key in ("choices", "answer"):
        if key in value and "question" not in value:
            wrong(f"{key!r} without a 'question'", "Add the question or drop the key")
    if "choices" not in value:
        return
    choices = value["choices"]
    if not isinstance(choices, list):
        return wrong(f"'choices' is {kind_of(choices)}, not a list", "Write a list of strings")
    if bad := next((r for c in choices if (r := unsound(c))), ""):
        return wrong(f"one of 'choices' {bad}", "Write a list of strings")
    if len(choices) < 2:
        return wrong(f"'choices' holds {len(choices)} of at least 2", "Add the wrong answers too")
    if twice := [c for c, n in Counter(map(normalised, choices)).items() if n > 1]:
        return wrong(f"'choices' holds {twice[0]!r} twice", "Make the choices different")
    answer = value.get("answer")
    if isinstance(answer, str) and answer not in choices:
        wrong(f"the answer {answer!r} is not among the choices", Nearest(choices)(answer) or "Add it to the choices")


def _check_task(value: dict[str, Any], task: Task, where: str, problems: list[Problem]) -> None:
    """What a task needs of every line."""
    if task == "multiple_choice":
        for key in ("question", "choices", "answer"):
            if key not in value:
                remedy = "A question needs its choices and the right answer"
                problems.append(Problem(where, f"the key {key!r} is missing, which multiple_choice needs", remedy))
    if task == "answering":
        if "question" in value and "answer" not in value:
            problems.append(Problem(where, "the key 'answer' is missing, which answering needs", "Add what is right"))
        if isinstance(choices := value.get("choices"), list) and len(choices) > len(ascii_uppercase):
            problems.append(Problem(where, "'choices' are more than there are letters", "Ask with fewer"))
    if task == "entailment":
        label = value.get("label")
        if label is None:
            problems.append(Problem(where, "the key 'label' is missing, which entailment needs", _LABEL_REMEDY))
        elif label not in LABELS:
            remedy = (_known_label(label) if isinstance(label, str) else "") or _LABEL_REMEDY
            problems.append(Problem(where, f"the label {label!r} is none of entailment's", remedy))


_LABEL_REMEDY = f"It may be {', '.join(LABELS)}"
_known_label = Nearest(LABELS, budget=1_000)


def _names(value: dict[str, Any]) -> list[str]:
    return [name for key in ("id", "group") if isinstance(name := value.get(key), str)]


def _example(value: dict[str, Any], picture: Picture, where: str, task: Task) -> Example:
    group = value["group"]
    asks = task == "multiple_choice"
    return Example(
        composed(value["id"]),
        picture,
        value["question"] if asks else value["text"],
        None if group is None else composed(group),
        composed(value.get("source", "")),
        value.get("kind"),
        frozenset({normalised(value["text"])}),
        question=value.get("question"),
        choices=tuple(value.get("choices", ())),
        answer=value.get("answer"),
        label=value.get("label"),
        statement=value["text"] if asks else "",
        origin=where,
    )


def _to_write(example: Example) -> Example:
    """The same as a question to a model that writes. A question without choices is asked as it stands, since the model
    learned it so; its ``statement`` stays what the line's text says."""
    said = example.text
    if example.question is None:
        asked = replace(example, text=DESCRIBE, question=DESCRIBE, answer=said, form="generation")
    elif example.choices:
        listed = dict(zip(ascii_uppercase, example.choices))
        letter = ascii_uppercase[example.choices.index(example.answer or "")]
        about = About(example.id, example.image, example.group, example.source, example.kind, example.meaning,
                      origin=example.origin)  # fmt: skip
        return forms.classification(about, example.question, listed, letter, said)
    else:
        asked = replace(example, text=example.question, form="generation")
    return replace(asked, statement=said)
