"""One HTML file that a privacy officer can read: no network, no script needed, phone and paper alike.

``page(record, panels, comparisons)`` is a pure function: equal input, equal bytes. Every part of ``panels`` may be
missing; what is missing is left out, and the verdict says what could not be checked.

``panels`` is plain JSON. Pictures are data URIs (``data:image/png;base64,…``; jpeg, gif and webp work too,
anything else is dropped). Matching scores are 0 to 100, or 0 to 1 throughout::

    {"people": [{
        "group": "p017", "name": "Ada Okafor",                     # name optional
        "portrait": PICTURE,
        "anchors": {"pictures": [PICTURE], "pictures_for": [str],  # R_1 and the sentences they were drawn for
                    "texts": [str]},                               # R_2
        "sentences": [{"kind": "shared" | "private", "text": str,
                       "before": [{"picture": PICTURE, "score": float, "own": bool}],   # best first
                       "after": [...], "oracle": [...]}],          # oracle optional
        "answers": [{"kind": str, "text": str, "right": str,       # for a model that answers, in place of searches
                     "answers": {"before": {"answer": str, "chance": float, "right": bool}, "after": {...}}}],
        "portrait_matches": {"before": [{"text": str, "score": float, "own": bool, "kind": str}],
                             "after": [...], "oracle": [...]},
        "gradcam": {"text": str, "before": [[float]], "after": [[float]]},   # [h, w], any scale
     }],
     "matching": {"before": [[float]], "after": [[float]],         # row: text of i, column: picture of j
                  "labels": [str]},                                # oracle optional
     "tsne": {"before": [{"x": float, "y": float, "modality": "image" | "text", "set": "forget" | "retain"}],
              "after": [...], "oracle": [...]},                    # oracle optional
     "words": [{"word": str, "before": float, "after": float, "shift": float, "count": int, "kind": str}],
     "terms": [{"what": str, "step": int, "<term>": float, ...}]}  # all that the method logged; a drawing for each what
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from expunge.core.record import Record
from expunge.report import layouts, ledger, plots
from expunge.report.measures import (
    STAGES,
    count,
    duration,
    guessing,
    in_sentences,
    interval,
    is_reference,
    measures,
    memory,
    method_name,
    number,
    score,
    signed,
    task_of,
)  # fmt: skip
from expunge.report.pictures import heat
from expunge.report.tables import compare
from expunge.report.template import render
from expunge.report.verdict import LEAST_ATTACK, LIMITS, judge

_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+\Z")
_BARS = ("r_forget_private", "r_forget_shared", "r_retain_private", "r_retain_shared", "r_test", "mi")
_STATUS = {"passed": "Passed", "unsure": "Not certain", "failed": "Failed", "withheld": "No verdict"}
_OPEN_PEOPLE = 6
_FIRST = ("method", "model", "data", "seed", "options")


def page(
    record: Record, panels: Mapping[str, Any] | None = None, comparisons: Sequence[tuple[str, Record]] = ()
) -> str:
    """The whole page for one run, and a table for the runs it is compared with."""
    panels = panels or {}
    people = [_person(one) for one in _maps(panels.get("people"))]
    return render(
        "page.html",
        filters={"number": number, "signed": signed, "duration": duration, "spoken": _spoken},
        record=record,
        method=method_name(record),
        verdict=judge(record),
        status=_STATUS,
        limits=LIMITS,
        least_attack=LEAST_ATTACK,
        who=_who(record, people),
        requests=ledger.rows(record.matched),
        people=people,
        open_people=_OPEN_PEOPLE,
        stages={s: STAGES[s] for s in STAGES if record.scores.get(s)},
        scores=_scores(record),
        answered=task_of(record) != "retrieval",
        wrote=_wrote(record),
        guessing=guessing(record),
        in_sentences=in_sentences(record),
        bars=Markup(plots.score_bars(record, _BARS)),
        comparison=compare(comparisons) if comparisons else None,
        statuses=[_standing(label, one) for label, one in comparisons],
        matching=_matching(panels.get("matching")),
        tsne=_tsne(panels.get("tsne")),
        words=_words(panels.get("words")),
        terms=_terms(panels.get("terms")),
        made=_made(record),
        count=count,
    )


# ------------------------------------------------------------------------------------------ parts of the page


def _who(record: Record, people: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Everybody who was forgotten, with name and portrait where the panels hold them."""
    known = {p["group"]: p for p in people}
    return [
        {"id": one, "name": known.get(one, {}).get("name", ""), "portrait": known.get(one, {}).get("portrait")}
        for one in record.forgotten
    ]


