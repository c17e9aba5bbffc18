"""BLIP's networks: transformers' classes with what the released code has beside them.

Paper: Li et al. 2022, "BLIP". transformers' retrieval class has no temperature, momentum copies or queues; its
question-answering class has no projections; neither knows the [ENC] token. Names of weights that transformers has are
its own, so a folder opens with its classes, too.
Departs: the momentum copies and queues of a released checkpoint are carried (and written back), never used: training
here is ITC within the batch and ITM (``train.matching``). For entailment there is no official BLIP code; the head is
ALBEF's (salesforce/ALBEF b9727e4, models/model_ve.py: linear, ReLU, linear on the fused CLS), which BLIP's own NLVR
model has as well.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import BlipConfig, BlipForImageTextRetrieval, BlipForQuestionAnswering, BlipTextModel, BlipVisionModel
from transformers import initialization as init
from transformers.models.blip.modeling_blip import BlipPreTrainedModel

from expunge.core.types import LABELS

TEMPERATURE = 0.07
MOMENTUM_PARTS = ("vision_model", "vision_proj", "text_encoder", "text_proj")
LAYERS = ("BlipEncoderLayer", "BlipTextLayer")  # those whose activations may be computed again
UNITS = ["BlipEncoderLayer"]  # what FSDP shards one by one: text layers are called part by part (``network.step``)
QUEUES = ("image_queue", "text_queue", "idx_queue", "ptr_queue")


def sizes(
    *,
    pixels: int = 384,
    patch: int = 16,
    vision_width: int = 768,
    vision_layers: int = 12,
    vision_heads: int = 12,
    vision_inner: int | None = None,
    text_width: int = 768,
    text_layers: int = 12,
    text_heads: int = 12,
    text_inner: int = 3072,
    vocabulary: int = 30524,
    positions: int = 512,
    projection: int = 256,
    dropout: float = 0.1,
    label_smoothing: float = 0.1,
    separator: int = 102,
    **rest: Any,
) -> BlipConfig:
    """transformers' configuration of a BLIP; the defaults are those of the released base models.

    [DEC] and [ENC] are the last two of the vocabulary, as in the released tokenizer. ``rest`` may hold ``queue`` (with
    it there is room for momentum copies), ``projected`` and ``enc_first``.
    """
    return BlipConfig(
        text_config={
            "hidden_size": text_width, "num_hidden_layers": text_layers, "num_attention_heads": text_heads,
            "intermediate_size": text_inner, "vocab_size": vocabulary, "max_position_embeddings": positions,
            "layer_norm_eps": 1e-12, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout,
            "bos_token_id": vocabulary - 2, "sep_token_id": separator, "eos_token_id": separator, "pad_token_id": 0,
            "label_smoothing": label_smoothing,
        },
        vision_config={
            "hidden_size": vision_width, "num_hidden_layers": vision_layers, "num_attention_heads": vision_heads,
            "intermediate_size": vision_inner or 4 * vision_width, "image_size": pixels, "patch_size": patch,
            # The trap: transformers' own defaults are eps 1e-5 and weights of 1e-10.
            "layer_norm_eps": 1e-6, "initializer_range": 0.02,
        },
        image_text_hidden_size=projection,
        label_smoothing=label_smoothing,
        enc_token_id=vocabulary - 1,
        **rest,
    )  # fmt: skip


def enc_token(config: BlipConfig) -> int:
    """The id of [ENC]; transformers' own configurations do not name it, it is the last of the vocabulary."""
    return getattr(config, "enc_token_id", config.text_config.vocab_size - 1)


def resize(module: Any, pixels: int) -> None:
    """Interpolate the position embedding (also of a momentum copy) bicubically for ``pixels``; CLS stays."""
    for name in ("vision_model", "vision_model_m"):
        if (tower := getattr(module, name, None)) is None:
            continue
        held = tower.embeddings
        patch = held.patch_size
        if pixels % patch:
            raise ValueError(f"pixels={pixels} is not a multiple of the patch size {patch}")
        count = (pixels // patch) ** 2
        wanted = held.position_embedding.new_empty(1, count + 1, held.embed_dim)
        moved = held.position_embedding.requires_grad
        made = held.interpolate_pos_encoding(wanted, pixels, pixels).detach().clone()
        held.position_embedding = nn.Parameter(made, requires_grad=moved)
        held.image_size, held.num_patches, held.num_positions = pixels, count, count + 1
        tower.config.image_size = pixels
    module.config.vision_config.image_size = pixels


class BlipForMatching(BlipForImageTextRetrieval):
    """Retrieval: encoders, projections, temperature, match head (output 1 means match)."""

    _no_split_modules = UNITS
    recomputable = LAYERS

    def __init__(self, config: BlipConfig):
        super().__init__(config)
        self.temp = nn.Parameter(torch.tensor(TEMPERATURE))
        if getattr(config, "queue", 0):
            self.hold_momentum(config.queue)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.constant_(self.temp, TEMPERATURE)

    @property
    def has_momentum(self) -> bool:
        return hasattr(self, "image_queue")

    def hold_momentum(self, queue: int) -> None:
        """Make room for the momentum copies and queues of a released checkpoint."""
        for name in MOMENTUM_PARTS:
            setattr(self, name + "_m", copy.deepcopy(getattr(self, name)).requires_grad_(False))
        width = self.config.image_text_hidden_size
        self.register_buffer("image_queue", torch.zeros(width, queue))
        self.register_buffer("text_queue", torch.zeros(width, queue))
        self.register_buffer("idx_queue", torch.full((1, queue), -100))
        self.register_buffer("ptr_queue", torch.zeros(1, dtype=torch.long))
        self.config.queue = queue

    def drop_momentum(self) -> None:
        """Forget the momentum copies and queues: they hold features of everything trained on."""
        if self.has_momentum:
            for name in (*(part + "_m" for part in MOMENTUM_PARTS), *QUEUES):
                delattr(self, name)
        self.config.queue = 0


class _Aligned:
    """Temperature, and the projections of the retrieval model that it was grown from (``config.projected``)."""

    _no_split_modules = UNITS
    recomputable = LAYERS

    def add_alignment(self: Any, config: BlipConfig) -> None:
        self.temp = nn.Parameter(torch.tensor(TEMPERATURE))
        if getattr(config, "projected", False):
            self.vision_proj = nn.Linear(config.vision_config.hidden_size, config.image_text_hidden_size)
            self.text_proj = nn.Linear(config.text_config.hidden_size, config.image_text_hidden_size)


class BlipForAnswers(_Aligned, BlipForQuestionAnswering):
    """Questions: encoders and an answer decoder that attends to the fused question."""

    def __init__(self, config: BlipConfig):
        super().__init__(config)
        self.add_alignment(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.constant_(self.temp, TEMPERATURE)


class BlipForEntailment(_Aligned, BlipPreTrainedModel):
    """Statements: encoders and a head over three labels on the fused CLS."""

    def __init__(self, config: BlipConfig):
        super().__init__(config)
        self.vision_model = BlipVisionModel(config.vision_config)
        self.text_encoder = BlipTextModel(config.text_config, add_pooling_layer=False)
        width = config.text_config.hidden_size
        self.cls_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, len(LABELS)))
        self.add_alignment(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.constant_(self.temp, TEMPERATURE)

    def get_input_embeddings(self) -> nn.Module:
        return self.text_encoder.get_input_embeddings()
