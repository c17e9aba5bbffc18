"""The paper's summary of a run: distances to the retrained model.

Equation: Delta_x = |x(after) - x(oracle)| for x in MI, R@D_f, R@D_test; Avg.G is their mean;
M_eff = 100 - Delta_MI, M_rel = 100 - Delta_R@D_f, M_loc = 100 - Delta_R@D_test. Paper: section 5.
Departs: Avg.G split, ours, takes both halves of R@D_f instead of the whole. R@D_f is small where a model has lost what
anybody can see and kept what was told, too: the two errors cancel, and Avg.G calls such a model a good one.
"""

from __future__ import annotations

from expunge.core.record import AVERAGES, MARKS, Scores


def summarise(after: Scores, oracle: Scores, before: Scores | None = None) -> dict[str, float]:
    """``delta_<name>`` for every score both have, ``avg_g``, ``avg_split``, ``m_eff``, ``m_rel``, ``m_loc``.

    Two ratios that the paper does not have: ``kept_shared``, the share in per cent of the oracle's r_forget_shared
    that is left, and, when ``before`` is given, ``lost_test`` and ``lost_retain``, the points lost since.
    An average is absent when one of its scores is: a mean of two would pass for better.
    """
    deltas = {name: abs(after[name].value - oracle[name].value) for name in after if name in oracle}
    found = {f"delta_{name}": gap for name, gap in deltas.items()}
    for average, names in AVERAGES.items():
        if all(name in deltas for name in names):
            found[average] = sum(deltas[name] for name in names) / len(names)
    found |= {mark: 100 - deltas[name] for name, mark in MARKS.items() if name in deltas}
    if "r_forget_shared" in deltas and oracle["r_forget_shared"].value > 0:
        found["kept_shared"] = 100 * after["r_forget_shared"].value / oracle["r_forget_shared"].value
    for name in ("test", "retain"):
        if before and f"r_{name}" in before and f"r_{name}" in after:
            found[f"lost_{name}"] = before[f"r_{name}"].value - after[f"r_{name}"].value
    return found