def _scores(record: Record) -> list[dict[str, Any]]:
    rows = []
    for measure in measures(task_of(record)):
        found = {stage: score(record, stage, measure.key) for stage in STAGES if record.scores.get(stage)}
        if not any(found.values()):
            continue
        after, oracle = found.get("after"), found.get("oracle")
        rows.append(
            {
                "measure": measure,
                "cells": {s: (number(one.value), interval(one)) if one else ("–", "") for s, one in found.items()},
                "gap": signed(after.value - oracle.value) if after and oracle else "–",
                "n": next((one.n for one in found.values() if one and one.n), 0),
            }
        )
    return rows


def _wrote(record: Record) -> list[dict[str, Any]]:
    """Of a model that writes: every measure of every set of questions, by stage."""
    there = {key for stage in STAGES for key in record.scores.get(stage, {})}
    parts = layouts.everything(there)
    return [{"title": part.title, "rows": [_written(record, key) for key in part.keys]} for part in parts]


def _written(record: Record, key: str) -> dict[str, Any]:
    digits = 2 if layouts.is_share(key) else 1
    found = {stage: score(record, stage, key) for stage in STAGES if record.scores.get(stage)}
    return {
        "head": layouts.head(key, with_set=False),
        "n": next((one.n for one in found.values() if one), 0),
        "cells": {
            stage: (number(one.value, digits), interval(one, 2 * digits - 2)) if one else ("–", "")
            for stage, one in found.items()
        },
    }


def _standing(label: str, record: Record) -> str:
    if is_reference(label, method_name(record)):
        return "the reference"
    return _STATUS[judge(record).status].lower()


def _person(one: Mapping[str, Any]) -> dict[str, Any]:
    anchors = _map(one.get("anchors"))
    drawn_for = list(_list(anchors.get("pictures_for")))
    drawn = [
        (p, str(drawn_for[i]) if i < len(drawn_for) else "")
        for i, p in enumerate(map(picture, _list(anchors.get("pictures"))))
        if p
    ]
    name = str(one.get("name") or "")
    return {
        "group": str(one.get("group", "")),
        "name": name,
        "title": name or str(one.get("group", "")) or "Unnamed",
        "portrait": picture(one.get("portrait")),
        "drawn": drawn,
        "written": [str(text) for text in _list(anchors.get("texts"))],
        "searches": [_search(s) for s in _maps(one.get("sentences"))],
        "answers": [_answered(asked) for asked in _maps(one.get("answers"))],
        "matches": _stages_of(one.get("portrait_matches"), _text_match),
        "attention": _attention(_map(one.get("gradcam")), picture(one.get("portrait"))),
    }


def _answered(asked: Mapping[str, Any]) -> dict[str, Any]:
    given = _map(asked.get("answers"))
    return {
        "kind": str(asked.get("kind") or ""),
        "text": str(asked.get("text", "")),
        "right": str(asked.get("right") or ""),
        "stages": {
            stage: {"answer": str(one.get("answer", "")), "chance": one.get("chance"), "right": bool(one.get("right"))}
            for stage in STAGES
            if (one := _map(given.get(stage)))
        },
    }


def _search(sentence: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": str(sentence.get("kind") or ""),
        "text": str(sentence.get("text", "")),
        "stages": _stages_of(sentence, _picture_match),
    }


def _stages_of(source: Any, read: Any) -> list[dict[str, Any]]:
    """Before, after and retrained, where there is a list of matches."""
    found = []
    for stage, title in STAGES.items():
        matches = [read(m) for m in _maps(_map(source).get(stage))]
        if matches:
            found.append({"stage": stage, "title": title, "matches": matches, "summary": _own_rank(matches)})
    return found


def _picture_match(match: Mapping[str, Any]) -> dict[str, Any]:
    return {"picture": picture(match.get("picture")), "score": match.get("score"), "own": bool(match.get("own"))}


