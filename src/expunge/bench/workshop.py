"""Where one cell is measured. The scenario, its questions and its original model stay at hand for the next cell;
what several cells make alike is kept in the grid's folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from expunge.bench import analyses
from expunge.bench.cells import Cell, Setting
from expunge.core import plugins
from expunge.core.cache import cached
from expunge.core.checkpoints import Checkpoints, opened
from expunge.core.environment import environment
from expunge.core.options import options
from expunge.core.run import Progress, Run
from expunge.core.types import Task
from expunge.evals.assessment import Assessment
from expunge.evals.cost import measured
from expunge.outcome import unlearn
from expunge.scenario import Scenario

COST = "cost.json"


class Bench:
    """One setting under work: questions depend on data and seed only, so all its cells are asked the same.

    What one of them answered is no part of the next: ``asked`` begins with nothing.
    """

    def __init__(self, setting: Setting, progress: Progress):
        at = setting.paths
        self.setting = setting
        self.scenario = Scenario.read(
            at["model"], at["data"], list(setting.who), at["images"], at["allow_leakage"], setting.seed,
            at["pretrained"], progress, at.get("data_options", setting.data_options), cast(Task, setting.task),
            make_original=dict(setting.recipe) if setting.make_original else None,
        )  # fmt: skip

    @cached_property
    def _assessment(self) -> Assessment:
        return self.scenario.assessment()

    def asked(self, model: Any, run: Run) -> Assessment:
        """What the questions come to for this model alone, as stage "after". Good until the next is asked."""
        assessment = self._assessment
        for earlier in (assessment.scores, assessment.evidence, assessment.truth, assessment.looks, assessment.notes):
            earlier.clear()
        assessment.add("after", model, run)
        return assessment

    @cached_property
    def original(self) -> Any:
        return self.scenario.original()

    @cached_property
    def classifier(self) -> Any:
        """What pictures show, for the Inception Score of all its cells."""
        return analyses.classifier(self.scenario)


class Memory:
    """What cells of one folder make once (``Run.remember``): found by its key, the weights of the method's models and
    the data. ``peak_memory_mb`` is what making it took, now or then: it is part of what the cell costs.

    Pictures made from the forgotten lie there until somebody deletes the grid's folder.
    """

    def __init__(self, root: Path, cell: Cell) -> None:
        self._root, self._cell = root, cell
        self.peak_memory_mb = 0.0

    def __call__(self, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        def measure(folder: Path) -> None:
            with measured() as spent:
                build(folder)
            (folder / COST).write_text(json.dumps({"peak_memory_mb": spent.peak_memory_mb}), encoding="utf-8")

        whole = {**key, "models": dict(self._cell.models), "data": self._cell.setting.fingerprint}
        place = cached(whole, measure, self._root)
        told = json.loads((place / COST).read_text(encoding="utf-8"))
        self.peak_memory_mb = max(self.peak_memory_mb, told["peak_memory_mb"])
        return place


class Workshop:
    """Measures cells one after the other; has the last setting only at hand.

    ``folder`` is the grid's: what cells have in common and is dear to make (anchors) is kept there under ``anchors``,
    and nowhere else. Without a folder nothing is.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._bench: Bench | None = None
        self._folder = folder

    @cached_property
    def environment(self) -> dict[str, Any]:
        return environment()

    def measure(self, cell: Cell, progress: Progress) -> dict[str, Any]:
        """Scores, cost and provenance of one cell, as plain data. Whatever goes wrong is raised.

        Its trainings are saved as they go; a cell whose worker was stopped, or that failed, goes on from there.
        """
        if self._folder is None:
            return self._measured(cell, progress, None)
        asked = {"cell": cell.hash, "versions": self.environment["versions"]}
        with opened(self._folder / "saved" / cell.hash, asked, refuse=False) as saved:
            return self._measured(cell, progress, saved)

    def _measured(self, cell: Cell, progress: Progress, saved: Checkpoints | None) -> dict[str, Any]:
        start = time.monotonic()
        if self._bench is None or self._bench.setting != cell.setting:
            self._bench = None  # the old models go before the new ones come
            self._bench = Bench(cell.setting, progress)
        bench, scenario = self._bench, self._bench.scenario
        scenario.progress, scenario.saved = progress, saved
        run = scenario.run(None)
        cost: dict[str, float] = {}
        method = None
        if cell.kind == "before":
            model = bench.original
        elif cell.kind == "retrained":
            model = scenario.oracle(run)
            cost = {"seconds": scenario.retraining_seconds} if scenario.retraining_seconds is not None else {}
        else:
            chosen = plugins.load_method(cell.path)
            plugins.check_capability(chosen, plugins.provides(bench.original), cell.setting.model)
            method = options(chosen, cell.options)
            memory = Memory(self._folder / "anchors", cell) if self._folder else None
            run.remember = memory
            model, cost = unlearn(method, bench.original.clone(), scenario.splits, run)
            if memory:
                cost["peak_memory_mb"] = max(cost["peak_memory_mb"], memory.peak_memory_mb)
        assessment = bench.asked(model, run)
        subject = analyses.Subject(scenario, model, method, run, lambda: bench.classifier)
        looked = analyses.analyse(cell.analyses, subject)
        return {
            "scores": {name: vars(score) for name, score in assessment.scores["after"].items()},
            "cost": cost,
            "facts": dict(run.facts),
            "notes": [*scenario.notes, *assessment.notes, *(n for one in looked.values() for n in one["notes"])],
            "examples": {"forget": len(scenario.splits.forget), "retain": len(scenario.splits.retain)},
            "wall_seconds": time.monotonic() - start,
            "environment": self.environment | {"seed": cell.setting.seed},
            **({"analyses": looked} if looked else {}),
            **({"truth": truth} if (truth := assessment.truth.get("after")) else {}),
        }
