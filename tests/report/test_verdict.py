"""The verdict must not be fooled: by doing nothing, by a ruined model, by a weak attack, by a missing reference."""

import math

import pytest
from tests.report.report_samples import AFTER, ASCENT, BEFORE, COLLAPSED, ORACLE, record, scored

from expunge.core.record import Record, Score
from expunge.report.verdict import LIMITS, judge


def test_a_good_run_passes_when_no_interval_says_otherwise():
    verdict = judge(record(wide=False))
    assert verdict.status == "passed"
    assert {f.level for f in verdict.findings} == {"good"}
    assert "0.6 points apart" in verdict.findings[0].sentence


def test_doing_nothing_fails():
    verdict = judge(record(BEFORE, method="nothing"))
    assert verdict.status == "failed"
    assert verdict.level("told") == "bad"
    assert verdict.level("neighbours") == verdict.level("everyday") == "good"


def test_doing_nothing_fails_without_a_reference_too():
    assert judge(record(BEFORE, oracle=None)).status == "failed"


def test_a_collapsed_model_fails_although_it_forgot():
    verdict = judge(record(COLLAPSED))
    assert verdict.status == "failed"
    assert verdict.level("told") == "good"
    assert verdict.level("seen") == verdict.level("neighbours") == verdict.level("everyday") == "bad"


def test_damage_to_near_neighbours_fails():
    verdict = judge(record(AFTER | {"r_retain": 60.0}, wide=False))
    assert verdict.status == "failed"
    assert verdict.level("neighbours") == "bad"


def test_knowing_pictures_far_better_than_the_retrained_model_is_no_pass():
    high = ORACLE["r_forget_shared"] + 20
    verdict = judge(record(AFTER | {"r_forget_shared": high}, wide=False))
    assert verdict.level("seen") == "unsure" and verdict.status == "unsure"
    assert "20.0 points better" in next(f.sentence for f in verdict.findings if f.key == "seen")


def test_damage_to_one_kind_of_knowledge_is_not_averaged_away():
    verdict = judge(record(AFTER | {"r_retain_private": 80.0}, wide=False))
    assert verdict.level("neighbours") == "unsure"
    assert verdict.status == "unsure"


def test_gradient_ascent_fails():
    assert judge(record(ASCENT)).status == "failed"


def test_without_a_retrained_model_nothing_passes():
    verdict = judge(record(oracle=None, wide=False))
    assert verdict.status == "withheld"
    assert "no reference" in verdict.headline
    assert any("retrained" in line for line in verdict.unchecked)


@pytest.mark.parametrize("missing", ["r_forget_shared", "r_test"])
def test_an_essential_check_that_was_not_made_withholds_the_pass(missing):
    one = record(wide=False)
    del one.scores["after"][missing]
    assert judge(one).status == "withheld"


def test_an_empty_record_is_withheld():
    verdict = judge(Record())
    assert verdict.status == "withheld"
    assert {f.level for f in verdict.findings} == {"unknown"}


def test_random_weights_do_not_win():
    low = dict.fromkeys(BEFORE, 2.0)
    one = record(low, oracle=low, wide=False)
    one.scores["before"] = scored(low, wide=False)
    assert judge(one).status == "withheld"


def test_nothing_to_forget_is_not_forgetting():
    one = record(wide=False)
    one.scores["oracle"]["r_forget_private"] = one.scores["before"]["r_forget_private"]
    assert judge(one).level("told") == "unknown"


@pytest.mark.parametrize(
    ("above", "level"),
    [(0.0, "good"), (LIMITS["told"][0], "good"), (LIMITS["told"][0] + 0.1, "unsure"), (LIMITS["told"][1] + 0.1, "bad")],
)
def test_limits_of_what_was_told(above, level):
    one = record(AFTER | {"r_forget_private": ORACLE["r_forget_private"] + above}, wide=False)
    assert judge(one).level("told") == level


@pytest.mark.parametrize(("lost", "level"), [(3.0, "good"), (3.5, "unsure"), (6.5, "bad"), (-2.0, "good")])
def test_limits_on_everyday_pictures(lost, level):
    assert judge(record(AFTER | {"r_test": BEFORE["r_test"] - lost}, wide=False)).level("everyday") == level


