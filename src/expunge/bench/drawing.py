"""The files that a suite's folder holds for people: tables as Markdown, LaTeX and CSV, figures, and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from expunge.bench.harvest import harvest
from expunge.core.atomic import replace_file
from expunge.core.folder import explained
from expunge.report import grid_page, plots, typeset
from expunge.report.grid import Results
from expunge.report.illustrations import illustrations


@dataclass(frozen=True)
class Drawn:
    """What was drawn, and where each file lies: ``md``, ``tex``, ``csv``, ``html``, and SVG of what was looked at."""

    results: Results
    files: Mapping[str, Path]
    figures: tuple[Path, ...] = ()


def draw(folder: str | Path) -> Drawn:
    """Draw everything from the cells that are there; a file is the old one or the new one. No model library."""
    results, folder = harvest(folder), Path(folder)
    looked = illustrations(results)
    texts = {
        folder / "tables" / f"{results.suite}.md": typeset.markdown(results),
        folder / "tables" / f"{results.suite}.tex": typeset.latex(results),
        folder / "tables" / f"{results.suite}.csv": typeset.table_csv(results),
        folder / "report.html": grid_page.page(results, looked),
    }
    drawings = [figure for one in looked for figure in one.figures]
    figures = {folder / "figures" / f"{figure.name}.svg": plots.alone(figure.svg) for figure in drawings}
    for path, text in (texts | figures).items():
        with explained(path, "tables"), replace_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return Drawn(results, {path.suffix.lstrip("."): path for path in texts}, tuple(figures))


def write_page(folder: str | Path, output: str | Path) -> Path:
    """The page alone, somewhere else."""
    with explained(output, "page"):
        Path(output).write_text(grid_page.page(harvest(folder)), encoding="utf-8")
    return Path(output)
