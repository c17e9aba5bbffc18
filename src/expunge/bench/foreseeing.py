"""What a suite would take, cell by cell: steps, pairs, memory and time, also where its data or models are not here.

Counts come from the data where it can be read, otherwise from what the suite expects; sizes from files, otherwise from
what the suite expects. Time comes from cells on the shelf that did the same before (their seconds a step), otherwise
from operations at the rate of the machine that the suite states, or of this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from expunge import foresight
from expunge.bench import reading
from expunge.bench.cells import folder_of
from expunge.bench.suite import ALL, Scenario, Suite, options_of, place, placed_options
from expunge.core import plugins
from expunge.core.errors import ExpungeError
from expunge.core.options import foresee as foresee_work
from expunge.core.options import options
from expunge.core.types import Task
from expunge.foresight import Forecast, Rate
from expunge.scenario import draw, load_corpus
from expunge.train import budget as budgets
from expunge.train.budget import Machine
from expunge.train.footprint import Sizes
from expunge.train.originals import Recipe, own_recipe


@dataclass(frozen=True)
class Row:
    """One row of one block: as many cells as there are seeds."""

    scenario: str
    task: str
    model: str
    size: int
    cells: int
    forecast: Forecast

    @property
    def seconds(self) -> float | None:
        """Of all its cells."""
        return None if self.forecast.seconds is None else self.forecast.seconds * self.cells


@dataclass(frozen=True)
class Grid:
    suite: Suite
    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    rate: Rate
    machine: Machine
    notes: tuple[str, ...] = ()


@dataclass
class _Shelf:
    """Seconds a step by (method, model, task), of cells that were measured before."""

    seconds: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> _Shelf:
        made = cls()
        for path in sorted((folder / "cells").glob("*.json")):
            try:
                made.add(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError, ExpungeError):
                continue  # another version's cell, or a method that is gone
        return made

    def add(self, told: Mapping[str, Any]) -> None:
        cell, counts = told["cell"], told["examples"]
        name = cell["method"] if cell["kind"] == "method" else cell["kind"]
        if cell["kind"] == "method":
            method = options(plugins.load_method(name), cell["options"])
            work = foresee_work(method, counts["forget"], counts["retain"], cell["task"])
        else:
            work = Recipe(**cell["recipe"]).schedule.work(counts["retain"])
        seconds = told["cost"].get("seconds")
        if work is not None and work.steps and seconds:
            key = (name, str(cell["model"]), cell["task"])
            self.seconds.setdefault(key, []).append(float(seconds) / work.steps)

    def time(self, forecast: Forecast, key: tuple[str, str, str]) -> Forecast:
        """With the measured time of as many steps, where there is one."""
        found = self.seconds.get(key)
        if not found or forecast.work is None:
            return forecast
        each = sum(found) / len(found)
        by = f"{len(found)} measured cell{'s' if len(found) > 1 else ''}, {each:.2g} s a step"
        return replace(forecast, seconds=each * forecast.work.steps, by=by)


def foresee(suite: str | Path, out: str | Path | None = None) -> Grid:
    """The whole grid. Raises ExpungeError or DataError on a suite that is wrong; what is only missing it names."""
    absent: list[str] = []
    asked = reading.read(suite, absent)
    here = budgets.machine()
    if asked.machine is not None:
        here = Machine(asked.machine.what, asked.machine.memory_gb * budgets.GB, True)
        rate = Rate(asked.machine.teraflops * 1e12, asked.machine.what)
    else:
        rate = Rate.of_this_machine(here)
    told = _Shelf.read(folder_of(asked.name, out).parent)
    notes: dict[str, None] = {}
    rows = [row for scenario in asked.scenarios for row in _scenario(asked, scenario, rate, told, here, notes)]
    return Grid(asked, tuple(rows), tuple(dict.fromkeys(absent)), rate, here, tuple(notes))


def _scenario(
    suite: Suite, scenario: Scenario, rate: Rate, told: _Shelf, here: Machine, notes: dict[str, None]
) -> list[Row]:
    rows = []
    models = scenario.models if scenario.models is not None else suite.models
    names = ("albef-tiny",) if models == ALL else tuple(models)
    tasks = [e.name for e in plugins.entries("tasks")] if scenario.tasks == ALL else list(scenario.tasks)
    seeds = len(scenario.seeds if scenario.seeds is not None else suite.seeds)
    for model in names:
        for task in tasks:
            size = _size(suite, model, task)
            for wanted in scenario.sizes or (len(scenario.who),):
                counts, note = _counts(suite, scenario, task, wanted)
                notes |= {note: None} if note else {}
                for forecast, name in _forecasts(suite, scenario, size, task, counts, rate, here):
                    timed = told.time(forecast, (name, Path(model).name, task))
                    notes |= {too_large: None} if (too_large := _too_large(timed, here)) else {}
                    notes |= dict.fromkeys(timed.notes)
                    rows.append(Row(scenario.shown, task, Path(model).name, wanted, seeds, timed))
    return rows


def _too_large(forecast: Forecast, here: Machine) -> str:
    """What does not fit, or may not, the machine; or nothing."""
    held = forecast.memory
    if held is None or held.bytes(here) <= here.free:
        return ""
    fits = held.bytes(here, only_certain=True) <= here.free
    needs = f"about {budgets.gigabytes(held.bytes(here))}" if fits else "more even without activations"
    return f"{forecast.what}: {needs}, and {here.what} has {budgets.gigabytes(here.free)}"


def _forecasts(
    suite: Suite,
    scenario: Scenario,
    size: Sizes | None,
    task: str,
    counts: tuple[int, int] | None,
    rate: Rate,
    here: Machine,
) -> list[tuple[Forecast, str]]:
    """Of every row of a block, and its name on the shelf. Making the original, once for all sizes and seeds, is no row
    and is counted nowhere."""
    if counts is None:
        return [(Forecast(m.shown), Path(m.name).stem) for m in suite.rows]
    forget, retain = counts
    is_own = plugins.is_own(place(suite, scenario.data))
    recipe = own_recipe(scenario.make_original) or foresight.recipe_of(task, is_own)
    known = {suite.paths[n]: _sizes(e) for n, e in suite.expected.items() if n in suite.paths}
    found: list[tuple[Forecast, str]] = []
    if suite.against == "retrain" and all(m.name != "retrain" for m in suite.rows):
        found.append((foresight.of_training("retrained", recipe, size, retain, rate), "retrained"))
    for row in suite.rows:
        chosen = plugins.load_method(place(suite, row.name))
        asked = options_of(scenario, row, task)
        if row.name == "retrain" and not asked:
            found.append((foresight.of_training(row.shown, recipe, size, retain, rate), "retrained"))
            continue
        method = options(chosen, asked, task)
        forecast = foresight.of_method(method, size, forget, retain, task, rate, here, known=known, what=row.shown)
        found.append((forecast, Path(row.name).stem))
    return found


def _size(suite: Suite, model: str, task: str) -> Sizes | None:
    """Of the model's files, or as the suite expects it."""
    if found := foresight.size_of(place(suite, model), task):
        return found
    by_place = {at: name for name, at in suite.paths.items()}
    expected = suite.expected.get(by_place.get(model, model))
    return None if expected is None else _sizes(expected)


def _sizes(expected: Any) -> Sizes:
    return Sizes({"all": expected.weights}, expected.weights, expected.gflop * 1e9, expected.activations)


def _counts(suite: Suite, scenario: Scenario, task: str, size: int) -> tuple[tuple[int, int] | None, str]:
    """(examples to forget, to retain), and a note where they are the suite's and not the data's."""
    try:
        images = place(suite, scenario.images) if scenario.images else None
        corpus = load_corpus(place(suite, scenario.data), images, placed_options(suite, scenario), cast(Task, task))
        who = scenario.who or draw(corpus, size, scenario.unit, 0, scenario.source)
        splits = corpus.split(who)
        return (len(splits.forget), len(splits.retain)), ""
    except ExpungeError as error:
        expected = scenario.expected.get(task)
        if expected is None:
            return None, f"{scenario.shown}, {task}: {str(error).splitlines()[0]}"
    forget = min(round(size * expected.each), expected.train)
    note = f"{scenario.shown}, {task}: counts as the suite expects them, {expected.train:,} training examples"
    return (forget, expected.train - forget), note
