"""What a batch of the recipes' pretraining is drawn from: three people, one of them on two pictures, and scenes."""

import random
from dataclasses import replace
from types import SimpleNamespace

import torch
from tests.toy import Noise, people, person, scenes

from expunge.zoo.albef_tiny import PicturePool

AGAIN = tuple(replace(e, id=f"{e.id}+", image=Noise("p0+"), text=f"{e.text}, again") for e in person("p0"))
WORLD = people("p", 3) + AGAIN + scenes("s", 3)
BY_TEXT = {e.text: e for e in WORLD}
NUMBER = {key: i for i, key in enumerate(dict.fromkeys(e.image.key for e in WORLD))}
READS = SimpleNamespace(
    picture=lambda image: torch.full((3, 2, 2), float(NUMBER[image.key])), texts=lambda texts: {"texts": texts}
)


def drawn(size=400, **shares):
    pool = PicturePool(SimpleNamespace(processor=READS), WORLD, **shares)
    made = pool.draw(random.Random(0), size)
    return [BY_TEXT[text] for text in made["texts"]], made


def test_shares_are_those_that_were_asked_for():
    for shares, source, kinds in (
        ({"told": 1.0, "share": 1.0}, "people", {"private"}),
        ({"told": 0.0, "share": 1.0}, "people", {"shared"}),
        ({"told": 1.0, "share": 0.0}, "scenes", {"shared"}),  # nothing is told of a scene
    ):
        examples, _ = drawn(**shares)
        assert {e.source for e in examples} == {source} and {e.kind for e in examples} == kinds
        assert {e.text for e in examples} == {e.text for e in WORLD if e.source == source and e.kind in kinds}
    examples, _ = drawn(4000)
    persons = [e for e in examples if e.source == "people"]
    assert abs(len(persons) / 4000 - 0.4) < 0.03 and len({e.group for e in examples}) == 6
    assert abs(sum(e.kind == "private" for e in persons) / len(persons) - 0.25) < 0.04


def test_text_picture_and_group_belong_together():
    examples, made = drawn(told=1.0)  # what is seen is said of several
    assert made["pixels"].shape == (400, 3, 2, 2) and made["pixels"].dtype == torch.float32
    assert made["pixels"][:, 0, 0, 0].tolist() == [NUMBER[e.image.key] for e in examples]
    pairs = {(e.group, number) for e, number in zip(examples, made["groups"].tolist())}
    assert len(pairs) == len({group for group, _ in pairs}) == len({number for _, number in pairs}) == 6
