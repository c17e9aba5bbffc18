"""Examples to tensors for BLIP: cleaned words and normalised pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertTokenizerFast
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from expunge.backbones.saved import need_words
from expunge.core.errors import ExpungeError
from expunge.core.types import Example, Picture
from expunge.train.pairs import owner

DEC, ENC = "[DEC]", "[ENC]"
_DROPPED = re.compile(r"[.!\"()*#:;~]")


def clean(text: str, max_words: int = 50) -> str:
    """Lower case; ``.!"()*#:;~`` become spaces; at most ``max_words`` words.

    BLIP's rule in our words. Unlike ALBEF's it keeps commas, apostrophes, hyphens and question marks.
    """
    return " ".join(_DROPPED.sub(" ", text.lower()).split()[:max_words])


class BlipProcessor:
    """A tokenizer and transformers' image processor, saved beside the model and loaded with it."""

    def __init__(self, tokenizer: Any, pixels: int, max_text_tokens: int = 35, image: Any = None):
        self.tokenizer, self.max_text_tokens = tokenizer, max_text_tokens
        self.image = image or BlipImageProcessorPil()
        self.resize(pixels)

    def resize(self, pixels: int) -> None:
        """Ask for pictures of another size."""
        self.pixels = pixels
        self.image.size = {"height": pixels, "width": pixels}

    def picture(self, picture: Picture) -> Tensor:
        """[3, pixels, pixels], normalised."""
        return self.pictures([picture])[0]

    def pictures(self, pictures: Sequence[Picture]) -> Tensor:
        """[B, 3, pixels, pixels], normalised."""
        return self.image([p.open(self.pixels) for p in pictures], return_tensors="pt")["pixel_values"]

    def texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """input_ids and attention_mask of cleaned texts, padded to the longest."""
        return self._tokens([clean(t) for t in texts])

    def _tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        made = self.tokenizer(
            list(texts), padding="longest", truncation=True, max_length=self.max_text_tokens, return_tensors="pt"
        )
        return {"input_ids": made["input_ids"], "attention_mask": made["attention_mask"]}

    def choices(self, offered: Sequence[Sequence[str]], begin: int) -> dict[str, Tensor]:
        """choice_ids and choice_mask [B, C, L]: ``begin``, the answer, SEP; mask 0 on padding and missing choices.

        Answers are not cleaned, as in the released code (salesforce/BLIP 1a37421, data/vqa_dataset.py): 3.5 is not 35.
        """
        most = max((len(some) for some in offered), default=0)
        made = self._tokens([answer for some in offered for answer in some] or [""])
        length = made["input_ids"].shape[1]
        ids = torch.full((len(offered), most, length), self.tokenizer.pad_token_id)
        mask = torch.zeros(len(offered), most, length, dtype=torch.long)
        row = 0
        for i, some in enumerate(offered):
            ids[i, : len(some)] = made["input_ids"][row : row + len(some)]
            mask[i, : len(some)] = made["attention_mask"][row : row + len(some)]
            row += len(some)
        ids[:, :, 0] = begin
        return {"choice_ids": ids, "choice_mask": mask}

    def collate(self, examples: Sequence[Example], texts: Sequence[str]) -> dict[str, Tensor]:
        """pixels [B, 3, h, w], input_ids and attention_mask [B, N], groups [B] (equal for one person or picture)."""
        names = [owner(e) for e in examples]
        numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
        return {
            "pixels": self.pictures([e.image for e in examples]),
            "groups": torch.tensor([numbers[n] for n in names]),
            **self.texts(texts),
        }

    def save_pretrained(self, folder: str | Path) -> None:
        """The files that transformers' own tokenizer and image processor open."""
        self.tokenizer.model_max_length = self.max_text_tokens
        self.tokenizer.save_pretrained(str(folder))
        self.image.save_pretrained(str(folder))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> BlipProcessor:
        """From a folder of ours or of the hub; the hub's has 512 positions, BLIP's data code cuts at 35."""
        image = BlipImageProcessorPil.from_pretrained(str(folder))
        tokenizer = BertTokenizerFast.from_pretrained(str(folder))
        longest = tokenizer.model_max_length
        return cls(_with_marks(tokenizer), image.size["height"], longest if longest < 512 else 35, image)

    @classmethod
    def of_words(cls, place: Path, pixels: int, vocabulary: int, max_text_tokens: int) -> BlipProcessor:
        """For a released checkpoint: ``place`` is BERT's ``vocab.txt``, or a folder with it or with a tokenizer.

        Raises ExpungeError when there is none, or when it does not end in the checkpoint's [DEC] and [ENC].
        """
        if (place / "tokenizer.json").exists():
            tokenizer = BertTokenizerFast.from_pretrained(str(place))
        else:
            lines = need_words(place).read_text(encoding="utf-8").splitlines()
            tokenizer = BertTokenizerFast(vocab={w: i for i, w in enumerate(lines)}, do_lower_case=True)
        tokenizer = _with_marks(tokenizer)
        marks = tokenizer.convert_tokens_to_ids([DEC, ENC])
        if marks != [vocabulary - 2, vocabulary - 1]:
            raise ExpungeError(
                f"{place}: [DEC] and [ENC] are words {marks} of this list, but {vocabulary - 2} and {vocabulary - 1} "
                "of the checkpoint: it is not the list that the checkpoint was trained with."
            )
        return cls(tokenizer, pixels, max_text_tokens)


def _with_marks(tokenizer: Any) -> Any:
    """[DEC] and [ENC] at the end of the vocabulary, as the released code adds them."""
    missing = [mark for mark in (DEC, ENC) if tokenizer.convert_tokens_to_ids(mark) in (None, tokenizer.unk_token_id)]
    if missing:
        tokenizer.add_tokens(missing, special_tokens=True)
    return tokenizer
