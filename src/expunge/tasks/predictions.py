"""What a retrieval model answered, kept apart from the model: scores that any sub-gallery can be judged on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from expunge.tasks.gallery import Board, Gallery, lay_out

ScoreName = Literal["itm", "itm+itc"]
Side = Literal["texts", "pictures"]

WORST = -1e9
"""Stands for a score that is not a number: a diverged model must look bad, not stop the evaluation."""


@dataclass(frozen=True)
class Predictions:
    """Scores of I pictures against T texts, both named by digest and sorted by it.

    ``itm`` holds the match logit (index 1 of two) of every pair that some gallery needed and -inf elsewhere;
    ``probability`` the softmax of both logits, NaN elsewhere. Both are dense: 4 IT bytes each, 20 MB for
    Flickr30k's 1 000 x 5 000. ``broken`` counts scores that were not numbers.
    """

    pictures: tuple[str, ...]
    texts: tuple[str, ...]
    itc: Tensor  # [I, T] cosine
    itm: Tensor  # [I, T] logit
    probability: Tensor  # [I, T]
    k_test: int
    broken: int = 0
    score: ScoreName = "itm"  # how the model ranks its short-lists, where nobody asks for the other way

    @cached_property
    def rows(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.pictures)}

    @cached_property
    def columns(self) -> dict[str, int]:
        return {name: j for j, name in enumerate(self.texts)}

    def board(self, gallery: Gallery) -> Board:
        """The gallery as indices into these scores."""
        return lay_out(gallery, self.rows, self.columns)

    def ranked(self, board: Board, side: Side, score: ScoreName | None = None) -> Tensor:
        """Final scores, [Qi, T] when pictures search ``texts`` and [Qt, P] when texts search ``pictures``.

        The short-list is drawn again within this gallery, so a pair that another gallery had scored gains
        nothing: the result is what a run on this gallery alone gives. -inf off the short-list. Raises
        ``ValueError`` when a short-listed pair was never scored.
        """
        itc, itm = (_asked(m, board, side) for m in (self.itc, self.itm))
        listed = shortlist(itc, self.k_test)
        if bool(torch.isneginf(itm[listed]).any()):
            raise ValueError("this gallery was not among those predicted: some of its short-list has no ITM score")
        final = itm + itc if (score or self.score) == "itm+itc" else itm
        return torch.where(listed, final, -torch.inf)

    def save(self, path: str | Path) -> None:
        """One safetensors file; names are digests, so it holds no sample (short texts could be guessed)."""
        i, j = torch.nonzero(~torch.isneginf(self.itm), as_tuple=True)
        tensors = {
            "itc": self.itc,
            "pairs": torch.stack([i, j]),
            "itm": self.itm[i, j],
            "probability": self.probability[i, j],
        }
        names = {
            "pictures": self.pictures,
            "texts": self.texts,
            "k_test": self.k_test,
            "broken": self.broken,
            "score": self.score,
        }
        save_file({k: v.contiguous() for k, v in tensors.items()}, str(path), {"predictions": json.dumps(names)})

    @classmethod
    def load(cls, path: str | Path) -> Predictions:
        """Read what ``save`` wrote."""
        with safe_open(str(path), "pt") as file:
            names = json.loads(file.metadata()["predictions"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        i, j = tensors["pairs"]
        shape = tensors["itc"].shape
        return cls(
            tuple(names["pictures"]), tuple(names["texts"]), tensors["itc"],
            *scatter(shape, i, j, tensors["itm"], tensors["probability"]), names["k_test"], names["broken"],
            names.get("score", "itm"),
        )  # fmt: skip


def scatter(shape: torch.Size, i: Tensor, j: Tensor, itm: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
    """Scored pairs as the two dense matrices of ``Predictions``."""
    logits, chances = torch.full(shape, -torch.inf), torch.full(shape, torch.nan)
    logits[i, j], chances[i, j] = itm, probability
    return logits, chances


def shortlist(itc: Tensor, k_test: int) -> Tensor:
    """The ``min(k_test, N)`` best of every row of [Q, N], as a mask.

    Ties at the edge fall by digest, that is by chance but the same chance every time. (``topk`` breaks them by
    memory order, and fails when there are fewer candidates than k.)
    """
    k = min(k_test, itc.shape[1])
    best = itc.argsort(dim=1, descending=True, stable=True)[:, :k]
    return torch.zeros_like(itc, dtype=torch.bool).scatter_(1, best, True)


def needed(itc: Tensor, board: Board, k_test: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The (picture rows, text columns) that this gallery's two directions need scored."""
    inner = itc[board.pictures][:, board.texts]
    asking = board.asking_pictures
    i, j = torch.nonzero(shortlist(inner[asking], k_test), as_tuple=True)
    yield board.pictures[asking[i]], board.texts[j]
    asking = board.asking_texts.unique()
    j, i = torch.nonzero(shortlist(inner[:, asking].T, k_test), as_tuple=True)
    yield board.pictures[i], board.texts[asking[j]]


def _asked(matrix: Tensor, board: Board, side: Side) -> Tensor:
    """Rows are queries, columns candidates."""
    inner = matrix[board.pictures][:, board.texts]
    return inner[board.asking_pictures] if side == "texts" else inner[:, board.asking_texts].T
