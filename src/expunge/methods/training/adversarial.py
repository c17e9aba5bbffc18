"""Unlearn the forgotten while their adversarial twins hold the rest in place; nothing retained is touched (Adv, L2UL).

Equation: min over theta of
    -n_f / (n_f + n_a) CE(D_f) + n_a / (n_f + n_a) CE(x_adv -> y~)
    + lambda / 2 sum_p (1 - Omega_p) (theta_p - theta0_p)^2
    x_adv = argmax over ||x' - x||_2 <= epsilon of log p(y~ | x'), by projected gradient steps from a random start
    Omega_p = E over D_f of |d ||F(x)||^2 / d theta_p|, min-max scaled to [0, 1] within each tensor
Symbols: n_f, n_a pairs and adversarial pairs of a step; F the model's output; epsilon in the units of the pixels that
    the model takes (normalised); y~ a wrong choice, for retrieval the text of another picture.
Paper: Cha et al., "Learning to Unlearn" (AAAI 2024); MAS: Aljundi et al. (ECCV 2018); comparison of the paper's §5.
Checked against: csm9493/L2UL 5fb777b, main_unlearn_cifar10 lines 312-356 as restated in notes on it; utils.py
    adv_attack and estimate_parameter_importance read at 18bda91. Defaults there: epsilon 4 on 32-pixel pictures, step
    0.1, 100 iterations, 20 to 200 twins per picture, SGD 1e-3 with momentum, lambda 1 (argparse 10), no D_r.
Departs: (1) retrieval: CE is the model's own ITC + ITM loss, and the attack maximises log p(match) + cosine / tau of
    another picture's text, taken from D_f, or from the held-out examples where D_f is about one picture. (2) bounded
    cost: few twins per pair, at most ``most`` in all, and 20 steps of the attack that reach as far, against epsilon, as
    the source's 100. (3) pixels stay in the range of the forget pictures: how a model normalises is not known here. (4)
    the importance is squared and per sample, as MAS has it; the code takes the plain norm, averaged over a batch. Unit
    features have a constant norm and no gradient of it, so F is the match logits and the pair's cosine / tau, or the
    choices' scores. (5) AdamW without decay, as everywhere here; lr and twins chosen on other people (`expunge bench
    search`, docs/log.md). (6) the twins of a step are those of its own forget pairs, not another loader's. (7) the code
    passes a count of samples where the number of classes is expected: not copied.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.core.run import Run
from expunge.core.types import Answers, Batch, Example, Fuses, Method, Splits, Work, batches
from expunge.train.constrain import frozen
from expunge.train.engine import need_whole_weights
from expunge.train.fit import Enough, Schedule, fit, repeatable
from expunge.train.measure import share_right
from expunge.train.pairs import owner, with_strange_texts


@dataclass(frozen=True)
class Adversarial(Method[Fuses]):
    by_task: ClassVar[Mapping[str, Mapping[str, Any]]] = {"multiple_choice": {"lr": 1e-4}, "entailment": {"lr": 1e-5}}
    copies: ClassVar[Mapping[str, float]] = {"gradients": 1, "moments": 2, "references": 1, "importances": 1}
    epochs: int = 10  # passes over the forget pairs, at most
    least_steps: int = 30  # more epochs where the forget set is so small that it would be seen in fewer steps
    most_steps: int = 400  # fewer where it is so large that it would be seen in more; 0: never
    lr: float = 5e-5  # AdamW's peak
    batch: int = 16  # forget pairs per step; their twins come with them
    twins: int = 1  # adversarial pictures per forget pair
    most: int = 600  # adversarial pictures in all: a larger D_f has fewer per pair
    epsilon: float = 4.0  # L2 radius of the attack
    step: float = 0.5  # L2 length of one step of it
    iterations: int = 20  # steps of it
    strength: float = 1.0  # lambda
    importance_pairs: int = 200  # forget pairs that the importance is measured on
    stop_at: float = 0.0  # stop after an epoch whose share of right answers on D_f is no more; below 0: never

    def unlearn(self, model: Fuses, splits: Splits, run: Run) -> Fuses:
        need_whole_weights("Adv holds every weight to where it was")
        with run.timed("attack"), repeatable():
            twins = self.make_twins(model, splits, run)
        with run.timed("importance"), repeatable():
            rng = random.Random(f"importance:{run.seed}")
            some = rng.sample(list(splits.forget), min(self.importance_pairs, len(splits.forget)))
            omega = importance(model, some, run)
        duel = Duel(self, model, splits, twins, omega, run)
        fit(
            model,
            duel.terms,
            splits,
            run,
            self.schedule,
            what="unlearning beside twins (Adv)",
            before_step=duel.judge,
        )
        return model

    @property
    def schedule(self) -> Schedule:
        return Schedule(
            self.epochs, self.lr, self.batch, weight_decay=0.0, least_steps=self.least_steps, most_steps=self.most_steps
        )

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        twins = min(self.twins * forget, self.most)
        work = self.schedule.work(forget, 1 + twins / max(forget, 1))
        attack = twins * self.iterations * 2 / 3  # no gradient of the weights
        return replace(work, pairs=work.pairs + attack + min(self.importance_pairs, forget))

    def make_twins(self, model: Fuses, splits: Splits, run: Run) -> list[Twin]:
        """Attacked pictures of the forget pairs with what they were made to look like, at most ``most``."""
        rng = random.Random(f"adversarial:{run.seed}")
        draw = torch.Generator().manual_seed(run.seed)
        forget = list(splits.forget)
        wanted = [e for _ in range(self.twins) for e in rng.sample(forget, len(forget))][: self.most]
        low, high = _pixel_range(model, splits.forget)
        made: list[Twin] = []
        reached = 0.0
        with run.stage("attacking pictures", math.ceil(len(wanted) / 32)), frozen(model.module.parameters()):
            for some in batches(wanted, 32):
                batch, false = self._false(model, some, splits, rng)
                score = _score_of(model, batch)
                found = attack(score, batch["pixels"], self.epsilon, self.step, self.iterations, draw, (low, high))
                with torch.no_grad():
                    reached += float((score(found) > score(batch["pixels"])).sum())
                targets = batch["target"].tolist() if "target" in batch else [-1] * len(some)
                made += [Twin(e.id, f, p, t) for e, f, p, t in zip(some, false, found, targets)]
                run.progress.advance()
        run.facts |= {"twins": len(made), "attack_raised": reached / max(1, len(made))}
        return made

    def _false(self, model: Fuses, some: Sequence[Example], splits: Splits, rng) -> tuple[Batch, Sequence[Example]]:
        """A batch of these pictures with a false target each, and the examples that it was made from."""
        if isinstance(model, Answers):
            batch = model.collate(some)
            return {**batch, "target": false_choices(model, batch, rng)}, some
        own = {owner(e) for e in splits.forget}
        spare = splits.forget if len(own) > 1 else splits.holdout
        false = with_strange_texts(some, spare, rng)
        return model.collate(false), false


@dataclass(frozen=True)
class Twin:
    """An attacked picture [3, h, w] of the forget example ``of``: ``example`` holds the text, ``target`` the choice."""

    of: str
    example: Example
    pixels: Tensor
    target: int


class Duel:
    """The loss of one step, and the end of the training once nothing of D_f is answered rightly."""

    def __init__(
        self,
        options: Adversarial,
        model: Fuses,
        splits: Splits,
        twins: Sequence[Twin],
        omega: dict[str, Tensor],
        run: Run,
    ):
        self.options, self.model, self.splits, self.run = options, model, splits, run
        self.twins: dict[str, list[Twin]] = {}
        for twin in twins:
            self.twins.setdefault(twin.of, []).append(twin)
        self.anchors = [
            (p, p.detach().clone(), 1 - omega[name]) for name, p in model.module.named_parameters() if name in omega
        ]
        self.per_epoch = math.ceil(len(splits.forget) / options.batch)

    def terms(self, forget: Sequence[Example], _: Sequence[Example]) -> dict[str, Tensor]:
        twins = [t for e in forget for t in self.twins.get(e.id, ())]
        n_f, n_a = len(forget), len(twins)
        terms = {"forget": -n_f / (n_f + n_a) * right_loss(self.model, self.model.collate(forget))}
        if twins:
            batch = self.model.collate([t.example for t in twins])
            batch = {**batch, "pixels": torch.stack([t.pixels for t in twins])}
            if isinstance(self.model, Answers):
                batch["target"] = torch.tensor([t.target for t in twins], device=batch["pixels"].device)
            terms["twins"] = n_a / (n_f + n_a) * right_loss(self.model, batch)
        drift = torch.stack([(weight * (p - p0).square()).sum() for p, p0, weight in self.anchors]).sum()
        return terms | {"drift": self.options.strength / 2 * drift}

    def judge(self, step: int) -> None:
        """After every epoch: raises Enough once no more of D_f is answered rightly than ``stop_at``."""
        if self.options.stop_at < 0 or not step or step % self.per_epoch:
            return
        some = self.splits.forget[: self.options.importance_pairs]
        known = share_right(self.model, some, self.splits.holdout[:256], seed=self.run.seed)
        self.run.log(what="adversarial", step=step, known=known)
        if known <= self.options.stop_at:
            raise Enough


def right_loss(model: Fuses, batch: Batch) -> Tensor:
    """Cross-entropy of the targets among the choices, or the model's own matching loss: a mean in nats."""
    if not isinstance(model, Answers):
        return model.loss(batch).mean()
    known = batch["target"] >= 0
    each = F.cross_entropy(_choices(model, batch), batch["target"].clamp(min=0), reduction="none")
    return each[known].sum() / known.sum().clamp(min=1)


