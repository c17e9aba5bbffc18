"""What was asked, as a value: the same question has the same text and the same hash everywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from expunge.core.errors import ExpungeError

UNASKED = ("out", "with_samples")  # where the answer goes and what is kept of it change no number
ADDED = {"task": "retrieval", "images": None, "pretrained": None, "make_original": None, "scale": {}}
"""Fields younger than the first runs, with the value that these had: it stays out of the hash, so that theirs fit."""


@dataclass(frozen=True)
class Spec:
    """One run, resolved. ``forget`` holds ids and groups; where a name is both, ``{"id": …}`` or ``{"group": …}``.

    ``data`` may name a variant (``people:validation``) and ``data_options`` what its loader takes (``size`` …).
    ``method`` is a name or the path of a user's file; ``method_source`` is that file's hash, so that an edited file
    is another question. ``against`` is None or the oracle to compare with, ``"retrain"`` or a run folder. ``task`` is
    what is trained and measured. ``images`` and ``pretrained`` are what a user's own data and model were given with,
    so that a later evaluation finds them. ``make_original`` is the recipe by which the original was made of ``model``
    on the user's own data; without it ``model`` is the original. ``scale`` is what was asked of the computing
    (``Scale.asked``).
    """

    model: str
    data: str
    forget: tuple[str | Mapping[str, str], ...]
    method: str = "cse"
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    against: str | None = None
    data_options: Mapping[str, Any] = field(default_factory=dict)
    method_source: str | None = None
    with_samples: bool = False
    out: str | None = None
    task: str = "retrieval"
    images: str | None = None
    pretrained: str | None = None
    make_original: Mapping[str, Any] | None = None
    scale: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The whole spec with its hash, for people to read and ``from_json`` to read back."""
        return json.dumps({**plain(asdict(self)), "hash": self.hash}, indent=1, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """The spec that was written. Unknown keys, or a hash that does not fit, raise ``ExpungeError``."""
        raw = json.loads(text)
        told = raw.pop("hash", None)
        if unknown := sorted(set(raw) - {f.name for f in fields(cls)}):
            raise ExpungeError(f"the spec holds what this version does not know: {', '.join(unknown)}.")
        spec = cls(**{**raw, "forget": tuple(raw["forget"])})
        if told is not None and told != spec.hash:
            raise ExpungeError("the spec was edited after it was written: its hash does not fit.")
        return spec

    @property
    def hash(self) -> str:
        """SHA-256 of what was asked, leaving out where the answer goes and what is kept with it."""
        asked = {k: v for k, v in asdict(self).items() if k not in UNASKED}
        return digest({k: v for k, v in asked.items() if k not in ADDED or v != ADDED[k]})

    @property
    def slug(self) -> str:
        """A folder name for people: method, data and the start of the hash."""
        words = "-".join((Path(self.method).stem, Path(self.data).stem.replace(":", "-")))
        return f"{words}-{self.hash[:8]}"


def plain(value: Any) -> Any:
    """``value`` as JSON data: paths as text, tuples and sets as lists, sets in order."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(v) for v in value)
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return value.as_posix()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{type(value).__name__} has no place in a spec: {value!r}")


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN: equal values give equal text."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
