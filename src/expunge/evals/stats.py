"""Many values become one number with an interval: values of several people, values of several seeds, two methods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from expunge.core.record import Better, Score
from expunge.tasks.intervals import bootstrap, by_group


def grouped_mean(
    values: Sequence[float] | np.ndarray,
    groups: Iterable[str] | None,
    better: Better,
    seed: int,
    bounds: tuple[float, float] = (0.0, 100.0),
) -> Score:
    """Mean with a bootstrap interval over groups; without groups every value is one. Raises ValueError without values,
    and where there are not as many groups.
    """
    if not len(values):
        raise ValueError("there is nothing to average")
    groups = [str(i) for i in range(len(values))] if groups is None else list(groups)
    if len(groups) != len(values):
        raise ValueError(f"{len(values)} values, but {len(groups)} groups")
    names = sorted(set(groups))
    sums, count = by_group(groups, names, np.asarray(values, dtype=np.float64))
    low, high = bootstrap(lambda drawn: drawn @ sums / (drawn @ count), len(names), seed=seed, bounds=bounds)
    return Score(float(np.mean(values)), len(values), low, high, better)


def mean_interval(values: Sequence[float], better: Better = "higher", confidence: float = 0.95) -> Score:
    """Mean over seeds with Student's interval. One value has no interval (NaN). Raises ValueError without values.

    Values that are not numbers are refused too: leaving a seed out silently would flatter whatever failed. Who leaves
    one out on purpose says so by ``n``.
    """
    x = np.asarray(values, dtype=float)
    if not len(x) or not np.isfinite(x).all():
        raise ValueError(f"cannot average {list(values)}: every seed must have given a number")
    if len(x) == 1:
        return Score(float(x[0]), 1, better=better)
    half = float(stats.t.ppf((1 + confidence) / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)))
    return Score(float(x.mean()), len(x), float(x.mean()) - half, float(x.mean()) + half, better)


@dataclass(frozen=True)
class Comparison:
    """First minus second, seed by seed: the mean difference with its interval, and how likely by chance.

    ``p_value`` is of the paired t-test, ``wilcoxon`` of the signed-rank test (exact where scipy can), both two-sided;
    NaN with fewer than two seeds. ``p_value`` is NaN, too, where all differences are the same and not zero: the t
    statistic divides by their spread, and would take two equal numbers for a certainty. With n seeds the signed-rank
    test cannot go below 2 / 2^n: six are needed for 0.05.
    """

    difference: Score
    p_value: float
    wilcoxon: float = math.nan


SAME = 1e-9
"""Differences, as a share of the values, below which floating point may have made them."""


def paired(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare two methods over the same seeds. Raises ValueError when the seeds do not pair up."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} seeds against {len(second)}: a paired test needs the same seeds")
    gaps = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    score = mean_interval(gaps.tolist())
    if len(gaps) < 2:
        return Comparison(score, math.nan)
    least = SAME * float(np.abs([first, second]).max())
    if np.abs(gaps).max() <= least:
        return Comparison(score, 1.0, 1.0)
    ranked: Any = stats.wilcoxon(gaps)
    t = math.nan if np.ptp(gaps) <= least else float(stats.ttest_rel(first, second).pvalue)
    return Comparison(score, t, float(ranked.pvalue))
