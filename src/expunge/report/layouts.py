"""Tables that a suite asks for by name: which scores stand in which columns, under which heads.

A suite with ``layout = "mllmu"`` has its main sheet laid out as the MMUnlearner paper lays out MLLMU-Bench, one part
for each set of questions: classification, generation (ROUGE-L) and cloze, each with a picture (VQA) and in words alone
(QA). ``"clear"`` does the same for CLEAR. The keys are those of ``evals.written``.

So many columns are hard to compare, so there are averages of them: how far a model is from the retrained one on a set
asked in one way (``away_forget_visual``), and on all columns (``away``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

MODALITIES = {"visual": "VQA", "textual": "QA", "visual_shared": "VQA seen", "textual_shared": "QA seen"}
MEASURES = {
    "classification": "Class", "rougeL": "Gen", "cloze": "Cloze", "rouge1": "R-1", "rouge2": "R-2",
    "rougeL_recall": "R-L recall", "bleu": "BLEU", "probability": "Prob", "truth_ratio": "TR",
    "truth_ratio_clear": "TR of CLEAR",
}  # fmt: skip
SETS = {
    "forget": "Forget", "test": "Test", "retain": "Retain", "celebrity": "Celebrity", "real_faces": "Real faces",
    "real_world": "Real world",
}  # fmt: skip
OVER_ALL = {
    **{f"forget_quality_{m}": f"FQ {said} (p)" for m, said in MODALITIES.items()},
    **{f"forget_gap_{m}": f"KS {said}" for m, said in MODALITIES.items()},
    "model_utility": "MU",
    **{f"model_utility_of_{n}": f"MU of {n}" for n in range(1, 10)},
}
"""Scores of a model as a whole; MU of fewer than TOFU's nine numbers says of how many."""
ASKED = ("visual", "textual")
AWAY = {
    **{f"away_{name}_{m}": f"{title} {MODALITIES[m]}" for name, title in SETS.items() for m in ASKED},
    "away": "All columns",
}
"""Averages of distances to the retrained model, in points."""
UNSAID = "VQA or QA"
"""Stands for the modality in printed figures that do not tell it."""


@dataclass(frozen=True)
class Part:
    """One set of questions: its name and the keys of its columns, in order."""

    title: str
    keys: tuple[str, ...]


def _part(name: str, measures: tuple[str, ...], modalities: tuple[str, ...] = ASKED) -> Part:
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


def averages(layout: str) -> dict[str, tuple[str, ...]]:
    """Those of ``AWAY`` that a layout has -> the columns that each is taken over."""
    columns = keys(layout)
    sets = {
        f"away_{name}_{m}": tuple(key for key in columns if key.startswith(f"{name}_") and key.endswith(f"_{m}"))
        for name in SETS for m in ASKED
    }  # fmt: skip
    return {name: some for name, some in sets.items() if some} | {"away": columns}


def away(layout: str, summary: Mapping[str, float]) -> dict[str, float]:
    """The averages of a layout out of a summary's ``delta_<column>``; absent where one of their columns is."""
    return {
        name: fmean(summary[f"delta_{key}"] for key in some)
        for name, some in averages(layout).items()
        if all(f"delta_{key}" in summary for key in some)
    }


def written_keys(task: str) -> tuple[str, ...]:
    """The columns of a run's own table beside those of every task: of the forgotten, and over all; the page has all."""
    if task != "answering":
        return ()
    return tuple(key for key in (*keys("mllmu"), *OVER_ALL) if key.startswith(("forget_", "model_")))


def is_share(key: str) -> bool:
    """Whether a score of ``evals.written`` runs from 0 to 1, and not to 100."""
    return key in OVER_ALL or any(f"_{measure}_" in key for measure in ("probability", "truth_ratio"))


def head(key: str, with_set: bool = True) -> str:
    """``forget_classification_visual`` as ``Forget Class VQA``, or without the set; empty for any other key."""
    return _HEADS.get(key, ("", ""))[not with_set]


def everything(keys: Iterable[str]) -> list[Part]:
    """Those of ``keys`` that a model's writing was scored by, set by set, in a fixed order."""
    found = set(keys)
    parts = [
        Part(title, tuple(key for key in _HEADS if key in found and key.startswith(f"{name}_") and key not in OVER_ALL))
        for name, title in SETS.items()
    ]
    parts.append(Part("Over all", tuple(key for key in OVER_ALL if key in found)))
    return [part for part in parts if part.keys]


def _heads() -> dict[str, tuple[str, str]]:
    made = {key: (head, head) for key, head in (OVER_ALL | AWAY).items()}
    for name, title in SETS.items():
        for measure, short in MEASURES.items():
            for modality, said in (*MODALITIES.items(), ("", UNSAID)):
                key = "_".join(filter(None, (name, measure, modality)))
                made[key] = (f"{title} {short} {said}", f"{short} {said}")
    return made


_HEADS = _heads()
