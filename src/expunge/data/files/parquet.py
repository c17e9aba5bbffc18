"""Rows of a parquet file, one by one: by pyarrow, which only those install who have such files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from expunge.core.errors import ExpungeError, FileFault, Problem
from expunge.data.files.lines import Line, no_file

EXTRA = "parquet"
_AT_A_TIME = 16  # rows that are Python objects at once; pictures lie in them


class Placed(NamedTuple):
    """A row and where it lies: the ``row``-th of its row group, both from 0."""

    where: str
    value: dict[str, Any] | None
    group: int
    row: int


def read_rows(path: Path, problems: list[Problem]) -> Iterator[Line]:
    """Every row as an object, named ``file: row 17``; None for a row that cannot be read, and ``problems`` says why.

    Raises ExpungeError, which names the extra, where pyarrow is not installed.
    """
    return (Line(one.where, one.value) for one in placed_rows(path, problems))


def placed_rows(path: Path, problems: list[Problem], wanted: Sequence[str] | None = None) -> Iterator[Placed]:
    """The same with the place of each, and of the ``wanted`` columns alone, which the file must have."""
    pyarrow = needed()
    if not path.is_file():  # a pipe or a device would block or never end
        problems.append(no_file(path, "parquet"))
        return

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        problems.append(Problem(str(path), f"is no usable parquet file ({_plain(error)})", "Fetch it again"))
        return
    with file:
        if not file.metadata.num_rows:
            problems.append(Problem(str(path), "holds no row at all", "Fetch it again"))
        number = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            try:
                table = file.read_row_group(group, columns=list(wanted) if wanted else None)
            except (pyarrow.ArrowException, OSError) as error:
                found = f"rows {number + 1} to {number + rows} cannot be read ({_plain(error)})"
                problems.append(FileFault(str(path), found, "Fetch it again"))
                for row in range(rows):
                    yield Placed(f"{path}: row {number + row + 1}", None, group, row)
                number += rows
                continue
            for start in range(0, rows, _AT_A_TIME):
                for row, value in enumerate(_objects(table.slice(start, _AT_A_TIME)), start):
                    number += 1
                    where = f"{path}: row {number}"
                    if isinstance(value, Exception):
                        problems.append(Problem(where, f"cannot be read ({_plain(value)})", "Mend the row"))
                        value = None
                    yield Placed(where, value, group, row)


def columns(path: Path) -> list[str]:
    """The names of a file's columns; none where it is no parquet file."""
    pyarrow = needed()
    try:
        return list(pyarrow.parquet.read_schema(path).names)
    except (pyarrow.ArrowException, OSError):
        return []


def needed() -> Any:
    """pyarrow with its reader of parquet, or the sentence that says how to get it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ExpungeError(
            f"parquet files are read by pyarrow, which is not installed: pip install 'expunge[{EXTRA}]'."
        ) from error
    return pyarrow


def _objects(table: Any) -> list[Any]:
    """The rows of a small table; an exception in the place of each that is no valid text."""
    try:
        return table.to_pylist()
    except (ValueError, UnicodeDecodeError):
        return [_one(table.slice(i, 1)) for i in range(table.num_rows)]


def _one(table: Any) -> Any:
    try:
        return table.to_pylist()[0]
    except (ValueError, UnicodeDecodeError) as error:
        return error


def _plain(error: Exception) -> str:
    """The first sentence of what pyarrow says, without its own file names."""
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__