def _text_match(match: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(match.get("kind") or "")
    return {
        "text": str(match.get("text", "")),
        "score": match.get("score"),
        "own": bool(match.get("own")),
        "kind": kind,
    }


def _own_rank(matches: Sequence[Mapping[str, Any]]) -> str:
    ranks = [i for i, m in enumerate(matches, 1) if m["own"]]
    if not ranks:
        return f"not among the first {len(matches)}"
    return "found first" if ranks[0] == 1 else f"found in place {ranks[0]}"


def _attention(cam: Mapping[str, Any], portrait: str | None) -> dict[str, Any] | None:
    """The portrait under two heat maps, each on the scale of its own peak."""
    maps = {stage: heat(_table(cam.get(stage))) for stage in ("before", "after")}
    if portrait is None or not all(maps.values()):
        return None
    return {"text": str(cam.get("text", "")), **maps}


def _matching(raw: Any) -> list[tuple[str, Markup]]:
    source = _map(raw)
    labels = [str(label) for label in _list(source.get("labels"))]
    tables = {stage: table for stage in STAGES if (table := _table(source.get(stage)))}
    top = plots.full_match(row for table in tables.values() for row in table)  # one unit: nothing may be left after
    drawn = [
        (STAGES[s], Markup(plots.matrix(table, labels, f"matching-{s}", STAGES[s], top))) for s, table in tables.items()
    ]
    return [(title, svg) for title, svg in drawn if svg]


def _tsne(raw: Any) -> list[tuple[str, Markup]]:
    source = _map(raw)
    stages = {stage: list(_maps(source.get(stage))) for stage in STAGES}
    within = plots.bounds([point for points in stages.values() for point in points])
    drawn = [(STAGES[s], Markup(plots.scatter(points, f"tsne-{s}", STAGES[s], within))) for s, points in stages.items()]
    return [(title, svg) for title, svg in drawn if svg]


def _words(raw: Any) -> dict[str, Any] | None:
    words = list(_maps(raw))
    lost, kept = plots.split_words(words)
    if not lost and not kept:
        return None
    charts = [
        ("Lost the most", Markup(plots.word_shifts(lost, "words-lost", "Lost the most"))),
        ("Moved the least", Markup(plots.word_shifts(kept, "words-kept", "Moved the least"))),
    ]
    return {"charts": [(title, svg) for title, svg in charts if svg], "rows": [*lost, *kept]}


def _terms(raw: Any) -> list[tuple[str, Markup]]:
    """One drawing for each training that was logged, in the order of the log: a method may train several things."""
    trainings: dict[str, list[Mapping[str, Any]]] = {}
    for row in _maps(raw):
        trainings.setdefault(str(row.get("what") or ""), []).append(row)
    drawn = [(what, plots.terms(rows, f"terms-{i}")) for i, (what, rows) in enumerate(trainings.items(), 1)]
    return [(what, Markup(svg)) for what, svg in drawn if svg]


def _made(record: Record) -> list[tuple[str, list[tuple[str, str]]]]:
    """How it was made: blocks of names and values, in a fixed order."""
    asked = [
        (k.removeprefix("options."), v) for k, v in _flat(record.spec) if k.split(".")[0] not in ("forget", "requested")
    ]
    cost = [
        (_spaced(k.removeprefix("seconds_")) if k != "seconds" else "in all", duration(v))
        for k, v in sorted(record.cost.items())
        if k.startswith("seconds")
    ]
    cost.sort(key=lambda pair: pair[0] != "in all")
    cost += [(_spaced(k.removesuffix("_mb")), memory(v)) for k, v in sorted(record.cost.items()) if k.endswith("_mb")]
    cost += [
        (_spaced(k), _spoken(v))
        for k, v in sorted(record.cost.items())
        if not k.startswith("seconds") and not k.endswith("_mb")
    ]
    blocks = [
        ("What was asked", asked),
        ("Time and memory", cost),
        ("What the method noted", [(_spaced(k), _noted(v)) for k, v in sorted(record.generator.items())]),
        ("Program and machine", list(_flat(record.environment))),
    ]
    return [(title, rows) for title, rows in blocks if rows]


def _noted(value: Any) -> str:
    """Shares and means with three digits, counted things as they are, what is true or not in a word."""
    return number(value, 3) if isinstance(value, float) or value is None else _spoken(value)


# ------------------------------------------------------------------------------------------ reading what others wrote


def picture(raw: Any) -> str | None:
    """The data URI if it is a picture and nothing else: nothing may be fetched, nothing may run."""
    return raw if isinstance(raw, str) and _PICTURE.match(raw) else None


def _map(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _list(raw: Any) -> Sequence[Any]:
    return raw if isinstance(raw, list | tuple) else []


def _maps(raw: Any) -> Iterator[Mapping[str, Any]]:
    return (one for one in _list(raw) if isinstance(one, Mapping))


def _table(raw: Any) -> list[list[float]]:
    """A rectangle of numbers, or nothing."""
    rows = [list(row) for row in _list(raw) if isinstance(row, list | tuple) and row]
    return rows if rows and all(len(row) == len(rows[0]) for row in rows) else []


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key in sorted(mapping, key=lambda k: (_FIRST.index(k) if k in _FIRST else len(_FIRST), str(k))):
        value, name = mapping[key], f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, name + ".")
        elif value not in (None, "", [], ()):
            yield name, _spoken(value)


def _spoken(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(_spoken(v) for v in value)
    return str(value)


def _spaced(key: str) -> str:
    return key.replace("_", " ")
