"""BLIP for retrieval."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from expunge.backbones.blip import network
from expunge.backbones.blip.answers import BlipAnswers, BlipEntailment
from expunge.backbones.blip.model import BlipForMatching
from expunge.backbones.blip.towers import Towers
from expunge.core.types import Batch, Example, Task
from expunge.train import matching


class Blip(Towers):
    """Capabilities ``Embeds`` and ``Matches`` around a ``BlipForMatching`` and its processor."""

    provides = ("Embeds", "Fuses", "Matches")
    kind = BlipForMatching
    task: Task = "retrieval"

    def for_task(self, task: Task) -> Towers:
        """Where training on ``task`` starts: this model, or its encoders under a new head or decoder."""
        answering = {"multiple_choice": BlipAnswers, "entailment": BlipEntailment}
        return answering[task].from_matching(self) if task in answering else self

    def collate(self, examples: Sequence[Example]) -> Batch:
        made = self.processor.collate(examples, [e.text for e in examples])
        return {k: v.to(self.device) for k, v in made.items()}

    def loss(self, batch: Batch) -> Tensor:
        """ITC within the batch plus ITM, [B]. No momentum, no queue: nothing of the model changes."""
        return matching.loss(self, batch)

    def judge(self, states: Tensor) -> Tensor:
        return self.module.itm_head(states[:, 0])

    def parts(self) -> dict[str, nn.Module]:
        return {**super().parts(), "head": self.module.itm_head}

    def gradcam(self, batch: Batch, layer: int = -1) -> Tensor:
        """Where the match logit comes from: [B, N, h, w], a map for each text token, zero on padding.

        Attention of a layer's cross-attention times the positive part of its gradient, mean over heads, as for ALBEF
        (Grounding.py:74-139 of its released code); BLIP's own code has no such map.
        The head reads the first token alone: at the last layer (-1) the other tokens' maps are zero, and words' maps
        need an earlier one.
        """
        encoder, seen = self.module.text_encoder, []
        chosen = layer % len(encoder.encoder.layer)
        with torch.enable_grad():
            pixels = batch["pixels"].detach().requires_grad_(True)  # so that attention has a gradient at all
            held = self.prepare_images(self.encode_images({**batch, "pixels": pixels}))
            ids, mask = self.entry(batch["input_ids"]), batch["attention_mask"]
            states = network.fuse(encoder, ids, mask, held, seen={chosen: seen.append})
            (gradient,) = torch.autograd.grad(self.judge(states)[:, 1].sum(), seen[0])
        cam = (seen[0] * gradient.clamp(min=0)).detach()[..., 1:]  # drop the picture's CLS column
        side = int(cam.shape[-1] ** 0.5)
        return (cam.unflatten(-1, (side, side)) * mask[:, None, :, None, None]).mean(1)
