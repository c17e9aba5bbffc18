"""Train again from the pretrained model on the retained data only: what forgetting is measured against.

Equation: theta' = argmin over theta of E_{x in D_r} L_task(x; theta), started at the pretrained weights.
Symbols: L_task, the model's own task loss (nats per pair); D_r, the retained pairs.
Paper: comparison "Retrain" (§5), 5 epochs from the public checkpoint.
Checked against: no public code exists.
Departs: epochs, lr and batch are those the original model was made with (``train.originals``): in the embedded worlds
not the paper's 5 epochs at 1e-5, which do not suffice for a model of this size trained on this little. On the user's
own data they are the paper's, unless the original was made there by a recipe of the user's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from expunge.core.run import Run
from expunge.core.types import Backbone, Method, Splits, Task, Work
from expunge.train.originals import RECIPES, Recipe, train_original


@dataclass
class Making(Run):
    """A run that knows how the original of its scenario was made.

    None: as the originals of the embedded worlds are, by the recipe of the task.
    """

    recipe: Recipe | None = None


@dataclass(frozen=True)
class Retrain(Method[Backbone]):
    copies: ClassVar[Mapping[str, float]] = {"pretrained": 1, "retrained": 1, "gradients": 1, "moments": 2}
    epochs: int = 0  # 0: as the original
    lr: float = 0.0  # 0: as the original
    batch: int = 0  # 0: as the original

    def unlearn(self, model: Backbone, splits: Splits, run: Run) -> Backbone:
        assert run.lend is not None, "retraining needs run.lend to give the pretrained model"
        start = run.lend("pretrained")
        made = run.recipe if isinstance(run, Making) else None
        recipe = self.recipe(getattr(start, "task", "retrieval"), made)
        return train_original(start, splits.retain, run, recipe, what="retraining")

    def recipe(self, task: Task, made: Recipe | None = None) -> Recipe:
        """What its options leave open is as ``made`` says the original was, or as the task's recipe does."""
        told = made or RECIPES[task]
        return Recipe(self.epochs or told.epochs, self.lr or told.lr, self.batch or told.batch)

    def foresee(self, forget: int, retain: int, task: Task = "retrieval") -> Work:
        return self.recipe(task).schedule.work(retain)
