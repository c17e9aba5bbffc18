"""What was asked, read strictly: every item becomes a request, and what is wrong with its form stands beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from expunge.core.errors import Problem
from expunge.core.refusal import Nearest
from expunge.data.files.lines import kind_of, read_objects, unsound, unsound_name
from expunge.requests.alike import NEAR_BITS, SHOWN_BITS

Who = str | Path | Mapping[str, Any] | Iterable[str | Mapping[str, Any]]
Name = str | Mapping[str, str]
"""What a spec holds of a request: an id or a group, or ``{"id": …}`` or ``{"group": …}`` where a name is both."""
By = Literal["id", "group", "text", "picture", "name"]
ASKED: tuple[By, ...] = ("id", "group", "text", "picture")
KEYS = (*ASKED, "pictured", "near", "within", "reason")
_ONE_OF = f"Give exactly one of {', '.join(map(repr, ASKED[:-1]))} and {ASKED[-1]!r}"


@dataclass(frozen=True)
class Request:
    """One thing asked for. ``by`` says what ``value`` names; ``name`` means an id or a group, whichever exists.

    ``within`` is how many of 64 bits another picture may look off and still be meant; None means the same file only.
    ``pictured`` asks for a group's examples with a picture alone: what is said of it in words is to stay.
    ``folder`` is where a picture is named from.
    """

    by: By
    value: str
    where: str  # file:line, or its number in a list
    reason: str = ""
    within: int | None = None
    pictured: bool = False
    folder: Path = field(default=Path(), compare=False, repr=False)

    def __str__(self) -> str:
        shown = self.value if self.by == "name" else f"{self.by}={self.value}"
        return f"{shown}, pictures only" if self.pictured else shown

    @property
    def label(self) -> str:
        """What a record may hold of it: a text to be forgotten is not repeated there."""
        return f"text of {self.where}" if self.by == "text" else str(self)


class Words(tuple[str, ...]):
    """Words of a command line. Each is a name, or several with commas; an item of any other list is one name."""


class Fault(NamedTuple):
    """What is wrong with a request's form. ``said`` means that its problem is known already, with its column;
    ``ambiguous``, that it could mean several things."""

    found: str
    remedy: str
    said: bool = False
    ambiguous: bool = False


def read(who: Who, knows: Callable[[str], bool], problems: list[Problem]) -> Iterator[tuple[Request, Fault | None]]:
    """Every request with what is wrong with its form. ``knows`` says whether an id or group of that name exists.

    Of a file, broken lines go to ``problems`` with their column. Pictures are named from where the file lies, those
    of a list from the current folder. A single mapping is one request.
    """
    if isinstance(who, Path) or (isinstance(who, str) and _is_file(who, knows)):
        file = Path(who)
        for where, value in read_objects(file, problems):
            if value is None:
                yield Request("name", "", where), Fault("is not a readable line", "Mend the line", said=True)
            else:
                yield _from_object(value, where, file.parent)
        return
    for number, item in enumerate(_items(who, knows), 1):
        where = f"request {number}"
        if isinstance(item, _Unclear):
            yield Request("name", item.whole, where), item.fault
        elif isinstance(item, Mapping):
            yield _from_object(dict(item), where, Path())
        elif wrong := unsound_name(item):
            yield Request("name", _printable(item), where), Fault(f"the request {wrong}", "Name an id or a group")
        else:
            yield Request("name", item, where), None


def _items(who: Who, knows: Callable[[str], bool]) -> Iterable[Any]:
    if isinstance(who, Mapping):
        return [who]  # one request, and no list of its keys
    words = Words([str(who)]) if isinstance(who, str | Path) else who
    return [name for word in words for name in _names(word, knows)] if isinstance(words, Words) else words


def _is_file(who: str, knows: Callable[[str], bool]) -> bool:
    # os.path and not Path: a list of ids may be longer than a file name can be.
    return not knows(who) and (who.endswith((".jsonl", ".json")) or os.path.isfile(who))


class _Unclear(NamedTuple):
    """A name that holds a comma, and could as well be a list of other names."""

    whole: str
    fault: Fault


_PIECES = 8
"""Into how many pieces commas may cut a name in a list of others. In a word of its own it may hold any number."""


def _names(word: str, knows: Callable[[str], bool]) -> list[str | _Unclear]:
    """The names in a word. One that holds a comma stays whole where it is known, and its parts are not all known."""
    if not word.strip():
        return []
    pieces = word.split(",")
    sizes = [len(pieces), *range(min(len(pieces) - 1, _PIECES), 1, -1)]
    for size in sizes if len(pieces) > 1 else ():
        for start in range(len(pieces) - size + 1):
            whole = ",".join(pieces[start : start + size]).strip()
            if knows(whole):
                before, after = (",".join(some) for some in (pieces[:start], pieces[start + size :]))
                return [*_names(before, knows), _whole(whole, knows), *_names(after, knows)]
    return [name for piece in pieces if (name := piece.strip())]


def _whole(name: str, knows: Callable[[str], bool]) -> str | _Unclear:
    parts = [part for piece in name.split(",") if (part := piece.strip())]
    if name in parts or not all(map(knows, parts)):
        return name
    found = f"{name!r} is one name, and its parts are names, too ({', '.join(map(repr, parts))})"
    remedy = f'Write {{"group": {name!r}}} (or "id") into a file of requests, or the parts as words of their own'
    return _Unclear(name, Fault(found, remedy.replace("'", '"'), ambiguous=True))


def _from_object(value: dict[str, Any], where: str, folder: Path) -> tuple[Request, Fault | None]:
    asked: list[By] = [key for key in ASKED if key in value]
    shown = _printable(value[asked[0]] if asked else value)
    by: By = asked[0] if asked else "name"
    reason = value.get("reason", "")
    within = value.get("within", NEAR_BITS if value.get("near") is True else None)
    request = Request(
        by, shown, where, _printable(reason) if isinstance(reason, str) else "",
        within if type(within) is int else None, value.get("pictured") is True, folder,
    )  # fmt: skip
    return request, _fault(value, asked)


def _printable(value: Any) -> str:
    """Half of a surrogate pair can be neither printed nor written."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _fault(value: dict[str, Any], asked: list[By]) -> Fault | None:
    if unknown := [key for key in value if key not in KEYS]:
        return Fault(f"unknown key {unknown[0]!r}", Nearest(KEYS)(unknown[0]) or f"Known are {', '.join(KEYS)}")
    if len(asked) != 1:
        return Fault(f"holds {' and '.join(map(repr, asked))}" if asked else "names nobody", _ONE_OF)
    judge = unsound if asked[0] in ("text", "picture") else unsound_name
    if wrong := judge(value[asked[0]]):
        is_text = isinstance(value[asked[0]], str)
        return Fault(f"{asked[0]!r} {wrong}", "Mend it, or drop the line" if is_text else "Give a string")
    if not isinstance(reason := value.get("reason", ""), str):
        return Fault(f"'reason' is {kind_of(reason)}, not a string", "Give a string")
    if reason.strip() and (wrong := unsound(reason)):
        return Fault(f"'reason' {wrong}", "Mend it, or leave it out")
    if "pictured" in value and not isinstance(value["pictured"], bool):
        return Fault(f"'pictured' is {kind_of(value['pictured'])}, not true or false", "Write true or false")
    if value.get("pictured") and asked[0] != "group":
        return Fault(f"'pictured' stands beside {asked[0]!r}", "Only of a 'group' can the pictures be asked for alone")
    return _fault_of_nearness(value, asked[0])


def _fault_of_nearness(value: dict[str, Any], by: By) -> Fault | None:
    given = [key for key in ("near", "within") if key in value]
    if not given:
        return None
    if by != "picture":
        return Fault(f"{given[0]!r} stands beside {by!r}", "Only a 'picture' can be asked for nearly: drop the key")
    if len(given) > 1:
        return Fault("holds 'near' and 'within'", f'Give one: "near": true means "within": {NEAR_BITS}')
    if given == ["near"] and not isinstance(value["near"], bool):
        return Fault(f"'near' is {kind_of(value['near'])}, not true or false", "Write true or false")
    if given == ["within"] and (type(bits := value["within"]) is not int or not 0 <= bits <= SHOWN_BITS):
        shown = str(bits) if type(bits) is int else kind_of(bits)
        return Fault(f"'within' is {shown}, no number of bits", f"Give a whole number from 0 to {SHOWN_BITS}")
    return None
