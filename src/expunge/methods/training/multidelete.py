"""Make the forgotten pictures and texts as strange to each other as any two, and hold everything else still.

Equation: L = L_md + L_multi + L_uni, minimised, f the frozen original, f' the model:
    L_md     retrieval: MSE(I' T'^T, I (T^pi)^T), counted for both directions; and MSE(h'(x, t), h(x, t^pi))
             choosing:  MSE(h'(x, t), h(x, t^pi))
    L_multi  MSE(h'(x_r, t_r), h(x_r, t_r))
    L_uni    retrieval: MSE of the projections I' with I and T' with T; choosing: MSE of the encoders' tokens
Symbols: (x, t) pairs of D_f [B], (x_r, t_r) as many of D_r; I, T [B, D] unit projections; h [B, d] fused CLS;
    t^pi the texts of other pictures of the batch.
Paper: Cheng and Amiri, "MultiDelete for Multimodal Machine Unlearning" (ECCV 2024); comparison of the paper's §5.
Checked against: CLU-UML/MultiDelete 4b0bfd3, vl_unlearn/task_unlearn.py:69-130 (retrieval), 206-290 (choosing) and
    runner_unlearn.py (10 epochs, AdamW 1e-5, one batch of D_r beside each of D_f), as restated in notes on it.
Departs: (1) t^pi has no fixed point and comes from another person's or picture's text wherever there is one; the code
    permutes freely, so "strangers" may be the true pair. A batch that knows one picture only borrows texts of its D_r
    batch. (2) For retrieval the code decouples similarities only, the paper the output of the fusion module: ALBEF
    ranks by the fused score, so ``decouple`` asks for both by default. (3) The two directions' matrices are each
    other's transpose, so their sum is twice one. (4) L_uni covers both modalities as in the paper; the code has
    pictures only (``unimodal=image``). (5) lr and least number of steps suit the embedded models (1e-5 over 10 epochs
    of thousands of pairs in the source). (6) the switches are options, not substrings of a name.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.core.run import Run
from expunge.core.types import Answers, Encoded, Example, Fuses, Method, Splits, Work
from expunge.train.fit import Schedule, fit
from expunge.train.pairs import with_strange_texts
from expunge.train.reference import reference
from expunge.train.resuming import Fields


@dataclass(frozen=True)
class MultiDelete(Method[Fuses]):
    by_task: ClassVar[Mapping[str, Mapping[str, Any]]] = {"multiple_choice": {"lr": 6e-4}, "entailment": {"lr": 1e-4}}
    copies: ClassVar[Mapping[str, float]] = {"gradients": 1, "moments": 2, "references": 1}
    lora: ClassVar[bool] = True
    epochs: int = 10  # passes over the forget pairs
    least_steps: int = 30  # more epochs where the forget set is so small that it would be seen in fewer steps
    most_steps: int = 400  # fewer where it is so large that it would be seen in more; 0: never
    lr: float = 3e-5  # AdamW's peak
    batch: int = 16  # forget pairs per step, and as many retained ones
    near: float = 0.5  # share of the retained pairs from the forgotten pairs' own source
    decoupling: bool = True  # L_md
    decouple: Literal["both", "similarity", "fused"] = "both"  # what of retrieval; models that choose: fused
    multimodal: bool = True  # L_multi
    unimodal: Literal["both", "image", "off"] = "both"  # L_uni

    def unlearn(self, model: Fuses, splits: Splits, run: Run) -> Fuses:
        eraser = Eraser(self, model, run.seed, splits.forget)
        fit(
            model,
            eraser.terms,
            splits,
            run,
            self.schedule,
            what="decoupling (MultiDelete)",
            state=Fields(eraser, "rng"),
        )
        return model

    @property
    def schedule(self) -> Schedule:
        return Schedule(
            self.epochs, self.lr, self.batch, retain_ratio=1.0, near=self.near, least_steps=self.least_steps,
            most_steps=self.most_steps,
        )  # fmt: skip

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        # A forget and a retained pair are trained on, and the original reads both.
        return self.schedule.work(forget, 2 + 2 / 3)


class Eraser:
    """The three losses against the frozen original."""

    def __init__(self, options: MultiDelete, model: Fuses, seed: int, spare: Sequence[Example] = ()):
        self.spare = spare  # whose texts are borrowed where a step has no retained pairs
        self.options, self.model, self.original = options, model, reference(model)
        self.rng = random.Random(f"multidelete:{seed}")
        self.chooses = isinstance(model, Answers)

    def terms(self, forget: Sequence[Example], retain: Sequence[Example]) -> dict[str, Tensor]:
        o, model = self.options, self.model
        batch = model.collate(forget)
        image, text = model.encode_images(batch), model.encode_texts(batch)
        with torch.no_grad():
            image_0, text_0 = self.original.encode_images(batch), self.original.encode_texts(batch)
        terms: dict[str, Tensor] = {}
        if o.decoupling:
            strange = model.collate(with_strange_texts(forget, retain or self.spare, self.rng))
            with torch.no_grad():
                strange_text = self.original.encode_texts(strange)
            if self.chooses or o.decouple != "similarity":
                with torch.no_grad():
                    target = self.original.fuse(image_0, strange_text).states[:, 0]
                terms["md_fused"] = F.mse_loss(model.fuse(image, text).states[:, 0], target)
            if not self.chooses and o.decouple != "fused":
                wanted = image_0.feature @ strange_text.feature.T
                terms["md"] = 2 * F.mse_loss(image.feature @ text.feature.T, wanted)
        if o.multimodal and retain:
            terms["multi"] = self._held(model.collate(retain))
        if o.unimodal != "off":
            terms["uni"] = self._apart(image, image_0)
            if o.unimodal == "both":
                terms["uni"] = terms["uni"] + self._apart(text, text_0)
        return terms

    def _held(self, batch: dict) -> Tensor:
        """Mean squared difference of the fused CLS on retained pairs."""
        with torch.no_grad():
            target = fused(self.original, batch)
        return F.mse_loss(fused(self.model, batch), target)

    def _apart(self, now: Encoded, then: Encoded) -> Tensor:
        """Mean squared difference of one encoder's output: projections, or tokens where the model chooses."""
        if not self.chooses:
            return F.mse_loss(now.feature, then.feature)
        kept = now.mask.bool()
        return F.mse_loss(now.tokens[kept], then.tokens[kept])


def fused(model: Fuses, batch: dict) -> Tensor:
    """Fused CLS of the pairs of a batch, [B, d]."""
    return model.fuse(model.encode_images(batch), model.encode_texts(batch)).states[:, 0]
