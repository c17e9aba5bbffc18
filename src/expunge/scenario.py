"""One deletion request against one model and one data set, checked, with the models that it needs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from expunge.core import plugins
from expunge.core.checkpoints import Checkpoints
from expunge.core.errors import DataError, ExpungeError
from expunge.core.run import Progress, Run
from expunge.core.spec import Spec, digest
from expunge.core.types import Corpus, Example, Splits, Task, Unit
from expunge.data.files.reading import Reading
from expunge.data.worlds.asking import check_task
from expunge.evals.assessment import Assessment
from expunge.methods.data.retrain import Making
from expunge.requests import checking
from expunge.requests.asked import Name
from expunge.requests.ledger import Inclusion
from expunge.requests.matching import Requests
from expunge.train.originals import PAPER, Recipe, own_recipe
from expunge.zoo import originals, shelf


@dataclass
class Scenario:
    """``model`` is the pretrained model of an embedded world, or the user's own original.

    ``saved`` is where all its trainings are saved, the original's and the retrained one's, too. With a ``recipe`` the
    model is a pretrained one on the user's own data, too, and the original is made by that.
    """

    model: str
    corpus: Corpus
    requests: Requests
    splits: Splits
    seed: int
    progress: Progress
    own_data: bool
    pretrained: str | None = None
    fresh: bool = False
    notes: list[str] = field(default_factory=list)
    included: tuple[Inclusion, ...] = ()
    account: Mapping[str, Any] = field(default_factory=dict)
    retraining_seconds: float | None = None
    recipe: Recipe | None = None
    saved: Checkpoints | None = None
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
        *,
        include_near: bool = False,
        make_original: bool | Mapping[str, Any] | None = None,
    ) -> Scenario:
        """Read the data, match the request, look for what would make the run lie. Raises DataError with all of it.

        ``include_near`` also forgets what looks like what is asked for; ``make_original`` trains the original first, on
        the user's own data (see ``recipe_of``).
        """
        shelf.locate(model)  # a name that does not exist is said at once
        own = plugins.is_own(str(data))
        recipe = recipe_of(data, pretrained, make_original)
        reading = read_corpus(data, images, data_options, task, progress)
        found = checking.examine(reading, forget, allow_leakage=allow_leakage, include_near=include_near, task=task)
        if found.findings.problems:
            raise DataError(found.findings.problems)
        corpus = reading if isinstance(reading, Corpus) else reading.corpus()
        notes = [str(w) for w in found.findings.warnings]
        return cls(
            str(model),
            corpus,
            found.requests,
            found.splits,
            seed,
            progress,
            own,
            str(pretrained) if pretrained else None,
            notes=notes,
            included=found.included,
            account=found.account,
            recipe=recipe,
        )

    @property
    def task(self) -> Task:
        return self.corpus.task

    @classmethod
    def of(cls, spec: Spec, progress: Progress, about: Mapping[str, str] | None = None) -> Scenario:
        """The scenario a finished run was about.

        ``about`` is what the run recorded it was about; runs older than it recorded nothing. Raises ExpungeError where
        the data is no longer that.
        """
        read = cls.read(
            spec.model, spec.data, list(spec.forget), spec.images, True, spec.seed, spec.pretrained, progress,
            spec.data_options, cast(Task, spec.task), make_original=spec.make_original,
        )  # fmt: skip
        now = read.about()
        if changed := [name for name, was in (about or {}).items() if now.get(name, was) != was]:
            told = " and ".join(f"{name} ({(about or {})[name][:12]} then, {now[name][:12]} now)" for name in changed)
            raise ExpungeError(
                f"{spec.data} is not what the run was made of, so scores could not be compared: it differs in {told}. "
                "Put the data back as it was, or forget anew."
            )
        return read

    @property
    def makes_original(self) -> bool:
        """Whether ``model`` is what the original is made from, and not the original itself."""
        return not self.own_data or self.recipe is not None

    @property
    def names(self) -> tuple[Name, ...]:
        """Ids and groups that name the same examples again, added look-alikes too."""
        return (*self.requests.names, *(self.requests.by_id(one.example.id) for one in self.included))

    def about(self) -> dict[str, str]:
        """What its numbers are about, by a digest of each: the data, and the ids of all that is forgotten."""
        forgotten = digest(sorted(e.id for e in self.splits.forget))
        return {"content of the data": self.corpus.fingerprint, "examples to be forgotten": forgotten}

    def provides(self) -> frozenset[str]:
        """Capabilities of the model, read off its class where the folder tells it."""
        return plugins.provides(self._start())

    def run(self, folder: Path | None) -> Run:
        return self._run(self.seed, folder)

    def lend(self, name: str, precision: Literal["auto", "fp32", "bf16", "int8"] = "auto") -> Any:
        """A model by name; "pretrained" is the one that the original was trained from. Kept, so not to be changed.

        ``precision`` is that of a generator: see ``zoo.shelf.load``.
        """
        if name == "pretrained":
            self.check_start()
            if self.makes_original:
                return self._start()
            name = str(self.pretrained)
        kept = name if precision == "auto" else f"{name} in {precision}"
        if kept not in self._lent:
            # A generator is lent by name as it is; what the original was trained from starts the task.
            is_start = name == self.pretrained
            self._lent[kept] = shelf.start(name, self.task) if is_start else shelf.load(name, precision)
        return self._lent[kept]

    def check_start(self) -> None:
        """Raises ExpungeError where there is nothing to retrain from."""
        if not self.makes_original and not self.pretrained:
            raise ExpungeError(
                "retraining on your own data needs the model that the original was trained from: "
                "name it with --pretrained, or let --make-original train the original from --model."
            )

    def original(self) -> Any:
        """The model that knows everybody: the user's own, or the pretrained one trained on the data."""
        if not self.makes_original:
            return self._own()
        return originals.original(self.model, self.corpus, self._making(), recipe=self.recipe, fresh=self.fresh)

    def oracle(self, run: Run) -> Any:
        """The model that never saw them; ``retraining_seconds`` is then what it cost, where that is known.

        ``run`` says how a loop computes where the original is the user's: a model of full size may fit no other way.
        """
        without = [e.id for e in self.splits.forget]
        making = self._making()
        if self.makes_original:
            model = originals.original(
                self.model, self.corpus, making, without=without, recipe=self.recipe, fresh=self.fresh
            )
        else:
            making.scale = run.scale
            method = plugins.load_method("retrain")()
            self.lend("pretrained")
            making.begin()  # reading a model is no training
            with making.timed("training"):
                model = method.unlearn(None, self.splits, making)
        self.retraining_seconds = making.seconds.get("training")
        return model

    def _making(self) -> Run:
        """Original and retrained models are made with seed 0 whatever the run's seed, so that runs share them."""
        return self._run(0, None)

    def _run(self, seed: int, folder: Path | None) -> Making:
        # The user's model is of full size: what makes the small ones of the embedded worlds would ruin it.
        recipe = self.recipe or (PAPER if self.own_data else None)
        return Making(seed, folder, self.progress, self.lend, saved=self.saved, recipe=recipe)

    def assessment(self) -> Assessment:
        corpus = self.corpus
        return Assessment(self.splits, corpus.test or corpus.validation, self.seed, task=self.task, asked=corpus.asked)

    def _start(self) -> Any:
        if self.model not in self._lent:
            start = shelf.start(self.model, self.task) if self.makes_original else self._own()
            self._lent[self.model] = start
        return self._lent[self.model]

    def _own(self) -> Any:
        """The user's original. Raises ExpungeError when it was made for another task."""
        model = shelf.load(self.model)
        if not shelf.serves(model, self.task):
            made_for = shelf.made_for(model)
            raise ExpungeError(
                f"{self.model} was made for {made_for}, not for {self.task}. Say --task {made_for}, or give a model "
                f"that was trained on {self.task}: with your own data the model is taken as the original, unless "
                "--make-original says that it is to be trained first."
            )
        return model


