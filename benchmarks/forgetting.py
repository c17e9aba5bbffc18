"""The acceptance table: methods beside each other, over seeds and numbers of forgotten people.

    python benchmarks/forgetting.py --sizes 5 50 --seeds 0 1 2 3 4 --out docs/results/forgetting.jsonl
    python benchmarks/forgetting.py --out docs/results/forgetting.jsonl --table      # only draw what is there

Every finished cell is one line of the file, so a stopped run goes on where it was. ``--variant validation`` is the
population that defaults are chosen on; the table in the README is made on the other one.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from pathlib import Path

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
        work(asked)
    rows = read(asked.out)
    print(table(rows))
    print(kept(rows))


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def work(asked: argparse.Namespace) -> None:
    from expunge.core import plugins
    from expunge.core.environment import environment
    from expunge.core.options import options, values
    from expunge.evals.summary import summarise
    from expunge.outcome import unlearn
    from expunge.scenario import Scenario, some_people

    data = "people" if asked.variant == "test" else "people:validation"
    corpus = plugins.load_data(data)
    told = environment()
    for size in asked.sizes:
        for seed in asked.seeds:
            done = {(r["method"], r["size"], r["seed"]) for r in read(asked.out) if r["variant"] == asked.variant}
            todo = [m for m in asked.methods if (asked.label or m, size, seed) not in done]
            if not todo:
                continue
            people = some_people(corpus, size, seed)
            scenario = Scenario.read("albef-tiny", data, people, None, False, seed, None, Silent())
            assessment = scenario.assessment()
            original = scenario.original()
            before = assessment.add("before", original, scenario.run(None))
            oracle = (
                {}
                if asked.no_oracle
                else assessment.add("oracle", scenario.oracle(scenario.run(None)), scenario.run(None))
            )
            for name in todo:
                start, run = time.monotonic(), scenario.run(None)
                method = options(plugins.load_method(name), asked.option)
                if name == "retrain":
                    after, cost = dict(oracle), {}
                elif name == "nothing":
                    after, cost = dict(before), {}
                else:
                    model, cost = unlearn(method, original.clone(), scenario.splits, run)
                    after = dict(assessment.add("after", model, run))
                line = {
                    "method": asked.label or name, "size": size, "seed": seed, "variant": asked.variant,
                    "options": values(method), "scores": {k: vars(s) for k, s in after.items()},
                    "before": {k: s.value for k, s in before.items()},
                    "oracle": {k: s.value for k, s in oracle.items()},
                    "summary": summarise(after, oracle, before) if oracle else {}, "cost": cost, "facts": run.facts,
                    "commit": told["commit"], "dirty": told["dirty"], "hardware": told["hardware"],
                }  # fmt: skip
                asked.out.parent.mkdir(parents=True, exist_ok=True)
                with open(asked.out, "a") as file:
                    file.write(json.dumps(line, default=str) + "\n")
                    os.fsync(file.fileno())
                shown = " ".join(f"{k}={after[k].value:.1f}" for k in SHOWN if k in after)
                print(f"{line['method']} size={size} seed={seed} {shown} {time.monotonic() - start:.0f}s", flush=True)


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
