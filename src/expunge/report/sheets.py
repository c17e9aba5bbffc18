"""A suite's results as sheets: the table in the paper's layout, everything measured, paired tests, beside the paper.

The best and second best of a column compete by their distance to the retrained model where there is one; doing nothing,
retraining, and numbers that lack seeds do not compete.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from expunge.core.record import AVERAGES, MARKS, Score
from expunge.report import findings, layouts, printed
from expunge.report.grid import (
    PRICES,
    Entry,
    GridBlock,
    GridCell,
    GridRow,
    Line,
    Paired,
    Panel,
    Results,
    Sheet,
    column_group,
    size_of,
)
from expunge.report.measures import BY_KEY, competes, finite, number, signed

HIGHER = tuple(MARKS.values())
COSTS = ("seconds", "memory", "gpu_memory")
DISTANCES = (*AVERAGES, *layouts.AWAY)
"""Averages of distances to the retrained model: themselves no values, and best where they are small."""
NAMES = {
    "mi": "MI", "avg_g": "Avg.G", "avg_split": "Avg.G split", "m_eff": "M_eff", "m_rel": "M_rel", "m_loc": "M_loc",
    "seconds": "T (s)", "memory": "memory (MB)", "gpu_memory": "GPU memory (MB)",
    "inception_score": "IS", "self_bleu": "Self-BLEU-4", "private_leak": "leak", "attribute_agreement": "agreement",
}  # fmt: skip
PRINTED_NAMES = NAMES | {"seconds": "T (h)"}
SMALLEST = {
    "avg_g": "Avg.G",
    "away": "distance to the retrained model over all columns of the table",
    "points_off": "of points off (what is left of the forgotten’s private sentences, or of all where there are none "
    "told apart, plus what was lost since before on their shared sentences, on the retained and on the test data)",
}
"""By which rule a setting is best, in words."""
LEAST_RANKED = 6
"""Seeds below which the signed-rank test cannot reach 0.05."""
MOST_NAMED = 3
"""Columns that lack seeds and are named one by one under a row's name."""


def sheets(results: Results) -> list[Sheet]:
    """Every sheet that has something to show, the main one first."""
    found = [main(results), distances(results), best_settings(results), everything(results)]
    if results.paper:
        found.append(beside(results))
    found.append(paired_tests(results))
    found += findings.sheets(results)
    return [sheet for sheet in found if sheet.panels]


def main(results: Results) -> Sheet:
    """The table as the paper lays it out."""
    if results.layout:
        parts = layouts.LAYOUTS[results.layout]
        panels = [_panel(results, block, part.keys, part.title) for block in results.blocks for part in parts]
    else:
        panels = [_panel(results, block, results.columns) for block in results.blocks]
    note = (
        "Mean over seeds, ± half the width of the 95 % t interval; in parentheses Δ, the distance to the retrained "
        "model of the same seed, averaged. Best in bold, second best underlined, by Δ where there is one; doing "
        "nothing and retraining do not compete, nor does a number that lacks seeds (†)."
    )
    return Sheet("main", results.title or results.suite, note, tuple(panels))


def distances(results: Results) -> Sheet:
    """Of a suite with a layout: how far each row is from the retrained model, set by set."""
    panels = []
    for block in results.blocks:
        here = {key for row in block.rows for key in row.entries}
        if shown := [key for key in layouts.AWAY if key in here]:
            panels.append(_panel(results, block, shown))
    note = (
        "Mean distance to the retrained model of the same seed, in points, over the columns of the table that "
        "belong to a set and are asked with a picture (VQA) or in words alone (QA), and over all. Small is good."
    )
    return Sheet("distances", "How far from the retrained model", note, tuple(panels))


def best_settings(results: Results) -> Sheet:
    """What each searched method is best with, and at what price."""
    if not results.chosen:
        return Sheet("chosen", "Chosen", "", ())
    rule = results.chosen[0].rule
    compared = rule != "points_off"
    score = {"avg_g": "Avg.G", "away": "distance"}.get(rule, "points off")
    apart = "Δ" if compared else "since before"
    shown = [key for key in PRICES if any(key in one.prices for one in results.chosen)]
    heads = (score, "settings", "cells", *(f"{PRICES[key]} ({apart})" for key in shown))
    lines = []
    for one in results.chosen:
        cells = [GridCell(number(one.score, 2)) if one.score is not None else GridCell()]
        cells += [GridCell(f"{one.measured} of {one.settings}"), GridCell(str(one.cells))]
        for key in shown:
            value, gap = one.prices.get(key, (None, None))
            cells.append(GridCell(number(value, 1), "", number(gap, 1) if compared else signed(gap, 1))
                         if value is not None and gap is not None else GridCell())  # fmt: skip
        lines.append(Line(one.label or f"{one.method}: nothing measured in common yet", tuple(cells)))
    note = "For every searched method, the setting with the smallest mean "
    note += SMALLEST[rule]
    note += (
        " over the cells, all sizes and seeds, that all measured settings of the method share; a setting with a failed "
        "cell is not chosen. Beside it, over the same cells, at what price: recall or accuracy on what can be seen and "
        "what was told of the forgotten, on the retained and on the test data, "
    )
    note += "and Δ, the mean distance to the retrained model." if compared else "and the change since before."
    return Sheet("chosen", "Chosen", note, (Panel("", f"smallest {score}", heads, tuple(lines)),))