def recipe_of(
    data: str | Path, pretrained: str | Path | None, make_original: bool | Mapping[str, Any] | None
) -> Recipe | None:
    """How the original is made on the user's own data, if it is. Raises ExpungeError where that makes no sense."""
    recipe = own_recipe(make_original)
    if recipe is None:
        return None
    if not plugins.is_own(str(data)):
        raise ExpungeError(f"--make-original is for your own data: for {data} the original is made in any case.")
    if pretrained:
        raise ExpungeError(
            "with --make-original the original is trained from --model, so leave --pretrained out; without it --model "
            "is the original."
        )
    return recipe


def load_corpus(
    data: str | Path,
    images: str | Path | None = None,
    data_options: Mapping[str, Any] | None = None,
    task: Task = "retrieval",
    progress: Progress | None = None,
) -> Corpus:
    """The data set of a task. ``images`` is where one's own data have their pictures."""
    return plugins.load_data(str(data), **_asked_of_data(data, images, data_options, task, progress=progress))


def read_corpus(
    data: str | Path,
    images: str | Path | None,
    data_options: Mapping[str, Any] | None,
    task: Task,
    progress: Progress,
    *,
    fresh: bool | None = None,
) -> Corpus | Reading:
    """The same with whatever is wrong with it; a corpus where the data is drawn, or the data set tells all at once.
    ``fresh`` looks at everything again."""
    given = {"progress": progress, "fresh": fresh}
    return plugins.read_data(str(data), **_asked_of_data(data, images, data_options, task, **given))


