"""From a suite to its cells and to the blocks of its tables, in an order that is the same everywhere.

Doing nothing and retraining are no work of their own: their rows read the shared cells ``before`` and ``retrained``,
one of each for a model, data, who, seed and task, however many methods stand beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from expunge.bench.cells import Cell, Setting
from expunge.bench.suite import ALL, LOOKS, MADE, Method, Scenario, Suite, options_of, place, placed_options, tasks_of
from expunge.core import plugins
from expunge.core.options import identity, options
from expunge.core.types import Corpus, Task
from expunge.report.printed import ROWS
from expunge.scenario import draw, load_corpus, recipe_of
from expunge.train.originals import PAPER, RECIPES
from expunge.zoo import shelf

CONTROL, REFERENCE = "nothing", "retrain"
PLAN = "plan.json"


@dataclass(frozen=True)
class Row:
    """One method in one block: a cell for every seed."""

    label: str
    method: str
    paper: str
    cells: Mapping[int, Cell]


@dataclass(frozen=True)
class Block:
    """What is compared with one another: one scenario, task, model and size."""

    scenario: str
    task: str
    model: str
    size: int
    unit: str
    paper_group: str
    paper_size: str
    rows: tuple[Row, ...]
    before: Mapping[int, Cell]
    retrained: Mapping[int, Cell]


@dataclass(frozen=True)
class Plan:
    """A suite's blocks, and the methods that were left out because a model lacks what they need."""

    suite: Suite
    blocks: tuple[Block, ...]
    left_out: tuple[str, ...] = ()
    _cells: list[Cell] = field(default_factory=list, compare=False, repr=False)

    def cells(self) -> list[Cell]:
        """Every cell once: first seeds first, so that a grid which is stopped early has whole tables of few seeds."""
        if not self._cells:
            found: dict[str, Cell] = {}
            for cell in self._in_order():
                found.setdefault(cell.hash, cell)
            self._cells.extend(found.values())
        return self._cells

    def _in_order(self) -> Iterator[Cell]:
        most = max((len(block.before) for block in self.blocks), default=0)
        for turn in range(most):
            for block in self.blocks:
                for cells in (block.before, block.retrained, *(row.cells for row in block.rows)):
                    yield from list(cells.values())[turn : turn + 1]

    def to_json(self, shelf: str = ".", grounds: Mapping[str, Any] | None = None) -> str:
        """What ``harvest`` needs to draw the tables: labels and hashes, no model library. ``shelf`` is where the cells
        lie, from the plan's own folder; ``grounds`` is what the plan was made from, for whoever finds it there."""
        suite = self.suite
        told = {
            "suite": suite.name, "typed": suite.typed, "shelf": shelf, "title": suite.title, "about": suite.about,
            "text": suite.text, "paper": suite.paper, "layout": suite.layout,
            "baseline": suite.held_against, "columns": list(suite.columns), "left_out": list(self.left_out),
            "searches": {name: list(labels) for name, labels in suite.searches.items()},
            "cells": [cell.hash for cell in self.cells()], "labels": {c.hash: c.label for c in self.cells()},
            "blocks": [
                {
                    "scenario": b.scenario, "task": b.task, "model": b.model, "size": b.size, "unit": b.unit,
                    "paper_group": b.paper_group, "paper_size": b.paper_size, "before": _hashes(b.before),
                    "retrained": _hashes(b.retrained),
                    "rows": [
                        {"label": r.label, "method": r.method, "paper": r.paper, "cells": _hashes(r.cells)}
                        for r in b.rows
                    ],
                }
                for b in self.blocks
            ],
            **({"grounds": grounds} if grounds else {}),
        }  # fmt: skip
        return json.dumps(told, indent=1, ensure_ascii=False)


def expand(suite: Suite) -> Plan:
    """All cells of a suite. Raises ExpungeError when a scenario asks for more than its data has."""
    blocks, left_out = [], []
    for scenario in suite.scenarios:
        data = place(suite, scenario.data)
        images = place(suite, scenario.images) if scenario.images else None
        told = placed_options(suite, scenario)
        corpora = {task: load_corpus(data, images, told, cast(Task, task)) for task in tasks_of(scenario)}
        for name in _models(scenario.models if scenario.models is not None else suite.models):
            for task in tasks_of(scenario):
                rows = []
                for method in suite.rows:
                    lacks = _lacks(suite, method, name) if ALL in (suite.methods, suite.models, scenario.models) else ""
                    if lacks:
                        left_out.append(f"{method.shown} on {name}: the model has no {lacks}")
                    else:
                        rows.append(method)
                sizes = scenario.sizes or (len(scenario.who),)
                for size, paper_size in zip(sizes, scenario.paper_sizes or map(str, sizes)):
                    blocks.append(_block(suite, scenario, data, corpora[task], name, task, size, paper_size, rows))
    return Plan(suite, tuple(blocks), tuple(dict.fromkeys(left_out)))


