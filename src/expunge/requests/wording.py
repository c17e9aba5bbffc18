"""Which texts say nearly the same: one word different, added or dropped, or the same words in another order.

Texts of drawn pictures are left out, as the pictures are: they are made from templates, so that most are near to some
other. In a user's own data a template is known by its frame (a text without one of its words): what more than
``FRAME`` different texts fill in is a form letter, and two that differ in its blank do not give each other away.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from expunge.core.errors import Problem
from expunge.core.identity import normalised
from expunge.core.refusal import place
from expunge.core.types import Example
from expunge.data.files.pictures import is_stored

FRAME = 3
LEAST_WORDS = 5  # in shorter texts one word is too much of what they say
MOST_WORDS = 60
_WRAP = (1 << 64) - 1


def find_reworded(forget: Sequence[Example], retain: Sequence[Example]) -> list[Problem]:
    """One warning for every text to be forgotten that a kept one nearly says. A pair both marked ``shared`` is none.

    Never quotes a text, since warnings are recorded. Time grows with the number of words, not of pairs.
    """
    asked, kept = _by_text(forget), _by_text(retain)
    frames: dict[int, set[str]] = defaultdict(set)
    wanted = {key for text in asked for key in _frames(text)}
    for text in (*asked, *kept):
        for key in _frames(text):
            if key in wanted and len(frames[key]) <= FRAME:
                frames[key].add(text)
    warnings = []
    for text, here in asked.items():
        near = {other for key in _frames(text) if len(frames[key]) <= FRAME for other in frames[key]} & kept.keys()
        told = [
            e for other in sorted(near - asked.keys()) for e in kept[other] if not e.kind == here[0].kind == "shared"
        ]
        if told:
            more = f" and {len(told) - 1} more" if len(told) > 1 else ""
            found = f"its text is nearly the one at {place(told[0])}{more}, which is kept"
            warnings.append(Problem(place(here[0]), found, "Read both; if they tell the same, add it to the request"))
    return warnings


def _by_text(examples: Iterable[Example]) -> dict[str, list[Example]]:
    """Distinct texts of stored pictures that are neither short nor a whole page; what is not shared comes first."""
    found: dict[str, list[Example]] = defaultdict(list)
    for e in sorted(examples, key=lambda e: e.kind == "shared"):
        if is_stored(e.image) and LEAST_WORDS <= len((text := normalised(e.text)).split()) <= MOST_WORDS:
            found[text].append(e)
    return found


def _frames(text: str) -> Iterator[int]:
    """A number for the words of a text, whatever their order, and one for every text that lacks one of them."""
    parts = [_number(word) for word in text.split()]
    whole = sum(parts)
    yield whole & _WRAP
    for part in set(parts):
        yield (whole - part) & _WRAP


@lru_cache(maxsize=200_000)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")


class Closest:
    """Suggests the nearest of many texts for one that nobody wrote, by the rare words that both hold."""

    def __init__(self, texts: Iterable[str]):
        self._texts = list(texts)
        self._holding: dict[str, list[int]] | None = None  # filled when first asked: most requests never do

    def __call__(self, asked: str, shortlist: int = 20, least: float = 0.6) -> str:
        """The text whose letters agree best among the ``shortlist`` with most rare words in common, or ""."""
        if self._holding is None:
            self._holding = defaultdict(list)
            for i, text in enumerate(self._texts):
                for word in set(text.split()):
                    self._holding[word].append(i)
        points: Counter[int] = Counter()
        held = sorted((h for word in set(asked.split()) if (h := self._holding.get(word))), key=len)
        for numbers in held[:5]:
            for i in numbers[:2_000]:
                points[i] += 1 / len(numbers)
        near = [(SequenceMatcher(None, asked, self._texts[i]).ratio(), i) for i, _ in points.most_common(shortlist)]
        best = max(near, default=(0.0, 0))
        return self._texts[best[1]] if best[0] >= least else ""
