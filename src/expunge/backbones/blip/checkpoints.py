"""The released checkpoints' layout, read and written.

A released file is a torch pickle ``{"model": state, …}``: it is opened with ``weights_only=True``, never otherwise.
Its picture encoder carries timm's names (ALBEF's files have the same), transformers' classes have their own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expunge.backbones.blip.model import BlipForAnswers, BlipForEntailment, BlipForMatching, sizes
from expunge.core.errors import ExpungeError

# How the released picture encoder names what transformers' has too.
_SAME = (
    ("cls_token", "embeddings.class_embedding"),
    ("pos_embed", "embeddings.position_embedding"),
    ("patch_embed.proj", "embeddings.patch_embedding"),
    ("blocks.", "encoder.layers."),
    ("attn.qkv", "self_attn.qkv"),
    ("attn.proj", "self_attn.projection"),
    ("norm1", "layer_norm1"),
    ("norm2", "layer_norm2"),
)
_NEVER_RELEASED = ("vision_proj", "text_proj", "temp")  # of models that answer
TWINS = {
    "text_decoder.cls.predictions.decoder.weight": "text_decoder.bert.embeddings.word_embeddings.weight",
    "text_decoder.cls.predictions.decoder.bias": "text_decoder.cls.predictions.bias",
}
LACKED = ("temp",)
"""What transformers' own folders have no place for."""


def ours(name: str) -> str:
    """transformers' name of a released tensor."""
    found = re.match(r"visual_encoder(_m)?\.(.+)", name)
    if not found:
        return name
    rest = found[2]
    for theirs, own in _SAME:
        rest = rest.replace(theirs, own)
    rest = re.sub(r"^norm\.", "post_layernorm.", rest)
    return f"vision_model{found[1] or ''}.{rest}"


def theirs(name: str) -> str:
    """The released name of one of transformers' tensors."""
    found = re.match(r"vision_model(_m)?\.(.+)", name)
    if not found:
        return name
    rest = re.sub(r"^post_layernorm\.", "norm.", found[2])
    for released, own in _SAME:
        rest = rest.replace(own, released)
    return f"visual_encoder{found[1] or ''}.{rest}"


def looks_like(names: Iterable[str]) -> bool:
    """Whether these are the tensors of a released BLIP: ALBEF's text encoder has token types, BLIP's has none."""
    held = list(names)
    return any(n.startswith("visual_encoder.") for n in held) and not any("token_type_embeddings" in n for n in held)


def open_released(path: Path) -> dict[str, Any]:
    """The tensors of a released file. Raises ExpungeError when it cannot be opened without running code."""
    return _opened(path)[0]


