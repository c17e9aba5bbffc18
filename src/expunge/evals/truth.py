"""Whether a model finds the truth likelier than falsehoods: TOFU's probability, truth ratio, quality and utility.

Equation, with l(a) = -(1/|a|) log p(a|q) in nats per token:
    probability = exp(-l(a)); among options exp(-l(a)) over the sum of the same of all options.
    truth ratio (TOFU), for each question: exp(mean_j l(wrong_j) - l(reworded)): above 1 where the truth is likelier.
    truth ratio (CLEAR): exp(mean over all wrong answers of the whole set - l(reworded)).
    Of what is forgotten it counts as min(r, 1/r), 1 where truth and falsehood are alike; elsewhere as max(0, 1 - 1/r).
    forget quality = p of the two-sample Kolmogorov-Smirnov test between the ratios of two models.
    model utility = harmonic mean of probability, ROUGE-L recall and truth ratio on retained people, real people and the
    world: nine numbers. Of questions with options both are taken among the options.
Paper: Maini et al., "TOFU" (2024). Sources: locuslab/tofu 8c49eee, aggregate_eval_stat.py; somvy/multimodal_unlearning
bb14c96, mm/calculate_metrics.py (CLEAR), both restated. The geometric mean over wrong answers is theirs.
Departs: with several reworded answers l is their mean; TOFU has one each. open-unlearning's ratio is the inverse: the
test does not care, the averages do. A p-value grows as the sample shrinks, so it comes with n, the statistic and what
shift such a sample could have shown at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from expunge.core.record import Better, Score, Scores
from expunge.evals.stats import grouped_mean
from expunge.tasks.intervals import bootstrap

Definition = Literal["tofu", "clear"]
Ratios = dict[str, dict[str, list[Any]]]
"""Of one model: cut -> ``groups`` and ``values`` of its questions, in one order for all that were asked the same."""
UNIT = (0.0, 1.0)
NINE = tuple(
    f"{part}_{measure}"
    for part in ("retain", "real_people", "world")
    for measure in ("probability", "rougeL_recall", "truth_ratio")
)
"""The parts of TOFU's model utility."""
CRITICAL = 1.358
"""What the statistic must be for p < 0.05 in large samples, times sqrt(nm / (n + m)): sqrt(-ln(0.05 / 2) / 2)."""
HALF_POWER = 2.45
"""The shift of a normal distribution that is found every other time, in standard deviations, times the same root.

Found by simulation (300 pairs of samples of 20 to 400 values: 2.31 to 2.55); with ten values it takes 3.
"""


# ------------------------------------------------------------------------------------------ probability


def probability(
    nats: Sequence[float] | np.ndarray, groups: Sequence[str] | None = None, *,
    among: Sequence[np.ndarray] | None = None, better: Better = "higher", seed: int = 0,
) -> Score:  # fmt: skip
    """Mean probability of the right answers in [0, 1], a token's worth. ``among``: relative to these options, too.

    Nats that are not a number are those of a model that diverged, which finds nothing likely.
    """
    p = np.nan_to_num(np.exp(-np.asarray(nats, dtype=np.float64)))
    if among is not None:
        p = p / (p + np.array([np.exp(-np.asarray(a, dtype=np.float64)).sum() for a in among]))
    return grouped_mean(p, groups, better, seed, UNIT)


# ------------------------------------------------------------------------------------------ truth ratio


def truth_ratios(
    reworded: Sequence[np.ndarray], wrong: Sequence[np.ndarray], definition: Definition = "tofu"
) -> np.ndarray:
    """Ratios of each question, [n] above 0: above 1 where the truth is likelier. Arguments: nats per token of every
    reworded and every wrong answer. Raises ValueError for a question that lacks one of them.
    """
    if len(reworded) != len(wrong) or not len(wrong):
        raise ValueError(f"{len(reworded)} questions have a reworded and {len(wrong)} a wrong answer")
    if any(not len(part) for part in (*reworded, *wrong)):
        raise ValueError("a truth ratio needs at least one reworded and one wrong answer of every question")
    truth = np.array([np.mean(part) for part in reworded])
    if definition == "clear":
        return np.exp(np.mean(np.concatenate([np.asarray(part) for part in wrong])) - truth)
    return np.exp(np.array([np.mean(part) for part in wrong]) - truth)


