"""When two texts, or two ids, are the same although their bytes differ."""

from __future__ import annotations

import unicodedata

from expunge.core.text import plain


def normalised(text: str) -> str:
    """What a text says once composed, lower-cased and stripped of punctuation: the rule of the tokenizers, uncut."""
    return plain(unicodedata.normalize("NFC", text), max_words=len(text) + 1)


def composed(name: str) -> str:
    """An id or group in Unicode's composed form (NFC), so that both spellings of ``é`` are one name."""
    return unicodedata.normalize("NFC", name)
