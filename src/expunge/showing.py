"""From what audits found to what the page shows: picture keys become pictures, stages become columns. What a later page
needs again is kept in files of the run's folder.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from expunge.core.record import Record, plain
from expunge.core.run import Run
from expunge.core.types import Corpus, Example
from expunge.evals.assessment import Assessment, one_each
from expunge.evals.summary import summarise
from expunge.report.measures import is_reference, method_name

SIDE = 96
STAGES = ("before", "after", "oracle")
PANELS, COMPARISONS = "panels.json", "comparisons.json"
"""Files of a run's folder."""


def panels(assessment: Assessment, corpus: Corpus, run: Run) -> dict[str, Any]:
    """The page's panels (contract in ``report.page``): people, matching, tsne, words, terms.

    Holds pictures and texts of forgotten examples: the caller decides whether it may be kept (``kept``). The terms are
    all that the method logged while it unlearned.
    """
    found = assessment.shown()
    album = Album([*corpus.train, *corpus.validation, *corpus.test])
    forget = assessment.splits.forget
    return {
        "people": [
            *(_person(p, album, forget, run, found.get("gradcam")) for p in found["people"]),
            *(_answering(p, album, forget, run) for p in found.get("answers", ())),
        ],
        "matching": _matching(found.get("matching")),
        "tsne": _tsne(found.get("map", [])),
        "words": [{**row, "count": row["pictures"]} for row in found.get("words", [])],
        "terms": list(run.keep.get("terms", run.terms)),
    }


def kept(panels: Mapping[str, Any] | None, with_samples: bool) -> dict[str, Any]:
    """What a run's folder may keep of its panels: all of them where the user asked for the samples, otherwise the
    training terms, which hold nobody."""
    return {name: one for name, one in (panels or {}).items() if with_samples or name == "terms"}


def texts(panels: Mapping[str, Any], comparisons: Sequence[tuple[str, Record]]) -> dict[str, str]:
    """The files, by name, that keep what a run's page shows beside the record; a later page is drawn from them."""
    told = {PANELS: json.dumps(plain(panels))} if panels else {}
    beside = ",\n".join(record.to_json() for _, record in comparisons)
    return told | ({COMPARISONS: f"[{beside}]"} if comparisons else {})


def read(folder: Path) -> tuple[dict[str, Any], list[tuple[str, Record]]]:
    """Panels, and named records to compare, as ``texts`` wrote them into a run's folder; empty where it did not."""
    panels, beside = (
        json.loads(path.read_text(encoding="utf-8")) if (path := folder / name).is_file() else None
        for name in (PANELS, COMPARISONS)
    )
    records = [Record.from_json(json.dumps(raw)) for raw in beside or ()]
    return panels or {}, [(method_name(one), one) for one in records]


def held_alike(named: Sequence[tuple[str, Record]], record: Record) -> list[tuple[str, Record]]:
    """The runs of one comparison with ``record`` in its own place and all held against its retrained model, or none.

    One table has one reference. All of them answered the same questions, so this needs no model; the row of the
    retrained model becomes that of the new one.
    """
    oracle = record.scores.get("oracle")
    held = []
    for label, one in named:
        if one.spec.get("hash") == record.spec.get("hash"):
            held.append((label, record))
            continue
        scores = {stage: found for stage, found in one.scores.items() if stage != "oracle"}
        if oracle:
            scores |= {"oracle": oracle} | ({"after": oracle} if is_reference(label) else {})
        summary = summarise(scores["after"], oracle) if oracle else {}
        held.append((label, replace(one, scores=scores, summary=summary)))
    return held


class Album:
    """Pictures by key, as data URIs made once."""

    def __init__(self, examples: Iterable[Example]):
        self.pictures = {e.image.key: e.image for e in examples}
        self.made: dict[str, str] = {}

    def uri(self, key: str) -> str:
        if key not in self.made:
            self.made[key] = data_uri(self.pictures[key].open(SIDE))
        return self.made[key]


def data_uri(picture: Any) -> str:
    """A PIL picture as ``data:image/png;base64,…``."""
    held = io.BytesIO()
    picture.convert("RGB").save(held, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()


def _person(
    panel: Mapping[str, Any], album: Album, forget: Sequence[Example], run: Run, gradcam: Mapping[str, Any] | None
) -> dict[str, Any]:
    group = panel["group"]
    shown: dict[str, Any] = {
        "group": group,
        "portrait": album.uri(panel["picture"]),
        "sentences": [
            {
                "kind": s["kind"],
                "text": s["text"],
                **{
                    stage: [
                        {"picture": album.uri(a["picture"]), "score": a["match"], "own": a["group"] == group}
                        for a in answers
                    ]
                    for stage, answers in s["pictures"].items()
                },
            }
            for s in panel["sentences"]
        ],
        "portrait_matches": {
            stage: [
                {"text": a["text"], "score": a["match"], "own": a["group"] == group, "kind": a["kind"]} for a in answers
            ]
            for stage, answers in panel["texts"].items()
        },
    }
    if anchors := _anchors(group, forget, run):
        shown["anchors"] = anchors
    if gradcam and gradcam["before"] and gradcam["after"]:
        place, example = next((i, e) for i, e in enumerate(one_each(forget)) if (e.group or e.id) == group)
        shown["gradcam"] = {
            "text": example.text, "before": gradcam["before"][place], "after": gradcam["after"][place],
        }  # fmt: skip
    return shown


def _answering(panel: Mapping[str, Any], album: Album, forget: Sequence[Example], run: Run) -> dict[str, Any]:
    """Somebody about whom a model was asked: what it answered at every stage."""
    shown = {"group": panel["group"], "answers": panel["asked"]}
    if panel["picture"]:
        shown["portrait"] = album.uri(panel["picture"])
    anchors = _anchors(panel["group"], forget, run)
    return {**shown, "anchors": anchors} if anchors else shown


def _anchors(group: str, forget: Sequence[Example], run: Run) -> dict[str, Any] | None:
    """The stand-ins of one group, where the method made some."""
    anchors = run.keep.get("anchors")
    if not anchors:
        return None
    rows = [i for i, e in enumerate(forget) if (e.group or e.id) == group]
    return {
        "pictures": [data_uri(anchors.pictures[i][0].resize((SIDE, SIDE))) for i in rows if anchors.pictures[i]],
        "pictures_for": [forget[i].described for i in rows if anchors.pictures[i]],
        "texts": list(dict.fromkeys(anchors.texts[i][0] for i in rows if anchors.texts[i])),
    }


def _matching(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The page wants texts by pictures, the audit gives pictures by texts."""
    if not found:
        return None
    return {
        "before": [list(row) for row in zip(*found["before"]["matrix"], strict=True)],
        "after": [list(row) for row in zip(*found["after"]["matrix"], strict=True)],
        "labels": found["before"]["groups"],
    }


def _tsne(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if not rows:
        return None
    modality = {"picture": "image", "image": "image", "text": "text"}
    return {
        stage: [
            {"x": r["x"], "y": r["y"], "modality": modality[r["side"]], "set": r["split"]}
            for r in rows
            if r["stage"] == stage
        ]
        for stage in STAGES
        if any(r["stage"] == stage for r in rows)
    }
