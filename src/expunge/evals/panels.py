"""What a person would look at: for everyone forgotten, what the model finds before, after and retrained.

Everything comes from stored predictions; no model is needed. Panels hold texts and picture keys of forgotten
examples: the caller decides whether they may be written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from expunge.core.groups import digest, group_of
from expunge.core.types import LABELS, Example, Kind
from expunge.evals.written import is_right
from expunge.tasks.answering import Writings
from expunge.tasks.choosing import Choices
from expunge.tasks.gallery import Gallery
from expunge.tasks.predictions import Predictions, Side

NO_ANSWER = "no answer"


def person_panels(
    stages: Mapping[str, Predictions], gallery: Gallery, *, top: int = 5, at_most: int | None = None
) -> list[dict[str, Any]]:
    """One panel per forgotten group, in the order of the gallery's queries.

    Args:
        stages: predictions by name (before, after, and oracle where there is one), all of this gallery.
        gallery: the one of ``r_forget``; its queries are the forgotten examples. With a ``kind`` only texts of
            that kind are asked.
        top: how many answers per question.

    Returns:
        per group {group, picture, texts, sentences}: ``picture`` is the picture's key; ``texts`` maps a stage to
        the best texts for the picture; ``sentences`` holds for one shared and one private sentence (or the first,
        where kinds are not known) {kind, text, pictures}, ``pictures`` mapping a stage to the best pictures. An
        answer is {text or picture, group, match, right}: match in per cent; right: it is true of the picture.

    Raises ValueError when some predictions do not cover the gallery.
    """
    pictures = {digest(e.image.key): e for e in gallery.examples}
    texts = {digest(e.text): e for e in reversed(gallery.candidates())}
    forgotten: dict[str, list[Example]] = {}
    for e in gallery.asking():
        forgotten.setdefault(group_of(e), []).append(e)
    answers = {stage: _Answers(found, gallery, pictures, texts, top) for stage, found in stages.items()}
    panels = []
    for group, examples in list(forgotten.items())[:at_most]:
        key = examples[0].image.key
        panels.append(
            {
                "group": group,
                "picture": key,
                "texts": {stage: found.texts_for(key) for stage, found in answers.items()},
                "sentences": [
                    {
                        "kind": e.kind,
                        "text": e.text,
                        "pictures": {stage: found.pictures_for(e.text) for stage, found in answers.items()},
                    }
                    for e in _shown(examples, gallery.kind)
                ],
            }
        )
    return panels


def answer_panels(
    stages: Mapping[str, Choices], forget: Sequence[Example], at_most: int | None = None
) -> list[dict[str, Any]]:
    """One panel per forgotten group: what it was asked, what is right, and what each stage chose.

    Returns per group {group, picture, asked}, ``asked`` holding {kind, text, right, answers}; ``answers`` maps a stage
    to {answer, chance, right}, chance in per cent; of scores that were not numbers there is no answer, and no chance.
    """
    panels: dict[str, dict[str, Any]] = {}
    for e in forget:
        panel = panels.setdefault(group_of(e), {"group": group_of(e), "picture": e.image.key, "asked": []})
        offered = e.choices or LABELS
        answers = {}
        for stage, choices in stages.items():
            (row,) = choices.rows([e])
            chances = choices.chances[row][: len(offered)]
            if chances.isnan().any():  # every score was broken: none is the best, whichever stands first
                answers[stage] = {"answer": NO_ANSWER, "chance": math.nan, "right": False}
                continue
            best = int(chances.argmax())
            answers[stage] = {
                "answer": offered[best],
                "chance": 100 * float(chances[best]),
                "right": best == int(choices.target[row]),
            }
        panel["asked"].append({"kind": e.kind, "text": e.text, "right": e.answer or e.label, "answers": answers})
    return list(panels.values())[:at_most]


def written_panels(
    stages: Mapping[str, Writings], forget: Sequence[Example], at_most: int | None = None
) -> list[dict[str, Any]]:
    """The same of a model that writes: what it wrote. ``picture`` is empty for somebody without one.

    ``chance`` is how likely the right answer is to the model, a token's worth, in per cent.
    """
    panels: dict[str, dict[str, Any]] = {}
    for e in forget:
        panel = panels.setdefault(group_of(e), {"group": group_of(e), "picture": "", "asked": []})
        panel["picture"] = panel["picture"] or e.image.key
        answers = {}
        for stage, writings in stages.items():
            mine = writings.take([e])
            chance = 100 * float(np.exp(-mine.right[0]))
            answers[stage] = {"answer": mine.texts[0], "chance": chance, "right": is_right(e, mine.texts[0])}
        panel["asked"].append({"kind": e.kind, "text": e.text, "right": e.answer, "answers": answers})
    return list(panels.values())[:at_most]


def _shown(examples: list[Example], kind: Kind | None) -> list[Example]:
    """The first shared and the first private sentence, or the first of all."""
    allowed = [e for e in examples if kind is None or e.kind == kind]
    firsts = [next((e for e in allowed if e.kind == k), None) for k in ("shared", "private")]
    return [e for e in firsts if e is not None] or allowed[:1]


class _Answers:
    """The ranked answers of one stage, looked up by what was asked."""

    def __init__(
        self, found: Predictions, gallery: Gallery, pictures: dict[str, Example], texts: dict[str, Example], top: int
    ):
        self.found, self.top = found, top
        self.board = found.board(gallery)
        self.ranked = {side: found.ranked(self.board, side) for side in ("texts", "pictures")}
        self.pictures = [pictures[found.pictures[i]] for i in self.board.pictures.tolist()]
        self.texts = [texts[found.texts[j]] for j in self.board.texts.tolist()]

    def texts_for(self, key: str) -> list[dict[str, Any]]:
        place = self._place(self.board.pictures, self.found.rows[digest(key)])
        query = torch.nonzero(self.board.asking_pictures == place)
        if not len(query):
            return []  # no text of the asked kind is true of it
        rows = []
        for spot in self._best("texts", int(query[0])):
            e = self.texts[spot]
            rows.append({"text": e.text, "group": group_of(e), "kind": e.kind, **self._judged(place, spot)})
        return rows

    def pictures_for(self, text: str) -> list[dict[str, Any]]:
        spot = self._place(self.board.texts, self.found.columns[digest(text)])
        query = int(torch.nonzero(self.board.asking_texts == spot)[0])
        rows = []
        for place in self._best("pictures", query):
            e = self.pictures[place]
            rows.append({"picture": e.image.key, "group": group_of(e), **self._judged(place, spot)})
        return rows

    def _place(self, within: torch.Tensor, index: int) -> int:
        return int(torch.nonzero(within == index)[0])

    def _best(self, side: Side, query: int) -> list[int]:
        scores = self.ranked[side][query]
        order = scores.argsort(descending=True, stable=True)[: self.top]
        return [i for i in order.tolist() if scores[i] > -torch.inf]

    def _judged(self, place: int, spot: int) -> dict[str, Any]:
        row, column = self.board.pictures[place], self.board.texts[spot]
        chance = float(self.found.probability[row, column].nan_to_num(0.0))
        return {"match": 100 * chance, "right": bool(self.board.relevant[place, spot])}
