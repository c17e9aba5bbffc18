"""Look-alikes: found without comparing every pair, and exactly those that comparing every pair would find."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from data.photographs import cropped, saved_again, scene
from expunge.core.types import Example
from expunge.data import people
from expunge.data.files.pictures import TURNS, FilePicture, content_key, look_of, looks_of
from expunge.requests import alike
from expunge.requests.alike import NEAR_BITS, SHOWN_BITS, Looks, look_alikes

SCENES = [scene(seed) for seed in range(12)]


def apart(one: int, two: int) -> int:
    return (one ^ two).bit_count()


def of_look(name: str, looks: tuple[int, ...] | int) -> Example:
    looks = (looks,) * 8 if isinstance(looks, int) else looks
    picture = FilePicture(f"{name}.png", Path("nowhere"), name, looks[0], looks[1:])
    return Example(name, picture, name, name)


# ---------------------------------------------------------------------------------------------- what looks alike


CHANGES = {
    "JPEG, quality 40": lambda image: saved_again(image, 40),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "another shape": lambda image: image.resize((256, 256), Image.Resampling.BICUBIC),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "a fifth brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "a third darker": lambda image: ImageEnhance.Brightness(image).enhance(0.67),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_photograph_stays_near(change):
    assert max(apart(look_of(one), look_of(CHANGES[change](one))) for one in SCENES) <= NEAR_BITS


def test_a_slight_crop_stays_near_as_a_rule_and_always_in_sight():
    off = [apart(look_of(one), look_of(cropped(one, 0.02))) for one in SCENES]
    assert max(off) <= SHOWN_BITS and sum(n <= NEAR_BITS for n in off) >= 0.9 * len(off)


def test_other_photographs_and_other_views_of_the_scene_do_not():
    off = [apart(look_of(one), look_of(two)) for one, two in itertools.combinations(SCENES, 2)]
    assert min(off) > SHOWN_BITS
    wide = [scene(seed, 700, 360) for seed in range(12)]
    views = [[one.crop((x, 0, x + 480, 360)) for x in (0, 96)] for one in wide]  # moved by a fifth
    assert min(apart(look_of(one), look_of(two)) for one, two in views) > SHOWN_BITS


def test_turned_looks_are_those_of_the_turned_picture():
    image = SCENES[0].resize((300, 300))
    turned = {
        "mirrored": ImageOps.mirror(image), "turned by a half and mirrored": ImageOps.flip(image),
        "turned by a half": image.rotate(180), "turned by a quarter": image.rotate(90),
        "turned by a quarter and mirrored": image.transpose(Image.Transpose.TRANSPOSE),
    }  # fmt: skip
    for name, one in (("", image), *turned.items(), ("turned by a quarter", image.rotate(-90))):
        near = [turn for turn, look in zip(TURNS, looks_of(image), strict=True) if apart(look, look_of(one)) <= 2]
        assert near == [name], name
    assert looks_of(image)[0] == look_of(image) and len(set(looks_of(image))) == 8


# ---------------------------------------------------------------------------------------------- how they are found


def brute(asked: np.ndarray, kept: np.ndarray, bits: int) -> list[tuple[int, int, int, int]]:
    found = []
    for row, turns in enumerate(asked):
        for column, look in enumerate(kept):
            off = [apart(int(one), int(look)) for one in turns]
            if min(off) <= bits:
                found.append((row, min(off), column, off.index(min(off))))
    return sorted(found)


def rows(found) -> list[tuple[int, int, int, int]]:
    return [
        one
        for part in found
        for one in zip(part.row.tolist(), part.apart.tolist(), part.column.tolist(), part.turn.tolist(), strict=True)
    ]


look = st.integers(0, 2**64 - 1)
flips = st.lists(st.integers(0, 63), max_size=14)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(look, min_size=1, max_size=6), st.lists(st.tuples(st.integers(0, 5), flips), min_size=1, max_size=30),
    st.integers(0, SHOWN_BITS), st.integers(1, 3), st.sampled_from([1, 40, 4_000_000]),
)  # fmt: skip
def test_exactly_the_pairs_that_comparing_all_finds(centres, drawn, bits, turns, candidates):
    """Looks scattered about a few centres, so that distances about the radius are common."""
    made = []
    for centre, flipped in drawn:
        value = centres[centre % len(centres)]
        for bit in flipped:
            value ^= 1 << bit
        made.append(value)
    kept = np.array(made, dtype=np.uint64)
    asked = np.array([[centres[(i + t) % len(centres)] for t in range(turns)] for i in range(len(centres))], np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alike, "_CANDIDATES", candidates)
        assert rows(Looks(kept, bits).within(asked)) == brute(asked, kept, bits)


def test_thousands_among_tens_of_thousands_take_a_moment():
    rng = np.random.default_rng(0)
    kept = rng.integers(0, 2**64, 30_000, dtype=np.uint64)
    asked = rng.integers(0, 2**64, (3_000, 8), dtype=np.uint64)
    asked[:, 3] = kept[:3_000] ^ np.uint64(0b10101)
    began = time.process_time()
    found = rows(Looks(kept, NEAR_BITS).within(asked))
    assert time.process_time() - began < 5
    assert {(row, column, off, turn) for row, off, column, turn in found} >= {(i, i, 3, 3) for i in range(3_000)}


def test_where_everything_looks_alike_each_pair_is_told_once():
    found = rows(Looks(np.zeros(300, np.uint64), 6).within(np.zeros((20, 8), np.uint64)))
    assert found == [(row, 0, column, 0) for row in range(20) for column in range(300)]


def test_alike_names_first_examples_nearest_first():
    forget = [of_look("f", 0), replace(of_look("f", 0), id="f2"), of_look("g", 2**64 - 1)]
    retain = [of_look("far", 0b1111111), of_look("near", 0b1111), of_look("f", 0), of_look("nearest", 0b11)]
    ((asked, kept),) = look_alikes(forget, retain)
    assert asked.id == "f" and [(n.example.id, n.apart) for n in kept] == [("nearest", 2), ("near", 4)]
    assert look_alikes(forget, []) == look_alikes([], retain) == []


def test_a_mirrored_copy_is_said_to_be_one():
    looks = looks_of(SCENES[1])
    ((_, (likeness,)),) = look_alikes([of_look("f", looks)], [of_look("r", looks_of(ImageOps.mirror(SCENES[1])))])
    assert likeness.turn == "mirrored" and str(likeness) == f"{likeness.apart} of 64 bits apart, mirrored"


def test_pictures_nobody_hashed_are_opened(tmp_path):
    examples = []
    for name, image in (("a", SCENES[2]), ("b", ImageOps.mirror(SCENES[2])), ("c", SCENES[3])):
        image.save(tmp_path / f"{name}.png")
        key = content_key((tmp_path / f"{name}.png").read_bytes())
        examples.append(Example(name, FilePicture(f"{name}.png", tmp_path, key), name, name))
    ((asked, kept),) = look_alikes(examples[:1], examples[1:])
    assert [n.example.id for n in kept] == ["b"] and kept[0].turn == "mirrored"


def test_drawn_portraits_are_left_out_because_they_look_alike_by_design():
    corpus = people.load()
    splits = corpus.split([f"p{n:03d}" for n in range(40)])
    assert look_alikes(splits.forget, splits.retain) == []
    portraits = {e.image.key: e.image for e in corpus.train if e.source == "people"}
    looks = [look_of(picture.open(64)) for picture in list(portraits.values())[:80]]
    near = [pair for pair in itertools.combinations(looks, 2) if apart(*pair) <= NEAR_BITS]
    assert len(near) > 3, "otherwise they could be compared after all"
