"""The card beside a zoo model's weights: where they come from and how good they were measured to be."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expunge.data import people, scenes

WEIGHTS = Path(__file__).parent / "weights"


def card(name: str) -> dict[str, Any]:
    """The card of a zoo model. Raises ``FileNotFoundError`` naming the models there are."""
    path = WEIGHTS / name / "card.json"
    if not path.exists():
        there = ", ".join(sorted(p.parent.name for p in WEIGHTS.glob("*/card.json"))) or "none"
        raise FileNotFoundError(f"no zoo model {name!r} with a card; there are: {there}")
    return json.loads(path.read_text("utf-8"))


def share(hits: Sequence[bool]) -> dict[str, float | int]:
    """A share in per cent with its 95 % Wilson interval and n."""
    n, z = len(hits), 1.959964
    if not n:
        return {"value": math.nan, "n": 0, "low": math.nan, "high": math.nan}
    p = sum(hits) / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return {
        "value": round(100 * p, 2),
        "n": n,
        "low": round(100 * (middle - half), 2),
        "high": round(100 * (middle + half), 2),
    }


def commit() -> str:
    """The commit of the recipe's code, with ``-dirty`` where src differs from it; empty outside a checkout."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    known = git("rev-parse", "HEAD")
    return known + ("-dirty" if known and git("status", "--porcelain", "--untracked-files=no", "--", ".") else "")


def write(
    folder: Path,
    *,
    name: str,
    recipe: str,
    seed: int,
    steps: Mapping[str, int],
    seconds: float,
    examples: int,
    quality: Mapping[str, Any],
    more: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write ``card.json`` into ``folder`` and return what it says; ``more`` adds lines such as ``summary``."""
    made = {
        "name": name,
        **(more or {}),
        "recipe": f"python -m {recipe}",
        "commit": commit(),
        "seed": seed,
        "steps": dict(steps),
        "training_seconds": round(seconds),
        "examples": examples,
        "trained_on": "the public part of the embedded worlds (people.load().pretrain), nothing else",
        "quality": dict(quality),
        "licence": f"Weights: Apache-2.0. {people.LICENCE} {scenes.LICENCE}",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(json.dumps(made["quality"], indent=2))
    return made
