"""From what ``evals`` measures to what the page shows: joins rows of plain data with pictures and names.

Everything is plain data in and plain data out, so no model and no other layer is needed. The result is the
``panels`` of ``page.page``, whose docstring has the contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def assemble(
    people: Rows = (),
    *,
    pictures: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    anchors: Mapping[str, Mapping[str, Any]] | None = None,
    gradcam: Mapping[str, Mapping[str, Any]] | None = None,
    matching: Mapping[str, Mapping[str, Any]] | None = None,
    features: Rows = (),
    words: Rows = (),
    terms: Rows = (),
) -> dict[str, Any]:
    """The page's panels.

    Args:
        people: from ``evals.panels.person_panels``; its pictures are keys.
        pictures: picture key -> data URI. Without it the page shows texts and scores only.
        names: group -> name to show.
        anchors: group -> {pictures: data URIs of R_1, pictures_for: their sentences, texts: R_2}.
        gradcam: group -> {text, before, after}, maps from ``evals.attribution.gradcam_maps``.
        matching: stage -> a result of ``evals.attribution.matching_matrix``.
        features: from ``evals.attribution.feature_map``.
        words: from ``evals.attribution.word_shift``; ``kind`` is passed on where a row has it.
        terms: the rows a method logged.
    """
    pictures, names = pictures or {}, names or {}
    anchors, gradcam = anchors or {}, gradcam or {}
    panels: dict[str, Any] = {"people": [], "terms": [dict(row) for row in terms]}
    for one in people:
        group = one["group"]
        panels["people"].append(
            {
                "group": group,
                "name": names.get(group),
                "portrait": pictures.get(one["picture"]),
                "anchors": dict(anchors.get(group, {})),
                "gradcam": dict(gradcam.get(group, {})),
                "sentences": [
                    {"kind": s["kind"], "text": s["text"]}
                    | {stage: [_picture_row(r, pictures) for r in rows] for stage, rows in s["pictures"].items()}
                    for s in one["sentences"]
                ],
                "portrait_matches": {stage: [_text_row(r) for r in rows] for stage, rows in one["texts"].items()},
            }
        )
    if matching:
        groups = next(iter(matching.values()))["groups"]
        panels["matching"] = {stage: found["matrix"] for stage, found in matching.items()}
        panels["matching"]["labels"] = [names.get(group) or group for group in groups]
    panels["tsne"] = {}
    for row in features:
        point = {"x": row["x"], "y": row["y"], "modality": row["side"], "set": row["split"]}
        panels["tsne"].setdefault(row["stage"], []).append(point)
    kept = ("word", "before", "after", "shift", "kind")
    panels["words"] = [{k: row[k] for k in kept if k in row} | {"count": row["pictures"]} for row in words]
    return panels


def _picture_row(row: Mapping[str, Any], pictures: Mapping[str, str]) -> dict[str, Any]:
    return {"picture": pictures.get(row["picture"]), "score": row["match"], "own": row["right"]}


def _text_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"text": row["text"], "score": row["match"], "own": row["right"], "kind": row["kind"]}
