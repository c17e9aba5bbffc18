"""The acceptance table: methods beside each other, over seeds and numbers of forgotten people.

    python benchmarks/forgetting.py --sizes 5 50 --seeds 0 1 2 3 4 --out docs/results/forgetting.jsonl
    python benchmarks/forgetting.py --out docs/results/forgetting.jsonl --table      # only draw what is there

Every finished cell is one line of the file, so a stopped run goes on where it was. ``--variant validation`` is the
population that defaults are chosen on; the table in the README is made on the other one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHOWN = (
    "mi", "mi_auc", "r_forget", "r_forget_shared", "r_forget_private", "r_test", "r_retain_shared", "r_retain_private",
)  # fmt: skip
HEADS = ("MI", "MI AUC", "R@D_f", "D_f shared", "D_f private", "R@D_test", "retained shared", "retained private")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=("test", "validation"), default="test")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 50])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", default=["nothing", "gradient_ascent", "finetune", "cse", "retrain"])
    parser.add_argument("--option", action="append", default=[], metavar="FIELD=VALUE", help="for every method named")
    parser.add_argument("--label", default="", help="stands for the method in the table, for searches over options")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--no-oracle", action="store_true", help="skip the retrained model (searches)")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    if not asked.table:
        cells = [Cell(m, tuple(asked.option), asked.label or m) for m in asked.methods]
        Measurements(asked.variant, asked.out, asked.no_oracle).work(cells, asked.sizes, asked.seeds)
    rows = read(asked.out)
    print(table(rows))
    print(kept(rows))


def read(path: Path) -> list[dict]:
    """The finished cells. A last line without an end was being written when its run was killed: it does not count."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


@dataclass(frozen=True)
class Cell:
    """One row of the table: a method with options as ``field=value``, and what it is called."""

    method: str
    options: tuple[str, ...] = ()
    label: str = ""


