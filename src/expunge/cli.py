"""The command line: words in, one call of ``expunge.api``, a table out.

Nothing here imports a model library; ``expunge.api`` is imported inside the command that starts work. Exit codes:
0 fine, 1 a check found problems, 2 bad input, 70 a defect of ours, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from expunge import catalogue
from expunge.console import FAILED, FINE, complain, kind_errors, progress, stoppable
from expunge.core.errors import ExpungeError, in_lines
from expunge.core.options import pairs
from expunge.core.scale import Scale, read_lora
from expunge.known import known_data, known_run, known_task, known_words
from expunge.saying import say_account, say_drawn, say_foreseen, say_passed_on, say_result, say_taken

app = typer.Typer(
    name="expunge",
    help="Make image-text models forget on request, and show what else changed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)

Who = Annotated[
    list[str],
    typer.Option(
        "--forget", metavar="WHO", help="Ids or groups, with commas or repeated; or a JSONL file of requests."
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="A name from `expunge list data`, or your own JSONL file with pictures beside it.",
    ),
]
DataOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "-d", "--data-option", metavar="NAME=VALUE",
        help="An option of the data, such as folder=/data/flickr30k; `expunge show NAME` lists them.",
    ),
]  # fmt: skip
Root = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--images", metavar="FOLDER", help="The folder that pictures of your own data are named from."),
]
Leakage = Annotated[
    bool, typer.Option("--allow-leakage", help="Go on although the same picture or text is to be forgotten and kept.")
]
Near = Annotated[
    bool,
    typer.Option("--include-near", help="Also forget pictures that look like those asked for."),
]
Out = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--out", metavar="FOLDER", help="The run's folder; by default one below runs/."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a complete run that is already there.")]
TaskName = Annotated[
    str, typer.Option("--task", metavar="TASK", help="retrieval, multiple_choice, entailment or answering.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Drives every random choice.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say steps, memory and time, and what is missing; load and measure nothing.")
]
Against = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--against", metavar="retrain|RUN", help="Compare with a model trained without them, or with a run."),
]


@app.command()
def demo(
    out: Out = None,
    seed: Seed = 0,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="How many people to forget.")] = 5,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train the models again instead of taking kept ones.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Forget five people on the embedded model.

    A table and a page, minutes on a laptop. The people are fictitious.
    """
    api = _api()

    with progress() as shown:
        result = api.demo(out=out, seed=seed, count=count, fresh=fresh, overwrite=overwrite, progress=shown)
    say_result(result)


@app.command()
def forget(
    model: Annotated[
        str,
        typer.Option("--model", metavar="MODEL", help="A zoo name, a saved folder, an official checkpoint, a hub id."),
    ],
    data: Data,
    who: Who,
    method: Annotated[
        str,
        typer.Option("--method", metavar="METHOD", help="A name from `expunge list methods`, or your ./mine.py."),
    ] = "cse",
    option: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "-p", "--option", metavar="NAME=VALUE", help="An option of the method; `expunge show METHOD` lists them."
        ),
    ] = None,
    seed: Seed = 0,
    out: Out = None,
    against: Against = None,
    images: Root = None,
    with_samples: Annotated[
        bool, typer.Option("--with-samples", help="Keep the forgotten pictures and sentences in the run, for the page.")
    ] = False,
    pretrained: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--pretrained",
            metavar="MODEL",
            help="What your own model was trained from; --against retrain starts there.",
        ),
    ] = None,
    allow_leakage: Leakage = False,
    overwrite: Overwrite = False,
    task: TaskName = "retrieval",
    include_near: Near = False,
    dry_run: DryRun = False,
    save_every: Annotated[
        str, typer.Option("--save-every", metavar="MINUTES|STEPS", help="Save trainings: 5, 30s or 100steps.")
    ] = "5",
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on where the same command was stopped, or begin again.")
    ] = True,
    data_option: DataOption = None,
    make_original: Annotated[
        bool, typer.Option("--make-original", help="With your own data: train the original from --model first.")
    ] = False,
    recipe: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--recipe", metavar="NAME=VALUE", help="How --make-original trains: epochs (5), lr (1e-5), batch (32)."
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", metavar="fp32|bf16|auto", help="Of training; by default each method's own.")
    ] = "",
    accumulate: Annotated[
        int,
        typer.Option(
            "--accumulate", metavar="N", min=1, help="Portions that a step's batch is computed in, to save memory."
        ),
    ] = 1,
    recompute: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Compute activations twice instead of keeping them.")
    ] = False,
    lora: Annotated[
        str,
        typer.Option("--lora", metavar="r=8,alpha=16,roles=vision+text+fusion", help="Train thin adapters only."),
    ] = "",
) -> None:
    """Make a model forget, and measure what changed.

    Stopped (Ctrl-C, SIGTERM, even kill -9), the same command goes on where it was last saved. `accelerate launch -m
    expunge forget …` does one run in many processes.
    """
    known_task(task)
    known_words(method, data, option or [], data_option or [], is_dry=dry_run)
    scale = Scale(precision, accumulate, recompute, read_lora(lora) if lora else None)  # type: ignore[arg-type]
    original = pairs(recipe or [])
    if original and not make_original:
        raise ExpungeError("--recipe says how --make-original trains: give both.")
    api = _api()

    asked = {
        "model": model, "data": data, "forget": requested(who), "method": method, "options": option or [],
        "seed": seed, "against": against, "pretrained": pretrained, "images": images, "allow_leakage": allow_leakage,
        "task": task, "include_near": include_near, "data_options": pairs(data_option or []),
        "make_original": original or make_original,
    }  # fmt: skip
    if dry_run:
        say_foreseen("request", api.foresee(**asked))
        return
    with stoppable(), progress() as shown:
        result = api.forget(
            **asked,
            out=out or "auto",
            with_samples=with_samples,
            overwrite=overwrite,
            save_every=save_every,
            resume=resume,
            scale=scale,
            progress=shown,
        )
    say_result(result)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    against: Against = None,
) -> None:
    """Measure a run again.

    Before, after and retrained side by side.
    """
    known_run(run)
    api = _api()

    with progress() as shown:
        result = api.evaluate(run, against=against, progress=shown)
    say_result(result)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The page to write.")] = Path(
        "report.html"
    ),
) -> None:
    """Write one page from what runs recorded."""
    if len(runs) == 1 and (runs[0] / "plan.json").is_file():
        from expunge.bench.drawing import write_page

        typer.echo(f"page: {write_page(runs[0], output)}")
        return
    for run in runs:
        known_run(run)
    api = _api()

    typer.echo(f"page: {api.write_report(runs, output)}")


