"""What a run comes to: the model that forgot, what it cost, and the record with its provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.panel import Panel

from expunge import showing
from expunge.core import plugins, ranks
from expunge.core.delta import Delta
from expunge.core.environment import environment, versions
from expunge.core.errors import Diverged, ExpungeError
from expunge.core.folder import explained
from expunge.core.method_files import blaming, returned
from expunge.core.record import Record
from expunge.core.run import Run
from expunge.core.spec import UNASKED, Spec
from expunge.core.types import Backbone, Splits
from expunge.evals.assessment import Assessment
from expunge.evals.cost import measured
from expunge.evals.summary import summarise
from expunge.report import page, tables
from expunge.report.cards import verdict_card
from expunge.scenario import Scenario
from expunge.train import engine
from expunge.train.lora import lora_trained
from expunge.zoo import shelf


@dataclass
class RunResult:
    """What a run leaves: its record, the model that forgot, and where both lie (None for a run in memory)."""

    record: Record
    model: Any = None
    folder: Path | None = None
    panels: dict[str, Any] | None = field(default=None, repr=False)
    comparisons: list[tuple[str, Record]] = field(default_factory=list, repr=False)

    def table(self) -> tables.TerminalTable:
        """Before, after and retrained side by side, or one row per method where several ran; print it."""
        return tables.terminal_table(
            tables.compare(self.comparisons) if self.comparisons else tables.stages(self.record)
        )

    def verdict(self) -> Panel:
        """Whether the result can be trusted, in plain words; for ``rich.print``."""
        return verdict_card(self.record)

    def report(self, path: str | Path) -> Path:
        """Write the page."""
        with explained(path, "page"):
            Path(path).write_text(page.page(self.record, self.panels, self.comparisons), encoding="utf-8")
        return Path(path)


def write(result: RunResult, spec: Spec, before: Mapping[str, Any], folder: Path) -> None:
    """Fill a run folder: the model, what changed since the state dict ``before``, the question, record and page."""
    model = result.model
    after = {name: tensor for name, tensor in model.module.state_dict().items() if name in before}
    Delta.between({name: before[name] for name in after}, after).save(folder / "delta.safetensors")
    model.save_pretrained(folder / "model")
    if model.traits.extras.get("official_layout"):  # it came as a released checkpoint, so it can go back as one
        model.save_official(folder / "model.pth")
    (folder / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    (folder / "record.json").write_text(result.record.to_json(), encoding="utf-8")
    shown = showing.kept(result.panels, spec.with_samples)
    for name, text in showing.texts(shown, result.comparisons).items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "report.html").write_text(page.page(result.record, shown, result.comparisons), encoding="utf-8")


def question(spec: Spec, method: Any, scenario: Scenario) -> dict[str, Any]:
    """All that the numbers of a run depend on, by names: checkpoints of another question are not gone on from."""
    asked = {k: v for k, v in json.loads(spec.to_json()).items() if k not in (*UNASKED, "hash")}
    named = {"model": spec.model, "pretrained": spec.pretrained}
    named |= {option: getattr(method, option) for option in plugins.models(type(method))}
    return asked | {
        **scenario.about(),
        "files of the models": {role: _stamp(name) for role, name in named.items() if name},
        "versions": versions(("expunge", "torch", "transformers", "diffusers")),
        "processes": engine.describe(),
    }


def _stamp(name: str) -> str | None:
    try:
        return shelf.stamp(name)
    except ExpungeError:  # not every option that names a model is used
        return None


def unlearn(method: Any, model: Any, splits: Splits, run: Run) -> tuple[Any, dict[str, float]]:
    """Let a method work; drop what only training needs. Returns the model and what it cost.

    Seconds of work that was remembered, or done before the run was stopped, count as if it had been done again; what
    was made before, such as the model itself, counts in no leg. With several ranks all have the same model in the end,
    and ``run.facts["ranks_differed"]`` where they had not by themselves. Raises ExpungeError, with the line, for what
    goes wrong in a user's method, and Diverged where it leaves weights that are not numbers.
    """
    lora = run.scale.lora
    if lora and not getattr(type(method), "lora", False):
        raise ExpungeError(
            f"{type(method).__name__} does not say that it can train adapters only (lora: ClassVar[bool] = True): "
            "leave --lora out, or take another method."
        )
    model.module.to(ranks.device())
    noted = len(run.terms)
    run.begin()
    with measured() as spent, lora_trained(model, lora, run.folder, run.seed):
        with blaming(type(method)):
            after = method.unlearn(model, splits, run)
    returned(type(method), after, Backbone)
    run.keep["terms"] = run.terms[noted:]  # a model retrained to compare with logs into the same run
    if engine.agree(after.module):
        run.facts["ranks_differed"] = True
    if lost := [name for name, weights in after.module.named_parameters() if not weights.isfinite().all()]:
        raise Diverged(
            f"{plugins.method_name(type(method))} leaves weights that are not numbers ({lost[0]}"
            + (f" and {len(lost) - 1} more" if lost[1:] else "")
            + "); try a smaller lr."
        )
    after.drop_training_state()
    after.module.eval()
    peak_mb = max(spent.peak_memory_mb, run.peak_mb)
    cost = {"seconds": spent.seconds + run.spared, "peak_memory_mb": peak_mb}
    if spent.peak_gpu_memory_mb:
        cost["peak_gpu_memory_mb"] = spent.peak_gpu_memory_mb
    return after, cost | {f"seconds_{name}": seconds for name, seconds in run.seconds.items()}


def make_record(spec: Spec, scenario: Scenario, assessment: Assessment, run: Run, cost: dict[str, float]) -> Record:
    """Everything measured, with its provenance."""
    scores = {stage: dict(found) for stage, found in assessment.scores.items()}
    oracle = scores.get("oracle")
    return Record(
        spec=json.loads(spec.to_json()),
        scores=scores,
        summary=summarise(scores["after"], oracle) if oracle else {},
        cost=cost,
        requested=[one.label for one in scenario.requests.requested],
        matched=[_kept(entry) for entry in scenario.account["requests"] if entry["status"] == "matched"],
        included=list(scenario.account["included"]),
        forgotten=_forgotten(scenario.splits),
        rejected=[{"id": one.label, "reason": why} for one, why in scenario.requests.rejected.items()],
        generator={k: v for k, v in run.facts.items() if k != "shipped_models"},
        environment=environment() | {"seed": spec.seed} | engine.describe(),
        notes=[*scenario.notes, *assessment.notes],
        truth=dict(assessment.truth),
        about=scenario.about(),
    )


def _forgotten(splits: Splits) -> list[str]:
    """Groups of which nothing stays, by name; of others the ids of what is forgotten: nobody is said to be gone who is
    not."""
    stays = {e.group for e in splits.retain}
    return list(dict.fromkeys(e.id if e.group is None or e.group in stays else e.group for e in splits.forget))


def _kept(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a record holds of a request that was met."""
    told = ("request", "where", "reason", "how", "examples", "near", "same_as", "group_stays", "look_alikes")
    return {name: entry[name] for name in told}
