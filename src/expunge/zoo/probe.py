"""A small network that reads the stated attributes off pictures, and what it reads in generated ones.

It is trained on real public renders only, moved and softened a little so that the traces of an autoencoder do not
put it off. Its own accuracy on held-out real renders stands beside every number it gives.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from expunge.backbones.stable_diffusion import StableDiffusion
from expunge.core.types import Example
from expunge.data.worlds import compositions
from expunge.zoo import cards, described, public
from expunge.zoo.loop import Schedule, pretrain


class Probe(nn.Module):
    """Five convolutions at 64 px, then one linear head on the 8 x 8 map."""

    def __init__(self, facts: described.Facts, width: int = 32) -> None:
        super().__init__()
        self.facts = facts
        widths = [3, width, 2 * width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for i, stride in enumerate((2, 2, 1, 2, 1)):
            layers += [nn.Conv2d(widths[i], widths[i + 1], 3, stride, 1), nn.GroupNorm(8, widths[i + 1]), nn.GELU()]
        layers += [
            nn.Conv2d(4 * width, width, 1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(64 * width, len(facts.keys)),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, levels: Tensor) -> Tensor:
        """Logits [B, keys] of bytes [B, 3, 64, 64]."""
        return self.layers(levels.float() / 127.5 - 1)


def softened(levels: Tensor, rng: random.Random, reach: int = 2) -> Tensor:
    """The pictures moved by up to ``reach`` pixels, blurred every other time, with a little noise."""
    wide = nn.functional.pad(levels.float(), (reach,) * 4, mode="replicate")
    down, right = rng.randint(0, 2 * reach), rng.randint(0, 2 * reach)
    moved = wide[:, :, down : down + levels.shape[2], right : right + levels.shape[3]]
    if rng.random() < 0.5:
        moved = nn.functional.avg_pool2d(nn.functional.pad(moved, (1,) * 4, mode="replicate"), 3, 1)
    return moved + torch.randn_like(moved) * rng.uniform(0, 10)


def trained(material: public.Material, state: Path, *, steps: int = 1500, batch: int = 64, seed: int = 0) -> Probe:
    """Fit a probe to real renders, half portraits and half scenes."""
    torch.manual_seed(seed)
    probe = Probe(described.Facts(material.examples))
    worlds = [[together[0] for together in material.of_source(source)] for source in ("people", "scenes")]

    def terms(rng: random.Random, step: int) -> dict[str, Tensor]:
        chosen = [rng.choice(world) for world in worlds for _ in range(batch // 2)]
        levels = softened(material.pictures[[material.row[i] for i in chosen]], rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=levels.device.type == "cpu"):
            read = probe(levels).float()
        return {"facts": 10 * probe.facts.loss(read, [material.examples[i] for i in chosen])}

    schedule = Schedule(steps, lr=2e-3, warmup=100, weight_decay=0.02, average=0.99, say_every=100)
    pretrain(probe, terms, schedule, state, seed=seed, say=lambda line: print(line, flush=True))
    return probe.eval()


@torch.no_grad()
def readings(probe: Probe, levels: Tensor) -> list[set[str]]:
    """What the probe sees in each picture: of every attribute its likeliest value, and all things it is sure of.

    A relation is what its two places hold, as ``first left of=cat``.
    """
    keys = probe.facts.keys
    together: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        together.setdefault(key.split("=")[0], []).append(i)
    seen: list[set[str]] = []
    for logits in torch.cat([probe(chunk) for chunk in levels.split(100)]):
        found = {keys[i] for i in together["has"] if logits[i] > 0}
        for name, places in together.items():
            if name != "has":
                found.add(keys[max(places, key=lambda i: logits[i].item())])
        seen.append(found)
    return seen


def stated(example: Example) -> list[tuple[str, set[str]]]:
    """The attributes that the text states, each with all the keys that must be read for it."""
    claims = []
    for meaning in sorted(example.meaning - {"person"}):
        relation = next((r for r in compositions.RELATIONS if f" {r} " in meaning), None)
        if relation:
            first, second = meaning.split(f" {relation} ")
            claims.append(("place", {f"first {relation}={first}", f"second {relation}={second}"}))
        elif "=" in meaning and not meaning.startswith("headwear="):  # the hair's or hat's name says it already
            claims.append((meaning.split("=")[0], {meaning}))
    return claims


def hits(probe: Probe, levels: Tensor, examples: Sequence[Example]) -> list[tuple[str, bool]]:
    """One entry per attribute stated by the examples' texts: its name, and whether the probe reads it."""
    seen = readings(probe, levels)
    return [(name, keys <= found) for found, e in zip(seen, examples, strict=True) for name, keys in stated(e)]


def as_levels(pictures: Sequence[Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(p) for p in pictures])).permute(0, 3, 1, 2)


def drawn(
    model: StableDiffusion, texts: Sequence[str], *, steps: int = 20, guidance: float = 3.0, seed: int = 0
) -> list[Image.Image]:
    """One picture per text."""
    pictures: list[Image.Image] = []
    for start in range(0, len(texts), 50):
        condition = model.encode_prompts(texts[start : start + 50])[0]
        pictures += model.draw(condition, steps=steps, guidance=guidance, seed=seed + start)
    return pictures


def sheet(pictures: Sequence[Image.Image], columns: int = 10) -> Image.Image:
    """Pictures side by side, to be looked at."""
    size = pictures[0].width + 4
    whole = Image.new("RGB", (columns * size, -(-len(pictures) // columns) * size), "white")
    for i, picture in enumerate(pictures):
        whole.paste(picture, (i % columns * size, i // columns * size))
    return whole


def quality(
    model: StableDiffusion, probe: Probe, folder: Path, *, count: int = 200, guidance: float = 3.0
) -> dict[str, dict]:
    """The share of stated attributes read in pictures drawn from held-out sentences, and in the real pictures.

    Contact sheets of the drawn pictures are left in ``folder``.
    """
    said: dict[str, dict] = {}
    for world, material in (("portraits", public.held_out_portraits()), ("scenes", public.held_out_scenes())):
        indices = [i for i, e in enumerate(material.examples) if e.kind == "shared"]
        indices = random.Random(0).sample(indices, min(count, len(indices)))
        examples = [material.examples[i] for i in indices]
        pictures = drawn(model, [e.text for e in examples], guidance=guidance)
        sheet(pictures[:60]).save(folder / f"{world}.png")
        found = hits(probe, as_levels(pictures), examples)
        real = hits(probe, material.pictures[[material.row[i] for i in indices]], examples)
        said[f"{world}: stated attributes read in drawn pictures"] = cards.share([hit for _, hit in found])
        said[f"{world}: the same in the real pictures"] = cards.share([hit for _, hit in real])
        said[f"{world}: by attribute"] = {
            name: cards.share([hit for n, hit in found if n == name])["value"] for name in sorted({n for n, _ in found})
        }
    return said
