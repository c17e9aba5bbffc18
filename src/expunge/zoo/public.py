"""The public part of the worlds as tensors: what the recipes train on, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from expunge.core.types import Example
from expunge.data import people


@dataclass(frozen=True)
class Material:
    """Examples and their pictures; ``row[i]`` is where the picture of ``examples[i]`` lies in ``pictures``."""

    examples: tuple[Example, ...]
    pictures: Tensor  # [M, 3, H, W] uint8, one row per different picture
    row: tuple[int, ...]

    def of_source(self, source: str) -> list[list[int]]:
        """The indices of the examples of ``source``, together by picture."""
        together: dict[int, list[int]] = {}
        for i, example in enumerate(self.examples):
            if example.source == source:
                together.setdefault(self.row[i], []).append(i)
        return list(together.values())


def material(examples: Sequence[Example], pixels: int = 64) -> Material:
    """Open every different picture of ``examples`` once."""
    rows: dict[str, int] = {}
    opened = []
    for example in examples:
        if example.image.key not in rows:
            rows[example.image.key] = len(opened)
            opened.append(np.asarray(example.image.open(pixels)))
    pictures = torch.from_numpy(np.stack(opened)).permute(0, 3, 1, 2).contiguous()
    return Material(tuple(examples), pictures, tuple(rows[e.image.key] for e in examples))


def training(pixels: int = 64, cache: Path | None = None) -> Material:
    """The public people and scenes that every recipe of the zoo may see; ``cache`` keeps the drawn pictures."""
    world = people.load()
    if cache is None:
        return material(world.pretrain, pixels)
    path = cache / f"pictures-{world.fingerprint[:12]}-{pixels}.safetensors"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file({"pictures": material(world.pretrain, pixels).pictures}, partial)
        os.replace(partial, path)
    rows: dict[str, int] = {}
    row = tuple(rows.setdefault(e.image.key, len(rows)) for e in world.pretrain)
    return Material(world.pretrain, load_file(path)["pictures"], row)


def held_out_portraits(pixels: int = 64) -> Material:
    """Public people that no recipe trains on."""
    return material(people.public_holdout(), pixels)


def held_out_scenes(pixels: int = 64) -> Material:
    """Validation scenes: combinations of things that no recipe trains on."""
    return material([e for e in people.load().validation if e.source == "scenes"], pixels)
