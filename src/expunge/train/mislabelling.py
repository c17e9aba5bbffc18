"""Examples with an answer that is wrong: what random-label methods teach about the forgotten."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from expunge.core.types import LABELS, Example
from expunge.train.pairs import owner, with_strange_texts


def mislabelled(examples: Sequence[Example], spare: Sequence[Example], rng: random.Random) -> list[Example]:
    """Each example with another choice, another label, a wrong answer, or another picture's text; never its own.

    A wrong answer is one of ``perturbed`` where there are any, else another owner's answer to a question of the same
    form, from ``examples`` or ``spare``. Raises ValueError where none is known.
    """
    told = [e for e in examples if _is_caption(e)]
    strange = iter(with_strange_texts(told, list(filter(_is_caption, spare)), rng) if told else ())
    return [next(strange) if _is_caption(e) else _wrong(e, [*examples, *spare], rng) for e in examples]


def _is_caption(example: Example) -> bool:
    return example.question is None and example.label is None


def _wrong(example: Example, others: Sequence[Example], rng: random.Random) -> Example:
    if example.label is not None:
        return replace(example, label=rng.choice([label for label in LABELS if label != example.label]))
    answers = [one for one in example.choices or example.perturbed if one != example.answer]
    if not answers:
        mine = owner(example)
        answers = [o.answer for o in others if o.form == example.form and o.answer not in (None, example.answer)
                   and owner(o) != mine]  # fmt: skip
    if not answers:
        raise ValueError(f"no wrong answer is known for {example.id}: there is no other question of its form")
    return replace(example, answer=rng.choice(answers))
