"""BLIP for questions with given answers, and for entailment.

Equation: the score of answer a is the decoder's log-likelihood, sum over its tokens after [DEC] of log p(a_t | a_<t,
question, picture); training minimises the same negated, with label smoothing.
Paper: BLIP (Li et al. 2022); ``rank_answers`` is its released inference.
Checked against: salesforce/BLIP 056a169, models/blip_vqa.py (numbers in tests/backbones/test_blip_parity.py).
Departs: (1) ``choose`` scores every answer that an example offers, without smoothing; the released ranking
short-lists a fixed answer list by the first token and smooths scores, too. (2) A released question-answering model
has no projections; its features are the two CLS states. Grown from a retrieval model (``from_matching``) it keeps that
model's, so that cosines mean what they meant there. (3) Such a model's decoder starts from the text encoder, where
the released one starts from BLIP's pretrained captioner. (4) There is no official BLIP for entailment; the head is
ALBEF's, on the fused first token.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.backbones.blip import network
from expunge.backbones.blip.model import BlipForAnswers, BlipForEntailment
from expunge.backbones.blip.towers import Towers
from expunge.core.errors import ExpungeError
from expunge.core.types import LABELS, Batch, Example, Fused, Prepared, Task
from expunge.train.rows import by_rows

IGNORED = -100


class Grown(Towers):
    """A model that takes its encoders from a retrieval model."""

    task: Task

    def for_task(self, task: Task) -> Self:
        """This model, where it was made for ``task``; ExpungeError otherwise."""
        if task != self.task:
            raise ExpungeError(f"{self.traits.name} was made for {self.task}, not for {task}.")
        return self

    @classmethod
    def from_matching(cls, blip: Towers, seed: int = 0) -> Self:
        """Encoders, projections and temperature of ``blip``; what it lacks is drawn from ``seed``."""
        config = copy.deepcopy(blip.module.config)
        config.projected, config.queue, config.architectures = True, 0, [cls.kind.__name__]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = cls.kind(config)
        held = {k: v for k, v in blip.module.state_dict().items() if k in module.state_dict()}
        module.load_state_dict(held, strict=False)
        made = cls(module.to(blip.device).eval(), blip.processor, blip.traits.name.removesuffix(".pth"))
        made.start()
        return made

    def start(self) -> None:
        """What else begins at the retrieval model's weights."""


