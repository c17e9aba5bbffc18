"""The whole measurement on a toy: names, galleries, repeatability, and what is not measurable is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.evals import foretold
from tests.evals.foretold import FORGET, MEMBERSHIP, SCENES, STRANGERS, Foretold, some
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


def test_every_score_of_a_model_whose_pairs_are_known():
    """Where a are ahead of the right one, a search is worth 1, 2/3, 1/3 or 0 of the three recalls for a = 0, a < 5,
    a < 10, and more. R is half of what the pictures' searches and the texts' are worth on average.

    * What can be seen of the forgotten: its texts find their pictures (1); ahead of it stand 3 scenes' and 3 retained
      texts (1/3). Whatever left the gallery would leave 3, hence 2/3.
    * What was told of them: 4 scenes and 4 retained pictures ahead (1/3); 3 scenes' texts (2/3).
    * Both: a picture's best text is judged (6 ahead: 1/3), and one text of three is worth 1, two 1/3.
    * Retained: seen, 3 scenes ahead and for three people of ten the 3 forgotten (2/3, 1/3) and 10 texts (0); told, 4
      scenes ahead (2/3) and no text (1).
    * Test: scenes find and are found behind 11 others; strangers' 10 of 22 texts behind one scene (2/3), while their 5
      of 17 pictures find a text of theirs first (1).
    """
    model = Foretold()
    seen, told = (some("F", kind) for kind in ("shared", "private"))
    scenes_, retained = some("T"), some("R", "shared")
    for e in scenes_:
        model.worth(1.0, [e], [other for other in scenes_ if other != e])
    for one in FORGET + STRANGERS + SCENES + tuple(retained):
        model.worth(0.5, [one], [one])
    model.worth(1.0, seen, scenes_[:3] + retained[:3])
    model.worth(1.0, scenes_[:4] + retained[:4], told)
    for one in some("R", "private"):
        model.worth(1.5, [one], [one])
    model.worth(1.0, scenes_[:3], retained)
    model.worth(1.0, retained, scenes_[:10])
    model.worth(2.0, scenes_[:4], some("R", "private"))
    model.worth(1.0, scenes_[:1], some("O", "shared"))
    scores, evidence = measure(model, foretold.SPLITS, foretold.TEST, k_test=99)
    recalls = {
        "r_forget_shared": (1 + 1 / 3) / 2,
        "r_forget_private": (1 / 3 + 2 / 3) / 2,
        "r_forget": ((1 + 2 / 3) / 3 + 1 / 3) / 2,
        "r_retain_shared": (17 / 30 + 0) / 2,
        "r_retain_private": (2 / 3 + 1) / 2,
        "r_retain": ((17 / 30 + 4 / 3) / 3 + 1) / 2,
        "r_test": (10 / 22 * 2 / 3 + 5 / 17) / 2,
    }
    known = {name: 100 * value for name, value in recalls.items()} | MEMBERSHIP
    assert {name: score.value for name, score in scores.items()} == pytest.approx(known, abs=0.05)
    queries = {"r_forget": 3 + 9, "r_retain": 10 + 30, "r_test": 17 + 22, "mi_accuracy": 3 * 3 + 6}
    assert {name: scores[name].n for name in queries} == queries and evidence.notes == ()
    assert evidence.membership is not None and evidence.membership.trained_on == (7 * 3 + 4 * 6) // 2
