"""COCO captions: everyday photographs with five captions each, as ALBEF's JSON or as COCO's own annotations.

Below `folder` lie either ALBEF's three files (the Karpathy splits)

    coco_train.json        [{"image": "train2014/COCO_train2014_000000000009.jpg", "caption": "…", "image_id": …}, …]
    coco_val.json          [{"image": "val2014/COCO_val2014_000000184613.jpg", "caption": ["…", …]}, …]
    coco_test.json         the same

or, if there is no coco_train.json, the original annotations (also below annotations/)

    captions_train2014.json   {"images": [{"id", "file_name", …}, …], "annotations": [{"id", "image_id", "caption"}, …]}
    captions_val2014.json     the same; its pictures are dealt to validation and test by the hash of their names

and the pictures in train2014/ and val2014/, in `images` if not in `folder`. A deletion request names a picture by its
file without ending, or one caption of it. All captions count as shared knowledge.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expunge.core.run import Progress
from expunge.core.types import Corpus, Task
from expunge.data.files.arrays import read_members
from expunge.data.files.captioned import Captions
from expunge.data.files.intake import Intake, accepted, dealt, for_task
from expunge.data.files.lines import unsound
from expunge.data.files.reading import Reading, Row, stem

LICENCE = "COCO: annotations CC BY 4.0; the photographs belong to their photographers, under Flickr's terms."
DOWNLOAD = (
    "Pictures and captions_*.json: the download page of the COCO data set (cocodataset.org). The coco_*.json of the "
    "Karpathy splits are in the data download that ALBEF's repository (salesforce/ALBEF) links."
)
TASKS = ("retrieval",)
FILES = {"train": "coco_train.json", "validation": "coco_val.json", "test": "coco_test.json"}
LISTS = ("images", "annotations")
IMAGE_KEYS = ("license", "coco_url", "height", "width", "date_captured", "flickr_url")


def load(
    folder: Path,  # where the JSON files lie
    images: Path | None = None,  # the folder that holds train2014/ and val2014/, if that is not `folder`
    year: str = "2014",  # which of the original annotations: 2014 or 2017
    extra: list[str] | str = (),  # keys of your files to read past
    skip: bool = False,  # leave out items that cannot be used, and say so, instead of stopping
    task: Task = "retrieval",
    progress: Progress | None = None,
) -> Corpus:
    """The corpus. Raises one ``DataError`` with everything that is wrong, file and item."""
    return accepted(read(folder, images, year, extra, skip, task, progress))


def read(
    folder: Path,
    images: Path | None = None,
    year: str = "2014",
    extra: list[str] | str = (),
    skip: bool = False,
    task: Task = "retrieval",
    progress: Progress | None = None,
    fresh: bool = False,
) -> Reading:
    """The same without stopping at a problem. ``fresh`` decodes every picture again."""
    task = for_task("coco", task, TASKS)
    intake = Intake("coco", folder, images, extra, progress, fresh)
    if intake.is_there:
        originals = {part: _annotations(intake.folder, f"{part}{year}") for part in ("train", "val")}
        if (intake.folder / FILES["train"]).exists() or not originals["train"].exists():
            Captions(intake).go_through(FILES)
        else:
            _Annotated(intake).go_through(originals, year)
    return intake.reading(task, LICENCE, skip)


def _annotations(folder: Path, part: str) -> Path:
    name = f"captions_{part}.json"
    inside = folder / "annotations" / name
    return inside if inside.exists() else folder / name


class _Annotated:
    """COCO's own files: pictures in one list, captions in another that refers to them by number."""

    def __init__(self, intake: Intake):
        self._intake = intake
        self._captions = Captions(intake)
        self._image_keys = intake.keys(("id", "file_name"), IMAGE_KEYS)
        self._caption_keys = intake.keys(("id", "image_id", "caption"))

    def go_through(self, files: dict[str, Path], year: str) -> None:
        intake = self._intake
        held_out = intake.has(str(files["val"].relative_to(intake.folder)), "nothing is held out")
        there = {part: path for part, path in files.items() if part == "train" or held_out}
        # Pictures first: a caption may stand in the file before the picture that it is of.
        named = {part: dict(_named(path, f"{part}{year}")) for part, path in there.items()}
        intake.look_ahead(image for one in named.values() for image in one.values())
        for part, path in there.items():
            self._judge(path, part, named[part])

    def _judge(self, path: Path, part: str, named: dict[str, str]) -> None:
        tally, accepted_, rejected_ = self._intake.tally, 0, 0

        def image(value: dict[str, Any], where: str) -> list[Row]:
            self._image_keys.check(value, where, tally)
            number = self._intake.number(value["id"], "id", where) if "id" in value else None
            if wrong := unsound(value.get("file_name", "missing")):
                tally.wrong(where, f"'file_name' {wrong}", "Name the picture")
            if number is not None:
                tally.claim(f"{part} image {number}", where)
            return []

        def caption(value: dict[str, Any], where: str) -> list[Row]:
            return self._caption(value, where, part, named)

        for key, line in read_members(path, LISTS, tally.problems):
            turn = image if key == "images" else caption
            more = tally.go_through([line], turn, lambda value: _names(value, named))
            accepted_, rejected_ = accepted_ + more[0], rejected_ + more[1]
        self._intake.list_file(path, accepted_, rejected_)

    def _caption(self, value: dict[str, Any], where: str, part: str, named: dict[str, str]) -> list[Row]:
        intake, tally = self._intake, self._intake.tally
        before = len(tally.problems)
        self._caption_keys.check(value, where, tally)
        if "id" in value and (own := intake.number(value["id"], "id", where)):
            tally.claim(f"{part} caption {own}", where)
        number = intake.number(value["image_id"], "image_id", where) if "image_id" in value else None
        if "caption" in value:
            intake.text(value["caption"], "'caption'", where)
        if number is not None and number not in named:
            tally.wrong(where, f"there is no image with the id {number}", "Is the file whole?")
        found = intake.picture(named[number], where) if number in named else None
        order = self._captions.number(named.get(number or ""))
        if len(tally.problems) > before or found is None:
            return []
        split = "train" if part == "train" else dealt(found[0])
        return [(split, self._captions.example(*found, value["caption"], order, where))]


def _named(path: Path, folder: str) -> Iterator[tuple[str, str]]:
    """(number, picture) of every sound image of a file."""
    for key, line in read_members(path, LISTS, []) if path.is_file() else ():
        if key == "images" and line.value and not unsound(line.value.get("file_name")):
            yield str(line.value.get("id")), f"{folder}/{line.value['file_name']}"


def _names(value: dict[str, Any], named: dict[str, str]) -> list[str]:
    image = value.get("file_name") or named.get(str(value.get("image_id")))
    return [stem(image)] if isinstance(image, str) else []
