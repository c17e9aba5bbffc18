"""Checkpoints of one run under way, in a hidden folder beside its destination; they vanish when the run is whole.

    .<name>.checkpoints/
      asked.json         what is being run: another question finds a refusal here, not somebody else's state
      000012-editing/    one checkpoint: a folder as ``core.folder.staged`` leaves it, marker with hashes written last

Each is written beside its place, flushed and renamed, so a kill leaves either nothing or a hidden half that is never
chosen. What is read is checked against its hashes first. Of a training the two newest are kept, of a finished piece of
work its end. Nobody writes here but the process that holds the lock beside it; the system lets go of that when it dies.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.core.atomic import read_object, replace_file
from expunge.core.errors import ExpungeError
from expunge.core.folder import CHECKPOINTS, MARKER, explained, open_whole, staged
from expunge.core.spec import plain
from expunge.core.stopping import Stopped

ASKED, ABOUT = "asked.json", "about.json"
KEPT = 2
WORTH_S = 20.0
_NAME = re.compile(r"^(\d{6,})-")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How often a training is saved: every so many ``seconds``, or every so many ``steps`` where that is above 0."""

    seconds: float = 300.0
    steps: int = 0

    @classmethod
    def read(cls, words: str | float | Pace | None) -> Pace:
        """``5`` or ``5min`` (minutes), ``30s``, ``100steps``; None is every five minutes. Raises ExpungeError."""
        if words is None or isinstance(words, Pace):
            return words or cls()
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|sec|seconds?|m|min|minutes?|steps?)?", str(words).strip().lower())
        number, unit = (float(found[1]), found[2] or "min") if found else (0.0, "")
        if not number or (unit.startswith("step") and number % 1):
            raise ExpungeError(f"cannot save every {words!r}. Say minutes (5), seconds (30s) or steps (100steps).")
        if unit.startswith("step"):
            return cls(steps=int(number))
        return cls(number if unit[0] == "s" else 60 * number)

    def is_due(self, seconds: float, steps: int) -> bool:
        return steps >= self.steps if self.steps else seconds >= self.seconds

    def is_worth(self, seconds: float) -> bool:
        """Whether finished work is kept: what took less than this is done again as fast as it would be read."""
        return bool(self.steps) or seconds >= min(self.seconds, WORTH_S)


