"""What happened in a run, as data: scores with n and interval, and what the page needs to show them.

A record is plain JSON. It never holds forgotten samples; panels may (``showing``), and what does is written, to a file
of its own, only when the user asks for the pictures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Better = Literal["higher", "lower", "oracle"]


@dataclass(frozen=True)
class Score:
    """A number that is never alone. ``low`` and ``high`` bound a 95 % interval; ``n`` counts what was averaged.

    ``better``: "higher", "lower", or "oracle" when the best value is the retrained model's.
    """

    value: float
    n: int
    low: float = math.nan
    high: float = math.nan
    better: Better = "higher"

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.value:.2f} (n={self.n})"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}] (n={self.n})"


Scores = dict[str, Score]
"""Metric name -> score of one model. Names: mi, mi_auc, r_forget, r_forget_shared, r_forget_private, r_test,
r_retain, r_retain_shared, r_retain_private; of models that write also r_forget_named and those of evals/written.py."""

MARKS = {"mi": "m_eff", "r_forget": "m_rel", "r_test": "m_loc"}
"""A score -> the paper's mark for it: 100 minus its distance to the retrained model."""
AVERAGES = {"avg_g": tuple(MARKS), "avg_split": ("mi", "r_forget_shared", "r_forget_private", "r_test")}
"""An average of distances to the retrained model -> the scores that it is taken over."""


def summed_up(gaps: Mapping[str, float]) -> dict[str, float]:
    """``AVERAGES`` and ``MARKS`` out of the distances to the retrained model, score by score, in points.

    An average is absent when one of its scores is: a mean of two would pass for better.
    """
    found = {
        average: sum(gaps[name] for name in names) / len(names)
        for average, names in AVERAGES.items()
        if all(name in gaps for name in names)
    }
    return found | {mark: 100 - gaps[name] for name, mark in MARKS.items() if name in gaps}


@dataclass
class Record:
    """One run. ``scores`` maps a stage (before, after, oracle) to its scores."""

    spec: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Scores] = field(default_factory=dict)
    summary: dict[str, float] = field(default_factory=dict)  # avg_g, m_eff, m_rel, m_loc, delta_*
    cost: dict[str, float] = field(default_factory=dict)  # seconds, seconds_mvi, peak_memory_mb, peak_gpu_memory_mb
    requested: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    matched: list[dict[str, Any]] = field(default_factory=list)  # {"request", "how", …}, see requests/ledger.py
    included: list[dict[str, Any]] = field(default_factory=list)  # look-alikes added: {"id", "like", "apart", "turn"}
    rejected: list[dict[str, str]] = field(default_factory=list)  # {"id", "reason"}
    generator: dict[str, Any] = field(default_factory=dict)  # how close R is to X, private leak rate, ...
    environment: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    truth: dict[str, Any] = field(default_factory=dict)  # of models that write: truth ratios by stage, evals/written.py
    about: dict[str, str] = field(default_factory=dict)  # digests of the data and of the ids that were forgotten

    def to_json(self) -> str:
        return json.dumps(plain(asdict(self)), indent=1, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Record:
        raw = json.loads(text)
        raw["scores"] = {
            stage: {name: _score(one) for name, one in scores.items()} for stage, scores in raw["scores"].items()
        }
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in raw.items() if k in known})


def _score(raw: dict[str, Any]) -> Score:
    numbers: dict[str, Any] = {k: math.nan if v is None else v for k, v in raw.items()}
    return Score(**numbers)


def plain(value: Any) -> Any:
    """JSON has no NaN: write null, read it back as NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value
