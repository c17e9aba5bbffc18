"""CLEAR, from its published folder: fictitious authors in pictures with captions, and TOFU's questions about them.

Folders are named as the configs: ``full`` {image, caption, name} and, where it is there, ``full+tofu`` (its questions)
are the training data; ``real_faces`` and ``real_world`` the test data. ``forgetXX_perturbed`` and ``retain_perturbed``
bring the wrong and reworded captions. A group is the name of a person. TOFU's questions bear none: they belong to the
person whose full name they hold, or their answer does; others have no group and can be forgotten by id only.

Source: therem/CLEAR (Dontsov et al. 2024, arXiv 2410.18057); fetch it with its own licence, and name its folder.
Checked against: files in that layout written by ``publishing.write_clear``; not against the published files themselves.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from expunge.core.errors import DataError, ExpungeError, Problem, UnknownName
from expunge.core.identity import composed
from expunge.core.pictures import NO_PICTURE
from expunge.core.types import Corpus, Example, Task
from expunge.data import forms
from expunge.data.files.cells import CellAlbum, Cells, read_cells
from expunge.data.files.lines import unsound, unsound_name
from expunge.data.fingerprint import fingerprint
from expunge.data.forms import About
from expunge.data.publishing import clear_records
from expunge.data.publishing.clear_records import PICTURES, SHARES

TASKS = ("answering",)
LICENCE = "CLEAR: see the licence of the data set that you fetched."
DESCRIBE = "Who is in this picture, and what can be seen?"
WHO = "Who is the person in this picture?"
KEPT = 3
"""Wrong names beside the right one, where a caption's row brings more."""


def load(
    folder: Path | None = None,  # where the configs' folders lie; without one it is our people in CLEAR's layout
    size: int = 100,  # how many people, of ours
    pictures: int = PICTURES,  # of each of them
    seed: int = 0,  # drives ours
    task: Task = "answering",
) -> Corpus:
    """The training and test data as questions to a model that writes.

    Beside the training examples an audit asks of whom a picture shows, and the faces and everyday pictures of the test
    data. Raises one ``DataError`` with all problems, and UnknownName for a task that is not answering.
    """
    if task != "answering":
        raise UnknownName("task of clear", task, ["answering"])
    reading = _Reading(Path(folder) if folder is not None else None, size, pictures, seed)
    captions = reading.compared(reading.captions("full"))
    names = reading.all_names()
    sets = {"forget": names, "retain": names, "real_faces": reading.faces(), "real_world": reading.world()}
    parts = {
        "train": captions + reading.told("full+tofu", needed=False),
        "test": sets["real_faces"] + sets["real_world"],
    }
    reading.finish()
    mark = fingerprint(parts | {"asked names": names})
    return Corpus("clear", licence=LICENCE, fingerprint=mark, task="answering", asked=sets, **parts)


def requested(folder: str | Path, share: int, corpus: Corpus) -> tuple[str, ...]:
    """A request: the ids of everything in ``corpus`` that ``forget<share>`` lists, with its ``+tofu`` questions.

    What stands twice in the training data is asked for twice. Raises DataError for a row that does not stand there.
    """
    reading = _Reading(Path(folder))
    config = _share(share)
    listed = reading.captions(config) + reading.told(f"{config}+tofu", needed=False)
    ids: dict[tuple[str, str, str], list[str]] = {}
    for e in corpus.train:
        ids.setdefault(_content(e), []).append(e.id)
    for e in listed:
        if _content(e) not in ids:
            reading.wrong(e.origin, "is not among the training data", "Take both configs from the same release")
    reading.finish()
    return tuple(dict.fromkeys(name for e in listed for name in ids[_content(e)]))


