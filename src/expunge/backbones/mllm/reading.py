"""A question read once, whatever is then said to it: what several answers share is not computed for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from expunge.backbones.mllm.prompts import IGNORED
from expunge.core.types import Batch


class Reading:
    """A batch of questions in a model's memory: ``read`` is the model below its ``head``.

    ``asked`` is padded at the left, so that all answers begin at one place. ``shift`` tells, where tokens behind a
    picture are placed by its height and width (M-RoPE), by how much [B, 1] the questions just read are shifted.
    """

    def __init__(
        self, read: Callable[..., Any], head: Callable[[Tensor], Tensor], asked: Batch,
        shift: Callable[[], Tensor] | None = None,
    ) -> None:  # fmt: skip
        made = read(asked, use_cache=True)
        self._read, self._head, self._cache = read, head, made.past_key_values
        self._mask, self._last = asked["attention_mask"], made.last_hidden_state[:, -1:]
        self._places: Tensor | None = None  # [B] where the first token of an answer stands, if the model must be told
        if shift is not None and "pixel_values" in asked:
            self._places = self._mask.sum(1) + shift()[:, 0].to(self._mask.device)
        elif shift is not None:
            # The trap: the model keeps the shift of its last pictures, and would use it for questions without one, too.
            self._places = torch.full_like(self._mask[:, 0], self._mask.shape[1])

    def weigh(self, tails: Sequence[Sequence[int]]) -> Tensor:
        """Mean nats per token of an answer to each question, [B]; the questions are as before afterwards."""
        device = self._mask.device
        rows = [torch.tensor(tail, dtype=torch.long) for tail in tails]
        targets = pad_sequence(rows, batch_first=True, padding_value=IGNORED).to(device)  # [B, N]
        borne = targets != IGNORED
        count = targets.shape[1]
        told: Batch = {
            "input_ids": targets.clamp_min(0),
            "attention_mask": torch.cat([self._mask, borne.to(self._mask.dtype)], 1),
        }
        if self._places is not None:
            told["position_ids"] = (self._places[:, None] + torch.arange(count, device=device)).expand(3, -1, -1)
        states = self._read(told, use_cache=True, past_key_values=self._cache).last_hidden_state
        self._cache.crop(-count)
        before = torch.cat([self._last, states[:, :-1]], 1)  # the state that says a token stands one before it
        logits = self._head(before).float()
        nats = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
        return nats.sum(1) / borne.sum(1).clamp_min(1)
