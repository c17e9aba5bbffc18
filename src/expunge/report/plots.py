"""Figures as inline SVG: drawn by matplotlib at phone width, coloured by the page.

Ink, lines and series are drawn in placeholder colours that are replaced with the page's CSS variables, so one
drawing serves light, dark and print. Text stays text in the reader's own font. Equal input gives equal bytes.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from expunge.core.record import Record
from expunge.report.measures import BY_KEY, STAGES, finite, number, score, signed
from expunge.report.pictures import decoded

# placeholder drawn by matplotlib -> CSS variable of the page
INK, QUIET, RULE, PAPER = "#010203", "#040506", "#070809", "#fdfcfb"
BEFORE, AFTER, ORACLE = "#0a0b0c", "#0d0e0f", "#101112"
VARIABLES = {
    INK: "var(--ink)", QUIET: "var(--quiet)", RULE: "var(--rule)", PAPER: "var(--paper)", BEFORE: "var(--before)",
    AFTER: "var(--after)", ORACLE: "var(--oracle)",
}  # fmt: skip
STAGE_COLOURS = {"before": BEFORE, "after": AFTER, "oracle": ORACLE}
HEAT = LinearSegmentedColormap.from_list("heat", ["#f4f6f8", "#9cc3c9", "#2c7a86", "#0b3a45"])
WIDTH = 3.75
"""Inches; 360 CSS pixels, a phone held upright."""
SHOWN_TERMS = 8
SHOWN_WORDS = 12
_STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "expunge", "font.family": "DejaVu Sans", "font.size": 8.6,
    "text.color": INK, "axes.labelcolor": QUIET, "axes.edgecolor": RULE, "xtick.color": QUIET, "ytick.color": QUIET,
    "xtick.labelcolor": QUIET, "ytick.labelcolor": INK, "axes.facecolor": "none", "figure.facecolor": "none",
    "savefig.facecolor": "none", "axes.spines.top": False, "axes.spines.right": False, "xtick.major.size": 0,
    "ytick.major.size": 0, "axes.linewidth": 0.6, "grid.color": RULE, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "axes.unicode_minus": True, "text.parse_math": False,
}  # fmt: skip


def score_bars(record: Record, keys: Sequence[str]) -> str:
    """One group of bars per measure: before, after, retrained, with 95 % intervals."""
    stages = [stage for stage in STAGES if record.scores.get(stage)]
    keys = [key for key in keys if any(score(record, stage, key) for stage in stages)]
    if not keys:
        return ""
    with matplotlib.rc_context(_STYLE):
        group = 0.42 + 0.21 * len(stages)
        figure, axes = _canvas(0.25 + group * len(keys))
        y = 0.0
        spoken = []
        for key in keys:
            axes.text(0, y, BY_KEY[key].name, va="center", ha="left", weight="bold", size=8.8)
            y += 0.27
            said = []
            for stage in stages:
                one = score(record, stage, key)
                if one is not None:
                    _bar(axes, y, one.value, one.low, one.high, STAGE_COLOURS[stage], STAGES[stage])
                    said.append(f"{STAGES[stage].lower()} {number(one.value)}")
                y += 0.21
            y += group - 0.27 - 0.21 * len(stages)
            spoken.append(f"{BY_KEY[key].name}: {', '.join(said)}")
        axes.set_ylim(y - 0.1, -0.15)
        axes.set_xlim(0, 116)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.xaxis.grid(True)
        axes.set_yticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
        return _svg(figure, "scores", "Bar chart. " + "; ".join(spoken) + ".")


def _bar(axes: Axes, y: float, value: float, low: float, high: float, colour: str, name: str) -> None:
    axes.barh(y, max(value, 0.4), height=0.15, color=colour, linewidth=0)
    if finite(low) and finite(high):
        axes.plot([low, high], [y, y], color=PAPER, linewidth=2.6, solid_capstyle="butt")
        axes.plot([low, high], [y, y], color=INK, linewidth=0.9, solid_capstyle="butt")
    reach = max(value, high if finite(high) else value)
    axes.text(reach + 1.5, y, number(value), va="center", ha="left", size=8.2)
    axes.text(-1.5, y, name, va="center", ha="right", size=8.2, color=QUIET)


def methods(rows: Sequence[tuple[str, Any]], reference: Any, name: str, title: str, *, distances: bool = False) -> str:
    """One point with its 95 % interval for each method; a dashed line stands where the retrained model does.

    ``distances`` are shown from 0 on, so that twice as far looks twice as far; other numbers are scores from 0 to 100.
    Intervals end where the numbers do: of three seeds they are often wider than the scale.
    """
    rows = [(label, one) for label, one in rows if one is not None and finite(one.value)]
    if not rows:
        return ""
    digits = 2 if distances else 1  # as in the table
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(0.5 + 0.2 * len(rows), left=0.33, right=0.88)
        for y, (_, one) in enumerate(rows):
            if finite(one.low) and finite(one.high):
                ends = [max(one.low, 0.0), one.high if distances else min(one.high, 100.0)]
                axes.plot(ends, [y, y], color=AFTER, linewidth=1.6, solid_capstyle="butt", zorder=2)
            axes.scatter([one.value], [y], s=22, c=AFTER, linewidths=0, zorder=3)
            told = number(one.value, digits)
            axes.text(1.03, y, told, va="center", ha="left", size=8.2, transform=axes.get_yaxis_transform())
        if reference is not None and finite(reference.value):
            axes.axvline(reference.value, color=ORACLE, linewidth=1.3, linestyle=(0, (3, 2)), zorder=1)
        axes.set_yticks(range(len(rows)), [_short(label, 18) for label, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        if distances:
            axes.set_xlim(left=0.0)
        axes.xaxis.grid(True)
        axes.locator_params(axis="x", nbins=4)
        axes.spines[["left", "bottom"]].set_visible(False)
        spoken = ", ".join(f"{label} {number(one.value, digits)}" for label, one in rows)
        return _svg(figure, name, f"{title}: {spoken}.")


def full_match(values: Iterable[Sequence[float]]) -> float:
    """What certainty is in these rows: 1, or 100 where some score is above 1."""
    return 100.0 if any(finite(v) and v > 1.0 for row in values for v in row) else 1.0


def matrix(
    values: Sequence[Sequence[float]], labels: Sequence[str], name: str, title: str, top: float | None = None
) -> str:
    """Matching scores of every text (row) with every picture (column), 0 to ``top``: 100 or 1, by default as
    ``full_match`` of these rows alone has it."""
    rows = [[float(v) if finite(v) else math.nan for v in row] for row in values]
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        return ""
    top = top or full_match(rows)
    diagonal = [row[i] for i, row in enumerate(rows) if i < len(row) and finite(row[i])]
    others = [v for i, row in enumerate(rows) for j, v in enumerate(row) if i != j and finite(v)]
    with matplotlib.rc_context(_STYLE):
        few = len(rows) <= 12
        wide, left, low = 3.5, 0.92 if few else 0.1, 0.62 if few else 0.1  # inches
        high = (wide - left - 0.05) * len(rows) / len(rows[0])
        figure = Figure(figsize=(wide, high + low + 0.03))
        axes = figure.add_axes(
            (left / wide, low / (high + low + 0.03), 1 - (left + 0.05) / wide, high / (high + low + 0.03))
        )
        axes.pcolormesh(
            rows, cmap=HEAT, vmin=0, vmax=top, linewidth=0.8 if few else 0, edgecolors=PAPER if few else "none"
        )
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.spines[:].set_visible(False)
        axes.set_xticks([])
        axes.set_yticks([])
        if few and len(labels) == len(rows):
            places = [i + 0.5 for i in range(len(rows))]
            axes.set_yticks(places, [_short(label, 13) for label in labels], size=8)
            axes.set_xticks(places, [_short(label, 13) for label in labels], size=8, rotation=30, ha="right")
            if len(rows) <= 8:
                for i, row in enumerate(rows):
                    for j, v in enumerate(row):
                        light = "white" if finite(v) and v / top > 0.5 else "#1d2530"
                        shown = number(v * (100 if top == 1.0 else 1), 0)
                        axes.text(j + 0.5, i + 0.5, shown, ha="center", va="center", size=8, color=light)
        scale = 100 / top
        own, strange = (number(scale * _mean(part), 0) for part in (diagonal, others))
        spoken = f"{title}: own pairs score {own} on average, strangers {strange}."
        return _svg(figure, name, "Heat map. " + spoken)


def bounds(points: Sequence[Mapping[str, Any]]) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The frame that holds all points, with some air."""
    spans = []
    for axis in ("x", "y"):
        found = [p[axis] for p in points if finite(p.get("x")) and finite(p.get("y"))]
        if not found:
            return None
        air = 0.05 * (max(found) - min(found)) or 1.0
        spans.append((min(found) - air, max(found) + air))
    return spans[0], spans[1]


