"""A biography as sentences, each with a guess at whether a picture shows what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from expunge.core.identity import normalised
from expunge.core.types import Kind

# A full stop ends a sentence where white space and a new beginning follow it …
_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]?[A-Z0-9\u00c0-\u024f])")
# … but not after a title, an initial or a common abbreviation.
_NO_END = re.compile(
    r"(?:^|[\s(])(?:[A-Z]|Dr|Mr|Mrs|Ms|Prof|St|Jr|Sr|vs|No|Inc|Ltd|Co|U\.S|U\.K|e\.g|i\.e|a\.m|p\.m|Ph\.D)\.$"
)

LOOKS = frozenset(
    """hair haired beard bearded moustache mustache goatee bald glasses spectacles sunglasses eyes eyed eyebrows skin
    freckles smile smiles smiling wears wearing wore dressed shirt blouse jacket coat sweater hat cap scarf tie necklace
    earrings portrait photo photograph background wall""".split()
)
"""Words for what a portrait shows. Left out are those that mean other things as often: face, suit, dress, picture."""
LOOKS_FIELDS = LOOKS | frozenset("appearance gender sex clothes clothing".split())
"""The same for the names of a biography's fields."""


def split(text: str) -> list[str]:
    """The sentences of a text, in order, without white space at their ends."""
    found: list[str] = []
    start = 0
    for gap in _END.finditer(text):
        if _NO_END.search(text[start : gap.start()]):
            continue
        found.append(text[start : gap.end()].strip())
        start = gap.end()
    return [one for one in (*found, text[start:].strip()) if one]


def kind_of_sentence(text: str) -> Kind | None:
    """``private`` unless it speaks of looks; ``shared`` if it then names nobody and nothing else; else not known.

    A sentence that ties a look to a name (or to a number, or a place) tells more than can be seen, and it is not for a
    word list to say how much: such a one has no kind, and counts in neither half of a score.
    """
    if LOOKS.isdisjoint(normalised(text).split()):
        return "private"
    later = re.findall(r"[^\s\"'“‘(]+", text)[1:]
    names_something = any(word[0].isupper() for word in later) or any(c.isdigit() for c in text)
    begins_with_name = not normalised(text).startswith(_BEGINNINGS)
    return None if names_something or begins_with_name else "shared"


_BEGINNINGS = (
    "she ",
    "he ",
    "they ",
    "a ",
    "an ",
    "the ",
    "this ",
    "her ",
    "his ",
    "their ",
    "with ",
    "in ",
    "someone ",
)


def told(fields: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Kind]]:
    """A sentence and its kind for every field of a biography that is a table: ``Ana Berg, employment: nurse``.

    What can be seen is said without the name, which cannot.
    """
    for key, value in _flat(fields):
        field = key.replace("_", " ").strip()
        if normalised(field) == "name":
            continue
        if LOOKS_FIELDS.isdisjoint(normalised(field).split()):
            yield f"{name}, {field.lower()}: {value}" if name else f"{field.lower()}: {value}", "private"
        else:
            yield f"{field.lower()}: {value}", "shared"


def _flat(fields: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Fields as text, those of a table within it by both names; what is empty is left out."""
    for key, value in fields.items():
        name = f"{above} {key}".strip()
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        elif isinstance(value, list):
            if text := ", ".join(str(v) for v in value if isinstance(v, str | int | float)):
                yield name, text
        elif value is not None and not isinstance(value, bool) and str(value).strip():
            yield name, str(value).strip()
