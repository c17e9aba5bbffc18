"""blip-tiny: the pretrained model that plays the part of the public BLIP checkpoint.

Its picture encoder, words, projections and match head start at albef-tiny's; so does each text layer, whose
cross-attention comes from one of albef-tiny's fusion layers (``FROM``). Then everything is trained on the public people
and scenes only, by ITC within the batch and ITM with hard negatives and [ENC]. The released BLIP pretrains from a
ViT and a BERT in the same way; its captioner, its momentum teacher and its queues are left out.

``python -m expunge.zoo.blip_tiny [--state FOLDER] [--out FOLDER]`` trains it again; a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expunge.backbones.albef import Albef
from expunge.backbones.blip import Blip, BlipForMatching, BlipProcessor, checkpoints, sizes
from expunge.data import people
from expunge.train.fit import fast_precision, quick
from expunge.zoo import albef_tiny, cards
from expunge.zoo.loop import Schedule, pretrain, seconds_spent
from expunge.zoo.vocabulary import marked_tokenizer

NAME = "blip-tiny"
SEED = 0
BATCH = 64
STEPS = 3_500
MAX_TOKENS = 32
SIZES: dict[str, Any] = dict(  # noqa: C408
    pixels=60, patch=10, vision_width=128, vision_layers=6, vision_heads=4, text_width=128, text_layers=4,
    text_heads=4, text_inner=512, positions=MAX_TOKENS, projection=96, dropout=0.0,
)  # fmt: skip
FROM = ((0, 3), (1, 3), (2, 4), (5, 5))
"""For each text layer: the albef-tiny layer that lends self-attention and feed-forward, and the one that lends
cross-attention. Layers 0 to 2 only read there, 3 to 5 fuse."""


def build(texts: Sequence[str], seed: int = SEED) -> Blip:
    """A fresh blip-tiny whose words are those of ``texts``."""
    torch.manual_seed(seed)
    words = marked_tokenizer(texts, MAX_TOKENS)
    config = sizes(vocabulary=len(words), separator=words.sep_token_id, **SIZES)
    return Blip(BlipForMatching(config), BlipProcessor(words, SIZES["pixels"], MAX_TOKENS), NAME)


@torch.no_grad()
def take_start(blip: Blip, albef: Albef) -> None:
    """Put albef-tiny's weights where BLIP has the like; words that ALBEF does not know stay as they are."""
    given = albef.module.state_dict()
    state = {checkpoints.ours(k): v for k, v in given.items() if not k.startswith("text_encoder.")}
    state |= _layers(given)
    embeddings = "text_encoder.embeddings."
    for name in ("LayerNorm.weight", "LayerNorm.bias"):
        state[embeddings + name] = given[embeddings + name]
    # BLIP has no token types: ALBEF's one type is added to every position instead.
    places = given[embeddings + "position_embeddings.weight"] + given[embeddings + "token_type_embeddings.weight"][0]
    held = blip.module.text_encoder.embeddings
    state[embeddings + "position_embeddings.weight"] = places[: len(held.position_embeddings.weight)]
    words = held.word_embeddings.weight.clone()
    known = albef.processor.tokenizer.get_vocab()
    for word, row in blip.processor.tokenizer.get_vocab().items():
        if word in known:
            words[row] = given[embeddings + "word_embeddings.weight"][known[word]]
    # [ENC] stands where [CLS] stood when a text is fused.
    words[-1] = given[embeddings + "word_embeddings.weight"][albef.processor.tokenizer.cls_token_id]
    state[embeddings + "word_embeddings.weight"] = words
    blip.module.load_state_dict({k: v for k, v in state.items() if "_m." not in k and "queue" not in k})


def _layers(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text layers of BLIP out of ALBEF's, as ``FROM`` says."""
    layer, state = "text_encoder.encoder.layer.", {}
    for ours, (reading, crossing) in enumerate(FROM):
        for name, value in given.items():
            if name.startswith(f"{layer}{reading}.") and ".crossattention." not in name:
                state[name.replace(f"{layer}{reading}.", f"{layer}{ours}.")] = value
            if name.startswith(f"{layer}{crossing}.crossattention."):
                state[name.replace(f"{layer}{crossing}.", f"{layer}{ours}.")] = value
    return state


def train(start: Albef, state: Path, schedule: Schedule, *, seed: int = SEED, batch: int = BATCH) -> Blip:
    """Train, or go on training, in the folder ``state``."""
    examples = people.load().pretrain
    model = build([e.text for e in examples], seed)
    take_start(model, start)
    pool = albef_tiny.PicturePool(model, examples)

    def terms(rng: random.Random, step: int) -> dict[str, Tensor]:
        with quick(fast_precision()):
            return {"task": model.loss(pool.draw(rng, batch)).mean()}

    def clamp_temperature() -> None:
        with torch.no_grad():
            model.module.temp.clamp_(0.02, 0.5)

    pretrain(
        model.module, terms, schedule, state, seed=seed, after_step=clamp_temperature,
        say=lambda line: print(line, flush=True),
    )  # fmt: skip
    model.module.eval()
    return model


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--state", type=Path, default=Path(".zoo-state") / NAME)
    words.add_argument("--out", type=Path, default=cards.WEIGHTS / NAME)
    words.add_argument(
        "--start", type=Path, default=cards.WEIGHTS / "albef-tiny", help="folder of the ALBEF to start at"
    )
    words.add_argument("--steps", type=int, default=STEPS)
    words.add_argument("--seed", type=int, default=SEED)
    asked = words.parse_args()
    schedule = Schedule(asked.steps, lr=7e-4, warmup=150, weight_decay=0.02, average=0.995, say_every=25)
    model = train(Albef.from_pretrained(asked.start), asked.state, schedule, seed=asked.seed)
    model.save_pretrained(asked.out, dtype=torch.float16)
    model = Blip.from_pretrained(asked.out)  # what is measured is what is shipped
    size = sum(p.numel() for p in model.module.parameters())
    cards.write(
        asked.out, name=NAME, recipe="expunge.zoo.blip_tiny", seed=asked.seed, steps={"pretraining": asked.steps},
        seconds=seconds_spent(asked.state), examples=len(people.load().pretrain), quality=albef_tiny.quality(model),
        more={
            "summary": f"BLIP of {size / 1e6:.1f} M parameters, 60 px, pretrained on the public people and scenes.",
            "started_from": "albef-tiny: picture encoder, words, projections, match head and text layers "
            "(expunge.zoo.blip_tiny.take_start), not from scratch. Its training is not counted in the seconds.",
            "quality_ranked_by": model.traits.extras["score"],
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
