"""Tables that a suite asks for by name: which scores stand in which columns, under which heads.

A suite with ``layout = "mllmu"`` has its main sheet laid out as the MMUnlearner paper lays out MLLMU-Bench, one part
for each set of questions: classification, generation (ROUGE-L) and cloze, each with a picture (VQA) and in words alone
(QA). ``"clear"`` does the same for CLEAR. The keys are those of ``evals.written``.
"""

from __future__ import annotations

from dataclasses import dataclass

MODALITIES = {"visual": "VQA", "textual": "QA"}
MEASURES = {
    "classification": "Class", "rougeL": "Gen", "cloze": "Cloze", "truth_ratio": "TR", "probability": "Prob",
}  # fmt: skip
SETS = {
    "forget": "Forget", "test": "Test", "retain": "Retain", "celebrity": "Celebrity", "real_faces": "Real faces",
    "real_world": "Real world",
}  # fmt: skip
UNSAID = "VQA or QA"
"""Stands for the modality in printed figures that do not tell it."""


@dataclass(frozen=True)
class Part:
    """One set of questions: its name and the keys of its columns, in order."""

    title: str
    keys: tuple[str, ...]


def _part(name: str, measures: tuple[str, ...], modalities: tuple[str, ...] = tuple(MODALITIES)) -> Part:
    keys = tuple(f"{name}_{measure}_{modality}" for measure in measures for modality in modalities)
    return Part(SETS[name], keys)


_ALL = ("classification", "rougeL", "cloze")
LAYOUTS: dict[str, tuple[Part, ...]] = {
    "mllmu": tuple(_part(name, _ALL) for name in ("forget", "test", "retain", "celebrity")),
    "clear": tuple(
        Part(SETS[name], (f"{name}_classification_visual", f"{name}_rougeL_visual", f"{name}_rougeL_textual"))
        for name in ("forget", "retain")
    )
    + tuple(_part(name, ("classification",), ("visual",)) for name in ("real_faces", "real_world")),
}


def keys(layout: str) -> tuple[str, ...]:
    """Every column of a layout, in order. Raises KeyError for a layout that does not exist."""
    return tuple(key for part in LAYOUTS[layout] for key in part.keys)


def head(key: str, with_set: bool = True) -> str:
    """``forget_classification_visual`` as ``Forget Class VQA``, or without the set; empty for any other key."""
    for name, title in SETS.items():
        measure, _, modality = key.removeprefix(f"{name}_").partition("_")
        if key.startswith(f"{name}_") and measure in MEASURES and modality in ("", *MODALITIES):
            words = f"{MEASURES[measure]} {MODALITIES.get(modality, UNSAID)}"
            return f"{title} {words}" if with_set else words
    return ""