def scatter(
    points: Sequence[Mapping[str, Any]],
    name: str,
    title: str,
    within: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> str:
    """A map of meaning: circles are pictures, crosses are sentences; colour is for the forgotten."""
    kept = [p for p in points if finite(p.get("x")) and finite(p.get("y"))]
    if not kept:
        return ""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(3.5, 3.1))
        axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
        for forgotten in (False, True):
            for picture in (True, False):
                some = [p for p in kept if is_forgotten(p) == forgotten and is_picture(p) == picture]
                colour = AFTER if forgotten else BEFORE
                axes.scatter(
                    [p["x"] for p in some], [p["y"] for p in some], s=17 if forgotten else 8,
                    marker="o" if picture else "x", c="none" if picture else colour,
                    edgecolors=colour if picture else None, linewidths=1.1 if forgotten else 0.6,
                    rasterized=len(kept) > 2500,
                )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(True)
        frame = within or bounds(kept)
        if frame:
            axes.set_xlim(*frame[0])
            axes.set_ylim(*frame[1])
        gone = sum(map(is_forgotten, kept))
        return _svg(figure, name, f"Scatter plot. {title}: {gone} forgotten and {len(kept) - gone} retained points.")


def is_forgotten(point: Mapping[str, Any]) -> bool:
    return str(point.get("set", "")).lower().startswith("forg")