def test_few_samples_are_not_certain():
    one = record(wide=False)
    one.scores["after"]["r_forget_private"] = Score(4.0, 6, 0.0, 40.0, "oracle")
    verdict = judge(one)
    assert verdict.level("told") == "unsure"
    assert verdict.status == "unsure"
    assert "too few samples" in verdict.headline


@pytest.mark.parametrize(("low", "high"), [(ORACLE["mi"] - 30, 46.0), (40.0, ORACLE["mi"] + 40)])
def test_an_attack_on_few_samples_is_not_certain(low, high):
    one = record(wide=False)
    one.scores["after"]["mi"] = Score(AFTER["mi"], 6, low, high, "oracle")
    verdict = judge(one)
    assert verdict.level("membership") == verdict.status == "unsure"
    assert "too few samples" in verdict.headline
    one.scores["after"]["mi"] = Score(AFTER["mi"], 600, ORACLE["mi"] - 14, ORACLE["mi"] + 14, "oracle")
    assert judge(one).status == "passed"


def test_few_questions_by_name_are_not_certain():
    one = record(wide=False)
    for stage, value in (("before", 80.0), ("after", 6.0), ("oracle", 5.0)):
        one.scores[stage]["r_forget_named"] = Score(value, 6, better="oracle")
    assert judge(one).level("named") == "good" and judge(one).status == "passed"
    one.scores["after"]["r_forget_named"] = Score(6.0, 6, 0.0, 40.0, "oracle")
    verdict = judge(one)
    assert verdict.level("named") == verdict.status == "unsure" and "too few samples" in verdict.headline


def test_what_was_lost_since_before_is_not_widened_by_an_interval():
    one = record(wide=False)
    one.scores["after"]["r_test"] = Score(AFTER["r_test"], 6, 60.0, 100.0)
    assert judge(one).level("everyday") == "good"


def test_far_below_the_retrained_model_is_noticed():
    one = record(AFTER | {"r_forget_private": 1.0}, oracle=ORACLE | {"r_forget_private": 30.0}, wide=False)
    assert judge(one).level("told") == "unsure"


def test_an_attack_that_guesses_cannot_reassure():
    one = record(wide=False)
    one.scores["after"]["mi_accuracy"] = Score(52.0, 5)
    verdict = judge(one)
    assert verdict.level("membership") == "unknown"
    assert any("attacker" in line for line in verdict.unchecked)


def test_without_the_attacks_own_skill_its_success_on_the_original_counts():
    one = record(wide=False)
    for scores in one.scores.values():
        del scores["mi_accuracy"]
    assert judge(one).level("membership") == "good"
    one.scores["before"]["mi_auc"] = Score(51.0, 30)
    assert judge(one).level("membership") == "unknown"


def test_an_attack_blind_to_these_people_cannot_reassure():
    one = record(wide=False)
    one.scores["before"]["mi"] = one.scores["oracle"]["mi"]
    assert judge(one).level("membership") == "unknown"


def test_a_leaking_membership_fails_though_all_else_is_well():
    verdict = judge(record(AFTER | {"mi": 80.0}, wide=False))
    assert verdict.status == "failed"
    assert "attacker" in verdict.headline.lower()


def test_nan_is_not_a_number():
    one = record(wide=False)
    one.scores["after"]["r_test"] = Score(math.nan, 0)
    assert judge(one).level("everyday") == "unknown"


def test_nobody_is_lost_silently():
    one = record(wide=False)
    one.requested.append("p123")
    assert any("p123" in line for line in judge(one).unchecked)


def test_no_verdict_speaks_of_proof():
    for one in (record(), record(BEFORE), record(COLLAPSED), record(oracle=None), Record()):
        verdict = judge(one)
        words = " ".join(
            [verdict.headline, verdict.summary, *verdict.unchecked, *(f.sentence for f in verdict.findings)]
        )
        assert "proof" not in words.lower()
        assert "guarantee" not in words.lower()
