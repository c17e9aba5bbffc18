"""BLIP's text layers run one by one, on transformers' own modules.

transformers runs a text model in one piece. Unlearning needs three things inside it: keys and values of
cross-attention that are computed once per picture, taps on hidden states, and the attention itself. So the modules
(and with them the weights and their names) are transformers', and the walk through them is here. It gives the numbers
of the released code (tests/backbones/test_blip_parity.py).
Shapes: B batch, L image tokens (CLS first), N text tokens (CLS first), d width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.core.types import KeyValue, Prepared, Tap
from expunge.train import recompute

Seen = Callable[[Tensor], None]


def keys_values(attention: Any, source: Tensor) -> KeyValue:
    """What a ``BlipTextAttention`` makes of the tokens [B, L, d] that it attends to."""
    inner = attention.self
    heads = (inner.num_attention_heads, -1)
    return tuple(make(source).unflatten(-1, heads).transpose(1, 2) for make in (inner.key, inner.value))  # type: ignore[return-value]


def attend(
    attention: Any, x: Tensor, held: KeyValue, mask: Tensor | None, tap: Tap | None = None, seen: Seen | None = None
) -> Tensor:
    """One ``BlipTextAttention`` with its residual: [B, N, d]. ``mask`` is true where attention may go."""
    inner, output = attention.self, attention.output
    k, v = held
    q = inner.query(x).unflatten(-1, (inner.num_attention_heads, -1)).transpose(1, 2)
    if seen is None:
        rate = inner.dropout.p if inner.training else 0.0
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=rate)
    else:
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        weights = (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)
        seen(weights)  # [B, H, N, L]
        found = weights @ v
    branch = output.dropout(output.dense(found.transpose(1, 2).flatten(2)))
    return output.LayerNorm((branch if tap is None else tap(branch)) + x)


def step(
    layer: Any,
    x: Tensor,
    mask: Tensor,
    source: KeyValue | None = None,
    source_mask: Tensor | None = None,
    tap: Tap | None = None,
    seen: Seen | None = None,
) -> Tensor:
    """One text layer: self-attention, cross-attention to ``source`` if there is one, feed-forward."""
    return recompute.run(layer, _step, layer, x, mask, source, source_mask, tap, seen)


def _step(
    layer: Any,
    x: Tensor,
    mask: Tensor,
    source: KeyValue | None,
    source_mask: Tensor | None,
    tap: Tap | None,
    seen: Seen | None,
) -> Tensor:
    x = attend(layer.attention, x, keys_values(layer.attention, x), mask)
    if source is not None:
        x = attend(layer.crossattention, x, source, source_mask, tap, seen)
    return layer.feed_forward_chunk(x)


def read(text: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """Text mode, no picture: ids, mask [B, N] -> [B, N, d]."""
    x, visible = text.embeddings(ids), mask[:, None, None, :].bool()
    for layer in text.encoder.layer:
        x = step(layer, x, visible)
    return x


def prepare(text: Any, tokens: Tensor, tap: Tap | None = None) -> Prepared:
    """Keys and values of every layer's cross-attention for tokens [B, L, d]; ``tap`` acts on the last layer's."""
    layers = text.encoder.layer
    inputs = [tokens] * (len(layers) - 1) + [tokens if tap is None else tap(tokens)]
    return Prepared([keys_values(layer.crossattention, x) for layer, x in zip(layers, inputs, strict=True)])


def fuse(
    text: Any,
    ids: Tensor,
    mask: Tensor,
    pictures: Prepared,
    taps: Mapping[str, Tap] | None = None,
    seen: Mapping[int, Seen] | None = None,
) -> Tensor:
    """The whole text encoder from the embeddings, every layer attending to the picture: [B, N, d].

    ``seen`` receives the cross-attention [B, H, N, L] of the layers it names.
    """
    taps, seen = taps or {}, seen or {}
    x, visible = text.embeddings(ids), mask[:, None, None, :].bool()
    if "text_tokens" in taps:
        x = taps["text_tokens"](x)
    last = len(text.encoder.layer) - 1
    for i, layer in enumerate(text.encoder.layer):
        if i == last and "fused_in" in taps:
            x = taps["fused_in"](x)
        x = step(layer, x, visible, pictures.layers[i], None, taps.get("xattn_out"), seen.get(i))
    return x


def speak(decoder: Any, ids: Tensor, mask: Tensor, source: Prepared, source_mask: Tensor) -> Tensor:
    """Logits [M, L, V] of a ``BlipTextLMHeadModel`` that sees what went before and the source [M, N]."""
    length = ids.shape[1]
    x = decoder.bert.embeddings(ids)
    before = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
    # The begin token stays visible even where a whole row is padding: attention to nothing would be NaN.
    present = mask.bool() | (torch.arange(length, device=ids.device) == 0)
    visible = before[None, None] & present[:, None, None, :]
    for layer, held in zip(decoder.bert.encoder.layer, source.layers, strict=True):
        x = step(layer, x, visible, held, source_mask[:, None, None, :].bool())
    return decoder.cls(x)