@app.command()
def bench(
    suite: Annotated[
        str,
        typer.Argument(
            metavar="SUITE",
            help="A TOML file, or a name from `expunge list suites`; `privacy:retrieval` is one task of it.",
        ),
    ],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="The folder of grids, runs/bench by default: what one suite measured another finds.",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", metavar="N", min=1, help="Processes; several calls may share a folder too."),
    ] = 1,
    retry: Annotated[bool, typer.Option("--retry", help="Try failed cells again.")] = False,
    only_table: Annotated[bool, typer.Option("--only-table", help="Measure nothing; draw what is there.")] = False,
    list_cells: Annotated[bool, typer.Option("--list", help="Measure nothing; list every cell and its state.")] = False,
    dry_run: DryRun = False,
    path: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--path", metavar="NAME=FOLDER", help="Where a suite's [paths] NAME lies on this machine."),
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Tasks on a Ray cluster (RAY_ADDRESS, else this machine) instead of workers.")
    ] = False,
    cpus: Annotated[float, typer.Option("--cpus", metavar="N", min=0, help="CPUs that a task on Ray needs.")] = 1.0,
    gpus: Annotated[float, typer.Option("--gpus", metavar="N", min=0, help="GPUs that a task on Ray needs.")] = 0.0,
    cells_from: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            "--cells-from",
            metavar="PATH",
            help="Cells that somebody measured are not measured again: a file, or a folder of *cells.jsonl.",
        ),
    ] = None,
    cells_to: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--cells-to", metavar="FILE", help="Write the finished cells as one file, to be passed on."),
    ] = None,
) -> None:
    """Fill the missing cells of a grid.

    Methods, models, tasks, scenarios, sizes, seeds: resumes where it was, then draws the tables and a page. Stopped
    (Ctrl-C, SIGTERM), it saves what it trains.
    """
    from expunge.bench.places import override

    override(path or [])
    if dry_run:
        from expunge.bench.foreseeing import foresee

        say_foreseen("grid", foresee(suite, out))
    elif only_table or list_cells:
        _look(suite, out, only_table, list_cells, cells_from or [], cells_to)
    else:
        _fill(suite, out, workers, retry, (cpus, gpus) if ray else None, cells_from or [], cells_to)


