"""Sheets of a grid as Markdown, LaTeX (booktabs, as the paper sets its tables) and CSV. Equal input, equal bytes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace

from expunge.core.record import AVERAGES
from expunge.report import layouts
from expunge.report.grid import GridCell, Line, Panel, Results, Sheet
from expunge.report.measures import duration
from expunge.report.printed import source
from expunge.report.sheets import HIGHER, NAMES, sheets

# ------------------------------------------------------------------------------------------ Markdown


def markdown(results: Results) -> str:
    """Every sheet, what failed, and where the numbers come from; for a repository."""
    parts = [f"# {results.title or results.suite}", standing(results)]
    if results.about:
        parts.append(results.about)
    for sheet in sheets(results):
        parts += [f"## {sheet.title}"] if sheet.name != "main" else []
        parts += [sheet.note]
        for panel in sheet.panels:
            parts.append(f"**{_title(panel)}**")
            parts.append(_markdown_table(panel))
    if results.failures:
        parts.append("## Failed")
        parts.append("\n".join(f"* **{f.label}**: {_one_line(f.reason)}" for f in results.failures))
    if results.left_out:
        parts.append("Left out: " + "; ".join(results.left_out) + ".")
    parts += ["## Where it comes from", _provenance(results)]
    return "\n\n".join(parts) + "\n"


def standing(results: Results) -> str:
    """How much of the grid is there, in a sentence."""
    text = f"{results.done} of {results.total} cells measured"
    if results.failures:
        text += f", {len(results.failures)} failed"
    if results.missing:
        text += f", {len(results.missing)} not yet"
    return f"{text}; {duration(results.seconds)} of work. Drawn {results.drawn}."


def _markdown_table(panel: Panel) -> str:
    side = "---|" if panel.prose else "---:|"
    heads = " | ".join(map(_escape, (panel.stub, *panel.heads)))
    lines = [f"| {heads} |", "|---|" + side * len(panel.heads)]
    for line in panel.lines:
        label = _escape(line.label) + (f" <sub>{line.mark}</sub>" if line.mark else "")
        cells = [f"*{label}*" if line.reference else label, *map(_markdown_cell, line.cells)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _markdown_cell(cell: GridCell) -> str:
    told = re.sub(r"([\\|*_`])", r"\\\1", cell.text).replace("<", "&lt;")  # of prose, too
    text = {1: f"**{told}**", 2: f"<u>{told}</u>"}.get(cell.rank, told)
    return text + (f" ±{cell.half}" if cell.half else "") + (f" ({cell.gap})" if cell.gap else "")


def _escape(text: str) -> str:
    return re.sub(r"([\\|*<_])", r"\\\1", text).replace("\n", " ")


def _title(panel: Panel) -> str:
    return " · ".join(_escape(part) for part in (panel.group, panel.section) if part)


def _one_line(text: str) -> str:
    return _escape(" ".join(text.split()))


def _provenance(results: Results) -> str:
    lines = []
    for n, told in results.environments:
        hardware = told.get("hardware", {})
        dirty = " with changes" if told.get("dirty") else ""
        arithmetic = f"{hardware['precision']}, " if "precision" in hardware else ""
        versions = ", ".join(f"{k} {v}" for k, v in sorted(told.get("versions", {}).items()) if k in _NAMED)
        lines.append(
            f"* {n} cells: commit `{(told.get('commit') or 'unknown')[:12]}`{dirty}, {hardware.get('processor', '?')}, "
            f"{hardware.get('cores', '?')} cores, {arithmetic}{told.get('platform', '?')}, "
            f"Python {told.get('python', '?')}, {versions}"
        )
    if results.paper:
        lines.append(f"* Paper: {source(results.paper)}")
    command = f"expunge bench {results.typed}"
    return "\n".join([f"`{command}`", "", *lines, "", "```toml", results.text.strip(), "```"])


_NAMED = ("expunge", "torch", "transformers", "diffusers", "numpy")

# ------------------------------------------------------------------------------------------ LaTeX

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "±": r"$\pm$", "Δ": r"$\Delta$", "–": "--",
    "†": r"$\dagger$", "’": "'", "<": "$<$", ">": "$>$", "·": r"$\cdot$", "α": r"$\alpha$",
    "θ": r"$\theta$",
}  # fmt: skip


LINES = 48
"""Lines of a table, its heads and rules counted, that a landscape page holds beside the caption."""
COLUMNS = 12
"""What stands side by side; more would be scaled down until nobody can read it. Divided by two and by three, as columns
of some sheets come in pairs or in threes."""


def latex(results: Results) -> str:
    r"""Every sheet as a ``table*``, or as several where it is long. Needs ``\usepackage{booktabs,graphicx}``; wide ones
    are scaled to the page."""
    head = "% Drawn by `expunge bench`; needs \\usepackage{booktabs,graphicx} and a Unicode-aware inputenc."
    tables = [
        _latex_table(results, sheet, bundles, number)
        for sheet in sheets(results)
        for number, bundles in enumerate(_paged(_bundles(sheet.panels)))
    ]
    return "\n\n".join([head, *tables]) + "\n"


def _paged(bundles: Sequence[list[Panel]]) -> list[list[list[Panel]]]:
    """Bundles by the table that they stand in: as many as a page holds, and at least one."""
    pages: list[list[list[Panel]]] = []
    room = 0
    for bundle in bundles:
        needed = len(bundle[0].lines) + 5  # two lines of heads, one for the section, and rules as high as two
        if needed > room or not pages:
            pages.append([])
            room = LINES
        pages[-1].append(bundle)
        room -= needed
    return pages


def _latex_table(results: Results, sheet: Sheet, bundles: Sequence[list[Panel]], number: int) -> str:
    """``number`` counts the tables of one sheet; the note stands over the first."""
    rows: list[str] = []
    before: list[tuple[str, ...]] = []
    for bundle in bundles:
        heads = [(panel.group, *panel.heads) for panel in bundle]
        rows += (["\\midrule"] if rows and heads != before else []) + _latex_bundle(bundle, again=heads == before)
        before = heads
    most = max(1 + sum(len(p.heads) for p in bundle) for bundle in bundles)
    # Sentences are broken within columns that share the page; numbers are set as wide as they are.
    prose = any(panel.prose for bundle in bundles for panel in bundle)
    column = f"p{{{0.86 / most:.3f}\\textwidth}}" if prose else "r"
    body = "\n".join(
        ["\\begin{tabular}{l" + column * (most - 1) + "}", "\\toprule", *rows, "\\bottomrule", "\\end{tabular}"]
    )
    fitted = f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n{body}}}"
    caption = f"{sheet.title}. {sheet.note}" if not number else f"{sheet.title}, continued."
    name = re.sub("[^a-z0-9]+", "-", results.suite.lower()) + f"-{sheet.name}" + (f"-{number + 1}" if number else "")
    return "\n".join(
        [
            "\\begin{table*}[tp]",
            "\\centering\\footnotesize\\setlength{\\tabcolsep}{4pt}\\setlength{\\belowcaptionskip}{4pt}",
            f"\\caption{{{_tex(caption)}}}", f"\\label{{tab:{name}}}", fitted, "\\end{table*}",
        ]
    )  # fmt: skip


def _bundles(panels: Sequence[Panel]) -> list[list[Panel]]:
    """Panels that stand side by side: one section, the same methods. Sections with the same heads share them."""
    bundles: list[list[Panel]] = []
    for section in dict.fromkeys(panel.section for panel in panels):
        here = [part for p in panels if p.section == section for part in _parts(p)]
        together = len({tuple(line.label for line in p.lines) for p in here}) == 1
        narrow = sum(len(p.heads) for p in here) <= COLUMNS
        bundles += [here] if together and narrow else [[p] for p in here]
    return bundles


def _parts(panel: Panel) -> list[Panel]:
    """A panel by as many columns as a page is wide."""
    starts = range(0, max(1, len(panel.heads)), COLUMNS)
    return [
        replace(
            panel,
            heads=panel.heads[at : at + COLUMNS],
            lines=tuple(replace(line, cells=line.cells[at : at + COLUMNS]) for line in panel.lines),
        )
        for at in starts
    ]


def _latex_bundle(bundle: list[Panel], again: bool) -> list[str]:
    """Heads, the section's name, one line for each method; ``again`` leaves the heads out, as the paper does."""
    columns = 1 + sum(len(p.heads) for p in bundle)
    rows: list[str] = ["\\midrule"] if again else _latex_heads(bundle)
    if bundle[0].section:
        rows.append(f"\\multicolumn{{{columns}}}{{c}}{{\\textit{{{_tex(bundle[0].section)}}}}} \\\\")
        rows.append("\\midrule")
    for lines in zip(*(p.lines for p in bundle)):
        cells = [_tex_cell(cell) for line in lines for cell in line.cells]
        rows.append(" & ".join([_tex_label(lines), *cells]) + " \\\\")
    return rows


