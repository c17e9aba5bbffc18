"""Pretraining that survives being stopped: state is saved as it goes and the next start walks on from it.

What a step sees depends on the seed and the step's number only, so a resumed training sees exactly what an
uninterrupted one would have seen.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """AdamW with linear warm-up and cosine decay. ``lr`` is the peak; ``save_seconds`` is wall-clock."""

    steps: int
    lr: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.02
    clip: float = 1.0
    floor: float = 0.02
    save_seconds: float = 120.0
    say_every: int = 50
    average: float = 0.0  # decay of an exponential moving average of the weights; 0 keeps none


def factor(step: int, schedule: Schedule) -> float:
    """The learning rate at ``step`` as a share of its peak."""
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def pretrain(
    module: nn.Module,
    loss_terms: Callable[[random.Random, int], Terms],
    schedule: Schedule,
    state: Path,
    *,
    seed: int = 0,
    after_step: Callable[[], None] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Train ``module`` in place on the sum of ``loss_terms(rng, step)``.

    ``state`` is a folder for ``state.safetensors`` and ``state.json``; found there, training goes on where it
    stopped. ``rng`` and torch's generator are seeded from (seed, step). With ``schedule.average`` the module ends
    up holding the averaged weights.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim > 1]
    plain = [p for p in trained if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=schedule.lr, betas=(0.9, 0.98),
    )  # fmt: skip
    ordered = decayed + plain
    averaged = [p.detach().clone() for p in ordered] if schedule.average else []
    start, spent = _resume(module, optimizer, ordered, averaged, state)
    if start:
        say(f"resuming at step {start} of {schedule.steps}")
    module.train()
    saved = begun = time.monotonic()
    for step in range(start, schedule.steps):
        torch.manual_seed(seed * 1_000_003 + step)
        terms = loss_terms(random.Random(f"{seed}:{step}"), step)
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr * factor(step, schedule)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(trained, schedule.clip)
        optimizer.step()
        if averaged:
            decay = min(schedule.average, (1 + step) / (10 + step))
            torch._foreach_lerp_(averaged, [p.detach() for p in ordered], 1 - decay)
        if after_step:
            after_step()
        if (step + 1) % schedule.say_every == 0:
            pace = (time.monotonic() - begun) / (step + 1 - start)
            shown = " ".join(f"{k}={v.item():.3f}" for k, v in terms.items())
            say(
                f"step {step + 1}/{schedule.steps} {shown} {pace:.2f}s/step, "
                f"{pace * (schedule.steps - step - 1) / 60:.0f} min left"
            )
        if time.monotonic() - saved > schedule.save_seconds or step + 1 == schedule.steps:
            saved = time.monotonic()
            _save(module, optimizer, ordered, averaged, state, step + 1, spent + saved - begun)
    if averaged:
        with torch.no_grad():
            for p, mean in zip(ordered, averaged, strict=True):
                p.copy_(mean)


def _save(module, optimizer, ordered, averaged, state: Path, step: int, seconds: float) -> None:
    """One safetensors file replaced whole; the step is inside it, so the two can never disagree."""
    state.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{k}": v.detach().clone().contiguous() for k, v in module.state_dict().items()}
    for i, p in enumerate(ordered):
        for k in ("exp_avg", "exp_avg_sq"):
            if k in optimizer.state.get(p, {}):
                tensors[f"{k}.{i}"] = optimizer.state[p][k].detach().clone().contiguous()
        if averaged:
            tensors[f"average.{i}"] = averaged[i].clone().contiguous()
    partial = state / "state.partial"
    save_file(tensors, partial, metadata={"step": str(step), "seconds": f"{seconds:.1f}"})
    os.replace(partial, state / "state.safetensors")
    (state / "state.json").write_text(json.dumps({"step": step, "seconds": round(seconds, 1)}))


def _resume(module, optimizer, ordered, averaged, state: Path) -> tuple[int, float]:
    """The step to go on with, and the seconds of training that came before it."""
    path = state / "state.safetensors"
    if not path.exists():
        return 0, 0.0
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        told = file.metadata()
    step = int(told["step"])
    tensors = load_file(path)
    module.load_state_dict({k[len("model.") :]: v for k, v in tensors.items() if k.startswith("model.")})
    for i, p in enumerate(ordered):
        if f"exp_avg.{i}" in tensors:
            optimizer.state[p] = {
                "step": torch.tensor(float(step)),
                "exp_avg": tensors[f"exp_avg.{i}"],
                "exp_avg_sq": tensors[f"exp_avg_sq.{i}"],
            }
        if averaged:
            averaged[i].copy_(tensors[f"average.{i}"])
    return step, float(told.get("seconds", 0))


def seconds_spent(state: Path) -> float:
    """Seconds of training over all the stages whose states lie below ``state``, interrupted legs included."""
    return sum(json.loads(told.read_text()).get("seconds", 0) for told in state.rglob("state.json"))
