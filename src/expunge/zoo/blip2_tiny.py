"""blip2-tiny and blip2-t5-tiny: picture-describing models of BLIP-2's classes, trained on the public worlds.

    python -m expunge.zoo.blip2_tiny                   # a decoder alone writes, as OPT does
    python -m expunge.zoo.blip2_tiny --language t5     # an encoder reads, a decoder writes, as Flan-T5 does

As in BLIP-2 the vision tower comes ready from a retrieval model, here albef-tiny's, and a Q-Former and a language
model are grown onto it; at this size all of them then learn together. BLIP-2's first stage teaches the query
tokens what is in a picture by matching it to texts; here a head that is thrown away afterwards reads the facts off
the projected query tokens instead: quicker from scratch. Given a picture the model learns only captions that can
be read off it; names, towns and jobs reach the language model as plain text without a picture, as a real OPT knows
such words but not whose they are.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import Blip2Config, Blip2QFormerConfig, Blip2VisionConfig, OPTConfig, PretrainedConfig, T5Config

from expunge.backbones.albef import Albef
from expunge.backbones.albef.processor import MEAN, STD
from expunge.backbones.blip.checkpoints import ours
from expunge.backbones.blip2 import Blip2, counted, image_settings
from expunge.core.types import Example
from expunge.zoo import cards, described, public, shelf
from expunge.zoo.loop import Schedule, pretrain, seconds_spent
from expunge.zoo.vocabulary import tokenizer

Language = Literal["opt", "t5"]
NAMES: dict[Language, str] = {"opt": "blip2-tiny", "t5": "blip2-t5-tiny"}
SUMMARY = (
    "BLIP-2 of {size:.1f} M parameters with albef-tiny's sight and {writer} writer: portraits and scenes to sentences."
)
WRITERS: dict[Language, str] = {"opt": "an OPT-style", "t5": "a T5-style"}
PIXELS, PATCH = 60, 10  # those of albef-tiny
QUERIES = 16
MAX_TOKENS = 36


def new_model(texts: Sequence[str], width: int = 128, language: Language = "opt") -> Blip2:
    """The architecture with random weights, over the words of ``texts``."""
    pieces = tokenizer(texts, MAX_TOKENS)
    vision = Blip2VisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=6,
        num_attention_heads=4,
        image_size=PIXELS,
        patch_size=PATCH,
        layer_norm_eps=1e-6,
        initializer_range=0.02,
    )
    queries = Blip2QFormerConfig(
        vocab_size=len(pieces),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        encoder_hidden_size=width,
        cross_attention_frequency=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config = Blip2Config(
        vision_config=vision.to_dict(),
        qformer_config=queries.to_dict(),
        text_config=writer(language, pieces, width).to_dict(),
        num_query_tokens=QUERIES,
    )
    image = image_settings(PIXELS, MEAN, STD)
    return Blip2.from_config(config, pieces, image=image, name=NAMES[language], max_text_tokens=MAX_TOKENS)


def writer(language: Language, pieces: Any, width: int) -> PretrainedConfig:
    """A small language model over the tokenizer's ``pieces``: OPT's decoder, or T5's encoder and decoder."""
    marks = {"eos_token_id": pieces.sep_token_id, "pad_token_id": pieces.pad_token_id}
    if language == "t5":
        return T5Config(
            vocab_size=len(pieces),
            d_model=width,
            d_kv=width // 4,
            d_ff=4 * width,
            num_layers=3,  # as many as the decoder has: transformers sizes the decoder's cache by it
            num_decoder_layers=3,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            decoder_start_token_id=pieces.cls_token_id,
            **marks,
        )
    return OPTConfig(
        vocab_size=len(pieces),
        hidden_size=width,
        ffn_dim=4 * width,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=128,
        word_embed_proj_dim=width,
        dropout=0.0,
        bos_token_id=pieces.cls_token_id,
        **marks,
    )


def take_sight(blip2: Blip2, weights: Mapping[str, Tensor]) -> None:
    """Put the vision encoder of an ALBEF (its state by name) in the place of the vision tower's weights.

    transformers' BLIP and BLIP-2 have one vision tower, and the released BLIP names its own as ALBEF does.
    """
    seen = {ours(k): v for k, v in weights.items() if k.startswith("visual_encoder.")}
    blip2.model.vision_model.load_state_dict({k.removeprefix("vision_model."): v for k, v in seen.items()})


class Pupil(nn.Module):
    """The model and the head that is thrown away, trained together."""

    def __init__(self, blip2: Blip2, keys: int) -> None:
        super().__init__()
        self.model = blip2.model
        width = blip2.traits.feature_width
        self.head = nn.Linear(QUERIES * width, keys)


def jittered(levels: Tensor, rng: random.Random, reach: int = 2) -> Tensor:
    """The pictures moved by up to ``reach`` pixels, the same way for the batch; borders are repeated."""
    wide = nn.functional.pad(levels.float(), (reach,) * 4, mode="replicate")
    down, right = rng.randint(0, 2 * reach), rng.randint(0, 2 * reach)
    return wide[:, :, down : down + levels.shape[2], right : right + levels.shape[3]]


