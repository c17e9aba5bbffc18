"""Recall at 1, 5 and 10 in both directions, with an interval over groups.

Equation: R = 100 * (mean_k TR@k + mean_k IR@k) / 2, k in {1, 5, 10}. TR: a picture searches texts, IR: a text
searches pictures; a query hits at k when its best-ranked relevant item stands among the first k
(salesforce/ALBEF b9727e4, Retrieval.py:72-219, restated).
Departs: ties count by their expected value over random tie-breaking, where the released code lets memory order
decide. What is not on the ITM short-list never hits; there it shares rank with everything else at -100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from expunge.core.record import Better, Score
from expunge.tasks.gallery import Gallery
from expunge.tasks.intervals import bootstrap, by_group
from expunge.tasks.predictions import WORST, Predictions, ScoreName

AT = (1, 5, 10)


@dataclass(frozen=True)
class Recall:
    """Per-query hits (fractions where scores tie) of one gallery, and the group each query belongs to."""

    texts: np.ndarray  # [Qi, 3] a picture's search for texts: TR
    pictures: np.ndarray  # [Qt, 3] a text's search for pictures: IR
    picture_groups: tuple[str, ...]  # [Qi]
    text_groups: tuple[str, ...]  # [Qt]

    @property
    def queries(self) -> int:
        return len(self.texts) + len(self.pictures)

    @property
    def value(self) -> float:
        """R in per cent; NaN without queries."""
        if not len(self.texts) or not len(self.pictures):
            return float("nan")
        return float(50 * (self.texts.mean() + self.pictures.mean()))

    def table(self) -> dict[str, float]:
        """tr1, tr5, tr10, ir1, ir5, ir10 and r, in per cent."""
        names = [f"{side}{k}" for side in ("tr", "ir") for k in AT]
        both = [m.mean(0) if len(m) else np.full(3, np.nan) for m in (self.texts, self.pictures)]
        return dict(zip(names, (100 * np.concatenate(both)).tolist(), strict=True)) | {"r": self.value}

    def score(self, better: Better = "higher", *, seed: int = 0, replicates: int = 1_000) -> Score:
        """R with its 95 % interval; ``n`` counts queries, the interval resamples groups."""
        names = sorted(set(self.picture_groups) | set(self.text_groups))
        t_sum, t_n = by_group(self.picture_groups, names, self.texts.mean(1))
        p_sum, p_n = by_group(self.text_groups, names, self.pictures.mean(1))

        def statistic(drawn: np.ndarray) -> np.ndarray:
            return 50 * (drawn @ t_sum / (drawn @ t_n) + drawn @ p_sum / (drawn @ p_n))

        low, high = bootstrap(statistic, len(names), seed=seed, replicates=replicates)
        return Score(self.value, self.queries, low, high, better)


def recall(predictions: Predictions, gallery: Gallery, score: ScoreName | None = None) -> Recall:
    """Judge one gallery on stored scores, ranked as the model does unless ``score`` says otherwise."""
    board = predictions.board(gallery)
    relevant = board.relevant.numpy()
    sides = {
        "texts": relevant[board.asking_pictures.numpy()],
        "pictures": relevant[:, board.asking_texts.numpy()].T,
    }
    hits = [expected_hits(predictions.ranked(board, side, score).numpy(), true) for side, true in sides.items()]
    return Recall(hits[0], hits[1], board.picture_groups, board.text_groups)


def expected_hits(scores: np.ndarray, relevant: np.ndarray, at: Sequence[int] = AT) -> np.ndarray:
    """How often the best relevant item of each row is among the first k, over random orders of tied items.

    Args:
        scores: [Q, N], -inf for what was not short-listed, ``WORST`` for what was no number (neither ever hits).
        relevant: [Q, N] bool.

    Returns:
        [Q, len(at)] in [0, 1].
    """
    best = np.where(relevant, scores, -np.inf).max(axis=1, initial=-np.inf)[:, None]
    ahead = ((scores > best) & ~relevant).sum(1)
    tied = scores == best
    wrong, right = (tied & ~relevant).sum(1), (tied & relevant).sum(1)
    hits = np.zeros((len(scores), len(at)))
    for column, k in enumerate(at):
        # Of the block of equals, `room` places lie within the first k: all of them wrong with probability
        # C(wrong, room) / C(wrong + right, room), multiplied out place by place.
        room = k - ahead
        missed = np.ones(len(scores))
        for place in range(k):
            factor = np.maximum(wrong - place, 0) / np.maximum(wrong + right - place, 1)
            missed = np.where(place < room, missed * factor, missed)
        hits[:, column] = 1 - missed
    hits[best[:, 0] <= WORST / 2] = 0.0  # not short-listed, or no number: such items would tie among themselves
    return hits
