"""What a data set's files were when they were last read: a list with hashes, kept in the cache, never beside the data.

``<cache>/manifests/<data>-<hash of the folders>.json`` names every file with its SHA-256, its size and time, how many
items were accepted and rejected, and every picture with what decoding it came to. The next start passes over pictures
of unchanged size and time, so that 31 000 of them are decoded once; ``expunge check`` reads all of them again. A file
with another content is named. The list holds file names and hashes, no text and no pixel; deleting it loses nothing but
time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from expunge.core.atomic import replace_file
from expunge.core.cache import cache_root
from expunge.core.errors import Problem
from expunge.core.spec import digest

FORMAT = 2
NAMED = 20  # changed files that are named one by one


@dataclass(frozen=True)
class Listed:
    """A file of items: ``accepted`` and ``rejected`` count these, where they were counted."""

    sha256: str
    bytes: int
    mtime_ns: int
    accepted: int = 0
    rejected: int = 0


class Seen(NamedTuple):
    """A picture as it was found. ``problem`` is what decoding failed with, or None; ``looks`` its perceptual hashes."""

    sha256: str
    bytes: int
    mtime_ns: int
    looks: tuple[int, ...] = ()
    problem: tuple[str, str] | None = None


@dataclass
class Manifest:
    """``decoder`` names the policy and the library that decoded: another one decodes again."""

    data: str
    folders: Mapping[str, str]
    decoder: str
    files: dict[str, Listed] = field(default_factory=dict)
    pictures: dict[str, Seen] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return cache_root() / "manifests" / f"{self.data}-{digest(self.folders)[:16]}.json"

    def list_file(self, path: Path, accepted: int, rejected: int) -> None:
        """Note a file of items with its hash. Raises OSError where it cannot be read."""
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        stat = path.stat()
        self.files[str(path)] = Listed(sha256, stat.st_size, stat.st_mtime_ns, accepted, rejected)

    def recall(self) -> Manifest | None:
        """What was kept when these folders were last read; None where there is nothing, or nothing usable."""
        try:
            told = json.loads(self.path.read_text(encoding="utf-8"))
            if told["format"] != FORMAT:
                return None
            return Manifest(
                told["data"], told["folders"], told["decoder"],
                {name: Listed(**one) for name, one in told["files"].items()},
                {name: _seen(one) for name, one in told["pictures"].items()},
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep(self) -> Problem | None:
        """Write it. A cache that cannot be written costs time and stops nothing: that is said, not raised."""
        told = {
            "format": FORMAT, "data": self.data, "folders": dict(self.folders), "decoder": self.decoder,
            "files": {name: asdict(one) for name, one in sorted(self.files.items())},
            "pictures": dict(sorted(self.pictures.items())),
        }  # fmt: skip
        try:
            with replace_file(self.path) as partial:
                partial.write_text(json.dumps(told, indent=0, ensure_ascii=False), encoding="utf-8")
        except OSError as error:
            found = f"the list of files cannot be kept ({error.strerror or error})"
            return Problem(str(self.path), found, "The next start decodes every picture again; or set EXPUNGE_CACHE")
        return None

    def changes(self, old: Manifest | None) -> list[Problem]:
        """What is no longer what it was, file by file: the first ones by name, then how many."""
        if old is None:
            return []
        before: dict[str, Listed | Seen] = {**old.files, **old.pictures}
        now: dict[str, Listed | Seen] = {**self.files, **self.pictures}
        changed = [n for n, one in now.items() if n in before and before[n].sha256 != one.sha256]
        warnings = [Problem(name, _changed(before[name], now[name]), _MEANT) for name in changed[:NAMED]]
        if len(changed) > NAMED:
            warnings.append(Problem(self.data, f"{len(changed) - NAMED:,} more files have changed", _MEANT))
        return warnings


_MEANT = "If that was not meant, fetch it again"


def _changed(before: Listed | Seen, now: Listed | Seen) -> str:
    was, is_now = (f"{one.bytes:,} bytes, sha256 {one.sha256[:12]}…" for one in (before, now))
    return f"has changed since it was last read (was {was}; is {is_now})"


def _seen(one: list[Any]) -> Seen:
    sha256, size, mtime_ns, looks, problem = one
    if not looks and problem is None:
        raise ValueError("a sound picture without its hash")
    why = None if problem is None else (str(problem[0]), str(problem[1]))
    return Seen(str(sha256), int(size), int(mtime_ns), tuple(map(int, looks)), why)
