"""Looking inside: words that lost their match, who matches whom, where the model looks, where features lie.

Each function looks at one model and returns plain lists and numbers, so that before and after need not be in
memory together; ``evals.joining`` then joins the two.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from expunge.core.groups import digest, group_of
from expunge.core.run import Run
from expunge.core.stopwords import STOP_WORDS
from expunge.core.text import plain
from expunge.core.types import Batch, Embeds, Example, Matches, batches
from expunge.generators.quality import told_words
from expunge.tasks.encoding import encode, fuse_pairs, judging


@runtime_checkable
class Explains(Matches, Protocol):
    """A model that can say where in the picture its match score comes from."""

    def gradcam(self, batch: Batch, layer: int = -1) -> Tensor:
        """[B, N, h, w]: attention of fusion layer ``layer`` times its positive gradient, zero on padding.

        The match score reads CLS alone, so at the last layer (-1) every other token's map is zero: there is one map
        for the whole text. Words have maps of their own at an earlier layer, where they still reach CLS.
        """
        ...


# ------------------------------------------------------------------------------------- words (Table 9)


def word_matches(model: Matches, examples: Iterable[Example], run: Run | None = None) -> list[dict[str, Any]]:
    """How well each picture matches each single word of its texts: {picture, word, kind, match}, match in per cent.

    Words are those of ``core.text.plain``, stop words dropped; a word counts once per picture. The word alone is
    the text (methods.md 8.4, after Table 9 of the paper). ``kind`` is ``told`` for the words of private sentences that
    no shared one of their group holds (``quality.told_words``), else ``seen``: by the data, not by what became of them.
    """
    examples = list(examples)
    told = told_words(examples)
    found: dict[tuple[str, str], Example] = {}
    secret: set[tuple[str, str]] = set()
    for e in examples:
        for word in plain(e.text).split():
            if word not in STOP_WORDS:
                key = digest(e.image.key), word
                found.setdefault(key, replace(e, text=word))
                if word in told.get(e.id, ()):
                    secret.add(key)
    if not found:
        return []
    order = sorted(found)
    asked = [found[key] for key in order]
    encodings = encode(model, asked, run)
    chance = fuse_pairs(model, encodings, encodings.pairs(asked), run).probability.tolist()
    return [
        {"picture": key[0], "word": key[1], "kind": "told" if key in secret else "seen", "match": 100 * c}
        for key, c in zip(order, chance, strict=True)
    ]


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
    """One map [h][w] per example, summed over its text tokens and scaled to a greatest value of 1 (all zero where no
    gradient is positive); None if the model cannot explain itself.

    ``layer`` counts fusion layers: -1 is the last, the paper's, where the sum is the map of CLS alone (see
    ``Explains.gradcam``); released code takes the third, where every token adds its own.
    """
    if not isinstance(model, Explains):
        return None
    maps: list[list[list[float]]] = []
    with judging(model):
        for chunk in batches(examples, batch):
            cam = model.gradcam(model.collate(chunk), layer).float().cpu().sum(1).nan_to_num()
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
        chosen = _some(name, examples, at_most, seed)
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


def pair_cosines(
    model: Embeds,
    forget: Sequence[Example],
    retain: Sequence[Example],
    run: Run | None = None,
    *,
    at_most: int = 300,
    seed: int = 0,
) -> dict[str, list[tuple[str, float]]]:
    """How near true pairs are in the space that the map draws: (group, cosine) of every pair of D_f and of D_r, and for
    each pair of D_f the mean over its picture with every text of another group (``strangers``). At most ``at_most``
    pairs a split, drawn by seed.
    """
    found: dict[str, list[tuple[str, float]]] = {}
    for name, examples in (("forget", forget), ("retain", retain)):
        chosen = _some(name, examples, at_most, seed)
        if not chosen:
            continue
        encodings = encode(model, chosen, run)
        rows, columns = encodings.pairs(chosen).T
        pictures, texts = encodings.images.feature[rows], encodings.words.feature[columns]
        groups = [group_of(e) for e in chosen]
        found[name] = list(zip(groups, (pictures * texts).sum(-1).tolist(), strict=True))
        if name == "forget" and len(set(groups)) > 1:
            # All of them: in an order of ids the next stranger's text is the same kind of sentence every time.
            others = torch.tensor([[one != other for other in groups] for one in groups], device=texts.device)
            apart = (pictures @ texts.T * others).sum(1) / others.sum(1)
            found["strangers"] = list(zip(groups, apart.tolist(), strict=True))
    return found


def _some(name: str, examples: Sequence[Example], at_most: int, seed: int) -> list[Example]:
    """At most so many of them, in the order of their ids or drawn by seed."""
    order = sorted(examples, key=lambda e: e.id)
    return order if len(order) <= at_most else random.Random(f"features:{name}:{seed}").sample(order, at_most)