def _latex_heads(bundle: list[Panel]) -> list[str]:
    spans, rules, at = [], [], 2
    for panel in bundle:
        spans.append(f"\\multicolumn{{{len(panel.heads)}}}{{c}}{{{_tex(panel.group)}}}")
        rules.append(f"\\cmidrule(lr){{{at}-{at + len(panel.heads) - 1}}}")
        at += len(panel.heads)
    heads = " & ".join([_tex(bundle[0].stub), *(_tex_head(h) for p in bundle for h in p.heads)]) + " \\\\"
    return ["& " + " & ".join(spans) + " \\\\", "".join(rules), heads, "\\midrule"]


def _tex_label(lines: Sequence[Line]) -> str:
    label = _tex(lines[0].label)
    label = f"\\textit{{{label}}}" if lines[0].reference else label
    return label + ("$^\\dagger$" if any(line.mark for line in lines) else "")


def _tex_cell(cell: GridCell) -> str:
    text = _tex(cell.text)
    gap = f" ({_tex(cell.gap)})" if cell.gap else ""
    half = f"{{\\tiny$\\,\\pm${_tex(cell.half)}}}" if cell.half else ""
    if cell.rank == 1:
        return f"\\textbf{{{text}{gap}}}{half}"
    if cell.rank == 2:
        return f"\\underline{{{text}{gap}}}{half}"
    return f"{text}{gap}{half}"


