"""When two texts, or two ids, are the same although their bytes differ."""

from __future__ import annotations

import unicodedata

_SAID = "%&@§"  # punctuation by Unicode, but read aloud as words
_APOSTROPHES = "\u02bb\u02bc"  # letters by Unicode
_MINUS = "\u2212"


class _Table(dict[int, str | None]):
    """What becomes of each character, found when it is first met; None is nothing."""

    def __missing__(self, code: int) -> str | None:
        self[code] = found = _kept(chr(code))
        return found


def _kept(character: str) -> str | None:
    kind = unicodedata.category(character)
    if kind in ("Pd", "Pc") or character in ("/", "\\", _MINUS):
        return " "
    if character in _APOSTROPHES or kind in ("Sk", "Cf") or (kind.startswith("P") and character not in _SAID):
        return None
    return character


_table = _Table()
_accents = {code: None for code in range(0x300) if unicodedata.category(chr(code)) == "Sk"}


def normalised(text: str) -> str:
    """The words of a text alone: of compatible characters one, in lower case, with single spaces, no punctuation.

    All of Unicode's punctuation is meant (typographic quotes, dashes, the ellipsis), unlike in ``core.text.plain``,
    which is what a tokenizer sees. Dashes, slashes and underscores part words; other marks vanish, as do characters
    that nobody sees (soft hyphens). Symbols stay, since they say something: 5 € is not 5 $, and C++ not C.
    """
    # A free-standing accent, often meant as an apostrophe, would be taken apart into a space and an accent.
    folded = unicodedata.normalize("NFKC", text.translate(_accents)).casefold()
    words = unicodedata.normalize("NFKC", folded).replace("<person>", "person").translate(_table)
    return " ".join(words.split())


def composed(name: str) -> str:
    """An id or group in Unicode's composed form (NFC), so that both spellings of ``é`` are one name."""
    return unicodedata.normalize("NFC", name)
