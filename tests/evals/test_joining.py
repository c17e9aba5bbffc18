"""What the looks of two models say together, where counting is at its ends."""

import numpy as np
import pytest

from expunge.evals.joining import feature_map, kinds_over_seeds, map_overlap, overlap_over_seeds, word_shift


def match(picture: str, word: str, match: float, kind: str = "told") -> dict:
    return {"picture": picture, "word": word, "match": match, "kind": kind}


def test_a_word_of_two_pictures_is_enough_and_of_one_is_not():
    before = [match("a", "ana", 90.0), match("b", "ana", 70.0), match("a", "mill", 50.0)]
    after = [match("a", "ana", 10.0), match("b", "ana", 20.0), match("a", "mill", 5.0)]
    assert word_shift(before, after) == [{"word": "ana", "pictures": 2, "before": 80.0, "after": 15.0, "shift": -65.0}]
    assert [row["word"] for row in word_shift(before, after, least=1)] == ["ana", "mill"]
    assert word_shift([], []) == []


def test_as_many_but_other_words_are_not_the_same():
    for other in (match("a", "mill", 1.0), match("b", "ana", 1.0)):
        with pytest.raises(ValueError, match="not asked about the same"):
            word_shift([match("a", "ana", 90.0)], [other])


def test_one_seed_counts_doubt_over_pictures_and_several_over_seeds():
    before = [match("a", "x", 80.0), match("a", "y", 80.0), match("b", "x", 40.0)]
    after = [{**one, "match": one["match"] - 30} for one in before]
    one = kinds_over_seeds([(before, after)])["told"]
    assert one["words"] == 3 and one["before"].value == pytest.approx(200 / 3) and one["shift"].value == -30.0
    assert (one["before"].low, one["before"].high) == (40.0, 80.0), "pictures are drawn, not words"
    further = [{**one, "match": one["match"] - 36} for one in before]
    two = kinds_over_seeds([(before, after), (before, further), ([], [])])["told"]
    half = (
        12.706204736174694 * 3 * np.sqrt(2) / np.sqrt(2)
    )  # t of one degree of freedom, sd of -30 and -36 over sqrt(2)
    assert (two["shift"].value, two["shift"].n, two["words"]) == (-33.0, 2, 6)
    assert two["shift"].high == pytest.approx(-33 + half)
    assert kinds_over_seeds([]) == kinds_over_seeds([([], [])]) == {}


def test_maps_that_look_nowhere_have_no_overlap_and_others_pairs_are_refused():
    here, there, nowhere = [[1.0, 0.0]], [[1.0, 3.0]], [[0.0, 0.0]]
    before = [{"group": "a", "map": here}, {"group": "b", "map": here}]
    assert map_overlap(before, [{"group": "a", "map": there}, {"group": "b", "map": nowhere}]) == [("a", 25.0)]
    with pytest.raises(ValueError, match="same pairs"):
        map_overlap(before, before[::-1])
    assert overlap_over_seeds([]) is None
    assert overlap_over_seeds([([before[0]], [{"group": "a", "map": nowhere}])]) is None


@pytest.mark.parametrize(("many", "perplexity"), [(4, 4 / 3), (60, 20.0), (120, 30.0)])
def test_the_map_is_as_wide_awake_as_its_points_allow(many, perplexity, monkeypatch):
    import sklearn.manifold

    asked = []

    class Spread:
        def __init__(self, **told):
            asked.append(told)

        def fit_transform(self, x):
            return np.stack([np.arange(len(x)), np.zeros(len(x))], 1)

    monkeypatch.setattr(sklearn.manifold, "TSNE", Spread)
    rows = [{"split": "forget", "feature": [float(i), 1.0]} for i in range(many // 2)]
    placed = feature_map({"before": rows, "after": rows}, seed=3)
    assert asked == [{"perplexity": pytest.approx(perplexity), "init": "pca", "random_state": 3}]
    assert [p["stage"] for p in placed] == ["before"] * (many // 2) + ["after"] * (
        many // 2
    ) and "feature" not in placed[0]
    assert [p["x"] for p in placed] == list(range(many))
    assert feature_map({"before": rows[:3]}) == []
