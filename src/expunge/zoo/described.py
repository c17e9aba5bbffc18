"""What sentences about the embedded worlds state, and whether it is true of a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from expunge.core.types import Example
from expunge.data.worlds import compositions
from expunge.data.worlds.claims import portrait_claims, scene_claims

Written = tuple[str, Example]  # a sentence and an example of the picture it was written about


def portrait_hits(written: Sequence[Written]) -> list[bool]:
    """One entry per attribute stated: whether it is true."""
    return [claim in example.facts for text, example in written for claim in sorted(portrait_claims(text))]


def scene_hits(written: Sequence[Written]) -> list[bool]:
    """One entry per thing or ground stated: whether it is there."""
    return [claim in example.facts for text, example in written for claim in sorted(scene_claims(text))]


def all_true(written: Sequence[Written], hits: Callable[[Sequence[Written]], list[bool]]) -> list[bool]:
    """One entry per sentence: whether it states something and nothing false."""
    return [bool(found := hits([pair])) and all(found) for pair in written]


def visible(example: Example) -> set[str]:
    """What can be seen on the picture of ``example``: its attributes, and which thing stands where."""
    keys = {fact for fact in example.facts if "=" in fact}
    for relation in compositions.RELATIONS:
        for fact in example.facts:
            if f" {relation} " in fact:
                first, second = fact.split(f" {relation} ")
                keys |= {f"first {relation}={first}", f"second {relation}={second}"}
    return keys


class Facts:
    """All that can be seen in a set of examples, as the outputs of a linear head."""

    def __init__(self, examples: Iterable[Example]) -> None:
        self._of_picture: dict[str, set[str]] = {}
        for example in examples:
            if example.image.key not in self._of_picture:
                self._of_picture[example.image.key] = visible(example)
        self.keys = sorted(set().union(*self._of_picture.values()))
        self.place = {key: i for i, key in enumerate(self.keys)}

    def targets(self, examples: Sequence[Example]) -> Tensor:
        """1 where a fact holds, [B, keys]."""
        holds = torch.zeros(len(examples), len(self.keys))
        for i, example in enumerate(examples):
            seen = self._of_picture.get(example.image.key) or visible(example)
            holds[i, [self.place[key] for key in seen if key in self.place]] = 1
        return holds

    def loss(self, read: Tensor, examples: Sequence[Example]) -> Tensor:
        """Binary cross-entropy of the logits ``read`` [B, keys], mean."""
        return nn.functional.binary_cross_entropy_with_logits(read, self.targets(examples).to(read.device))
