"""ALBEF with a classifier for visual entailment, or with an answer decoder for questions.

Paper: Li et al. 2021, section 5. Checked against salesforce/ALBEF b9727e4, models/model_ve.py and models/model_vqa.py
(numbers in tests/backbones/test_albef_answers_parity.py). Parameter names follow the released checkpoints, except that
the decoder's output matrix is its word embedding and is held once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.backbones.albef.model import AlbefConfig, AlbefEncoders
from expunge.backbones.albef.network import AnswerDecoder
from expunge.core.types import LABELS, KeyValue


class AlbefEntailmentConfig(AlbefConfig):
    """Sizes of an ALBEF for entailment."""

    model_type = "albef-entailment"

    def __init__(self, **sizes):  # without one of its own transformers makes the class a dataclass without our fields
        super().__init__(**sizes)


class AlbefAnswersConfig(AlbefConfig):
    """``decoder_layers`` is the depth of the answer decoder: by default as many layers as fuse."""

    model_type = "albef-answers"

    def __init__(self, decoder_layers: int | None = None, **rest):
        super().__init__(**rest)
        self.decoder_layers = self.text_layers - self.fusion_layer if decoder_layers is None else decoder_layers


class AlbefEntailmentModel(AlbefEncoders):
    """``cls_head`` reads the fused CLS; its outputs stand in the order of ``core.types.LABELS``."""

    config_class = AlbefEntailmentConfig

    def __init__(self, config: AlbefEntailmentConfig):
        super().__init__(config)
        width = config.text_width
        self.cls_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, len(LABELS)))
        self.post_init()


class Reading(NamedTuple):
    """Fused questions as the decoder attends to them: keys and values per layer [Q, H, N, d/H], and their mask."""

    layers: list[KeyValue]
    mask: Tensor  # [Q, N]

    def __getitem__(self, rows: Tensor) -> Reading:  # type: ignore[override]
        return Reading([(k[rows], v[rows]) for k, v in self.layers], self.mask[rows])


class AlbefAnswersModel(AlbefEncoders):
    """``text_decoder`` gives the likelihood of an answer to a fused question."""

    config_class = AlbefAnswersConfig

    def __init__(self, config: AlbefAnswersConfig):
        super().__init__(config)
        self.text_decoder = AnswerDecoder(
            config.vocabulary, config.positions, config.decoder_layers, width=config.text_width,
            heads=config.text_heads, inner=config.text_inner, eps=config.norm_eps, dropout=config.dropout,
        )  # fmt: skip
        self.post_init()

    def read_questions(self, states: Tensor, mask: Tensor) -> Reading:
        """Fused states [Q, N, d], computed into keys and values once for all answers."""
        return Reading(self.text_decoder.bert.image_keys_values(states), mask)

    def answer_nll(self, questions: Reading, ids: Tensor, mask: Tensor) -> Tensor:
        """Nats of answer m to question m, summed over its tokens after the first: ids, mask [M, L] -> [M]."""
        logits = self.text_decoder(ids, mask, questions.layers, questions.mask)[:, :-1]
        each = F.cross_entropy(logits.transpose(1, 2).float(), ids[:, 1:], reduction="none")
        return (each * mask[:, 1:]).sum(1)

    @torch.no_grad()
    def rank_answers(
        self, states: Tensor, mask: Tensor, answer_ids: Tensor, answer_mask: Tensor, k: int
    ) -> tuple[Tensor, Tensor]:
        """The released inference: the ``k`` answers of likeliest first word, ordered by the whole answer.

        Args:
            states, mask: fused questions [Q, N, d] and [Q, N].
            answer_ids, answer_mask: A candidate answers [A, L].

        Returns:
            indices and chances [Q, k], best first. As released (models/model_vqa.py:149-206) the first word counts
            twice: its chance is multiplied with that of the whole answer.
        """
        questions = self.read_questions(states, mask)
        count = len(states)
        start = answer_ids[:1, :1].expand(count, 1)
        first = self.text_decoder(start, torch.ones_like(start), *questions)[:, 0].softmax(-1)
        likely, chosen = first[:, answer_ids[:, 1]].topk(k, dim=1)
        rows = torch.arange(count, device=states.device).repeat_interleave(k)
        picked = chosen.flatten()
        nll = self.answer_nll(questions[rows], answer_ids[picked], answer_mask[picked]).view(count, k)
        chances, order = (likely.log() - nll).softmax(-1).topk(k, dim=1)
        return chosen.gather(1, order), chances
