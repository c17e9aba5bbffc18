"""How good anchors are: how close they come to what must be forgotten, and how much told knowledge leaks into them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from expunge.core.stopwords import STOP_WORDS
from expunge.core.text import plain
from expunge.core.types import Example
from expunge.generators.shapes import Anchors


def words(text: str) -> set[str]:
    """The content words of a text."""
    return set(plain(text, max_words=10_000).split()) - STOP_WORDS


def told_words(examples: Sequence[Example]) -> dict[str, set[str]]:
    """Per private example id: its content words that none of the group's shared sentences holds."""
    seen: dict[str | None, set[str]] = defaultdict(set)
    for e in examples:
        if e.kind == "shared":
            seen[e.group] |= words(e.described)
    return {e.id: words(e.described) - seen[e.group] for e in examples if e.kind == "private"}


def leaks(anchors: Anchors, examples: Sequence[Example]) -> list[tuple[Example, float, list[float]]]:
    """One entry per R_2 of a private example: the example, the share of its told words that R_2 repeats, and the same
    share of the told words of every private example of another group."""
    told = told_words(examples)
    private = [e for e in examples if e.id in told]
    found = []
    for e, texts in zip(examples, anchors.texts, strict=True):
        if e.id not in told:
            continue
        strangers = [told[o.id] for o in private if o.group != e.group]
        for made in map(words, texts):
            chances = [len(o & made) / max(1, len(o)) for o in strangers]
            found.append((e, len(told[e.id] & made) / max(1, len(told[e.id])), chances))
    return found


def measure(anchors: Anchors, examples: Sequence[Example], pixels: int = 64) -> dict[str, float]:
    """Numbers in [0, 1] on how R relates to X.

    ``text_overlap``: Jaccard overlap of content words of R_2 and X_2. ``text_copies``: share of R_2 equal to X_2.
    ``picture_distance``: mean absolute difference of R_1 and X_1 in [0, 1]. ``private_leak``: share of told words
    of X_2 that R_2 repeats, over private sentences; ``private_leak_chance``: the same against the told words of the
    other groups, which is what vocabulary alone would give, and absent where there is no other group. CSE's losses
    vanish where R equals X.
    """
    overlaps, copies, distances = [], [], []
    for e, texts, pictures in zip(examples, anchors.texts, anchors.pictures, strict=True):
        own = words(e.described)
        for text in texts:
            made = words(text)
            overlaps.append(len(own & made) / max(1, len(own | made)))
            copies.append(float(plain(text) == plain(e.described)))
        truth = np.asarray(e.image.open(pixels), dtype=np.float32) / 255 if pictures else None
        for picture in pictures:
            drawn = np.asarray(picture.convert("RGB").resize((pixels, pixels)), dtype=np.float32) / 255
            distances.append(float(np.abs(drawn - truth).mean()))
    result = {"text_overlap": _mean(overlaps), "text_copies": _mean(copies), "picture_distance": _mean(distances)}
    if found := leaks(anchors, examples):
        result["private_leak"] = fmean(own for _, own, _ in found)
        if chances := [o for _, _, others in found for o in others]:
            result["private_leak_chance"] = fmean(chances)
    return result


def _mean(values: list[float]) -> float:
    return fmean(values) if values else 0.0