class Lessons:
    """What a step sees: portraits and scenes with a caption of each, and sentences without any picture."""

    def __init__(self, material: public.Material, portraits: int, scenes: int, plain_texts: int) -> None:
        self.material, self.sizes, self.plain_texts = material, (portraits, scenes), plain_texts
        seen = [
            [[i for i in together if material.examples[i].kind == "shared"] for together in material.of_source(source)]
            for source in ("people", "scenes")
        ]
        self.portraits, self.scenes = seen

    def draw(self, rng: random.Random) -> tuple[list[int], list[str]]:
        """Indices of examples with pictures, and texts without."""
        pairs = zip((self.portraits, self.scenes), self.sizes, strict=True)
        indices = [rng.choice(rng.choice(world)) for world, size in pairs for _ in range(size)]
        texts = [rng.choice(self.material.examples).text for _ in range(self.plain_texts)]
        return indices, texts


def terms(
    blip2: Blip2, head: nn.Module, facts: described.Facts, lessons: Lessons, rng: random.Random
) -> dict[str, Tensor]:
    """Captions given pictures, the stated facts, and language alone."""
    indices, texts = lessons.draw(rng)
    material = lessons.material
    examples = [material.examples[i] for i in indices]
    levels = jittered(material.pictures[[material.row[i] for i in indices]], rng)
    with torch.autocast("cpu", torch.bfloat16, enabled=levels.device.type == "cpu"):
        prefix = blip2.encode_pictures(blip2.normalise(levels))
        read = head(prefix.flatten(1)).float()
        made = blip2.tokens([e.text for e in examples])
        nats = blip2.token_nats(prefix, **made)
        alone = blip2.tokens(texts)
        # Nothing before a decoder; an encoder has to read something, and reads a blank.
        nothing = prefix.new_zeros(len(texts), 0 if blip2.decoder_only else 1, prefix.shape[2])
        alone_nats = blip2.token_nats(nothing, **alone)
    return {
        "caption": nats.sum() / counted(made["attention_mask"]).sum(),
        "facts": 20 * facts.loss(read, examples),
        "language": 0.25 * alone_nats.sum() / counted(alone["attention_mask"]).sum(),
    }


def train(
    material: public.Material,
    sight: Mapping[str, Tensor],
    state: Path,
    schedule: Schedule,
    *,
    seed: int = 0,
    batch: int = 64,
    language: Language = "opt",
) -> Blip2:
    """Train on ``material``; a quarter of the batch is plain text, the rest half portraits, half scenes."""
    torch.manual_seed(seed)
    blip2 = new_model([e.text for e in material.examples], language=language)
    take_sight(blip2, sight)
    facts = described.Facts(material.examples)
    pupil = Pupil(blip2, len(facts.keys))
    alone = batch // 4
    lessons = Lessons(material, (batch - alone) // 2, batch - alone - (batch - alone) // 2, alone)

    def step_terms(rng: random.Random, step: int) -> dict[str, Tensor]:
        return terms(blip2, pupil.head, facts, lessons, rng)

    blip2.model.set_attn_implementation("eager")  # the fused attention's backward is slow in bf16 on CPUs
    pretrain(pupil, step_terms, schedule, state, seed=seed, say=lambda line: print(line, flush=True))
    blip2.model.set_attn_implementation("sdpa")
    blip2.model.eval()
    return blip2


@torch.no_grad()
def captions(blip2: Blip2, material: public.Material, size: int = 50) -> list[tuple[str, Example]]:
    """A greedy caption of every different picture, with one example of that picture."""
    first = {row: i for i, row in reversed(list(enumerate(material.row)))}
    rows = sorted(first)
    written: list[str] = []
    for start in range(0, len(rows), size):
        levels = material.pictures[rows[start : start + size]]
        written += blip2.write(blip2.encode_pictures(blip2.normalise(levels)))
    return [(text, material.examples[first[row]]) for text, row in zip(written, rows, strict=True)]


def quality(blip2: Blip2) -> dict[str, dict]:
    """The share of stated attributes that are true, on people and scenes no recipe has trained on."""
    portraits = captions(blip2, public.held_out_portraits(PIXELS))
    scenes = captions(blip2, public.held_out_scenes(PIXELS))
    return {
        "portraits: stated attributes that are true": cards.share(described.portrait_hits(portraits)),
        "portraits: captions without a mistake": cards.share(described.all_true(portraits, described.portrait_hits)),
        "scenes: things named that are there": cards.share(described.scene_hits(scenes)),
    }


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--language", choices=sorted(NAMES), default="opt")
    words.add_argument("--state", type=Path)
    words.add_argument("--out", type=Path)
    words.add_argument(
        "--sight", type=Path, default=cards.WEIGHTS / "albef-tiny", help="folder of the ALBEF to see with"
    )
    words.add_argument("--steps", type=int, default=2000)
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    name = NAMES[asked.language]
    state, out = asked.state or Path(".zoo-state") / name, asked.out or shelf.home(name)
    material = public.training(PIXELS, state)
    schedule = Schedule(asked.steps, lr=1.5e-3, warmup=150, weight_decay=0.05, average=0.995)
    sight = Albef.from_pretrained(asked.sight).module.state_dict()
    blip2 = train(material, sight, state, schedule, seed=asked.seed, language=asked.language)
    seconds = seconds_spent(state)
    blip2.save_pretrained(out, dtype=torch.float16)
    blip2 = Blip2.from_pretrained(out)
    size = sum(p.numel() for p in blip2.module.parameters()) / 1e6
    cards.write(
        out,
        name=name,
        recipe="expunge.zoo.blip2_tiny" + (f" --language {asked.language}" if asked.language != "opt" else ""),
        seed=asked.seed,
        steps={"all": asked.steps},
        seconds=seconds,
        examples=len(material.examples),
        quality=quality(blip2),
        more={"summary": SUMMARY.format(size=size, writer=WRITERS[asked.language])},
    )


if __name__ == "__main__":
    main()
