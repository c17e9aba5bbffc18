"""The paper's printed numbers, to be laid beside ours: ``printed.json`` says where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

ROWS = {
    "cse": "Ours", "retrain": "Retrain", "finetune": "Finetune", "gradient_ascent": "GA", "bad_teacher": "BadT",
    "multidelete": "MultiDelete", "slug": "SLUG", "adversarial": "Adv",
}  # fmt: skip
"""Our names of methods -> the paper's rows."""


@cache
def _whole() -> dict[str, Any]:
    return json.loads(files("expunge.report").joinpath("printed.json").read_text(encoding="utf-8"))


def tables() -> list[str]:
    return sorted(_whole()["tables"])


def source() -> str:
    return _whole()["source"]


def row(table: str, size: str, group: str, method: str) -> Mapping[str, Mapping[str, float]]:
    """Metric -> {value, delta} as printed; empty where the paper has no such row. ``size`` is "" in most tables."""
    sizes = _whole()["tables"].get(table, {})
    return sizes.get(size, sizes.get("", {})).get(group, {}).get(method, {})


def rows(table: str, group: str) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    """All rows of a table without sizes: name -> metric -> {value}."""
    return _whole()["tables"][table][""][group]