def _choices(model: Answers, batch: Batch) -> Tensor:
    return model.choose(model.fuse(model.encode_images(batch), model.encode_texts(batch)), batch)


def false_choices(model: Answers, batch: Batch, rng: random.Random) -> Tensor:
    """A wrong choice for each example, drawn evenly among those that it has; -1 where there is none, [B]."""
    with torch.no_grad():
        offered = ~_choices(model, batch).isneginf()
    drawn = []
    for row, right in zip(offered.tolist(), batch["target"].tolist()):
        wrong = [i for i, has in enumerate(row) if has and i != right]
        drawn.append(rng.choice(wrong) if wrong and right >= 0 else -1)
    return torch.tensor(drawn, device=batch["target"].device)


def _score_of(model: Fuses, batch: Batch) -> Callable[[Tensor], Tensor]:
    """How much pixels look like the batch's targets, [B]: log p of the choice, or log p(match) + cosine / tau."""

    def score(pixels: Tensor) -> Tensor:
        shown = {**batch, "pixels": pixels}
        if isinstance(model, Answers):
            chances = F.log_softmax(_choices(model, shown), dim=1)
            chosen = chances.gather(1, batch["target"].clamp(min=0)[:, None])[:, 0]
            return torch.where(batch["target"] >= 0, chosen, torch.zeros_like(chosen))
        image, text = model.encode_images(shown), model.encode_texts(batch)
        cosine = (image.feature * text.feature).sum(1) / model.temperature
        return F.log_softmax(model.fuse(image, text).logits, dim=1)[:, 1] + cosine

    return score


