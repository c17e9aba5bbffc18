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


@pytest.mark.parametrize(("task", "chance"), [("retrieval", 0.0), ("multiple_choice", 25.0), ("entailment", 100 / 3)])
def test_without_a_reference_half_of_what_was_known_is_counted_above_guessing(task, chance):
    """A model that only guesses has forgotten all, and one that fell to guessing has lost all, whatever it scored."""
    fixed = {"oracle": None, "before": {TOLD: chance + 20, SEEN: chance + 20}}
    found = [decided("told", fixed, "after", TOLD, chance + known, task) for known in (0.0, 9.9, 10.1)]
    assert found == ["unknown", "unknown", "bad"]
    assert [decided("seen", fixed, "after", SEEN, chance + known, task) for known in (9.9, 10.1)] == ["bad", "unknown"]


def said(check, changed, task="retrieval"):
    """The finding where these scores (stage, name) are other than those of a good run, and the verdict."""
    one = record(wide=False)
    one.spec["task"] = task
    for (stage, name), score in changed.items():
        one.scores[stage][name] = score if isinstance(score, Score) else Score(score, 50, better="oracle")
    verdict = judge(one)
    return next(f for f in verdict.findings if f.key == check), verdict


def test_between_the_limits_is_not_called_a_want_of_samples():
    for check, name, value, words in (
        ("told", TOLD, 15.0, "10.0 points more"), ("seen", SEEN, 33.0, "It keeps 82 % of what"),
        ("membership", "mi", 51.0, "leans towards yes, 10.0 points more"),
    ):  # fmt: skip
        found, verdict = said(check, {("after", name): value})
        assert found.level == "unsure" and not found.few and words in found.sentence
        assert verdict.headline == "Nothing failed, but it is not clear enough."


def test_an_interval_that_reaches_beyond_the_second_limit_is_too_few_samples():
    for check, name, value, end in (("told", TOLD, 6.0, "high"), ("seen", SEEN, 39.5, "low")):
        for far, level in ((15.0, "good"), (16.0, "unsure")):
            reach = {"high": 5.0 + far, "low": 0.0} if end == "high" else {"low": 40.2 * (1 - (far + 10) / 100)}
            found, _ = said(check, {("after", name): Score(value, 9, **({"high": 99.0} | reach), better="oracle")})
            assert (found.level, found.few) == (level, level == "unsure")


def test_the_sentences_say_what_the_numbers_say():
    found, _ = said("told", {})
    assert found.numbers == "before 97.3 · after 5.6 · retrained 5.0 (15 samples)"
    assert "It keeps all of what" in said("seen", {})[0].sentence  # 41.1 of 40.2
    assert "It keeps 95 % of what" in said("seen", {("after", SEEN): 38.2})[0].sentence
    assert "keeps only 50 % of it" in said("seen", {("after", SEEN): 20.1})[0].sentence
    assert "9.0 points less familiar" in said("membership", {("after", "mi"): 32.0})[0].sentence
    assert (
        "Searches for everyday pictures lost 0.4 points of 97.4."
        in said("everyday", {("after", "r_test"): 97.0})[0].sentence
    )
    assert "succeed as often as before" in said("everyday", {("after", "r_test"): 97.38})[0].sentence
    for lost, much in ((5.0, False), (6.5, True)):
        sentence = said("everyday", {("after", "r_test"): 97.4 - lost})[0].sentence
        assert sentence.endswith("That is too much.") == much
    for name, kind in (("r_retain_private", "what was told"), ("r_retain_shared", "what can be seen")):
        assert f"but for {kind} of them it lost" in said("neighbours", {("after", name): 40.0})[0].sentence


def test_the_headline_of_a_failure_names_what_failed():
    for changed, headline in (
        ({TOLD: 60.0, SEEN: 1.0}, "This did not work."), ({SEEN: 1.0}, "This did damage."),
        ({SEEN: 1.0, "mi": 80.0}, "This did damage."), ({"mi": 80.0}, "An attacker can still tell."),
    ):  # fmt: skip
        _, verdict = said("told", {("after", name): value for name, value in changed.items()})
        assert verdict.headline == headline
        assert verdict.summary.startswith(f"{len(changed)} check{'s' if len(changed) > 1 else ''} of 5 failed.")


def test_a_name_that_a_guess_would_give_was_not_known():
    guessed = {("before", NAMED): 30.0, ("after", NAMED): 25.0, ("oracle", NAMED): 25.0}
    assert said("named", guessed, "multiple_choice")[0].level == "unknown"
    assert said("named", guessed)[0].level == "good"


def test_rejected_requests_and_recorded_intervals_are_not_open_questions():
    lines = " ".join(judge(record()).unchecked)
    assert "What became of" not in lines and "no intervals" not in lines
    assert "no intervals" in " ".join(judge(record(wide=False)).unchecked)
    some = record(wide=False)
    some.scores["after"]["mi"] = Score(44.0, 9, 40.0, 48.0)
    assert "no intervals" not in " ".join(judge(some).unchecked)


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
