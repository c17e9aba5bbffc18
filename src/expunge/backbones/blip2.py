"""BLIP-2: a frozen-friendly picture-to-prefix encoder before a language model, on transformers' own classes.

The language model is called directly with ``inputs_embeds``, so a *prefix* [B, P, d_l] may be the projected query
tokens, any other tokens of that width, both joined, or nothing at all (P = 0: plain text). Decoder-only models
(OPT) read [prefix, begin, text, end]; encoder-decoder models (T5) read the prefix in the encoder and speak in the
decoder. Losses count the text and its end token, never the prefix.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoTokenizer, Blip2Config, Blip2ForConditionalGeneration, GenerationConfig

from expunge.core.text import plain
from expunge.core.types import Batch, Example, Traits

IMAGE_SETTINGS = "preprocessor_config.json"
IGNORED = -100


class Blip2:
    """Pictures in, sentences out; ``image`` is a transformers image processor's settings (size, mean, std)."""

    def __init__(
        self,
        model: Blip2ForConditionalGeneration,
        tokenizer: Any,
        image: Mapping[str, Any] | None = None,
        name: str = "blip2",
        max_text_tokens: int = 32,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        pixels = model.config.vision_config.image_size
        self.image = dict(image or image_settings(pixels))
        self._traits = Traits(
            name=name,
            pixels=pixels,
            max_text_tokens=max_text_tokens,
            feature_width=model.config.text_config.hidden_size,
            extras={"query_tokens": model.config.num_query_tokens, "decoder_only": self.decoder_only},
        )

    # ------------------------------------------------------------------------------------ made and stored

    @classmethod
    def from_config(cls, config: Blip2Config, tokenizer: Any, **settings: Any) -> Blip2:
        """Random weights. Query tokens are drawn, not zero: equal queries would stay equal for ever."""
        model = Blip2ForConditionalGeneration(config)
        nn.init.normal_(model.query_tokens, std=config.initializer_range)
        return cls(model, tokenizer, **settings)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> Blip2:
        """Load a transformers folder (or hub id): weights, configuration, tokenizer and image settings."""
        from transformers.utils import cached_file

        model = Blip2ForConditionalGeneration.from_pretrained(str(folder), dtype=dtype).eval()
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        found = cached_file(str(folder), IMAGE_SETTINGS, _raise_exceptions_for_missing_entries=False)
        image = json.loads(Path(found).read_text("utf-8")) if found else None
        longest = min(tokenizer.model_max_length, 512)
        return cls(model, tokenizer, image, name=Path(folder).name, max_text_tokens=longest)

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write what ``Blip2ForConditionalGeneration.from_pretrained`` and ``AutoTokenizer`` open."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (copy.deepcopy(self.model).to(dtype) if dtype else self.model).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        (folder / IMAGE_SETTINGS).write_text(json.dumps(self.image, indent=2, sort_keys=True) + "\n")

    def clone(self) -> Blip2:
        return copy.deepcopy(self)

    def drop_training_state(self) -> None:
        """Nothing to drop: the model holds weights only."""

    # ------------------------------------------------------------------------------------ the waist

    @property
    def traits(self) -> Traits:
        return self._traits

    @property
    def module(self) -> nn.Module:
        return self.model

    @property
    def device(self) -> torch.device:
        return self.model.query_tokens.device

    @property
    def decoder_only(self) -> bool:
        return bool(self.model.config.use_decoder_only_language_model)

    def parts(self) -> dict[str, nn.Module]:
        m = self.model
        return {
            "vision": m.vision_model,
            "fusion": m.qformer,
            "projector": m.language_projection,
            "text": m.language_model,
        }

    def collate(self, examples: Sequence[Example]) -> Batch:
        numbers: dict[str, int] = {}
        groups = [numbers.setdefault(e.group or e.id, len(numbers)) for e in examples]
        return {
            "pixels": self.pixels(examples),
            **self.tokens([e.text for e in examples]),
            "groups": torch.tensor(groups),
        }

    def loss(self, batch: Batch) -> Tensor:
        """The caption's nats per token given its picture, [B]."""
        prefix = self.encode_pictures(batch["pixels"])
        nats = self.token_nats(prefix, batch["input_ids"], batch["attention_mask"])
        return nats.sum(1) / counted(batch["attention_mask"])

    # ------------------------------------------------------------------------------------ pictures and words

    def pixels(self, examples: Sequence[Example]) -> Tensor:
        """The examples' pictures as the vision tower wants them, [B, 3, H, W]."""
        return self.to_range([e.image.open(self.traits.pixels) for e in examples])

    def to_range(self, pictures: Sequence[Image.Image]) -> Tensor:
        stacked = np.stack([np.asarray(p.convert("RGB")) for p in pictures])  # [B, H, W, 3]
        return self.normalise(torch.from_numpy(stacked).permute(0, 3, 1, 2)).to(self.device)

    def normalise(self, levels: Tensor) -> Tensor:
        """Bytes [B, 3, H, W] to the range of the vision tower."""
        mean, std = (
            torch.tensor(self.image[k], device=levels.device).view(1, 3, 1, 1) for k in ("image_mean", "image_std")
        )
        return (levels.float() / 255 - mean) / std

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Begin, text, end: ``input_ids`` and ``attention_mask`` [B, T], padded at the right."""
        begin, end, pad = self._marks()
        longest = self.traits.max_text_tokens - 2
        cleaned = [plain(t, max_words=longest) for t in texts]
        rows = [ids[:longest] for ids in self.tokenizer(cleaned, add_special_tokens=False)["input_ids"]]
        width = max((len(r) for r in rows), default=0) + 2
        input_ids = torch.full((len(rows), width), pad)
        attention_mask = torch.zeros(len(rows), width, dtype=torch.long)
        for i, ids in enumerate(rows):
            input_ids[i, : len(ids) + 2] = torch.tensor([begin, *ids, end])
            attention_mask[i, : len(ids) + 2] = 1
        return {"input_ids": input_ids.to(self.device), "attention_mask": attention_mask.to(self.device)}

    def _marks(self) -> tuple[int, int, int]:
        """The ids of begin, end and padding; a T5 has no begin of its own and starts with its padding."""
        c = self.model.config.text_config
        begin = c.bos_token_id if self.decoder_only else getattr(c, "decoder_start_token_id", None)
        pad = c.pad_token_id if c.pad_token_id is not None else c.eos_token_id
        return (pad if begin is None else begin), c.eos_token_id, pad

    def encode_pictures(self, pixels: Tensor) -> Tensor:
        """The projected query tokens, [B, n_q, d_l]."""
        return self.model.get_image_features(pixels).pooler_output

    # ------------------------------------------------------------------------------------ language

    def token_nats(self, prefix: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Nats of every token after the first, [B, T-1], zero at padding; gradients reach the prefix."""
        language = self.model.language_model
        labels = input_ids[:, 1:].masked_fill(attention_mask[:, 1:] == 0, IGNORED)  # [B, T-1]
        before = torch.ones(prefix.shape[:2], dtype=attention_mask.dtype, device=prefix.device)
        if self.decoder_only:
            words = language.get_input_embeddings()(input_ids)
            joined = torch.cat([prefix, words.to(prefix.dtype)], dim=1)  # [B, P+T, d]
            seen = torch.cat([before, attention_mask], dim=1)
            logits = language(inputs_embeds=joined, attention_mask=seen, use_cache=False).logits
            logits = logits[:, prefix.shape[1] : -1]  # position P holds `begin` and predicts the first word
        else:
            logits = language(
                inputs_embeds=prefix, attention_mask=before, decoder_input_ids=input_ids[:, :-1], use_cache=False
            ).logits
        return nn.functional.cross_entropy(
            logits.transpose(1, 2).float(), labels, ignore_index=IGNORED, reduction="none"
        )

    def text_loss(self, prefix: Tensor, texts: Sequence[str], *, total: bool = False) -> Tensor:
        """Nats of each text after its prefix, [B]: the mean per token, or with ``total`` the sum."""
        made = self.tokens(texts)
        nats = self.token_nats(prefix, **made).sum(1)
        return nats if total else nats / counted(made["attention_mask"])

    @torch.no_grad()
    def write(
        self,
        prefix: Tensor,
        *,
        max_tokens: int = 30,
        num_beams: int = 1,
        sample: bool = False,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """One text per prefix. Sampling depends on ``seed`` alone and leaves torch's generator as it was."""
        begin, end, pad = self._marks()
        language = self.model.language_model
        inputs = prefix
        if self.decoder_only:
            start = torch.full((len(prefix), 1), begin, device=prefix.device)
            inputs = torch.cat([prefix, language.get_input_embeddings()(start).to(prefix.dtype)], dim=1)
        settings = GenerationConfig(
            max_new_tokens=max_tokens,
            num_beams=num_beams,
            do_sample=sample,
            temperature=temperature if sample else 1.0,
            bos_token_id=begin,
            eos_token_id=end,
            pad_token_id=pad,
            decoder_start_token_id=begin,
        )
        was_training = language.training
        language.eval()
        with torch.random.fork_rng(devices=[prefix.device] if prefix.is_cuda else []):
            torch.manual_seed(seed)
            ids = language.generate(
                inputs_embeds=inputs,
                attention_mask=torch.ones(inputs.shape[:2], dtype=torch.long, device=prefix.device),
                generation_config=settings,
            )
        language.train(was_training)
        return [t.strip() for t in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]


def counted(attention_mask: Tensor) -> Tensor:
    """How many tokens of each row bear loss: all but the first, [B]."""
    return attention_mask[:, 1:].sum(1).clamp_min(1)


def image_settings(
    pixels: int, mean: Sequence[float] = (0.5,) * 3, std: Sequence[float] = (0.5,) * 3
) -> dict[str, Any]:
    """The image processor's file for square pictures."""
    return {
        "image_processor_type": "BlipImageProcessor",
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(mean),
        "image_std": list(std),
        "rescale_factor": 1 / 255,
        "resample": 3,
        "size": {"height": pixels, "width": pixels},
    }
