"""Generators and chat models at toy size in folders that diffusers and transformers wrote themselves, with their own
tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)  # fmt: skip
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    CLIPConfig,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    GPT2Tokenizer,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    OPTConfig,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    T5Config,
    T5Tokenizer,
)  # fmt: skip
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ENDS = {"set_alpha_to_one": False, "steps_offset": 1}
MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
LETTERS = [chr(c) for c in range(33, 127)]


def clip_tokenizer(pad: str) -> CLIPTokenizer:
    """Letter by letter, with the real one's order: "!" is 0, the marks come last."""
    names = [*LETTERS, *(f"{c}</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocab = {name: i for i, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocab, merges=[], pad_token=pad, model_max_length=77)


def opt_tokenizer() -> GPT2Tokenizer:
    names = ["<s>", "<pad>", "</s>", "<unk>", *LETTERS, "Ġ", "Ċ"]
    marks = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    return GPT2Tokenizer(vocab={name: i for i, name in enumerate(names)}, merges=[], add_bos_token=True, **marks)


def t5_tokenizer() -> T5Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((c, -3.0) for c in LETTERS)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)


def pipeline(kind: str) -> StableDiffusionPipeline:
    """``1.5``: noise, padded with the end mark, PNDM; ``2.1``: velocity, 23 layers of text, padded with "!"."""
    torch.manual_seed(1)
    newer = kind == "2.1"
    tokenizer = clip_tokenizer("!" if newer else "<|endoftext|>")
    width = 24 if newer else 16
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=32, num_hidden_layers=23 if newer else 2,
        num_attention_heads=2, max_position_embeddings=77, hidden_act="gelu" if newer else "quick_gelu",
        projection_dim=16, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=12 if newer else 8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width, attention_head_dim=[2, 4] if newer else 2, use_linear_projection=newer,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    noise: Any = (
        DDIMScheduler(**NOISE, **ENDS, prediction_type="v_prediction", clip_sample=False)
        if newer
        else PNDMScheduler(**NOISE, **ENDS, skip_prk_steps=True)
    )
    checker = StableDiffusionSafetyChecker(_seen()) if not newer else None
    made = StableDiffusionPipeline(
        vae, CLIPTextModel(text), tokenizer, unet, noise, checker, None if newer else CLIPImageProcessorPil(),
        requires_safety_checker=not newer,
    )  # fmt: skip
    for part in (vae, unet, made.text_encoder):
        part.eval()
    made.set_progress_bar_config(disable=True)
    return made


def _seen() -> CLIPConfig:
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**small, "image_size": 16, "patch_size": 8}
    return CLIPConfig(text_config={**small, "vocab_size": 30}, vision_config=vision, projection_dim=8)


def euler(settings: Any) -> EulerDiscreteScheduler:
    return EulerDiscreteScheduler.from_config(settings)


def captioner(language: str) -> tuple[Blip2ForConditionalGeneration, Blip2Processor]:
    """The model and its processor; as in the released ones OPT ends with a new line and T5's encoder reads a begin."""
    torch.manual_seed(2)
    tokenizer: Any = opt_tokenizer() if language == "opt" else t5_tokenizer()
    image = BlipImageProcessorPil(size={"height": 16, "width": 16}, image_mean=MEAN, image_std=STD)
    processor = Blip2Processor(image, tokenizer, num_query_tokens=4)
    pictures = tokenizer.convert_tokens_to_ids("<image>")
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    if language == "opt":
        reader: Any = OPTConfig(
            vocab_size=len(tokenizer), hidden_size=24, ffn_dim=48, num_hidden_layers=2, num_attention_heads=2,
            word_embed_proj_dim=24, max_position_embeddings=128, bos_token_id=2, pad_token_id=1,
            eos_token_id=tokenizer.convert_tokens_to_ids("Ċ"),
        )  # fmt: skip
    else:
        reader = T5Config(
            vocab_size=len(tokenizer), d_model=24, d_ff=48, d_kv=12, num_layers=2, num_heads=2,
            feed_forward_proj="gated-gelu", decoder_start_token_id=0, bos_token_id=1, pad_token_id=0, eos_token_id=1,
            tie_word_embeddings=False,
        )  # fmt: skip
    config = Blip2Config(
        vision_config=Blip2VisionConfig(**size, image_size=16, patch_size=8).to_dict(),
        qformer_config=Blip2QFormerConfig(**size, vocab_size=20, encoder_hidden_size=16).to_dict(),
        text_config=reader.to_dict(), num_query_tokens=4, image_token_index=pictures,
    )  # fmt: skip
    model = Blip2ForConditionalGeneration(config).eval()
    torch.nn.init.normal_(model.query_tokens, std=0.5)
    return model, processor


