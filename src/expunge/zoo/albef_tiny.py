"""albef-tiny: the pretrained model that plays the part of the public ALBEF checkpoint.

Trained from scratch on the public people and scenes only, by ITC within the batch and ITM with hard negatives. The
released objective also has a momentum teacher, a queue and masked words (``Albef.pretraining_loss``): at this size
they cost twice the time per step and taught next to nothing in the first 25 000 pairs (docs/log.md).

``python -m expunge.zoo.albef_tiny STATE_FOLDER [WEIGHTS_FOLDER]`` trains it again; a stopped run goes on where it was.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from expunge.backbones.albef import Albef, AlbefConfig, AlbefModel, AlbefProcessor
from expunge.core.types import Example, Matches
from expunge.data import people
from expunge.train.fit import fast_precision, quick
from expunge.zoo import cards
from expunge.zoo.loop import Schedule, pretrain, seconds_spent
from expunge.zoo.vocabulary import tokenizer

SEED = 0
SUMMARY = "ALBEF of 2.7 M parameters, 60 px, pretrained on the public people and scenes."
SCHEDULE = Schedule(steps=4_500, lr=1e-3, warmup=300, weight_decay=0.02, say_every=25)
BATCH = 64
SIZES: dict[str, Any] = dict(  # noqa: C408
    pixels=60, patch=10, vision_width=128, vision_layers=6, vision_heads=4, text_width=128, text_layers=6,
    fusion_layer=3, text_heads=4, text_inner=512, positions=32, max_text_tokens=30, projection=96, dropout=0.0,
    queue=1024,
)  # fmt: skip


class PicturePool:
    """Examples by picture, with pixels and tokens made once: a batch takes one text per drawn picture.

    ``model`` is any whose ``processor`` makes pictures and texts. ``told`` is the share of people's texts drawn from
    their private sentences, ``share`` that of people among the pictures.
    """

    def __init__(self, model: Any, examples: Sequence[Example], told: float = 0.25, share: float = 0.4):
        self.model, self.told, self.share = model, told, share
        by_picture: dict[str, list[Example]] = defaultdict(list)
        for e in examples:
            by_picture[e.image.key].append(e)
        self.pictures = list(by_picture.values())
        raw = [model.processor.picture(group[0].image) for group in self.pictures]
        self.pixels = torch.stack(raw).half()  # halves the memory; the loss of precision is below one grey level
        groups = {g: i for i, g in enumerate(dict.fromkeys(group[0].group for group in self.pictures))}
        self.groups = torch.tensor([groups[group[0].group] for group in self.pictures])
        human = [group[0].source == "people" for group in self.pictures]
        self.people = [i for i, one in enumerate(human) if one]
        self.others = [i for i, one in enumerate(human) if not one]

    def draw(self, rng: random.Random, size: int) -> dict[str, torch.Tensor]:
        chosen = [rng.choice(self.people if rng.random() < self.share else self.others) for _ in range(size)]
        texts = []
        for i in chosen:
            told = rng.random() < self.told
            offered = [e for e in self.pictures[i] if (e.kind == "private") == told] or self.pictures[i]
            texts.append(rng.choice(offered).text)
        index = torch.tensor(chosen)
        words = self.model.processor.texts(texts)
        return {"pixels": self.pixels[index].float(), "groups": self.groups[index], **words}


def build(texts: Sequence[str], seed: int = SEED) -> Albef:
    """A fresh albef-tiny whose words are those of ``texts``."""
    torch.manual_seed(seed)
    words = tokenizer(texts, SIZES["max_text_tokens"])
    config = AlbefConfig(vocabulary=len(words), **SIZES)
    return Albef(AlbefModel(config), AlbefProcessor(words, config.pixels, config.max_text_tokens), "albef-tiny")


def train(state: Path, schedule: Schedule = SCHEDULE, seed: int = SEED) -> Albef:
    """Train, or go on training, in the folder ``state``."""
    public = people.load().pretrain
    model = build([e.text for e in public], seed)
    pool = PicturePool(model, public)

    def terms(rng: random.Random, step: int) -> dict[str, torch.Tensor]:
        with quick(fast_precision()):
            return {"task": model.loss(pool.draw(rng, BATCH)).mean()}

    def clamp_temperature() -> None:
        with torch.no_grad():
            model.module.temp.clamp_(0.02, 0.5)

    pretrain(
        model.module,
        terms,
        schedule,
        state,
        seed=seed,
        after_step=clamp_temperature,
        say=lambda line: print(line, flush=True),
    )
    model.module.eval()
    return model


def quality(model: Matches) -> dict[str, dict[str, float]]:
    """Mean recall (TR and IR at 1, 5, 10) on what no recipe trains on: scenes and public people's visual sentences.

    Ranked as the model does (``traits.extras["score"]``, the match logit where it says nothing).
    Every description of a picture that is true of another counts as right for it, too (``Example.described_by``).
    """
    from expunge.data import scenes
    from expunge.tasks.gallery import Gallery
    from expunge.tasks.recall import recall
    from expunge.tasks.retrieval import predict

    galleries = [
        Gallery("scenes_500", scenes.load().test),
        Gallery("public_people_100", tuple(e for e in people.public_holdout() if e.kind == "shared")),
    ]
    found = predict(model, galleries, k_test=16)
    scores = {g.name: recall(found, g).score("higher") for g in galleries}
    return {k: {"value": s.value, "n": s.n, "low": s.low, "high": s.high} for k, s in scores.items()}


def main() -> None:
    import sys

    state = Path(sys.argv[1])
    model = train(state)
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else state / "model"
    model.save_pretrained(folder, dtype=torch.float16)
    model = Albef.from_pretrained(folder)  # what is measured is what is shipped
    cards.write(
        folder, name="albef-tiny", recipe="expunge.zoo.albef_tiny", seed=SEED, steps={"pretraining": SCHEDULE.steps},
        seconds=seconds_spent(state), examples=len(people.load().pretrain), quality=quality(model),
        more={"summary": SUMMARY},
    )  # fmt: skip


if __name__ == "__main__":
    main()
