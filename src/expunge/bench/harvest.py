"""What a suite's folder holds, as numbers over seeds for ``report.grid``: reads files only, never a model library.

For every row and column: the value over seeds, the distance to the retrained model seed by seed and then averaged (so
that Avg.G is the mean of the three distances beside it), and paired tests against the suite's baseline. For every
searched method its best setting (``choosing``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from expunge.bench import findings
from expunge.bench.cells import Shelf, scores_of
from expunge.bench.choosing import chosen
from expunge.core.errors import ExpungeError
from expunge.core.record import AVERAGES, MARKS, Score, Scores
from expunge.evals.stats import mean_interval, paired
from expunge.evals.summary import summarise
from expunge.evals.truth import compare
from expunge.report import printed
from expunge.report.grid import Entry, Failure, GridBlock, GridRow, Paired, Results
from expunge.report.layouts import AWAY, away
from expunge.report.measures import MEASURES, MEMORY

PLAN = "plan.json"
SHORT = {"forget": "r_forget", "test": "r_test"}
"""A column of the table -> its score. The name is the same for every task, recall or accuracy."""
SUMMARY = (*AVERAGES, *MARKS.values())
TESTED = (*AVERAGES, *AWAY, "mi", "forget", "test")


def plan_of(folder: str | Path) -> dict[str, Any] | None:
    """The plan that a suite's folder holds, or None when it is no such folder."""
    path = Path(folder) / PLAN
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return told if {"suite", "blocks", "cells"} <= told.keys() else None
    except ValueError as error:
        raise ExpungeError(f"{path} cannot be read: {error}. Run the suite again.") from error


def harvest(folder: str | Path) -> Results:
    """Everything that is there. Raises ExpungeError when ``folder`` holds no suite."""
    told = plan_of(folder)
    if told is None:
        raise ExpungeError(f"{folder} is not the folder of a suite: it has no {PLAN}.")
    shelf = Shelf(Path(folder) / told.get("shelf", "."))
    found = {h: result for h in told["cells"] if (result := shelf.result(h)) is not None}
    failures = [
        Failure(told["labels"][h], bad["reason"], bad["traceback"], h)
        for h in told["cells"]
        if h not in found and (bad := shelf.failure(h)) is not None
    ]
    blocks = tuple(_block(told, block, found, {f.hash for f in failures}) for block in told["blocks"])
    return Results(
        suite=told["suite"],
        typed=told.get("typed", told["suite"]),
        title=told["title"],
        about=told["about"],
        text=told["text"],
        paper=told["paper"],
        baseline=told["baseline"],
        columns=tuple(told["columns"]),
        blocks=blocks,
        chosen=chosen(told, found, {f.hash for f in failures}),
        failures=tuple(failures),
        missing=tuple(
            told["labels"][h] for h in told["cells"] if h not in found and h not in {f.hash for f in failures}
        ),
        done=len(found),
        total=len(told["cells"]),
        left_out=tuple(told["left_out"]),
        environments=_environments(found.values()),
        drawn=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        seconds=sum(float(one.get("wall_seconds", 0.0)) for one in found.values()),
        layout=told.get("layout", ""),
        notes=tuple(dict.fromkeys(note for one in found.values() for note in one.get("notes", ()))),
    )


def _block(told: Mapping[str, Any], block: Mapping[str, Any], found: Mapping[str, Any], failed: set[str]) -> GridBlock:
    oracle, before = _by_seed(block["retrained"], found), _by_seed(block["before"], found)
    rows = []
    numbers: dict[str, dict[str, dict[str, float]]] = {}  # label -> column -> seed -> value
    for row in block["rows"]:
        per_seed = _by_seed(row["cells"], found)
        columns = {
            seed: _numbers(result, oracle.get(seed), told.get("layout", "")) for seed, result in per_seed.items()
        }
        numbers[row["label"]] = _turned(columns)
        rows.append(
            GridRow(
                label=row["label"],
                method=row["method"],
                entries={key: _entry(key, numbers[row["label"]]) for key in numbers[row["label"]] if not _is_gap(key)},
                wanted=len(row["cells"]),
                measured=len(per_seed),
                failed=sum(h in failed for h in row["cells"].values()),
                is_reference=row["cells"] == block["retrained"],
                printed=printed.row(told["paper"], block["paper_size"], block["paper_group"], row["paper"])
                if told["paper"]
                else {},
            )
        )
    references = [row.label for row in rows if row.is_reference]
    return GridBlock(
        scenario=block["scenario"], task=block["task"], model=block["model"], size=block["size"], unit=block["unit"],
        printed_size=block["paper_size"], rows=tuple(rows), seeds=tuple(block["before"]),
        tests=tuple(_tests(told["baseline"], references, numbers)),
        stages={name: _means(results) for name, results in (("before", before), ("retrained", oracle))},
        findings=findings.gather(block, found),
    )  # fmt: skip


