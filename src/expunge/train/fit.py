"""The one loop that methods call.

``fit`` sums and logs the dict of named terms that a loss returns. What computes them, on one process or on many, is
``train.engine``'s matter; here every process walks through the same examples in the same order.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from expunge.core.arithmetic import fast_precision
from expunge.core.errors import Diverged, ExpungeError
from expunge.core.options import senseless
from expunge.core.run import Run
from expunge.core.types import Example, Splits, Work
from expunge.train.engine import Engine, Loss, Terms
from expunge.train.precision import quick, repeatable
from expunge.train.resuming import Stateful, Walk, lasting

__all__ = ["Enough", "Loss", "Schedule", "Terms", "fast_precision", "fit", "quick", "repeatable"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. Steps are counted in batches of the forget set, and whatever ``descents`` adds to them.

    ``retain_ratio`` retain examples accompany each forget example (0 gives none): the access rate to D_r.
    ``near`` is the share of them drawn from the forget batch's own source. ``precision`` is "fp32" or "bf16".
    ``least_steps`` adds epochs where the forget set is so small that it would be seen in fewer steps; ``most_steps``
    (0: none) ends a run early whose forget set is so large that it would take more. ``descents`` steps on the retain
    examples alone follow each step on a forget batch alone; 0 takes both in one step. Raises ExpungeError for a number
    that makes no sense.
    """

    epochs: int
    lr: float
    batch: int
    retain_ratio: float = 0.0
    near: float = 0.5
    weight_decay: float = 0.02
    warmup: float = 0.1
    floor: float = 0.1
    clip: float = 1.0
    precision: str = "fp32"
    least_steps: int = 0
    most_steps: int = 0
    descents: int = 0

    def __post_init__(self) -> None:
        wrong = [f"{name} {why}" for name, value in vars(self).items() if (why := senseless(name, value))]
        few = ("retain_ratio", "weight_decay", "floor", "clip", "descents")
        wrong += [f"{name} must be at least 0; got {vars(self)[name]}" for name in few if vars(self)[name] < 0]
        shares = ("near", "warmup")
        wrong += [f"{n} must lie between 0 and 1; got {vars(self)[n]}" for n in shares if not 0 <= vars(self)[n] <= 1]
        if wrong:
            raise ExpungeError(f"nothing can be trained by this: {'; '.join(wrong)}.")

    def steps(self, count: int) -> int:
        """Steps over a forget set of ``count`` examples."""
        per_epoch = math.ceil(count / self.batch)
        epochs = max(self.epochs, math.ceil(self.least_steps / max(1, per_epoch)))
        batches = min(epochs * per_epoch, self.most_steps or epochs * per_epoch)
        return batches * (1 + self.descents)

    def given(self, retained: int) -> Schedule:
        """The same where so many examples are retained: without any of them there is nothing to go down on."""
        return self if retained and self.retain_ratio else replace(self, descents=0)

    def work(self, count: int, passes: float = 1.0) -> Work:
        """What training over ``count`` examples comes to, with ``passes`` of the task's loss for each.

        With ``descents``, ``passes`` are those of a step up and of the steps down that follow it, together.
        """
        steps, batch = self.steps(count), min(self.batch, count)
        mean = passes / (1 + self.descents)
        return Work(steps, steps * batch * mean, batch * (max(1.0, mean) if self.descents else mean))


class Enough(Exception):
    """Raised when there is nothing left to do; ``fit`` then ends as after its last step."""


def fit(
    model: Any,
    loss: Loss,
    splits: Splits,
    run: Run,
    schedule: Schedule,
    *,
    what: str = "training",
    params: Iterable[nn.Parameter] | None = None,
    before_step: Callable[[int], None] | None = None,
    after_backward: Callable[[], None] | None = None,
    state: Stateful | None = None,
) -> None:
    """Minimise ``loss`` over ``splits.forget`` (walked) beside ``splits.retain`` (drawn), in place.

    ``params`` defaults to everything that requires a gradient; ``before_step`` is given the step's number and may
    raise ``Enough``; ``after_backward`` may mask gradients. A loss may be asked several times in a step. Order and
    draws depend on ``run.seed`` only. ``state`` is what the loss or the mask remember from step to step, such as a
    generator of their own: it is saved with the training, and a stopped run goes on from there (``train.resuming``).
    """
    trained = [p for p in (params if params is not None else model.module.parameters()) if p.requires_grad]
    schedule = schedule.given(len(splits.retain))
    steps = schedule.steps(len(splits.forget))
    engine = Engine(
        model, loss, trained, lambda chosen: _optimizer(chosen, schedule), schedule.precision, schedule.clip, run.scale
    )
    if after_backward and not engine.leaves_gradients:
        raise ExpungeError(f"{what} masks gradients of whole weights, which this engine keeps for itself: use DDP.")
    optimizer = engine.optimizer
    rng = random.Random(f"fit:{run.seed}")
    torch.manual_seed(run.seed)
    kept = _by_source(splits.retain)
    walk = Walk(len(splits.forget), schedule.batch, rng)
    parts: dict[str, Stateful] = {**engine.parts(), "walk": walk} | ({} if state is None else {"loss": state})
    with (
        engine.working(),
        lasting(run, what, parts, kept=engine.can_be_saved) as training,
        run.stage(training.shown, steps),
        repeatable(),
        suppress(Enough),
    ):
        for step in training.steps(steps):
            if before_step:
                before_step(step)
            climbs = step % (1 + schedule.descents) == 0
            forget = [splits.forget[i] for i in walk.next()] if climbs else []
            beside = forget or splits.forget  # a step down alone is near all of them
            alone = climbs and schedule.descents
            wanted = 0 if alone else round(schedule.retain_ratio * min(schedule.batch, len(beside)))
            retain = _accompany({e.source for e in beside}, wanted, kept, schedule, rng)
            for group in optimizer.param_groups:
                group["lr"] = schedule.lr * _factor(step, steps, schedule)
            optimizer.zero_grad(set_to_none=True)
            try:
                terms = engine.gradients(forget, retain)
            except FloatingPointError as odd:
                raise Diverged(f"{what}: {odd} at step {step}; try a smaller lr.") from None
            if after_backward:
                after_backward()
            engine.clip()
            optimizer.step()
            run.log(what=what, step=step, **{k: round(v.item(), 5) for k, v in terms.items()})
            run.progress.advance()


def _optimizer(trained: Sequence[nn.Parameter], schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW; vectors and numbers (biases, norms, temperatures) do not decay."""
    return torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": schedule.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=schedule.lr,
    )


def _factor(step: int, steps: int, schedule: Schedule) -> float:
    """Linear warm-up, then a cosine down to ``floor``."""
    warm = max(1, round(schedule.warmup * steps))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * done))


def _by_source(retain: Sequence[Example]) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for e in retain:
        found.setdefault(e.source, []).append(e)
    return found


def _accompany(
    sources: set[str], wanted: int, kept: dict[str, list[Example]], schedule: Schedule, rng: random.Random
) -> list[Example]:
    """Retain examples for a forget batch: ``near`` of them from its own sources, the others from anywhere else."""
    if not wanted or not kept:
        return []
    close = [e for s in sorted(sources) for e in kept.get(s, [])]
    elsewhere = [e for s in sorted(kept) if s not in sources for e in kept[s]] or close
    count = round(schedule.near * wanted) if close else 0
    return [rng.choice(close) for _ in range(count)] + [rng.choice(elsewhere) for _ in range(wanted - count)]
