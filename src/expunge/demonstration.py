"""``expunge demo``: forget a few fictitious people by several methods, and show what each did."""

from __future__ import annotations

from pathlib import Path

from expunge import showing
from expunge.core import plugins
from expunge.core.folder import staged
from expunge.core.options import values
from expunge.core.record import Record
from expunge.core.run import Progress
from expunge.core.spec import Spec
from expunge.outcome import RunResult, make_record, unlearn, write
from expunge.scenario import Scenario, draw

METHODS = ("nothing", "gradient_ascent", "multidelete", "cse", "retrain")


def demonstrate(out: Path, seed: int, count: int, fresh: bool, overwrite: bool, progress: Progress) -> RunResult:
    """Run every method on the same people; the run folder is CSE's, the page compares them all.

    Before and retrained are measured once and serve every row.
    """
    people = list(draw(plugins.load_data("people"), count, "groups", seed))
    scenario = Scenario.read("albef-tiny", "people", people, None, False, seed, None, progress)
    scenario.fresh = fresh
    with staged(out, overwrite=overwrite) as folder:
        original = scenario.original()
        assessment = scenario.assessment()
        assessment.add("before", original, scenario.run(None), look=True)
        oracle = scenario.oracle(scenario.run(None))
        assessment.add("oracle", oracle, scenario.run(None))
        rows: list[tuple[str, Record]] = []
        for name in METHODS:
            method = plugins.load_method(name)()
            spec = Spec("albef-tiny", "people", tuple(people), name, values(method), seed, "retrain", with_samples=True)
            run = scenario.run(folder if name == "cse" else None)
            if name == "retrain":
                assessment.scores["after"] = assessment.scores["oracle"]
                cost: dict[str, float] = {}
            else:
                after, cost = unlearn(method, original.clone(), scenario.splits, run)
                assessment.add("after", after, run, look=name == "cse")
            record = make_record(spec, scenario, assessment, run, cost)
            rows.append((name, record))
            if name == "cse":
                shown = RunResult(record, after, out, showing.panels(assessment, scenario.corpus, run), rows)
                asked = spec
        write(shown, asked, original.module.state_dict(), folder)
    return shown
