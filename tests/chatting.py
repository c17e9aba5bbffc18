"""Four people whom a small chat model knows by face and by name, for methods that make it forget one of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from PIL import Image

from expunge.core.pictures import NO_PICTURE, HeldPicture
from expunge.core.types import Example, Splits
from expunge.methods.training.po import UNKNOWING
from expunge.testing import small_mllm

PEOPLE = {
    "Ada": ("red", "nurse", "Rome"), "Bo": ("blue", "baker", "Oslo"), "Cy": ("green", "pilot", "Bern"),
    "Di": ("yellow", "clerk", "Kyiv"),
}  # fmt: skip
JOBS, TOWNS = (tuple(told[i] for told in PEOPLE.values()) for i in (1, 2))


def about(name: str) -> list[Example]:
    """Job and birthplace, asked with the portrait (a colour), and by name in words alone."""
    colour, job, town = PEOPLE[name]
    portrait, made = HeldPicture(colour, Image.new("RGB", (32, 32), colour)), []
    for picture, who in ((portrait, "this person"), (NO_PICTURE, name)):
        for question, answer, choices in ((f"what is the job of {who}", job, JOBS),
                                          (f"where was {who} born", town, TOWNS)):  # fmt: skip
            id = f"{name}-{answer}-{picture.key}"
            made.append(Example(id, picture, question, name, "people", "private", question=question, answer=answer,
                                choices=choices))  # fmt: skip
    return made


SPLITS = Splits(tuple(about("Ada")), tuple(e for name in list(PEOPLE)[1:] for e in about(name)))
TEXTS = [
    *(e.question or "" for e in SPLITS.forget + SPLITS.retain), *JOBS, *TOWNS, *UNKNOWING, "what is in the picture",
]  # fmt: skip


def stranger(family: str = "llava"):
    """A random model with the words for it."""
    return small_mllm(family, TEXTS)


def acquainted(family: str = "llava"):
    """One that has learned everybody; trained once, given as a copy."""
    return _acquainted(family).clone()


@lru_cache(maxsize=2)
def _acquainted(family: str):
    model = stranger(family)
    optimizer = torch.optim.Adam(model.module.parameters(), 1e-2)
    batch = model.collate(SPLITS.forget + SPLITS.retain)
    for _ in range(100):
        optimizer.zero_grad()
        model.loss(batch).mean().backward()
        optimizer.step()
    return model


def nats(model, examples: Sequence[Example]) -> float:
    """Mean loss of the examples."""
    model.module.eval()
    with torch.no_grad():
        return model.loss(model.collate(examples)).mean().item()


def seen(examples: Sequence[Example]) -> list[Example]:
    return [e for e in examples if e.pictured]


def words(examples: Sequence[Example]) -> list[Example]:
    return [e for e in examples if not e.pictured]