class Checkpoints:
    """What was saved of one run. Keys are paths of names: ``anchors/taking the samples apart`` lies within ``anchors``.

    A key is asked for by ``entered``, in the same order in every leg of a run, as a run is the same program each time.
    """

    def __init__(self, folder: Path, pace: Pace | None = None):
        self.folder = folder
        self.pace = pace or Pace()
        self.saved_at = time.monotonic()
        self._within: list[str] = []
        self._met: dict[str, int] = {}

    @classmethod
    def beside(cls, destination: str | Path, pace: Pace | None = None) -> Checkpoints:
        """Those of the run to ``destination``."""
        place = Path(os.path.abspath(destination))
        return cls(place.with_name(f".{place.name}{CHECKPOINTS}"), pace)

    @contextmanager
    def entered(self, name: str) -> Iterator[str]:
        """The key of a piece of work; what is entered inside the block lies within it."""
        key = "/".join([*self._within, name])
        self._met[key] = self._met.get(key, 0) + 1
        if self._met[key] > 1:
            key = f"{key} ({self._met[key]})"
        before, self._within = self._within, [key]
        try:
            yield key
        finally:
            self._within = before

    def save(self, key: str, about: Mapping[str, Any], write: Callable[[Path], None]) -> Path:
        """Write a checkpoint of ``key`` and drop what it makes superfluous. Raises ExpungeError when the disk refuses.

        With ``about["done"]`` it is the end of that piece of work: all that was saved within it goes, too.
        """
        older = self._all()
        number = max((int(found[1]) for p in older if (found := _NAME.match(p.name))), default=0) + 1
        place = self.folder / f"{number:06d}-{_slug(key)}"
        with staged(place, what="checkpoint") as staging:
            write(staging)
            (staging / ABOUT).write_text(json.dumps({**about, "key": key}), encoding="utf-8")
        self.saved_at = time.monotonic()
        mine = [p for p in older if (told := _about(p)) and told["key"] == key]
        for old in mine if about.get("done") else mine[KEPT - 1 :]:
            _remove(old)
        if about.get("done"):
            for old in older:
                if (told := _about(old)) and str(told["key"]).startswith(f"{key}/"):
                    _remove(old)
        return place

    def newest(self, key: str) -> tuple[Path, dict[str, Any]] | None:
        """The newest whole checkpoint of ``key`` with what is known about it; damaged ones are logged and removed."""
        for place in self._all():
            told = _about(place)
            if told is not None and told["key"] != key:
                continue
            try:
                open_whole(place, verify=True)
                if told is None:
                    raise ExpungeError(f"{place / ABOUT} cannot be read")
            except ExpungeError as error:
                _log.warning("passing by the checkpoint %s: %s", place.name, error)
                _remove(place)
            else:
                return place, told
        return None

    def idle_s(self) -> float:
        """Seconds since something was saved, or since this leg of the run began."""
        return time.monotonic() - self.saved_at

    def is_empty(self) -> bool:
        return not self._all()

    def drop(self) -> None:
        """Remove everything. What was asked goes first: without it a half-removed rest is known as rubbish."""
        (self.folder / ASKED).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Log and remove what a kill left half-written."""
        for half in self.folder.glob(".*.partial-*"):
            _log.warning("passing by an unfinished checkpoint: %s", half.name)
            shutil.rmtree(half, ignore_errors=True)

    def _all(self) -> list[Path]:
        """Every checkpoint, the newest first."""
        found = [p for p in self.folder.glob("*-*") if _NAME.match(p.name)]
        return sorted(found, key=lambda p: (int(p.name.partition("-")[0]), p.name), reverse=True)


@contextmanager
def opened(
    destination: str | Path,
    asked: Mapping[str, Any],
    pace: Pace | None = None,
    *,
    resume: bool = True,
    refuse: bool = True,
) -> Iterator[Checkpoints]:
    """The checkpoints of the run to ``destination``: those of a stopped run that asked the same, or none yet.

    They are gone after a block that ends well, and stay after one that does not. ``asked`` is all that the numbers
    depend on, by names that people understand. Raises ExpungeError when those of another question lie there (without
    ``refuse`` they are thrown away, and without ``resume`` whatever lies there is), and when another process works on
    the same run.
    """
    from filelock import FileLock, Timeout

    destination, saved = Path(os.path.abspath(destination)), Checkpoints.beside(destination, pace)
    with explained(destination, "checkpoints"):
        saved.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(saved.folder.with_name(f"{saved.folder.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ExpungeError(
                f"another process is working on {destination}. Wait for it, or name another --out."
            ) from None
    try:
        with explained(destination, "checkpoints"):
            _begin(saved, destination, plain(asked), resume, refuse)
        yield saved
        saved.drop()
    except BaseException as error:
        if saved.is_empty():
            saved.drop()
        elif isinstance(error, Stopped) and not error.saved:
            error.saved = "what was saved before stays"
        raise
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _begin(saved: Checkpoints, destination: Path, asked: dict[str, Any], resume: bool, refuse: bool) -> None:
    """Take over what lies there, or refuse it, or clear it."""
    place = saved.folder / ASKED
    told = read_object(place)
    marker = destination / MARKER
    finished = marker.is_file() and told is not None and marker.stat().st_mtime >= place.stat().st_mtime
    differs = told != asked
    if not resume or told is None or finished or (differs and not refuse):
        saved.drop()  # finished: killed between its last rename and the clearing away
        saved.folder.mkdir(parents=True)
    elif differs and not saved.is_empty():
        differing = [name for name in sorted({*told, *asked}) if told.get(name) != asked.get(name)]
        raise ExpungeError(
            f"{saved.folder} holds a stopped run that differs in: {', '.join(differing)}. Give the command as it was, "
            "name another --out, or throw the stopped run away with --no-resume."
        )
    with replace_file(place) as partial:
        partial.write_text(json.dumps(asked, indent=1, sort_keys=True), encoding="utf-8")
    saved.sweep()


def _about(place: Path) -> dict[str, Any] | None:
    told = read_object(place / ABOUT)
    return told if told is not None and "key" in told else None


def _remove(place: Path) -> None:
    """Its marker first, so that a half-removed checkpoint is none."""
    (place / MARKER).unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)


def _slug(key: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")[:60] or "training"