@app.command()
def check(
    request: Annotated[
        list[str],
        typer.Argument(metavar="WHO", help="Who is to be forgotten: ids, groups, or a JSONL file of requests."),
    ],
    data: Data,
    images: Root = None,
    allow_leakage: Leakage = False,
    task: TaskName = "retrieval",
    include_near: Near = False,
    data_option: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything found as JSON, for machines.")] = False,
) -> None:
    """Find what would make a run fail or lie.

    Everything at once, before anything starts: every request with what it matched, then problems and notes.
    """
    known_task(task)
    known_data(data, data_option or [])
    api = _api()

    with progress() as shown:
        found = api.examine(
            requested(request), data, images=images, allow_leakage=allow_leakage, include_near=include_near, task=task,
            data_options=pairs(data_option or []), progress=shown,
        )  # fmt: skip
    problems, warnings = found.findings
    say_account(found, as_json)
    for line in in_lines(problems, "--json has all"):
        complain(line)
    for line in in_lines(warnings, "--json has all"):
        complain(f"note: {line}")
    if problems:
        complain(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found.")
        raise typer.Exit(FAILED)
    if not as_json:
        typer.echo("nothing found that would stop a run")


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="methods|models|data|tasks|suites", help="What to list.")] = "methods",
    matrix: Annotated[bool, typer.Option("--matrix", help="Methods against backbones: which runs on which.")] = False,
) -> None:
    """List what there is, one line each."""
    typer.echo(catalogue.matrix() if matrix else catalogue.listing(what))


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name from `expunge list`, or the path of a method's file.")
    ],
) -> None:
    """Show what one of them is.

    Its documentation, its options with their defaults, and the licence of data.
    """
    typer.echo(catalogue.page(name))


def version_wanted(wanted: bool) -> None:
    if wanted:
        from expunge import __version__

        typer.echo(f"expunge {__version__}")
        raise typer.Exit(FINE)


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=version_wanted, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Make image-text models forget on request, and show what else changed."""


# ---------------------------------------------------------------------------------------------- inside


def _look(
    suite: str, out: Path | None, table: bool, cells: bool, cells_from: list[Path], cells_to: Path | None
) -> None:
    """What of a grid is there."""
    from expunge.bench import glance
    from expunge.bench.drawing import draw

    if cells_from:
        say_taken(glance.take(suite, out, cells_from))
    folder = glance.folder_of(suite, out, lambda why: complain(f"note: {why}"))
    if cells:
        typer.echo(glance.listing(folder))
    if table:
        say_drawn(draw(folder))
    if cells_to:
        say_passed_on(glance.pass_on(folder, cells_to), cells_to)


def _fill(
    suite: str, out: Path | None, workers: int, retry: bool, needs: tuple[float, float] | None, cells_from: list[Path],
    cells_to: Path | None,
) -> None:  # fmt: skip
    """Measure what is missing and say how it went; ``needs`` are the CPUs and GPUs of a task on Ray."""
    from expunge.bench.cells import folder_of
    from expunge.bench.locking import doubt
    from expunge.bench.suite import called

    folder = folder_of(called(suite), out)  # a misspelt name costs no ten seconds
    api = _api()
    from expunge.bench.board import board

    if why := doubt(folder.absolute()):
        complain(f"note: {why}")
    with stoppable(), board() as watch:
        outcome, drawn = api.run_suite(
            suite, out, workers, retry, watch, api.Resources(*needs) if needs else None, cells_from, cells_to, say_taken
        )
    say_drawn(drawn)
    if cells_to and outcome.passed_on:
        say_passed_on(outcome.passed_on, cells_to)
    elif cells_to:
        complain(f"no cell is finished yet, so {cells_to} was not written.")
    for one in outcome.died:
        complain(f"{one}. Its cell is missing again; the same command goes on.")
    for told in outcome.failures:
        complain(f"failed: {told['label']}: {told['reason']}")
    if outcome.status.missing:
        complain(f"{outcome.status.missing} cells are not measured yet. The same command goes on.")
    if not outcome.is_whole:
        if outcome.failures:
            complain(f"{len(outcome.failures)} cells failed; --retry tries them again.")
        raise typer.Exit(FAILED)


def requested(given: list[str]) -> Any:
    """One word is passed on as it is, since it may be a file; several are names, each possibly a list with commas.

    They are cut where the data is known: a name may hold a comma.
    """
    if len(given) == 1:
        return given[0]
    if files := [word for word in given if word.endswith(".jsonl")]:
        raise ExpungeError(f"give either one file of requests or names, not both: {', '.join(files)}.")
    from expunge.requests.asked import Words

    return Words(given)


def _api() -> Any:
    """``expunge.api``, with the bars that model libraries draw for themselves switched off: ours is enough."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from expunge import api

    return api


def main() -> None:
    """The entry point: every error becomes a sentence and an exit code."""
    with kind_errors():
        app()
