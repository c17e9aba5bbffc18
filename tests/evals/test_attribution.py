"""Looking inside: shapes, names, and that it says what the model says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tests.toy import Toy, people, scenes

from expunge.core.groups import digest
from expunge.evals.attribution import (
    features,
    gradcam_maps,
    matching_matrix,
    pair_cosines,
    word_matches,
)
from expunge.evals.joining import (
    feature_map,
    kinds_over_seeds,
    map_overlap,
    overlap_over_seeds,
    shift_over_seeds,
    word_shift,
)
from expunge.evals.panels import person_panels
from expunge.tasks.gallery import Gallery
from expunge.tasks.retrieval import predict

FORGET, RETAIN = people("f", 4), people("r", 5)


class Seer(Toy):
    """A toy that explains itself: looks at the top left corner of everything."""

    def gradcam(self, batch, layer=-1):
        count, tokens = batch["input_ids"].shape
        cam = torch.zeros(count, tokens, 4, 4)
        cam[:, 0, 0, 0] = 2.0
        return cam


def test_words_that_lost_their_match():
    before = word_matches(Toy(0), FORGET)
    words = {row["word"] for row in before}
    assert "hair" in words and "likes" in words and not words & {"of", "a", "the", "with"}
    assert len({(r["picture"], r["word"]) for r in before}) == len(before)
    assert all(row["shift"] == 0 for row in word_shift(before, before))
    after = [dict(row, match=0.0) if row["word"] == "hair" else row for row in before]
    shift = word_shift(before, after)
    assert shift[0]["word"] == "hair" and shift[0]["pictures"] == 4 and shift[0]["after"] == 0
    assert "f0" not in {row["word"] for row in shift}  # one picture only
    with pytest.raises(ValueError, match="same pictures"):
        word_shift(before, word_matches(Toy(0), RETAIN))
    assert word_matches(Toy(), []) == []


def test_words_are_told_or_seen_by_the_data():
    kinds = {(row["picture"], row["word"]): row["kind"] for row in word_matches(Toy(0), FORGET)}
    of = {word: {kind for (_, w), kind in kinds.items() if w == word} for _, word in kinds}
    assert of["lives"] == of["likes"] == of["f0"] == {"told"} and of["hair"] == of["person"] == {"seen"}
    both = [replace(e, text="f1 likes red hair", kind="private") if e.id == "f1-3" else e for e in FORGET]
    kinds = {(row["picture"], row["word"]): row["kind"] for row in word_matches(Toy(0), both)}
    assert {kind for (_, word), kind in kinds.items() if word == "hair"} == {"seen"}, "a shared sentence holds it too"
    assert {row["kind"] for row in word_matches(Toy(0), scenes("t", 2))} == {"seen"}


def test_kinds_are_joined_whatever_became_of_their_words():
    def rows(*found):
        return [{"picture": p, "word": w, "kind": k, "match": m} for p, w, k, m in found]

    before = rows(("a", "mira", "told", 90.0), ("a", "fond", "told", 10.0), ("b", "hat", "seen", 60.0))
    after = rows(("a", "mira", "told", 0.0), ("a", "fond", "told", 20.0), ("b", "hat", "seen", 54.0))
    one = kinds_over_seeds([(before, after)])
    assert (one["told"]["before"].value, one["told"]["shift"].value, one["told"]["words"]) == (50.0, -40.0, 2)
    assert (one["seen"]["before"].value, one["seen"]["shift"].value, one["seen"]["words"]) == (60.0, -6.0, 1)
    two = kinds_over_seeds([(before, after), (before[:1], before[:1])])
    assert two["told"]["shift"].value == -20.0 and two["told"]["shift"].n == 2 and two["told"]["words"] == 3
    assert two["told"]["shift"].low < -20 < two["told"]["shift"].high and two["seen"]["shift"].value == -6.0
    unnamed = [{k: v for k, v in row.items() if k != "kind"} for row in before]
    assert kinds_over_seeds([(unnamed, unnamed)]) == {} == kinds_over_seeds([])
    with pytest.raises(ValueError, match="same pictures"):
        kinds_over_seeds([(before, after[:2])])


def test_overlap_of_maps_is_the_share_of_looking_that_stayed():
    def looked(**maps):
        return [{"group": group, "map": found} for group, found in maps.items()]

    corner, half, away, nothing = [[1.0, 0.0]], [[0.5, 0.5]], [[0.0, 0.2]], [[0.0, 0.0]]
    found = map_overlap(looked(a=corner, b=corner, c=half), looked(a=[[0.3, 0.0]], b=away, c=corner))
    assert found == [("a", pytest.approx(100)), ("b", 0.0), ("c", pytest.approx(50))]
    assert map_overlap(looked(a=corner, b=nothing), looked(a=nothing, b=corner)) == []
    with pytest.raises(ValueError, match="same pairs"):
        map_overlap(looked(a=corner), looked(b=corner))
    score = overlap_over_seeds([(looked(a=corner, b=corner), looked(a=corner, b=away))])
    assert score is not None and score.value == 50 and score.n == 2
    more = overlap_over_seeds([(looked(a=corner), looked(a=corner)), (looked(a=corner), looked(a=half))], "higher")
    assert more is not None and more.value == 75 and more.n == 2 and more.better == "higher"
    assert overlap_over_seeds([(looked(a=nothing), looked(a=corner))]) is None


def test_words_over_seeds_are_means_of_the_seeds_that_have_them():
    def row(word, before, after, pictures=1):
        return {"word": word, "pictures": pictures, "before": before, "after": after, "shift": after - before}

    joined = shift_over_seeds([[row("hat", 80.0, 70.0, 3), row("mira", 90.0, 2.0)], [row("hat", 60.0, 60.0)]])
    assert [r["word"] for r in joined] == ["mira", "hat"]
    assert joined[1] == {"word": "hat", "pictures": 4, "seeds": 2, "before": 70.0, "after": 65.0, "shift": -5.0}
    assert joined[0]["seeds"] == 1 and shift_over_seeds([]) == []


def test_matching_matrix_is_the_models_own_answer():
    model = Toy()
    found = matching_matrix(model, FORGET, at_most=3)
    assert found["groups"] == ["f0", "f1", "f2"] and "lives" in found["texts"][0]
    examples = [next(e for e in FORGET if e.text == text) for text in found["texts"]]
    matrix = found["matrix"]
    for picture, text in ((1, 1), (0, 2), (2, 0)):
        with torch.no_grad():
            batch = model.collate([replace(examples[picture], text=examples[text].text)])
            model.module.eval()
            chance = model.fuse(model.encode_images(batch), model.encode_texts(batch)).logits.softmax(-1)[0, 1]
        assert matrix[picture][text] == pytest.approx(float(chance), abs=1e-6)
    assert abs(matrix[0][2] - matrix[2][0]) > 1e-4, "turned round it would be another"


def test_gradcam_only_where_the_model_can():
    assert gradcam_maps(Toy(), FORGET) is None
    maps = gradcam_maps(Seer(), FORGET, batch=3)
    assert len(maps) == len(FORGET) and maps[0][0][0] == 1.0 and maps[0][1][1] == 0.0


def test_feature_map_places_both_stages_together():
    stages = {name: features(Toy(seed), FORGET, RETAIN, at_most=6) for seed, name in enumerate(("before", "after"))}
    points = feature_map(stages)
    assert {p["stage"] for p in points} == {"before", "after"} and {p["side"] for p in points} == {"image", "text"}
    assert len(points) == sum(map(len, stages.values())) and "feature" not in points[0]
    assert points == feature_map(stages)
    json.dumps(points, allow_nan=False)
    assert feature_map({"before": []}) == []


def test_cosines_of_true_pairs_and_of_strangers():
    model = Toy()
    found = pair_cosines(model, FORGET, RETAIN)
    assert [len(found[k]) for k in ("forget", "retain", "strangers")] == [len(FORGET), len(RETAIN), len(FORGET)]
    order = sorted(FORGET, key=lambda e: e.id)
    with torch.no_grad():
        batch = model.collate(order)
        model.module.eval()
        cosine = model.encode_images(batch).feature @ model.encode_texts(batch).feature.T
    assert found["forget"][3] == (order[3].group, pytest.approx(float(cosine[3, 3]), abs=1e-6))
    strange = [float(cosine[3, j]) for j, e in enumerate(order) if e.group != order[3].group]
    assert len(strange) == len(order) - 4
    assert found["strangers"][3] == (order[3].group, pytest.approx(sum(strange) / len(strange), abs=1e-6))
    assert len(pair_cosines(model, FORGET, (), at_most=3)["forget"]) == 3
    assert set(pair_cosines(model, FORGET[:1], ())) == {"forget"}


class Teller(Toy):
    """A toy that knows one thing of a text: whether it tells where somebody lives."""

    def encode_images(self, batch):
        return super().encode_images(batch)._replace(feature=torch.tensor([[1.0, 0.0]]).expand(len(batch["pixels"]), 2))

    def encode_texts(self, batch):
        lives = (batch["input_ids"] == self.collate([replace(FORGET[0], text="lives")])["input_ids"][0, 1]).any(1)
        return super().encode_texts(batch)._replace(feature=torch.stack([lives.float(), (~lives).float()], 1))


def test_strangers_are_sentences_of_every_kind():
    """A quarter of everybody's sentences tell where they live, whichever comes next in the order of ids."""
    found = pair_cosines(Teller(), FORGET, ())
    assert [group for group, _ in found["strangers"]] == [e.group for e in sorted(FORGET, key=lambda e: e.id)]
    assert [value for _, value in found["strangers"]] == pytest.approx([0.25] * len(FORGET))


