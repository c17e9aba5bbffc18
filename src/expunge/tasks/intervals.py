"""95 % intervals by resampling groups: sentences of one person are not independent, people are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import betaincinv


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
        bounds: the least and greatest value possible. Where every replicate is the same, since all groups are, the
            bootstrap knows no doubt at all. The interval is then Clopper and Pearson's for such a share of G groups:
            0 of 5 people is [0, 52], not [0, 0], and 80 of every one of 5 is [28, 99]. That is the widest case: no
            value between the bounds varies more than one that is always at either.
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
    count, span = min(sizes), ceiling - floor
    if np.nanmax(values) - np.nanmin(values) < 1e-9 and span > 0:
        hits = min(max((low - floor) / span, 0.0), 1.0) * count  # of so many groups, as if each were at a bound
        low = floor + span * (float(betaincinv(hits, count - hits + 1, 0.025)) if hits > 1e-9 else 0.0)
        high = floor + span * (float(betaincinv(hits + 1, count - hits, 0.975)) if count - hits > 1e-9 else 1.0)
        return low, high
    # Almost all replicates at a bound: its side knows no doubt either.
    doubt = span * (1 - 0.025 ** (1 / count))
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