def is_picture(point: Mapping[str, Any]) -> bool:
    return str(point.get("modality", "")).lower() in ("image", "images", "picture", "pictures", "vision")


def split_words(
    words: Sequence[Mapping[str, Any]], shown: int = SHOWN_WORDS
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The words that lost the most, and those that moved the least."""
    usable = [w for w in words if finite(w.get("shift"))]
    by_loss = sorted(usable, key=lambda w: (w["shift"], str(w.get("word"))))
    lost = [w for w in by_loss if w["shift"] < 0][: min(shown, (len(usable) + 1) // 2)]
    taken = {id(w) for w in lost}
    rest = sorted((w for w in usable if id(w) not in taken), key=lambda w: (abs(w["shift"]), str(w.get("word"))))
    return lost, rest[:shown]


def word_shifts(words: Sequence[Mapping[str, Any]], name: str, title: str) -> str:
    """One line per word: where its match stood before (ring) and stands after (dot), 0 to 100."""
    words = [w for w in words if finite(w.get("before")) and finite(w.get("after"))]
    if not words:
        return ""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas(0.4 + 0.19 * len(words), left=0.27, right=0.85)
        for y, w in enumerate(words):
            axes.plot([w["before"], w["after"]], [y, y], color=RULE, linewidth=2, solid_capstyle="round", zorder=1)
            axes.scatter([w["before"]], [y], s=20, c=PAPER, edgecolors=BEFORE, linewidths=1.2, zorder=2, clip_on=False)
            axes.scatter([w["after"]], [y], s=20, c=AFTER, linewidths=0, zorder=3, clip_on=False)
            axes.text(105, y, signed(w["shift"]), va="center", ha="left", size=8.2)
        axes.set_yticks(range(len(words)), [_short(str(w.get("word", "")), 17) for w in words])
        axes.set_ylim(len(words) - 0.5, -0.7)
        axes.set_xlim(0, 100)
        axes.set_xticks([0, 50, 100])
        axes.xaxis.grid(True)
        axes.spines[["left", "bottom"]].set_visible(False)
        spoken = ", ".join(f"{w.get('word', '')} {signed(w['shift'])}" for w in words)
        return _svg(figure, name, f"{title}: {spoken}.")


def pictures(rows: Sequence[tuple[str, Sequence[str | None]]], heads: Sequence[str], name: str, title: str) -> str:
    """Pictures (data URIs) in a grid: one row for each sample under its label, one column for each head."""
    rows = [(label, list(found)) for label, found in rows if any(found)]
    if not rows:
        return ""
    side, low, top = 0.92, 0.44, 0.24  # inches: a picture, what stands under a row, the heads
    with matplotlib.rc_context(_STYLE):
        wide, high = side * len(heads), (side + low) * len(rows) + top
        figure = Figure(figsize=(wide, high))
        for j, head in enumerate(heads):
            figure.text((j + 0.02) * side / wide, 1 - 0.1 / high, _short(head, 17), va="center", size=8.2, color=QUIET)
        for i, (label, found) in enumerate(rows):
            bottom = high - top - side - i * (side + low)
            for j, uri in enumerate(found):
                if uri:
                    place = ((j + 0.02) * side / wide, bottom / high, 0.96 * side / wide, 0.96 * side / high)
                    axes = figure.add_axes(place)
                    axes.imshow(decoded(uri).convert("RGB"), interpolation="nearest")
                    axes.set_axis_off()
            lines = textwrap.wrap(label, max(24, round(wide * 15)), max_lines=2, placeholder=" …")
            figure.text(0.02 * side / wide, (bottom - 0.05) / high, "\n".join(lines), va="top", size=8)
        spoken = "; ".join(label for label, _ in rows)
        return _svg(figure, name, f"Pictures: {title}. Columns: {', '.join(heads)}. Rows: {spoken}.")


def terms(rows: Sequence[Mapping[str, Any]], name: str = "terms") -> str:
    """Each training term over the steps, one small panel per term."""
    skipped = {"step", "steps", "epoch", "seed", "total_steps"}
    keys = list(dict.fromkeys(k for row in rows for k, v in row.items() if finite(v) and k not in skipped))
    keys = [k for k in keys if sum(finite(row.get(k)) for row in rows) > 1][:SHOWN_TERMS]
    if not keys:
        return ""
    at: list[Any] = [row.get("step") for row in rows]
    if not all(map(finite, at)) or any(b <= a for a, b in zip(at, at[1:])):
        at = list(range(len(rows)))  # SLUG's steps are lengths, and a training may be done again
    with matplotlib.rc_context(_STYLE):
        deep = (len(keys) + 1) // 2
        figure = Figure(figsize=(WIDTH, 1.05 * deep + 0.1))
        panels = figure.subplots(deep, 2, squeeze=False)
        figure.subplots_adjust(
            left=0.11, right=0.98, top=1 - 0.22 / (1.05 * deep), bottom=0.24 / (1.05 * deep), wspace=0.34, hspace=0.62
        )
        spoken = []
        for i, axes in enumerate(panels.flat):
            if i >= len(keys):
                axes.set_visible(False)
                continue
            pairs = [(step, row[keys[i]]) for step, row in zip(at, rows) if finite(row.get(keys[i]))]
            steps, values = _thin(pairs)
            axes.plot(steps, values, color=AFTER, linewidth=1.1)
            axes.set_title(_short(keys[i], 24), loc="left", size=8.4, pad=3)
            axes.locator_params(nbins=3)
            axes.tick_params(labelsize=7.2, labelcolor=QUIET, pad=2)
            axes.yaxis.grid(True)
            axes.spines["left"].set_visible(False)
            spoken.append(f"{keys[i]} from {number(values[0], 3)} to {number(values[-1], 3)}")
        return _svg(figure, name, "Line charts over training steps. " + "; ".join(spoken) + ".")


def _thin(pairs: Sequence[tuple[Any, float]], most: int = 160) -> tuple[list[float], list[float]]:
    """At most ``most`` points: means over neighbouring steps."""
    size = max(1, math.ceil(len(pairs) / most))
    chunks = [pairs[i : i + size] for i in range(0, len(pairs), size)]
    return [_mean([float(s) for s, _ in c]) for c in chunks], [_mean([float(v) for _, v in c]) for c in chunks]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _canvas(height: float, left: float = 0.2, right: float = 0.99) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.add_axes((left, 0.22 / height, right - left, 1 - 0.27 / height))


# ------------------------------------------------------------------------------------------ to the page


def _svg(figure: Figure, name: str, spoken: str) -> str:
    """Bare <svg> for a page: no prologue, no metadata, ids of its own, colours from the page, a text alternative."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->|<style.*?</style>", "", text, flags=re.S)  # its one rule stands in page.css
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    for placeholder, variable in VARIABLES.items():
        text = text.replace(placeholder, variable)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "inherit", text)
    points = figure.get_figwidth() * 72
    head = f'<svg role="img" aria-label="{escape(spoken)}" style="width: {points * 4 / 3:.0f}px"'
    text = re.sub(r'<svg (?:width|height)="[^"]*"', "<svg", text, count=1)
    text = re.sub(
        r"^<svg([^>]*)>", lambda m: head + re.sub(r'\s(?:width|height)="[^"]*"', "", m[1]) + ">", text, count=1
    )
    return re.sub(r"\n\s*", "\n", text)


def alone(svg: str) -> str:
    """A drawing of a page as a file of its own: it says what it is, and has the page's light colours and a font."""
    css = files("expunge.report").joinpath("page.css").read_text(encoding="utf-8")
    for variable, colour in re.findall(r"(--[a-z]+): (#[0-9a-f]{6})", css.partition("}")[0]):
        svg = svg.replace(f"var({variable})", colour)
    svg = svg.replace("inherit", "system-ui, 'DejaVu Sans', sans-serif")
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return svg.replace("<svg", head, 1) + "\n"
