"""SNLI-VE: is a sentence entailed by a photograph of Flickr30k, contradicted by it, or neither (ALBEF's JSON)?

Below `folder` lie

    ve_train.json       [{"image": "1000092795", "sentence": "…", "label": "neutral"}, …]
    ve_dev.json         the same; the image is a picture's file without .jpg
    ve_test.json        the same
    flickr30k-images/   the pictures; if they lie elsewhere, `images` is the folder that holds this one

A deletion request names a picture (1000092795), or one statement by its picture and its number among the statements
about it, in the order of the files (1000092795-0). A label follows from the picture, so all of it is shared knowledge.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from expunge.core.identity import composed, normalised
from expunge.core.refusal import Nearest
from expunge.core.run import Progress
from expunge.core.types import LABELS, Corpus, Example, Task
from expunge.data.files.intake import Intake, accepted, for_task
from expunge.data.files.reading import Reading, Row

LICENCE = (
    "SNLI-VE: sentences and labels of SNLI, CC BY-SA 4.0; photographs of Flickr30k, for non-commercial research and "
    "education, which belong to their photographers."
)
DOWNLOAD = (
    "The ve_*.json are in the data download that ALBEF's repository (salesforce/ALBEF) links; the data set is that of "
    "the SNLI-VE repository (necla-ml/SNLI-VE). For the pictures see `expunge show flickr30k`."
)
TASKS = ("entailment",)
FILES = {"train": "ve_train.json", "validation": "ve_dev.json", "test": "ve_test.json"}
PICTURES = "flickr30k-images"


def load(
    folder: Path,  # where the three JSON files lie
    images: Path | None = None,  # the folder that holds flickr30k-images/, if that is not `folder`
    extra: list[str] | str = (),  # keys of your files to read past
    skip: bool = False,  # leave out items that cannot be used, and say so, instead of stopping
    task: Task = "entailment",
    progress: Progress | None = None,
) -> Corpus:
    """The corpus. Raises one ``DataError`` with everything that is wrong, file and item."""
    return accepted(read(folder, images, extra, skip, task, progress))


def read(
    folder: Path,
    images: Path | None = None,
    extra: list[str] | str = (),
    skip: bool = False,
    task: Task = "entailment",
    progress: Progress | None = None,
    fresh: bool = False,
) -> Reading:
    """The same without stopping at a problem. ``fresh`` decodes every picture again."""
    task = for_task("snli_ve", task, TASKS)
    intake = Intake("snli_ve", folder, images, extra, progress, fresh)
    if intake.is_there:
        _Statements(intake).go_through()
    return intake.reading(task, LICENCE, skip)


class _Statements:
    def __init__(self, intake: Intake):
        self._intake = intake
        self._keys = intake.keys(("image", "sentence", "label"))
        self._count: Counter[str] = Counter()
        self._near = Nearest(LABELS, budget=1_000)

    def go_through(self) -> None:
        self._intake.go_through_splits(FILES, self._turn, _names, lambda value: _path(value.get("image")))

    def _turn(self, value: dict[str, Any], where: str, split: str) -> list[Row]:
        intake, tally = self._intake, self._intake.tally
        before = len(tally.problems)
        self._keys.check(value, where, tally)
        if "sentence" in value:
            intake.text(value["sentence"], "'sentence'", where)
        label = value.get("label", LABELS[0])
        if label not in LABELS:
            remedy = (self._near(label) if isinstance(label, str) else "") or f"It may be {', '.join(LABELS)}"
            tally.wrong(where, f"the label {label!r} is none of entailment's", remedy)
        found = self._picture(value["image"], where) if "image" in value else None
        about = str(value.get("image"))
        number = self._count[about]  # kept by a statement that is rejected, so that those after it have theirs
        self._count[about] += 1
        if len(tally.problems) > before or found is None:
            return []
        name, picture = found
        sentence = value["sentence"]
        meaning = frozenset({normalised(sentence)})
        example = Example(
            f"{name}-{number}", picture, sentence, name, "snli_ve", "shared", meaning, label=label, origin=where
        )
        return [(split, example)]

    def _picture(self, image: Any, where: str) -> Any:
        """The name and the picture; an id with an ending is another layout, and is said."""
        if (number := self._intake.number(image, "image", where)) is None:
            return None
        if number.lower().endswith((".jpg", ".jpeg", ".png")):
            return self._intake.tally.wrong(where, f"the image {image!r} has an ending", "Write its id alone")
        return self._intake.picture(_path(number), where)


def _path(image: Any) -> str:
    return f"{PICTURES}/{image}.jpg"


def _names(value: dict[str, Any]) -> list[str]:
    return [composed(str(value["image"]))] if "image" in value else []
