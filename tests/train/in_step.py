"""What several processes must get right together, done by as many as run this: alone, or as two ranks of a launcher.

``python in_step.py FOLDER`` writes what the first rank has to FOLDER/<count>.pt; ``test_engine.py`` compares.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from expunge.core import ranks
from expunge.core.delta import fingerprint
from expunge.core.pictures import NO_PICTURE
from expunge.core.run import Run, Silent
from expunge.core.scale import Scale
from expunge.core.types import Example, Splits
from expunge.evals.assessment import Assessment
from expunge.methods.data.finetune import Finetune
from expunge.methods.editing.slug import SLUG
from expunge.methods.training.adversarial import Adversarial
from expunge.methods.training.bad_teacher import BadTeacher
from expunge.methods.training.cse import CSE
from expunge.methods.training.ga_diff import GADiff
from expunge.methods.training.gradient_ascent import GradientAscent
from expunge.methods.training.mmunlearner import MMUnlearner
from expunge.methods.training.multidelete import MultiDelete
from expunge.methods.training.npo import NPO
from expunge.methods.training.salun import SalUn
from expunge.tasks.answering import predict
from expunge.testing import lend, small_albef, small_corpus, small_mllm, small_splits
from expunge.train.engine import Engine
from expunge.train.fit import Schedule, fit
from expunge.train.rows import by_rows, deal, gather_rows, shares, spread

EXACT = Run(3, lend=lend, scale=Scale(precision="fp32"))
METHODS = {
    "finetune": Finetune(epochs=1),
    "gradient_ascent": GradientAscent(least_steps=3),
    "cse": CSE(anchors="random", epochs=1, least_steps=3, texts_per_sample=2, near=0.5),
    "multidelete": MultiDelete(epochs=1, least_steps=3, batch=6),
    "bad_teacher": BadTeacher(least_steps=2, batch=32),
    "adversarial": Adversarial(epochs=1, least_steps=2, iterations=2, importance_pairs=3, stop_at=-1.0),
    "ga_diff": GADiff(least_steps=2, order="alternate"),
    "npo": NPO(least_steps=2),
    "salun": SalUn(epochs=1, least_steps=2),
    "mmunlearner": MMUnlearner(least_steps=2, weighed=6, weighed_batch=8),
    "slug": SLUG(trials=2, candidates=1, judged=6, examples=8),
}


class Line:
    """A linear model of numbers that examples' ids hold; its loss is a mean over examples and nothing else."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = nn.Linear(3, 1)

    @by_rows
    def each(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if ranks.index() == 1 and bool((batch["x"] == 99).any()):
            raise ValueError("a picture that only this process cannot read")
        return (self.module(batch["x"])[:, 0] - batch["y"]).square()

    def loss(self, forget: Any, retain: Any) -> dict[str, torch.Tensor]:
        numbers = torch.tensor([[float(c) for c in e.id.split()] for e in forget])
        return {"mean": self.each({"x": numbers[:, :3], "y": numbers[:, 3]}).mean()}


def numbers(*rows: str) -> tuple[Example, ...]:
    return tuple(Example(row, None, "") for row in rows)  # type: ignore[arg-type]


def plain_mean(accumulate: int = 1) -> dict[str, torch.Tensor]:
    """Seven examples in batches of three: the last batch is smaller than two ranks. No clipping hides a wrong scale."""
    line, draw = Line(), torch.Generator().manual_seed(1)
    rows = [" ".join(f"{v:.4f}" for v in torch.randn(4, generator=draw).tolist()) for _ in range(7)]
    schedule = Schedule(2, 0.1, 3, clip=0.0)
    fit(line, line.loss, Splits(numbers(*rows), ()), Run(0, scale=Scale(accumulate=accumulate)), schedule)
    return line.module.state_dict()


def gradients(count: int) -> dict[str, torch.Tensor]:
    """Of ALBEF's own loss (contrast within the batch, hard negatives) on ``count`` pairs, before any optimiser."""
    model = small_albef()
    with torch.no_grad():
        for p in model.module.parameters():
            if p.ndim > 1:
                p.normal_(0.0, 0.2)  # or all features are alike and so are all negatives
    torch.manual_seed(5)
    made = Engine(model, lambda f, _: {"task": model.loss(model.collate(f)).mean()}, list(model.module.parameters()),
                  lambda some: torch.optim.SGD(some, lr=0.1), "fp32", 0.0, Scale())  # fmt: skip
    with made.working():
        made.gradients(small_splits().forget[:count], ())
    return {n: p.grad for n, p in model.module.named_parameters() if p.grad is not None}


def trained(method: Any) -> dict[str, torch.Tensor]:
    model = small_albef()
    method.unlearn(model, small_splits(), EXACT)
    return model.module.state_dict()


def answers() -> dict[str, Any]:
    """Scores and predictions of an untrained model."""
    asked = Assessment(small_splits(), small_corpus().test, 3)
    scores = asked.add("before", small_albef(), Run())
    seen: Any = asked.evidence["before"]
    return {"scores": {k: vars(v) for k, v in scores.items()}, "itm": seen.predictions.itm, "itc": seen.predictions.itc}


def failing() -> str:
    """What this process hears when the other one fails amid a step, and afterwards whether they can go on."""
    line = Line()
    try:
        fit(line, line.loss, Splits(numbers("1 1 1 1", "99 1 1 1"), ()), Run(), Schedule(1, 0.1, 2))
    except Exception as error:
        return " / ".join(f"{type(e).__name__}: {e}" for e in ranks.gather(error))
    return "nothing"


def gathered() -> list[Any]:
    """Uneven rows, none on the second rank, other types, no columns; and items that only some ranks have."""
    counts = shares(3)
    start = sum(counts[: ranks.index()])
    whole = torch.arange(6.0).reshape(3, 2)
    found: list[Any] = [counts, gather_rows(whole[start : start + counts[ranks.index()]], counts)]
    one = shares(1)
    found.append(gather_rows(torch.tensor([True])[: one[ranks.index()]], one))
    found.append(gather_rows(torch.empty(counts[ranks.index()], 0, dtype=torch.bfloat16), counts))

    def work(n: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        return torch.full((n, 2), n, dtype=torch.long), None if n == 2 else torch.ones(n)

    return [*found, *spread([1, 2, 3], work, Silent(), int), *spread([4], work, Silent(), int)]


def written() -> dict[str, Any]:
    """What an untrained chat model says to seven questions, two at a time, dealt out in turn."""
    asked = [
        Example(f"e{i}", NO_PICTURE, "", question=f"what is {i}", answer="one " * i, paraphrased=("two",) * (i % 3))
        for i in range(1, 8)
    ]
    made = predict(small_mllm("llava", [f"{e.question} {e.answer} two" for e in asked]), asked, batch=2, max_tokens=4)
    rest = {"right": made.right.tolist(), "reworded": [part.tolist() for part in made.reworded]}
    return {"ids": list(made.ids), "texts": list(made.texts), **rest}


def everything() -> dict[str, Any]:
    made = {
        "gathered": gathered(),
        "dealt": [deal([1, 2, 3, 4], str, Silent(), int), deal([5], str, Silent(), int)],
        "written": written(),
        "plain mean": plain_mean(),
        "plain mean in portions": plain_mean(3),
        "gradients of 5": gradients(5),
        "gradients of 1": gradients(1),
        **{name: trained(method) for name, method in METHODS.items()},
        "answers": answers(),
        "draws": EXACT.terms,
    }
    made["alike"] = all(len(set(ranks.gather(fingerprint(made[name])))) == 1 for name in METHODS)
    if ranks.count() > 1:
        made["failing"] = failing()
    return made


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = everything()
    if ranks.is_first():
        torch.save(found, Path(sys.argv[1]) / f"{ranks.count()}.pt")
