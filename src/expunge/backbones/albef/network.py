"""The two encoders of ALBEF: a ViT for pictures, a BERT whose upper layers attend to the picture.

Parameter names are those of the released checkpoints (salesforce/ALBEF b9727e4), so their tensors load as they
are. Attention runs through ``scaled_dot_product_attention``, except where somebody wants to see the attention.
Shapes: B batch, L image tokens (CLS first), N text tokens (CLS first), d width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.core.types import KeyValue, Tap


def split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # [B, L, d] -> [B, H, L, d/H]


class VisionAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class VisionMlp(nn.Module):
    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.fc1 = nn.Linear(width, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class VisionBlock(nn.Module):
    def __init__(self, width: int, heads: int, ratio: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = VisionAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = VisionMlp(width, ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, width: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.proj(pixels).flatten(2).transpose(1, 2)  # [B, 3, h, w] -> [B, patches, d]


class VisionEncoder(nn.Module):
    """Pre-norm ViT with a learned position embedding; returns all tokens after the last norm."""

    def __init__(self, pixels: int, patch: int, width: int, depth: int, heads: int, ratio: int = 4):
        super().__init__()
        self.patch_embed = PatchEmbed(width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (pixels // patch) ** 2 + 1, width))
        self.blocks = nn.ModuleList([VisionBlock(width, heads, ratio) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patch_embed(pixels)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)  # [B, L, d]


# ------------------------------------------------------------------------------------------------ text


class Projection(nn.Module):
    """BERT's output part: linear, dropout, residual, norm (after, not before)."""

    def __init__(self, inner: int, width: int, eps: float, dropout: float):
        super().__init__()
        self.dense = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def branch(self, x: Tensor) -> Tensor:
        return self.dropout(self.dense(x))

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.branch(x) + residual)


class Attending(nn.Module):
    """Query, key and value projections; ``seen`` receives the attention when it is set."""

    def __init__(self, width: int, heads: int, source: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source, width)
        self.value = nn.Linear(source, width)
        self.rate = dropout
        self.seen: Callable[[Tensor], None] | None = None

    def keys_values(self, source: Tensor) -> KeyValue:
        return split_heads(self.key(source), self.heads), split_heads(self.value(source), self.heads)

    def forward(self, x: Tensor, keys_values: KeyValue, mask: Tensor | None) -> Tensor:
        q = split_heads(self.query(x), self.heads)
        k, v = keys_values
        if self.seen is None:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self.rate if self.training else 0.0)
        else:
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            weights = (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)
            self.seen(weights)  # [B, H, N, L]
            out = weights @ v
        return out.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """``self`` and ``output`` are BERT's own names for the two halves."""

    def __init__(self, width: int, heads: int, source: int, eps: float, dropout: float):
        super().__init__()
        self.self = Attending(width, heads, source, dropout)
        self.output = Projection(width, width, eps, dropout)

    def forward(self, x: Tensor, keys_values: KeyValue, mask: Tensor | None, tap: Tap | None = None) -> Tensor:
        branch = self.output.branch(self.self(x, keys_values, mask))
        return self.output.LayerNorm((branch if tap is None else tap(branch)) + x)


class Intermediate(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.dense = nn.Linear(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))


class TextLayer(nn.Module):
    called_beside_forward = ("image_keys_values",)  # for engines that gather a layer's weights when it is called

    def __init__(self, width: int, heads: int, inner: int, image_width: int | None, eps: float, dropout: float):
        super().__init__()
        self.attention = Attention(width, heads, width, eps, dropout)
        if image_width is not None:
            self.crossattention = Attention(width, heads, image_width, eps, dropout)
        self.intermediate = Intermediate(width, inner)
        self.output = Projection(inner, width, eps, dropout)

    def forward(
        self, x: Tensor, mask: Tensor, image: KeyValue | None = None, tap: Tap | None = None, seen: Tensor | None = None
    ) -> Tensor:
        """``mask`` is the self-attention's, ``seen`` that of what is attended to (None: all of it)."""
        x = self.attention(x, self.attention.self.keys_values(x), mask)
        if image is not None:
            x = self.crossattention(x, image, seen, tap)
        return self.output(self.intermediate(x), x)

    def image_keys_values(self, tokens: Tensor) -> KeyValue:
        """Keys and values of the cross-attention for tokens [B, L, d]."""
        return self.crossattention.self.keys_values(tokens)