def _tex_head(head: str) -> str:
    """``R@D_f (Δ)`` as the paper prints it."""
    name, gap = head.removesuffix(" (Δ)"), head.endswith(" (Δ)")
    if name in (NAMES[key] for key in HIGHER):
        return rf"$\mathcal{{M}}_{{{name.removeprefix('M_')}}}$$\,\uparrow$"
    if name in (NAMES[key] for key in AVERAGES) or name in layouts.AWAY.values():
        return rf"{_tex(name)}$\,\downarrow$"
    text = re.sub(r"D\\_(f|r|test)", r"$\\mathcal{D}_{\1}$", _tex(name))
    text = re.sub(r"([UK])'\\_(\d)", r"$\1'_\2$", text)
    return text + (r" ($\Delta\downarrow$)" if gap else "")


def _tex(text: str) -> str:
    return "".join(_TEX.get(mark, mark) for mark in text)


# ------------------------------------------------------------------------------------------ CSV


def table_csv(results: Results) -> str:
    """One line for each number: where it belongs, mean, interval, n, distance to the retrained model, the paper's.

    The settings that a search chose stand last, as the scenario ``chosen``.
    """
    held = io.StringIO()
    writer = csv.writer(held, lineterminator="\n")
    writer.writerow(
        ["scenario", "task", "model", "size", "unit", "method", "column", "mean", "low", "high", "n", "wanted", "gap",
         "gap_low", "gap_high", "printed", "printed_gap"]
    )  # fmt: skip
    for block in results.blocks:
        for row in block.rows:
            where = [block.scenario, block.task, block.model, block.size, block.unit, row.label]
            if not row.entries:
                writer.writerow([*where, "failed" if row.failed else "missing", *[""] * 3, 0, row.wanted, *[""] * 5])
            for key, entry in row.entries.items():
                told = row.printed.get("hours" if key == "seconds" else key, {})
                printed = told.get("value", "")
                printed = printed * 3600 if key == "seconds" and printed != "" else printed
                writer.writerow(
                    [*where, key, *_numbers(entry.score), entry.score.n, row.wanted, *_numbers(entry.gap), printed,
                     told.get("delta", "")]
                )  # fmt: skip
    for one in results.chosen:
        where = ["chosen", *[""] * 4, one.label or one.method]
        writer.writerow(
            [*where, one.rule if one.score is not None else "missing", *_plain(one.score), one.cells, *[""] * 6]
        )
        for key, (value, gap) in one.prices.items():
            writer.writerow([*where, key, *_plain(value), one.cells, "", *_plain(gap), *[""] * 2])
    return held.getvalue()


def _plain(value: float | None) -> list[str]:
    """A mean without an interval."""
    return ["" if value is None else f"{value:.6g}", "", ""]


def _numbers(score) -> list[str]:
    if score is None:
        return ["", "", ""]
    return [f"{x:.6g}" if x == x else "" for x in (score.value, score.low, score.high)]