def _by_seed(hashes: Mapping[str, str], found: Mapping[str, Any]) -> dict[str, Any]:
    return {seed: found[h] for seed, h in hashes.items() if h in found}


def _numbers(result: Any, oracle: Any, layout: str) -> dict[str, float]:
    """Column -> number of one cell; ``gap:<column>`` is its distance to the retrained model of the same seed."""
    after = scores_of(result)
    if oracle and oracle is not result:
        told = {stage: one["truth"] for stage, one in (("after", result), ("oracle", oracle)) if "truth" in one}
        after |= compare(told)[0].get("after", {})
    summary = summarise(after, scores_of(oracle)) if oracle else {}
    numbers: dict[str, float] = {}
    for column, name in _columns(after).items():
        numbers[column] = after[name].value
        if f"delta_{name}" in summary:
            numbers[f"gap:{column}"] = summary[f"delta_{name}"]
    numbers |= {name: summary[name] for name in SUMMARY if name in summary}
    if layout and oracle:
        numbers |= away(layout, summary)
    numbers |= {name: score.value for name, score in findings.analysed(result).items()}
    if "seconds" in result["cost"]:
        numbers["seconds"] = result["cost"]["seconds"]
    for column, name in MEMORY.items():
        if name in result["cost"]:
            numbers[column] = result["cost"][name]
    return numbers


def _columns(scores: Scores) -> dict[str, str]:
    """Column -> score: every score under its own name, and some under a short one, too."""
    return {name: name for name in scores} | {short: name for short, name in SHORT.items() if name in scores}


def _turned(columns: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    turned: dict[str, dict[str, float]] = {}
    for seed, numbers in columns.items():
        for key, value in numbers.items():
            if value == value:  # a score that could not be measured is none: its n says so, and it competes no more
                turned.setdefault(key, {})[seed] = value
    return turned


def _is_gap(key: str) -> bool:
    return key.startswith("gap:")


def _entry(key: str, numbers: Mapping[str, Mapping[str, float]]) -> Entry:
    gap = numbers.get(f"gap:{key}")
    return Entry(mean_interval(list(numbers[key].values())), mean_interval(list(gap.values())) if gap else None)


def _tests(
    baseline: str, references: Iterable[str], numbers: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> Iterable[Paired]:
    """Every row against the baseline, by its distances to the retrained model, over the seeds that both have."""
    if baseline not in numbers:
        return
    for label, row in numbers.items():
        if label in references:
            continue
        for column in TESTED:
            key = column if column in AVERAGES or column in AWAY else f"gap:{column}"
            ours, theirs = numbers[baseline].get(key, {}), row.get(key, {})
            seeds = [seed for seed in theirs if seed in ours]
            if label == baseline or not seeds:
                continue
            compared = paired([theirs[s] for s in seeds], [ours[s] for s in seeds])
            yield Paired(label, column, compared.difference, compared.p_value, compared.wilcoxon, len(seeds))


def _means(results: Mapping[str, Any]) -> dict[str, Score]:
    """Scores of a shared model over seeds, for the drawings."""
    per_seed = [scores_of(one) for one in results.values()]
    names = [m.key for m in MEASURES]
    return {
        name: mean_interval([scores[name].value for scores in per_seed])
        for name in names
        if per_seed and all(name in scores and scores[name].value == scores[name].value for scores in per_seed)
    }


def _environments(results: Iterable[Mapping[str, Any]]) -> tuple[tuple[int, Mapping[str, Any]], ...]:
    """The machines and commits that cells were measured on, with how many each."""
    counted: dict[str, int] = {}
    for one in results:
        told = {k: v for k, v in one.get("environment", {}).items() if k != "seed"}
        text = json.dumps(told, sort_keys=True)
        counted[text] = counted.get(text, 0) + 1
    return tuple((n, json.loads(text)) for text, n in sorted(counted.items(), key=lambda pair: -pair[1]))
