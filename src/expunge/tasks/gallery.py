"""What is searched and who asks: galleries, their queries, and which text is true of which picture.

Pictures are told apart by ``Picture.key`` and texts by their wording, so nothing stands twice in a gallery and
equal content can never tie with itself. Both are kept in the order of their digests: results then do not depend
on the order in which examples arrive, not even in the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from expunge.core.groups import digest, group_of
from expunge.core.text import plain
from expunge.core.types import Example, Kind


@dataclass(frozen=True)
class Gallery:
    """``examples`` to search among, and the ``queries`` that search (all of them when None).

    ``kind`` restricts the score to what can be seen (``shared``) or to what was told (``private``). Query texts
    are those of that kind. Where a source has both kinds, its texts of the other kind also leave the gallery: a
    portrait asked for its private sentences must not be beaten by its own true description. Sources with one
    kind or none (everyday captions) always stay as distractors. A picture for which no text of that kind is true
    does not ask.

    Raises ``ValueError`` when a query is not in the gallery or the gallery is empty.
    """

    name: str
    examples: tuple[Example, ...]
    queries: tuple[Example, ...] | None = None
    kind: Kind | None = None

    def __post_init__(self) -> None:
        if not self.examples:
            raise ValueError(f"gallery {self.name!r} is empty")
        if self.queries is not None:
            held = {(e.image.key, e.text) for e in self.examples}
            if lost := [e.id for e in self.queries if (e.image.key, e.text) not in held]:
                raise ValueError(f"gallery {self.name!r} lacks {len(lost)} of its queries, first {lost[0]!r}")

    def asking(self) -> tuple[Example, ...]:
        """The query examples; their pictures ask for texts, their texts of ``kind`` for pictures."""
        return self.examples if self.queries is None else self.queries

    def candidates(self) -> tuple[Example, ...]:
        """The examples whose texts are searched."""
        if self.kind is None:
            return self.examples
        kinds: dict[str, set[str | None]] = {}
        for e in self.examples:
            kinds.setdefault(e.source, set()).add(e.kind)
        both = {source for source, found in kinds.items() if {"shared", "private"} <= found}
        return tuple(e for e in self.examples if e.source not in both or e.kind == self.kind)


@dataclass(frozen=True)
class Board:
    """A gallery as indices into stored scores: P pictures, T texts, Qi asking pictures, Qt asking texts."""

    pictures: Tensor  # [P] rows
    texts: Tensor  # [T] columns
    asking_pictures: Tensor  # [Qi] positions in ``pictures``
    asking_texts: Tensor  # [Qt] positions in ``texts``, one per query example
    relevant: Tensor  # [P, T] bool
    picture_groups: tuple[str, ...]  # [Qi]
    text_groups: tuple[str, ...]  # [Qt]


def lay_out(gallery: Gallery, rows: Mapping[str, int], columns: Mapping[str, int]) -> Board:
    """Resolve a gallery against the rows and columns of stored scores (digest -> index).

    Raises ``ValueError`` when the scores know a picture or text of the gallery not at all.
    """
    candidates = gallery.candidates()
    try:
        pictures = sorted({rows[digest(e.image.key)] for e in gallery.examples})
        texts = sorted({columns[digest(e.text)] for e in candidates})
    except KeyError as missing:
        raise ValueError(f"gallery {gallery.name!r} was not predicted: {missing} has no scores") from None
    place = {row: i for i, row in enumerate(pictures)}
    spot = {column: j for j, column in enumerate(texts)}

    def place_of(e: Example) -> int:
        return place[rows[digest(e.image.key)]]

    def spot_of(e: Example) -> int:
        return spot[columns[digest(e.text)]]

    relevant = relevance(gallery.examples, candidates, len(pictures), len(texts), place_of, spot_of)
    if gallery.kind is not None:
        of_kind = torch.zeros(len(texts), dtype=torch.bool)
        of_kind[[spot_of(e) for e in candidates if e.kind == gallery.kind]] = True
        relevant &= of_kind
    asking = gallery.asking()
    first: dict[int, str] = {}
    for e in sorted(asking, key=lambda e: e.id):
        first.setdefault(place_of(e), group_of(e))
    askers = [i for i in sorted(first) if bool(relevant[i].any())]
    texts_asking = sorted((spot_of(e), group_of(e)) for e in asking if gallery.kind is None or e.kind == gallery.kind)
    return Board(
        torch.tensor(pictures),
        torch.tensor(texts),
        torch.tensor(askers, dtype=torch.long),
        torch.tensor([j for j, _ in texts_asking], dtype=torch.long),
        relevant,
        tuple(first[i] for i in askers),
        tuple(group for _, group in texts_asking),
    )


def relevance(
    examples: Iterable[Example], candidates: Iterable[Example], height: int, width: int, place_of, spot_of
) -> Tensor:
    """Which texts are true of which pictures, [P, T] bool.

    A text is relevant to a picture when all it states is true of it (``Example.described_by``), so descriptions
    that fit two people count for both. Where a text's meaning is not known, it is relevant to the pictures it
    was written for, and to those that the same words were written for. A text always fits its own picture.
    """
    examples, candidates = tuple(examples), tuple(candidates)
    true_of: dict[str, set[int]] = {}
    worded: dict[str, set[int]] = {}
    for e in examples:
        worded.setdefault(plain(e.text), set()).add(place_of(e))
        for fact in e.facts:
            true_of.setdefault(fact, set()).add(place_of(e))
    relevant = torch.zeros(height, width, dtype=torch.bool)
    described: dict[frozenset[str], list[int]] = {}
    for e in candidates:
        if e.meaning:
            if e.meaning not in described:
                described[e.meaning] = sorted(set.intersection(*(true_of.get(fact, set()) for fact in e.meaning)))
            fits = [*described[e.meaning], place_of(e)]
        else:
            fits = sorted(worded[plain(e.text)])
        relevant[fits, spot_of(e)] = True
    return relevant
