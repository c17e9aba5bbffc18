"""95 % intervals by resampling groups: sentences of one person are not independent, people are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    groups: int | Sequence[int],
    *,
    seed: int = 0,
    replicates: int = 1_000,
    bounds: tuple[float, float] = (0.0, 100.0),
) -> tuple[float, float]:
    """Percentile interval (2.5 %, 97.5 %) of a statistic of groups drawn with replacement.

    Args:
        statistic: how often each group was drawn [R, G] -> value of each replicate [R]; given one array per
            entry of ``groups`` when that is a sequence (two samples drawn independently).
        groups: the number of groups G; fewer than two cannot be resampled and give (nan, nan).
        bounds: the least and greatest value possible. Where every replicate sits on one of them the bootstrap
            knows no doubt at all, so the bound is widened to Clopper and Pearson's for G of G groups: 0 of 5
            people is an interval of [0, 52], not [0, 0].
    """
    sizes = [groups] if isinstance(groups, int) else list(groups)
    if min(sizes) < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    draws = [rng.multinomial(g, np.full(g, 1 / g), size=replicates) for g in sizes]
    with np.errstate(invalid="ignore", divide="ignore"):
        values = statistic(*draws)
    if np.isnan(values).all():
        return math.nan, math.nan
    low, high = (float(x) for x in np.nanpercentile(values, [2.5, 97.5]))
    floor, ceiling = bounds
    doubt = (ceiling - floor) * (1 - 0.025 ** (1 / min(sizes)))
    if math.isclose(high, floor, abs_tol=1e-9):
        high = floor + doubt
    if math.isclose(low, ceiling, abs_tol=1e-9):
        low = ceiling - doubt
    return low, high


def by_group(groups: Sequence[str], names: Sequence[str], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums [G, ...] and counts [G] of per-item values [n, ...], in the order of ``names``."""
    place = {name: i for i, name in enumerate(names)}
    index = np.array([place[g] for g in groups], dtype=int)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums, np.bincount(index, minlength=len(names)).astype(float)