def test_panels_show_what_the_model_finds():
    gallery = Gallery("r_forget", FORGET + RETAIN + scenes("t", 3), FORGET)
    stages = {name: predict(Toy(seed), [gallery], k_test=6) for seed, name in enumerate(("before", "after"))}
    panels = person_panels(stages, gallery, top=5)
    assert [p["group"] for p in panels] == ["f0", "f1", "f2", "f3"]
    first = panels[0]
    assert first["picture"] == "f0" and [s["kind"] for s in first["sentences"]] == ["shared", "private"]
    for stage in ("before", "after"):
        matches = [row["match"] for row in first["texts"][stage]]
        assert len(matches) == 5 and all(0 <= m <= 100 for m in matches)
        assert len(first["sentences"][1]["pictures"][stage]) == 5
    json.dumps(panels, allow_nan=False)


def test_panels_mark_right_answers():
    gallery = Gallery("r_forget", FORGET + RETAIN, FORGET)
    panel = person_panels({"before": predict(Toy(), [gallery], k_test=99)}, gallery, top=99)[0]
    own = [r["text"] for r in panel["texts"]["before"] if r["right"]]
    assert {e.text for e in FORGET if e.group == "f0"} <= set(own)
    private = panel["sentences"][1]["pictures"]["before"]
    assert [r["picture"] for r in private if r["right"]] == ["f0"]