@dataclass(frozen=True)
class Measurements:
    """A file of finished cells and what is needed to add to it."""

    variant: str
    out: Path
    no_oracle: bool = False

    def work(self, cells: Sequence[Cell], sizes: Sequence[int], seeds: Sequence[int]) -> None:
        """Every cell for every size and seed that the file does not have yet."""
        from expunge.core import plugins
        from expunge.scenario import Scenario, some_people

        data = "people" if self.variant == "test" else "people:validation"
        corpus = plugins.load_data(data)
        for size, seed in itertools.product(sizes, seeds):
            done = {(r["method"], r["size"], r["seed"]) for r in read(self.out) if r["variant"] == self.variant}
            if todo := [c for c in cells if (c.label, size, seed) not in done]:
                people = some_people(corpus, size, seed)
                scenario = Scenario.read("albef-tiny", data, people, None, False, seed, None, Silent())
                self._scenario(scenario, todo, {"size": size, "seed": seed, "variant": self.variant})

    def _scenario(self, scenario: Any, cells: Sequence[Cell], where: dict[str, Any]) -> None:
        """All cells that share an original, a retrained model and their scores."""
        from expunge.core import plugins
        from expunge.core.environment import environment
        from expunge.core.options import options, values
        from expunge.evals.summary import summarise
        from expunge.outcome import unlearn

        told, assessment, original = environment(), scenario.assessment(), scenario.original()
        before, oracle = assessment.add("before", original, scenario.run(None)), {}
        if not self.no_oracle:
            oracle = assessment.add("oracle", scenario.oracle(scenario.run(None)), scenario.run(None))
        for cell in cells:
            start, run = time.monotonic(), scenario.run(None)
            method = options(plugins.load_method(cell.method), cell.options)
            if cell.method == "retrain":
                after, cost = dict(oracle), {}
            elif cell.method == "nothing":
                after, cost = dict(before), {}
            else:
                model, cost = unlearn(method, original.clone(), scenario.splits, run)
                after = dict(assessment.add("after", model, run))
            self._write(
                {"method": cell.label} | where | {
                    "options": values(method), "scores": {k: vars(s) for k, s in after.items()},
                    "before": {k: s.value for k, s in before.items()},
                    "oracle": {k: s.value for k, s in oracle.items()},
                    "summary": summarise(after, oracle, before) if oracle else {}, "cost": cost, "facts": run.facts,
                    "commit": told["commit"], "dirty": told["dirty"], "hardware": told["hardware"],
                }
            )  # fmt: skip
            shown = " ".join(f"{k}={after[k].value:.1f}" for k in SHOWN if k in after)
            here = f"{cell.label} size={where['size']} seed={where['seed']}"
            print(f"{here} {shown} {time.monotonic() - start:.0f}s", flush=True)

    def _write(self, line: dict[str, Any]) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with open(self.out, "a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json.dumps(line, default=str).encode() + b"\n")
            os.fsync(file.fileno())


class Silent:
    """No progress bar: the lines above are the progress."""

    def start(self, what: str, total: int) -> None:
        print(f"  {what} ({total})", flush=True)

    def advance(self, steps: int = 1) -> None:
        pass

    def finish(self) -> None:
        pass


def table(rows: list[dict]) -> str:
    """Mean and 95 % t-interval over seeds, one block per size."""
    from expunge.evals.stats import mean_interval

    blocks: dict[int, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        blocks[row["size"]][row["method"]].append(row)
    lines = []
    for size, methods in sorted(blocks.items()):
        seeds = sorted({r["seed"] for found in methods.values() for r in found})
        lines += [f"**{size} people forgotten**, {len(seeds)} seeds, mean ± half width of the 95 % interval", ""]
        lines.append("| method | " + " | ".join(HEADS) + " | Avg.G | seconds |")
        lines.append("|" + "---|" * (len(HEADS) + 3))
        for method, found in methods.items():
            cells = [_cell(mean_interval, [r["scores"][k]["value"] for r in found if k in r["scores"]]) for k in SHOWN]
            gaps = [r["summary"]["avg_g"] for r in found if "avg_g" in r["summary"]]
            seconds = [r["cost"]["seconds"] for r in found if "seconds" in r["cost"]]
            cells += [_cell(mean_interval, gaps), _cell(mean_interval, seconds, 0)]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def kept(rows: list[dict]) -> str:
    """What each method kept and lost beside the retrained model and the model before: means over seeds, ± as above."""
    from expunge.evals.stats import mean_interval

    lines = [
        "| people | method | seen, % of retrained's | told, minus retrained's | R@D_test, change | "
        "seen, retained, change | told, retained, change |",
        "|" + "---|" * 7,
    ]
    for size, method in dict.fromkeys((r["size"], r["method"]) for r in rows):
        found = [r for r in rows if (r["size"], r["method"]) == (size, method) and r["oracle"]]
        values = [{k: r["scores"][k]["value"] for k in r["before"]} for r in found]
        pairs = [(v, r["oracle"], r["before"]) for v, r in zip(values, found)]
        columns = [
            [100 * v["r_forget_shared"] / o["r_forget_shared"] for v, o, _ in pairs],
            [v["r_forget_private"] - o["r_forget_private"] for v, o, _ in pairs],
            *([v[k] - b[k] for v, _, b in pairs] for k in ("r_test", "r_retain_shared", "r_retain_private")),
        ]
        lines.append(f"| {size} | {method} | " + " | ".join(_cell(mean_interval, c) for c in columns) + " |")
    return "\n".join(lines)


def _cell(interval, values: list[float], digits: int = 1) -> str:
    if not values:
        return "–"
    score = interval(values)
    if len(values) < 2:
        return f"{score.value:.{digits}f}"
    return f"{score.value:.{digits}f} ± {(score.high - score.low) / 2:.{digits}f}"


if __name__ == "__main__":
    main()
