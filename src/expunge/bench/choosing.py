"""Which setting of a searched method is best, by a rule that is the same for every method.

The best has the smallest mean Avg.G over the cells (blocks and seeds) that all of the method's measured settings share.
In a suite with a layout it is not Avg.G that counts, which looks at the forgotten and at strangers alone, but the mean
distance to the retrained model over all columns of the table. Without retrained models there is neither; what counts
then is what is left of the forgotten people's private sentences plus what was lost since before on their shared ones,
on the retained and on the test data, in points.

A setting of which a cell failed (its loss was not finite, say) is not chosen, and takes no cells from the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any

from expunge.bench.cells import scores_of
from expunge.evals.summary import summarise
from expunge.report.grid import PRICES, Chosen
from expunge.report.layouts import away

KEPT = ("r_forget_shared", "r_retain", "r_test")
Place = tuple[int, str]
"""A block's number and a seed."""
Numbers = dict[str, float]


def chosen(told: Mapping[str, Any], found: Mapping[str, Any], failed: Collection[str]) -> tuple[Chosen, ...]:
    """One for every searched method of the plan ``told``; ``found`` holds results by hash, ``failed`` hashes."""
    against = any(block["retrained"] for block in told["blocks"])
    rule = "points_off" if not against else "away" if told.get("layout") else "avg_g"
    return tuple(
        _best(method, labels, rule, _measured(told, labels, rule, found, failed))
        for method, labels in told.get("searches", {}).items()
    )


def points_off(after: Mapping[str, float], before: Mapping[str, float]) -> float:
    """What is left of private sentences plus what was lost elsewhere, in points."""
    lost = sum(max(0.0, before[name] - after[name]) for name in KEPT if name in after and name in before)
    return after.get("r_forget_private", after["r_forget"]) + lost


def _best(method: str, labels: Sequence[str], rule: str, measured: Mapping[str, Mapping[Place, Numbers]]) -> Chosen:
    shared = set.intersection(*(set(cells) for cells in measured.values())) if measured else set()
    if not shared:
        return Chosen(method, None, rule, None, len(measured), len(labels), 0)
    means = {label: fmean(cells[place]["score"] for place in sorted(shared)) for label, cells in measured.items()}
    label = min(means, key=lambda one: means[one])  # the first of equals
    cells = [measured[label][place] for place in sorted(shared)]
    prices = {
        key: (fmean(cell[key] for cell in cells), fmean(cell[f"apart:{key}"] for cell in cells))
        for key in PRICES
        if all(f"apart:{key}" in cell for cell in cells)
    }
    return Chosen(method, label, rule, means[label], len(measured), len(labels), len(shared), prices)


def _measured(
    told: Mapping[str, Any], labels: Sequence[str], rule: str, found: Mapping[str, Any], failed: Collection[str]
) -> dict[str, dict[Place, Numbers]]:
    """Label -> place -> numbers, for the settings that have any cell and no failed one, in the order of the grid."""
    measured: dict[str, dict[Place, Numbers]] = {label: {} for label in labels}
    for number, block in enumerate(told["blocks"]):
        for row in (row for row in block["rows"] if row["label"] in measured):
            if any(cell in failed for cell in row["cells"].values()):
                measured.pop(row["label"])
                continue
            for seed, cell in row["cells"].items():
                beside = block["before" if rule == "points_off" else "retrained"].get(seed)
                if cell in found and beside in found:
                    numbers = _numbers(found[cell], found[beside], rule, told.get("layout", ""))
                    if numbers["score"] == numbers["score"]:  # a score that could not be measured is none
                        measured[row["label"]][number, seed] = numbers
    return {label: cells for label, cells in measured.items() if cells}


def _numbers(result: Any, beside: Any, rule: str, layout: str) -> Numbers:
    """A cell's score, its splits, and how far each is ``apart`` from the retrained model, or since before."""
    scores, others = scores_of(result), scores_of(beside)
    after, other = ({name: score.value for name, score in one.items()} for one in (scores, others))
    numbers = {key: after[key] for key in PRICES if key in after}
    if rule != "points_off":
        summary = summarise(scores, others)
        if rule == "away":
            summary |= away(layout, summary)
        numbers["score"] = summary.get(rule, float("nan"))
        return numbers | {f"apart:{key}": abs(after[key] - other[key]) for key in numbers if key in other}
    apart = {f"apart:{key}": after[key] - other[key] for key in numbers if key in other}
    return numbers | apart | {"score": points_off(after, other)}