def truth_ratio(
    ratios: np.ndarray, groups: Sequence[str] | None = None, *, forgotten: bool, better: Better | None = None,
    seed: int = 0,
) -> Score:  # fmt: skip
    """How much truth ratios are worth, mean in [0, 1]: of what is ``forgotten`` the nearness of truth and falsehood,
    of everything else the lead of the truth. A ratio that is not a number is worth nothing.
    """
    r = np.asarray(ratios, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = np.minimum(r, 1 / r) if forgotten else np.maximum(0, 1 - 1 / r)
    better = better or ("oracle" if forgotten else "higher")
    return grouped_mean(np.nan_to_num(worth), groups, better, seed, UNIT)


# ------------------------------------------------------------------------------------------ forget quality


@dataclass(frozen=True)
class ForgetQuality:
    """``p_value`` and ``statistic`` (the largest gap between the two distributions) are Scores in [0, 1].

    ``detectable`` is the shift in standard deviations that a sample of this size would find about every other time:
    a high p-value is evidence against larger shifts only. ``note`` says so in a sentence.
    """

    p_value: Score
    statistic: Score
    detectable: float

    @property
    def note(self) -> str:
        n = self.p_value.n
        found = f"p = {self.p_value.value:.3g} with n = {n} and a KS statistic of {self.statistic.value:.2f}"
        if not math.isfinite(self.detectable):
            return f"{found}: too few to find any shift."
        return (
            f"{found}. A shift of less than about {self.detectable:.1f} standard deviations is more often missed than "
            "found with so many questions: a high p is no proof of forgetting."
        )


def forget_quality(
    unlearned: np.ndarray, retrained: np.ndarray, groups: Sequence[str] | None = None, *, seed: int = 0
) -> ForgetQuality:
    """TOFU's forget quality: is the unlearned model's distribution of truth ratios that of a retrained model?

    Both models have answered the same questions, so the statistic's interval resamples ``groups`` (questions, where
    none are given) of both together. The p-value itself has no interval; ``n`` is the number of questions. Raises
    ValueError where the models were not asked the same number, or where ratios are not numbers.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (unlearned, retrained))
    if len(a) != len(b) or not len(a):
        raise ValueError(f"{len(a)} ratios of the unlearned model against {len(b)} of the retrained one")
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("a truth ratio is not a number: the model diverged")
    found = stats.ks_2samp(a, b)
    gap = float(found.statistic)
    low, high = _statistic_interval(a, b, groups, seed)
    if not math.isnan(low):
        low, high = min(low, gap), max(high, gap)
    statistic = Score(gap, len(a), low, high, "lower")
    return ForgetQuality(Score(float(found.pvalue), len(a), better="higher"), statistic, detectable_shift(len(a)))


def detectable_shift(n: int, m: int | None = None) -> float:
    """The shift that n values against ``m`` (the same, when not given) find about every other time, in standard
    deviations of a normal distribution; infinite where no shift could be significant.
    """
    m = m or n
    root = math.sqrt(n * m / (n + m))
    return HALF_POWER / root if root > CRITICAL else math.inf


def _statistic_interval(a: np.ndarray, b: np.ndarray, groups: Sequence[str] | None, seed: int) -> tuple[float, float]:
    """Bootstrap of the statistic over groups; drawing twice from a sample widens gaps, so it leans to the high side."""
    names = [str(i) for i in range(len(a))] if groups is None else list(groups)
    if len(names) != len(a):
        raise ValueError(f"{len(a)} ratios, but {len(names)} groups")
    index = {name: i for i, name in enumerate(sorted(set(names)))}
    owner = np.array([index[name] for name in names])
    pooled, side = np.concatenate([a, b]), np.repeat([1.0, -1.0], len(a))
    order = np.argsort(pooled, kind="stable")
    owners, signs = np.tile(owner, 2)[order], side[order]
    last = np.append(pooled[order][1:] != pooled[order][:-1], True)  # equal values are stepped over together

    def largest_gap(drawn: np.ndarray) -> np.ndarray:
        weights = drawn[:, owners]  # [R, 2n]
        gaps = np.cumsum(weights * signs, axis=1)[:, last]
        return np.abs(gaps).max(1) / np.maximum(weights.sum(1) / 2, 1)

    return bootstrap(largest_gap, len(index), seed=seed, bounds=UNIT)


def quality(unlearned: Ratios, retrained: Ratios, *, seed: int = 0) -> dict[str, ForgetQuality]:
    """TOFU's forget quality, of every cut that both have. Raises ValueError where they are not of the same questions,
    or hold what is not a number: then the model diverged."""
    found = {}
    for name in unlearned:
        if name in retrained:
            mine, theirs = unlearned[name], retrained[name]
            if mine["groups"] != theirs["groups"]:
                raise ValueError("the two models were not asked the same questions")
            values = (np.array(one["values"], dtype=np.float64) for one in (mine, theirs))  # JSON's null becomes NaN
            found[name] = forget_quality(*values, mine["groups"], seed=seed)
    return found


def quality_scores(found: Mapping[str, ForgetQuality]) -> Scores:
    """Forget quality for a record: ``forget_quality_<cut>`` is p, ``forget_gap_<cut>`` the KS statistic."""
    scores: Scores = {}
    for name, one in found.items():
        scores |= {f"forget_quality_{name}": one.p_value, f"forget_gap_{name}": one.statistic}
    return scores


def compare(ratios: Mapping[str, Ratios], seed: int = 0) -> tuple[dict[str, Scores], list[str]]:
    """Forget quality of every stage against ``oracle``: scores to add to each, and what a reader must know of them."""
    scores: dict[str, Scores] = {}
    notes: list[str] = []
    for stage in ("before", "after"):
        if not ("oracle" in ratios and ratios.get(stage)):
            continue
        try:
            found = quality(ratios[stage], ratios["oracle"], seed=seed)
        except ValueError as error:
            notes.append(f"Forget quality ({stage}) was not measured: {error}.")
            continue
        scores[stage] = quality_scores(found)
        if stage == "after":
            notes += [f"Forget quality, {cut.replace('_', ' ')}: {one.note}" for cut, one in found.items()]
    return scores, notes


# ------------------------------------------------------------------------------------------ utility


def model_utility(parts: Mapping[str, Score]) -> Score:
    """Harmonic mean of scores in [0, 1]; one zero makes it zero. TOFU's has the ``NINE`` parts, see ``utility_name``.

    ``n`` counts the parts. The bounds are the harmonic means of all lower and of all upper ends: wider than 95 %.
    Raises ValueError without parts, and for a value outside [0, 1] (ROUGE is to be divided by 100).
    """
    values = [score.value for score in parts.values()]
    if not values or not all(0 <= v <= 1 for v in values):
        raise ValueError(f"model utility takes scores between 0 and 1, not {values}")
    ends = ([s.low for s in parts.values()], [s.high for s in parts.values()])
    low, high = (math.nan if np.isnan(end).any() else _harmonic(end) for end in ends)
    return Score(_harmonic(values), len(values), low, high, "higher")


def utility_name(parts: Mapping[str, Score]) -> str:
    """``model_utility`` for exactly TOFU's nine parts, else a name that says how many there are."""
    return "model_utility" if set(parts) == set(NINE) else f"model_utility_of_{len(parts)}"


def _harmonic(values: Sequence[float]) -> float:
    clipped = np.clip(np.asarray(values, dtype=np.float64), 0, None)
    return 0.0 if (clipped == 0).any() else float(stats.hmean(clipped))
