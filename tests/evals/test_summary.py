"""The paper's arithmetic, statistics over seeds, and costs."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest

from expunge.core.record import Record, Score, summed_up
from expunge.core.run import Run
from expunge.evals import cost as cost_module
from expunge.evals.cost import measured
from expunge.evals.stats import mean_interval, paired
from expunge.evals.summary import summarise
from expunge.methods.training.nothing import Nothing
from expunge.outcome import unlearn
from expunge.report.measures import summary
from expunge.tasks.intervals import bootstrap
from toy import Toy
from toy_splits import SPLITS


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


def test_a_summary_is_distances_and_what_they_come_to_wherever_it_is_made():
    after = scores(mi=44.0, r_forget=20.0, r_forget_shared=45.0, r_test=93.0)
    oracle = scores(mi=41.0, r_forget=22.0, r_forget_shared=50.0)
    found = summarise(after, oracle)
    assert found == {"delta_mi": 3.0, "delta_r_forget": 2.0, "delta_r_forget_shared": 5.0, "m_eff": 97.0, "m_rel": 98.0}
    assert summary(Record(scores={"after": after, "oracle": oracle})) == {"m_eff": 97.0, "m_rel": 98.0}
    assert summary(Record(scores={"after": OURS, "oracle": RETRAIN})) == summed_up(
        {name: abs(OURS[name].value - RETRAIN[name].value) for name in OURS}
    )


def test_student_interval():
    found = mean_interval([1.0, 2.0, 3.0])
    assert (found.low, found.high) == pytest.approx((2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-4)
    assert math.isnan(mean_interval([4.0]).low)
    for bad in ([], [1.0, math.nan]):
        with pytest.raises(ValueError):
            mean_interval(bad)


def test_paired_comparison():
    assert paired([1, 2, 3], [1, 2, 3]).p_value == 1
    found = paired([1.0, 2.1, 3.2, 4.0], [0.5, 1.4, 2.9, 3.1])
    assert found.p_value < 0.05 and found.difference.low > 0
    with pytest.raises(ValueError, match="same seeds"):
        paired([1], [1, 2])


def test_equal_differences_cannot_be_tested_by_their_spread():
    for first, second in (([2, 3], [1, 2]), ([2, 3, 4], [1, 2, 3]), ([0.3, 0.7, 0.9], [0.2, 0.6, 0.8])):
        found = paired(first, second)  # the last differ by rounding alone
        assert math.isnan(found.p_value) and found.wilcoxon == pytest.approx(2 / 2 ** len(first))
    rounded = paired([0.3, 0.7], [0.1 + 0.2, 0.7])
    assert rounded.p_value == rounded.wilcoxon == 1
    assert paired([2.0, 3.001, 4.0], [1, 2, 3]).p_value < 0.001  # a spread, however small, is one


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


@pytest.mark.parametrize(
    ("value", "bounds", "low", "high"),
    [  # Clopper and Pearson's for 4 of 5, 5 of 5 and 2.5 of 5
        (80.0, (0.0, 100.0), 28.36, 99.49),
        (100.0, (0.0, 100.0), 47.82, 100.0),
        (2.0, (1.0, 3.0), 1.189, 2.811),
    ],
)
def test_groups_that_all_agree_are_no_certainty(value, bounds, low, high):
    told = bootstrap(lambda drawn: value + 0 * drawn.sum(1), 5, bounds=bounds)
    assert told == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))
    assert bootstrap(lambda drawn: value + 0 * drawn.sum(1), 500, bounds=bounds)[0] > low


def test_cost_sees_time_and_memory():
    with measured() as cost:
        held = np.ones(25_000_000)  # 200 MB
        time.sleep(0.1)
    assert cost.seconds >= 0.1 and cost.peak_memory_mb > 200
    del held
    with measured() as small, pytest.raises(RuntimeError):
        raise RuntimeError
    assert small.seconds < 0.1 and small.peak_memory_mb > 0


class Card:
    """A device with memory: ``torch.cuda`` as far as costs ask it."""

    def __init__(self) -> None:
        self.held = self.peak = 0

    def hold(self, megabytes: int) -> None:
        self.held = megabytes * 10**6
        self.peak = max(self.peak, self.held)

    def is_initialized(self) -> bool:
        return True

    def max_memory_allocated(self) -> int:
        return self.peak

    def reset_peak_memory_stats(self) -> None:
        self.peak = self.held


@pytest.fixture
def card(monkeypatch):
    card = Card()
    monkeypatch.setattr(cost_module, "torch", SimpleNamespace(cuda=card))
    return card


def test_a_block_within_a_block_takes_no_peak_from_it(card):
    card.hold(900)  # before anything is measured
    card.hold(100)
    with measured() as outer:
        card.hold(700)
        card.hold(200)
        with measured() as inner:
            card.hold(300)
            card.hold(100)
        with measured() as second:
            card.hold(150)
    assert (outer.peak_gpu_memory_mb, inner.peak_gpu_memory_mb, second.peak_gpu_memory_mb) == (700, 300, 150)


def test_what_unlearning_holds_on_the_card_is_part_of_its_cost(card):
    class Greedy:
        def unlearn(self, model, splits, run):
            card.hold(5200)
            run.log(what="greed", step=0, loss=1.0)
            return model

    run = Run()
    run.log(what="retraining", step=0, loss=9.0)  # a model to compare with, trained before
    _, cost = unlearn(Greedy(), Toy(), SPLITS, run)
    assert cost["peak_gpu_memory_mb"] == 5200 and cost["peak_memory_mb"] > 0
    assert run.keep["terms"] == [{"what": "greed", "step": 0, "loss": 1.0}]


def test_without_a_card_nothing_is_said_of_one(monkeypatch):
    cuda = SimpleNamespace(is_initialized=lambda: False)
    monkeypatch.setattr(cost_module, "torch", SimpleNamespace(cuda=cuda))
    assert "peak_gpu_memory_mb" not in unlearn(Nothing(), Toy(), SPLITS, Run())[1]


def test_errors_that_cancel_in_the_whole_do_not_cancel_in_its_halves():
    def scores(mi: float, whole: float, seen: float, told: float, test: float):
        names = ("mi", "r_forget", "r_forget_shared", "r_forget_private", "r_test")
        return {k: Score(v, 10, v, v) for k, v in zip(names, (mi, whole, seen, told, test))}

    oracle = scores(30, 50, 76, 0, 91)
    found = summarise(scores(30, 50, 46, 40, 91), oracle)  # sees 30 points less, knows 40 more
    assert found["avg_g"] == 0 and found["avg_split"] == pytest.approx((0 + 30 + 40 + 0) / 4)
    whole = {k: v for k, v in oracle.items() if k not in ("r_forget_shared", "r_forget_private")}
    assert "avg_split" not in summarise(whole, oracle)
