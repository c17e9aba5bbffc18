"""What the looks of several models say together: words that lost their match, and one map of all. No model library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def word_shift(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], *, least: int = 2
) -> list[dict[str, Any]]:
    """Mean change of match per word, most lost first: {word, pictures, before, after, shift} in per cent.

    Words of fewer than ``least`` pictures are dropped: one picture says little about a word. Raises ValueError
    when the two were not asked the same.
    """
    keys = [[(row["picture"], row["word"]) for row in rows] for rows in (before, after)]
    if keys[0] != keys[1]:
        raise ValueError("before and after were not asked about the same pictures and words")
    pairs: dict[str, list[tuple[float, float]]] = {}
    for one, two in zip(before, after, strict=True):
        pairs.setdefault(one["word"], []).append((one["match"], two["match"]))
    rows = []
    for word, found in pairs.items():
        if len(found) >= least:
            was, now = (float(x) for x in np.mean(found, axis=0))
            rows.append({"word": word, "pictures": len(found), "before": was, "after": now, "shift": now - was})
    return sorted(rows, key=lambda row: (row["shift"], row["word"]))


def shift_over_seeds(seeds: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """``word_shift`` of several seeds as one list, most lost first: means over the seeds where a word occurs.

    ``pictures`` is their sum, ``seeds`` in how many the word occurs: other people bring other words.
    """
    words: dict[str, list[Mapping[str, Any]]] = {}
    for rows in seeds:
        for row in rows:
            words.setdefault(row["word"], []).append(row)
    joined = [
        {
            "word": word,
            "pictures": sum(row["pictures"] for row in found),
            "seeds": len(found),
            **{key: float(np.mean([row[key] for row in found])) for key in ("before", "after", "shift")},
        }
        for word, found in words.items()
    ]
    return sorted(joined, key=lambda row: (row["shift"], row["word"]))


def feature_map(stages: Mapping[str, Sequence[Mapping[str, Any]]], *, seed: int = 0) -> list[dict[str, Any]]:
    """t-SNE of the features of several stages (before, after), fitted jointly so that places can be compared.

    Returns {stage, split, side, group, kind, x, y} per feature; empty with fewer than four of them. Perplexity is
    30 or a third of their number, whichever is less. Distances between far clusters mean nothing in t-SNE.
    """
    from sklearn.manifold import TSNE

    rows = [{"stage": stage, **row} for stage, found in stages.items() for row in found]
    if len(rows) < 4:
        return []
    x = np.nan_to_num(np.array([row["feature"] for row in rows], dtype=np.float64))
    perplexity = min(30.0, len(rows) / 3)
    # PCA needs as many features as it keeps and some spread; random starts do not.
    start = "pca" if np.ptp(x, axis=0).max() > 0 and x.shape[1] >= 2 else "random"
    spread = TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(x)
    kept = [{k: v for k, v in row.items() if k != "feature"} for row in rows]
    return [{**row, "x": float(a), "y": float(b)} for row, (a, b) in zip(kept, spread, strict=True)]
