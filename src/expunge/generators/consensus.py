"""What the generated texts of a picture answer when a question is put to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from expunge.core.types import Example
from expunge.generators.quality import words


def answers(examples: Sequence[Example], texts: Sequence[Sequence[str]]) -> list[tuple[float, ...]]:
    """For each question the share that each of its choices has among the R_2 which speak of the matter.

    ``texts`` are the R_2 of each example. An R_2 speaks for a choice when it holds all content words of it. R_2 is
    generated from the picture alone, so those of all examples with the same picture are heard: a single one names two
    or three things and seldom the one that is asked about. All zeros where none speaks: nothing that can be seen
    answers the question.
    """
    heard: dict[str, list[set[str]]] = defaultdict(list)
    for e, own in zip(examples, texts, strict=True):
        heard[e.image.key] += map(words, own)
    shares = []
    for e in examples:
        wanted = [words(choice) for choice in e.choices]
        counts = [sum(bool(one) and one <= made for made in heard[e.image.key]) for one in wanted]
        shares.append(tuple(n / max(1, sum(counts)) for n in counts))
    return shares
