"""A suite's page: tables, point plots, failed cells and provenance in one HTML file, drawn from records only.

Same style sheet as a run's page, no network, no script needed. Equal input, equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from expunge.core.environment import MIB
from expunge.core.record import Score
from expunge.report import layouts, plots
from expunge.report.findings import place
from expunge.report.grid import GridBlock, Results
from expunge.report.illustrations import Illustration, illustrations, slug
from expunge.report.measures import BY_KEY, SUMMARY, duration, memory
from expunge.report.printed import source
from expunge.report.sheets import DISTANCES, sheets
from expunge.report.template import render
from expunge.report.typeset import standing

LEADING = ("chosen", "distances", "main")
"""Sheets that are read first, in this order; the others are folded away below the drawings."""
SCORES = ("m_eff", "m_rel", "m_loc")
"""100 minus a distance: the retrained model stands at 100."""
DRAWN = ("avg_g", "avg_split", "forget", "test", "mi", *SCORES)
MOST_OPEN = 3
_TITLES = {
    "forget": "The forgotten: found or answered right", "test": "Everyday pictures", "mi": BY_KEY["mi"].name,
    **{m.key: m.name for m in SUMMARY},
    **{key: f"Distance, {head}" for key, head in layouts.AWAY.items()},
}  # fmt: skip


def page(results: Results, looked: Sequence[Illustration] | None = None) -> str:
    """The whole page. ``looked`` are the illustrations where they have been drawn already."""
    drawn = {sheet.name: sheet for sheet in sheets(results)}
    return render(
        "grid.html",
        results=results,
        standing=standing(results),
        leading=[drawn[name] for name in LEADING if name in drawn],
        others=[sheet for name, sheet in drawn.items() if name not in LEADING],
        drawings=[one for block in results.blocks if (one := _drawings(results, block))["figures"]],
        looked=illustrations(results) if looked is None else looked,
        most_open=MOST_OPEN,
        machines=[_machine(n, told) for n, told in results.environments],
        paper=source(results.paper) if results.paper else "",
        duration=duration,
        filters={"coded": coded},
    )


def coded(text: str) -> Markup:
    """Prose in which words between backticks are commands."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _drawings(results: Results, block: GridBlock) -> dict[str, Any]:
    """Points for the numbers that the table shows, the retrained model as a line where it has the number; for a table
    of very many columns, for its averages."""
    title = place(results, block)
    oracle = block.stages.get("retrained", {})
    figures = []
    for key in layouts.AWAY if results.layout else (k for k in DRAWN if k in results.columns):
        reference = oracle.get(f"r_{key}" if key in ("forget", "test") else key)
        if key in SCORES:
            reference = Score(100.0, 1)
        rows = [
            (row.label + (" †" if row.entries[key].n < row.wanted else ""), row.entries[key].score)
            for row in block.rows
            if key in row.entries and not row.is_reference
        ]
        drawn = f"{title}: {_TITLES[key]}"
        svg = plots.methods(rows, reference, slug(title, key), drawn, distances=key in DISTANCES)
        if svg:
            figures.append((_TITLES[key], Markup(svg)))
    return {"title": title, "figures": figures}


def _machine(n: int, told: Any) -> dict[str, str]:
    hardware = told.get("hardware", {})
    commit = told.get("commit") or "unknown"
    versions = ", ".join(f"{k} {v}" for k, v in sorted(told.get("versions", {}).items()))
    parts = {
        "Cells": str(n),
        "Commit": commit + (" with changes that are not committed" if told.get("dirty") else ""),
        "Processor": f"{hardware.get('processor', '?')}, {hardware.get('cores', '?')} cores",
        "Memory": memory(hardware["memory_mb"] * MIB / 1e6) if "memory_mb" in hardware else "",
        "Accelerator": str(hardware.get("accelerator", "")),
        "System": f"{told.get('platform', '?')}, Python {told.get('python', '?')}",
        "Trains in": str(hardware.get("precision", "")),
        "Threads": ", ".join(f"{k} {v}" for k, v in sorted(told.get("threads", {}).items())),
        "Versions": versions,
    }
    return {k: v for k, v in parts.items() if v}
