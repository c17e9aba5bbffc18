"""Learn the forgotten from a teacher that knows nothing, and the rest from the model as it was (BadT).

Equation: min over theta of E_{D_f + part of D_r} KL(teacher || student),
    teacher = l softmax(z_bad / T) + (1 - l) softmax(z_good / T), student = softmax(z / T), l = 1 on D_f, 0 on D_r.
Symbols: z the scores of a model: of the choices [B, C]; for retrieval cosines / tau of a batch by row and by column
    [B, B], and match logits [B, 2] of true pairs and of pairs with a hard negative text and a hard negative picture;
    good the frozen original, bad one with weights drawn anew; T the distillation temperature.
Paper: Chundawat et al., "Can Bad Teaching Induce Forgetting?" (AAAI 2023); comparison of the paper's §5.
Checked against: vikram2000b/bad-teaching-unlearning f1aa988, unlearn.py:9-90: T 1, Adam 1e-4, 1 epoch, batch 256,
    30 % of D_r, F.kl_div with its default reduction, as restated in notes on it.
Departs: (1) the source knows classes only; retrieval distils what its two losses see, (rows + columns) / 2 plus the
    mean of the three kinds of match pairs. Hard negatives are drawn with the good teacher's similarities, so that all
    three models see the same pairs. (2) the default reduction divides by batch x classes (kept as ``mean``), which
    weighs a row of B cosines B / 2 times less than a match; ``batchmean`` does not, and is the default here. (3)
    ``anew`` may leave parts of the bad teacher as they are. (4) batch 64, as D_f + 30 % of D_r is some twenty such
    batches in the embedded worlds; AdamW; at least ``least_steps`` steps. lr and what is drawn anew were chosen on
    other people (`expunge bench search`, docs/log.md).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.core.run import Run
from expunge.core.types import Answers, Example, Fuses, Method, Splits, Work
from expunge.train.fit import Schedule, fit
from expunge.train.matching import hard_negatives
from expunge.train.pairs import owner
from expunge.train.reference import reference

Anew = Literal["whole", "text+fusion", "heads+fusion"]
ROLES = {"text+fusion": ("text", "fusion"), "heads+fusion": ("head", "projector", "fusion")}


@dataclass(frozen=True)
class BadTeacher(Method[Fuses]):
    by_task: ClassVar[Mapping[str, Mapping[str, Any]]] = {"multiple_choice": {"lr": 6e-4}, "entailment": {"lr": 1e-4}}
    copies: ClassVar[Mapping[str, float]] = {"gradients": 1, "moments": 2, "references": 2}
    lora: ClassVar[bool] = True
    epochs: int = 1  # passes over the forget pairs and the part of the retained ones
    least_steps: int = 30  # more epochs where that is fewer steps
    lr: float = 3e-4  # AdamW's peak
    batch: int = 64  # pairs per step, forgotten and retained mixed
    retain_share: float = 0.3  # part of D_r that is taught by the good teacher
    anew: Anew = "heads+fusion"  # what of the bad teacher is drawn anew
    temperature: float = 1.0  # T
    reduction: Literal["batchmean", "mean"] = "batchmean"  # of the KL; mean divides by the number of classes as well

    def unlearn(self, model: Fuses, splits: Splits, run: Run) -> Fuses:
        good, bad = reference(model), reference(model)
        draw_anew(bad, self.anew, run.seed)
        rng = random.Random(f"bad_teacher:{run.seed}")
        kept = rng.sample(list(splits.retain), self._kept(len(splits.retain)))
        run.facts["retained_pairs"] = len(kept)
        lesson = Lesson(self, model, good, bad, splits.forget)
        fit(model, lesson.terms, Splits((*splits.forget, *kept), ()), run, self.schedule, what="bad teaching")
        return model

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.epochs, self.lr, self.batch, least_steps=self.least_steps)

    def _kept(self, retain: int) -> int:
        return round(self.retain_share * retain)

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        return self.schedule.work(forget + self._kept(retain), 1 + 2 / 3)  # two teachers read what one student learns


class Lesson:
    """The divergence from two teachers, each for its own examples."""

    def __init__(self, options: BadTeacher, model: Fuses, good: Fuses, bad: Fuses, forget: Sequence[Example]):
        self.options, self.model, self.good, self.bad = options, model, good, bad
        self.forget = {e.id for e in forget}
        self.tau = good.temperature.detach().clone()  # everybody's: a student must not cool its way out

    def terms(self, examples: Sequence[Example], _: Sequence[Example]) -> dict[str, Tensor]:
        batch = self.model.collate(examples)
        label = torch.tensor([e.id in self.forget for e in examples])
        with torch.no_grad():
            pairs = () if isinstance(self.good, Answers) else self._wrong_pairs(batch, examples)
            good, bad = self._scores(self.good, batch, pairs), self._scores(self.bad, batch, pairs)
        student = self._scores(self.model, batch, pairs)
        each = torch.zeros(len(examples), device=student[0][1].device)
        label = label.to(each.device)
        for (weight, z), (_, z_good), (_, z_bad) in zip(student, good, bad):
            each = each + weight * self.divergence(z, torch.where(label[:, None], z_bad, z_good))
        return {"forget": (each * label).sum() / len(each), "retain": (each * ~label).sum() / len(each)}

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """KL(teacher || student) of scores [B, C], one number per row [B]; absent choices (-inf) do not count."""
        o = self.options
        log_student = F.log_softmax(student / o.temperature, dim=1)
        log_student = log_student.masked_fill(student.isneginf(), 0.0)
        each = F.kl_div(log_student, F.softmax(teacher / o.temperature, dim=1), reduction="none").sum(1)
        return each / student.shape[1] if o.reduction == "mean" else each

    def _wrong_pairs(self, batch: dict, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """A hard negative text for each picture and a hard negative picture for each text, [B] each."""
        image, text = self.good.encode_images(batch), self.good.encode_texts(batch)
        similarity = image.feature @ text.feature.T / self.tau
        names = {name: i for i, name in enumerate(dict.fromkeys(map(owner, examples)))}
        owners = torch.tensor([names[owner(e)] for e in examples], device=similarity.device)
        # Where one owner fills the batch the pairs are true ones: the teachers' answers to those are as good to learn.
        return hard_negatives(similarity, owners)[0], hard_negatives(similarity.T, owners)[0]

    def _scores(self, model: Fuses, batch: dict, pairs: tuple[Tensor, ...]) -> list[tuple[float, Tensor]]:
        """Weighted scores, row k of each belonging to example k."""
        image, text = model.encode_images(batch), model.encode_texts(batch)
        if isinstance(model, Answers):
            return [(1.0, model.choose(model.fuse(image, text), batch))]
        similarity = image.feature @ text.feature.T / self.tau
        texts, pictures = pairs
        found = [(0.5, similarity), (0.5, similarity.T)]
        for one, other in ((image, text), (image, text.take(texts)), (image.take(pictures), text)):
            found.append((1 / 3, model.fuse(one, other).logits))
        return found


def draw_anew(model: Fuses, what: Anew, seed: int) -> None:
    """Replace weights by fresh random ones, in place: torch's own initialisation of every module that has one.

    Parameters of modules without (position embeddings, class tokens) are drawn from N(0, 0.02); single numbers such as
    a temperature stay. ``what`` names the whole model or roles of ``parts()``. Leaves torch's generator as it was.
    """
    parts = model.parts()
    chosen = [model.module] if what == "whole" else [parts[role] for role in ROLES[what] if role in parts]
    if not chosen:
        raise ValueError(f"this model has no part of {what}; it has: {', '.join(parts)}")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for module in dict.fromkeys(m for part in chosen for m in part.modules()):
            _redraw(module)


def _redraw(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    for parameter in module.parameters(recurse=False):
        if parameter.ndim:
            parameter.normal_(0.0, 0.02)
