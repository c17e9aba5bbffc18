"""Losses on what a language model says, token by token, averaged over each answer; in float32 whatever it speaks in."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from expunge.core.types import Spoken
from expunge.train.words import mean_over


def nats(said: Spoken) -> Tensor:
    """Mean nats per token of each answer, [B]: what ``Backbone.loss`` is, where the logits are there already."""
    logits = said.logits.float().transpose(1, 2)  # [B, V, N]
    each = F.cross_entropy(logits, said.targets.masked_fill(~said.mask, -100), ignore_index=-100, reduction="none")
    return mean_over(each, said.mask)


def divergence(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)) in nats, mean over the tokens of ``mask`` [B, N]; logits [B, N, V]."""
    each = F.kl_div(
        F.log_softmax(student.float(), -1), F.log_softmax(teacher.float(), -1), reduction="none", log_target=True
    )
    return mean_over(each.sum(-1), mask)
