"""Finished cells as one file: what a table was drawn from, and what nobody has to measure again.

A line for each cell, as it lies on a shelf, in the order of the suite's plan. Whoever has a method of their own lays it
beside numbers that others measured, and a table can be drawn again without a model. A cell says who was forgotten, by
name: pass on no cells of real requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.bench.cells import CELL_FORMAT, Shelf, scores_of
from expunge.core.atomic import replace_file
from expunge.core.errors import DataError, ExpungeError, Problem
from expunge.core.folder import explained
from expunge.core.spec import digest
from expunge.data.files.lines import read_objects

FILES = "*cells.jsonl"
"""What such files are called where a folder is searched for them."""
LONGEST = 1 << 26
"""Bytes in one line: a cell that was looked at holds pictures."""


@dataclass(frozen=True)
class Taken:
    """What became of cells from elsewhere: ``new`` are on the shelf now, ``known`` were there before, and ``others``
    are not of this suite and were left."""

    new: int = 0
    known: int = 0
    others: int = 0


def write(path: str | Path, hashes: Iterable[str], shelf: Shelf) -> int:
    """Write the finished ones of these cells, and say how many; the file is the old one or the new one.

    Raises ExpungeError when none is finished, so that no file of nothing takes the place of one that holds something.
    """
    found = [told for one in hashes if (told := shelf.result(one)) is not None]
    if not found:
        raise ExpungeError(f"no cell is finished yet, so {path} was not written.")
    with explained(path, "cells"), replace_file(Path(path)) as partial:
        with open(partial, "w", encoding="utf-8", newline="\n") as file:
            for told in found:
                file.write(json.dumps(told, sort_keys=True, ensure_ascii=False) + "\n")
    return len(found)


def take(sources: Iterable[str | Path], hashes: Iterable[str], shelf: Shelf) -> Taken:
    """Put those of a suite's cells that ``sources`` hold on the shelf; what is measured there already stays.

    A source is such a file, or a folder: then every one of ``FILES`` in and below it. Raises DataError with every
    line that is no finished cell, or whose hash does not fit what it says it is, and takes nothing then.
    """
    problems: list[Problem] = []
    wanted, found, others = set(hashes), {}, set()
    for source in sources:
        for path in _files(Path(source), problems):
            for where, told in read_objects(path, problems, LONGEST):
                if told is None:
                    continue
                if wrong := _wrong(told):
                    problems.append(Problem(where, wrong, "Take the file again from where it came from"))
                elif told["hash"] in wanted:
                    found.setdefault(told["hash"], told)
                else:
                    others.add(told["hash"])
    if problems:
        raise DataError(problems)
    new = [told for name, told in found.items() if shelf.result(name) is None]
    for told in new:
        shelf.adopt(told)
    return Taken(len(new), len(found) - len(new), len(others))


def _files(source: Path, problems: list[Problem]) -> list[Path]:
    if not source.is_dir():
        return [source]  # whose absence the reader tells
    found = sorted(source.rglob(FILES))
    if not found:
        problems.append(Problem(str(source), f"holds no {FILES}", "Name a file that --cells-to wrote, or its folder"))
    return found


def _wrong(told: dict[str, Any]) -> str:
    """Why this is no finished cell; empty when it is one."""
    if told.get("format") != CELL_FORMAT or not isinstance(told.get("cell"), dict):
        return f"is no finished cell of format {CELL_FORMAT}"
    if told.get("hash") != digest(told["cell"])[:32]:
        return "has a hash that does not fit what it says was measured"
    try:
        scores_of(told)
    except (KeyError, TypeError, AttributeError, ValueError):
        return "holds no scores"
    return ""
