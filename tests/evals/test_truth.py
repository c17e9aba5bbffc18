"""Truth against falsehood: definitions by hand, and the answers that every such audit must give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from expunge.core.record import Score
from expunge.evals import truth

E = math.e
REWORDED = [np.array([1.0]), np.array([2.0])]
WRONG = [np.array([2.0, 4.0]), np.array([1.0, 1.0])]


def test_probability_is_of_one_token():
    assert truth.probability([0.0, math.log(4)]).value == pytest.approx((1 + 0.25) / 2)
    among = [np.array([0.0]), np.log([4.0, 2.0])]  # 1/(1+1) and .25/(.25+.25+.5)
    assert truth.probability([0.0, math.log(4)], among=among).value == pytest.approx((0.5 + 0.25) / 2)
    whole = truth.probability([0.0] * 4, list("abcd"))
    assert whole.value == whole.high == 1 and whole.low == pytest.approx(0.025**0.25)


def test_the_two_truth_ratios_by_hand():
    """TOFU holds a truth against its own falsehoods (mean 3 and 1), CLEAR against those of the whole set (mean 2)."""
    np.testing.assert_allclose(truth.truth_ratios(REWORDED, WRONG), [E**2, 1 / E])
    np.testing.assert_allclose(truth.truth_ratios(REWORDED, WRONG, "clear"), [E, 1])
    uneven = [np.array([2.0]), np.array([1.0, 1.0, 1.0])]  # CLEAR's mean is over answers, not over questions
    np.testing.assert_allclose(truth.truth_ratios(REWORDED, uneven, "clear"), np.exp([0.25, -0.75]))
    several = [np.array([0.5, 1.5]), np.array([2.0])]
    np.testing.assert_allclose(truth.truth_ratios(several, WRONG), [E**2, 1 / E])


def test_what_a_ratio_is_worth():
    ratios = np.array([E**2, 1 / E])
    assert truth.truth_ratio(ratios, forgotten=True).value == pytest.approx((E**-2 + E**-1) / 2)
    assert truth.truth_ratio(ratios, forgotten=False).value == pytest.approx((1 - E**-2) / 2)
    assert truth.truth_ratio(ratios, forgotten=True).better == "oracle"
    assert truth.truth_ratio(ratios, forgotten=False).better == "higher"
    assert truth.truth_ratio(np.array([np.nan, 1.0]), forgotten=True).value == 0.5
    assert truth.truth_ratio(np.array([np.inf, 0.0]), forgotten=True).value == 0
    assert truth.truth_ratio(np.array([np.inf, 0.0]), forgotten=False).value == 0.5


def test_a_ratio_needs_both_kinds_of_answers():
    none, one = [np.array([])], [np.array([1.0])]
    for lacking in ((none, one), (one, none)):
        with pytest.raises(ValueError, match="at least one reworded"):
            truth.truth_ratios(*lacking)
    with pytest.raises(ValueError, match="2 questions have a reworded and 1"):
        truth.truth_ratios(REWORDED, WRONG[:1])


# ------------------------------------------------------------------------------------------ forget quality


def ratios(mean: float, n: int = 40, seed: int = 0) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(mean, 1.0, n))


def test_forget_quality_by_hand():
    """Three below three: the gap is 1, and 2 of the 20 ways to deal six values out are as extreme."""
    found = truth.forget_quality(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))
    assert (found.statistic.value, found.p_value.n) == (1, 3) and found.p_value.value == pytest.approx(0.1)
    assert truth.forget_quality(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0, 5.0, 6.0])).statistic.value == 0.5


def test_retrained_against_itself_is_one_and_doing_nothing_fails():
    retrained, original = ratios(0.0), ratios(3.0, seed=1)
    same = truth.forget_quality(retrained, retrained)
    assert same.p_value.value == 1 and same.statistic.value == 0
    nothing = truth.forget_quality(original, retrained)
    assert nothing.p_value.value < 1e-6 and nothing.statistic.value > 0.7
    again = truth.forget_quality(ratios(0.0, seed=2), retrained)
    assert again.p_value.value > 0.05 > nothing.p_value.value


def test_the_order_of_questions_and_the_inverse_ratio_do_not_matter():
    a, b = ratios(0.5), ratios(0.0, seed=1)
    found = truth.forget_quality(a, b)
    for other in (truth.forget_quality(a[::-1], b), truth.forget_quality(1 / a, 1 / b)):
        assert other.p_value.value == pytest.approx(found.p_value.value)
        assert other.statistic.value == pytest.approx(found.statistic.value)


def test_the_interval_resamples_people_and_holds_the_value():
    a, b = ratios(0.8), ratios(0.0, seed=1)
    alone = truth.forget_quality(a, b).statistic
    people = truth.forget_quality(a, b, [f"p{i // 10}" for i in range(40)]).statistic
    for score in (alone, people):
        assert 0 <= score.low <= score.value <= score.high <= 1 and score.better == "lower"
    assert people.value == alone.value and (people.low, people.high) != (alone.low, alone.high)
    assert math.isnan(truth.forget_quality(a, b, ["one"] * 40).statistic.low)
    equal = truth.forget_quality(np.ones(10), np.ones(10)).statistic  # ties are one step, not many
    assert equal.value == equal.low == 0 and equal.high == pytest.approx(1 - 0.025**0.1)


def test_the_note_says_what_so_few_questions_cannot_show():
    found = truth.forget_quality(ratios(0.0), ratios(0.3, seed=1))
    assert "n = 40" in found.note and "0.5 standard deviations" in found.note and "no proof" in found.note
    assert "too few" in truth.forget_quality(np.ones(3), np.ones(3)).note
    assert truth.detectable_shift(40) == pytest.approx(0.548, abs=0.002)
    assert truth.detectable_shift(400) < truth.detectable_shift(200) < truth.detectable_shift(40)
    assert truth.detectable_shift(40, 400) < truth.detectable_shift(40)


def test_about_every_other_sample_finds_the_detectable_shift():
    rng, n = np.random.default_rng(0), 60
    shift = truth.detectable_shift(n)
    found = [stats.ks_2samp(rng.normal(0, 1, n), rng.normal(shift, 1, n)).pvalue < 0.05 for _ in range(200)]
    assert 0.4 < np.mean(found) < 0.62


def test_forget_quality_refuses_what_it_cannot_compare():
    with pytest.raises(ValueError, match="2 ratios .* against 3"):
        truth.forget_quality(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="diverged"):
        truth.forget_quality(np.array([1.0, np.nan]), np.ones(2))
    with pytest.raises(ValueError, match="2 ratios, but 1 groups"):
        truth.forget_quality(np.ones(2), np.ones(2), ["a"])


def test_the_quality_of_two_models_is_that_of_the_cuts_that_both_were_asked():
    a, b, people = ratios(0.8), ratios(0.0, seed=1), [f"p{i // 3}" for i in range(40)]
    mine = {"visual": {"groups": people, "values": a.tolist()}, "textual": {"groups": people, "values": a.tolist()}}
    found = truth.quality(mine, {"visual": {"groups": people, "values": b.tolist()}}, seed=4)
    assert found == {"visual": truth.forget_quality(a, b, people, seed=4)}
    assert found["visual"] != truth.forget_quality(a, b, people)
    with pytest.raises(ValueError, match="same questions"):
        truth.quality(mine, {"visual": {"groups": people[::-1], "values": b.tolist()}})
    with pytest.raises(ValueError, match="diverged"):
        truth.quality(mine, {"visual": {"groups": people, "values": [None, *b[1:]]}})
    before = {cut: {**one, "values": b.tolist()} for cut, one in mine.items()}
    scores, notes = truth.compare({"before": before, "after": mine, "oracle": mine})
    assert {stage: len(some) for stage, some in scores.items()} == {"before": 4, "after": 4}
    assert len(notes) == 2 and notes[0].startswith("Forget quality, visual: p = 1 with n = 40"), "once, of after"


# ------------------------------------------------------------------------------------------ utility


def test_model_utility_is_harmonic_and_its_name_says_of_how_many():
    parts = {"retain_probability": Score(1.0, 5, 0.8, 1.0), "retain_truth_ratio": Score(0.5, 5, 0.4, 0.6)}
    score = truth.model_utility(parts)
    assert (score.value, score.n) == (pytest.approx(2 / 3), 2)
    assert score.low == pytest.approx(2 / (1 / 0.8 + 1 / 0.4)) and score.high == pytest.approx(2 / (1 + 1 / 0.6))
    assert truth.utility_name(parts) == "model_utility_of_2"
    assert len(truth.NINE) == 9 and truth.utility_name(dict.fromkeys(truth.NINE, Score(1, 1))) == "model_utility"


def test_one_zero_makes_the_utility_zero():
    assert truth.model_utility({"a": Score(0.9, 3), "b": Score(0.0, 3)}).value == 0
    for outside in (57.0, 1.01, -0.01):
        with pytest.raises(ValueError, match="between 0 and 1"):
            truth.model_utility({"a": Score(0.5, 3), "b": Score(outside, 3)})
    with pytest.raises(ValueError, match="between 0 and 1"):
        truth.model_utility({})
