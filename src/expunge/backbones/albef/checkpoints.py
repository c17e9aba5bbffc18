"""The released checkpoints' layout, read and written.

A released file is a torch pickle ``{"model": state, "config": …}``: it is opened with ``weights_only=True``, never
otherwise. Pretrained files carry ``text_encoder.bert.*`` where fine-tuned ones carry ``text_encoder.*``.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.backbones.albef.answer_models import (
    AlbefAnswersConfig,
    AlbefAnswersModel,
    AlbefEntailmentConfig,
    AlbefEntailmentModel,
)
from expunge.backbones.albef.model import AlbefConfig, AlbefEncoders, AlbefModel
from expunge.core.errors import ExpungeError

QUEUES = ("image_queue", "text_queue", "idx_queue", "queue_ptr")
KINDS: dict[str, tuple[type[AlbefEncoders], type[AlbefConfig]]] = {
    "itm_head.weight": (AlbefModel, AlbefConfig),
    "cls_head.0.weight": (AlbefEntailmentModel, AlbefEntailmentConfig),
    "text_decoder.bert.embeddings.word_embeddings.weight": (AlbefAnswersModel, AlbefAnswersConfig),
}
"""What a checkpoint was made for, by the tensor that only such a one has."""
WORDS = "text_decoder.cls.predictions.decoder"


def interpolate_positions(embedding: Tensor, pixels: int, patch: int) -> Tensor:
    """Resize the patch part of a position embedding [1, 1 + n², d] bicubically for ``pixels``; CLS stays."""
    side = math.isqrt(embedding.shape[1] - 1)
    wanted = pixels // patch
    if side == wanted:
        return embedding
    cls, grid = embedding[:, :1], embedding[:, 1:]
    grid = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid.float(), size=(wanted, wanted), mode="bicubic", align_corners=False)
    return torch.cat([cls, grid.permute(0, 2, 3, 1).flatten(1, 2).to(cls.dtype)], dim=1)


def resize(model: AlbefEncoders, pixels: int, source: str | Path) -> None:
    """Interpolate the position embedding (also of the momentum copy) for ``pixels``. Raises ExpungeError."""
    patch = model.config.patch
    if pixels % patch:
        raise ExpungeError(f"pixels={pixels} is not a multiple of the patch size {patch} of {source}.")
    for name in ("visual_encoder", "visual_encoder_m"):
        if (encoder := getattr(model, name, None)) is not None:
            held = encoder.pos_embed
            made = interpolate_positions(held.detach(), pixels, patch).clone()
            encoder.pos_embed = nn.Parameter(made, requires_grad=held.requires_grad)
    model.config.pixels = pixels


def read_official(path: Path, pixels: int | None = None, heads: int | None = None) -> AlbefEncoders:
    """Build a model from a released checkpoint (retrieval, entailment or questions); sizes are read off the tensors.

    The number of heads leaves no trace in the tensors: it is width / 64 as in every released model, or 4 below
    512, unless ``heads`` or a file of ours (``write_official``) says otherwise. ``pixels`` resizes the position
    embedding (also of the momentum copy).
    Momentum copies and queues are kept when a retrieval file has them. Raises ExpungeError on another layout.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        raise ExpungeError(f"{path}: not a checkpoint that can be opened safely ({problem}).") from problem
    state = found.get("model", found) if isinstance(found, dict) else {}
    state = {re.sub(r"^(text_encoder(?:_m)?)\.bert\.", r"\1.", k): v for k, v in state.items()}
    state = {
        k: v for k, v in state.items()
        if not k.endswith("position_ids") and not re.match(r"text_encoder(_m)?\.cls\.predictions\.", k)
    }  # fmt: skip
    kind = next((kind for mark, kind in KINDS.items() if mark in state), None)
    if "visual_encoder.pos_embed" not in state or kind is None:
        raise ExpungeError(
            f"{path}: this is not an ALBEF checkpoint for retrieval, pretraining, entailment or questions (it lacks "
            "visual_encoder, or a head). Give ALBEF.pth, flickr30k.pth, vqa.pth or a folder written by save_pretrained."
        )
    config = kind[1](**_sizes_of(state, found.get("config") or {}, heads, kind[0]))
    model = kind[0](config)
    if isinstance(model, AlbefModel) and "image_queue" in state and "visual_encoder_m.cls_token" in state:
        model.start_momentum()
        if "idx_queue" not in state:  # pretraining keeps no ids in its queue
            state["idx_queue"] = torch.full((1, config.queue), -100)
    else:
        state = {k: v for k, v in state.items() if k not in QUEUES and "_m." not in k}
    if isinstance(model, AlbefAnswersModel):
        _untie(state, path)
    if not isinstance(model, AlbefModel):  # these have no temperature of their own
        state.setdefault("temp", torch.tensor(config.initial_temperature))
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ExpungeError(
            f"{path}: does not fit ALBEF; missing {sorted(missing)[:5]}, unexpected {sorted(unexpected)[:5]}."
        )
    if pixels:
        resize(model, pixels, path)
    return model.eval()


