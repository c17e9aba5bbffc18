"""What a model that writes is asked, with known answers: doing nothing must show, retraining must not be blamed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from expunge.core.run import Run
from expunge.core.types import Splits
from expunge.data import dossiers
from expunge.evals.assessment import Assessment
from expunge.evals.interview import Bounds, hold_interview, set_interview, sets_of
from writers import Knower

CORPUS = dossiers.load(size=15, celebrities=3)
WHO = {"p001", "p004"}
SPLITS = CORPUS.split(WHO)
TRAINED = {e.group for e in (*CORPUS.train, *CORPUS.pretrain)}


class Asked(Knower):
    """A knower that a run can measure."""


def assessed(**models) -> Assessment:
    made = Assessment(SPLITS, CORPUS.test, 0, task="answering", asked=CORPUS.asked)
    for stage, knows in models.items():
        made.add(stage, Asked(knows), Run())
    return made


def before(e):
    return e.kind == "shared" or e.group in TRAINED


def without(e):
    return e.kind == "shared" or e.group in TRAINED - WHO


def faceless(e):
    return before(e) if e.group not in WHO or not e.pictured else e.kind == "shared"


FOUND = assessed(before=before, oracle=without, after=faceless)


def test_the_sets_are_those_of_the_benchmark():
    sets = sets_of(SPLITS, CORPUS.asked)
    assert list(sets) == ["forget", "test", "retain", "celebrity"]
    assert sets["forget"] == SPLITS.forget and sets["retain"] == SPLITS.retain
    assert {e.group for e in sets["test"]} == WHO and not {e.id for e in sets["test"]} & {e.id for e in SPLITS.forget}
    assert {e.group for e in sets["celebrity"]} == {e.group for e in CORPUS.pretrain}


def test_somebody_forgotten_in_part_has_stayed():
    some = Splits(SPLITS.forget[:3], (*SPLITS.forget[3:], *SPLITS.retain))
    names = {"forget": SPLITS.forget, "retain": SPLITS.forget}
    sets = sets_of(some, names)
    assert sets["forget"] == some.forget and set(sets["retain"]) == {*some.retain, *SPLITS.forget}


def test_those_forgotten_by_their_pictures_are_asked_by_name_all_the_same():
    faces = tuple(e for e in SPLITS.forget if e.pictured)
    kept = tuple(e for e in SPLITS.forget if not e.pictured)
    by_face = Splits(faces, (*kept, *SPLITS.retain))
    sets, whole = sets_of(by_face, CORPUS.asked), sets_of(SPLITS, CORPUS.asked)
    assert faces and kept and {k: set(v) for k, v in sets.items()} == {k: set(v) for k, v in whole.items()}
    asked = set_interview(by_face, CORPUS.test, Bounds(retained_groups=5, attack=20), asked=CORPUS.asked)
    assert set(asked.rights["r_forget_named"]) == {e for e in kept if e.kind != "shared"}
    assert not WHO & {e.group for e in (*asked.sets["retain"], *asked.members)}
    everybody = set_interview(by_face, CORPUS.test, Bounds(retained_groups=13, attack=20), asked=CORPUS.asked)
    assert {e.group for e in everybody.sets["retain"]} == {e.group for e in CORPUS.train} - WHO, (
        "nobody's place is lost"
    )
    seen = replace(kept[0], id="seen", kind="shared")
    more = set_interview(Splits(faces, (*kept, seen, *SPLITS.retain)), CORPUS.test, asked=CORPUS.asked)
    assert seen in more.sets["forget"] and more.rights["r_forget_named"] == asked.rights["r_forget_named"]
    first, *others = kept  # who is forgotten in words, too, is no longer forgotten by the face alone
    in_part = sets_of(Splits((*faces, first), (*others, *SPLITS.retain)), {})
    assert {e for e in others if e.group == first.group} <= set(in_part["retain"])
    assert all(e.pictured for e in (*asked.members, *asked.others))
    one_picture_stays = Splits(faces[1:], (faces[0], *kept, *SPLITS.retain))
    assert faces[0].group not in {e.group for e in sets_of(one_picture_stays, CORPUS.asked)["test"]}


def test_as_many_who_stay_are_asked_as_bounds_say():
    few = set_interview(SPLITS, CORPUS.test, Bounds(retained_groups=3, attack=20), asked=CORPUS.asked)
    assert len({e.group for e in few.sets["retain"]}) == 3
    assert {e.group for e in few.rights["r_retain"]} == {e.group for e in few.sets["retain"]}
    assert all(e.form == "generation" for e in (*few.members, *few.others)) and len(few.members) <= 20
    assert few == set_interview(SPLITS, CORPUS.test, Bounds(retained_groups=3, attack=20), asked=CORPUS.asked)


def test_losing_the_face_and_keeping_the_name_shows_in_both():
    after = FOUND.scores["after"]
    assert after["r_forget_private"].value < 15 < 99 < after["r_forget_named"].value
    assert after["r_forget_shared"].value == after["r_retain_private"].value == after["r_test"].value == 100
    assert (
        FOUND.scores["oracle"]["r_forget_named"].value < 15 and FOUND.scores["before"]["r_forget_private"].value == 100
    )
    assert after["forget_cloze_textual"].value == 100 > 5 > after["forget_cloze_visual"].value
    assert after["r_forget"].better == "oracle" and after["r_retain"].better == "higher"


def test_the_attacker_knows_who_was_trained_on():
    scores = {stage: found["mi"].value for stage, found in FOUND.scores.items()}
    assert scores["before"] > scores["after"] > scores["oracle"]
    told = {stage: found["mi_private"].value for stage, found in FOUND.scores.items()}
    assert told["before"] > 65 and told["oracle"] < 35
    assert FOUND.scores["before"]["mi_accuracy"].value > 65


def test_an_attack_that_is_refused_ends_nothing():
    asked = set_interview(SPLITS, CORPUS.test, asked=CORPUS.asked)
    one = {e.group for e in asked.members[:1]}
    few = replace(asked, members=tuple(e for e in asked.members if e.group in one))
    scores, evidence = hold_interview(Asked(before), SPLITS, few)
    assert {"r_forget", "r_test"} <= scores.keys() and "mi" not in scores and evidence.membership is None
    assert any("Membership was not measured: membership needs at least 3 groups" in note for note in evidence.notes)


def test_forget_quality_stands_beside_a_retrained_model_only():
    assert FOUND.scores["before"]["forget_quality_visual"].value < 1e-4
    assert FOUND.scores["after"]["forget_quality_visual"].value == pytest.approx(1)
    assert FOUND.scores["after"]["forget_quality_textual"].value < 1e-3
    assert not any(name.startswith("forget_quality") for name in FOUND.scores["oracle"])
    assert any("textual: p = " in note and "no proof" in note for note in FOUND.notes)
    alone = assessed(before=before)
    assert not any(name.startswith("forget_quality") for name in alone.scores["before"]) and not alone.notes
    alone.adopt("oracle", FOUND.scores["oracle"], FOUND.truth["oracle"])  # as another run recorded it
    assert alone.scores["before"] == FOUND.scores["before"]


def test_a_model_that_diverged_is_no_good_forgetter():
    class Diverged(Asked):
        def _nats(self, e):
            return math.nan

    made = assessed(oracle=without)
    made.add("after", Diverged(lambda e: False), Run())
    assert "forget_quality_visual" not in made.scores["after"]
    assert any("diverged" in note for note in made.notes)
    assert made.scores["after"]["mi"].value <= 50


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_likelihoods_that_are_no_numbers_are_no_memory(broken):
    """Of the forgotten alone: members are likely, strangers less, and what diverged is the least likely of all."""

    class Partly(Asked):
        def _nats(self, e):
            return broken if e.group in WHO else super()._nats(e)

    asked = set_interview(SPLITS, CORPUS.test, Bounds(retained_groups=2), asked=CORPUS.asked)
    kept = tuple(e for e in SPLITS.forget if e.form in ("classification", "generation"))
    few = replace(asked, sets={"forget": kept[:2]}, rights={"r_forget": kept[:2]})
    scores, _ = hold_interview(Partly(before), SPLITS, few)
    assert scores["mi"].value < 35 and scores["mi_accuracy"].value > 65
    assert scores["mi"].n == sum(e.form == "generation" for e in SPLITS.forget) < len(SPLITS.forget)


def test_what_an_audit_adds_to_a_set_counts_among_its_right_answers():
    gone, stays = ([e for e in side if e.form == "classification" and e.pictured][0] for side in
                   (SPLITS.forget, SPLITS.retain))  # fmt: skip
    extra = {name: (replace(e, id=f"more of {name}"),) for name, e in (("forget", gone), ("retain", stays))}
    bounds = Bounds(retained_groups=13, attack=20)
    plain, more = (set_interview(SPLITS, CORPUS.test, bounds, asked=asked) for asked in ({}, extra))
    for name, (added,) in extra.items():
        assert more.rights[f"r_{name}"] == (*plain.rights[f"r_{name}"], added)


def test_panels_hold_what_was_written():
    (first, second) = FOUND.shown()["answers"]
    assert first["group"] == "p001" and first["picture"] and second["group"] == "p004"
    (told,) = [a for a in first["asked"] if "born in __" in a["text"] and "This person" not in a["text"]][:1]
    assert told["answers"]["before"]["answer"] == told["right"] and told["answers"]["before"]["right"]
    assert (
        not told["answers"]["oracle"]["right"]
        and told["answers"]["oracle"]["chance"] < told["answers"]["before"]["chance"]
    )
