"""Image-text retrieval in both directions: cosine short-list, then the match score decides.

Equation: per query the k = min(k_test, N) candidates of greatest cosine of the projected CLS; their order is the
ITM logit at index 1 (match), or ITM logit + cosine (``score="itm+itc"``, as BLIP and LAVIS do).
Paper: ALBEF; protocol of salesforce/ALBEF b9727e4, Retrieval.py:72-219, restated.
Checked against: the plain loop (``naive=True``), which fuses every pair from the encoded image, direction by
direction and query by query as the released code does.
Departs: every image's keys and values for the fusion layers are computed once and reused, and a pair that is
short-listed in several places is scored once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from expunge.core.run import Run
from expunge.core.types import Example, Matches
from expunge.tasks.encoding import Encodings, Precision, encode, fuse_pairs, judging, take
from expunge.tasks.gallery import Gallery, lay_out
from expunge.tasks.predictions import WORST, Predictions, needed, scatter


def predict(
    model: Matches,
    galleries: Sequence[Gallery],
    run: Run | None = None,
    *,
    k_test: int = 16,
    batch: int = 64,
    pair_batch: int = 256,
    naive: bool = False,
    precision: Precision = "float32",
    encodings: Encodings | None = None,
) -> Predictions:
    """Score what every gallery needs in one pass over the model.

    Args:
        galleries: all that will be judged; short-lists are drawn per gallery and their union is scored.
        k_test: length of a short-list; galleries smaller than that are reranked whole.
        naive: fuse without prepared images, one query at a time (slow; the reference for tests and benchmark).
        precision: see ``encoding.judging``; the default refuses half-precision weights.
        encodings: of at least the galleries' examples, if they exist already.

    Raises:
        ValueError: no gallery, ``k_test`` below 1, or ``encodings`` that lack a picture or text.
        TypeError: weights that are not float32, unless ``precision="model"``.
    """
    if not galleries:
        raise ValueError("nothing to predict: no gallery was given")
    if k_test < 1:
        raise ValueError(f"k_test must be at least 1, not {k_test}")
    if encodings is None:
        encodings = encode(model, everyone(galleries), run, batch=batch, precision=precision)
    itc = (encodings.images.feature @ encodings.words.feature.T).float().cpu()
    broken = int((~itc.isfinite()).sum())
    itc = itc.nan_to_num(nan=-2.0, posinf=-2.0, neginf=-2.0)
    boards = [lay_out(gallery, encodings.rows, encodings.columns) for gallery in galleries]
    wanted = [pair for board in boards for pair in needed(itc, board, k_test)]
    if naive:
        pairs, logits = _one_query_at_a_time(model, encodings, wanted, precision)
    else:
        asked = torch.zeros(itc.shape, dtype=torch.bool)
        for rows, columns in wanted:
            asked[rows, columns] = True
        pairs = torch.nonzero(asked)
        logits = fuse_pairs(model, encodings, pairs, run, pair_batch=pair_batch, precision=precision).logits
    broken += int((~logits.isfinite()).any(1).sum())
    itm = logits[:, 1].nan_to_num(nan=WORST, posinf=WORST, neginf=WORST)
    chance = logits.softmax(-1)[:, 1]
    dense = scatter(itc.shape, pairs[:, 0], pairs[:, 1], itm, chance)
    ranking = model.traits.extras.get("score", "itm")
    return Predictions(encodings.pictures, encodings.texts, itc, *dense, k_test, broken, ranking)


def everyone(galleries: Iterable[Gallery]) -> tuple[Example, ...]:
    """All examples of some galleries."""
    return tuple(e for gallery in galleries for e in gallery.examples)


def _one_query_at_a_time(
    model: Matches, encodings: Encodings, wanted: Sequence[tuple[Tensor, Tensor]], precision: Precision
) -> tuple[Tensor, Tensor]:
    """The plain loop: pairs [M, 2] and logits [M, 2]; every short-list goes through the whole fused encoder."""
    pairs, logits = [], []
    device = encodings.images.tokens.device
    with judging(model, precision):
        for side, (rows, columns) in enumerate(wanted):
            queries = rows if side % 2 == 0 else columns
            for query in queries.unique():
                listed = queries == query
                i, j = rows[listed], columns[listed]
                images = take(encodings.images, i.to(device))
                logits.append(model.fuse(images, take(encodings.words, j.to(device))).logits.float().cpu())
                pairs.append(torch.stack([i, j], dim=1))
    return torch.cat(pairs), torch.cat(logits)
