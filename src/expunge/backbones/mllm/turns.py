"""What a chat model is asked about an example and what it should say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from expunge.core.types import DESCRIBE, LABELS, Example, Picture

JUDGE = "{} . is that so"
VERDICTS = dict(zip(LABELS, ("no", "maybe", "yes")))
"""How a label is said; in the order of ``LABELS``."""


@dataclass(frozen=True)
class Turn:
    """One question with its answer (None: not known), the answers to choose from, and the picture, if there is one."""

    question: str
    answer: str | None
    choices: tuple[str, ...]
    picture: Picture | None

    def answered(self, answer: str) -> Turn:
        """The same question with another answer."""
        return replace(self, answer=answer)


def turn_of(example: Example) -> Turn:
    """A question is asked as it is; a statement is asked to be judged; any other text is what a picture shows."""
    picture = example.image if example.pictured else None
    if example.question is not None:
        return Turn(example.question, example.answer, example.choices, picture)
    if example.label is not None:
        verdict = VERDICTS.get(example.label)
        return Turn(JUDGE.format(example.text), verdict, tuple(VERDICTS.values()), picture)
    return Turn(DESCRIBE, example.text, (), picture)


def conversations(turns: Sequence[Turn], answered: bool) -> list[list[dict]]:
    """The turns as transformers' chat templates read them; the answer is left out unless ``answered``."""
    return [_conversation(t, answered) for t in turns]


def _conversation(turn: Turn, answered: bool) -> list[dict]:
    asked: list[dict] = [{"type": "text", "text": turn.question}]
    if turn.picture is not None:
        asked.insert(0, {"type": "image"})
    said = [{"role": "user", "content": asked}]
    if answered:
        if not turn.answer:
            raise ValueError(f"the answer to {turn.question!r} is not known, so nothing can be learned from it")
        said.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
    return said
