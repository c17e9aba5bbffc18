"""Turns made into tensors: right padding and labels to learn from, left padding to answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from expunge.backbones.mllm.families import Family
from expunge.backbones.mllm.turns import Turn, conversations
from expunge.core.types import Batch

IGNORED = -100


class Prompter:
    """Writes turns with a processor's chat template; pictures are opened ``pixels`` wide and high.

    Only the answer and the end of its turn bear loss. Their tokens are those that the whole text has beyond the
    prompt, so the template decides what stands between the two.
    """

    def __init__(self, processor: Any, family: Family, pixels: int) -> None:
        self.processor, self.pixels = processor, pixels
        self.tokenizer = processor.tokenizer
        self.end: str = family.end or self.tokenizer.eos_token

    @property
    def end_ids(self) -> list[int]:
        """The tokens at which writing stops."""
        ids = {self.tokenizer.convert_tokens_to_ids(self.end), self.tokenizer.eos_token_id}
        return sorted(i for i in ids if i is not None)

    def learning(self, turns: Sequence[Turn]) -> Batch:
        """Question and answer, padded at the right, with ``labels`` [B, T]. Raises ValueError without an answer."""
        prompts, texts = self._prompts(turns), self._answered(turns)
        batch = self._tensors(texts, turns, "right")
        labels = torch.full_like(batch["input_ids"], IGNORED)
        rows = zip(self._ids(prompts), self._ids(texts), batch["attention_mask"].sum(1).tolist())
        for i, (prompt, whole, length) in enumerate(rows):
            count = len(whole) - _shared(prompt, whole)
            labels[i, length - count : length] = batch["input_ids"][i, length - count : length]
        return {**batch, "labels": labels}

    def asking(self, turns: Sequence[Turn]) -> Batch:
        """The question alone, up to where the answer begins, padded at the left."""
        return self._tensors(self._prompts(turns), turns, "left")

    def tails(self, turns: Sequence[Turn]) -> list[list[int]] | None:
        """The tokens that every turn's answer adds to its question; None where a tokenizer joins the two, so that the
        question's last token depends on the answer."""
        prompts, wholes = self._ids(self._prompts(turns)), self._ids(self._answered(turns))
        if any(_shared(prompt, whole) < len(prompt) for prompt, whole in zip(prompts, wholes)):
            return None
        return [whole[len(prompt) :] for prompt, whole in zip(prompts, wholes)]

    def read(self, ids: Tensor) -> list[str]:
        """Tokens [B, N] as text, without marks."""
        return [t.strip() for t in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    # ------------------------------------------------------------------------------------ text

    def _prompts(self, turns: Sequence[Turn]) -> list[str]:
        return self.processor.apply_chat_template(conversations(turns, answered=False), add_generation_prompt=True)

    def _answered(self, turns: Sequence[Turn]) -> list[str]:
        """Prompt, answer, end: what a template writes after the end (Qwen's line break) is nothing to be learned."""
        texts = []
        whole = self.processor.apply_chat_template(conversations(turns, answered=True), add_generation_prompt=False)
        for prompt, text, turn in zip(self._prompts(turns), whole, turns, strict=True):
            rest = text.removeprefix(prompt) if text.startswith(prompt) else f" {turn.answer}"
            texts.append(prompt + rest.partition(self.end)[0].rstrip() + self.end)
        return texts

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Before a picture's one token becomes many; that changes nothing behind it."""
        return self.tokenizer(texts, add_special_tokens=self._begins(texts))["input_ids"]

    def _begins(self, texts: list[str]) -> bool:
        """Whether the tokenizer has to add its begin: not where the template wrote it."""
        begin = self.tokenizer.bos_token
        return not (begin and texts[0].startswith(begin))

    def _tensors(self, texts: list[str], turns: Sequence[Turn], side: str) -> Batch:
        pictures = [turn.picture.open(self.pixels) for turn in turns if turn.picture is not None]
        made = self.processor(
            text=texts,
            images=pictures or None,  # in order: they are dealt out by the picture tokens of the texts
            padding=True,
            padding_side=side,
            add_special_tokens=self._begins(texts),
            return_tensors="pt",
        )
        return dict(made)


def _shared(one: Sequence[int], two: Sequence[int]) -> int:
    """How many tokens both begin with."""
    count = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        count += 1
    return count
