"""Where one cell is measured. The scenario, its questions and its original model stay at hand for the next cell."""

from __future__ import annotations

import inspect
import time
from functools import cached_property
from typing import Any

from expunge.bench import analyses
from expunge.bench.cells import Cell, Setting
from expunge.core import plugins
from expunge.core.environment import environment
from expunge.core.options import options
from expunge.core.run import Progress
from expunge.evals.assessment import Assessment
from expunge.outcome import unlearn
from expunge.scenario import Scenario


class Bench:
    """One setting under work: questions depend on data and seed only, so all its cells are asked the same."""

    def __init__(self, setting: Setting, progress: Progress):
        at = setting.paths
        more: dict[str, Any] = {"data_options": dict(setting.data_options)}
        if "task" in inspect.signature(Scenario.read).parameters:
            more["task"] = setting.task
        self.setting = setting
        self.scenario = Scenario.read(
            at["model"], at["data"], list(setting.who), at["images"], at["allow_leakage"], setting.seed,
            at["pretrained"], progress, **more,
        )  # fmt: skip

    @cached_property
    def assessment(self) -> Assessment:
        return self.scenario.assessment()

    @cached_property
    def original(self) -> Any:
        return self.scenario.original()

    @cached_property
    def classifier(self) -> Any:
        """What pictures show, for the Inception Score of all its cells."""
        return analyses.classifier(self.scenario)


class Workshop:
    """Measures cells one after the other; remembers the last setting only."""

    def __init__(self) -> None:
        self._bench: Bench | None = None

    @cached_property
    def environment(self) -> dict[str, Any]:
        return environment()

    def measure(self, cell: Cell, progress: Progress) -> dict[str, Any]:
        """Scores, cost and provenance of one cell, as plain data. Whatever goes wrong is raised."""
        start = time.monotonic()
        if self._bench is None or self._bench.setting != cell.setting:
            self._bench = None  # the old models go before the new ones come
            self._bench = Bench(cell.setting, progress)
        bench, scenario = self._bench, self._bench.scenario
        scenario.progress = progress
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
            model, cost = unlearn(method, bench.original.clone(), scenario.splits, run)
        scores = bench.assessment.add("after", model, run)
        subject = analyses.Subject(scenario, model, method, run, lambda: bench.classifier)
        looked = analyses.analyse(cell.analyses, subject)
        return {
            "scores": {name: vars(score) for name, score in scores.items()},
            "cost": cost,
            "facts": dict(run.facts),
            "notes": [*scenario.notes, *bench.assessment.notes, *(n for one in looked.values() for n in one["notes"])],
            "examples": {"forget": len(scenario.splits.forget), "retain": len(scenario.splits.retain)},
            "wall_seconds": time.monotonic() - start,
            "environment": self.environment | {"seed": cell.setting.seed},
            **({"analyses": looked} if looked else {}),
        }
