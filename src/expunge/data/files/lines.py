"""Strict JSON Lines: one object per line, every line accounted for, every complaint with its true line."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from expunge.core.errors import Problem
from expunge.core.refusal import Nearest

LONGEST = 1 << 20  # bytes in one line
WIDE = (b"\xff\xfe", b"\xfe\xff")  # UTF-16 and little-endian UTF-32
BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line that is not blank. ``value`` is None when it was no object; the reason is among the problems."""

    where: str
    value: dict[str, Any] | None


class Refused(ValueError):
    """Valid for Python's parser, but not for us."""


def read_objects(path: Path, problems: list[Problem], longest: int = LONGEST) -> Iterator[Line]:
    """Yield every line that is not blank and append to ``problems`` what is wrong with it, or with the file.

    A line of more than ``longest`` bytes is refused.
    """
    try:
        # A pipe or a device would block or never end.
        if not path.is_file():
            problems.append(no_file(path))
            return
        with open(path, "rb") as file:
            seen = 0
            for number, raw in _numbered(file, longest):
                if number == 1 and raw.startswith(WIDE):
                    found = "is UTF-16 or UTF-32, not UTF-8"
                    problems.append(Problem(f"{path}:1", found, "Save it as UTF-8"))
                    yield Line(f"{path}:1", None)
                    return
                if number == 1 and raw.startswith(BOM):
                    found = "starts with a byte order mark"
                    problems.append(Problem(f"{path}:1:1", found, "Save it as UTF-8 without a BOM"))
                    raw = raw[len(BOM) :]
                if not raw.strip():
                    continue
                seen += 1
                yield Line(f"{path}:{number}", _object(raw, f"{path}:{number}", problems, longest))
            if not seen:
                problems.append(Problem(str(path), "holds no line at all", "Write one JSON object per line"))
    except OSError as error:
        problems.append(Problem(str(path), f"cannot be read ({error.strerror})", "Check the file and its permissions"))


def _numbered(file: BinaryIO, longest: int) -> Iterator[tuple[int, bytes]]:
    """Lines by their true number. What exceeds ``longest`` comes back cut, one byte too long to be accepted."""
    number = 0
    while raw := file.readline(longest + 1):
        number += 1
        rest = raw
        while len(rest) > longest and not rest.endswith(b"\n"):
            rest = file.readline(longest + 1)
        yield number, raw


def _object(raw: bytes, where: str, problems: list[Problem], longest: int) -> dict[str, Any] | None:
    def refuse(found: str, remedy: str, column: int | None = None) -> None:
        problems.append(Problem(where if column is None else f"{where}:{column}", found, remedy))

    if len(raw) > longest:
        return refuse(f"is longer than {longest:,} bytes", "Write one JSON object per line")
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} is not valid UTF-8"
        return refuse(found, "Save the file as UTF-8", error.start + 1)
    try:
        value = STRICT.decode(text)
    except json.JSONDecodeError as error:
        return refuse(f"is not valid JSON ({error.msg})", "Write one JSON object per line", error.colno)
    except Refused as error:
        return refuse(str(error), "Mend the line")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets without end
        return refuse(f"is not usable JSON ({error})", "Mend the line")
    if not isinstance(value, dict):
        return refuse(f"is {kind_of(value)}, not an object", 'Write one JSON object per line, {"id": …}')
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise Refused(f"the key {key!r} occurs twice in one object")
        made[key] = value
    return made


def _no_constant(name: str) -> Any:
    raise Refused(f"{name} is not a JSON value")


STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
"""Reads JSON as its standard says: no NaN, and no key twice in an object (both raise ``Refused``)."""


def no_file(path: Path, what: str = "JSONL") -> Problem:
    """Why ``path`` cannot be read as a file."""
    if path.is_dir():
        return Problem(str(path), "is a folder, not a file", f"Name the {what} file")
    if path.exists():
        return Problem(str(path), "is not a regular file", f"Name a {what} file")
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    return Problem(str(path), "does not exist", Nearest(siblings)(path.name) or "Check the path")


def kind_of(value: Any) -> str:
    """The JSON word for a value's type."""
    for types, word in (
        (bool, "true or false"), (int | float, "a number"), (str, "a string"), (list, "a list"), (dict, "an object"),
    ):  # fmt: skip
        if isinstance(value, types):
            return word
    return "null"


def unsound(value: Any) -> str:
    """What is wrong with a value that must be a string with something in it; empty when nothing is."""
    if not isinstance(value, str):
        return f"is {kind_of(value)}, not a string"
    if not value.strip():
        return "is empty" if not value else "is only white space"
    if any("\ud800" <= c <= "\udfff" for c in value):
        return "holds half of a surrogate pair, which is no character"
    if "\x00" in value:
        return "holds a NUL character"
    return ""


_JOINERS = "\u200c\u200d"  # Persian and Indic names are written with them


def unsound_name(value: Any) -> str:
    """The same for an id or a group, which must also be free of white space at its ends, line breaks, and whatever else
    nobody sees (no-break spaces) but the joiners that some scripts need."""
    if wrong := unsound(value):
        return wrong
    if value != value.strip():
        return f"has white space at its ends ({value!r})"
    for number, character in enumerate(value, 1):
        if not character.isprintable() and character not in _JOINERS:
            name = unicodedata.name(character, "a control character")
            return f"holds {name} (U+{ord(character):04X}) as its character {number} ({value!r})"
    return ""
