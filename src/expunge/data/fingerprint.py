"""Content hashes of a data set: the same on every platform, different when anything a model would see differs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from expunge.core.types import Example

_LINE = re.compile(r":\d+$")
"""The end of the origin of a line of the user's own (``data.jsonl``). Embedded worlds have no origin, published sets
have items and rows: their sources are nobody's choice, and stay out so that what was made of them is found again."""


def fingerprint(parts: Mapping[str, Sequence[Example]]) -> str:
    """SHA-256 over ids, picture keys, texts, groups, kinds and, where there are any, choices, answers and labels.

    Of questions to a model that writes also their form, and the answers in other words and wrong; of a line of the
    user's own also its source, which decides whom audits compare with whom.
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
            if e.source and _LINE.search(e.origin):
                told += (f"\x1e{e.source}",)  # marked: it might be the end of what stands before
            digest.update("\x1f".join(told).encode() + b"\n")
    return digest.hexdigest()
