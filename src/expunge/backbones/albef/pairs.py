"""Pictures and texts of an ALBEF, each on its own and fused: what its backbones share whatever their task."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from expunge.backbones.albef import checkpoints
from expunge.backbones.albef.model import AlbefConfig, AlbefEncoders
from expunge.backbones.albef.processor import AlbefProcessor
from expunge.backbones.saved import need_words, whole
from expunge.core.errors import ExpungeError
from expunge.core.types import Batch, Encoded, Prepared, Tap, Traits
from expunge.train.rows import by_rows


class AlbefPairs:
    """Life of the model, ``Embeds``, and fusion without a head."""

    module: Any
    built: type[AlbefEncoders]
    """The class of the model inside."""

    def __init__(self, model: AlbefEncoders, processor: AlbefProcessor, name: str):
        self.module = model
        self.processor = processor
        config: AlbefConfig = model.config
        self.traits = Traits(
            name, config.pixels, config.max_text_tokens, config.projection or config.text_width,
            {
                "fusion_layers": config.text_layers - config.fusion_layer,
                "official_layout": name.endswith(".pth"),
                "projected": bool(config.projection),
            },
        )  # fmt: skip

    # ------------------------------------------------------------------------------- life

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, vocabulary: str | Path | None = None, pixels: int | None = None
    ) -> Self:
        """Load a folder written by ``save_pretrained`` or a released checkpoint (``*.pth``).

        A released checkpoint needs its words: ``vocabulary`` is BERT's ``vocab.txt`` (or a tokenizer folder); by
        default it is looked for beside the checkpoint. ``pixels`` resizes the position embedding. Raises ExpungeError
        for a model of another task and for a folder that lacks weights.
        """
        source = Path(source)
        if source.is_dir():
            how: dict[str, Any] = {"local_files_only": True, "dtype": torch.float32, "output_loading_info": True}
            model = whole(cls.built.from_pretrained(str(source), **how), source)
            processor = AlbefProcessor.from_pretrained(source)
            if pixels:
                checkpoints.resize(model, pixels, source)
                processor.pixels = pixels
            return cls(model.eval(), processor, source.name)
        model = checkpoints.read_official(source, pixels)
        if not isinstance(model, cls.built):
            raise ExpungeError(f"{source} holds a {type(model).__name__}, not a {cls.built.__name__}.")
        return cls.around(model, source, vocabulary)

    @classmethod
    def around(cls, model: AlbefEncoders, source: Path, vocabulary: str | Path | None = None) -> Self:
        """The backbone of a model that was read from the released checkpoint ``source``."""
        tokenizer = _tokenizer(Path(vocabulary) if vocabulary else source.parent, model.config.max_text_tokens)
        if len(tokenizer) > model.config.vocabulary:
            raise ExpungeError(f"the vocabulary holds {len(tokenizer)} words, {source} only {model.config.vocabulary}.")
        return cls(model, AlbefProcessor(tokenizer, model.config.pixels, model.config.max_text_tokens), source.name)

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Model (safetensors), configuration and processor; loads with ``from_pretrained``, always as float32.

        ``dtype`` stores the weights in another precision, for small files.
        """
        (copy.deepcopy(self.module).to(dtype) if dtype else self.module).save_pretrained(str(folder))
        self.processor.save_pretrained(folder)

    def save_official(self, path: str | Path) -> None:
        """The released ``.pth`` layout, for code that loads that."""
        checkpoints.write_official(self.module, Path(path))

    def clone(self) -> Self:
        return type(self)(copy.deepcopy(self.module), self.processor, self.traits.name)

    def drop_training_state(self) -> None:
        """Nothing to drop: only the retrieval model keeps momentum copies and queues."""

    @property
    def device(self) -> torch.device:
        return self.module.temp.device

    def parts(self) -> dict[str, nn.Module]:
        m = self.module
        lower = m.text_encoder.encoder.layer[: m.text_encoder.fusion]
        found: dict[str, nn.Module] = {
            "vision": m.visual_encoder,
            "text": nn.ModuleList([m.text_encoder.embeddings, *lower]),
            "fusion": nn.ModuleList(m.text_encoder.upper),
            "cross_attention": nn.ModuleList([layer.crossattention for layer in m.text_encoder.upper]),
        }
        if m.config.projection:
            found["projector"] = nn.ModuleList([m.vision_proj, m.text_proj])
        return found

    # ------------------------------------------------------------------------------- Embeds, and fusion

    @property
    def temperature(self) -> Tensor:
        return self.module.temp

    @by_rows
    def encode_images(self, batch: Batch) -> Encoded:
        tokens, feature = self.module.image_tokens(batch["pixels"])
        return Encoded(feature, tokens, torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device))

    @by_rows
    def encode_texts(self, batch: Batch) -> Encoded:
        tokens, feature = self.module.text_tokens(batch["input_ids"], batch["attention_mask"])
        return Encoded(feature, tokens, batch["attention_mask"])

    def prepare_images(self, images: Encoded) -> Prepared:
        return Prepared(self.module.text_encoder.image_keys_values(images.tokens))

    def fused_states(self, images: Encoded | Prepared, texts: Encoded, taps: Mapping[str, Tap] | None = None) -> Tensor:
        """Last hidden state [B, N, d]. The ``image_in`` tap needs encoded images: prepared ones are past it."""
        encoder = self.module.text_encoder
        if isinstance(images, Prepared):
            if taps and "image_in" in taps:
                raise ValueError("the image_in tap needs encoded images, not prepared ones")
            layers = images.layers
        else:
            layers = encoder.image_keys_values(images.tokens, (taps or {}).get("image_in"))
        return encoder.fuse(texts.tokens, texts.mask, layers, taps)


def _tokenizer(place: Path, max_tokens: int):
    from transformers import BertTokenizerFast

    if (place / "tokenizer.json").exists():
        return BertTokenizerFast.from_pretrained(str(place))
    lines = need_words(place).read_text(encoding="utf-8").splitlines()
    return BertTokenizerFast(vocab={w: i for i, w in enumerate(lines)}, do_lower_case=True, model_max_length=max_tokens)
