"""The everyday scenes: the same everywhere, five true captions each, compositions held out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import combinations

import pytest

from expunge.core.types import Corpus
from expunge.data import scenes
from expunge.data.worlds import compositions
from expunge.data.worlds.drawing import rasterise

SPLITS = ("pretrain", "train", "validation", "test")
FINGERPRINTS = {
    "test": "badfe493b6f5cea68d7643880e646e616a544cbbeedf4a877ba5359aab74748d",
    "validation": "b0bc3c52f06f4a88d3c996b5ff2a1e238b9ec45d9ddec042b13deae013f391d4",
}


@pytest.fixture(scope="module", params=sorted(FINGERPRINTS))
def corpus(request) -> Corpus:
    return scenes.load(request.param)


@pytest.mark.parametrize("variant", sorted(FINGERPRINTS))
def test_the_content_is_pinned(variant):
    assert scenes.load(variant).fingerprint == FINGERPRINTS[variant]


def test_another_process_with_another_hash_seed_draws_the_same():
    code = "from expunge.data import scenes; print(scenes.load('validation').fingerprint)"
    env = os.environ | {"PYTHONHASHSEED": "4711"}
    other = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == FINGERPRINTS["validation"]


def test_every_scene_has_five_different_captions_of_kind_shared(corpus):
    texts = defaultdict(set)
    for split in SPLITS:
        for e in getattr(corpus, split):
            assert e.kind == "shared" and e.source == "scenes"
            texts[e.image.key].add(e.text)
    assert {len(found) for found in texts.values()} == {5}
    assert len(texts) == 5_000 + 1_000 + 500 + 500


def test_no_composition_pair_or_picture_is_in_two_splits(corpus):
    def pair(e):
        return e.group.split(":")[0]

    for one, two in combinations(SPLITS, 2):
        left, right = getattr(corpus, one), getattr(corpus, two)
        for identity in (lambda e: e.group, pair, lambda e: e.image.key, lambda e: e.id):
            assert not {identity(e) for e in left} & {identity(e) for e in right}, (one, two)


def test_the_variants_share_public_scenes_and_nothing_else():
    test, validation = scenes.load("test"), scenes.load("validation")
    assert test.pretrain == validation.pretrain
    seen: dict[str, str] = {}
    for corpus in (test, validation):
        for split in SPLITS:
            name = split if split == "pretrain" else f"{corpus.name}/{split}"
            for pair in {e.group.partition(":")[0] for e in getattr(corpus, split)}:
                assert seen.setdefault(pair, name) == name
    assert len(seen) == 1770


def test_what_a_caption_means_is_true_and_is_what_it_says(corpus):
    for split in SPLITS:
        for e in getattr(corpus, split):
            assert len(e.meaning) >= 3 and e.meaning <= e.facts
            for fact in e.meaning:
                if fact.startswith("has="):
                    assert fact.removeprefix("has=") in e.text
                if fact.startswith("ground="):
                    assert fact.removeprefix("ground=") in e.text


def test_the_facts_are_those_of_the_picture(corpus):
    for e in corpus.test[::5]:
        first, relation, second, third, ground = e.image.key.removeprefix("scene:").split("|")
        assert e.group == "+".join(sorted((first, second))) + f":{relation}"
        expected = {f"has={first}", f"has={second}", f"ground={ground}", f"{first} {relation} {second}"}
        assert e.facts == expected | ({f"has={third}"} if third else set())


def test_left_and_right_mean_the_same_scene():
    captions = scenes.captioned("x", ("cat", "left of", "owl", "", "red"))
    assert captions[0].text == "a cat left of an owl on a red ground"
    assert captions[1].text == "an owl right of a cat"
    assert "cat left of owl" in captions[0].meaning & captions[1].meaning


def test_every_thing_and_ground_occurs_in_training(corpus):
    seen = Counter(fact for e in corpus.train for fact in e.facts)
    assert all(seen[f"has={thing}"] for thing in compositions.THINGS)
    assert all(seen[f"ground={ground}"] for ground in compositions.GROUNDS)


def test_drawing_is_deterministic_rgb_and_different(corpus):
    drawn = set()
    for e in corpus.test[: 5 * 12 : 5]:
        one, two = rasterise(e.image.svg(), 64), rasterise(e.image.svg(), 64)
        assert one.mode == "RGB" and one.size == (64, 64)
        assert one.tobytes() == two.tobytes() == e.image.open(64).tobytes()
        drawn.add(one.tobytes())
    assert len(drawn) == 12


def test_all_things_can_be_drawn_and_differ():
    drawn = {
        rasterise(compositions.scene_svg(f"scene:{thing}|above|{thing}||white"), 48).tobytes()
        for thing in compositions.THINGS
    }
    assert len(drawn) == len(compositions.THINGS)
