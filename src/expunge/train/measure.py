"""How much a model still knows, quickly: for methods that search or stop by it. Never the score that is reported."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from expunge.core.types import Answers, Example, Fuses, batches
from expunge.train.pairs import joined, owner


@torch.no_grad()
def share_right(
    model: Fuses, asked: Sequence[Example], pool: Sequence[Example] = (), *, rivals: int = 7, seed: int = 0
) -> float:
    """Share in [0, 1] of ``asked`` that the model gets right; 0 for none asked. The same draws for the same seed.

    A model that chooses is right where its best score is the target's (examples without a target do not count). One
    that matches is right where a picture's own text has greater log odds of a match than ``rivals`` texts of other
    owners, drawn from ``asked`` and ``pool`` among those that are not known to be true of the picture; guessing gives
    1 / (1 + rivals).
    """
    if not asked:
        return 0.0
    before = model.module.training
    model.module.eval()
    try:
        if isinstance(model, Answers):
            return _chosen_right(model, asked)
        return _matched_right(model, asked, pool, rivals, random.Random(f"rivals:{seed}"))
    finally:
        model.module.train(before)


def _chosen_right(model: Answers, asked: Sequence[Example]) -> float:
    right = total = 0
    for some in batches(asked, 64):
        batch = model.collate(some)
        scores = model.choose(model.fuse(model.encode_images(batch), model.encode_texts(batch)), batch)
        known = batch["target"] >= 0
        right += int((scores.argmax(1) == batch["target"])[known].sum())
        total += int(known.sum())
    return right / max(total, 1)


def _matched_right(model: Fuses, asked: Sequence[Example], pool: Sequence[Example], rivals: int, rng) -> float:
    everyone = [*asked, *pool]
    listed: list[list[Example]] = []
    for e in asked:
        false = [o for o in everyone if owner(o) != owner(e) and not (o.meaning and e.described_by(o))]
        listed.append([e, *rng.sample(false, min(rivals, len(false)))])
    words = {e.text: e for row in listed for e in row}
    order = {text: i for i, text in enumerate(words)}
    # Texts borrow one picture: drawing it again for every text would cost more than reading it.
    borrowed = [replace(e, image=asked[0].image) for e in words.values()]
    texts = joined([model.encode_texts(model.collate(some)) for some in batches(borrowed, 128)])
    right = 0
    for start in range(0, len(asked), 32):
        rows = listed[start : start + 32]
        images = model.encode_images(model.collate([row[0] for row in rows]))
        pictures = torch.tensor([i for i, row in enumerate(rows) for _ in row])
        columns = torch.tensor([order[e.text] for row in rows for e in row])
        device = images.tokens.device
        logits = model.fuse(images.take(pictures.to(device)), texts.take(columns.to(device))).logits.float()
        odds = (logits[:, 1] - logits[:, 0]).cpu().split([len(row) for row in rows])
        right += sum(_wins(row) for row in odds)
    return right / max(len(asked), 1)


def _wins(odds: Tensor) -> bool:
    """Whether the first of [1 + rivals] is greater than all others; alone it must be above even odds."""
    return bool((odds[0] > odds[1:]).all()) if len(odds) > 1 else bool(odds[0] > 0)
