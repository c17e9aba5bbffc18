"""Membership inference: does the forgotten data still look like training data?

Equation: MI = 100 * mean over D_f of p(member | h), h the fused CLS of an example's own picture and text,
standardised, p an RBF-SVM (C = 1, gamma "scale") with Platt's sigmoid. Members are drawn from D_r, non-members
from held-out people and scenes; D_f never trains the attack.
Paper: App. D. Checked against: known answers in tests/evals.
Departs: the paper does not say how members and non-members are composed, and calls the whole training set members. Here
D_f is no part of either, both have equal numbers of every source and kind, since otherwise the attack reads the domain
(scenes against people) instead of membership. A third of the groups on either side is kept out of training: on them the
attack's own accuracy and the AUC of D_f against non-members are measured. All is averaged over several draws.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from expunge.core.groups import group_of
from expunge.core.record import Score, Scores
from expunge.core.types import Example
from expunge.evals.pools import LEAST_GROUPS, AttackRefused, by_source
from expunge.tasks.intervals import bootstrap, by_group

FOLDS = 5


@dataclass(frozen=True)
class Membership:
    """What the attack found. ``accuracy`` is its own, in per cent on groups it never saw: near 50, it cannot
    attack at all and ``mi`` says nothing."""

    mi: Score
    mi_auc: Score | None  # 50: forgotten examples rank like non-members of their source; 100: always above them
    mi_private: Score | None  # MI over the private sentences of D_f
    accuracy: Score  # without an interval: it is the instrument's, and no claim rests on its last points
    trained_on: int  # examples per class

    def scores(self) -> Scores:
        """The scores by their names in a record."""
        found = {"mi": self.mi, "mi_auc": self.mi_auc, "mi_accuracy": self.accuracy, "mi_private": self.mi_private}
        return {name: score for name, score in found.items() if score is not None}


def attempt(
    forget: Sequence[Example],
    members: Sequence[Example],
    others: Sequence[Example],
    features: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    seed: int = 0,
) -> tuple[Membership | None, tuple[str, ...]]:
    """``attack``, or nothing and a note where it is refused: hours of unlearning came before this."""
    try:
        return attack(forget, members, others, features, seed=seed), ()
    except AttackRefused as refusal:
        return None, (f"Membership was not measured: {refusal}",)


def attack(
    forget: Sequence[Example],
    members: Sequence[Example],
    others: Sequence[Example],
    features: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    draws: int = 5,
    seed: int = 0,
    replicates: int = 1_000,
) -> Membership:
    """Train the attack on part of ``members`` and ``others`` and turn it on ``forget``.

    Args:
        forget, members, others: examples; the last two as ``draw_pools`` gives them.
        features: one row per example of each, [n, d] (fused CLS). What is not a number counts as 0.
        draws: how many random splits of the pools are averaged.

    Raises:
        AttackRefused: nothing to forget, or a pool too small to split by group.
    """
    if not forget or not members or not others:
        raise AttackRefused("membership needs forgotten, retained and held-out examples; one of them is empty")
    h_f, h_m, h_o = (np.nan_to_num(np.asarray(h, dtype=np.float64), posinf=0.0, neginf=0.0) for h in features)
    f_names, o_names = sorted({group_of(e) for e in forget}), sorted({group_of(e) for e in others})
    sources = {e.source for e in forget}
    chance = np.zeros(len(forget))
    wins, tries = np.zeros((len(f_names), len(o_names))), np.zeros((len(f_names), len(o_names)))
    right: list[float] = []
    judged = 0
    size = 0
    for draw in range(draws):
        rng = random.Random(f"attack:{seed}:{draw}")
        train_m, test_m = _split(members, rng)
        train_o, test_o = _split(others, rng)
        size = len(train_m) + len(train_o)
        x = np.concatenate([h_m[train_m], h_o[train_o]])
        y = np.repeat([1, 0], [len(train_m), len(train_o)])
        groups = [group_of(members[i]) for i in train_m] + [group_of(others[i]) for i in train_o]
        judge = _fit(x, y, groups, seed + draw)
        p_f, p_m, p_o = (judge.predict_proba(h)[:, 1] for h in (h_f, h_m[test_m], h_o[test_o]))
        chance += p_f / draws
        # Like with like: other sources would let the comparison read the domain again.
        comparable = [k for k, i in enumerate(test_o) if others[i].source in sources]
        against = p_o[comparable][None]
        beaten = (p_f[:, None] > against) + 0.5 * (p_f[:, None] == against)
        o_groups = [group_of(others[test_o[k]]) for k in comparable]
        sums, count = by_group([group_of(e) for e in forget], f_names, beaten)
        inner, o_count = by_group(o_groups, o_names, sums.T)
        wins += inner.T
        tries += count[:, None] * o_count[None]
        right.append(50 * ((p_m > 0.5).mean() + (p_o <= 0.5).mean()))
        judged = len(p_m) + len(p_o)
    private = [i for i, e in enumerate(forget) if e.kind == "private"]
    return Membership(
        _mean_score(100 * chance, forget, f_names, seed, replicates),
        _auc_score(wins, tries, len(forget), seed, replicates) if tries.any() else None,
        _mean_score(100 * chance[private], [forget[i] for i in private], None, seed, replicates) if private else None,
        Score(float(np.mean(right)), judged),
        size // 2,
    )


def _split(examples: Sequence[Example], rng: random.Random) -> tuple[list[int], list[int]]:
    """Indices of two thirds of the groups of every source to learn from, and of the rest."""
    kept: set[tuple[str, str]] = set()
    for source, groups in sorted(by_source(examples).items()):
        order = sorted(groups)
        rng.shuffle(order)
        out = len(order) // 3
        if out < 1:
            raise AttackRefused(f"membership needs at least {LEAST_GROUPS} groups of {source or 'every source'!r}")
        kept |= {(source, g) for g in order[out:]}
    inside = [(e.source, group_of(e)) in kept for e in examples]
    return [i for i, held in enumerate(inside) if held], [i for i, held in enumerate(inside) if not held]


def _fit(x: np.ndarray, y: np.ndarray, groups: Sequence[str], seed: int):
    """Standardise, RBF-SVM, Platt's sigmoid fitted on folds that keep a group together.

    With folds by example, sentences of one person would stand on both sides and the sigmoid grow overconfident.
    """
    smallest = min(len({g for g, label in zip(groups, y, strict=True) if label == side}) for side in (0, 1))
    folds = StratifiedGroupKFold(max(2, min(FOLDS, smallest)), shuffle=True, random_state=seed)
    machine = make_pipeline(StandardScaler(), SVC(C=1.0, gamma="scale"))
    splits = list(folds.split(x, y, groups))
    return CalibratedClassifierCV(machine, method="sigmoid", cv=splits, ensemble=False).fit(x, y)


def _mean_score(
    values: np.ndarray, examples: Sequence[Example], names: list[str] | None, seed: int, replicates: int
) -> Score:
    names = names or sorted({group_of(e) for e in examples})
    sums, count = by_group([group_of(e) for e in examples], names, values)
    low, high = bootstrap(lambda drawn: drawn @ sums / (drawn @ count), len(names), seed=seed, replicates=replicates)
    return Score(float(values.mean()), len(values), low, high, "oracle")


def _auc_score(wins: np.ndarray, tries: np.ndarray, n: int, seed: int, replicates: int) -> Score:
    faced = tries.sum(0) > 0  # a non-member group may never have been held out
    wins, tries = wins[:, faced], tries[:, faced]

    def statistic(f: np.ndarray, o: np.ndarray) -> np.ndarray:
        return 100 * ((f @ wins) * o).sum(1) / ((f @ tries) * o).sum(1)

    low, high = bootstrap(statistic, wins.shape, seed=seed, replicates=replicates)
    return Score(float(100 * wins.sum() / tries.sum()), n, low, high, "oracle")


def as_rows(cls: torch.Tensor, *counts: int) -> tuple[np.ndarray, ...]:
    """Cut stacked features [sum(counts), d] into one array per count."""
    return tuple(part.double().numpy() for part in cls.split(list(counts)))