def _opened(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors of a released file, and what it says beside them."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        raise ExpungeError(f"{path}: not a checkpoint that can be opened safely ({problem}).") from problem
    found = found if isinstance(found, dict) else {}
    state, said = found.get("model", found), found.get("config")
    return (state if isinstance(state, dict) else {}), (said if isinstance(said, dict) else {})


def read_official(path: Path, heads: int | None = None) -> Any:
    """Build the model of a released checkpoint; what it is and its sizes are read off the tensors.

    The number of heads leaves no trace there: it is width / 64 as in every released model, or 4 below 512, unless
    ``heads`` or a file of ours (``write_official``) says otherwise. Momentum copies and queues are kept when the file
    has them all. Raises ExpungeError on another layout.
    """
    released, said = _opened(path)
    if not looks_like(released):
        raise ExpungeError(
            f"{path}: this is not a BLIP checkpoint (no visual_encoder in it, or ALBEF's token types). Give "
            "model_base_retrieval_flickr.pth, model_base_vqa_capfilt_large.pth or a folder written by save_pretrained."
        )
    state = {ours(k): v for k, v in released.items() if not k.endswith("position_ids")}
    if "queue_ptr" in state:  # pretraining's name for it
        state["ptr_queue"] = state.pop("queue_ptr")
    if "itm_head.weight" in state:
        network: Any = BlipForMatching
        state = {k: v for k, v in state.items() if not k.startswith(("text_decoder", "mlm_head"))}
    elif any(k.startswith("cls_head.") for k in state):
        network = BlipForEntailment
    elif any(k.startswith("text_decoder.cls.") for k in state) and any(k.startswith("text_encoder.") for k in state):
        network = BlipForAnswers
    else:
        raise ExpungeError(f"{path}: a BLIP for neither retrieval nor questions; captioning models cannot be used.")
    kept = network is BlipForMatching and {"image_queue", "vision_model_m.embeddings.class_embedding"} <= state.keys()
    if not kept:
        state = {k: v for k, v in state.items() if not k.endswith("_queue") and not re.match(r"\w+_m\.", k)}
    elif "idx_queue" not in state:  # pretraining keeps no ids in its queue
        state["idx_queue"] = torch.full((1, state["image_queue"].shape[1]), -100)
    if network is BlipForAnswers:
        _check_ties(state, path)
    model = network(_config_of(state, said, heads))
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as problem:
        raise ExpungeError(f"{path}: does not fit transformers' BLIP: {problem}") from problem
    never = () if network is BlipForMatching else _NEVER_RELEASED
    missing = [k for k in missing if k.split(".")[0] not in never]
    if missing or unexpected:
        raise ExpungeError(
            f"{path}: does not fit BLIP; missing {sorted(missing)[:5]}, unexpected {sorted(unexpected)[:5]}."
        )
    return model.eval()


def _check_ties(state: dict[str, Tensor], path: Path) -> None:
    """Raise ExpungeError where the decoder's output is no copy of its word embeddings: here they are one tensor."""
    for copy, original in TWINS.items():
        if copy in state and original in state and not torch.equal(state[copy], state[original]):
            raise ExpungeError(f"{path}: {copy} is not tied to {original}, as it is in every released model.")


def _config_of(state: dict[str, Tensor], said: dict[str, Any], heads: int | None) -> Any:
    def count(pattern: str) -> int:
        return 1 + max(int(m[1]) for k in state if (m := re.match(pattern, k)))

    def heads_of(tower: str, size: int) -> int:
        return heads or said.get(f"{tower}_heads") or (size // 64 if size >= 512 else 4)

    places = state["vision_model.embeddings.position_embedding"]
    words = state["text_encoder.embeddings.word_embeddings.weight"]
    patch = state["vision_model.embeddings.patch_embedding.weight"].shape[-1]
    queue = state.get("image_queue")
    more = {} if queue is None else {"queue": queue.shape[1]}
    if "vision_proj.weight" in state:
        more["projection"] = state["vision_proj.weight"].shape[0]
        more["projected"] = True
    return sizes(
        pixels=math.isqrt(places.shape[1] - 1) * patch,
        patch=patch,
        vision_width=places.shape[-1],
        vision_layers=count(r"vision_model\.encoder\.layers\.(\d+)\."),
        vision_heads=heads_of("vision", places.shape[-1]),
        vision_inner=state["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        text_width=words.shape[1],
        text_layers=count(r"text_encoder\.encoder\.layer\.(\d+)\."),
        text_heads=heads_of("text", words.shape[1]),
        text_inner=state["text_encoder.encoder.layer.0.intermediate.dense.weight"].shape[0],
        vocabulary=words.shape[0],
        positions=state["text_encoder.embeddings.position_embeddings.weight"].shape[0],
        **more,
    )


def write_official(model: Any, path: Path) -> None:
    """Write the released layout. A retrieval file made by unlearning carries no momentum copies and no queues: the
    released loader fills what is missing from the model itself (``load_state_dict(strict=False)``)."""
    from expunge.core.atomic import replace_file

    state = {theirs(k): v.detach().clone() for k, v in model.state_dict().items()}
    if isinstance(model, BlipForAnswers):
        state = {k: v for k, v in state.items() if k.split(".")[0] not in _NEVER_RELEASED}
    for name in [k for k in state if k.endswith("embeddings.position_embeddings.weight")]:
        state[name.replace("position_embeddings.weight", "position_ids")] = torch.arange(len(state[name]))[None]
    parts = {"vision": model.config.vision_config, "text": model.config.text_config}
    heads = {f"{name}_heads": part.num_attention_heads for name, part in parts.items()}  # no tensor tells them
    with replace_file(path) as partial:
        torch.save({"model": state, "config": heads}, partial)
