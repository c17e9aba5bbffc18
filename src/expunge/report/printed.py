"""Printed numbers, of the paper and of others, to be laid beside ours: ``printed.json`` says where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

ROWS = {
    "cse": "Ours", "retrain": "Retrain", "finetune": "Finetune", "gradient_ascent": "GA", "bad_teacher": "BadT",
    "multidelete": "MultiDelete", "slug": "SLUG", "adversarial": "Adv", "mmunlearner": "MMUnlearner",
}  # fmt: skip
"""Our names of methods -> the paper's rows."""


@cache
def _whole() -> dict[str, Any]:
    return json.loads(files("expunge.report").joinpath("printed.json").read_text(encoding="utf-8"))


def tables() -> list[str]:
    return sorted(_whole()["tables"])


def source(table: str) -> str:
    """Where a table was printed."""
    return _other(table, "source", _whole()["source"])


def title(table: str) -> str:
    """How one speaks of a table: ``the paper’s Table 1``."""
    return _other(table, "title", f"the paper’s {table.replace('table', 'Table ')}")


def measured_on(table: str) -> str:
    """What the printed numbers were measured on."""
    return _other(table, "measured_on", "ALBEF or BLIP and photographs")


def _other(table: str, key: str, default: str) -> str:
    """Of the tables that are not the paper's own each says for itself."""
    return _whole()["others"].get(table, {}).get(key, default)


def row(table: str, size: str, group: str, method: str) -> Mapping[str, Mapping[str, float]]:
    """Metric -> {value, delta} as printed; empty where the paper has no such row. ``size`` is "" in most tables."""
    sizes = _whole()["tables"].get(table, {})
    return sizes.get(size, sizes.get("", {})).get(group, {}).get(method, {})


def rows(table: str, group: str) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    """All rows of a table without sizes: name -> metric -> {value}."""
    return _whole()["tables"][table][""][group]
