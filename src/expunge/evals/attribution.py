"""Looking inside: words that lost their match, who matches whom, where the model looks, where features lie.

Each function looks at one model and returns plain lists and numbers, so that before and after need not be in
memory together; ``word_shift`` and ``feature_map`` then join the two.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from expunge.core.run import Run
from expunge.core.text import plain
from expunge.core.types import Batch, Embeds, Example, Matches, batches
from expunge.evals.stopwords import STOP_WORDS
from expunge.tasks.encoding import encode, fuse_pairs, judging
from expunge.tasks.gallery import digest, group_of


@runtime_checkable
class Explains(Matches, Protocol):
    """A model that can say where in the picture its match score comes from."""

    def gradcam(self, batch: Batch, layer: int = -1) -> Tensor:
        """[B, N, h, w]: attention of fusion layer ``layer`` times its positive gradient, zero on padding."""
        ...


# ------------------------------------------------------------------------------------- words (Table 9)


def word_matches(model: Matches, examples: Iterable[Example], run: Run | None = None) -> list[dict[str, Any]]:
    """How well each picture matches each single word of its texts: {picture, word, match} with match in per cent.

    Words are those of ``core.text.plain``, stop words dropped; a word counts once per picture. The word alone is
    the text (methods.md 8.4, after Table 9 of the paper).
    """
    seen: dict[tuple[str, str], Example] = {}
    for e in examples:
        for word in plain(e.text).split():
            if word not in STOP_WORDS:
                seen.setdefault((digest(e.image.key), word), replace(e, text=word))
    if not seen:
        return []
    order = sorted(seen)
    asked = [seen[key] for key in order]
    encodings = encode(model, asked, run)
    chance = fuse_pairs(model, encodings, encodings.pairs(asked), run).probability
    return [{"picture": p, "word": w, "match": 100 * c} for (p, w), c in zip(order, chance.tolist(), strict=True)]


def word_shift(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], *, least: int = 2
) -> list[dict[str, Any]]:
    """Mean change of match per word, most lost first: {word, pictures, before, after, shift} in per cent.

    Words of fewer than ``least`` pictures are dropped: one picture says little about a word. Raises ValueError
    when the two were not asked the same.
    """
    keys = [[(row["picture"], row["word"]) for row in rows] for rows in (before, after)]
    if keys[0] != keys[1]:
        raise ValueError("before and after were not asked about the same pictures and words")
    pairs: dict[str, list[tuple[float, float]]] = {}
    for one, two in zip(before, after, strict=True):
        pairs.setdefault(one["word"], []).append((one["match"], two["match"]))
    rows = []
    for word, found in pairs.items():
        if len(found) >= least:
            was, now = (float(x) for x in np.mean(found, axis=0))
            rows.append({"word": word, "pictures": len(found), "before": was, "after": now, "shift": now - was})
    return sorted(rows, key=lambda row: (row["shift"], row["word"]))


# ----------------------------------------------------------------------------------- matching (Fig. 7a)


def matching_matrix(
    model: Matches, examples: Sequence[Example], run: Run | None = None, *, at_most: int = 40
) -> dict[str, Any]:
    """Match probability of every picture with every text of D_f: {groups, texts, matrix} (picture by text).

    One example per group, the first private one where there is one, else the first; ``at_most`` groups in order.
    The diagonal is what was to be forgotten.
    """
    chosen = _one_per_group(examples)[:at_most]
    encodings = encode(model, chosen, run)
    rows, columns = encodings.pairs(chosen).T
    pairs = torch.cartesian_prod(rows, columns).reshape(-1, 2)
    matrix = fuse_pairs(model, encodings, pairs, run).probability.reshape(len(chosen), len(chosen))
    return {"groups": [group_of(e) for e in chosen], "texts": [e.text for e in chosen], "matrix": matrix.tolist()}


def _one_per_group(examples: Iterable[Example]) -> list[Example]:
    groups: dict[str, list[Example]] = {}
    for e in examples:
        groups.setdefault(group_of(e), []).append(e)
    return [min(found, key=lambda e: e.kind != "private") for found in groups.values()]


# ----------------------------------------------------------------------------------- Grad-CAM (Fig. 7b)


def gradcam_maps(
    model: Matches, examples: Sequence[Example], *, layer: int = -1, batch: int = 16
) -> list[list[list[float]]] | None:
    """One map [h][w] per example, mean over its text tokens, scaled to a greatest value of 1; None if the model
    cannot explain itself. ``layer`` counts fusion layers: -1 is the last, the paper's; released code takes the third.
    """
    if not isinstance(model, Explains):
        return None
    maps: list[list[list[float]]] = []
    with judging(model):
        for chunk in batches(examples, batch):
            tensors = model.collate(chunk)
            cam = model.gradcam(tensors, layer).float().cpu()
            words = tensors["attention_mask"].sum(1).cpu()[:, None, None]
            cam = (cam.sum(1) / words).nan_to_num()
            maps.extend((cam / cam.amax((1, 2), keepdim=True).clamp(min=1e-12)).tolist())
    return maps


# -------------------------------------------------------------------------------------- t-SNE (Fig. 8)


def features(
    model: Embeds,
    forget: Sequence[Example],
    retain: Sequence[Example],
    run: Run | None = None,
    *,
    at_most: int = 60,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Projected picture and text features of D_f and of a sample of D_r: {split, side, group, kind, feature}.

    At most ``at_most`` examples per split, drawn by seed; a picture that several of them share stands once.
    """
    rows: list[dict[str, Any]] = []
    for name, examples in (("forget", forget), ("retain", retain)):
        rng = random.Random(f"features:{name}:{seed}")
        order = sorted(examples, key=lambda e: e.id)
        chosen = order if len(order) <= at_most else rng.sample(order, at_most)
        if not chosen:
            continue
        encodings = encode(model, chosen, run)
        shown: set[int] = set()
        for e, (row, column) in zip(chosen, encodings.pairs(chosen).tolist(), strict=True):
            mark = {"split": name, "group": group_of(e)}
            if row not in shown:
                shown.add(row)
                seen = encodings.images.feature[row].tolist()
                rows.append({**mark, "side": "image", "kind": None, "feature": seen})
            rows.append({**mark, "side": "text", "kind": e.kind, "feature": encodings.words.feature[column].tolist()})
    return rows


def feature_map(stages: Mapping[str, Sequence[Mapping[str, Any]]], *, seed: int = 0) -> list[dict[str, Any]]:
    """t-SNE of the features of several stages (before, after), fitted jointly so that places can be compared.

    Returns {stage, split, side, group, kind, x, y} per feature; empty with fewer than four of them. Perplexity is
    30 or a third of their number, whichever is less. Distances between far clusters mean nothing in t-SNE.
    """
    from sklearn.manifold import TSNE

    rows = [{"stage": stage, **row} for stage, found in stages.items() for row in found]
    if len(rows) < 4:
        return []
    x = np.nan_to_num(np.array([row["feature"] for row in rows], dtype=np.float64))
    perplexity = min(30.0, len(rows) / 3)
    # PCA needs as many features as it keeps and some spread; random starts do not.
    start = "pca" if np.ptp(x, axis=0).max() > 0 and x.shape[1] >= 2 else "random"
    spread = TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(x)
    kept = [{k: v for k, v in row.items() if k != "feature"} for row in rows]
    return [{**row, "x": float(a), "y": float(b)} for row, (a, b) in zip(kept, spread, strict=True)]
