"""Climb on the pictures of the forgotten, through the weights that matter to them more than to all else (MMUnlearner).

Equation: theta <- theta - eta m * (-a grad E_{D_f} L + w grad E_{D_r} L),  m = 1 where (F_f + 1e-15) / (F_p + 1e-15) >=
    ``threshold``, weight by weight, with F_p of the weight's own preserve set: P_v = D_r for what sees (vision,
    projector), P_l = D_r and every question in words alone, about the forgotten too, for the rest (language).
Symbols: L, the model's own task loss (nats per example); F(D), mean over mini-batches of D of the squared gradient of
    the batch's mean loss, at the start, in float32; D_f, D_r, examples with a picture; eta AdamW's; a,
    ``forget_weight``; w, ``retain_weight``.
Paper: Huo et al., "MMUnlearner: Reformulating Multimodal Machine Unlearning in the Era of Multimodal Large Language
    Models" (ACL Findings 2025); what is seen of a person is forgotten, what is said of them is kept, so questions in
    words alone are never climbed.
Checked against: Z1zs/MMUnlearner fa77c66, data_process/SFRon.py:31-130 (F and the ratio; no official numbers could be
    had), data_process/MLLMU_gen_mask.py:60-90 (the preserve sets), baselines/MLLMU_manifold.py:150-290 (the training).
    ``official_code`` does as this code does: its masks hold gradients, not weights, after clipping, on ascent steps
    alone, for names with proj, fc, linear, mlp or qkv in them; all other weights move freely; one ascent step to
    len(D_r) // len(D_f) descent steps.
Departs: (1) official code apart, the mask holds the weight itself: AdamW's momentum and decay move nothing outside
    it, on any step. (2) not copied: its mask finds no LoRA parameter; its loop gives up in silence when D_f is used up
    or larger than D_r. With adapters the masks are those of the adapters' own weights; a first matrix whose second is
    zero has no gradient on either side, a ratio of 1, and so is in. (3) F is measured without dropout, P on at most
    ``weighed`` examples besides those about the forgotten. (4) lr, batch and steps are this house's; the paper has
    1e-5, 4 and one epoch of D_r. (5) the loss is of the answer's tokens, a mean for each example, with
    ``official_code``, too; the released program counts every token that is no pad, of question and picture as well, in
    one mean of a batch (data_process/CLEAR_process.py:167-218).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.core.types import Backbone, Example, Method, Splits, Work
from expunge.train import importance
from expunge.train.constrain import frozen
from expunge.train.fit import Schedule, fit, repeatable
from expunge.train.masks import Masks, made_once, only_inside, outweighing
from expunge.train.slopes import Order, Slopes

SEEING = ("vision", "projector")
"""Roles whose weights have the vision mask; all others have the language mask."""
WORDS = ("proj", "fc", "linear", "mlp", "qkv")
"""What a name must have in it for the official training to mask it."""
Named = Mapping[str, nn.Parameter]


@dataclass(frozen=True)
class MMUnlearner(Method[Backbone]):
    lora: ClassVar[bool] = True
    copies: ClassVar[Mapping[str, float]] = {"gradients": 1, "moments": 2, "references": 1}  # what is held outside
    epochs: int = 1
    least_steps: int = 24  # more epochs where the forget set is so small that it would be seen in fewer steps
    lr: float = 1e-4  # AdamW's peak
    batch: int = 16  # forgotten examples per step
    forget_weight: float = 1.0  # a
    retain_weight: float = 1.0  # w
    retain_ratio: float = 1.0  # retained examples per forgotten one in a step
    near: float = 0.5  # share of them from the forgotten ones' own source
    order: Order = "alternate"  # a step up, then a step down; or both terms in one step
    ceiling: float = 0.0  # nats at which an example's loss is climbed no further; 0: never
    threshold: float = 1.0  # smaller lets more weights move; 0 all of them
    moved: Literal["both", "language", "vision"] = "both"  # which masks let anything move
    per: Literal["batch", "sample"] = "batch"  # whose gradient is squared
    weighed: int = 512  # retained examples that the masks are made from, at most; 0: all
    weighed_batch: int = 4  # examples whose gradients are squared together
    official_code: bool = False  # as the released program does where it differs from the paper (see above)

    def unlearn(self, model: Backbone, splits: Splits, run: Run) -> Backbone:
        seen = Splits(pictured(splits.forget), pictured(splits.retain))
        if not seen.forget:
            raise ExpungeError("MMUnlearner forgets what is seen, and no example to forget has a picture.")
        named = importance.trained(model.module)
        masks = made_once(run, "masks", lambda: self.masks(model, splits, run))
        for part, names in groups(model).items():
            inside, total = (sum(f(masks[n]) for n in names if n in masks) for f in (lambda m: m.count(), len))
            run.facts[f"mask_share_{part}"] = inside / max(1, total)
        slopes = Slopes(model, self.forget_weight, self.retain_weight, self.ceiling)
        holding = nullcontext() if self.official_code else only_inside(named, masks)
        with holding:
            fit(
                model, slopes.terms, seen, run, self.schedule(len(seen.forget), len(seen.retain)), what="MMUnlearner",
                after_backward=self._clearing(named, masks, slopes),
            )  # fmt: skip
        return model

    def masks(self, model: Backbone, splits: Splits, run: Run) -> Masks:
        """One for every parameter that may move, by its name in the model as it is, adapters included."""
        rng = random.Random(f"mmunlearner:{run.seed}")
        # Shuffled, as those who stay are: one person's facts in one batch would add up, and weigh more when squared.
        forget, retain = (rng.sample(some, len(some)) for some in map(pictured, (splits.forget, splits.retain)))
        retain = rng.sample(retain, min(self.weighed or len(retain), len(retain)))
        who = {e.group for e in splits.forget} - {None}
        said = [e for e in (*splits.forget, *splits.retain) if not e.pictured]
        words = [e for e in said if e.group in who]
        others = [e for e in said if e.group not in who]
        words += rng.sample(others, min(self.weighed or len(others), len(others)))
        made = Masks()
        torch.manual_seed(run.seed)
        with run.timed("masks"), repeatable():
            for part, names in groups(model).items():
                preserved = retain if part == "vision" else rng.sample([*retain, *words], len(retain) + len(words))
                if names and self.moved in ("both", part):
                    f, p = (self._weigh(model, names, some, run) for some in (forget, preserved))
                    made |= outweighing(f, p, self.threshold)
        return made

    def _weigh(self, model: Backbone, names: Named, examples: Sequence[Example], run: Run) -> dict[str, Tensor]:
        """F of these parameters; the others take no gradient meanwhile."""
        chosen = {id(p) for p in names.values()}

        def loss(some: Sequence[Example]) -> Tensor:
            return model.loss(model.collate(some))

        with frozen([p for p in model.module.parameters() if id(p) not in chosen]):
            return importance.fisher(names, loss, examples, run, per=self.per, batch=self.weighed_batch)

    def _clearing(self, named: Named, masks: Masks, slopes: Slopes) -> Callable[[], None]:
        """What keeps gradients inside the masks, after each backward pass."""

        def clear() -> None:
            masks.apply_({name: p.grad for name, p in named.items()})

        def clear_ascents() -> None:
            if slopes.climbs:
                nn.utils.clip_grad_norm_(named.values(), 1.0)
                worded = [name for name in masks if any(word in name for word in WORDS)]
                masks.apply_({name: named[name].grad for name in worded})

        return clear_ascents if self.official_code else clear

    def schedule(self, forget: int, retain: int) -> Schedule:
        descents = 1 if self.order == "alternate" else 0
        if self.official_code:
            descents = max(1, retain // max(1, forget))
        ratio = self.retain_ratio if retain else 0.0
        return Schedule(
            self.epochs, self.lr, self.batch, ratio, self.near,
            least_steps=self.least_steps, descents=descents,
        ).given(retain)  # fmt: skip

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        plan = self.schedule(forget, retain)
        one = plan.work(forget, 1 + max(1, plan.descents) * plan.retain_ratio)
        read = 2 * (forget + min(self.weighed or retain, retain))  # once for each mask
        return Work(one.steps, one.pairs + read, one.batch)


def pictured(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Those with a picture."""
    return tuple(e for e in examples if e.pictured)


def groups(model: Backbone) -> dict[str, dict[str, nn.Parameter]]:
    """The parameters that are trained, by mask and by name. What no part holds counts as language."""
    parts = model.parts()
    sees = {id(p) for role in SEEING if role in parts for p in parts[role].parameters()}
    found: dict[str, dict[str, nn.Parameter]] = {"vision": {}, "language": {}}
    for name, p in importance.trained(model.module).items():
        found["vision" if id(p) in sees else "language"][name] = p
    return found