@lru_cache(maxsize=4)
def _made(kind: str) -> Any:
    return pipeline(kind) if kind in ("1.5", "2.1") else captioner(kind)


def save_painter(kind: str, folder: Path, variant: str | None = None) -> Path:
    made = _made(kind)
    made.save_pretrained(folder, variant=variant, safe_serialization=True)
    return folder


def save_writer(kind: str, folder: Path, shards: str = "5GB") -> Path:
    model, processor = _made(kind)
    model.save_pretrained(folder, max_shard_size=shards)
    processor.save_pretrained(folder)
    return folder


# ---------------------------------------------------------------------------------------------- chat models

LLAVA_TEMPLATE = """\
{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}\
{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}\
{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' ' }}{% endfor %}\
{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""
QWEN_TEMPLATE = """\
{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}<|im_start|>{{ message['role'] }}
{% for content in message['content'] %}{% if content['type'] == 'image' %}\
<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
QWEN_MARKS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
]  # fmt: skip
LANGUAGE: dict[str, Any] = {
    "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}  # fmt: skip


def save_llava(folder: Path, texts: Sequence[str], seed: int = 3) -> Path:
    """As the released ones: a CLIP tower, a Llama with a head of its own, turns that end with the next one's name."""
    torch.manual_seed(seed)
    tokenizer = LlamaTokenizer().train_new_from_iterator(_words(texts), 400, new_special_tokens=["<image>", "<pad>"])
    tokenizer.pad_token = "<pad>"
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )
    language = LlamaConfig(
        **LANGUAGE, hidden_size=16, vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    picture = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=vision, text_config=language, image_token_id=picture, image_seq_length=4)
    image = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    processor = LlavaProcessor(
        image, tokenizer, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )  # fmt: skip
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_qwen2_vl(folder: Path, texts: Sequence[str], seed: int = 3) -> Path:
    """As the released ones: turns between marks behind a system's. Its processor needs torchvision, so its parts are
    saved each for itself."""
    torch.manual_seed(seed)
    tokenizer = Qwen2Tokenizer().train_new_from_iterator(_words(texts), 400, new_special_tokens=QWEN_MARKS)
    tokenizer.eos_token, tokenizer.chat_template = "<|im_end|>", QWEN_TEMPLATE
    ids = dict(zip(QWEN_MARKS, tokenizer.convert_tokens_to_ids(QWEN_MARKS)))
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]}
    config = Qwen2VLConfig(
        text_config={
            **LANGUAGE, "hidden_size": 32, "vocab_size": len(tokenizer), "rope_parameters": rope,
            "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 2, "num_heads": 2, "patch_size": 8, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2,
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    image = Qwen2VLImageProcessorPil(patch_size=8, size={"shortest_edge": 32 * 32, "longest_edge": 32 * 32})
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    image.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _words(texts: Sequence[str]) -> list[list[str]]:
    return [[word for text in (*texts, "USER: ASSISTANT:") for word in text.split()]]


CHAT = {"llava": save_llava, "qwen2_vl": save_qwen2_vl}
