"""Pictures beside texts that are not theirs: who is a stranger to whom, and how such pairs are put together."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.core.types import Encoded, Example


def owner(example: Example) -> str:
    """Whom a text is about: its group, or its picture where no group is known."""
    return example.group or example.image.key


def strangers(owners: Sequence[Hashable], rng: random.Random) -> list[int]:
    """A permutation without fixed points that gives as many places as possible an item of another owner.

    Items stand in a circle, owner beside owner, and everyone takes the item as many places on as the largest owner
    has items: whoever is not of the largest lands among others, and of the largest as many as there are others.
    Drawn by ``rng``, not evenly among all such permutations. Raises ValueError for fewer than two items.
    """
    if len(owners) < 2:
        raise ValueError("one item alone cannot be exchanged with another")
    places: dict[Hashable, list[int]] = {}
    for place, name in enumerate(owners):
        places.setdefault(name, []).append(place)
    blocks = list(places.values())
    rng.shuffle(blocks)
    for block in blocks:
        rng.shuffle(block)
    circle = [place for block in blocks for place in block]
    shift = max(map(len, blocks)) % len(circle) or 1
    given = [0] * len(circle)
    for at, place in enumerate(circle):
        given[place] = circle[(at + shift) % len(circle)]
    return given


def with_strange_texts(examples: Sequence[Example], spare: Sequence[Example], rng: random.Random) -> list[Example]:
    """Each example's picture with the text of another picture, by ``strangers``.

    Where the examples cannot offer another owner's text one of ``spare`` is drawn; where neither can, another text of
    the same owner stays. Raises ValueError for one example without spare.
    """
    if len(examples) > 1:
        partners = [examples[i] for i in strangers([owner(e) for e in examples], rng)]
    elif any(owner(s) != owner(e) for e in examples for s in spare):
        partners = list(examples)
    else:
        raise ValueError("a single pair to forget, and no other picture's text to put beside it: give more pairs")
    for i, (example, partner) in enumerate(zip(examples, partners)):
        if owner(example) == owner(partner) and (others := [s for s in spare if owner(s) != owner(example)]):
            partners[i] = rng.choice(others)
    return [replace(partner, image=example.image) for example, partner in zip(examples, partners)]


def joined(chunks: Sequence[Encoded]) -> Encoded:
    """Several batches as one, padded at the right to the longest."""
    longest = max(c.tokens.shape[1] for c in chunks)

    def padded(x: Tensor) -> Tensor:
        return F.pad(x, (0,) * (2 * x.dim() - 3) + (longest - x.shape[1],))

    ids = [padded(c.ids) for c in chunks if c.ids is not None]
    return Encoded(
        torch.cat([c.feature for c in chunks]),
        torch.cat([padded(c.tokens) for c in chunks]),
        torch.cat([padded(c.mask) for c in chunks]),
        torch.cat(ids) if ids else None,
    )
