"""Parquet files read row by row, and the pictures that lie in their cells.

Published benchmarks keep pictures as bytes in a column. A ``CellPicture`` remembers the cell and reads it when somebody
looks, so that a data set of gigabytes is not held in memory; what a model sees follows the policy of ``pictures``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from expunge.core.errors import DataError, Problem
from expunge.core.types import Picture
from expunge.data.files.lines import kind_of
from expunge.data.files.parquet import columns, needed, placed_rows
from expunge.data.files.pictures import Unreadable, content_key, decode, looks_of, squared

KEPT_GROUPS = 4
"""Row groups of picture columns kept in memory; published files have a hundred pictures in each."""


@dataclass(frozen=True)
class CellPicture:
    """The picture in one cell. ``key`` is the SHA-256 of its bytes."""

    file: str
    column: str
    group: int
    row: int
    key: str
    look: int | None = field(default=None, compare=False)  # perceptual hash
    turned: tuple[int, ...] = field(default=(), compare=False)  # the same of the picture turned: ``looks_of()[1:]``

    def open(self, pixels: int) -> Image.Image:
        """RGB, ``pixels`` x ``pixels``. Raises ``DataError`` if the file is gone, broken, or no longer the same."""
        where = f"{self.file}: row group {self.group}, row {self.row}"
        try:
            cell = _column(self.file, self.column, self.group)[self.row]
            data = (cell or {}).get("bytes") or b""
            if content_key(data) != self.key:
                raise Unreadable("has changed since it was checked", "Run the check again")
            return squared(decode(data), pixels)
        except (OSError, IndexError) as error:
            raise DataError([Problem(where, f"cannot be read ({error})", "Fetch the file again")]) from error
        except Unreadable as error:
            raise DataError([Problem(where, error.found, error.remedy)]) from error


@dataclass(frozen=True)
class Cells:
    """One row: ``values`` by column, ``where`` for errors, and where its picture lies."""

    where: str
    values: dict[str, Any]
    file: str
    group: int
    row: int


def read_cells(folder: Path, wanted: Sequence[str], problems: list[Problem]) -> Iterator[Cells]:
    """Every row of the parquet files in ``folder``, in the order of their names; columns that are not ``wanted`` are
    not read. A file that lacks one of them gives no row. Raises ExpungeError without pyarrow.
    """
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    if not files:
        problems.append(Problem(str(folder), "holds no parquet file", "Fetch this config, or check the folder"))
    for file in files:
        there = columns(file)  # empty where it is no parquet file, which the reader says better
        if lacking := [one for one in wanted if there and one not in there]:
            found = f"lacks the column {', '.join(map(repr, lacking))}"
            problems.append(Problem(str(file), found, f"It has {', '.join(there)}"))
            continue
        for where, value, group, row in placed_rows(file, problems, wanted):
            if value is not None:
                yield Cells(where, value, str(file), group, row)


class CellAlbum:
    """Pictures out of cells: every distinct content is decoded once, when it is met first."""

    def __init__(self) -> None:
        self._looks: dict[str, tuple[int, ...] | Unreadable] = {}

    def take(self, cells: Cells, column: str, problems: list[Problem]) -> Picture | None:
        """The picture of a row, or None with the reason among the problems."""
        value = cells.values.get(column)
        if isinstance(value, Picture):  # of a world of ours, which lies in no file
            return value
        data = value.get("bytes") if isinstance(value, dict) else None
        if not isinstance(data, bytes) or not data:
            found = f"{column!r} is {kind_of(value)}" if not isinstance(value, dict) else f"{column!r} holds no bytes"
            problems.append(Problem(cells.where, found, "A published picture is a struct with its bytes"))
            return None
        key = content_key(data)
        if key not in self._looks:
            try:
                self._looks[key] = looks_of(decode(data))
            except Unreadable as error:
                self._looks[key] = error
        looks = self._looks[key]
        if isinstance(looks, Unreadable):
            problems.append(Problem(cells.where, f"{column!r}: {looks.found}", looks.remedy))
            return None
        return CellPicture(cells.file, column, cells.group, cells.row, key, looks[0], looks[1:])


@lru_cache(maxsize=KEPT_GROUPS)
def _column(file: str, column: str, group: int) -> list[Any]:
    return needed().parquet.ParquetFile(file).read_row_group(group, columns=[column]).column(column).to_pylist()
