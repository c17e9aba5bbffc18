"""The verdict must not be fooled: by doing nothing, by a ruined model, by a weak attack, by a missing reference."""

import math

import pytest
from tests.report.report_samples import AFTER, ASCENT, BEFORE, COLLAPSED, ORACLE, record, scored

from expunge.core.record import Record, Score
from expunge.report.verdict import judge


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
    assert verdict.level("seen") == "unsure" and verdict.status == "unsure" and "not clear enough" in verdict.headline
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


TOLD, SEEN, NAMED = "r_forget_private", "r_forget_shared", "r_forget_named"
LINES = [
    # What was told: as much above the retrained model, or so far below it; known before, and more than it knows.
    ("told", {"oracle": {TOLD: 20.0}}, "after", TOLD, [
        (4.9, "unsure"), (5.0, "good"), (25.0, "good"), (25.1, "unsure"), (35.0, "unsure"), (35.1, "bad")]),
    ("told", {"oracle": {TOLD: 0.0}, "after": {TOLD: 0.0}}, "before", TOLD, [(9.9, "unknown"), (10.0, "good")]),
    ("told", {"before": {TOLD: 25.0}, "after": {TOLD: 20.0}}, "oracle", TOLD, [(20.0, "good"), (20.1, "unknown")]),
    ("told", {"oracle": None, "before": {TOLD: 60.0}}, "after", TOLD, [(30.0, "unknown"), (30.1, "bad")]),
    # What can be seen: a share of the retrained model's, which knows it; far above it something is remembered.
    ("seen", {"oracle": {SEEN: 50.0}}, "after", SEEN, [
        (37.4, "bad"), (37.5, "unsure"), (44.9, "unsure"), (45.0, "good"), (65.0, "good"), (65.1, "unsure")]),
    ("seen", {"after": {SEEN: 10.0}}, "oracle", SEEN, [(9.9, "unknown"), (10.0, "good")]),
    ("seen", {"oracle": None, "before": {SEEN: 60.0}}, "after", SEEN, [(29.9, "bad"), (30.0, "unknown")]),
    ("seen", {"oracle": None, "after": {SEEN: 1.0}}, "before", SEEN, [(9.9, "unknown"), (10.0, "bad")]),
    # Others, since before; on the whole, and of what was told or can be seen.
    ("neighbours", {"before": {"r_retain": 80.0}}, "after", "r_retain", [
        (69.9, "bad"), (70.0, "unsure"), (74.9, "unsure"), (75.0, "good"), (99.0, "good")]),
    ("neighbours", {"before": {"r_retain_shared": 80.0}}, "after", "r_retain_shared", [
        (69.9, "unsure"), (70.0, "good")]),
    ("neighbours", {"before": {"r_retain": None, "r_retain_shared": 80.0}}, "after", "r_retain_shared", [
        (69.9, "bad"), (70.0, "unsure"), (75.0, "good")]),
    ("everyday", {"before": {"r_test": 90.0}}, "after", "r_test", [
        (83.9, "bad"), (84.0, "unsure"), (86.9, "unsure"), (87.0, "good")]),
    ("everyday", {"after": {"r_test": 10.0}}, "before", "r_test", [(9.9, "unknown"), (10.0, "good")]),
    # The attack: to either side of the retrained model, if it can tell anything and these people at all.
    ("membership", {"oracle": {"mi": 40.0}}, "after", "mi", [
        (24.9, "bad"), (25.0, "unsure"), (34.9, "unsure"), (35.0, "good"), (45.0, "good"), (45.1, "unsure"),
        (55.0, "unsure"), (55.1, "bad")]),
    ("membership", {"oracle": {"mi": 40.0}}, "before", "mi", [
        (35.0, "good"), (35.1, "unknown"), (44.9, "unknown"), (45.0, "good")]),
    ("membership", {}, "before", "mi_accuracy", [(59.9, "unknown"), (60.0, "good")]),
    ("membership", {}, "after", "mi_accuracy", [(59.9, "unknown"), (60.0, "good")]),
    # By name: what is left there is never a failure.
    ("named", {"before": {NAMED: 80.0}, "oracle": {NAMED: 10.0}}, "after", NAMED, [
        (15.0, "good"), (15.1, "unsure"), (80.0, "unsure")]),
    ("named", {"after": {NAMED: 3.0}, "oracle": {NAMED: 3.0}}, "before", NAMED, [(9.9, "unknown"), (10.0, "good")]),
]  # fmt: skip
"""A check, what is fixed for it, and the score of a stage whose value decides: either side of every limit."""


def decided(check, fixed, stage, name, value, task="retrieval"):
    one = record(oracle=None if fixed.get("oracle", ()) is None else ORACLE, wide=False)
    one.spec["task"] = task
    for where, key, number in [*((w, k, v) for w, some in fixed.items() for k, v in (some or {}).items()),
                               (stage, name, value)]:  # fmt: skip
        one.scores[where].pop(key, None)
        if number is not None:
            one.scores[where][key] = Score(number, 50, better="oracle")
    return judge(one).level(check)


@pytest.mark.parametrize(("check", "fixed", "stage", "name", "levels"), LINES)
def test_every_limit_lies_where_it_is_said_to_lie(check, fixed, stage, name, levels):
    assert [(value, decided(check, fixed, stage, name, value)) for value, _ in levels] == levels


@pytest.mark.parametrize(("task", "chance"), [("multiple_choice", 25.0), ("entailment", 100 / 3)])
def test_knowledge_begins_above_guessing(task, chance):
    low = {"oracle": {TOLD: 0.0, "r_test": 0.0}, "after": {TOLD: 0.0, "r_test": chance + 10}}
    for check, stage, name in (("told", "before", TOLD), ("everyday", "before", "r_test"), ("seen", "oracle", SEEN)):
        fixed = low if check != "seen" else {"after": {SEEN: chance + 10}}
        levels = [decided(check, fixed, stage, name, chance + known, task) for known in (9.9, 10.1)]
        assert levels == ["unknown", "good"]


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
    assert judge(one).level("told") == "unsure" and "not clear enough" in judge(one).headline


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
