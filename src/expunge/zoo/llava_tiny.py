"""llava-tiny: LLaVA's own classes at small size, taught to answer on the public worlds.

    python -m expunge.zoo.llava_tiny

It sees with albef-tiny's eyes, as LLaVA sees with CLIP's, and speaks with a small Llama that is trained from scratch.
Every step mixes what a chat model is asked: short questions and captions about public portraits and scenes, the three
forms of ``dossiers`` about public portraits in several sittings and wordings, and what is told of the celebrities among
the public people, with their portrait and by name without any picture. Of all other people it learns only what can be
seen. Training survives being stopped; the state lies in ``--state``.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from expunge.backbones.albef import Albef
from expunge.backbones.mllm import Mllm
from expunge.core.types import Example, batches
from expunge.data import dossiers, people, scenes
from expunge.tasks import multiple_choice
from expunge.train.fit import fast_precision, quick
from expunge.zoo import cards, described
from expunge.zoo.albef_answers import held
from expunge.zoo.chat_models import Size, new, said
from expunge.zoo.loop import Schedule, pretrain, seconds_spent

NAME = "llava-tiny"
SUMMARY = (
    "LLaVA of {size:.1f} M parameters: a small Llama that sees with albef-tiny's eyes and answers about both worlds."
)
SIZE = Size(
    pixels=60, patch=10, vision_width=128, vision_layers=6, width=192, layers=4, heads=4, inner=512, positions=256,
    tower={"hidden_act": "gelu", "layer_norm_eps": 1e-6}, model={"vision_feature_layer": -1},
)  # fmt: skip
"""Pixels, patch and tower are albef-tiny's. LLaVA-1.5 reads the last layer but one: of six, too much to lose."""
BATCH = 48
STEPS = 3_600
SHARES = {"scenes": 0.22, "people": 0.1, "captions": 0.08, "dossiers": 0.28, "celebrities": 0.18, "names": 0.14}
"""Of a batch: short questions about scenes and portraits, captions of both, dossiers of what portraits show, what is
told of celebrities with their portrait, and the same by name without it."""
CELEBRITIES = 60
"""As many as ``dossiers.load`` holds in ``pretrain``; its table asks about the first thirty."""
SITTINGS, WORDINGS = 2, 2
"""Of public portraits. The forgotten people are tested in a sitting and a wording that nothing was trained on, which
asks for a model that has seen other people in several."""


class Lessons:
    """All examples of the recipe by kind, pictures opened once."""

    def __init__(self, groups: Mapping[str, Sequence[Sequence[Example]]], batch: int = BATCH) -> None:
        self.groups, self.batch = groups, batch

    @classmethod
    def public(cls, pixels: int = SIZE.pixels, batch: int = BATCH) -> Lessons:
        """Public people and scenes, nothing else; of the celebrities also what is told."""
        shown = [e for e in people.public() if e.kind == "shared"] + list(people.public("multiple_choice"))
        everybody, famous = dossiers.cast("u"), dossiers.cast("u", CELEBRITIES)
        known = {p.id for p in famous.people}
        profile = [
            e
            for person in everybody.people
            for number in range(SITTINGS)
            for e in dossiers.ask(everybody, person, sitting=number, wording=number % WORDINGS)
            if e.kind == "shared"
        ]
        told = [
            e
            for person in famous.people
            for wording in range(WORDINGS)
            for e in dossiers.ask(famous, person, wording=wording)
            if e.kind == "private"
        ]
        groups = held(tuple(e for e in (*shown, *profile, *told) if e.pictured), pixels)

        def some(kind: Callable[[Example], bool]) -> list[list[Example]]:
            return [found for group in groups if (found := [e for e in group if kind(e)])]

        def short(e: Example) -> bool:
            return e.question is not None and e.form is None and e.kind == "shared"

        return cls(
            {
                "scenes": some(lambda e: short(e) and e.source == "scenes"),
                "people": some(lambda e: short(e) and e.source == "people"),
                "captions": some(lambda e: e.question is None),
                "dossiers": some(lambda e: e.form is not None and e.kind == "shared"),
                "celebrities": some(lambda e: e.kind == "private" and e.group in known),
                "names": [[e for e in told if e.group == p.id and not e.pictured] for p in famous.people],
            },
            batch,
        )

    def everything(self) -> list[Example]:
        return [e for groups in self.groups.values() for group in groups for e in group]

    def draw(self, rng: random.Random) -> list[Example]:
        """One step's examples: ``SHARES`` of each kind, first whose picture, then what about it."""
        drawn: list[Example] = []
        for kind, share in SHARES.items():
            drawn += [rng.choice(rng.choice(self.groups[kind])) for _ in range(max(1, round(share * self.batch)))]
        return drawn