def _untie(state: dict[str, Tensor], path: Path) -> None:
    """Drop the decoder's second copy of its word embeddings. Raises ExpungeError where it is no copy."""
    twins = {
        WORDS + ".weight": "text_decoder.bert.embeddings.word_embeddings.weight",
        WORDS + ".bias": "text_decoder.cls.predictions.bias",
    }
    for copy, original in twins.items():
        if copy in state and not torch.equal(state.pop(copy), state[original]):
            raise ExpungeError(f"{path}: {copy} is not tied to {original}, as it is in every released model.")


def _sizes_of(state: dict[str, Tensor], said: dict, heads: int | None, kind: type[AlbefEncoders]) -> dict[str, Any]:
    def count(pattern: str) -> int:
        return 1 + max(int(m[1]) for k in state if (m := re.match(pattern, k)))

    patch = state["visual_encoder.patch_embed.proj.weight"].shape[-1]
    side = math.isqrt(state["visual_encoder.pos_embed"].shape[1] - 1)
    width = state["visual_encoder.cls_token"].shape[-1]
    words = state["text_encoder.embeddings.word_embeddings.weight"]
    layers = count(r"text_encoder\.encoder\.layer\.(\d+)\.")
    crossed = {int(m[1]) for k in state if (m := re.match(r"text_encoder\.encoder\.layer\.(\d+)\.crossattention", k))}
    queue = state.get("image_queue")

    def heads_of(tower: str, size: int) -> int:
        return heads or said.get(f"{tower}_heads") or (size // 64 if size >= 512 else 4)

    positions = state["text_encoder.embeddings.position_embeddings.weight"].shape[0]
    answers = issubclass(kind, AlbefAnswersModel)
    extra = {"decoder_layers": count(r"text_decoder\.bert\.encoder\.layer\.(\d+)\.")} if answers else {}
    return dict(
        pixels=side * patch,
        patch=patch,
        vision_width=width,
        vision_layers=count(r"visual_encoder\.blocks\.(\d+)\."),
        vision_heads=heads_of("vision", width),
        text_width=words.shape[1],
        text_layers=layers,
        fusion_layer=min(crossed),
        text_heads=heads_of("text", words.shape[1]),
        text_inner=state["text_encoder.encoder.layer.0.intermediate.dense.weight"].shape[0],
        vocabulary=words.shape[0],
        positions=positions,
        max_text_tokens=min(50 if answers else 30, positions),  # questions are longer than captions
        projection=state["vision_proj.weight"].shape[0] if "vision_proj.weight" in state else 0,
        queue=queue.shape[1] if queue is not None else 65536,
        momentum=float(said.get("momentum", 0.995)),
        initial_temperature=float(state.get("temp", 0.07)),
        **extra,
    )


def write_official(model: AlbefEncoders, path: Path) -> None:
    """Write the released layout. Files made by unlearning carry no momentum copies and no queues: the released
    loader fills what is missing from the model itself (``load_state_dict(strict=False)``). Projections and temperature
    of a model with answers stand beside what the released one has, so that they come back."""
    from expunge.core.atomic import replace_file

    state = {k: v.detach().clone() for k, v in model.state_dict().items() if not k.startswith("mlm_head")}
    if not isinstance(model, AlbefModel) and not model.config.projection:
        del state["temp"]
    positions = model.config.positions
    for part in ("text_encoder", "text_encoder_m", "text_decoder.bert"):
        if f"{part}.embeddings.word_embeddings.weight" in state:
            state[f"{part}.embeddings.position_ids"] = torch.arange(positions)[None]
    if isinstance(model, AlbefAnswersModel):
        state[WORDS + ".weight"] = state["text_decoder.bert.embeddings.word_embeddings.weight"].clone()
        state[WORDS + ".bias"] = state["text_decoder.cls.predictions.bias"].clone()
    c = model.config
    sizes = {"image_res": c.pixels, "embed_dim": c.projection, "momentum": c.momentum}
    sizes |= {"vision_heads": c.vision_heads, "text_heads": c.text_heads}  # no tensor tells them
    with replace_file(path) as partial:
        torch.save({"model": state, "config": sizes}, partial)
