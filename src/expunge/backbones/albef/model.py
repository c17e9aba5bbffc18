"""ALBEF as Hugging Face models: encoders and projections, and for retrieval match head, momentum copies and queues.

Paper: Li et al. 2021, "Align before Fuse". Checked against salesforce/ALBEF b9727e4, models/model_retrieval.py
(numbers in tests/backbones/test_albef_parity.py). Momentum copies and queues exist only while a model is being
trained (``start_momentum``); they hold features of the training data, so a model that has unlearned drops them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel

from expunge.backbones.albef.network import TextEncoder, VisionEncoder

MOMENTUM_PARTS = ("visual_encoder", "vision_proj", "text_encoder", "text_proj")


class AlbefConfig(PretrainedConfig):
    """Sizes of an ALBEF. The defaults are those of the released retrieval checkpoints.

    ``projection`` 0 means that there are none, as in the released checkpoints for question answering and entailment.
    """

    model_type = "albef"

    def __init__(
        self,
        pixels: int = 384,
        patch: int = 16,
        vision_width: int = 768,
        vision_layers: int = 12,
        vision_heads: int = 12,
        text_width: int = 768,
        text_layers: int = 12,
        fusion_layer: int = 6,
        text_heads: int = 12,
        text_inner: int = 3072,
        vocabulary: int = 30522,
        positions: int = 512,
        max_text_tokens: int = 30,
        projection: int = 256,
        norm_eps: float = 1e-12,
        dropout: float = 0.1,
        initial_temperature: float = 0.07,
        queue: int = 65536,
        momentum: float = 0.995,
        soft_targets: float = 0.4,
        masked_language: bool = False,
        **rest,
    ):
        self.pixels, self.patch = pixels, patch
        self.vision_width, self.vision_layers, self.vision_heads = vision_width, vision_layers, vision_heads
        self.text_width, self.text_layers, self.fusion_layer = text_width, text_layers, fusion_layer
        self.text_heads, self.text_inner = text_heads, text_inner
        self.vocabulary, self.positions, self.max_text_tokens = vocabulary, positions, max_text_tokens
        self.projection, self.norm_eps, self.dropout = projection, norm_eps, dropout
        self.initial_temperature, self.queue, self.momentum = initial_temperature, queue, momentum
        self.soft_targets, self.masked_language = soft_targets, masked_language
        super().__init__(**rest)


class MaskedLanguageHead(nn.Module):
    """Guesses masked words from fused states (pretraining only)."""

    def __init__(self, width: int, vocabulary: int, eps: float):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)
        self.decoder = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.LayerNorm(F.gelu(self.dense(x))))


class AlbefEncoders(PreTrainedModel):
    """What all ALBEFs share: both encoders, their projections and the temperature. Calls no ``post_init``."""

    config_class = AlbefConfig
    base_model_prefix = "albef"
    main_input_name = "pixels"
    _no_split_modules = ["VisionBlock", "TextLayer"]  # what FSDP shards one by one
    recomputable = ("VisionBlock", "TextLayer")

    def __init__(self, config: AlbefConfig):
        super().__init__(config)
        self.visual_encoder = VisionEncoder(
            config.pixels, config.patch, config.vision_width, config.vision_layers, config.vision_heads
        )
        self.text_encoder = TextEncoder(
            config.vocabulary, config.positions, config.text_layers, config.fusion_layer, eps=config.norm_eps,
            dropout=config.dropout, width=config.text_width, heads=config.text_heads, inner=config.text_inner,
            image_width=config.vision_width,
        )  # fmt: skip
        if config.projection:
            self.vision_proj = nn.Linear(config.vision_width, config.projection)
            self.text_proj = nn.Linear(config.text_width, config.projection)
        self.temp = nn.Parameter(torch.tensor(float(config.initial_temperature)))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d):
            module.weight.normal_(0.0, 0.02)
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
        elif isinstance(module, VisionEncoder):
            module.cls_token.normal_(0.0, 0.02)
            module.pos_embed.normal_(0.0, 0.02)

    # ------------------------------------------------------------------------------- encoders

    def image_tokens(self, pixels: Tensor, momentum: bool = False) -> tuple[Tensor, Tensor]:
        """[B, 3, h, w] -> tokens [B, L, d] and unit features [B, D]."""
        m = "_m" if momentum else ""
        tokens = getattr(self, "visual_encoder" + m)(pixels)
        return tokens, self._feature("vision_proj" + m, tokens)

    def text_tokens(self, ids: Tensor, mask: Tensor, momentum: bool = False) -> tuple[Tensor, Tensor]:
        """[B, N] -> tokens [B, N, d] and unit features [B, D]."""
        m = "_m" if momentum else ""
        tokens = getattr(self, "text_encoder" + m).read(ids, mask)
        return tokens, self._feature("text_proj" + m, tokens)

    def _feature(self, projection: str, tokens: Tensor) -> Tensor:
        """Unit feature of the CLS, projected where the model has projections."""
        cls = tokens[:, 0]
        return F.normalize(getattr(self, projection)(cls) if self.config.projection else cls, dim=-1)


class AlbefModel(AlbefEncoders):
    """ALBEF for retrieval. Parameter names follow the released checkpoints. ``itm_head`` output 1 means match."""

    def __init__(self, config: AlbefConfig):
        super().__init__(config)
        self.itm_head = nn.Linear(config.text_width, 2)
        if config.masked_language:
            self.mlm_head = MaskedLanguageHead(config.text_width, config.vocabulary, config.norm_eps)
        self.post_init()

    # ------------------------------------------------------------------------------- momentum

    @property
    def has_momentum(self) -> bool:
        return hasattr(self, "image_queue")

    def start_momentum(self) -> None:
        """Make momentum copies equal to the model and fill the queues with random unit features of nobody."""
        config = self.config
        for name in MOMENTUM_PARTS:
            copy = self._twin(name)
            copy.load_state_dict(getattr(self, name).state_dict())
            setattr(self, name + "_m", copy)
        shape = (config.projection, config.queue)
        draw = torch.Generator().manual_seed(0)
        self.register_buffer("image_queue", F.normalize(torch.randn(shape, generator=draw), dim=0))
        self.register_buffer("text_queue", F.normalize(torch.randn(shape, generator=draw), dim=0))
        self.register_buffer("idx_queue", torch.full((1, config.queue), -100))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    def _twin(self, name: str) -> nn.Module:
        import copy

        twin = copy.deepcopy(getattr(self, name))
        for p in twin.parameters():
            p.requires_grad_(False)
        return twin

    def drop_momentum(self) -> None:
        """Forget the momentum copies and queues: they hold features of everything trained on."""
        if self.has_momentum:
            for name in (*(p + "_m" for p in MOMENTUM_PARTS), "image_queue", "text_queue", "idx_queue", "queue_ptr"):
                delattr(self, name)

    @torch.no_grad()
    def move_momentum(self) -> None:
        """Copies <- momentum * copies + (1 - momentum) * model."""
        for name in MOMENTUM_PARTS:
            copies = list(getattr(self, name + "_m").parameters())
            torch._foreach_lerp_(
                copies, [p.detach() for p in getattr(self, name).parameters()], 1 - self.config.momentum
            )

    @torch.no_grad()
    def enqueue(self, image: Tensor, text: Tensor, ids: Tensor) -> None:
        """Write features [B, D] and ids [B] at the pointer, wrapping round when the batch does not divide the queue."""
        size = self.image_queue.shape[1]
        spots = (int(self.queue_ptr) + torch.arange(len(ids), device=ids.device)) % size
        self.image_queue[:, spots] = image.T.to(self.image_queue.dtype)
        self.text_queue[:, spots] = text.T.to(self.text_queue.dtype)
        self.idx_queue[0, spots] = ids
        self.queue_ptr[0] = (int(self.queue_ptr) + len(ids)) % size

    def forward(self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Match logits [B, 2] of picture k with text k."""
        image, _ = self.image_tokens(pixels)
        text, _ = self.text_tokens(input_ids, attention_mask)
        states = self.text_encoder.fuse(text, attention_mask, self.text_encoder.image_keys_values(image))
        return self.itm_head(states[:, 0])
