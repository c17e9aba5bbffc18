"""Search the options of every method with the same budget, on the population that nothing is reported on.

    python benchmarks/search.py --methods multidelete slug --sizes 5 50 --seeds 0 --out docs/results/search.jsonl
    python benchmarks/search.py --out docs/results/search.jsonl --best       # only say what is best so far

The grids are in benchmarks/grids.toml. Every finished setting is one line of the file for each size and seed, so a
stopped search goes on where it was.

The best setting of a method has the smallest mean Avg.G against the retrained model over all sizes and seeds that all
of its settings were measured on. With ``--no-oracle`` there is no such number, and the rule is: the smallest mean of
what is left of the forgotten people's private sentences plus what was lost on shared sentences, on the retained and on
the test data, all in points since before.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tomllib
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from forgetting import Cell, Measurements, read

GRIDS = Path(__file__).with_name("grids.toml")
KEPT = ("r_forget_shared", "r_retain", "r_test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", help="those of the grid file that are meant; default: all")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 50])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--grids", type=Path, default=GRIDS)
    parser.add_argument("--no-oracle", action="store_true", help="do not make retrained models; see the rule above")
    parser.add_argument("--best", action="store_true", help="run nothing, say what is best so far")
    asked = parser.parse_args()
    settings = grids(asked.grids, asked.methods)
    if not asked.best:
        cells = [Cell(method, tuple(f"{k}={json.dumps(v)}" for k, v in s.items()), label(method, s))
                 for method, found in settings.items() for s in found]  # fmt: skip
        Measurements("validation", asked.out, asked.no_oracle).work(cells, asked.sizes, asked.seeds)
    for line in verdicts(read(asked.out), settings):
        print(line)


def grids(path: Path, methods: list[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Method -> its settings. Raises ValueError when methods have different numbers of them or a name is unknown."""
    told = tomllib.loads(path.read_text())
    if unknown := sorted(set(methods or ()) - told.keys()):
        raise ValueError(f"{path} has no grid for {', '.join(unknown)}; it has {', '.join(told)}")
    crossed = {name: [dict(zip(g, values)) for values in itertools.product(*g.values())] for name, g in told.items()}
    if len(budgets := {len(found) for found in crossed.values()}) != 1:
        raise ValueError(f"{path}: the methods have {sorted(budgets)} settings; they must all have as many")
    return {name: crossed[name] for name in (methods or crossed)}


def label(method: str, setting: dict[str, Any]) -> str:
    return " ".join([method, *(f"{name}={value}" for name, value in setting.items())])


def verdicts(rows: list[dict], settings: dict[str, list[dict[str, Any]]]) -> list[str]:
    """One line for each method: its best setting, its score, and how many settings on how many cells that rests on."""
    lines = []
    for method, found in settings.items():
        chosen = best(rows, [label(method, s) for s in found])
        lines.append(f"{method}: {chosen.text}")
    return lines


def best(rows: list[dict], labels: list[str]) -> SimpleNamespace:
    """The label with the least mean score over the cells that every measured label has, with what it rests on."""
    scores: dict[str, dict[tuple[int, int], float]] = defaultdict(dict)
    compared = all(r["summary"] for r in rows if r["method"] in labels)
    for row in rows:
        if row["method"] in labels:
            scores[row["method"]][row["size"], row["seed"]] = row["summary"]["avg_g"] if compared else cost(row)
    shared = set.intersection(*(set(s) for s in scores.values())) if scores else set()
    if not shared:
        return SimpleNamespace(label=None, score=None, text="nothing measured in common yet")
    means = {name: sum(s[cell] for cell in shared) / len(shared) for name, s in scores.items()}
    name = min(labels, key=lambda one: means.get(one, float("inf")))
    rule = "Avg.G" if compared else "points off, without a retrained model"
    rest = f"{rule} {means[name]:.2f}; {len(means)} of {len(labels)} settings, {len(shared)} cells each"
    return SimpleNamespace(label=name, score=means[name], text=f"{name} ({rest})")


def cost(row: dict) -> float:
    """What is left of private sentences plus what was lost elsewhere, in points."""
    after = {name: score["value"] for name, score in row["scores"].items()}
    lost = sum(max(0.0, row["before"][name] - after[name]) for name in KEPT if name in after)
    return after.get("r_forget_private", after["r_forget"]) + lost


if __name__ == "__main__":
    main()