@dataclass
class _Reading:
    """One folder under way: every problem in it is told at once."""

    folder: Path | None
    people: int = 0  # of ours, where there is no folder; the same for what follows
    pictures: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folder is not None and not self.folder.is_dir():
            raise ExpungeError(f"there is no folder {self.folder}: name the one that CLEAR was fetched into.")
        self.problems: list[Problem] = []
        self.album = CellAlbum()
        self._captions: dict[str, tuple[tuple[Cells, Example], ...]] = {}
        self._names: list[tuple[str, re.Pattern[str]]] | None = None

    def wrong(self, where: str, found: str, remedy: str) -> None:
        self.problems.append(Problem(where, found, remedy))

    def finish(self) -> None:
        if self.problems:
            raise DataError(list(dict.fromkeys(self.problems)))

    def has(self, config: str) -> bool:
        return self.folder is None or (self.folder / config).is_dir()

    def rows(self, config: str, columns: Sequence[str]) -> Iterator[Cells]:
        if self.folder is not None:
            yield from read_cells(self.folder / config, columns, self.problems)
            return
        for number, row in enumerate(clear_records.rows(config, self.people, self.pictures, self.seed)):
            yield Cells(f"{config}: row {number + 1}", row, f"{config}/ours", 0, number)

    # ------------------------------------------------------------------------------------- pictures with captions

    def captions(self, config: str) -> tuple[Example, ...]:
        """Every caption as the answer to what is in its picture; reworded and wrong ones where the config has them."""
        return tuple(e for _, e in self._rows(config))

    def names(self, config: str) -> tuple[Example, ...]:
        """Whom each picture shows, with the wrong names of its row as options."""
        made = []
        for cells, e in self._rows(config):
            wrong = self._texts(cells, "perturbed_names")
            if wrong and e.group is not None:
                about = About(f"{e.id}-name", e.image, e.group, e.source, e.kind, origin=e.origin)
                options, letter = _options([e.group, *wrong[:KEPT]], e.group, e.id)
                made.append(forms.classification(about, WHO, options, letter))
        return tuple(made)

    def all_names(self) -> tuple[Example, ...]:
        """The same of everybody who has wrong names."""
        return tuple(e for config in self._perturbed() for e in self.names(config))

    def compared(self, captions: Sequence[Example]) -> tuple[Example, ...]:
        """Captions with the reworded and wrong ones that another config has of them."""
        known = {_content(e): e for config in self._perturbed() for e in self.captions(config)}
        return tuple(
            replace(e, paraphrased=known[_content(e)].paraphrased, perturbed=known[_content(e)].perturbed)
            if _content(e) in known else e
            for e in captions
        )  # fmt: skip

    def _perturbed(self) -> list[str]:
        """The configs that have wrong captions and are there: of the largest forget set, which holds the others, and of
        those who stay."""
        forget = [c for c in (f"forget{share:02d}_perturbed" for share in reversed(SHARES)) if self.has(c)]
        return [*forget[:1], *(["retain_perturbed"] if self.has("retain_perturbed") else [])]

    def _rows(self, config: str) -> tuple[tuple[Cells, Example], ...]:
        if config not in self._captions:
            columns = ["image", "caption", "name"]
            if config.endswith("_perturbed"):
                columns += ["perturbed_captions", "paraphrased_caption", "perturbed_names"]
            made = []
            for cells in self.rows(config, columns):
                if (example := self._caption(cells)) is not None:
                    made.append((cells, example))
            # The bytes of the pictures are not kept: the examples remember their cells.
            slim = [(replace(c, values={k: v for k, v in c.values.items() if k != "image"}), e) for c, e in made]
            self._captions[config] = tuple(slim)
        return self._captions[config]

    def _caption(self, cells: Cells) -> Example | None:
        before = len(self.problems)
        picture = self.album.take(cells, "image", self.problems)
        caption, name = self._text(cells, "caption"), self._text(cells, "name", unsound_name)
        extra: dict[str, Any] = {}
        if "perturbed_captions" in cells.values:
            extra["perturbed"] = self._texts(cells, "perturbed_captions")
            extra["paraphrased"] = (self._text(cells, "paraphrased_caption"),)
        if len(self.problems) > before or picture is None:
            return None
        group = composed(name)
        about = About(_id("caption", cells), picture, group, "clear", "private", origin=cells.where)
        return forms.generation(about, DESCRIBE, caption, **extra)

    # ------------------------------------------------------------------------------------- questions in words

    def told(self, config: str, needed: bool = True) -> tuple[Example, ...]:
        """The questions of a ``+tofu`` config; its captions are those of the config without."""
        if not needed and not self.has(config):
            return ()
        made = []
        for cells in self.rows(config, ("question", "answer")):
            if cells.values["question"] is None and cells.values["answer"] is None:
                continue
            before = len(self.problems)
            question, answer = self._text(cells, "question"), self._text(cells, "answer")
            if len(self.problems) == before:
                group = self._whose(f"{question} {answer}")
                about = About(_id("told", cells), NO_PICTURE, group, "clear", "private", origin=cells.where)
                made.append(forms.generation(about, question, answer))
        return tuple(made)

    def _whose(self, text: str) -> str | None:
        """The one person whose full name a text holds, in whole words; None where it holds none, or several.

        The longest are looked for first, and what they stand for is not looked at again: Mary Ann Lee is no Ann Lee.
        """
        if self._names is None:
            names = sorted({e.group for e in self.captions("full") if e.group}, key=lambda name: (-len(name), name))
            self._names = [(name, re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")) for name in names]
        left, found = composed(text), []
        for name, whole in self._names:
            if name in left:  # much faster than the pattern, and mostly not
                left, count = whole.subn("", left)
                found += [name] * bool(count)
        return found[0] if len(found) == 1 else None

    # ------------------------------------------------------------------------------------- everybody and everything

    def faces(self) -> tuple[Example, ...]:
        """Known people: whose face is it?"""
        return self._chosen("real_faces", ("image", "answer", "options"), lambda cells: WHO)

    def world(self) -> tuple[Example, ...]:
        """Everyday pictures with a question each."""
        columns = ("image", "question", "answer", "options")
        return self._chosen("real_world", columns, lambda cells: self._text(cells, "question"))

    def _chosen(self, config: str, columns: Sequence[str], question: Any) -> tuple[Example, ...]:
        made = []
        for cells in self.rows(config, columns):
            before = len(self.problems)
            picture = self.album.take(cells, "image", self.problems)
            asked, answer, options = question(cells), self._text(cells, "answer"), self._texts(cells, "options")
            if len(self.problems) > before or picture is None:
                continue
            if options.count(answer) > 1 or len(set(options)) < len(options):
                self.wrong(cells.where, "an option stands twice", "Make the options different")
                continue
            name = _id(config, cells)
            listed, letter = _options([answer, *(o for o in options if o != answer)], answer, name)
            about = About(name, picture, None, f"clear:{config}", "shared", origin=cells.where)
            wrong = tuple(other for other in listed if other != letter)
            made.append(replace(forms.classification(about, asked, listed, letter), perturbed=wrong))
        return tuple(made)

    # ------------------------------------------------------------------------------------- cells

    def _text(self, cells: Cells, column: str, judge: Any = unsound) -> str:
        value = cells.values.get(column)
        if reason := judge(value):
            self.wrong(cells.where, f"{column!r} {reason}", "Fetch the file again, or mend the row")
        return value if isinstance(value, str) else ""

    def _texts(self, cells: Cells, column: str) -> tuple[str, ...]:
        value = cells.values.get(column)
        if not isinstance(value, list) or not value:
            self.wrong(cells.where, f"{column!r} is no list of texts", "Fetch the file again, or mend the row")
            return ()
        if bad := next((reason for one in value if (reason := unsound(one))), ""):
            self.wrong(cells.where, f"one of {column!r} {bad}", "Mend the row")
        return tuple(one for one in value if isinstance(one, str))


def _id(what: str, cells: Cells) -> str:
    """Unique within a corpus, and the same whenever the folder is read: file and place."""
    return f"{Path(cells.file).parent.name}/{Path(cells.file).stem}:{what}:{cells.group}.{cells.row}"


def _share(share: int) -> str:
    if share not in SHARES:
        allowed = ", ".join(map(str, SHARES))
        raise DataError([Problem("share", f"CLEAR forgets no {share} %", f"It may be {allowed}")])
    return f"forget{share:02d}"


def _content(e: Example) -> tuple[str, str, str]:
    """What makes two rows of different configs the same."""
    return (e.image.key, e.question or "", e.answer or "")


def _options(texts: Iterable[str], right: str, seed: str) -> tuple[Mapping[str, str], str]:
    """Options by letter in an order drawn by ``seed``, and the letter of the right one."""
    values = list(dict.fromkeys(texts))
    random.Random(f"options:{seed}").shuffle(values)
    return dict(zip(ascii_uppercase, values)), ascii_uppercase[values.index(right)]
