"""What ALBEF is trained on as released: contrast (ITC) with a queue, match (ITM) and masked words (MLM).

What any matching model shares, without momentum and queue, is in ``train.matching``. Checked against salesforce/ALBEF
b9727e4: models/model_retrieval.py:64-163 and models/model_pretrain.py. All losses are per example [B], in nats, so
that weighting and auditing need no second formula.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.backbones.albef.model import AlbefModel
from expunge.train import matching


def contrast_with_queue(
    model: AlbefModel, image: Tensor, text: Tensor, image_m: Tensor, text_m: Tensor, ids: Tensor, alpha: float
) -> Tensor:
    """ITC against momentum features and queue, with targets softened by the momentum model: [B]."""
    images = torch.cat([image_m.T, model.image_queue.clone()], dim=1)  # [D, B + Q]
    texts = torch.cat([text_m.T, model.text_queue.clone()], dim=1)
    targets = matching.same(ids, torch.cat([ids, model.idx_queue[0].to(ids)]))
    with torch.no_grad():
        soft_i = alpha * F.softmax(image_m @ texts / model.temp, dim=1) + (1 - alpha) * targets
        soft_t = alpha * F.softmax(text_m @ images / model.temp, dim=1) + (1 - alpha) * targets
    to_text = matching.soft_cross_entropy(image @ texts / model.temp, soft_i)
    to_image = matching.soft_cross_entropy(text @ images / model.temp, soft_t)
    return (to_text + to_image) / 2


def match(model: AlbefModel, image: Tensor, text: Tensor, mask: Tensor, similarity: Tensor, ids: Tensor) -> Tensor:
    """ITM of encoder outputs ``image`` [B, L, d] and ``text`` [B, N, d] (``matching.match``): [B]."""
    encoder = model.text_encoder
    keys_values = encoder.image_keys_values(image)

    def logits(pictures: Tensor, texts: Tensor) -> Tensor:
        states = encoder.fuse(text[texts], mask[texts], [(k[pictures], v[pictures]) for k, v in keys_values])
        return model.itm_head(states[:, 0])

    return matching.match(logits, similarity, ids)


def masked_words(
    model: AlbefModel, image: Tensor, batch: dict, mask_id: int, special: int, rate: float = 0.15
) -> Tensor:
    """MLM on fused states, BERT's 80/10/10 rule: mean over masked words, one number per example [B].

    Ids below ``special`` are never masked.
    """
    ids, mask = batch["input_ids"], batch["attention_mask"]
    chosen = (torch.rand(ids.shape, device=ids.device) < rate) & mask.bool() & (ids >= special)
    lot = torch.rand(ids.shape, device=ids.device)
    noise = torch.randint(special, model.config.vocabulary, ids.shape, device=ids.device)
    inputs = torch.where(chosen & (lot < 0.8), torch.full_like(ids, mask_id), ids)
    inputs = torch.where(chosen & (lot >= 0.9), noise, inputs)
    text = model.text_encoder.read(inputs, mask)
    states = model.text_encoder.fuse(text, mask, model.text_encoder.image_keys_values(image))
    where = chosen.nonzero()
    loss = F.cross_entropy(model.mlm_head(states[chosen]).float(), ids[chosen], reduction="none")
    summed = torch.zeros(len(ids), device=ids.device).index_add(0, where[:, 0], loss)
    return summed / chosen.sum(1).clamp(min=1)


def training_loss(model: AlbefModel, batch: dict, alpha: float) -> dict[str, Tensor]:
    """One step of training as released: momentum moves, ITC with queue, ITM; the queues take the batch in.

    Changes the momentum copies and the queues, so unlearning never calls it.
    """
    image, image_feature = model.image_tokens(batch["pixels"])
    text, text_feature = model.text_tokens(batch["input_ids"], batch["attention_mask"])
    with torch.no_grad():
        model.move_momentum()
        _, image_m = model.image_tokens(batch["pixels"], momentum=True)
        _, text_m = model.text_tokens(batch["input_ids"], batch["attention_mask"], momentum=True)
    # The trap: groups are counted anew in every batch, and the queue would take strangers for the same person.
    ids = batch.get("ids", batch["groups"])
    ita = contrast_with_queue(model, image_feature, text_feature, image_m, text_m, ids, alpha)
    model.enqueue(image_m, text_m, ids)
    similarity = (image_feature @ text_feature.T / model.temp).detach()
    itm = match(model, image, text, batch["attention_mask"], similarity, ids)
    return {"ita": ita, "itm": itm, "image": image}