def attack(
    score: Callable[[Tensor], Tensor],
    pixels: Tensor,
    epsilon: float,
    step: float,
    iterations: int,
    draw: torch.Generator,
    allowed: tuple[Tensor, Tensor],
) -> Tensor:
    """Pixels within L2 distance ``epsilon`` of ``pixels`` [B, ...] whose ``score`` [B] is higher: projected ascent.

    Starts at a random point of the ball; ``allowed`` are the least and greatest values, broadcast against pixels.
    """
    start = torch.randn(pixels.shape, generator=draw).to(pixels)
    radius = torch.rand(len(pixels), generator=draw).to(pixels)
    shift = _scaled(start, epsilon * radius)
    for _ in range(iterations):
        at = (pixels + shift).clamp(*allowed).requires_grad_(True)
        (gradient,) = torch.autograd.grad(score(at).sum(), at)
        shift = at.detach() - pixels + _scaled(gradient, step * torch.ones_like(radius))
        length = shift.flatten(1).norm(dim=1)
        shift = _scaled(shift, length.clamp(max=epsilon))
    # The start lies inside what is allowed, so clamping only shortens the shift.
    return (pixels + shift).clamp(*allowed).detach()


def _scaled(direction: Tensor, lengths: Tensor) -> Tensor:
    """Each row with the given L2 length; zero rows stay zero."""
    flat = F.normalize(direction.flatten(1), dim=1) * lengths[:, None]
    return flat.view_as(direction)


def _pixel_range(model: Fuses, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """The least and the greatest value of any pixel of these pictures."""
    low, high = [], []
    for some in batches(list({e.image.key: e for e in examples}.values()), 64):
        pixels = model.collate(some)["pixels"]
        low.append(pixels.min())
        high.append(pixels.max())
    return torch.stack(low).min(), torch.stack(high).max()


def importance(model: Fuses, examples: Sequence[Example], run: Run) -> dict[str, Tensor]:
    """Omega in [0, 1] of every trained parameter: how much the squared norm of the output hangs on it (MAS)."""
    trained: dict[str, nn.Parameter] = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in trained.items()}
    with run.stage("weighing parameters", len(examples)):
        for example in examples:
            squared = output(model, model.collate([example])).square().sum()
            found = torch.autograd.grad(squared, list(trained.values()), allow_unused=True)
            for name, gradient in zip(total, found):
                if gradient is not None:
                    total[name] += gradient.abs() / len(examples)
            run.progress.advance()
    return {name: _min_max(weights) for name, weights in total.items()}


def _min_max(weights: Tensor) -> Tensor:
    least, greatest = weights.min(), weights.max()
    return (weights - least) / (greatest - least) if greatest > least else torch.zeros_like(weights)


def output(model: Fuses, batch: Batch) -> Tensor:
    """What the importance is taken of: choices' scores [B, C], or match logits and cosine / tau [B, 3]."""
    if isinstance(model, Answers):
        scores = _choices(model, batch)
        return scores.masked_fill(scores.isneginf(), 0.0)
    image, text = model.encode_images(batch), model.encode_texts(batch)
    cosine = (image.feature * text.feature).sum(1, keepdim=True) / model.temperature
    return torch.cat([model.fuse(image, text).logits, cosine], dim=1)
