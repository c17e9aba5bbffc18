"""The whole measurement on a toy: names, galleries, repeatability, and what is not measurable is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.toy import Toy, people, scenes

from expunge.core.types import Splits
from expunge.evals.forgetting import ask, measure
from expunge.evals.sampling import Bounds
from expunge.tasks.gallery import Gallery
from expunge.tasks.recall import recall
from expunge.tasks.retrieval import predict

SPLITS = Splits(people("f", 2), people("r", 9) + scenes("s", 6))
TEST = people("o", 6) + scenes("t", 6)
NAMES = {"r_forget", "r_forget_shared", "r_forget_private", "r_test", "r_retain", "r_retain_shared", "r_retain_private"}


def test_all_scores_are_there_with_intervals():
    scores, evidence = measure(Toy(), SPLITS, TEST, k_test=4, bounds=Bounds(retained_groups=5, test_pictures=4))
    assert set(scores) == NAMES | {"mi", "mi_auc", "mi_private", "mi_accuracy"}
    for name, score in scores.items():
        bounds = (0, 100) if name == "mi_accuracy" else (score.low, score.high)  # the instrument's has no interval
        assert 0 <= bounds[0] <= score.value <= bounds[1] <= 100, name
        assert (score.better == "oracle") == name.startswith(("r_forget", "mi")) or name == "mi_accuracy"
    assert evidence.notes == ()


def test_galleries_are_what_the_paper_and_the_design_say():
    asked = ask(SPLITS, TEST, Bounds(retained_groups=5, test_pictures=4)).galleries
    forget, test, retain = (asked[n] for n in ("r_forget", "r_test", "r_retain"))
    assert forget.queries == SPLITS.forget and forget.examples == retain.examples
    assert {e.source for e in retain.queries} == {"people"} and len({e.group for e in retain.queries}) == 5
    assert not any(e.kind == "private" for e in test.examples)
    assert len({e.image.key for e in test.examples}) == 8
    assert len([e for e in test.examples if e.source == "scenes"]) == 12  # all captions come along


def test_questions_do_not_depend_on_the_order_of_the_data():
    mixed = replace(SPLITS, retain=tuple(reversed(SPLITS.retain)))
    one, two = (ask(s, TEST, Bounds(retained_groups=5)) for s in (SPLITS, mixed))
    assert set(one.galleries["r_retain"].queries) == set(two.galleries["r_retain"].queries)
    assert ask(SPLITS, TEST, Bounds(retained_groups=5), seed=1).galleries["r_retain"] != one.galleries["r_retain"]


def test_same_model_same_scores_and_alone_as_together():
    bounds = {"k_test": 4, "bounds": Bounds(retained_groups=5, test_pictures=4)}
    (one, evidence), (two, _) = (measure(Toy(), SPLITS, TEST, **bounds) for _ in range(2))
    assert one == two
    gallery: Gallery = evidence.questions.galleries["r_forget_private"]
    alone = recall(predict(Toy(), [gallery], k_test=4), gallery).score("oracle")
    assert one["r_forget_private"].value == pytest.approx(alone.value)


def test_what_cannot_be_measured_is_absent_and_said():
    untold = tuple(replace(e, kind=None, meaning=frozenset(), facts=frozenset()) for e in SPLITS.forget)
    scores, evidence = measure(Toy(), Splits(untold, ()), (), k_test=4)
    assert set(scores) == {"r_forget"}
    assert len(evidence.notes) == 3 and "Membership was not measured" in evidence.notes[2]
    with pytest.raises(ValueError, match="forget set is empty"):
        measure(Toy(), Splits((), SPLITS.retain), TEST)


def test_an_attack_that_is_refused_ends_nothing():
    asked = ask(SPLITS, TEST, Bounds(retained_groups=5))
    few = replace(asked, members=people("r", 2), others=people("o", 2))
    scores, evidence = measure(Toy(), SPLITS, TEST, k_test=4, questions=few)
    assert set(scores) == NAMES and evidence.membership is None
    assert "Membership was not measured: membership needs at least 3 groups" in evidence.notes[0]


def test_a_copyright_scenario_has_no_kinds_to_split_by():
    scores, _ = measure(Toy(), Splits(scenes("f", 3), scenes("r", 6)), scenes("t", 6), k_test=4)
    assert {n for n in scores if n.startswith("r_")} == {"r_forget", "r_test", "r_retain"}


def test_a_diverged_model_is_noted():
    model = Toy()
    model.module.head.weight.data.fill_(float("nan"))
    _, evidence = measure(model, SPLITS, TEST, k_test=4, bounds=Bounds(retained_groups=3))
    assert any("diverged" in note for note in evidence.notes)