class TextEmbeddings(nn.Module):
    def __init__(self, vocabulary: int, positions: int, width: int, eps: float, dropout: float):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]
        return self.dropout(self.LayerNorm(x + self.position_embeddings.weight[: ids.shape[1]]))


class TextStack(nn.Module):
    """BERT's ``encoder``: the layers, of which those from ``fusion`` on attend to the picture."""

    def __init__(
        self,
        layers: int,
        fusion: int,
        *,
        width: int,
        heads: int,
        inner: int,
        image_width: int,
        eps: float,
        dropout: float,
    ):
        super().__init__()
        self.layer = nn.ModuleList(
            [TextLayer(width, heads, inner, image_width if i >= fusion else None, eps, dropout) for i in range(layers)]
        )


class TextEncoder(nn.Module):
    """The lower layers read the text (``read``), the upper ones fuse it with the picture (``fuse``)."""

    def __init__(
        self,
        vocabulary: int,
        positions: int,
        layers: int,
        fusion: int,
        *,
        eps: float,
        dropout: float,
        width: int,
        **sizes,
    ):
        super().__init__()
        self.fusion = fusion
        self.embeddings = TextEmbeddings(vocabulary, positions, width, eps, dropout)
        self.encoder = TextStack(layers, fusion, width=width, eps=eps, dropout=dropout, **sizes)

    @property
    def upper(self) -> list[TextLayer]:
        return list(self.encoder.layer[self.fusion :])

    def read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask [B, N] -> [B, N, d]."""
        x, seen = self.embeddings(ids), mask[:, None, None, :].bool()
        for layer in self.encoder.layer[: self.fusion]:
            x = layer(x, seen)
        return x

    def image_keys_values(self, tokens: Tensor, tap: Tap | None = None) -> list[KeyValue]:
        """Keys and values of every fusion layer for image tokens [B, L, d]; ``tap`` acts on the last layer's."""
        upper = self.upper
        inputs = [tokens] * (len(upper) - 1) + [tokens if tap is None else tap(tokens)]
        return [layer.image_keys_values(t) for layer, t in zip(upper, inputs, strict=True)]

    def fuse(self, x: Tensor, mask: Tensor, image: list[KeyValue], taps: Mapping[str, Tap] | None = None) -> Tensor:
        """Text states [B, N, d] with the picture's keys and values -> fused states [B, N, d]."""
        taps = taps or {}
        seen = mask[:, None, None, :].bool()
        if "text_tokens" in taps:
            x = taps["text_tokens"](x)
        upper = self.upper
        for i, layer in enumerate(upper):
            if i == len(upper) - 1 and "fused_in" in taps:
                x = taps["fused_in"](x)
            x = layer(x, seen, image[i], taps.get("xattn_out"))
        return x


# --------------------------------------------------------------------------------------------- answers


class WordPredictions(nn.Module):
    """BERT's language head on the word embeddings themselves: released checkpoints store that matrix twice."""

    def __init__(self, width: int, vocabulary: int, eps: float):
        super().__init__()
        self.transform = nn.Module()
        self.transform.dense = nn.Linear(width, width)
        self.transform.LayerNorm = nn.LayerNorm(width, eps=eps)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        return F.linear(self.transform.LayerNorm(F.gelu(self.transform.dense(x))), words, self.bias)


class AnswerDecoder(nn.Module):
    """Reads an answer from left to right while every layer attends to the fused states of the question."""

    def __init__(
        self, vocabulary: int, positions: int, layers: int, *, width: int, eps: float, dropout: float, **sizes
    ):
        super().__init__()
        self.bert = TextEncoder(
            vocabulary, positions, layers, 0, width=width, eps=eps, dropout=dropout, image_width=width, **sizes
        )
        self.cls = nn.Module()
        self.cls.predictions = WordPredictions(width, vocabulary, eps)

    def forward(self, ids: Tensor, mask: Tensor, question: list[KeyValue], seen: Tensor) -> Tensor:
        """Logits of the next word [M, L, V]; ``question`` and its mask ``seen`` [M, N] stand row by row beside ids."""
        length = ids.shape[1]
        before = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        allowed = before[None, None] & mask[:, None, None, :].bool()
        x, seen = self.bert.embeddings(ids), seen[:, None, None, :].bool()
        for layer, keys_values in zip(self.bert.upper, question, strict=True):
            x = layer(x, allowed, keys_values, seen=seen)
        return self.cls.predictions(x, self.bert.embeddings.word_embeddings.weight)