def everything(results: Results) -> Sheet:
    """Every measure that some row has, summary and cost."""
    panels = []
    for block in results.blocks:
        here = {key for row in block.rows for key in row.entries}
        panels += [_panel(results, block, part.keys, part.title) for part in layouts.everything(here)]
        keys = [k for k in (*BY_KEY, *AVERAGES, *HIGHER, *COSTS) if k in here]
        if keys:
            panels.append(_panel(results, block, keys))
    return Sheet("everything", "Everything measured", "Whatever some row has, marked as above.", tuple(panels))


def beside(results: Results) -> Sheet:
    """Ours and what the paper prints, column by column; rows that the paper does not have are left out."""
    panels = []
    shown = layouts.keys(results.layout) if results.layout else results.columns
    for block in results.blocks:
        lines = []
        keys = [k for k in shown if any(_printed_name(k) in row.printed for row in block.rows)]
        if results.layout:  # printed without saying of which questions: shown, with nothing of ours beside it
            keys += dict.fromkeys(k for row in block.rows for k in row.printed if k not in shown)
        for row in block.rows:
            if row.printed:
                cells = [cell for key in keys for cell in (_cell(row, key), _printed(row, key))]
                lines.append(Line(row.label, tuple(cells), not competes(row.method), _mark(block, row, keys)))
        if lines:
            names = [(_head(block, k), _printed_head(block, k)) for k in keys]
            heads = [h for ours, paper in names for h in (f"{ours} ours", f"{paper} paper")]
            section, group = _where(results, block)
            panels.append(Panel(section, _beside_group(block, group), tuple(heads), tuple(lines)))
    note = (
        f"Ours is measured on small models and drawn worlds, the paper's on {printed.measured_on(results.paper)}: "
        "compare the order of the methods and the sign of their distances, not the numbers. Δ in parentheses."
    )
    return Sheet("beside", f"Beside {printed.title(results.paper)}", note, tuple(panels))


def paired_tests(results: Results) -> Sheet:
    """Paired tests against the baseline, block by block."""
    panels, shown, fewer = [], [], False
    for block in results.blocks:
        columns = list(dict.fromkeys(t.column for t in block.tests))
        names = [("" if c in DISTANCES else "Δ ") + _plain_head(block, c) for c in columns]
        heads = [h for name in names for h in (name, "p (t)", "p (W)")]
        lines = []
        for row in block.rows:
            mine = {t.column: t for t in block.tests if t.label == row.label}
            if mine:
                n = max(t.n for t in mine.values())
                shown += mine.values()
                fewer = fewer or any(t.n < n for t in mine.values())
                cells = [cell for c in columns for cell in _tested(mine.get(c), n)]
                lines.append(Line(f"{row.label} (n = {n})", tuple(cells)))
        if lines:
            section, group = _where(results, block)
            panels.append(Panel(section, group, tuple(heads), tuple(lines)))
    note = (
        f"Distance to the retrained model minus that of {results.baseline}, seed by seed: above zero means farther "
        "away. p (t) is of the paired t-test, p (W) of the signed-rank test, both two-sided and not corrected for "
        "their number."
    )
    if fewer:
        note += " A difference that fewer seeds have than the row says so."
    if any(t.n > 1 and not finite(t.t) for t in shown):
        note += " Where all differences are the same, p (t) is a dash: they have no spread to be held against."
    most = max((t.n for t in shown), default=0)
    if most < 2:
        note += " One seed is too few for any test."
    elif most < LEAST_RANKED:
        note += (
            f" With {most} seeds the signed-rank test cannot go below {2 / 2**most:.3g}: too few to reach 0.05, "
            "whatever the numbers."
        )
    return Sheet("tests", f"Against {results.baseline}, in pairs", note, tuple(panels))


# ------------------------------------------------------------------------------------------ panels


def _panel(results: Results, block: GridBlock, keys: tuple[str, ...] | list[str], part: str = "") -> Panel:
    """``part`` of a layout stands over the columns, which then need not say it again."""
    section, group = _where(results, block)
    if part:
        section, group = ", ".join(filter(None, (group, section))), part
    ranks = {key: _ranks(block, key) for key in keys}
    lines = [
        Line(
            row.label,
            tuple(replace(_cell(row, key), rank=ranks[key].get(row.label, 0)) for key in keys),
            row.is_reference,
            _mark(block, row, keys),
        )
        for row in block.rows
    ]
    return Panel(section, group, tuple(_head(block, key, not part) for key in keys), tuple(lines))


def _where(results: Results, block: GridBlock) -> tuple[str, str]:
    """(section, column group) of a block. Sizes are sections where all scenarios have the same, as in Table 1."""
    sizes: dict[tuple[str, str, str], list[int]] = {}
    for one in results.blocks:
        sizes.setdefault((one.scenario, one.task, one.model), []).append(one.size)
    same = len({tuple(found) for found in sizes.values()}) == 1
    group, size = column_group(results.blocks, block), size_of(block)
    size += f", {len(block.seeds)} seed{'s' if len(block.seeds) != 1 else ''}"
    return (size, group) if same else ("", f"{group}, {size}")


