"""The paper's summary of a run: distances to the retrained model.

Equation: Delta_x = |x(after) - x(oracle)| for x in MI, R@D_f, R@D_test; Avg.G is their mean;
M_eff = 100 - Delta_MI, M_rel = 100 - Delta_R@D_f, M_loc = 100 - Delta_R@D_test. Paper: section 5.
Departs: Avg.G split, ours, takes both halves of R@D_f instead of the whole. R@D_f is small where a model has lost what
anybody can see and kept what was told, too: the two errors cancel, and Avg.G calls such a model a good one.
"""

from __future__ import annotations

from expunge.core.record import Scores, summed_up


def summarise(after: Scores, oracle: Scores) -> dict[str, float]:
    """``delta_<name>`` for every score that both have, in points, and what these come to, as far as they do: ``avg_g``,
    ``avg_split``, ``m_eff``, ``m_rel``, ``m_loc`` (``core.record.summed_up``)."""
    gaps = {name: abs(after[name].value - oracle[name].value) for name in after if name in oracle}
    return {f"delta_{name}": gap for name, gap in gaps.items()} | summed_up(gaps)