def _asked_of_data(
    data: str | Path, images: str | Path | None, data_options: Mapping[str, Any] | None, task: Task, **given: Any
) -> dict[str, Any]:
    """The words that a data set's ``load`` or ``read`` is called with. Of ``given`` those that are not None, and none
    for a file of one's own. Raises ExpungeError for what it cannot serve."""
    check_task(task)
    asked = dict(data_options or {})
    if "task" in asked:
        raise ExpungeError("the task is no option of the data: give it as task=, or with --task.")
    if taken := sorted(asked.keys() & set(plugins.PASSED)):
        raise ExpungeError(f"{', '.join(taken)} is no option of the data.")
    name, is_path = str(data), plugins.is_path(str(data))
    if is_path and asked:
        raise ExpungeError(f"{data} is a file of yours, which takes no options: not {', '.join(sorted(asked))}.")
    served = plugins.find("data", plugins.reader(name)).tasks
    if task not in served:
        raise ExpungeError(f"{data} serves {' and '.join(served)}, not {task}. Say --task {served[0]}.")
    if images and plugins.is_own(name):
        asked["root" if is_path else "images"] = images
    if task != "retrieval":  # questions and statements are other examples of the same world
        asked["task"] = task
    return asked if is_path else asked | {name: value for name, value in given.items() if value is not None}


def draw(corpus: Corpus, size: int, unit: Unit, seed: int, source: str = "") -> tuple[str, ...]:
    """Who is forgotten: groups by name, or the ids of all examples of the drawn pictures or samples, or of the drawn
    groups' pictures.

    Without ``source`` it is "people" where the data has them, and everything where it has not. Raises ExpungeError when
    there are not that many.
    """
    sources = {e.source for e in corpus.train}
    source = source or ("people" if "people" in sources else "")
    pool = [e for e in corpus.train if (e.source == source or not source) and (unit != "pictured" or e.pictured)]
    named: dict[str, list[Example]] = {}
    for e in pool:
        name = {"groups": e.group, "pictures": e.image.key, "samples": e.id, "pictured": e.group}[unit]
        if name:
            named.setdefault(name, []).append(e)
    if size > len(named):
        counted = "groups with pictures" if unit == "pictured" else unit
        where = f" of {source}" if source else ""
        raise ExpungeError(f"{corpus.name} has {len(named)} {counted}{where}, so {size} cannot be forgotten.")
    chosen = sorted(random.Random(f"forget:{seed}").sample(sorted(named), size))
    return tuple(chosen) if unit == "groups" else tuple(sorted(e.id for name in chosen for e in named[name]))
