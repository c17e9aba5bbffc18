"""Which pictures look alike, found among tens of thousands without comparing every pair.

Exact by the pigeonhole principle: cut the 64 bits of a look into one band more than the bits that may differ, and
two looks within that distance agree in at least one band. So only pictures that share a band are compared. Stored
pictures alone are looked at, in files or in cells of one: drawn portraits resemble each other by design.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from expunge.core.types import Example
from expunge.data.files.pictures import TURNS, is_stored, look_of, looks_of

NEAR_BITS = 6
"""Of 64, always an even number: of 120 views cut from photographs, saved again (JPEG, quality 10) stays within 4,
cropped by 2 % within 8 (nine of ten within 4), and another view of the scene, shifted by a tenth, begins at 16."""
SHOWN_BITS = 10
"""How far off a picture may be and still be suggested, or asked for."""
_LOOK_PIXELS = 256
_CANDIDATES = 4_000_000  # compared at once, about 130 MB


class Likeness(NamedTuple):
    """A picture (the first example that holds it), how many bits of 64 it is off, and how it was turned."""

    example: Example
    apart: int
    turn: str

    def __str__(self) -> str:
        return f"{self.apart} of 64 bits apart{', ' if self.turn else ''}{self.turn}"


class Found(NamedTuple):
    """Pairs by index, sorted by ``row`` and then by ``apart``; each pair once, by its smallest distance."""

    row: np.ndarray
    column: np.ndarray
    apart: np.ndarray
    turn: np.ndarray


class Looks:
    """Looks in buckets by band. ``bits`` is the largest distance that will be found."""

    def __init__(self, looks: np.ndarray, bits: int):
        self._looks, self._bits = looks.astype(np.uint64), bits
        edges = [64 * i // (bits + 1) for i in range(bits + 2)]
        self._bands = []
        for low, high in pairwise(edges):
            band = (np.uint64(low), np.uint64((1 << (high - low)) - 1))
            keys = _cut(self._looks, *band)
            order = np.argsort(keys, kind="stable")
            self._bands.append((band, order, keys[order]))

    def within(self, asked: np.ndarray) -> Iterator[Found]:
        """All pairs of asked looks, [A, T] for T turns of each, with those held; the asked ones come in order."""
        turns = asked.shape[1]
        flat = asked.astype(np.uint64).ravel()
        spans = []
        for band, order, keys in self._bands:
            cut = _cut(flat, *band)
            first = np.searchsorted(keys, cut, "left")
            spans.append((order, first, np.searchsorted(keys, cut, "right") - first))
        many = len(self._looks)
        if sum(int(counts.sum()) for *_, counts in spans) > len(flat) * many:  # most are alike: compare each pair once
            spans = [(np.arange(many), np.zeros(len(flat), np.int64), np.full(len(flat), many))]
        load = np.sum([counts for *_, counts in spans], axis=0).reshape(-1, turns).sum(1)
        for start, stop in _parts(load):
            yield self._compare(flat, spans, slice(start * turns, stop * turns), turns)

    def _compare(self, flat: np.ndarray, spans: list, part: slice, turns: int) -> Found:
        codes = []
        for order, first, counts in spans:
            many = counts[part]
            asked = np.repeat(np.arange(part.start, part.stop), many)
            place = np.arange(len(asked)) - np.repeat(np.cumsum(many) - many, many)
            held = order[first[asked] + place]
            off = np.bitwise_count(flat[asked] ^ self._looks[held])
            near = off <= self._bits
            row, turn = np.divmod(asked[near], turns)
            codes.append(((row * len(self._looks) + held[near]) * 65 + off[near]) * turns + turn)
        code = np.sort(np.concatenate(codes))  # by pair, then by distance, then by turn
        pair = code // (65 * turns)
        best = code[np.diff(pair, prepend=-1) > 0]
        rest, turn = np.divmod(best, turns)
        pair, off = np.divmod(rest, 65)
        row, column = np.divmod(pair, len(self._looks))
        order = np.lexsort((off, row))
        return Found(row[order], column[order], off[order], turn[order])


def _cut(looks: np.ndarray, shift: np.uint64, mask: np.uint64) -> np.ndarray:
    return (looks >> shift) & mask


def _parts(load: np.ndarray) -> Iterator[tuple[int, int]]:
    """Consecutive ranges with at most ``_CANDIDATES`` comparisons each, or of one row."""
    start, held = 0, 0
    for i, many in enumerate(load.tolist()):
        if held and held + many > _CANDIDATES:
            yield start, i
            start, held = i, 0
        held += many
    if start < len(load):
        yield start, len(load)


class Gallery:
    """The distinct stored pictures of some examples, to be asked which of them look like another picture."""

    def __init__(self, examples: Iterable[Example], bits: int = NEAR_BITS):
        self._examples = list(by_key(examples).values())
        self._looks = Looks(np.array([_look(e) for e in self._examples], dtype=np.uint64), bits)

    def like(self, asked: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, Likeness]]:
        """(number of the asked one, a picture like it), nearest first. Each is asked for by its ``looks_of``."""
        if not asked or not self._examples:
            return
        for found in self._looks.within(np.array(asked, dtype=np.uint64)):
            for row, column, apart, turn in zip(*(values.tolist() for values in found), strict=True):
                yield row, Likeness(self._examples[column], apart, TURNS[turn])


class Alike(NamedTuple):
    """A picture on one side, by its first example, and those on the other that look like it, nearest first."""

    asked: Example
    kept: tuple[Likeness, ...]


def look_alikes(asked: Iterable[Example], kept: Iterable[Example], bits: int = NEAR_BITS) -> list[Alike]:
    """For every asked picture the kept ones, of other content, that are within ``bits`` of it or of it turned."""
    pictures = by_key(asked)
    others = [e for key, e in by_key(kept).items() if key not in pictures]
    if not pictures or not others:
        return []
    ordered = list(pictures.values())
    found: dict[int, list[Likeness]] = {}
    for number, likeness in Gallery(others, bits).like([_all_looks(e) for e in ordered]):
        found.setdefault(number, []).append(likeness)
    return [Alike(ordered[number], tuple(ones)) for number, ones in found.items()]


def by_key(examples: Iterable[Example]) -> dict[str, Example]:
    """The first example of every distinct stored picture."""
    found: dict[str, Example] = {}
    for e in examples:
        if is_stored(e.image):
            found.setdefault(e.image.key, e)
    return found


def _look(example: Example) -> int:
    picture: Any = example.image
    return look_of(picture.open(_LOOK_PIXELS)) if picture.look is None else picture.look


def _all_looks(example: Example) -> tuple[int, ...]:
    picture: Any = example.image
    if picture.look is not None and picture.turned:
        return picture.look, *picture.turned
    return looks_of(picture.open(_LOOK_PIXELS))