def _beside_group(block: GridBlock, group: str) -> str:
    return group if block.printed_size in ("", str(block.size)) else f"{group}; the paper’s {block.printed_size}"


def _ranks(block: GridBlock, key: str) -> dict[str, int]:
    """Label -> 1 or 2 among the rows that compete; nobody is best of one, nor where all are equal."""
    if key in (*COSTS, "mi_accuracy"):  # the attacker's own skill is no merit of a method
        return {}
    merit: Callable[[Entry], float | None] = _merit(key)
    # Means over seeds that are the same number differ in their last bits by the order of their sums.
    found = {r.label: round(m, 9) for r in block.rows if r.competes(key) and (m := merit(r.entries[key])) is not None}
    levels = sorted(set(found.values()), reverse=True)
    if len(levels) < 2:
        return {}
    best = [label for label, m in found.items() if m == levels[0]]
    second = [label for label, m in found.items() if m == levels[1]] if len(best) == 1 else []
    return dict.fromkeys(best, 1) | dict.fromkeys(second, 2)


def _merit(key: str) -> Callable[[Entry], float | None]:
    """Larger is better."""
    if key in DISTANCES:
        return lambda entry: -entry.score.value
    if key in HIGHER:
        return lambda entry: entry.score.value
    return lambda entry: -entry.gap.value if entry.gap else None


def _cell(row: GridRow, key: str) -> GridCell:
    entry = row.entries.get(key)
    if entry is None:
        failed = row.failed and not row.measured
        return GridCell("failed" if failed else "–")
    finer = key in (*DISTANCES, *HIGHER) or layouts.is_share(key)
    digits = 2 if finer else 0 if "memory" in key else 1
    gap = number(entry.gap.value, digits) if entry.gap and not row.is_reference else ""
    return GridCell(number(entry.score.value, digits) + "†" * row.lacks(key), _half(entry.score, digits), gap)


def _half(score: Score, digits: int) -> str:
    if not (finite(score.low) and finite(score.high)):
        return ""
    return number((score.high - score.low) / 2, digits)


def _printed_name(key: str) -> str:
    return "hours" if key == "seconds" else key


def _printed(row: GridRow, key: str) -> GridCell:
    told = row.printed.get(_printed_name(key))
    if told is None:
        return GridCell()
    gap = number(told["delta"], 2) if told.get("delta") is not None and not row.is_reference else ""
    return GridCell(number(told["value"], 2), "", gap)


def _tested(test: Paired | None, n: int) -> list[GridCell]:
    """Difference and both p; the number of seeds where it is not the row's ``n``."""
    if test is None:
        return [GridCell()] * 3
    fewer = f"n = {test.n}" if test.n < n else ""
    difference = GridCell(signed(test.difference.value, 2), _half(test.difference, 2), fewer)
    return [difference, _p(test.t), _p(test.wilcoxon)]


def _p(value: float) -> GridCell:
    if not finite(value):
        return GridCell()
    return GridCell("<0.001" if value < 0.001 else number(value, 3))


def _mark(block: GridBlock, row: GridRow, keys: Sequence[str]) -> str:
    """Of how many seeds the row is, and which of these columns lack more."""
    told = []
    if row.measured < row.wanted:
        told.append(f"{row.measured} of {row.wanted} seeds" + (f", {row.failed} failed" if row.failed else ""))
    lacking: dict[int, list[str]] = {}
    for key in keys:
        if row.lacks(key):
            lacking.setdefault(row.entries[key].n, []).append(_plain_head(block, key))
    for n, heads in sorted(lacking.items()):
        named = ", ".join(heads) if len(heads) <= MOST_NAMED else f"{len(heads)} columns"
        told.append(f"{named}: {n} of {row.wanted} seeds")
    return "† " + "; ".join(told) if told else ""


def _plain_head(block: GridBlock, key: str, with_set: bool = True) -> str:
    if laid_out := layouts.head(key, with_set):
        return laid_out
    letter = "R" if block.task == "retrieval" else "A"
    if key.removeprefix("r_") in ("forget", "test"):
        return f"{letter}@D_{'f' if key.endswith('forget') else 'test'}"
    if key == "r_retain":
        return f"{letter} kept"
    if key in NAMES:
        return NAMES[key]
    return {"r_forget_private": "D_f told", "r_forget_shared": "D_f seen", "r_retain_private": "kept told",
            "r_retain_shared": "kept seen"}.get(key, BY_KEY[key].short if key in BY_KEY else key)  # fmt: skip


def _head(block: GridBlock, key: str, with_set: bool = True) -> str:
    with_gap = any(row.entries[key].gap for row in block.rows if key in row.entries)
    return _plain_head(block, key, with_set) + (" (Δ)" if with_gap else "")


def _printed_head(block: GridBlock, key: str) -> str:
    return PRINTED_NAMES.get(key) or _plain_head(block, key)
