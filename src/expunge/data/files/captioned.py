"""Captioned pictures in ALBEF's JSON: what Flickr30k and COCO share.

Training items hold one caption, ``{"image", "caption", "image_id"}``; validation and test items hold all captions of a
picture, ``{"image", "caption": […]}``. Either form is read in every split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from expunge.core.identity import composed, normalised
from expunge.core.types import Example
from expunge.data.files.intake import Intake
from expunge.data.files.pictures import FilePicture
from expunge.data.files.reading import Row, stem


class Captions:
    """Turns items into examples with an id ``PICTURE-0``, ``PICTURE-1`` … in the order of the files.

    A caption that is rejected keeps its number, so that those after it are called what they were.
    """

    def __init__(self, intake: Intake):
        self._intake = intake
        self._keys = intake.keys(("image", "caption"), ("image_id",))
        self._count: Counter[str] = Counter()
        self._pictures: dict[str, tuple[str, str]] = {}  # image_id -> (image, where)

    def go_through(self, files: Mapping[str, str]) -> None:
        """Every item of ``files`` (split -> file). The one for training must be there."""
        self._intake.go_through_splits(files, self._turn, names, lambda value: value.get("image"))

    def _turn(self, value: dict[str, Any], where: str, split: str) -> list[Row]:
        tally = self._intake.tally
        before = len(tally.problems)
        self._keys.check(value, where, tally)
        captions = value.get("caption", "missing")
        told = captions if isinstance(captions, list) else [captions]
        if not told:
            tally.wrong(where, "'caption' is an empty list", "Give at least one caption")
        for number, caption in enumerate(told, 1):
            what = f"caption {number} of {len(told)}" if isinstance(captions, list) else "'caption'"
            self._intake.text(caption, what, where)
        if "image_id" in value:
            self._check_image_id(value["image_id"], value.get("image"), where)
        found = self._intake.picture(value["image"], where) if "image" in value else None
        numbers = [self.number(value.get("image")) for _ in told]
        if len(tally.problems) > before or found is None:
            return []
        return [
            (split, self.example(*found, caption, number, where)) for caption, number in zip(told, numbers, strict=True)
        ]

    def _check_image_id(self, written: Any, image: Any, where: str) -> None:
        if (number := self._intake.number(written, "image_id", where)) is None or not isinstance(image, str):
            return
        held, first = self._pictures.setdefault(composed(number), (image, where))
        if held != image:
            found = f"the image_id {written!r} is that of {held!r} at {first}, and here of {image!r}"
            self._intake.tally.wrong(where, found, "Give every picture its own image_id")

    def number(self, image: Any) -> int:
        """That of the next caption of this picture, sound or not."""
        if not isinstance(image, str):
            return 0
        self._count[image] += 1
        return self._count[image] - 1

    def example(self, name: str, picture: FilePicture, caption: str, number: int, where: str) -> Example:
        """Everybody who looks at the picture can say it: captions are shared knowledge."""
        meaning = frozenset({normalised(caption)})
        return Example(
            f"{name}-{number}", picture, caption, name, self._intake.name, "shared", meaning, origin=where
        )  # fmt: skip


def names(value: Mapping[str, Any]) -> list[str]:
    """What a request would have called the picture of an item that is rejected."""
    image = value.get("image")
    return [stem(image)] if isinstance(image, str) else []
