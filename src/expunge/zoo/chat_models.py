"""Chat models of every family with random weights at any small size, for recipes and tests: transformers' classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics2ImageProcessorPil,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from expunge.backbones.mllm import FAMILIES, Mllm
from expunge.backbones.mllm.processors import build
from expunge.core.types import Example
from expunge.zoo.vocabulary import chat_tokenizer

SPOKEN = ("USER: ASSISTANT: User: Assistant: user assistant . is that so yes no maybe",)
"""Words that templates and the turns of statements add to what the examples say."""


@dataclass(frozen=True)
class Size:
    """``heads`` are those of both towers; the vision tower is as wide as ``vision_width`` says."""

    pixels: int = 16
    patch: int = 8
    vision_width: int = 16
    vision_layers: int = 2
    width: int = 16
    layers: int = 2
    heads: int = 2
    inner: int = 32  # of the language model's feed-forward layers
    positions: int = 128
    tower: Mapping[str, Any] = field(default_factory=dict)  # more of the vision tower's configuration
    model: Mapping[str, Any] = field(default_factory=dict)  # more of the whole model's configuration


def new(family: str, texts: Iterable[str], size: Size, seed: int = 0, name: str = "") -> Mllm:
    """A random model of a family (see ``backbones.mllm.FAMILIES``) that knows the words of ``texts``."""
    texts = [*texts, *SPOKEN]
    torch.manual_seed(seed)
    model, image, tokenizer, settings = BUILDERS[family](texts, size)
    kin = FAMILIES[family]
    processor = build(kin.processor, image, tokenizer, chat_template=kin.turns, **settings)
    return Mllm(model.eval(), processor, name or f"small-{family}")


def said(examples: Iterable[Example]) -> list[str]:
    """All that examples ask and answer, in alphabetical order: what a model's words are taken from."""
    return sorted({text for e in examples for text in (e.text, e.answer or "", *e.choices)})


def _language(tokenizer: Any, size: Size) -> dict[str, Any]:
    """What Llama, Mistral and Qwen2 configurations call the same."""
    return {
        "vocab_size": len(tokenizer), "hidden_size": size.width, "intermediate_size": size.inner,
        "num_hidden_layers": size.layers, "num_attention_heads": size.heads, "num_key_value_heads": size.heads,
        "max_position_embeddings": size.positions, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip


def _llava(texts: Sequence[str], size: Size) -> tuple[Any, Any, Any, dict[str, Any]]:
    tokenizer = chat_tokenizer(texts, ["<image>"])
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=size.vision_width, intermediate_size=4 * size.vision_width,
            num_hidden_layers=size.vision_layers,
            num_attention_heads=size.heads, image_size=size.pixels, patch_size=size.patch, **size.tower,
        ).to_dict(),
        text_config=LlamaConfig(**_language(tokenizer, size), tie_word_embeddings=True).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(size.pixels // size.patch) ** 2,
        tie_word_embeddings=True,
        **size.model,
    )  # fmt: skip
    counted = {
        "patch_size": size.patch, "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": config.vision_feature_select_strategy,
    }  # fmt: skip
    return LlavaForConditionalGeneration(config), clip_processor(size.pixels), tokenizer, counted


def clip_processor(pixels: int) -> CLIPImageProcessorPil:
    """CLIP's processor for square pictures of this size."""
    return CLIPImageProcessorPil(size={"shortest_edge": pixels}, crop_size={"height": pixels, "width": pixels})


def _qwen(texts: Sequence[str], size: Size, newer: bool = False) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Qwen2-VL, or Qwen2.5-VL, whose tower attends in windows."""
    marks = ["<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = chat_tokenizer(texts, marks, begin=None, end="<|im_end|>")
    ids = dict(zip(marks, tokenizer.convert_tokens_to_ids(marks)))
    side = size.width // size.heads // 2  # rotary positions of time, height and width share half a head
    vision: dict[str, Any] = {
        "depth": size.vision_layers,
        "num_heads": size.heads,
        "patch_size": size.patch,
        **size.tower,
    }
    if newer:
        vision |= {
            "hidden_size": size.vision_width, "intermediate_size": 2 * size.vision_width, "out_hidden_size": size.width,
            "window_size": 2 * size.patch, "fullatt_block_indexes": [size.vision_layers - 1],
        }  # fmt: skip
    else:
        vision |= {"embed_dim": size.vision_width, "hidden_size": size.width, "mlp_ratio": 2}
    config_class, model = (
        (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration)
        if newer
        else (Qwen2VLConfig, Qwen2VLForConditionalGeneration)
    )
    third = side // 4
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [side - 2 * third, third, third]}
    config = config_class(
        vision_config=vision,
        text_config={**_language(tokenizer, size), "rope_parameters": rope},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        **size.model,
    )
    area = size.pixels**2
    image = Qwen2VLImageProcessorPil(patch_size=size.patch, size={"shortest_edge": area, "longest_edge": area})
    return model(config), image, tokenizer, {}


def _idefics(texts: Sequence[str], size: Size) -> tuple[Any, Any, Any, dict[str, Any]]:
    marks = ["<fake_token_around_image>", "<image>", "<end_of_utterance>"]
    tokenizer = chat_tokenizer(texts, marks)
    latents = 4
    config = Idefics2Config(
        vision_config={
            "hidden_size": size.vision_width, "intermediate_size": 2 * size.vision_width,
            "num_attention_heads": size.heads,
            "num_hidden_layers": size.vision_layers, "image_size": size.pixels, "patch_size": size.patch, **size.tower,
        },
        perceiver_config={
            "hidden_size": size.width, "resampler_n_latents": latents, "resampler_depth": 1,
            "resampler_n_heads": size.heads, "resampler_head_dim": size.width // size.heads,
            "num_key_value_heads": size.heads,
        },
        text_config=MistralConfig(**_language(tokenizer, size)).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        **size.model,
    )  # fmt: skip
    image = Idefics2ImageProcessorPil(
        size={"shortest_edge": size.pixels, "longest_edge": size.pixels}, do_image_splitting=False
    )
    return Idefics2ForConditionalGeneration(config), image, tokenizer, {"image_seq_len": latents}


BUILDERS = {
    "llava": _llava,
    "qwen2_vl": _qwen,
    "qwen2_5_vl": lambda texts, size: _qwen(texts, size, newer=True),
    "idefics2": _idefics,
}
