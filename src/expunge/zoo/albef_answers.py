"""albef-tiny taught to answer: the start of every model for questions or statements.

    python -m expunge.zoo.albef_answers multiple_choice
    python -m expunge.zoo.albef_answers entailment

ALBEF's released answering models start from an encoder that has seen millions of pairs; albef-tiny has not, and takes
longer to learn what a question is than to learn five hundred people. That is done once, here, on the public people and
scenes. Training survives being stopped; the state lies in ``--state``.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from expunge.backbones.albef import Albef
from expunge.backbones.albef import load as load_albef
from expunge.core.pictures import HeldPicture
from expunge.core.types import Example, Task
from expunge.data import people, scenes
from expunge.tasks import entailment, multiple_choice
from expunge.train.fit import fast_precision, quick
from expunge.zoo import cards
from expunge.zoo.loop import Schedule, pretrain, seconds_spent

SEED = 0
BATCH = 64
STEPS = {"multiple_choice": 2_500, "entailment": 1_500}
LR = {"multiple_choice": 1e-3, "entailment": 2e-4}
"""At 1e-3 the classifier's gradients wipe out what the fused CLS knew of matching before it learns to read it:
the model ends where only the statement is read (two thirds right, loss 0.58)."""
ASKS = {"multiple_choice": multiple_choice, "entailment": entailment}
SUMMARIES = {
    "multiple_choice": "albef-tiny with an answer decoder, taught on questions about the public people and scenes.",
    "entailment": "albef-tiny with a classifier, taught on statements about the public people and scenes.",
}


def held(examples: tuple[Example, ...], pixels: int) -> list[list[Example]]:
    """The examples together by picture, every picture opened once and kept."""
    together: dict[str, list[Example]] = {}
    for e in examples:
        together.setdefault(e.image.key, []).append(e)
    groups = []
    for key, group in together.items():
        picture = HeldPicture(key, group[0].image.open(pixels))
        groups.append([replace(e, image=picture) for e in group])
    return groups


def train(task: Task, start: Albef, state: Path, schedule: Schedule, seed: int = SEED, share: float = 0.5) -> Any:
    """Train, or go on training, in the folder ``state``; ``share`` of a batch's pictures are people."""
    model = start.for_task(task)
    groups = held(people.public(task), model.traits.pixels)
    worlds = [[g for g in groups if (g[0].source == "people") == human] for human in (True, False)]

    def terms(rng: random.Random, step: int) -> dict[str, torch.Tensor]:
        drawn = [rng.choice(rng.choice(worlds[rng.random() >= share])) for _ in range(BATCH)]
        with quick(fast_precision()):
            return {"task": model.loss(model.collate(drawn)).mean()}

    pretrain(model.module, terms, schedule, state, seed=seed, say=lambda line: print(line, flush=True))
    model.module.eval()
    return model


def quality(model: Any, task: Task) -> dict[str, Any]:
    """Accuracy on what no recipe trains on: validation scenes, and what can be seen of held-out public people."""
    asked = {
        "scenes": tuple(e for e in scenes.load(task=task).validation),
        "public_people": tuple(e for e in people.public_holdout(task=task) if e.kind == "shared"),
    }
    found = {}
    for name, examples in asked.items():
        told = ASKS[task].score(ASKS[task].predict(model, examples), examples)
        found[name] = {"value": told.value, "n": told.n, "low": told.low, "high": told.high}
    return found


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("task", choices=sorted(ASKS))
    words.add_argument("--state", type=Path)
    words.add_argument("--out", type=Path)
    words.add_argument("--start", type=Path, default=cards.WEIGHTS / "albef-tiny")
    words.add_argument("--steps", type=int, help="default: as many as the shipped weights had")
    words.add_argument("--seed", type=int, default=SEED)
    asked = words.parse_args()
    name = f"albef-tiny-{asked.task.replace('_', '-')}"  # where shelf.beginning looks for it
    state, out = asked.state or Path(".zoo-state") / name, asked.out or cards.WEIGHTS / name
    steps = asked.steps or STEPS[asked.task]
    schedule = Schedule(steps, lr=LR[asked.task], warmup=150, weight_decay=0.02, average=0.995, say_every=25)
    model = train(asked.task, Albef.from_pretrained(asked.start), state, schedule, seed=asked.seed)
    model.save_pretrained(out, dtype=torch.float16)
    cards.write(
        out, name=name, recipe=f"expunge.zoo.albef_answers {asked.task}", seed=asked.seed, steps={"all": steps},
        seconds=seconds_spent(state), examples=len(people.public(asked.task)),
        quality=quality(load_albef(out), asked.task),  # what is measured is what is shipped
        more={"summary": SUMMARIES[asked.task], "started_from": "albef-tiny"},
    )  # fmt: skip


if __name__ == "__main__":
    main()