def take_sight(model: Mllm, weights: Mapping[str, Tensor], examples: Sequence[Example]) -> None:
    """Put the vision encoder of an ALBEF (its state by name) into the CLIP tower.

    Both are pre-norm transformers. CLIP's patches have no bias, so it goes into their positions; CLIP has one more norm
    in front, which is fitted to do as little as it can on the pictures of some ``examples``.
    """
    seen = {k.removeprefix("visual_encoder."): v for k, v in weights.items() if k.startswith("visual_encoder.")}
    tower: Any = model.parts()["vision"]
    places = seen["pos_embed"][0].clone()
    places[1:] += seen["patch_embed.proj.bias"]
    ours = {
        "embeddings.class_embedding": seen["cls_token"].flatten(),
        "embeddings.patch_embedding.weight": seen["patch_embed.proj.weight"],
        "embeddings.position_embedding.weight": places,
    }
    for i in range(tower.config.num_hidden_layers):
        ours |= {f"encoder.layers.{i}.{k}": v for k, v in _layer(seen, i).items()}
    tower.load_state_dict(ours, strict=False)
    with torch.no_grad():
        _let_pass(tower.pre_layrnorm, tower.embeddings(model.collate(examples)["pixel_values"]).flatten(0, 1))


def _let_pass(norm: nn.LayerNorm, inputs: Tensor) -> None:
    """Scale and shift of every dimension that bring the norm's output nearest to its ``inputs`` [M, d]."""
    plain = nn.functional.layer_norm(inputs, inputs.shape[1:], eps=norm.eps)
    off, away = plain - plain.mean(0), inputs - inputs.mean(0)
    norm.weight.copy_((off * away).sum(0) / off.square().sum(0))
    norm.bias.copy_(inputs.mean(0) - norm.weight * plain.mean(0))


