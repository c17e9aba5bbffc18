"""The word pieces of the embedded models: whole words of the public texts, single characters for all others."""

from __future__ import annotations

import string
from collections.abc import Iterable

from expunge.core.text import plain

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
KEPT = (",", "'", "?", "-", "/")
"""Punctuation that BLIP's cleaning keeps."""


def word_pieces(texts: Iterable[str]) -> list[str]:
    """A BERT vocabulary: special tokens, characters (with and without ##), then words in alphabetical order."""
    letters = string.ascii_lowercase + string.digits
    words = sorted({word for text in texts for word in plain(text).split()} - set(letters))
    return [*SPECIAL, *letters, *(f"##{c}" for c in letters), *words]


def marked_tokenizer(texts: Iterable[str], max_tokens: int):
    """As ``tokenizer``, with the punctuation that BLIP reads and its [DEC] and [ENC] at the end."""
    words = tokenizer(texts, max_tokens)
    words.add_tokens(list(KEPT))
    words.add_tokens(["[DEC]", "[ENC]"], special_tokens=True)
    return words


def tokenizer(texts: Iterable[str], max_tokens: int):
    """A fast BERT tokenizer (transformers) over ``word_pieces(texts)``."""
    from transformers import BertTokenizerFast

    pieces = word_pieces(texts)
    return BertTokenizerFast(
        vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=True, model_max_length=max_tokens
    )
