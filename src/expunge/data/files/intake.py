"""A public data set taken in from its published folder: its files item by item, its pictures ahead of them.

What every such set shares: one folder that the user names (`-d folder=…`), pictures that may lie elsewhere
(`-d images=…`), a look at every picture before the items are judged, the list of files in the cache, and one reading
at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL

from expunge.core.errors import DataError, ExpungeError, Problem
from expunge.core.identity import normalised
from expunge.core.run import Progress, Silent
from expunge.core.types import Corpus, Task
from expunge.data.files import pictures
from expunge.data.files.album import Album
from expunge.data.files.arrays import read_items
from expunge.data.files.lines import Line, kind_of, unsound, unsound_name
from expunge.data.files.manifest import Manifest
from expunge.data.files.pictures import FilePicture
from expunge.data.files.reading import Keys, Reading, Row, Tally, skipped, stem

Turn = Callable[[dict[str, Any], str], Sequence[Row]]


class Intake:
    """One data set under way. ``extra`` are keys to read past; ``fresh`` looks at every picture again."""

    def __init__(
        self, name: str, folder: str | Path, images: str | Path | None = None, extra: Sequence[str] | str = (),
        progress: Progress | None = None, fresh: bool = False,
    ):  # fmt: skip
        self.name = name
        self.tally = Tally()
        self.folder = Path(folder).expanduser()
        root = Path(images).expanduser() if images else self.folder
        self.extra = tuple(extra.split(",")) if isinstance(extra, str) else tuple(extra)
        self.progress = progress or Silent()
        folders = {"folder": str(self.folder.resolve()), "images": str(root.resolve())}
        self.manifest = Manifest(name, folders, f"policy {pictures.POLICY}, Pillow {PIL.__version__}")
        self._old = self.manifest.recall()
        trusted = self._old is not None and self._old.decoder == self.manifest.decoder and not fresh
        self.album = Album(root, self._old.pictures if self._old is not None and trusted else None)
        self.warnings: list[Problem] = []
        self._stems: dict[str, tuple[str, str]] = {}  # what a picture is called -> (its name, where)
        self.is_there = True
        for path in dict.fromkeys((self.folder, root)):
            if not path.is_dir():
                self.tally.wrong(str(path), "there is no such folder", f"`expunge show {name}` shows the layout")
                self.is_there = False

    # ------------------------------------------------------------------------------------- files

    def glance(self, file: str) -> Iterator[dict[str, Any]]:
        """The sound items of a file, before they are judged: what to look ahead for. Complains of nothing."""
        path = self.folder / file
        if path.is_file():
            yield from (line.value for line in read_items(path, []) if line.value is not None)

    def look_ahead(self, names: Iterable[Any]) -> None:
        """Decode these pictures now, with progress; what is no name is passed over."""
        self.album.look_ahead((name for name in names if isinstance(name, str)), self.progress)

    def go_through(self, file: str, turn: Turn, names: Callable[[dict[str, Any]], Iterable[str]]) -> None:
        """Judge every item of a file that must be there, and list the file."""
        path = self.folder / file
        self.count(path, read_items(path, self.tally.problems), turn, names)

    def go_through_splits(
        self,
        files: Mapping[str, str],
        turn: Callable[[dict[str, Any], str, str], Sequence[Row]],
        names: Callable[[dict[str, Any]], Iterable[str]],
        picture: Callable[[dict[str, Any]], Any],
    ) -> None:
        """Judge every item of ``files`` (split -> file), by ``turn(value, where, split)``. Only the file for training
        must be there. ``picture`` names the one of a sound item, which is decoded ahead of them."""
        there = [s for s in files if s == "train" or self.has(files[s], f"there is no {s} split")]
        self.look_ahead(picture(value) for split in there for value in self.glance(files[split]))
        for split in there:
            self.go_through(files[split], lambda value, where, at=split: turn(value, where, at), names)

    def count(
        self, path: Path, lines: Iterable[Line], turn: Turn, names: Callable[[dict[str, Any]], Iterable[str]]
    ) -> None:
        """Judge these items, which ``path`` holds, and list it."""
        accepted, rejected = self.tally.go_through(lines, turn, names)
        self.list_file(path, accepted, rejected)

    def list_file(self, path: Path, accepted: int = 0, rejected: int = 0) -> None:
        try:
            self.manifest.list_file(path, accepted, rejected)
        except OSError:
            pass  # said already, by whoever read it

    def has(self, file: str, lacking: str) -> bool:
        """Whether a file is there that a user may do without; what will be lacking is a warning."""
        if (self.folder / file).exists():
            return True
        self.warnings.append(Problem(str(self.folder / file), "does not exist", f"So {lacking}"))
        return False

    # ------------------------------------------------------------------------------------- items

    def keys(self, required: Sequence[str], known: Sequence[str] = ()) -> Keys:
        return Keys(required, known, self.extra)

    def picture(self, image: Any, where: str) -> tuple[str, FilePicture] | None:
        """What a request calls this picture, and the picture; or None, and why not is said.

        The name of a file without folder and ending is the name of one picture, in all Unicode spellings of it.
        """
        if wrong := unsound(image):
            self.tally.wrong(where, f"'image' {wrong}", "Name the picture")
            return None
        name = stem(image)
        if wrong := unsound_name(name):
            self.tally.wrong(where, f"the name of the picture {image!r} {wrong}", "No request could say it: rename it")
            return None
        held, first = self._stems.setdefault(name, (image, where))
        if held != image:
            found = f"the picture {image!r} is called {name!r}, as {held!r} at {first} is"
            self.tally.wrong(where, found, "A request could not tell them apart: rename one")
            return None
        picture = self.album.take(image, where, self.tally.problems)
        return None if picture is None else (name, picture)

    def text(self, value: Any, what: str, where: str) -> str | None:
        """A text with words in it; or None, and why not is said."""
        wrong = unsound(value)
        if not wrong and not normalised(value):
            wrong = f"holds no words ({value!r})"
        if wrong:
            self.tally.wrong(where, f"{what} {wrong}", "Mend it, or leave the item out")
        return None if wrong else value

    def number(self, value: Any, key: str, where: str) -> str | None:
        """An id, which these files write as a whole number or as text; or None, and why not is said."""
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and not unsound_name(value):
            return value
        found = f"is {value}, no whole number" if isinstance(value, float) else f"is {kind_of(value)}"
        if isinstance(value, str):
            found = unsound_name(value)
        self.tally.wrong(where, f"{key!r} {found}", "An id is a whole number or a string")
        return None

    # ------------------------------------------------------------------------------------- the end

    def reading(self, task: Task, licence: str, skip: bool = False) -> Reading:
        """What came of it; the list of files is kept, and what has changed since the last one is a warning.

        With ``skip`` what is wrong with single items is a warning too.
        """
        self.manifest.pictures.update(self.album.seen)
        self.warnings += self.manifest.changes(self._old)
        if self.is_there and (lost := self.manifest.keep()):
            self.warnings.append(lost)
        made = self.tally.reading(self.name, task, licence, self.warnings)
        if not made.problems and not made.parts["train"]:
            made = _without_training(made, self.folder)
        return skipped(made) if skip and made.parts["train"] else made


def accepted(reading: Reading) -> Corpus:
    """The corpus of a reading. Raises one ``DataError`` with everything that is wrong."""
    if reading.problems:
        raise DataError(reading.problems)
    return reading.corpus()


def for_task(name: str, task: str, served: Sequence[Task]) -> Task:
    """``task`` if the data set serves it. Raises ExpungeError with what it serves."""
    for one in served:
        if one == task:
            return one
    raise ExpungeError(f"{name} serves {' and '.join(served)}, not {task}. Say --task {served[0]}.")


def dealt(name: str) -> str:
    """Validation or test, for pictures that came as one held-out set: half each, by the hash of the picture's name."""
    return "test" if hashlib.sha256(name.encode()).digest()[0] % 2 else "validation"


def _without_training(reading: Reading, folder: Path) -> Reading:
    problem = Problem(str(folder), "there is no training example", "Only what was trained can be forgotten")
    return replace(reading, problems=(problem,))
