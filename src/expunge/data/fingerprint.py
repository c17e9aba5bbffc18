"""Content hashes of a data set: the same on every platform, different when anything a model would see differs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from expunge.core.types import Example


def fingerprint(parts: Mapping[str, Sequence[Example]]) -> str:
    """SHA-256 over ids, picture keys, texts, groups, kinds and, where there are any, choices, answers and labels.

    Of questions to a model that writes also their form, and the answers in other words and wrong.
    """
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(f"#{name}\n".encode())
        for e in parts[name]:
            told = (e.id, e.image.key, e.text, e.group or "", e.kind or "")
            if e.question or e.label:
                told += (e.question or "", *e.choices, e.answer or "", e.label or "", e.statement)
            if e.form:
                told += (e.form, *e.paraphrased, *e.perturbed)
            digest.update("\x1f".join(told).encode() + b"\n")
    return digest.hexdigest()
