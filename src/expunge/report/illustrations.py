"""What was looked at, drawn: the paper's Figures 7, 8, 9 and 10 and the words of Table 9, for the page and as files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expunge.report import plots
from expunge.report.findings import BEFORE, RETRAINED, WORDS, Findings, found, place
from expunge.report.grid import Results
from expunge.report.measures import STAGES
from expunge.report.pictures import laid_over


@dataclass(frozen=True)
class Figure:
    """One drawing; ``name`` is that of its file, without a suffix."""

    name: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Illustration:
    """Drawings that stand side by side, and how to read them."""

    title: str
    note: str
    figures: tuple[Figure, ...]


def illustrations(results: Results) -> list[Illustration]:
    """Everything that can be drawn, block by block."""
    drawn = []
    for block, one in found(results):
        where = place(results, block)
        for label in _labels(one):
            drawn += [_matching(one, where, label), _attention(one, where, label), _map(one, where, label),
                      _words(one, where, label)]  # fmt: skip
        drawn.append(_drawn_pictures(one, where))
    return [one for one in drawn if one.figures]


def _labels(one: Findings) -> list[str]:
    """The rows; before and retrained stand beside each of them."""
    every = [*one.scores, *one.words, *one.matching, *one.attention, *one.maps]
    return [label for label in dict.fromkeys(every) if label not in (BEFORE, RETRAINED)]


def _stages(label: str, told: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Stage -> (its title, what is told of it), where the row itself is told of."""
    names = {"before": (STAGES["before"], BEFORE), "after": (label, label), "oracle": (STAGES["oracle"], RETRAINED)}
    return {s: (title, told[name]) for s, (title, name) in names.items() if name in told} if label in told else {}


def _matching(one: Findings, where: str, label: str) -> Illustration:
    figures = []
    for stage, (title, matrix) in _stages(label, one.matching).items():
        turned = [list(row) for row in zip(*matrix)]
        name = slug("matching", where, label, stage)
        figures.append(Figure(name, title, plots.matrix(turned, one.groups, name, f"{where}, {title}")))
    note = (
        f"Match of every forgotten text (row) with every forgotten picture (column), dark is certain; seed {one.seed}. "
        "The diagonal is what had to be forgotten."
    )
    return Illustration(f"Who matches whom: {where}, {label}", note, _kept(figures))


def _attention(one: Findings, where: str, label: str) -> Illustration:
    stages = _stages(label, one.attention)
    rows: list[tuple[str, list[str | None]]] = []
    for pair in one.attention.get(label, ()):
        looked = [_pair(pairs, pair["which"]) for _, pairs in stages.values()]
        shown = [laid_over(pair["picture"], found["map"]) if found else None for found in looked]
        rows.append((f"{pair['which']}: {pair['text']}", [pair["picture"], *shown]))
    heads = ["Picture", *(title for title, _ in stages.values())]
    name = slug("attention", where, label)
    figure = Figure(name, "", plots.pictures(rows, heads, name, f"where the model looks, {where}, {label}"))
    note = (
        "Where the last fusion layer looks when it reads the sentence (Grad-CAM), each on the scale of its own peak: "
        f"how much it looks in all cannot be compared. Seed {one.seed}."
    )
    return Illustration(f"Where the model looks: {where}, {label}", note, _kept([figure]))


def _pair(pairs: Sequence[Mapping[str, Any]], which: str) -> Mapping[str, Any] | None:
    return next((pair for pair in pairs if pair["which"] == which), None)


def _map(one: Findings, where: str, label: str) -> Illustration:
    points = [{**p, "modality": p["side"], "set": p["split"]} for p in one.maps.get(label, ())]
    titles = {"before": STAGES["before"], "after": label, "oracle": STAGES["oracle"]}
    figures = []
    for stage, title in titles.items():
        name = slug("map", where, label, stage)
        here = [p for p in points if p["stage"] == stage]
        figures.append(Figure(name, title, plots.scatter(here, name, f"{where}, {title}", plots.bounds(points))))
    note = (
        "t-SNE of the projected features, all models together so that places can be compared. Circles are pictures, "
        f"crosses sentences; in colour the forgotten, in grey the retained. Seed {one.seed}. Distances between far "
        "clusters mean nothing here: the cosines in the table do."
    )
    return Illustration(f"A map of meaning: {where}, {label}", note, _kept(figures))


def _words(one: Findings, where: str, label: str) -> Illustration:
    parts = zip(("lost", "kept"), plots.split_words(one.words.get(label, ()), WORDS))
    figures = []
    captions = {"lost": "Lost the most", "kept": "Moved the least"}
    for part, words in parts:
        name, caption = slug("words", where, label, part), captions[part]
        figures.append(Figure(name, caption, plots.word_shifts(words, name, f"{where}, {label}: {caption}")))
    note = "Match of a picture with a single word, 0 to 100: rings before, dots after."
    return Illustration(f"Words: {where}, {label}", note, _kept(figures))


def _drawn_pictures(one: Findings, where: str) -> Illustration:
    first = next(iter(one.samples.values()), ())
    rows: list[tuple[str, list[str | None]]] = [
        (s["text"], [s["picture"], *(made[i]["drawn"] if i < len(made) else None for made in one.samples.values())])
        for i, s in enumerate(first)
    ]
    name = slug("drawn", where)
    svg = plots.pictures(rows, ["Ground truth", *one.samples], name, f"what MVI drew, {where}")
    note = (
        f"The forgotten picture, and what MVI draws from its text (R_1); seed {one.seed}. Everybody here is invented."
    )
    return Illustration(
        f"Pictures that MVI drew (the paper’s Figure 10): {where}", note, _kept([Figure(name, "", svg)])
    )


def _kept(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    return tuple(figure for figure in figures if figure.svg)


def slug(*parts: str) -> str:
    """A file's name; labels such as U' + K' and U K stay apart."""
    text = " ".join(parts).lower().replace("'", " prime").replace("+", " and ")
    return re.sub("[^a-z0-9]+", "-", text).strip("-")