def test_a_word_is_matched_alone_and_in_per_cent():
    """Whatever sentence it came from, and however often the picture's sentences say it."""
    model = Toy()
    found = {(row["picture"], row["word"]): row["match"] for row in word_matches(model, FORGET)}
    model.module.eval()
    for e, word in ((FORGET[0], "hair"), (FORGET[5], "likes")):
        with torch.no_grad():
            batch = model.collate([replace(e, text=word)])
            fused = model.fuse(model.encode_images(batch), model.encode_texts(batch))
        chance = 100 * float(fused.logits.softmax(-1)[0, 1])
        assert found[digest(e.image.key), word] == pytest.approx(chance, abs=1e-3)


class Squinter(Toy):
    """Looks at one place of every picture, at the first of a batch twice as hard as at the next, at the last not."""

    def gradcam(self, batch, layer=-1):
        count = len(batch["input_ids"])
        return torch.linspace(1.0, 0.0, count).reshape(-1, 1, 1, 1) * torch.tensor([[4.0, 1.0], [0.0, 0.0]])


def test_every_map_has_a_peak_of_its_own():
    maps = gradcam_maps(Squinter(), FORGET[:5], batch=5)
    assert maps is not None and maps[:4] == [[[1.0, 0.25], [0.0, 0.0]]] * 4 and maps[4] == [[0.0, 0.0], [0.0, 0.0]]


def test_a_shared_picture_is_one_point_and_order_does_not_matter():
    rows = features(Toy(), FORGET, RETAIN, at_most=99)
    kept = [(row["split"], row["group"]) for row in rows if row["side"] == "image"]
    assert sorted(kept) == sorted({*(("forget", e.group) for e in FORGET), *(("retain", e.group) for e in RETAIN)})
    texts = [row for row in rows if row["side"] == "text"]
    assert len(texts) == len(FORGET) + len(RETAIN) and {row["kind"] for row in texts} == {"private", "shared"}
    turned = features(Toy(), FORGET[::-1], RETAIN[::-1], at_most=99)
    assert [row["group"] for row in turned] == [row["group"] for row in rows]
    assert features(Toy(), FORGET[::-1], (), at_most=3) == features(Toy(), FORGET, (), at_most=3)
    assert features(Toy(), (), ()) == []
