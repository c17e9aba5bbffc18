"""ALBEF (Li et al. 2021): picture and text encoders aligned before they are fused, for retrieval and for answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from expunge.backbones.albef import checkpoints, losses
from expunge.backbones.albef.answering import AlbefAnswers, AlbefEntailment
from expunge.backbones.albef.model import AlbefConfig, AlbefModel
from expunge.backbones.albef.pairs import AlbefPairs
from expunge.backbones.albef.processor import AlbefProcessor, number
from expunge.core.errors import ExpungeError
from expunge.core.types import Batch, Encoded, Example, Fused, Prepared, Tap, Task
from expunge.train import matching
from expunge.train.rows import by_rows

__all__ = ["Albef", "AlbefAnswers", "AlbefConfig", "AlbefEntailment", "AlbefModel", "AlbefProcessor"]


class Albef(AlbefPairs):
    """The backbone for retrieval: ``Embeds`` and ``Matches`` around an ``AlbefModel`` and its processor."""

    built = AlbefModel
    task: Task = "retrieval"

    def __init__(self, model: AlbefModel, processor: AlbefProcessor, name: str = "albef"):
        super().__init__(model, processor, name)

    def drop_training_state(self) -> None:
        self.module.drop_momentum()

    def for_task(self, task: Task) -> Albef | AlbefAnswers | AlbefEntailment:
        """Where training on ``task`` starts: this model, or its encoders under a new head or decoder."""
        answering = {"multiple_choice": AlbefAnswers, "entailment": AlbefEntailment}
        return answering[task].start_from(self) if task in answering else self

    # ------------------------------------------------------------------------------- backbone

    def collate(self, examples: Sequence[Example]) -> Batch:
        """As the processor, with ``ids`` [B]: the groups by numbers that are theirs in every batch, for the queue."""
        batch = self.processor.collate(examples)
        batch["ids"] = torch.tensor([number(e) for e in examples])
        return {k: v.to(self.device) for k, v in batch.items()}

    def loss(self, batch: Batch) -> Tensor:
        """ITC within the batch plus ITM, [B]. No momentum, no queue: nothing of the model changes."""
        return matching.loss(self, batch)

    def training_loss(self, batch: Batch, alpha: float | None = None) -> dict[str, Tensor]:
        """The released training step (momentum, queue): terms ``ita`` and ``itm``, means over the batch.

        Moves the momentum copies and queues; call ``module.start_momentum()`` first. Without ``ids`` in the batch its
        ``groups`` have to number whom they name alike in all batches.
        """
        alpha = self.module.config.soft_targets if alpha is None else alpha
        terms = losses.training_loss(self.module, batch, alpha)
        return {"ita": terms["ita"].mean(), "itm": terms["itm"].mean()}

    def pretraining_loss(self, batch: Batch, alpha: float) -> dict[str, Tensor]:
        """As ``training_loss``, with masked words on the first half of the batch (it costs a whole second pass)."""
        terms = losses.training_loss(self.module, batch, alpha)
        tokenizer = self.processor.tokenizer
        half = {k: v[: (len(v) + 1) // 2] for k, v in batch.items()}
        mlm = losses.masked_words(
            self.module, terms["image"][: len(half["groups"])], half, tokenizer.mask_token_id,
            max(tokenizer.all_special_ids) + 1,
        )  # fmt: skip
        return {"ita": terms["ita"].mean(), "itm": terms["itm"].mean(), "mlm": mlm.mean()}

    def parts(self) -> dict[str, nn.Module]:
        return {**super().parts(), "head": self.module.itm_head}

    # ------------------------------------------------------------------------------- Matches

    @by_rows
    def fuse(self, images: Encoded | Prepared, texts: Encoded, taps: Mapping[str, Tap] | None = None) -> Fused:
        """See ``Matches.fuse``. The ``image_in`` tap needs encoded images: prepared ones are past it."""
        states = self.fused_states(images, texts, taps)
        return Fused(states, self.module.itm_head(states[:, 0]), texts.mask)

    # ------------------------------------------------------------------------------- looking inside

    def gradcam(self, batch: Batch, layer: int = -1) -> Tensor:
        """Where the match logit comes from: [B, N, h, w], a map for each text token, zero on padding.

        Attention of a fusion layer's cross-attention times the positive part of its gradient, mean over heads
        (Grounding.py:74-139 of the released code). ``layer`` counts fusion layers; -1 is the last, as in the
        paper's words, the released notebook takes the third (8 of 6..11). The head reads CLS alone: at the last layer
        the other tokens' maps are zero, and words' maps need an earlier one.
        """
        attending = self.module.text_encoder.upper[layer].crossattention.self
        seen: list[Tensor] = []
        attending.seen = seen.append
        try:
            with torch.enable_grad():
                pixels = batch["pixels"].detach().requires_grad_(True)  # so that attention has a gradient at all
                logits = self.fuse(self.encode_images({**batch, "pixels": pixels}), self.encode_texts(batch)).logits
                attention = seen[-1]
                (gradient,) = torch.autograd.grad(logits[:, 1].sum(), attention)
        finally:
            attending.seen = None
        cam = (attention * gradient.clamp(min=0)).detach()[..., 1:]  # drop the picture's CLS column
        side = int(cam.shape[-1] ** 0.5)
        cam = cam.unflatten(-1, (side, side)) * batch["attention_mask"][:, None, :, None, None]
        return cam.mean(1)


KINDS = (Albef, AlbefAnswers, AlbefEntailment)


def load(source: str | Path) -> Albef | AlbefAnswers | AlbefEntailment:
    """A saved folder or a released checkpoint; what it holds decides the class."""
    source = Path(source)
    if source.is_dir():
        told = AlbefConfig.get_config_dict(str(source), local_files_only=True)[0].get("model_type")
        for kind in KINDS:
            if kind.built.config_class.model_type == told:
                return kind.from_pretrained(source)
        raise ExpungeError(f"{source} holds a model of type {told!r}, which is no ALBEF.")
    model = checkpoints.read_official(source)
    return next(kind for kind in KINDS if isinstance(model, kind.built)).around(model, source)
