"""What was prepared (originals, retrained models, a grid's anchors), kept and found again by what made it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from expunge.core import ranks
from expunge.core.errors import ExpungeError
from expunge.core.folder import open_run, scratch, staged
from expunge.core.spec import canonical, digest

KEY = "key.json"
_WAITS: ContextVar[bool] = ContextVar("whether to wait for what another process is making", default=True)


class Busy(BaseException):
    """Another process is making what is asked for. No error: nothing that handles errors on the way may take it for
    one (as with an interrupt), so it is no ``Exception``."""


@contextmanager
def without_waiting() -> Iterator[None]:
    """Here ``cached`` raises Busy where it would wait for another process."""
    before = _WAITS.set(False)
    try:
        yield
    finally:
        _WAITS.reset(before)


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
    seed. Two processes that ask at once build once: the second waits for the first and takes what it made, or raises
    Busy (``without_waiting``). ``root`` is where it is kept, by default ``cache_root()``.
    """
    folder = (root or cache_root()) / digest(key)[:32]
    if ranks.count() > 1:
        return _cached_together(folder, key, build, root)
    if _is_whole(folder):
        return folder
    with _locked(folder, root):
        if not _is_whole(folder):
            with _emptied(folder) as staging:
                build(staging)
                (staging / KEY).write_text(canonical(key), encoding="utf-8")
    return folder


def _cached_together(folder: Path, key: Mapping[str, Any], build: Callable[[Path], None], root: Path | None) -> Path:
    """Ranks build together, as what is built may be trained by all of them; the first alone keeps it."""
    with ranks.by_first(lambda: _locked(folder, root), nullcontext):
        if not ranks.from_first(_is_whole(folder)):
            with ranks.by_first(lambda: _emptied(folder), scratch) as staging:
                build(staging)
                (staging / KEY).write_text(canonical(key), encoding="utf-8")
    with ranks.together():
        if not _is_whole(folder):
            raise ExpungeError(
                f"process {ranks.index()} does not see what was prepared in {folder.parent}: with several machines "
                "that must be a folder that all of them share. Set EXPUNGE_CACHE to one."
            )
    return folder


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    with staged(folder) as staging:
        yield staging


@contextmanager
def _locked(folder: Path, root: Path | None) -> Iterator[None]:
    """Whoever else wants to prepare the same waits here, or is told that somebody does."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder.with_suffix(".lock"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=_WAITS.get())
    except Timeout as held:
        raise Busy(f"another process is making {folder}") from held
    except OSError as error:
        reason = f"in {folder.parent}: {error.strerror or error}."
        if root is not None:
            raise ExpungeError(f"cannot keep what was prepared {reason}") from error
        raise ExpungeError(f"cannot keep prepared models {reason} Set EXPUNGE_CACHE to another folder.") from error
    try:
        yield
    finally:
        lock.release()


def _is_whole(folder: Path) -> bool:
    try:
        return KEY in open_run(folder).files
    except ExpungeError:
        return False
