"""The word pieces of the embedded models: whole words of the public texts, single characters for all others."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from typing import Any

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


def chat_tokenizer(texts: Iterable[str], marks: Sequence[str] = (), *, begin: str | None = "<s>", end: str = "</s>"):
    """A tokenizer (transformers) that keeps capitals and adds nothing behind a text, as language models need it.

    Whole words and punctuation of ``texts``, single characters for all others. ``marks`` are special tokens such as
    ``<image>``; ``begin`` is put before every text unless it is None.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = string.ascii_letters + string.digits
    words = sorted({word for text in texts for word in re.findall(r"[^\W_]+|[^\w\s]|_", text)} - set(letters))
    special = ["<pad>", "<unk>", *([begin] if begin else []), end, *marks]
    pieces = [*special, *letters, *(f"##{c}" for c in letters), *words]
    made: Any = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="<unk>"))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##")
    if begin:
        made.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, pieces.index(begin))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", bos_token=begin, eos_token=end,
        additional_special_tokens=list(marks),
    )  # fmt: skip
