"""Flickr30k in the Karpathy splits: 31 000 photographs with five captions each, as ALBEF's JSON.

Below `folder` lie

    flickr30k_train.json   [{"image": "flickr30k-images/1000092795.jpg", "caption": "…", "image_id": 0}, …]
    flickr30k_val.json     [{"image": "flickr30k-images/1018148011.jpg", "caption": ["…", …]}, …]
    flickr30k_test.json    the same
    flickr30k-images/      the pictures; if they lie elsewhere, `images` is the folder that holds this one

A deletion request names a picture by its file without ending (1000092795), or one caption of it (1000092795-0). All
captions count as shared knowledge: they can be read off the picture. Half the captions of one picture cannot be
forgotten while the others stay, so ask by picture. Splits and JSON: ALBEF's release.
"""

from __future__ import annotations

from pathlib import Path

from expunge.core.run import Progress
from expunge.core.types import Corpus, Task
from expunge.data.files.captioned import Captions
from expunge.data.files.intake import Intake, accepted, for_task
from expunge.data.files.reading import Reading

LICENCE = (
    "Flickr30k: for non-commercial research and education; the photographs belong to their photographers, under "
    "Flickr's terms."
)
DOWNLOAD = (
    "Ask its owners for the pictures with the form on the Flickr30k page of the University of Illinois (Denotation "
    "Graph project). The three JSON files are in the data download that ALBEF's repository (salesforce/ALBEF) links."
)
TASKS = ("retrieval",)
FILES = {"train": "flickr30k_train.json", "validation": "flickr30k_val.json", "test": "flickr30k_test.json"}


def load(
    folder: Path,  # where the three JSON files lie
    images: Path | None = None,  # the folder that holds flickr30k-images/, if that is not `folder`
    extra: list[str] | str = (),  # keys of your files to read past
    skip: bool = False,  # leave out items that cannot be used, and say so, instead of stopping
    task: Task = "retrieval",
    progress: Progress | None = None,
) -> Corpus:
    """The corpus. Raises one ``DataError`` with everything that is wrong, file and item."""
    return accepted(read(folder, images, extra, skip, task, progress))


def read(
    folder: Path,
    images: Path | None = None,
    extra: list[str] | str = (),
    skip: bool = False,
    task: Task = "retrieval",
    progress: Progress | None = None,
    fresh: bool = False,
) -> Reading:
    """The same without stopping at a problem. ``fresh`` decodes every picture again."""
    task = for_task("flickr30k", task, TASKS)
    intake = Intake("flickr30k", folder, images, extra, progress, fresh)
    if intake.is_there:
        Captions(intake).go_through(FILES)
    return intake.reading(task, LICENCE, skip)
