"""BLIP-2: a frozen-friendly picture-to-prefix encoder before a language model, on transformers' own classes.

The language model is called directly with ``inputs_embeds``, so a *prefix* [B, P, d_l] may be the projected query
tokens, any other tokens of that width, both joined, or nothing at all (P = 0: plain text). Decoder-only models
(OPT) read [prefix, begin, text, end]; encoder-decoder models (T5) read the prefix in the encoder, closed by the begin
token where the model's settings name one (the released ones do), and speak in the decoder. Losses count the text and
its end token, never the prefix.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoTokenizer, Blip2Config, Blip2ForConditionalGeneration, GenerationConfig

from expunge.backbones import saved
from expunge.core.errors import ExpungeError
from expunge.core.text import plain
from expunge.core.types import Batch, Example, Traits
from expunge.train.precision import WHOLE

IMAGE_SETTINGS = "preprocessor_config.json"
IGNORED = -100
SEEING = ("vision_model", "qformer", "language_projection")


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
    def from_pretrained(
        cls, folder: str | Path, *, dtype: torch.dtype = torch.float32, eight_bit: bool = False
    ) -> Blip2:
        """Load a transformers folder: weights (whole or in shards), settings, tokenizer and image settings.

        With ``eight_bit`` the language model is held in 8 bit by bitsandbytes on a CUDA device, the rest in ``dtype``;
        gradients still reach the prefix. Raises ExpungeError for a folder that holds pickles only, is not whole, does
        not say how pictures are prepared or contradicts itself, for a T5 in float16, and where 8 bit cannot be had.
        """
        at = Path(folder)
        config = Blip2Config.from_pretrained(str(folder))
        if dtype == torch.float16 and not config.use_decoder_only_language_model:
            raise ExpungeError(
                f"{at.name} speaks with a T5, whose states overflow in float16 and become nothing. Take bf16 or fp32."
            )
        how: dict[str, Any] = {"dtype": dtype, "use_safetensors": True}
        if eight_bit:
            how |= in_eight_bit()
        image = None
        if at.is_dir():
            how["variant"] = saved.variant(at)
            image = square(saved.image_settings(at), config.vision_config.image_size, at)
        opened = Blip2ForConditionalGeneration.from_pretrained(str(folder), output_loading_info=True, **how)
        model = saved.whole(opened, folder).eval()
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        longest = min(tokenizer.model_max_length, 512)
        return cls(model, tokenizer, image, name=at.name, max_text_tokens=longest)

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

    @property
    def is_eight_bit(self) -> bool:
        return bool(getattr(self.model, "is_loaded_in_8bit", False))

    def seat(self, use: Literal["encode", "train", "generate", "away"], device: torch.device | str) -> None:
        """Put what ``use`` needs on ``device`` and the rest on the CPU: what sees, or the language model.

        A language model in 8 bit stays where it is: it was quantised for its device and is small.
        """
        m = self.model
        speaks, sees = use in ("train", "generate"), use == "encode"
        if not speaks and not self.is_eight_bit:
            m.language_model.to("cpu")
        for part in (getattr(m, name) for name in SEEING):
            part.to(device if sees else "cpu")
        queries = m.query_tokens.detach().to(device if sees else "cpu")
        m.query_tokens = nn.Parameter(queries, requires_grad=m.query_tokens.requires_grad)
        if speaks and not self.is_eight_bit:
            m.language_model.to(device)

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
        where = self._words().weight.device
        return {"input_ids": input_ids.to(where), "attention_mask": attention_mask.to(where)}

    def _words(self) -> Any:
        return self.model.language_model.get_input_embeddings()

    def _marks(self) -> tuple[int, int, int]:
        """The ids of begin, end and padding; a T5 has no begin of its own and starts with its padding."""
        c = self.model.config.text_config
        begin = c.bos_token_id if self.decoder_only else getattr(c, "decoder_start_token_id", None)
        pad = c.pad_token_id if c.pad_token_id is not None else c.eos_token_id
        return (pad if begin is None else begin), c.eos_token_id, pad

    def encode_pictures(self, pixels: Tensor) -> Tensor:
        """The projected query tokens, [B, n_q, d_l]."""
        return self.model.get_image_features(pixels.to(self.model.vision_model.dtype)).pooler_output

    def _heard(self, prefix: Tensor) -> Tensor:
        """The prefix as the language model takes it, [B, P, d_l]: in its own precision where that is not float32, and,
        before an encoder, closed by the begin token of the model's settings if there is one."""
        words = self._words()
        prefix = prefix.to(words.weight.device)
        if words.weight.dtype != torch.float32:
            prefix = prefix.to(words.weight.dtype)
        closing = None if self.decoder_only else getattr(self.model.config.text_config, "bos_token_id", None)
        if closing is None:
            return prefix
        last = words(torch.full((len(prefix), 1), closing, device=prefix.device))
        return torch.cat([prefix, last.to(prefix.dtype)], dim=1)

    # ------------------------------------------------------------------------------------ language

    def token_nats(self, prefix: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Nats of every token after the first, [B, T-1], zero at padding; gradients reach the prefix."""
        language, prefix = self.model.language_model, self._heard(prefix)
        labels = input_ids[:, 1:].masked_fill(attention_mask[:, 1:] == 0, IGNORED)  # [B, T-1]
        before = torch.ones(prefix.shape[:2], dtype=attention_mask.dtype, device=prefix.device)
        if self.decoder_only:
            joined = torch.cat([prefix, self._words()(input_ids).to(prefix.dtype)], dim=1)  # [B, P+T, d]
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

    def text_loss(self, prefix: Tensor, texts: Sequence[str]) -> Tensor:
        """Nats of each text after its prefix, mean per token, [B]."""
        made = self.tokens(texts)
        return self.token_nats(prefix, **made).sum(1) / counted(made["attention_mask"])

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
        """One text per prefix, by the likeliest word each time, by ``num_beams`` or, with ``sample``, drawn.

        Words are drawn at ``temperature`` from the 50 likeliest (what transformers does unless told otherwise), by
        ``seed`` for the whole batch: the same prefix writes other words in another place or in a larger batch. torch's
        generator is left as it was. Beams and temperature are for captions of one's own; MVI uses neither.
        """
        begin, end, pad = self._marks()
        language = self.model.language_model
        inputs = self._heard(prefix)
        if self.decoder_only:
            start = torch.full((len(inputs), 1), begin, device=inputs.device)
            inputs = torch.cat([inputs, self._words()(start).to(inputs.dtype)], dim=1)
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
        # The trap: what ``settings`` leaves open is taken from the model's own, such as a penalty on repeated words.
        own, was_training = language.generation_config, language.training
        language.eval()
        language.generation_config = settings
        try:
            with torch.random.fork_rng(devices=[inputs.device] if inputs.is_cuda else []):
                torch.manual_seed(seed)
                ids = language.generate(
                    inputs_embeds=inputs,
                    attention_mask=torch.ones(inputs.shape[:2], dtype=torch.long, device=inputs.device),
                    generation_config=settings,
                )
        finally:
            language.generation_config = own
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


def square(image: Mapping[str, Any], pixels: int, folder: Path) -> dict[str, Any]:
    """Image settings, if pictures come out of them as the vision tower takes them: a square of ``pixels`` by bicubic.

    Raises ExpungeError otherwise.
    """
    size = image.get("size") or {}
    sides = (size.get("height"), size.get("width")) if isinstance(size, Mapping) else (size, size)
    if sides != (pixels, pixels):
        raise ExpungeError(
            f"{folder} prepares pictures of size {size} for a vision tower that takes {pixels} x {pixels}: its "
            "settings belong to another model. Save the processor and the model together."
        )
    if image.get("resample", 3) != 3 or image.get("do_center_crop"):
        raise ExpungeError(
            f"{folder} resamples pictures by rule {image.get('resample')} "
            f"{'and crops them' if image.get('do_center_crop') else ''}; this knows bicubic (3) to a square, as BLIP-2."
        )
    return dict(image)


def in_eight_bit() -> dict[str, Any]:
    """What ``from_pretrained`` needs to hold the language model in 8 bit; what sees stays as it is.

    Raises ExpungeError without a CUDA device or without bitsandbytes.
    """
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if not torch.cuda.is_available():
        raise ExpungeError("a language model in 8 bit needs a CUDA device, and there is none. Take bf16 or fp32.")
    if not is_bitsandbytes_available():
        raise ExpungeError("a language model in 8 bit needs bitsandbytes: pip install 'expunge[int8]'. Or take bf16.")
    kept = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=[*SEEING, *WHOLE])
    return {"quantization_config": kept, "device_map": {"": torch.cuda.current_device()}}
