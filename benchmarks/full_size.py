"""Steps per second and peak memory of the paper's models at their full size, with random weights.

    python benchmarks/full_size.py albef --batch 32 --precision bf16 [--gradient-checkpointing]
    python benchmarks/full_size.py sd15|sd21|opt|t5 --batch 2 --precision bf16

``albef``: a training step of ALBEF (384 px) on its own loss, AdamW included, through the loop that every method calls.
The others: a step of one MVI branch, which sends a gradient through a frozen Stable Diffusion 1.5 or 2.1 into its
condition, or through the frozen language model of a BLIP-2 (OPT-2.7b, Flan-T5-xxl) into its prefix. What the weights
know changes no time. Prints one line of JSON; docs/scale.md holds such lines.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from expunge.core.run import Run
from expunge.core.scale import Scale
from expunge.core.types import Example, Splits
from expunge.data import people
from expunge.train.fit import Schedule, fit
from expunge.train.precision import quick
from expunge.zoo.vocabulary import tokenizer

UNET = {
    "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2, "in_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}  # fmt: skip
PAINTERS = {
    "sd15": (77, {**UNET, "sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}),
    "sd21": (77, {**UNET, "sample_size": 96, "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20],
                  "use_linear_projection": True}),
}  # fmt: skip
TEXT_TOKENS = 20
PREFIX_TOKENS = 36  # 32 queries and 4 latents
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Clock:
    """Seconds of every step, taken where the loop moves its bar."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.last = time.perf_counter()

    def start(self, what: str, total: int) -> None:
        self.last = time.perf_counter()

    def advance(self, steps: int = 1) -> None:
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now

    def finish(self) -> None:
        pass


def examples(count: int) -> tuple[Example, ...]:
    found = people.load().train
    return tuple(replace(found[i % len(found)], id=f"{i}") for i in range(count))


def albef(asked: argparse.Namespace, clock: Clock) -> int:
    """Steps of gradient descent on ALBEF's own loss; returns how many weights it has."""
    from expunge.backbones.albef import Albef, AlbefConfig, AlbefModel, AlbefProcessor

    some = examples(asked.batch * (asked.steps + 1))
    words = tokenizer([e.text for e in some], 30)
    model = Albef(AlbefModel(AlbefConfig(queue=1024)).to(DEVICE), AlbefProcessor(words, 384, 30))
    schedule = Schedule(1, 1e-5, asked.batch, precision=asked.precision)
    run = Run(0, progress=clock, scale=Scale(recompute=asked.gradient_checkpointing))
    fit(model, lambda f, _: {"task": model.loss(model.collate(f)).mean()}, Splits(some, ()), run, schedule)
    return sum(p.numel() for p in model.module.parameters() if p.requires_grad)


def painter(asked: argparse.Namespace, clock: Clock) -> int:
    """Steps of the picture branch: the noise's error into the condition."""
    from diffusers import DDIMScheduler, UNet2DConditionModel

    tokens, settings = PAINTERS[asked.what]
    unet = filled(lambda: UNet2DConditionModel(**settings), asked.precision)
    side, width = settings["sample_size"], settings["cross_attention_dim"]
    levels = DDIMScheduler()
    latents = torch.randn(asked.batch, 4, side, side, device=DEVICE, dtype=unet.dtype)
    condition = torch.randn(asked.batch, tokens + 4, width, device=DEVICE, dtype=unet.dtype, requires_grad=True)

    def step() -> None:
        at = torch.randint(1000, (asked.batch,), device=DEVICE)
        noise = torch.randn_like(latents)
        predicted = unet(levels.add_noise(latents, noise, at), at, encoder_hidden_states=condition).sample
        (predicted.float() - noise.float()).square().mean().backward()

    timed(step, asked.steps, clock)
    return sum(p.numel() for p in unet.parameters())


def writer(asked: argparse.Namespace, clock: Clock) -> int:
    """Steps of the text branch: the nats of a text into its prefix."""
    from transformers import OPTConfig, OPTForCausalLM, T5Config, T5ForConditionalGeneration

    if asked.what == "opt":
        size = OPTConfig(vocab_size=50304, hidden_size=2560, ffn_dim=10240, num_hidden_layers=32,
                         word_embed_proj_dim=2560, num_attention_heads=32)  # fmt: skip
        model, width, kept = filled(lambda: OPTForCausalLM(size), asked.precision), 2560, PREFIX_TOKENS + TEXT_TOKENS
    else:
        size = T5Config(vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
                        feed_forward_proj="gated-gelu", tie_word_embeddings=False)  # fmt: skip
        model, width, kept = filled(lambda: T5ForConditionalGeneration(size), asked.precision), 4096, PREFIX_TOKENS
    prefix = torch.randn(asked.batch, kept, width, device=DEVICE, dtype=model.dtype, requires_grad=True)
    labels = torch.randint(30000, (asked.batch, TEXT_TOKENS), device=DEVICE)
    if asked.what == "opt":
        labels = torch.cat([labels.new_full((asked.batch, PREFIX_TOKENS), -100), labels], 1)
    timed(lambda: model(inputs_embeds=prefix, labels=labels).loss.backward(), asked.steps, clock)
    return sum(p.numel() for p in model.parameters())


def filled(build: Callable[[], Any], precision: str) -> Any:
    """A frozen model on the device with small random weights, never held twice."""
    with torch.device("meta"):
        model = build().to(torch.bfloat16 if precision == "bf16" else torch.float32)
    model = model.to_empty(device=DEVICE).eval().requires_grad_(False)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.uniform_(-0.02, 0.02)
            else:
                tensor.zero_()
    return model


def timed(step: Callable[[], None], steps: int, clock: Clock) -> None:
    clock.start("", steps)
    for _ in range(steps + 1):
        with quick("fp32"):
            step()
        clock.advance()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", choices=["albef", *PAINTERS, "opt", "t5"])
    words.add_argument("--batch", type=int, default=2)
    words.add_argument("--steps", type=int, default=3)
    words.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    words.add_argument("--gradient-checkpointing", action="store_true")
    asked, clock = words.parse_args(), Clock()
    work = albef if asked.what == "albef" else painter if asked.what in PAINTERS else writer
    weights = work(asked, clock)
    later = sorted(clock.seconds[1:]) or clock.seconds  # the first step also warms up
    on_gpu = DEVICE.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    where = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    seconds = later[len(later) // 2]
    print(json.dumps({
        **vars(asked), "weights": weights, "seconds a step": round(seconds, 4),
        "pairs a second": round(asked.batch / seconds, 3),
        "GB": round(peak / 1e9, 2), "on": where, "torch": torch.__version__,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
