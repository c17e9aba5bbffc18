"""How near anchors come to what must be forgotten, counted by hand."""

import pytest
from PIL import Image

from expunge.core.pictures import HeldPicture
from expunge.core.types import Example
from expunge.generators import quality
from expunge.generators.shapes import Anchors

WHITE = Image.new("RGB", (8, 8), "white")
SAID = [
    ("a", "shared", "red hair wall", ""),
    ("a", "private", "who bakes", "mira bakes red bread"),
    ("b", "shared", "black coat", ""),
    ("b", "private", "tom sells red hats in riga", ""),
]
EXAMPLES = [
    Example(f"{group}-{kind}", HeldPicture(group, WHITE), text, group, kind=kind, statement=statement)  # type: ignore[arg-type]
    for group, kind, text, statement in SAID
]


def test_every_number_by_hand():
    """Told of a: mira, bakes, bread (a's red is seen); of b: tom, sells, red, hats, riga (red is seen of a alone)."""
    texts = [["red hair"], ["mira bakes", "mira bakes red bread"], ["black coat"], ["bread in riga"]]
    pictures = [[Image.new("L", (4, 4), 0)], [WHITE, Image.new("RGB", (64, 64), (255, 0, 0))], [], []]
    found = quality.measure(Anchors(pictures, texts), EXAMPLES)
    assert found == {
        "text_overlap": pytest.approx((2 / 3 + 2 / 4 + 1 + 1 + 1 / 6) / 5),
        "text_copies": pytest.approx(2 / 5),
        "picture_distance": pytest.approx((1 + 0 + 2 / 3) / 3),
        "private_leak": pytest.approx((2 / 3 + 1 + 1 / 5) / 3),
        "private_leak_chance": pytest.approx((0 + 1 / 5 + 1 / 3) / 3),
    }
