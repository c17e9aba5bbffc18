"""What the looks of several models say together: words that lost their match, where they look, and one map of all.

No model library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from expunge.core.record import Better, Score
from expunge.evals.stats import grouped_mean, mean_interval


def word_shift(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], *, least: int = 2
) -> list[dict[str, Any]]:
    """Mean change of match per word, most lost first: {word, pictures, before, after, shift} in per cent.

    Words of fewer than ``least`` pictures are dropped: one picture says little about a word. Raises ValueError
    when the two were not asked the same.
    """
    pairs: dict[str, list[tuple[float, float]]] = {}
    for one, two in _asked_alike(before, after):
        pairs.setdefault(one["word"], []).append((one["match"], two["match"]))
    rows = []
    for word, found in pairs.items():
        if len(found) >= least:
            was, now = (float(x) for x in np.mean(found, axis=0))
            rows.append({"word": word, "pictures": len(found), "before": was, "after": now, "shift": now - was})
    return sorted(rows, key=lambda row: (row["shift"], row["word"]))


def _asked_alike(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterable[Any]:
    keys = [[(row["picture"], row["word"]) for row in rows] for rows in (before, after)]
    if keys[0] != keys[1]:
        raise ValueError("before and after were not asked about the same pictures and words")
    return zip(before, after, strict=True)


def kinds_over_seeds(
    seeds: Sequence[tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]],
) -> dict[str, dict[str, Any]]:
    """What became of told and of seen words, from ``word_matches`` before and after of every seed.

    kind -> {before, shift, words}: mean match before and its mean change, as scores in points of 100, and how many
    words of how many pictures that is, over all seeds. Each word of each picture counts once. The interval is over
    seeds; of one seed, over pictures. A kind without a word is absent, as all are in rows that name none.
    Raises ValueError when the two were not asked the same.
    """
    found: dict[str, dict[str, Any]] = {}
    for kind in ("told", "seen"):
        told = [
            [(one["picture"], one["match"], two["match"] - one["match"]) for one, two in _asked_alike(*rows)
             if one.get("kind") == kind]
            for rows in seeds
        ]  # fmt: skip
        if told := [rows for rows in told if rows]:
            before, shift = (_over([[(row[0], row[i]) for row in rows] for rows in told], -100.0) for i in (1, 2))
            found[kind] = {"before": before, "shift": shift, "words": sum(map(len, told))}
    return found


def map_overlap(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """How far a model still looks where it looked, by (group, overlap) of each pair, from {group, map} of the same
    pairs in the same order: the intersection of both maps [h][w], each scaled to a sum of 1, in per cent. 100 is the
    same place, 0 another. A pair is left out where either map is empty. Raises ValueError where the pairs differ.
    """
    if [one["group"] for one in before] != [one["group"] for one in after]:
        raise ValueError("before and after were not asked about the same pairs")
    found = []
    for one, two in zip(before, after, strict=True):
        maps = [np.asarray(looked["map"], dtype=np.float64) for looked in (one, two)]
        if all(m.sum() > 0 for m in maps):
            a, b = (m / m.sum() for m in maps)
            found.append((one["group"], 100 * float(np.minimum(a, b).sum())))
    return found


def overlap_over_seeds(
    seeds: Sequence[tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]], better: Better = "oracle"
) -> Score | None:
    """``map_overlap`` before and after of every seed as one score, over seeds or, of one, over groups; None where no
    pair has two maps."""
    told = [pairs for rows in seeds if (pairs := map_overlap(*rows))]
    return _over(told, 0.0, better) if told else None


def _over(seeds: Sequence[Sequence[tuple[str, float]]], least: float, better: Better = "oracle") -> Score:
    """(group, value) of every seed as one score: means of the seeds, or of the one seed over its groups."""
    if len(seeds) > 1:
        return mean_interval([float(np.mean([value for _, value in rows])) for rows in seeds], better)
    groups, values = zip(*seeds[0])
    return grouped_mean(values, groups, better, 0, (least, 100.0))


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
