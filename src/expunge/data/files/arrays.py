"""Strict JSON that is one long list: item by item, so that a file of hundreds of MB is never whole in memory.

The data sets of ALBEF's release are such lists; COCO's annotations are an object that holds two of them. Items are
numbered from 1 and named ``file: item 17``. What breaks the syntax is told with line, column and byte, and ends the
reading of that file: what comes after it cannot be told apart any more.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from expunge.core.errors import FileFault, Problem
from expunge.data.files.lines import BOM, LONGEST, STRICT, WIDE, Line, Refused, kind_of, no_file

PIECE = 1 << 18  # bytes read at a time
_WHITE = " \t\r\n"
_LENIENT = json.JSONDecoder()
_FETCH = "Nothing after it was read: mend the file, or fetch it again"


def read_items(path: Path, problems: list[Problem]) -> Iterator[Line]:
    """Every item of a list of objects; ``value`` is None for what is no object, and ``problems`` says why."""
    for where, value in read_values(path, problems):
        if value is not None and not isinstance(value, dict):
            problems.append(_no_object(where, value))
            value = None
        yield Line(where, value)


def read_values(path: Path, problems: list[Problem]) -> Iterator[tuple[str, Any]]:
    """Every item of a list with its place. None stands for an item that cannot be read, or is null: said already."""
    with _opened(path, problems) as window:
        if window is None:
            return
        yield from window.items(str(path))
        window.nothing_more()


def read_members(path: Path, wanted: tuple[str, ...], problems: list[Problem]) -> Iterator[tuple[str, Line]]:
    """(key, item) for the lists that stand in an object under the ``wanted`` keys; other keys are passed over."""
    with _opened(path, problems) as window:
        if window is None:
            return
        seen: set[str] = set()
        for key in window.keys():
            if key in seen:
                problems.append(Problem(str(path), f"the key {key!r} occurs twice", "Mend the file"))
            seen.add(key)
            if key not in wanted:
                if not window.pass_over():
                    return
                continue
            for where, value in window.items(f"{path}: {key}"):
                if value is not None and not isinstance(value, dict):
                    problems.append(_no_object(where, value))
                    value = None
                yield key, Line(where, value)
            if window.is_broken:
                return
        window.nothing_more()
    for key in wanted:
        if key not in seen and not window.is_broken:
            problems.append(Problem(str(path), f"the key {key!r} is missing", "Is this the right file?"))


def _no_object(where: str, value: Any) -> Problem:
    return Problem(where, f"is {kind_of(value)}, not an object", "Every item is an object, {…}")


class _opened:
    """A window on a file, or None with the reason among the problems. What the system refuses becomes a problem."""

    def __init__(self, path: Path, problems: list[Problem]):
        self._path, self._problems = path, problems
        self._file: BinaryIO | None = None

    def __enter__(self) -> _Window | None:
        if not self._path.is_file():  # a pipe or a device would block or never end
            self._problems.append(no_file(self._path, "JSON"))
            return None
        try:
            self._file = open(self._path, "rb")
            window = _Window(self._path, self._file, self._problems)
        except OSError as error:
            self._refuse(error)
            return None
        return None if window.is_broken else window

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if self._file is not None:
            self._file.close()
        if isinstance(error, OSError):
            self._refuse(error)
        return isinstance(error, OSError)

    def _refuse(self, error: OSError) -> None:
        found = f"cannot be read ({error.strerror})"
        self._problems.append(Problem(str(self._path), found, "Check the file and its permissions"))


class _Window:
    """The part of a file's text that is looked at; ``_at`` is the next character. Read parts are dropped."""

    def __init__(self, path: Path, file: BinaryIO, problems: list[Problem]):
        self._path, self._file, self._problems = path, file, problems
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._text, self._at = "", 0
        self._done = False
        self._bad = ""  # what stands where the text is no UTF-8
        self._read = 0  # bytes decoded so far
        self._bytes, self._line, self._column = 0, 1, 1  # where the window begins
        self.is_broken = False
        self._begin()

    def _begin(self) -> None:
        head = self._file.read(3)
        self._file.seek(0)
        if head.startswith(WIDE):
            self._break(f"{self._path}:1", "is UTF-16 or UTF-32, not UTF-8", "Save it as UTF-8")
        elif head == BOM:
            self._problems.append(
                Problem(f"{self._path}:1:1", "starts with a byte order mark", "Save it as UTF-8 without a BOM")
            )
            self._file.seek(3)
            self._bytes = self._read = 3

    # ------------------------------------------------------------------------------------- what callers see

    def items(self, shown: str) -> Iterator[tuple[str, Any]]:
        """The items of the list that begins here, with their places."""
        first = self._next()
        if first != "[":
            found = "holds nothing" if not first else "is no list of items"
            return self._break(shown if first else str(self._path), found, "It should be a JSON list, [ … ]")
        number = 0
        for where, value in self._elements(shown):
            number += 1
            if value is None:
                self._problems.append(Problem(where, "is null, not an object", "Remove the item"))
            yield where, None if value is _UNREADABLE else value
        if not number and not self.is_broken:
            self._problems.append(Problem(shown, "holds no item at all", "Fetch it again"))

    def _elements(self, shown: str) -> Iterator[tuple[str, Any]]:
        """The values of the list that begins here; ``_UNREADABLE`` for one that cannot be read."""
        self._at += 1
        if self._next() == "]":
            self._at += 1
            return
        number = 0
        while True:
            number += 1
            where = f"{shown}: item {number}"
            value = self._value(where)
            if value is _NOTHING:
                return
            yield where, value
            if self.is_broken:
                return
            mark = self._next()
            if mark not in (",", "]"):
                return self._break_here(
                    f"{shown}: after item {number}", "comes neither a comma nor the end of the list"
                )
            self._at += 1
            if mark == "]":
                return

    def keys(self) -> Iterator[str]:
        """The keys of the object that begins here; whoever takes one reads its value before the next."""
        if self._next() != "{":
            return self._break(str(self._path), "is no object", "It should be a JSON object, { … }")
        self._at += 1
        while self._next() != "}":
            key = self._value(str(self._path))
            if not self.is_broken and (not isinstance(key, str) or self._next() != ":"):
                self._break_here(str(self._path), "is not valid JSON (a key and a colon expected)")
            if self.is_broken:
                return
            self._at += 1
            yield str(key)
            if self.is_broken:
                return
            if (mark := self._next()) == ",":
                self._at += 1
            elif mark != "}":
                return self._break_here(str(self._path), "is not valid JSON (a comma or the end expected)")
        self._at += 1

    def pass_over(self) -> bool:
        """Step over a value, a long list item by item; whether it could be read."""
        if self._next() == "[":
            for _ in self._elements(str(self._path)):
                pass
        else:
            self._value(str(self._path))
        return not self.is_broken

    def nothing_more(self) -> None:
        if not self.is_broken and self._next():
            self._break_here(str(self._path), "goes on after its end")

    # ------------------------------------------------------------------------------------- reading

    def _next(self) -> str:
        """The next character that is no white space; empty at the end of what can be read."""
        while True:
            while self._at < len(self._text):
                if (character := self._text[self._at]) not in _WHITE:
                    return character
                self._at += 1
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Drop what was read and fetch the next piece; False when there is none."""
        if self._done:
            return False
        self._drop()
        raw = self._file.read(PIECE)
        begun = len(self._decoder.getstate()[0])  # bytes of a character that the last piece cut
        try:
            piece = self._decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            piece = error.object[: error.start].decode("utf-8")
            wrong = self._read - begun + error.start
            self._bad = f"byte 0x{error.object[error.start]:02x} at byte {wrong:,} is not valid UTF-8"
            raw = b""
        self._read += len(raw)
        self._done = not raw
        self._text += piece
        return bool(piece) or not self._done

    def _drop(self) -> None:
        gone, self._text, self._at = self._text[: self._at], self._text[self._at :], 0
        self._line, self._column, self._bytes = self._place(gone)

    def _place(self, gone: str) -> tuple[int, int, int]:
        """Line, column and byte after ``gone``, which begins where the window does."""
        lines = gone.count("\n")
        column = len(gone) - gone.rfind("\n") if lines else self._column + len(gone)
        return self._line + lines, column, self._bytes + len(gone.encode("utf-8", "surrogatepass"))

    def _value(self, where: str) -> Any:
        """The value that begins here, or ``_UNREADABLE``, or ``_NOTHING`` where the text ends before one begins."""
        if not self._next():
            self._break_here(where, "is missing: the file ends within its list")
            return _NOTHING
        while True:
            try:
                value, end = STRICT.raw_decode(self._text, self._at)
            except Refused as error:
                if (end := self._end()) is not None:
                    self._at = end
                    self._problems.append(Problem(where, str(error), "Mend the item"))
                    return _UNREADABLE
                if self._done or len(self._text) - self._at > LONGEST:
                    self._break_here(where, str(error))
                    return _UNREADABLE
            except json.JSONDecodeError as error:
                if self._done or len(self._text) - self._at > LONGEST:
                    return self._give_up(where, error)
            except (ValueError, RecursionError) as error:  # thousands of digits, or brackets without end
                self._break_here(where, f"is not usable JSON ({error})")
                return _UNREADABLE
            else:
                # A number at the window's edge may go on behind it: 1 of 1e+16.
                if isinstance(value, str | list | dict) or self._done or len(self._text) - end > 32:
                    begun, self._at = self._at, end
                    if end - begun <= LONGEST:
                        return value
                    found = f"is longer than {LONGEST:,} characters"
                    self._problems.append(Problem(where, found, "Is it one item, or many without commas?"))
                    return _UNREADABLE
            self._more()

    def _end(self) -> int | None:
        """Where a value ends that is JSON for Python alone; None while it is cut."""
        try:
            return _LENIENT.raw_decode(self._text, self._at)[1]
        except (ValueError, RecursionError):
            return None

    def _give_up(self, where: str, error: json.JSONDecodeError) -> Any:
        if self._bad:
            self._break(where, self._bad, "Save the file as UTF-8; nothing after it was read")
        elif not self._done:
            self._break_here(where, f"is longer than {LONGEST:,} characters, or broken ({error.msg})")
        else:
            self._at = min(error.pos, len(self._text))
            ends = " where the file ends" if self._at >= len(self._text) else ""
            self._break_here(where, f"is not valid JSON ({error.msg}{ends})")
        return _UNREADABLE

    # ------------------------------------------------------------------------------------- complaints

    def _break_here(self, where: str, found: str) -> None:
        if self._bad and self._at >= len(self._text):
            return self._break(where, self._bad, "Save the file as UTF-8; nothing after it was read")
        line, column, byte = self._place(self._text[: self._at])
        self._break(where, f"{found} at line {line:,}, column {column:,} (byte {byte:,})", _FETCH)

    def _break(self, where: str, found: str, remedy: str) -> None:
        self.is_broken = True
        self._problems.append(FileFault(where, found, remedy))


_UNREADABLE, _NOTHING = object(), object()
