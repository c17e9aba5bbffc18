"""What probes are fitted on and judged on, and what scores of anchors are held against: with answers worked out by
hand."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.evals.test_generation import anchors, walls
from tests.toy import Noise, Toy

from expunge.core.record import Score
from expunge.core.types import Example
from expunge.evals import probes
from expunge.evals.generation import attribute_agreement, generation_quality, inception_score
from expunge.evals.probes import PictureClassifier, factors, modality_probe, vision_features


def test_a_picture_is_read_where_every_attribute_is():
    """One can be seen and the other is drawn by lot, whichever is named last."""
    rng = random.Random(0)
    both = [replace(e, facts=e.facts | {f"luck={rng.choice('ab')}"}) for e in walls(60)]
    for attributes in (["luck", "wall"], ["wall", "luck"]):
        assert 25 < PictureClassifier.train(Toy(), both, attributes).accuracy.value < 75


def test_what_is_read_is_the_first_state_of_every_picture():
    model = Toy()
    model.module.eval()
    pictures = [e.image for e in walls(5)]
    with torch.no_grad():
        tokens = model.encode_images(model.collate([Example(p.key, p, "a picture") for p in pictures])).tokens
    assert np.allclose(vision_features(model, pictures, batch=2), tokens[:, 0].double().numpy(), atol=1e-6)


class Parts:
    """Three thousand pairs of one picture token and two text tokens, the second of which is padding."""

    from_picture = torch.full((3000, 1, 2), 7.0)
    from_text = torch.stack([torch.full((3000, 2), 3.0), torch.full((3000, 2), 99.0)], 1)
    text_mask = torch.tensor([[1, 0]]).expand(3000, 2)

    def __len__(self):
        return 3000


def test_factors_are_drawn_from_their_posterior_and_padding_does_not_count():
    posterior = torch.full((3000, 1, 2), 5.0), torch.full((3000, 1, 2), float(np.log(4.0)))  # mean 5, deviation 2
    model = SimpleNamespace(infer=lambda parts, rows: (posterior, posterior))
    found = factors(model, Parts())  # type: ignore[arg-type]
    for side in found["specific"]:
        assert side.shape == (3000, 2) and side.mean() == pytest.approx(5, abs=0.15) and 1.9 < side.std() < 2.1
    assert (found["consistent"][0] == 7).all() and (found["consistent"][1] == 3).all()
    again, other = factors(model, Parts(), seed=0), factors(model, Parts(), seed=1)  # type: ignore[arg-type]
    assert (again["specific"][0] == found["specific"][0]).all() and (other["specific"][0] != found["specific"][0]).any()


def test_neither_map_nor_probe_sees_the_groups_that_it_is_judged_on(monkeypatch):
    told, taught = [], []
    narrow, machine = probes._narrow, probes._machine

    class Spy:
        def fit(self, x, y):
            taught.append(len(x))
            self.made = machine().fit(x, y)
            return self.made

    monkeypatch.setattr(
        probes, "_narrow", lambda learn, x, *rest: told.append((len(learn), rest)) or narrow(learn, x, *rest)
    )
    monkeypatch.setattr(probes, "_machine", Spy)
    rng = np.random.default_rng(0)
    groups = [f"g{i // 2}" for i in range(50)]
    modality_probe("x", rng.normal(size=(50, 9)), rng.normal(size=(50, 6)), groups, width=16)
    assert told == [(40, (6, False))] * 2 * probes.FOLDS, "four fifths, and as many numbers as the narrower side has"
    assert taught == [80] * 2 * probes.FOLDS
    for train, test in probes._folds(groups):
        assert not {groups[i] for i in train} & {groups[i] for i in test}
    assert len(list(probes._folds(["a", "b", "b"]))) == 2


def test_the_scale_of_a_side_is_its_own_and_its_mean_stays_unless_taken_away():
    x = np.array([[3.0, 0.0], [5.0, 0.0], [4.0, 1.0], [4.0, -1.0]])
    kept, taken = probes._narrow(x, x, 2, False), probes._narrow(x, x, 2, True)
    for found in (kept, taken):
        assert np.mean(found**2) == pytest.approx(1.0)
    assert np.abs(kept.mean(0)).max() > 1 and np.abs(taken.mean(0)).max() < 1e-9


# ------------------------------------------------------------------------------------------ what others say by chance


def person(i: int, picture: str, *facts: str) -> Example:
    return Example(f"e{i}", Noise(picture), f"text {i}", picture[0], facts=frozenset(facts))


PEOPLE = [person(0, "a1", "hat"), person(1, "a1", "hat"), person(2, "a2", "hat"), person(3, "b1", "bald")]


def test_by_chance_is_against_the_pictures_of_others_alone():
    said = attribute_agreement(anchors(lambda e: "hat", PEOPLE), PEOPLE, lambda text, e: {"hat"})
    # a says hat three times: true, and of nobody else; b says it once: false, but of both pictures of a
    assert said["attribute_agreement"].value == 75 and said["attribute_agreement"].n == 4
    assert said["attribute_agreement_chance"].value == 25 and said["attribute_agreement_chance"].n == 4


def test_the_number_of_what_is_stated_goes_no_further_than_the_longest_text():
    stated = attribute_agreement(anchors(lambda e: "x", PEOPLE), PEOPLE, lambda text, e: {"hat", "bald"})
    number = stated["attributes_stated"]
    assert (number.value, number.n, number.high) == (2.0, 4, 2.0) and number.low < 2.0, "two groups leave doubt"


def test_the_inception_score_is_of_those_whose_classes_are_known_and_of_each_picture_once():
    asked = []

    class Reader:
        accuracy = Score(90.0, 9)

        def knows(self, e):
            return e.id != "e3"

        def probabilities(self, pictures):
            asked.append([p.key for p in pictures])
            return np.tile([[0.5, 0.5]], (len(pictures), 1))

    found = generation_quality(
        anchors(lambda e: e.text, PEOPLE), PEOPLE, classifier=Reader(), stated=lambda t, e: set()
    )  # type: ignore[arg-type]
    assert asked == [["R1:0:0", "R1:1:0", "R1:2:0"], ["a1", "a2"]]
    assert found["inception_score"].n == 3 and found["inception_score_real"].n == 2
    assert found["inception_score"].value == inception_score(np.array([[0.5, 0.5]])).value == 1.0
    assert found["classifier_accuracy"].value == 90.0