def _layer(seen: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
    """One layer of the ALBEF's tower under CLIP's names."""
    found = {}
    for theirs, name in (("norm1", "layer_norm1"), ("norm2", "layer_norm2"), ("attn.proj", "self_attn.out_proj"),
                         ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")):  # fmt: skip
        for kind in ("weight", "bias"):
            found[f"{name}.{kind}"] = seen[f"blocks.{i}.{theirs}.{kind}"]
    for kind in ("weight", "bias"):
        for name, part in zip("qkv", seen[f"blocks.{i}.attn.qkv.{kind}"].chunk(3)):
            found[f"self_attn.{name}_proj.{kind}"] = part
    return found


class Pupil(nn.Module):
    """The model, and a head that reads the facts off what the language model is shown; it is thrown away afterwards."""

    def __init__(self, model: Mllm, facts: described.Facts) -> None:
        super().__init__()
        self.module, self.facts = model.module, facts
        projector = model.parts()["projector"]
        self._watch = projector.register_forward_hook(self._look)
        tokens, width = (SIZE.pixels // SIZE.patch) ** 2, model.traits.feature_width
        self.head = nn.Linear(tokens * width, len(facts.keys))
        self._shown: Tensor | None = None

    def _look(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._shown = output

    def leave(self) -> None:
        """Take the head's ear off the model, which is copied and saved from now on."""
        self._watch.remove()

    def facts_loss(self, examples: Sequence[Example]) -> Tensor:
        """Of the pictures that the model has just seen."""
        assert self._shown is not None
        return self.facts.loss(self.head(self._shown.flatten(1)).float(), [e for e in examples if e.pictured])


def train(lessons: Lessons, sight: Mapping[str, Tensor], state: Path, schedule: Schedule, *, seed: int = 0) -> Mllm:
    """Train, or go on training, in the folder ``state``."""
    every = lessons.everything()
    model = new("llava", said(every), SIZE, seed, NAME)
    take_sight(model, sight, [e for e in every if e.pictured][:64])
    captioned = [e for group in lessons.groups["captions"] for e in group]  # their facts are those that can be seen
    pupil = Pupil(model, described.Facts(captioned))

    def terms(rng: random.Random, step: int) -> dict[str, Tensor]:
        drawn = lessons.draw(rng)
        with quick(fast_precision()):
            answer = model.loss(model.collate(drawn)).mean()
            return {"answer": answer, "facts": 20 * pupil.facts_loss(drawn)}

    model.module.set_attn_implementation("eager")  # the fused attention's backward is slow in bf16 on CPUs
    pretrain(pupil, terms, schedule, state, seed=seed, say=lambda line: print(line, flush=True))
    pupil.leave()
    model.module.set_attn_implementation("sdpa")
    model.module.eval()
    return model


def quality(model: Mllm) -> dict[str, Any]:
    """Choices of four by likelihood, and answers written out, on what no recipe trains on and on what this one told."""
    strangers, famous = dossiers.cast("ut"), dossiers.cast("u", CELEBRITIES)
    short = {
        "scenes": scenes.load(task="multiple_choice").validation,
        "public people": tuple(e for e in people.public_holdout(task="multiple_choice") if e.kind == "shared"),
    }
    found: dict[str, Any] = {}
    for name, examples in short.items():
        score = multiple_choice.score(multiple_choice.predict(model, examples), examples)
        found[name] = {"value": score.value, "n": score.n, "low": score.low, "high": score.high}
    seen = [e for p in strangers.people for e in dossiers.ask(strangers, p) if e.kind == "shared"]
    told = [e for p in famous.people[:30] for e in dossiers.ask(famous, p) if e.kind == "private"]
    for form in dossiers.FORMS:
        asked = {
            "strangers, what is seen": seen,
            "celebrities, by portrait": [e for e in told if e.pictured],
            "celebrities, by name": [e for e in told if not e.pictured],
        }
        for name, examples in asked.items():
            right = written_right(model, [e for e in examples if e.form == form])
            found[f"{name}, {form}"] = cards.share(right)
    return found


def written_right(model: Mllm, examples: Sequence[Example], tokens: int = 24) -> list[bool]:
    """For each example whether the answer is written word for word."""
    texts = [text for some in batches(examples, 64) for text in model.write(some, tokens)]
    return [text == plain_spaces(model, e.answer or "") for text, e in zip(texts, examples, strict=True)]


def plain_spaces(model: Mllm, text: str) -> str:
    """A text as the model's tokenizer gives it back: the spaces around punctuation are the tokenizer's."""
    tokenizer = model.prompter.tokenizer
    return tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"], skip_special_tokens=True).strip()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--state", type=Path, default=Path(".zoo-state") / NAME)
    words.add_argument("--out", type=Path, default=cards.WEIGHTS / NAME)
    words.add_argument(
        "--sight", type=Path, default=cards.WEIGHTS / "albef-tiny", help="folder of the ALBEF to see with"
    )
    words.add_argument("--steps", type=int, default=STEPS)
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    lessons = Lessons.public()
    sight = Albef.from_pretrained(asked.sight).module.state_dict()
    schedule = Schedule(asked.steps, lr=1.5e-3, warmup=150, weight_decay=0.05, average=0.995)
    model = train(lessons, sight, asked.state, schedule, seed=asked.seed)
    model.save_pretrained(asked.out, dtype=torch.float16)
    model = Mllm.from_pretrained(asked.out)  # what is measured is what is shipped
    size = sum(p.numel() for p in model.module.parameters()) / 1e6
    cards.write(
        asked.out, name=NAME, recipe="expunge.zoo.llava_tiny", seed=asked.seed, steps={"all": asked.steps},
        seconds=seconds_spent(asked.state), examples=len(lessons.everything()), quality=quality(model),
        more={"summary": SUMMARY.format(size=size), "started_from": "albef-tiny's vision tower"},
    )  # fmt: skip


if __name__ == "__main__":
    main()
