"""What was prepared (originals, retrained models, a grid's anchors), kept and found again by what made it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from expunge.core.errors import ExpungeError
from expunge.core.folder import open_run, staged
from expunge.core.spec import canonical, digest

KEY = "key.json"


def cache_root() -> Path:
    """``EXPUNGE_CACHE`` where it is set, otherwise the platform's cache folder."""
    if told := os.environ.get("EXPUNGE_CACHE"):
        return Path(told).expanduser()
    if sys.platform == "win32":
        above = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        above = "~/Library/Caches"
    else:
        above = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(above).expanduser() / "expunge"


def cached(key: Mapping[str, Any], build: Callable[[Path], None], root: Path | None = None) -> Path:
    """The folder that ``build`` filled for ``key``; builds it when it is not there, or not whole.

    Everything that changes the result belongs into ``key``: the recipe and its version, the data's fingerprint, the
    seed. Two processes that ask at once build once: the second waits for the first and takes what it made. ``root`` is
    where it is kept, by default ``cache_root()``.
    """
    from filelock import FileLock

    folder = (root or cache_root()) / digest(key)[:32]
    if _is_whole(folder):
        return folder
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        reason = f"in {folder.parent}: {error.strerror or error}."
        if root is not None:
            raise ExpungeError(f"cannot keep what was prepared {reason}") from error
        raise ExpungeError(f"cannot keep prepared models {reason} Set EXPUNGE_CACHE to another folder.") from error
    try:
        if not _is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            with staged(folder) as staging:
                build(staging)
                (staging / KEY).write_text(canonical(key), encoding="utf-8")
    finally:
        lock.release()
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        return KEY in open_run(folder).files
    except ExpungeError:
        return False