class BlipAnswers(Grown):
    """Capability ``Answers``: the likelihood of each choice under the answer decoder."""

    provides = ("Embeds", "Fuses", "Answers")
    kind = BlipForAnswers
    task: Task = "multiple_choice"

    def start(self) -> None:
        m = self.module
        if m.config.text_config.hidden_size != m.config.vision_config.hidden_size:
            raise ExpungeError(
                "transformers' BLIP decoder reads states as wide as the picture's; here text and picture differ "
                f"({m.config.text_config.hidden_size} and {m.config.vision_config.hidden_size})."
            )
        m.text_decoder.bert.load_state_dict(m.text_encoder.state_dict())

    def parts(self) -> dict[str, nn.Module]:
        """As ``Towers.parts``; ``decoder`` is the answer decoder with its layers over the words."""
        return {**super().parts(), "decoder": self.module.text_decoder}

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Adds choice_ids, choice_mask [B, C, L] and target [B] to the pictures and questions.

        Without choices the answer is the only one. Raises ExpungeError when an answer is not among the choices.
        """
        offered = [e.choices or ((e.answer,) if e.answer is not None else ()) for e in examples]
        for e, some in zip(examples, offered, strict=True):
            if e.answer is not None and e.answer not in some:
                raise ExpungeError(f"{e.origin or e.id}: the answer {e.answer!r} is not among the choices {some}.")
        target = [
            some.index(e.answer) if e.answer is not None else -1 for e, some in zip(examples, offered, strict=True)
        ]
        made = self.processor.collate(examples, [e.text for e in examples])
        made |= self.processor.choices(offered, self.module.config.text_config.bos_token_id)
        return {k: v.to(self.device) for k, v in (made | {"target": torch.tensor(target)}).items()}

    @by_rows
    def loss(self, batch: Batch) -> Tensor:
        """Nats of the right answer, summed over its tokens, label-smoothed: [B]. ValueError where it is unknown."""
        target = batch["target"]
        if (target < 0).any():
            raise ValueError("the loss needs the right answer of every example")
        fused = self.fuse(self.encode_images(batch), self.encode_texts(batch))
        rows = torch.arange(len(target), device=target.device)
        ids, mask = batch["choice_ids"][rows, target], batch["choice_mask"][rows, target]
        smoothing = self.module.config.text_config.label_smoothing
        return self.answer_nats(self._prepared(fused.states), fused.mask, ids, mask, smoothing)

    @by_rows
    def choose(self, fused: Fused, batch: Batch) -> Tensor:
        ids, mask = batch["choice_ids"], batch["choice_mask"]
        count, most = ids.shape[:2]
        rows = torch.arange(count, device=ids.device).repeat_interleave(most)
        prepared = self._prepared(fused.states)[rows]  # the question's keys and values, made once
        nats = self.answer_nats(prepared, fused.mask[rows], ids.flatten(0, 1), mask.flatten(0, 1))
        return (-nats).view(count, most).masked_fill(mask.sum(-1) == 0, -torch.inf)

    def _prepared(self, states: Tensor) -> Prepared:
        return network.prepare(self.module.text_decoder.bert, states)

    def answer_nats(
        self, question: Prepared, question_mask: Tensor, ids: Tensor, mask: Tensor, smoothing: float = 0.0
    ) -> Tensor:
        """Nats of answers [M, L] (begin token first, not counted) to M questions: [M]."""
        logits = network.speak(self.module.text_decoder, ids, mask, question, question_mask)[:, :-1]
        labels = ids[:, 1:].masked_fill(mask[:, 1:] == 0, IGNORED)
        each = F.cross_entropy(
            logits.transpose(1, 2).float(), labels, ignore_index=IGNORED, reduction="none", label_smoothing=smoothing
        )
        return each.sum(1)

    @torch.no_grad()
    def rank_answers(self, fused: Fused, ids: Tensor, mask: Tensor, k: int) -> Tensor:
        """The released ranking of one answer list [A, L] for every question: index of the best, [B].

        The k answers whose first token is likeliest go through the decoder; the least smoothed loss wins.
        """
        count, k = len(fused.states), min(k, len(ids))
        question = self._prepared(fused.states)
        begin = ids[:1, :1].expand(count, 1)
        first = network.speak(self.module.text_decoder, begin, torch.ones_like(begin), question, fused.mask)[:, 0]
        listed = first.softmax(-1)[:, ids[:, 1]].topk(k, dim=1).indices  # [B, k]
        rows = torch.arange(count, device=ids.device).repeat_interleave(k)
        some = listed.flatten()
        smoothing = self.module.config.text_config.label_smoothing
        nats = self.answer_nats(question[rows], fused.mask[rows], ids[some], mask[some], smoothing)
        return listed.gather(1, nats.view(count, k).argmin(1, keepdim=True))[:, 0]


class BlipEntailment(Grown):
    """Capability ``Answers`` over the labels contradiction (0), neutral (1) and entailment (2)."""

    provides = ("Embeds", "Fuses", "Answers")
    kind = BlipForEntailment
    task: Task = "entailment"

    def parts(self) -> dict[str, nn.Module]:
        return {**super().parts(), "head": self.module.cls_head}

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Adds target [B] from ``label``. Raises ExpungeError for a label that is none of the three."""
        for e in examples:
            if e.label is not None and e.label not in LABELS:
                raise ExpungeError(f"{e.origin or e.id}: the label {e.label!r} is none of {', '.join(LABELS)}.")
        target: Any = torch.tensor([-1 if e.label is None else LABELS.index(e.label) for e in examples])
        made = self.processor.collate(examples, [e.text for e in examples]) | {"target": target}
        return {k: v.to(self.device) for k, v in made.items()}

    @by_rows
    def loss(self, batch: Batch) -> Tensor:
        """Nats of the right label, [B]. ValueError where it is unknown."""
        if (batch["target"] < 0).any():
            raise ValueError("the loss needs the label of every example")
        fused = self.fuse(self.encode_images(batch), self.encode_texts(batch))
        return F.cross_entropy(self.choose(fused, batch).float(), batch["target"], reduction="none")

    @by_rows
    def choose(self, fused: Fused, batch: Batch) -> Tensor:
        return self.module.cls_head(fused.states[:, 0])
