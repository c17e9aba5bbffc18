"""The paper's summary of a run: distances to the retrained model.

Equation: Delta_x = |x(after) - x(oracle)| for x in MI, R@D_f, R@D_test; Avg.G is their mean;
M_eff = 100 - Delta_MI, M_rel = 100 - Delta_R@D_f, M_loc = 100 - Delta_R@D_test. Paper: section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from expunge.core.record import Score, Scores
from expunge.evals.stats import over_seeds

PAPER = {"mi": "m_eff", "r_forget": "m_rel", "r_test": "m_loc"}


def summarise(after: Scores, oracle: Scores, before: Scores | None = None) -> dict[str, float]:
    """``delta_<name>`` for every score both have, ``avg_g``, ``m_eff``, ``m_rel``, ``m_loc``.

    Two ratios that the paper does not have: ``kept_shared``, the share in per cent of the oracle's r_forget_shared
    that is left, and, when ``before`` is given, ``lost_test`` and ``lost_retain``, the points lost since.
    ``avg_g`` is absent when one of its three scores is: a mean of two would pass for better.
    """
    deltas = {name: abs(after[name].value - oracle[name].value) for name in after if name in oracle}
    found = {f"delta_{name}": gap for name, gap in deltas.items()}
    if all(name in deltas for name in PAPER):
        found["avg_g"] = sum(deltas[name] for name in PAPER) / len(PAPER)
    found |= {mark: 100 - deltas[name] for name, mark in PAPER.items() if name in deltas}
    if "r_forget_shared" in deltas and oracle["r_forget_shared"].value > 0:
        found["kept_shared"] = 100 * after["r_forget_shared"].value / oracle["r_forget_shared"].value
    for name in ("test", "retain"):
        if before and f"r_{name}" in before and f"r_{name}" in after:
            found[f"lost_{name}"] = before[f"r_{name}"].value - after[f"r_{name}"].value
    return found


def summarise_seeds(stages: Sequence[Mapping[str, Scores]]) -> dict[str, Score]:
    """Summary of several seeds, each a mapping stage -> scores with ``after``, ``oracle`` and maybe ``before``."""
    return over_seeds([summarise(s["after"], s["oracle"], s.get("before")) for s in stages])
