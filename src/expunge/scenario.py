"""One deletion request against one model and one data set, checked, with the models that it needs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from expunge.core import plugins
from expunge.core.errors import ExpungeError
from expunge.core.run import Progress, Run
from expunge.core.spec import Spec
from expunge.core.types import Corpus, Example, Splits, Task, Unit
from expunge.data import checking, requests
from expunge.data.asking import check_task
from expunge.data.refusal import refusal
from expunge.evals.assessment import Assessment
from expunge.zoo import originals, shelf


@dataclass
class Scenario:
    """``model`` is the pretrained model of an embedded world, or the user's own original."""

    model: str
    corpus: Corpus
    requests: requests.Requests
    splits: Splits
    seed: int
    progress: Progress
    own_data: bool
    pretrained: str | None = None
    fresh: bool = False
    notes: list[str] = field(default_factory=list)
    retraining_seconds: float | None = None
    _lent: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(
        cls,
        model: str | Path,
        data: str | Path,
        forget: Any,
        images: str | Path | None,
        allow_leakage: bool,
        seed: int,
        pretrained: str | Path | None,
        progress: Progress,
        data_options: Mapping[str, Any] | None = None,
        task: Task = "retrieval",
    ) -> Scenario:
        """Read the data, match the request, look for what would make the run lie. Raises DataError with all of it."""
        shelf.locate(model)  # a name that does not exist is said at once
        own = plugins.is_path(str(data))
        corpus = load_corpus(data, images, data_options, task)
        found = requests.resolve(corpus, forget)
        findings = checking.check(corpus, forget, allow_leakage=allow_leakage)
        if findings.problems:
            raise refusal(findings.problems)
        notes = [str(w) for w in findings.warnings]
        return cls(
            str(model),
            corpus,
            found,
            found.split(corpus),
            seed,
            progress,
            own,
            str(pretrained) if pretrained else None,
            notes=notes,
        )

    @property
    def task(self) -> Task:
        return self.corpus.task

    @classmethod
    def of(cls, spec: Spec, progress: Progress) -> Scenario:
        """The scenario a finished run was about."""
        return cls.read(
            spec.model, spec.data, list(spec.forget), spec.images, True, spec.seed, spec.pretrained, progress,
            spec.data_options, cast(Task, spec.task),
        )  # fmt: skip

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(str(r.value) for r in self.requests.requested)

    def provides(self) -> frozenset[str]:
        """Capabilities of the model, read off its class where the folder tells it."""
        return plugins.provides(self._start())

    def run(self, folder: Path | None) -> Run:
        return Run(self.seed, folder, self.progress, self.lend)

    def lend(self, name: str) -> Any:
        """A model by name; "pretrained" is the one that the original was trained from. Kept, so not to be changed."""
        if name == "pretrained":
            if not self.own_data:
                return self._start()
            if not self.pretrained:
                raise ExpungeError(
                    "retraining on your own data needs the model that the original was trained from: "
                    "name it with --pretrained."
                )
            name = self.pretrained
        if name not in self._lent:
            # A generator is lent by name as it is; what the original was trained from starts the task.
            self._lent[name] = shelf.start(name, self.task) if name == self.pretrained else shelf.load(name)
        return self._lent[name]

    def original(self) -> Any:
        """The model that knows everybody: the user's own, or the pretrained one trained on the world."""
        if self.own_data:
            return self._own()
        return originals.original(self.model, self.corpus, self._making(), fresh=self.fresh)

    def oracle(self, run: Run) -> Any:
        """The model that never saw them; ``retraining_seconds`` is then what it cost, where that is known."""
        without = [e.id for e in self.splits.forget]
        making = self._making()
        if self.own_data:
            method = plugins.load_method("retrain")()
            with making.timed("training"):
                model = method.unlearn(None, self.splits, run)
        else:
            model = originals.original(self.model, self.corpus, making, without=without, fresh=self.fresh)
        self.retraining_seconds = making.seconds.get("training")
        return model

    def _making(self) -> Run:
        """Original and retrained models are made with seed 0 whatever the run's seed, so that runs share them."""
        return Run(0, None, self.progress, self.lend)

    def assessment(self) -> Assessment:
        return Assessment(self.splits, self.corpus.test or self.corpus.validation, self.seed, task=self.task)

    def _start(self) -> Any:
        if self.model not in self._lent:
            self._lent[self.model] = self._own() if self.own_data else shelf.start(self.model, self.task)
        return self._lent[self.model]

    def _own(self) -> Any:
        """The user's original. Raises ExpungeError when it was made for another task."""
        model = shelf.load(self.model)
        if not shelf.serves(model, self.task):
            made_for = shelf.made_for(model)
            raise ExpungeError(
                f"{self.model} was made for {made_for}, not for {self.task}. Say --task {made_for}, or give a model "
                f"that was trained on {self.task}: with your own data the model is taken as the original."
            )
        return model


def load_corpus(
    data: str | Path,
    images: str | Path | None = None,
    data_options: Mapping[str, Any] | None = None,
    task: Task = "retrieval",
) -> Corpus:
    """The data set of a task. ``images`` is where a file of one's own has its pictures, in place of options."""
    check_task(task)
    if "task" in (data_options or {}):
        raise ExpungeError("the task is no option of the data: give it as task=, or with --task.")
    extra = {"root": images} if plugins.is_path(str(data)) and images else dict(data_options or {})
    if task != "retrieval":  # questions and statements are other examples of the same world
        extra["task"] = task
    return plugins.load_data(str(data), **extra)


def draw(corpus: Corpus, size: int, unit: Unit, seed: int, source: str = "") -> tuple[str, ...]:
    """Who is forgotten: groups by name, or the ids of all examples of the drawn pictures or samples.

    Without ``source`` it is "people" where the data has them, and everything where it has not. Raises ExpungeError when
    there are not that many.
    """
    sources = {e.source for e in corpus.train}
    source = source or ("people" if "people" in sources else "")
    pool = [e for e in corpus.train if e.source == source or not source]
    named: dict[str, list[Example]] = {}
    for e in pool:
        name = {"groups": e.group, "pictures": e.image.key, "samples": e.id}[unit]
        if name:
            named.setdefault(name, []).append(e)
    if size > len(named):
        raise ExpungeError(
            f"{corpus.name} has {len(named)} {unit}{f' of {source}' if source else ''}, so {size} cannot be forgotten."
        )
    chosen = sorted(random.Random(f"forget:{seed}").sample(sorted(named), size))
    return tuple(chosen) if unit == "groups" else tuple(sorted(e.id for name in chosen for e in named[name]))
