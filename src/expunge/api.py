"""The whole story on one screen: words become a spec, a spec becomes a run, a run becomes a record and a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from expunge import foresight, showing
from expunge.bench import cluster, drawing, glance, runner
from expunge.bench.cluster import Resources
from expunge.bench.exchange import Taken
from expunge.bench.harvest import plan_of
from expunge.core import plugins, ranks
from expunge.core.checkpoints import Checkpoints, Pace, opened
from expunge.core.errors import ExpungeError, Problem
from expunge.core.folder import amend, explained, open_run, scratch, staged
from expunge.core.options import options as read_options
from expunge.core.options import values
from expunge.core.record import Scores
from expunge.core.run import Progress, Run, Silent
from expunge.core.scale import Scale
from expunge.core.spec import Spec
from expunge.core.types import Corpus, Task
from expunge.demonstration import demonstrate
from expunge.evals.assessment import Assessment
from expunge.evals.summary import summarise
from expunge.outcome import RunResult, make_record, question, unlearn, write
from expunge.report import page
from expunge.requests import checking
from expunge.scenario import Scenario, read_corpus
from expunge.zoo import shelf

Who = str | Mapping[str, Any] | Sequence[Any]


def load_model(name: str | Path) -> Any:
    """A backbone: a zoo name, a folder written by ``save_pretrained``, or a released checkpoint."""
    return shelf.load(name)


def load_data(name: str | Path, **options: Any) -> Corpus:
    """A corpus: ``people``, ``people:validation``, ``scenes``, a JSONL file of yours, or a public data set with its
    ``folder`` (``flickr30k``, ``coco``, ``vqa``, ``snli_ve``, ``mllmu``)."""
    return plugins.load_data(str(name), **options)


def check(
    request: Who,
    data: str | Path,
    *,
    images: str | Path | None = None,
    allow_leakage: bool = False,
    task: Task = "retrieval",
    data_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> tuple[list[Problem], list[Problem]]:
    """(problems, warnings): everything that would make a run fail or lie, before it starts; see ``examine``."""
    findings = examine(
        request, data, images=images, allow_leakage=allow_leakage, task=task, data_options=data_options,
        progress=progress,
    ).findings  # fmt: skip
    return list(findings.problems), list(findings.warnings)


def examine(
    request: Who,
    data: str | Path,
    *,
    images: str | Path | None = None,
    allow_leakage: bool = False,
    include_near: bool = False,
    task: Task = "retrieval",
    data_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> checking.Examination:
    """The same with ``.account``, what became of every request (docs/requests.md), and with who would be forgotten.

    Every picture is decoded, also those of a public data set that an earlier start found sound.
    """
    found = read_corpus(data, images, data_options, task, progress or Silent(), fresh=True)
    return checking.examine(found, request, allow_leakage=allow_leakage, include_near=include_near, task=task)


def forget(
    model: str | Path,
    data: str | Path,
    forget: Who,
    method: str | Path | Any = "cse",
    options: Sequence[str] | Mapping[str, Any] = (),
    *,
    seed: int = 0,
    out: str | Path | None = None,
    against: str | None = None,
    pretrained: str | Path | None = None,
    with_samples: bool = False,
    images: str | Path | None = None,
    allow_leakage: bool = False,
    overwrite: bool = False,
    data_options: Mapping[str, Any] | None = None,
    task: Task = "retrieval",
    include_near: bool = False,
    make_original: bool | Mapping[str, Any] = False,
    scale: Scale | None = None,
    progress: Progress | None = None,
    save_every: str | float | Pace | None = None,
    resume: bool = True,
) -> RunResult:
    """Make a model forget and measure what changed.

    ``model`` and ``data`` are names or paths, ``forget`` ids, groups or a file of requests. With an embedded world
    the model is the pretrained one and the original is made from it; with your own data, a public data set among them,
    it is the original, unless ``make_original`` says that the original is to be trained from it first: True for the
    paper's recipe, or ``{"epochs": …, "lr": …, "batch": …}``. ``task`` is what it was, or will be, trained on:
    retrieval, multiple_choice, entailment or answering. ``data_options`` go to the data set: ``{"folder": …}``.
    ``include_near`` also forgets the pictures that look like those asked for (docs/requests.md).
    ``against="retrain"`` also trains a model without them (your own data: from ``pretrained``), or names a run whose
    retrained scores serve again. Without ``out`` the run stays in memory. Raises DataError or ExpungeError on
    anything the caller can mend, before anything long starts. ``out="auto"`` names a folder below ``runs``. ``scale``
    says how to compute (precision, portions, LoRA). Started in several processes by ``accelerate launch``, they do one
    run together, and the first of them writes it.

    With ``out`` every training is saved as it goes (``save_every``: minutes, ``"30s"``, ``"100steps"``; five minutes),
    and the same call goes on where a stopped one was. ``resume=False`` begins again. See ``core.checkpoints``.
    """
    pace = Pace.read(save_every)
    scale = scale or Scale()
    by_name = isinstance(method, str | Path)
    chosen = plugins.load_method(method) if by_name else type(method)
    asked = read_options(chosen, options, task) if by_name else method
    scenario = Scenario.read(
        model, data, forget, images, allow_leakage, seed, pretrained, progress or Silent(), data_options, task,
        include_near=include_near, make_original=make_original,
    )  # fmt: skip
    spec = Spec(
        model=str(model),
        data=str(data),
        forget=scenario.names,
        method=str(method) if by_name else plugins.method_name(chosen),
        options=values(asked),
        seed=seed,
        against=against,
        data_options=dict(data_options or {}),
        method_source=plugins.source_hash(method),
        with_samples=with_samples,
        out=str(out) if out else None,
        task=task,
        images=str(images) if images else None,
        pretrained=str(pretrained) if pretrained else None,
        make_original=asdict(scenario.recipe) if scenario.recipe else None,
        scale=scale.asked(),
    )
    _check(chosen, scenario, against)
    count = (len(scenario.splits.forget), len(scenario.splits.retain))
    scenario.notes += foresight.check_memory(asked, str(model), *count, task)  # before anything is loaded
    plugins.check_capability(chosen, scenario.provides(), str(model))
    if out == "auto":
        out = Path("runs") / spec.slug
    if out is None:
        with scratch() as folder:
            return _run(spec, asked, scenario, folder, keep=False)
    place, asking = out, question(spec, asked, scenario)
    with (
        ranks.by_first(
            lambda: opened(place, asking, pace, resume=resume), lambda: nullcontext(Checkpoints.beside(place, pace))
        ) as scenario.saved,
        ranks.by_first(lambda: staged(place, overwrite=overwrite), scratch) as staging,
    ):
        result = _run(spec, asked, scenario, staging, keep=ranks.is_first())
    result.folder = Path(out)
    return result


def foresee(
    model: str | Path,
    data: str | Path,
    forget: Who,
    method: str | Path = "cse",
    options: Sequence[str] | Mapping[str, Any] = (),
    *,
    seed: int = 0,
    against: str | None = None,
    pretrained: str | Path | None = None,
    images: str | Path | None = None,
    allow_leakage: bool = False,
    data_options: Mapping[str, Any] | None = None,
    task: Task = "retrieval",
    include_near: bool = False,
    make_original: bool | Mapping[str, Any] = False,
) -> foresight.Outlook:
    """What ``forget`` with the same words would take: steps, pairs, memory and time. Loads and measures nothing.

    Where the data is not on this machine that is said, and memory is foreseen without it. Raises as ``forget`` does.
    """
    asked = read_options(plugins.load_method(method), options, task)
    told = data_options or {}
    lying = [data] if plugins.is_path(str(data)) else [told[o] for o in sorted(plugins.places(str(data)) & told.keys())]
    if gone := [f"the data at {one}" for one in lying if not Path(str(one)).exists()]:
        return foresight.of_request(asked, str(model), task, None, missing=gone)
    read = Scenario.read(
        model, data, forget, images, allow_leakage, seed, pretrained, Silent(), data_options, task,
        include_near=include_near, make_original=make_original,
    )  # fmt: skip
    _check(type(asked), read, against)
    counts = (len(read.splits.forget), len(read.splits.retain))
    return foresight.of_request(
        asked,
        str(model),
        task,
        counts,
        makes_original=read.makes_original,
        retrains=against == "retrain",
        recipe=read.recipe,
        notes=read.notes,
    )


def _check(method: type, scenario: Scenario, against: str | None) -> None:
    """What can be known to fail before a model is read. Raises ExpungeError."""
    if kind := shelf.backbone_of(scenario.model):
        plugins.check_fit(method, plugins.find("backbones", kind), scenario.task, scenario.model)
    if "retrain" in (against, plugins.method_name(method)):
        scenario.check_start()
        shelf.locate(scenario.pretrained or scenario.model)
    elif against:
        retrained_scores(against, scenario.about())


def _run(spec: Spec, method: Any, scenario: Scenario, folder: Path, *, keep: bool) -> RunResult:
    """One method on one scenario: measure, unlearn, measure, write."""
    run = scenario.run(folder)
    run.scale = Scale.of(spec.scale)
    before = scenario.original()
    assessment = scenario.assessment()
    assessment.add("before", before, run, look=True)
    old = {k: v.clone() for k, v in before.module.state_dict().items()}
    _add_oracle(assessment, scenario, spec.against, run)
    after, cost = unlearn(method, before, scenario.splits, run)
    assessment.add("after", after, run, look=True)
    record = make_record(spec, scenario, assessment, run, cost)
    result = RunResult(record, after, None)
    if ranks.is_first():
        result.panels = showing.panels(assessment, scenario.corpus, run)
    if keep:
        write(result, spec, old, folder)
    return result


def evaluate(run: str | Path, against: str | None = None, progress: Progress | None = None) -> RunResult:
    """Measure a finished run again, and against a retrained model if asked; the run's record is brought up to date.

    The page keeps what it had: pictures where the run has them, training terms, and the runs that it compares, now held
    against what this one is held against. Without a retrained model nothing is left of an earlier comparison with one.
    Raises ExpungeError where the data has changed since.
    """
    folder = open_run(run)
    spec, record = folder.spec(), folder.record()
    scenario = Scenario.of(spec, progress or Silent(), record.about)
    against = against or spec.against
    if against and against != "retrain":
        retrained_scores(against, scenario.about())  # before anything is measured
    work = scenario.run(None)
    assessment = scenario.assessment()
    assessment.add("before", scenario.original(), work)
    assessment.add("after", load_model(folder.model), work)
    _add_oracle(assessment, scenario, against, work)
    record.scores = {stage: dict(found) for stage, found in assessment.scores.items()}
    record.truth = dict(assessment.truth)
    oracle = record.scores.get("oracle")
    record.summary = summarise(record.scores["after"], oracle) if oracle else {}
    panels, comparisons = showing.read(folder.path)
    comparisons = showing.held_alike(comparisons, record)
    with ranks.together():
        if ranks.is_first():
            told = {"record.json": record.to_json(), "report.html": page.page(record, panels, comparisons)}
            amend(run, told | showing.texts(panels, comparisons))
    return RunResult(record, None, Path(run), panels, comparisons)


def _add_oracle(assessment: Assessment, scenario: Scenario, against: str | None, run: Run) -> None:
    """What to compare with: a model retrained now, or the scores that another run recorded of one."""
    if against == "retrain":
        assessment.add("oracle", scenario.oracle(run), run)
    elif against:
        assessment.adopt("oracle", *retrained_scores(against, scenario.about()))


def retrained_scores(run: str, about: Mapping[str, str]) -> tuple[Scores, Any]:
    """The retrained model's scores that another run recorded, and its truth ratios where it writes. Raises ExpungeError
    when it has none, or where that run is not ``about`` the same data and the same examples (``Scenario.about``)."""
    record = open_run(run).record()
    # A model that was trained without others is no measure: its scores are of other questions.
    if other := [name for name, was in record.about.items() if about.get(name, was) != was]:
        raise ExpungeError(
            f"{run} cannot be compared with: it differs in {' and '.join(other)}. Name a run of the same data and the "
            "same request, or say --against retrain."
        )
    stage = "oracle" if "oracle" in record.scores else "after"
    if stage == "oracle" or record.spec.get("method") == "retrain":
        return record.scores[stage], record.truth.get(stage, {})
    raise ExpungeError(
        f"{run} was not compared with a retrained model and is none. Name a run of --method retrain, or one made with "
        "--against retrain."
    )


def write_report(runs: Sequence[str | Path], output: str | Path) -> Path:
    """One page of one run and of those that it was compared with, or of the first with the others beside it; or of one
    suite's folder.

    Such a page may be meant for others, so it never shows the forgotten samples: the run's own ``report.html`` does,
    where the user asked for them.
    """
    suites = [run for run in runs if plan_of(run) is not None]
    if suites and len(runs) > 1:
        raise ExpungeError(f"{suites[0]} is the folder of a suite: its page stands alone. Name it without others.")
    if suites:
        return drawing.write_page(suites[0], output)
    folders = [open_run(run) for run in runs]
    if not folders:
        raise ExpungeError("name at least one run folder.")
    records = [folder.record() for folder in folders]
    panels, named = showing.read(folders[0].path)
    if len(records) > 1:
        named = [(str(r.spec.get("method", "?")), r) for r in records]
    shown = showing.kept(panels, with_samples=False)
    with explained(output, "page"):
        Path(output).write_text(page.page(records[0], shown, named), encoding="utf-8")
    return Path(output)


def run_suite(
    suite: str | Path,
    out: str | Path | None = None,
    workers: int = 1,
    retry: bool = False,
    watch: runner.Watch | None = None,
    on_ray: Resources | None = None,
    cells_from: Sequence[str | Path] = (),
    cells_to: str | Path | None = None,
    on_taken: Callable[[Taken], None] | None = None,
) -> tuple[runner.Outcome, drawing.Drawn]:
    """Measure the missing cells of a suite and draw its tables; ``out`` is ``runs/bench`` unless it is named,
    and holds the cells of all its suites; the suite's own files lie below it. Cells that ``cells_from`` hold (files, or
    folders of files, as ``cells_to`` writes them) are not measured again; ``on_taken`` hears what became of them before
    anything is measured. ``cells_to`` is written after the tables, if any cell is finished.

    ``suite`` is a TOML file or a name of ours. Workers are processes of their own, so a script that asks for them
    needs ``if __name__ == "__main__":``; with ``workers=0`` this process does the work, with ``on_ray`` a Ray cluster.
    Raises ExpungeError or DataError on a suite that cannot be run. Cells that fail are in the outcome and the tables.
    """
    ranks.refuse_many("a grid shares its cells among workers", "start it on its own, with --workers or --ray")
    where = Path(out) if out else None
    if cells_from:
        taken = glance.take(str(suite), where, cells_from)
        (on_taken or (lambda _: None))(taken)
    drive = partial(cluster.drive, resources=on_ray) if on_ray else None
    outcome = runner.run(suite, out, workers, retry, watch, drive)
    drawn = drawing.draw(outcome.folder)
    if cells_to and outcome.status.done:
        outcome = replace(outcome, passed_on=glance.pass_on(outcome.folder, cells_to))
    return outcome, drawn


def demo(
    out: str | Path | None = None,
    seed: int = 0,
    count: int = 5,
    fresh: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Forget ``count`` fictitious people with the paper's method, beside what else one could do."""
    ranks.refuse_many("the demo is small", "start it on its own")
    return demonstrate(Path(out or "runs/demo"), seed, count, fresh, overwrite or out is None, progress or Silent())
