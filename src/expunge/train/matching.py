"""What models that match pictures and texts are trained on: contrast (ITC) and match (ITM), within a batch.

Equation: ITC is the mean of both directions' cross-entropies of cos / temperature against the targets that share the
row's id, in equal parts. ITM is the cross-entropy over each pair, its text with a hard negative picture and its
picture with a hard negative text.
Papers: ALBEF (Li et al. 2021), BLIP (Li et al. 2022).
Checked against: salesforce/ALBEF b9727e4, models/model_retrieval.py:64-163; salesforce/BLIP, models/blip_retrieval.py.
Departs: no momentum features and no queue, so that nothing of the model moves. Pairs of one id are positives of one
another as in ALBEF (BLIP's released step overwrites those targets by the diagonal). All losses are per example [B], in
nats, so that weighting and auditing need no second formula.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.core.types import Batch, Matches


def loss(model: Matches, batch: Batch) -> Tensor:
    """ITC plus ITM of any matching model, [B]; ``batch["groups"]`` holds the ids. Changes nothing of the model."""
    images, texts = model.encode_images(batch), model.encode_texts(batch)
    ids, temperature = batch["groups"], model.temperature
    itc = contrast(images.feature, texts.feature, ids, temperature)
    similarity = (images.feature @ texts.feature.T / temperature).detach()
    prepared = model.prepare_images(images)
    return itc + match(lambda i, j: model.fuse(prepared[i], texts.take(j)).logits, similarity, ids)


def same(ids: Tensor, others: Tensor) -> Tensor:
    """Share of each row's target among ``others`` with its id: [B], [M] -> [B, M], rows summing to one."""
    equal = (ids[:, None] == others[None]).float()
    return equal / equal.sum(1, keepdim=True)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """[B, M] logits and target shares -> [B]."""
    return -(F.log_softmax(logits, dim=1) * targets).sum(1)


def contrast(image: Tensor, text: Tensor, ids: Tensor, temperature: Tensor) -> Tensor:
    """ITC within the batch: unit features [B, D], ids [B] -> [B]."""
    logits = image @ text.T / temperature
    targets = same(ids, ids)
    return (soft_cross_entropy(logits, targets) + soft_cross_entropy(logits.T, targets)) / 2


def hard_negatives(similarity: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """One other-id column per row, drawn in proportion to its softmaxed similarity.

    Returns indices [B] and validity [B]: a row whose whole batch shares its id has no negative, and its index
    (its own) must not be used.
    """
    weights = F.softmax(similarity.float(), dim=1) + 1e-4
    weights = weights.masked_fill(ids[:, None] == ids[None], 0.0)
    valid = weights.sum(1) > 0
    weights = torch.where(valid[:, None], weights, torch.eye(len(ids), device=weights.device))
    return torch.multinomial(weights, 1)[:, 0], valid


def match(logits: Callable[[Tensor, Tensor], Tensor], similarity: Tensor, ids: Tensor) -> Tensor:
    """ITM with one hard negative picture and one hard negative text each: [B].

    ``logits(i, j)`` fuses pictures i [M] of the batch with texts j [M] to [M, 2], index 1 = match; ``similarity`` is
    [B, B] image by text. The mean over the batch equals the official mean over 3B pairs when every row has its
    negatives.
    """
    with torch.no_grad():
        wrong_text, has_text = hard_negatives(similarity, ids)
        wrong_image, has_image = hard_negatives(similarity.T, ids)
    rows = torch.arange(len(ids), device=ids.device)
    scores = logits(torch.cat([rows, wrong_image, rows]), torch.cat([rows, rows, wrong_text]))
    labels = torch.cat([torch.ones_like(rows), torch.zeros_like(rows), torch.zeros_like(rows)])
    each = F.cross_entropy(scores.float(), labels, reduction="none")
    valid = torch.cat([torch.ones_like(has_image), has_image, has_text])
    return (each * valid).view(3, -1).sum(0) / 3
