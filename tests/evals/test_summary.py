"""The paper's arithmetic, statistics over seeds, and costs."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from expunge.core.record import Score
from expunge.evals.cost import measured
from expunge.evals.stats import mean_interval, paired
from expunge.evals.summary import summarise
from expunge.tasks.intervals import bootstrap


def scores(**values):
    return {name: Score(value, 10) for name, value in values.items()}


# Printed in the paper, privacy, 50 samples: Retrain and Ours.
RETRAIN = scores(mi=13.52, r_forget=17.49, r_test=95.63)
OURS = scores(mi=13.98, r_forget=16.82, r_test=81.72)


def test_the_printed_row_of_the_paper():
    found = summarise(OURS, RETRAIN)
    assert found["avg_g"] == pytest.approx((0.46 + 0.67 + 13.91) / 3)
    assert found["m_loc"] == pytest.approx(86.09) and found["m_eff"] == pytest.approx(99.54)


def test_the_oracle_is_at_distance_zero_and_gaps_do_not_become_averages():
    assert summarise(RETRAIN, RETRAIN)["avg_g"] == 0
    partial = summarise(scores(mi=10.0), RETRAIN)
    assert "avg_g" not in partial and partial["delta_mi"] == pytest.approx(3.52)


def test_kept_and_lost():
    after = scores(r_forget_shared=45.0, r_test=93.0)
    found = summarise(after, scores(r_forget_shared=50.0), scores(r_test=95.0))
    assert found["kept_shared"] == pytest.approx(90) and found["lost_test"] == pytest.approx(2)


def test_student_interval():
    found = mean_interval([1.0, 2.0, 3.0])
    assert (found.low, found.high) == pytest.approx((2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-4)
    assert math.isnan(mean_interval([4.0]).low)
    for bad in ([], [1.0, math.nan]):
        with pytest.raises(ValueError):
            mean_interval(bad)


def test_paired_comparison():
    assert paired([1, 2, 3], [1, 2, 3]).p_value == 1
    assert paired([2, 3, 4], [1, 2, 3]).p_value == 0
    found = paired([1.0, 2.1, 3.2, 4.0], [0.5, 1.4, 2.9, 3.1])
    assert found.p_value < 0.05 and found.difference.low > 0
    with pytest.raises(ValueError, match="same seeds"):
        paired([1], [1, 2])


def test_bootstrap_covers_and_knows_the_edges():
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(60):
        x = rng.normal(50, 10, 40)
        low, high = bootstrap(lambda drawn, x=x: drawn @ x / len(x), 40, seed=trial, replicates=400)
        inside += low <= 50 <= high
    assert 50 <= inside <= 60
    assert bootstrap(lambda drawn: 0 * drawn.sum(1), 5) == (0, pytest.approx(52.2, abs=0.1))
    assert math.isnan(bootstrap(lambda drawn: drawn.sum(1), 1)[0])


def test_cost_sees_time_and_memory():
    with measured() as cost:
        held = np.ones(25_000_000)  # 200 MB
        time.sleep(0.1)
    assert cost.seconds >= 0.1 and cost.peak_memory_mb > 200
    del held
    with measured() as small, pytest.raises(RuntimeError):
        raise RuntimeError
    assert small.seconds < 0.1 and small.peak_memory_mb > 0


def test_errors_that_cancel_in_the_whole_do_not_cancel_in_its_halves():
    def scores(mi: float, whole: float, seen: float, told: float, test: float):
        names = ("mi", "r_forget", "r_forget_shared", "r_forget_private", "r_test")
        return {k: Score(v, 10, v, v) for k, v in zip(names, (mi, whole, seen, told, test))}

    oracle = scores(30, 50, 76, 0, 91)
    found = summarise(scores(30, 50, 46, 40, 91), oracle)  # sees 30 points less, knows 40 more
    assert found["avg_g"] == 0 and found["avg_split"] == pytest.approx((0 + 30 + 40 + 0) / 4)
    whole = {k: v for k, v in oracle.items() if k not in ("r_forget_shared", "r_forget_private")}
    assert "avg_split" not in summarise(whole, oracle)
