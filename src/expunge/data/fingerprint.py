"""Content hashes of a data set: the same on every platform, different when anything a model would see differs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from expunge.core.types import Example


def fingerprint(parts: Mapping[str, Sequence[Example]]) -> str:
    """SHA-256 over ids, picture keys, texts, groups and kinds, split by split."""
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(f"#{name}\n".encode())
        for e in parts[name]:
            digest.update("\x1f".join((e.id, e.image.key, e.text, e.group or "", e.kind or "")).encode() + b"\n")
    return digest.hexdigest()
