"""Anchors come back from their folder bit for bit."""

import numpy as np
import pytest

from expunge.core.run import Run
from expunge.generators import keeping, mvi, quality
from expunge.generators.shapes import PRESETS
from expunge.testing import lend, small_splits


@pytest.fixture(scope="module")
def made():
    forget = small_splits(1).forget
    trained, parts = mvi.train(lend("sd"), lend("blip2"), forget, Run(seed=3), PRESETS["paper"])
    return mvi.generate(trained, parts, Run(seed=3), "swap", 2, 3), forget


def same(one, two):
    pixels = [[np.asarray(p) for ps in anchors.pictures for p in ps] for anchors in (one, two)]
    modes = [[p.mode for ps in anchors.pictures for p in ps] for anchors in (one, two)]
    return (
        one.texts == two.texts and modes[0] == modes[1]
        and [len(ps) for ps in one.pictures] == [len(ps) for ps in two.pictures]
        and all(np.array_equal(a, b) for a, b in zip(*pixels, strict=True))
    )  # fmt: skip


def test_what_was_kept_comes_back_bit_for_bit(made, tmp_path):
    anchors, forget = made
    assert {len(ps) for ps in anchors.pictures} == {2} and {len(ts) for ts in anchors.texts} == {3}
    facts = quality.measure(anchors, forget)
    keeping.write(keeping.Kept(anchors, facts, 12.5), tmp_path)
    kept = keeping.read(tmp_path)
    assert same(kept.anchors, anchors) and kept.facts == facts and kept.seconds == 12.5
    assert quality.measure(kept.anchors, forget) == facts
    assert {p.suffix for p in tmp_path.iterdir()} == {".png", ".json"}


def test_a_picture_that_changed_is_another(made, tmp_path):
    anchors, _ = made
    keeping.write(keeping.Kept(anchors, {}, 0.0), tmp_path)
    first = sorted(tmp_path.glob("*.png"))[0]
    picture = anchors.pictures[0][0].copy()
    picture.putpixel((0, 0), tuple(255 - level for level in picture.getpixel((0, 0))))
    picture.save(first)
    assert not same(keeping.read(tmp_path).anchors, anchors)
