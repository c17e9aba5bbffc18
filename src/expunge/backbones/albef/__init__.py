"""ALBEF (Li et al. 2021): picture and text encoders aligned before they are fused, for retrieval."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from expunge.backbones.albef import checkpoints, losses
from expunge.backbones.albef.model import AlbefConfig, AlbefModel
from expunge.backbones.albef.network import KeyValue
from expunge.backbones.albef.processor import AlbefProcessor
from expunge.core.errors import ExpungeError
from expunge.core.types import Batch, Encoded, Example, Fused, Tap, Traits
from expunge.train import matching

__all__ = ["Albef", "AlbefConfig", "AlbefModel", "AlbefProcessor", "Prepared"]


@dataclass(frozen=True)
class Prepared:
    """Cross-attention keys and values of every fusion layer, [I, H, L, d/H] each: computed once per picture."""

    layers: list[KeyValue]

    def __getitem__(self, index: Tensor) -> Prepared:
        return Prepared([(k[index], v[index]) for k, v in self.layers])

    def __len__(self) -> int:
        return len(self.layers[0][0])


class Albef:
    """The backbone: capabilities ``Embeds`` and ``Matches`` around an ``AlbefModel`` and its processor."""

    provides = ("Embeds", "Matches")

    def __init__(self, model: AlbefModel, processor: AlbefProcessor, name: str = "albef"):
        self.module: AlbefModel = model
        self.processor = processor
        self.traits = Traits(
            name, model.config.pixels, model.config.max_text_tokens, model.config.projection,
            {
                "fusion_layers": model.config.text_layers - model.config.fusion_layer,
                "official_layout": name.endswith(".pth"),
            },
        )  # fmt: skip

    # ------------------------------------------------------------------------------- life

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, vocabulary: str | Path | None = None, pixels: int | None = None
    ) -> Albef:
        """Load a folder written by ``save_pretrained`` or a released checkpoint (``*.pth``).

        A released checkpoint needs its words: ``vocabulary`` is BERT's ``vocab.txt`` (or a tokenizer folder); by
        default it is looked for beside the checkpoint. ``pixels`` resizes the position embedding.
        """
        source = Path(source)
        if source.is_dir():
            model = AlbefModel.from_pretrained(str(source), local_files_only=True, dtype=torch.float32)
            return cls(model.eval(), AlbefProcessor.from_pretrained(source), source.name)
        model = checkpoints.read_official(source, pixels)
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

    def clone(self) -> Albef:
        return Albef(copy.deepcopy(self.module), self.processor, self.traits.name)

    def drop_training_state(self) -> None:
        self.module.drop_momentum()

    # ------------------------------------------------------------------------------- backbone

    def collate(self, examples: Sequence[Example]) -> Batch:
        return {k: v.to(self.device) for k, v in self.processor.collate(examples).items()}

    @property
    def device(self) -> torch.device:
        return self.module.temp.device

    def loss(self, batch: Batch) -> Tensor:
        """ITC within the batch plus ITM, [B]. No momentum, no queue: nothing of the model changes."""
        return matching.loss(self, batch)

    def training_loss(self, batch: Batch, alpha: float | None = None) -> dict[str, Tensor]:
        """The released training step (momentum, queue): terms ``ita`` and ``itm``, means over the batch.

        Moves the momentum copies and queues; call ``module.start_momentum()`` first.
        """
        alpha = self.module.config.soft_targets if alpha is None else alpha
        terms = losses.training_loss(self.module, batch, alpha)
        return {"ita": terms["ita"].mean(), "itm": terms["itm"].mean()}

    def pretraining_loss(self, batch: Batch, alpha: float) -> dict[str, Tensor]:
        """As ``training_loss``, with masked words on the first half of the batch (it costs a whole second pass)."""
        terms = losses.training_loss(self.module, batch, alpha)
        tokenizer = self.processor.tokenizer
        half = {k: v[: (len(v) + 1) // 2] for k, v in batch.items()}
        mlm = losses.masked_words(
            self.module, terms["image"][: len(half["groups"])], half, tokenizer.mask_token_id,
            max(tokenizer.all_special_ids) + 1,
        )  # fmt: skip
        return {"ita": terms["ita"].mean(), "itm": terms["itm"].mean(), "mlm": mlm.mean()}

    def parts(self) -> dict[str, nn.Module]:
        m = self.module
        lower = m.text_encoder.encoder.layer[: m.text_encoder.fusion]
        return {
            "vision": m.visual_encoder,
            "text": nn.ModuleList([m.text_encoder.embeddings, *lower]),
            "fusion": nn.ModuleList(m.text_encoder.upper),
            "cross_attention": nn.ModuleList([layer.crossattention for layer in m.text_encoder.upper]),
            "projector": nn.ModuleList([m.vision_proj, m.text_proj]),
            "head": m.itm_head,
        }

    # ------------------------------------------------------------------------------- Embeds, Matches

    @property
    def temperature(self) -> Tensor:
        return self.module.temp

    def encode_images(self, batch: Batch) -> Encoded:
        tokens, feature = self.module.image_tokens(batch["pixels"])
        return Encoded(feature, tokens, torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device))

    def encode_texts(self, batch: Batch) -> Encoded:
        tokens, feature = self.module.text_tokens(batch["input_ids"], batch["attention_mask"])
        return Encoded(feature, tokens, batch["attention_mask"])

    def prepare_images(self, images: Encoded) -> Prepared:
        return Prepared(self.module.text_encoder.image_keys_values(images.tokens))

    def fuse(self, images: Encoded | Prepared, texts: Encoded, taps: Mapping[str, Tap] | None = None) -> Fused:
        """See ``Matches.fuse``. The ``image_in`` tap needs encoded images: prepared ones are past it."""
        encoder = self.module.text_encoder
        if isinstance(images, Prepared):
            if taps and "image_in" in taps:
                raise ValueError("the image_in tap needs encoded images, not prepared ones")
            layers = images.layers
        else:
            layers = encoder.image_keys_values(images.tokens, (taps or {}).get("image_in"))
        states = encoder.fuse(texts.tokens, texts.mask, layers, taps)
        return Fused(states, self.module.itm_head(states[:, 0]))

    # ------------------------------------------------------------------------------- looking inside

    def gradcam(self, batch: Batch, layer: int = -1) -> Tensor:
        """Where the match logit comes from: [B, N, h, w] per text token, zero on padding.

        Attention of a fusion layer's cross-attention times the positive part of its gradient, mean over heads
        (Grounding.py:74-139 of the released code). ``layer`` counts fusion layers; -1 is the last, as in the
        paper's words, the released notebook takes the third (8 of 6..11).
        """
        attending = self.module.text_encoder.upper[layer].crossattention.self
        seen: list[Tensor] = []
        attending.seen = seen.append
        try:
            with torch.enable_grad():
                pixels = batch["pixels"].detach().requires_grad_(True)  # so that attention has a gradient at all
                logits = self.fuse(self.encode_images({**batch, "pixels": pixels}), self.encode_texts(batch)).logits
                attention = seen[-1]
                (gradient,) = torch.autograd.grad(logits[:, 1].sum(), attention)
        finally:
            attending.seen = None
        cam = (attention * gradient.clamp(min=0)).detach()[..., 1:]  # drop the picture's CLS column
        side = int(cam.shape[-1] ** 0.5)
        cam = cam.unflatten(-1, (side, side)) * batch["attention_mask"][:, None, :, None, None]
        return cam.mean(1)


def _tokenizer(place: Path, max_tokens: int):
    from transformers import BertTokenizerFast

    words = place / "vocab.txt" if place.is_dir() else place
    if (place / "tokenizer.json").exists():
        return BertTokenizerFast.from_pretrained(str(place))
    if not words.exists():
        raise ExpungeError(
            f"{words}: a released ALBEF checkpoint needs BERT's word list. Put bert-base-uncased's vocab.txt beside "
            "the checkpoint, or name it with vocabulary=."
        )
    lines = words.read_text(encoding="utf-8").splitlines()
    return BertTokenizerFast(vocab={w: i for i, w in enumerate(lines)}, do_lower_case=True, model_max_length=max_tokens)
