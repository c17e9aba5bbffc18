"""What every BLIP backbone shares: two encoders, their fusion, and how they are stored."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.backbones.blip import checkpoints, network
from expunge.backbones.blip.model import enc_token, resize
from expunge.backbones.blip.processor import BlipProcessor
from expunge.backbones.saved import whole
from expunge.core.errors import ExpungeError
from expunge.core.types import Batch, Encoded, Fused, Prepared, Tap, Traits
from expunge.train.rows import by_rows


class Towers:
    """A picture encoder and a text encoder whose every layer can attend to the picture."""

    kind: ClassVar[type]
    """The module's class."""

    def __init__(self, module: Any, processor: BlipProcessor, name: str = "blip"):
        self.module, self.processor = module, processor
        config = module.config
        self.traits = Traits(
            name, config.vision_config.image_size, processor.max_text_tokens,
            config.image_text_hidden_size if hasattr(module, "vision_proj") else config.vision_config.hidden_size,
            {
                "fusion_layers": config.text_config.num_hidden_layers,
                "score": "itm+itc",  # how BLIP ranks: match logit plus cosine (train_retrieval.py:134,155)
                "first_token": "[ENC]" if self.enc_first else "[CLS]",
                "official_layout": name.endswith(".pth"),
            },
        )  # fmt: skip

    @property
    def enc_first(self) -> bool:
        """Whether [ENC] takes the place of [CLS] before a text is fused: so in official training and evaluation.

        The released ITM demo leaves [CLS]; ``config.enc_first = False`` does the same.
        """
        return getattr(self.module.config, "enc_first", True)

    # ------------------------------------------------------------------------------- life

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, vocabulary: str | Path | None = None, pixels: int | None = None
    ) -> Self:
        """Load a folder (ours or transformers') or a released checkpoint (``*.pth``).

        A released checkpoint needs its words: ``vocabulary`` is BERT's ``vocab.txt`` (or a tokenizer folder); by
        default it is looked for beside the checkpoint. ``pixels`` interpolates the position embedding. Raises
        ExpungeError for a model of another task and for a folder that lacks weights.
        """
        source = Path(source)
        if source.is_dir():
            how: dict[str, Any] = {"local_files_only": True, "dtype": torch.float32, "output_loading_info": True}
            module = whole(cls.kind.from_pretrained(str(source), **how), source, checkpoints.LACKED)
            processor = BlipProcessor.from_pretrained(source)
        else:
            module = checkpoints.read_official(source)
            if not isinstance(module, cls.kind):
                raise ExpungeError(f"{source} holds a {type(module).__name__}, not a {cls.kind.__name__}.")
            config = module.config
            processor = BlipProcessor.of_words(
                Path(vocabulary) if vocabulary else source.parent, config.vision_config.image_size,
                config.text_config.vocab_size, min(35, config.text_config.max_position_embeddings),
            )  # fmt: skip
        if pixels:
            try:
                resize(module, pixels)
            except ValueError as problem:
                raise ExpungeError(f"{source}: {problem}.") from None
            processor.resize(pixels)
        return cls(module.eval(), processor, source.name)

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
        if hasattr(self.module, "drop_momentum"):
            self.module.drop_momentum()

    # ------------------------------------------------------------------------------- backbone

    @property
    def device(self) -> torch.device:
        return self.module.temp.device

    def parts(self) -> dict[str, nn.Module]:
        """Roles. Every text layer fuses, so ``text`` (embeddings, self-attention, feed-forward) lies within ``fusion``
        (the whole layers) but for the embeddings; ``cross_attention`` is what ``text`` lacks."""
        m = self.module
        layers = list(m.text_encoder.encoder.layer)
        reading = [part for layer in layers for part in (layer.attention, layer.intermediate, layer.output)]
        aligned = [getattr(m, name) for name in ("vision_proj", "text_proj") if hasattr(m, name)]
        return {
            "vision": m.vision_model,
            "text": nn.ModuleList([m.text_encoder.embeddings, *reading]),
            "fusion": nn.ModuleList(layers),
            "cross_attention": nn.ModuleList([layer.crossattention for layer in layers]),
            "projector": nn.ModuleList(aligned),
        }

    # ------------------------------------------------------------------------------- Embeds and fusion

    @property
    def temperature(self) -> Tensor:
        return self.module.temp

    def _feature(self, projection: str, cls: Tensor) -> Tensor:
        """[B, D] unit norm; a released question-answering model has no projections: there it is the CLS itself."""
        project = getattr(self.module, projection, None)
        return F.normalize(cls if project is None else project(cls), dim=-1)

    @by_rows
    def encode_images(self, batch: Batch) -> Encoded:
        tokens = self.module.vision_model(batch["pixels"]).last_hidden_state
        mask = torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device)
        return Encoded(self._feature("vision_proj", tokens[:, 0]), tokens, mask)

    @by_rows
    def encode_texts(self, batch: Batch) -> Encoded:
        """Text mode: [CLS] first, no cross-attention. The ids go along, ``fuse`` reads them anew."""
        ids, mask = batch["input_ids"], batch["attention_mask"]
        tokens = network.read(self.module.text_encoder, ids, mask)
        return Encoded(self._feature("text_proj", tokens[:, 0]), tokens, mask, ids)

    def prepare_images(self, images: Encoded) -> Prepared:
        return network.prepare(self.module.text_encoder, images.tokens)

    @by_rows
    def fuse(self, images: Encoded | Prepared, texts: Encoded, taps: Mapping[str, Tap] | None = None) -> Fused:
        """See ``Matches.fuse``. The text encoder runs from ``texts.ids``, so the ``text_tokens`` tap sees the token
        embeddings (not ``texts.tokens``); ``image_in`` needs encoded images: prepared ones are past it."""
        encoder = self.module.text_encoder
        if texts.ids is None:
            raise ValueError("BLIP fuses from token ids: give what encode_texts returned")
        if isinstance(images, Prepared):
            if taps and "image_in" in taps:
                raise ValueError("the image_in tap needs encoded images, not prepared ones")
        else:
            images = network.prepare(encoder, images.tokens, (taps or {}).get("image_in"))
        states = network.fuse(encoder, self.entry(texts.ids), texts.mask, images, taps)
        return Fused(states, self.judge(states), texts.mask)

    def entry(self, ids: Tensor) -> Tensor:
        """The ids as the fused encoder takes them: [ENC] in the first place, or unchanged."""
        if not self.enc_first:
            return ids
        first = torch.full_like(ids[:, :1], enc_token(self.module.config))
        return torch.cat([first, ids[:, 1:]], dim=1)

    def judge(self, states: Tensor) -> Tensor:
        """``Fused.logits`` of fused states [B, N, d]; no columns where a model chooses instead of matching."""
        return states.new_zeros(len(states), 0)
