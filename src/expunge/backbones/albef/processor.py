"""Examples to tensors for ALBEF: cleaned words and normalised pixels (methods of the released data code)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.core.text import plain
from expunge.core.types import Example, Picture
from expunge.train.pairs import owner

# The normalisation of the released ALBEF and BLIP models (CLIP's statistics).
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def number(example: Example) -> int:
    """The number of an example's person or picture, the same in every batch; never that of an empty place (-100)."""
    return int.from_bytes(blake2b(owner(example).encode(), digest_size=7).digest(), "big")


class AlbefProcessor:
    """A tokenizer and picture settings, saved beside the model and loaded with it."""

    def __init__(self, tokenizer: Any, pixels: int, max_text_tokens: int = 30):
        self.tokenizer, self.pixels, self.max_text_tokens = tokenizer, pixels, max_text_tokens
        self._mean = torch.tensor(MEAN)[:, None, None]
        self._std = torch.tensor(STD)[:, None, None]

    def picture(self, picture: Picture) -> Tensor:
        """[3, pixels, pixels], normalised."""
        raw = torch.from_numpy(np.array(picture.open(self.pixels), dtype=np.float32)).permute(2, 0, 1) / 255
        return (raw - self._mean) / self._std

    def pictures(self, pictures: Sequence[Picture]) -> Tensor:
        return torch.stack([self.picture(p) for p in pictures])

    def texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """input_ids and attention_mask of cleaned texts, padded to the longest."""
        return self.answers([plain(t) for t in texts])

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """pixels [B, 3, h, w], input_ids and attention_mask [B, N], groups [B] (equal for one person or picture)."""
        names = [owner(e) for e in examples]
        numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
        return {
            "pixels": self.pictures([e.image for e in examples]),
            "groups": torch.tensor([numbers[n] for n in names]),
            **self.texts([e.text for e in examples]),
        }

    def answers(self, answers: Sequence[str]) -> dict[str, Tensor]:
        """input_ids and attention_mask of words as they stand: the first token, the words, and the one that ends them.

        Answers are not cleaned, as in the released code (salesforce/ALBEF, dataset/vqa_dataset.py): 3.5 is not 35.
        """
        made = self.tokenizer(
            list(answers), padding="longest", truncation=True, max_length=self.max_text_tokens, return_tensors="pt"
        )
        return {"input_ids": made["input_ids"], "attention_mask": made["attention_mask"]}

    def choices(self, lists: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """choice_ids and choice_mask [B, C, L]; what a shorter list lacks is padding."""
        flat = [choice for choices in lists for choice in choices]
        most = max([1, *map(len, lists)])
        made = self.answers(flat or [""])
        shape = (len(lists), most, made["input_ids"].shape[1])
        ids, mask = torch.full(shape, self.tokenizer.pad_token_id), torch.zeros(shape, dtype=torch.long)
        start = 0
        for i, choices in enumerate(lists):
            ids[i, : len(choices)] = made["input_ids"][start : start + len(choices)]
            mask[i, : len(choices)] = made["attention_mask"][start : start + len(choices)]
            start += len(choices)
        return {"choice_ids": ids, "choice_mask": mask}

    def save_pretrained(self, folder: str | Path) -> None:
        self.tokenizer.save_pretrained(str(folder))
        settings = {"pixels": self.pixels, "max_text_tokens": self.max_text_tokens, "mean": MEAN, "std": STD}
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps(settings, indent=1))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> AlbefProcessor:
        from transformers import BertTokenizerFast

        settings = json.loads((Path(folder) / "preprocessor_config.json").read_text())
        return cls(BertTokenizerFast.from_pretrained(str(folder)), settings["pixels"], settings["max_text_tokens"])