def _block(
    suite: Suite, scenario: Scenario, data: str, corpus: Corpus, model: str, task: str, size: int, paper_size: str,
    methods: Sequence[Method],
) -> Block:  # fmt: skip
    settings = _settings(suite, scenario, data, corpus, model, task, size)
    where = f"{scenario.shown} {size}" + (f", {task}" if len(tasks_of(scenario)) > 1 else "")
    where += f", {Path(model).name}" if suite.models == ALL or len(suite.models) > 1 or scenario.models else ""
    looks = tuple(name for name in LOOKS if name in suite.analyses)

    def shared(kind: Any) -> dict[int, Cell]:
        return {s: Cell(kind, at, label=f"{kind} · {where} · seed {s}", analyses=looks) for s, at in settings.items()}

    before, retrained = shared("before"), shared("retrained")
    rows = []
    for method in methods:
        path = place(suite, method.name)
        chosen = plugins.load_method(path)
        asked, default = options(chosen, options_of(scenario, method, task), task), options(chosen, task=task)
        if method.name == CONTROL:
            cells = before
        elif method.name == REFERENCE and asked == default:
            cells = retrained
        else:
            cells = _own_cells(suite, method, path, asked, default, settings, where)
        name = Path(method.name).stem
        rows.append(Row(method.shown, name, method.paper or ROWS.get(name, ""), cells))
    return Block(
        scenario.shown, task, Path(model).name, size, scenario.unit if not scenario.who else "named",
        scenario.paper or task, paper_size, tuple(rows), before, retrained if suite.against == REFERENCE else {},
    )  # fmt: skip


def _settings(
    suite: Suite, scenario: Scenario, data: str, corpus: Corpus, model: str, task: str, size: int
) -> dict[int, Setting]:
    """What the cells of a block share, for every seed."""
    at = place(suite, model)
    pretrained = place(suite, scenario.pretrained) if scenario.pretrained else None
    recipe = recipe_of(data, pretrained, scenario.make_original)
    is_original = plugins.is_own(data) and recipe is None
    # Where originals are made, training begins from the model that was taught the task; else it is the original itself.
    start = at if is_original else shelf.beginning(at, cast(Task, task))
    told, folders = placed_options(suite, scenario), plugins.places(data)
    images = place(suite, scenario.images) if scenario.images else None
    return {
        seed: Setting(
            Path(model).name, weights(str(start)), Path(scenario.data).name, corpus.fingerprint,
            tuple(sorted(scenario.who)) or draw(corpus, size, scenario.unit, seed, scenario.source), seed, task,
            {k: v for k, v in told.items() if k not in folders},  # what lies in a folder is in the fingerprint
            weights(str(shelf.beginning(pretrained, cast(Task, task)))) if pretrained else None,
            asdict(recipe or (PAPER if is_original else RECIPES[cast(Task, task)])),
            {
                "model": at, "data": data, "images": images, "pretrained": pretrained,
                "allow_leakage": scenario.allow_leakage, "data_options": told,
            },
            recipe is not None,
        )
        for seed in (scenario.seeds if scenario.seeds is not None else suite.seeds)
    }  # fmt: skip


def _own_cells(
    suite: Suite, method: Method, path: str, asked: Any, default: Any, settings: Mapping[int, Setting], where: str
) -> dict[int, Cell]:
    """The cells of a row that is work of its own. ``asked`` and ``default`` are the method with the row's options and
    with its defaults."""
    chosen = type(asked)
    lent = {option: weights(getattr(asked, option)) for option in plugins.models(chosen)}
    looks = LOOKS + MADE if hasattr(chosen, "make_anchors") else LOOKS
    return {
        seed: Cell(
            "method", at, Path(method.name).stem, identity(asked, default), plugins.source_hash(path), lent,
            f"{method.shown} · {where} · seed {seed}", path, tuple(name for name in looks if name in suite.analyses),
        )
        for seed, at in settings.items()
    }  # fmt: skip


@cache
def weights(name: str) -> str:
    """Hash of a model's weight files: the same name with other weights is another model. What else lies in the folder,
    such as a config or a vocabulary, is in no hash."""
    found = shelf.locate(name)
    files = [found] if found.is_file() else sorted(p for p in found.rglob("*") if p.suffix in (".safetensors", ".bin"))
    total = hashlib.sha256()
    for file in files:
        with open(file, "rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()[:32]


def _hashes(cells: Mapping[int, Cell]) -> dict[str, str]:
    return {str(seed): cell.hash for seed, cell in cells.items()}


@cache
def _provided(model: str) -> frozenset[str]:
    return plugins.provides(shelf.load(model))


def _models(asked: Sequence[str] | str) -> list[str]:
    """Names as asked; ``*`` is every model of the zoo that matches; those that answer start from these."""
    if asked != ALL:
        return list(asked)
    return [name for name in shelf.names() if "Matches" in _provided(name)]


def _lacks(suite: Suite, method: Method, model: str) -> str:
    """What the method needs and the model has not, or nothing."""
    need = plugins.needs(plugins.load_method(place(suite, method.name))).__name__
    return "" if need in _provided(place(suite, model)) else need
