"""Cells on disk: one file for each that is finished, one for each that failed, a lock while one is being worked on.

A cell's identity is the hash of what it is about (method, options, models, data, who, seed, task), so a suite that asks
the same again finds it, and another suite's grid may share it. Versions, commit and hardware are recorded, not hashed.

    cells/<hash>.json     what was measured
    failed/<hash>.json    why it was not, with the traceback
    running/<hash>.json   who works on it now
    locks/<hash>.lock     held while somebody does; the system lets go of it when a worker dies
    anchors/<hash>/       what several cells make alike (``workshop``)
    saved/                checkpoints of cells under way, hidden; gone when the cell is finished

A folder may be shared by several suites: each has a folder of its own in it, with its plan, tables and page.
"""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from expunge.core.atomic import read_object, replace_file
from expunge.core.errors import ExpungeError
from expunge.core.record import Score
from expunge.core.spec import digest, plain

Kind = Literal["before", "retrained", "method"]
MADE_AT_ONCE = ("cells", "failed", "running", "locks")
CELL_FORMAT = 1
KINDS = (*MADE_AT_ONCE, "anchors", "saved")
"""What a shelf's folder holds, beside a folder for each suite."""


@dataclass(frozen=True)
class Setting:
    """What methods share: one model, one data set, one list of who is forgotten, one seed, one task.

    ``weights`` and ``fingerprint`` are hashes of the model's files and of the data, so that a changed file at the same
    place is another setting; ``recipe`` is how original and retrained models are made. ``paths`` holds where things lie
    on this machine and what only refuses; it has no part in the identity.
    """

    model: str
    weights: str
    data: str
    fingerprint: str
    who: tuple[str, ...]
    seed: int
    task: str
    data_options: Mapping[str, Any] = field(default_factory=dict)
    pretrained: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    paths: Mapping[str, Any] = field(default_factory=dict, compare=False)
    make_original: bool = False

    def content(self) -> dict[str, Any]:
        """All but the paths, as plain data; ``make_original`` only where it is so, for cells older than it are not."""
        told = {k: plain(v) for k, v in vars(self).items() if k != "paths"}
        return told if self.make_original else {k: v for k, v in told.items() if k != "make_original"}


@dataclass(frozen=True)
class Cell:
    """One measurement. ``label`` is for people and has no part in the identity.

    ``models`` are hashes of the models that options name (a method's generators), by option.
    """

    kind: Kind
    setting: Setting
    method: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    label: str = field(default="", compare=False)
    path: str = field(default="", compare=False)
    analyses: tuple[str, ...] = ()

    def content(self) -> dict[str, Any]:
        """All that the answer depends on, as plain data."""
        asked = {"kind": self.kind, **self.setting.content()}
        if self.kind == "method":
            asked |= {"method": self.method, "options": plain(self.options), "method_source": self.source}
            asked |= {"models": plain(self.models)} if self.models else {}
        if self.analyses:  # only then, so that a cell without is the cell of every suite
            asked["analyses"] = sorted(self.analyses)
        return asked

    @cached_property
    def hash(self) -> str:
        return digest(self.content())[:32]

    def __str__(self) -> str:
        return self.label


def folder_of(suite: str, out: str | Path | None) -> Path:
    """Where the plan, tables and page of a suite lie: below ``out``, which holds the cells of all its suites.

    Raises ExpungeError for a suite that is called like something of the shelf's.
    """
    if suite in KINDS:
        raise ExpungeError(f"a suite cannot be called {suite!r}: the folder of that name holds what suites share.")
    return Path(out or Path("runs") / "bench") / suite


class Shelf:
    """The cells of one or several suites. Several workers, in any number of processes, may use one at the same time."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        for name in MADE_AT_ONCE:
            try:
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ExpungeError(f"cannot write to {self.folder}: {error.strerror or error}.") from error

    # ---------------------------------------------------------------------------------------- reading

    def result(self, cell_hash: str) -> dict[str, Any] | None:
        """What was measured, or None when the cell is not finished. A file that is no result of this cell is none."""
        return self._read("cells", cell_hash)

    def failure(self, cell_hash: str) -> dict[str, Any] | None:
        return self._read("failed", cell_hash)

    def is_settled(self, cell: Cell) -> bool:
        """Finished, or failed and not to be tried again."""
        return self.state(cell) in ("done", "failed")

    def state(self, cell: Cell) -> Literal["done", "failed", "missing"]:
        if self.result(cell.hash) is not None:
            return "done"
        return "failed" if self.failure(cell.hash) is not None else "missing"

    def running(self) -> list[dict[str, Any]]:
        """What is being worked on: notes of workers that are alive, the longest at it first."""
        found = []
        for path in (self.folder / "running").glob("*.json"):
            told = read_object(path)
            if told and _is_alive(told):
                found.append(told)
        return sorted(found, key=lambda one: one["since"])

    def _read(self, kind: str, cell_hash: str) -> dict[str, Any] | None:
        told = read_object(self.folder / kind / f"{cell_hash}.json")
        return told if told is not None and told.get("hash") == cell_hash else None

    # ---------------------------------------------------------------------------------------- writing

    @contextmanager
    def claim(self, cell: Cell) -> Iterator[bool]:
        """Whether the cell is ours for the length of the block. Never waits: another worker's cell is left to it."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / "locks" / f"{cell.hash}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            (self.folder / "running" / f"{cell.hash}.json").unlink(missing_ok=True)
            lock.release()

    def note(self, cell: Cell, since: float, what: str = "") -> None:
        """Say what this process works on and how far it is. Losing a note loses nothing."""
        told = {
            "hash": cell.hash, "label": cell.label, "since": since, "said": time.time(), "what": what,
            "pid": os.getpid(), "host": socket.gethostname(),
        }  # fmt: skip
        path = self.folder / "running" / f"{cell.hash}.json"
        partial = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}")
        try:
            partial.write_text(json.dumps(told), encoding="utf-8")
            os.replace(partial, path)
        except OSError:  # a full disk will speak up where it matters
            partial.unlink(missing_ok=True)

    def finish(self, cell: Cell, measured: Mapping[str, Any]) -> None:
        self._write("cells", cell, measured)
        (self.folder / "failed" / f"{cell.hash}.json").unlink(missing_ok=True)

    def adopt(self, told: Mapping[str, Any]) -> None:
        """Put a cell here that was finished elsewhere, as it is."""
        self._put("cells", told)
        (self.folder / "failed" / f"{told['hash']}.json").unlink(missing_ok=True)

    def fail(self, cell: Cell, error: BaseException, environment: Mapping[str, Any], seconds: float) -> None:
        reason = str(error) if isinstance(error, ExpungeError) else f"{type(error).__name__}: {error}"
        trace = "".join(traceback.format_exception(error))
        self._write(
            "failed", cell, {"reason": reason, "traceback": trace, "wall_seconds": seconds, "environment": environment}
        )

    def forgive(self, cells: Iterator[Cell] | list[Cell]) -> int:
        """Take failed cells as missing again; how many."""
        failed = [cell for cell in cells if self.state(cell) == "failed"]
        for cell in failed:
            (self.folder / "failed" / f"{cell.hash}.json").unlink(missing_ok=True)
        return len(failed)

    def sweep(self, older_than: float = 600.0) -> None:
        """Clear away what killed workers left half-written: hidden files that nobody has touched for a while."""
        for kind in ("cells", "failed", "running"):
            for path in (self.folder / kind).glob(".*"):
                try:
                    if time.time() - path.stat().st_mtime > older_than:
                        path.unlink()
                except OSError:
                    pass  # another worker was faster

    def _write(self, kind: str, cell: Cell, told: Mapping[str, Any]) -> None:
        whole = {
            "format": CELL_FORMAT, "hash": cell.hash, "label": cell.label, "cell": cell.content(), **told,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }  # fmt: skip
        self._put(kind, _finite(whole))

    def _put(self, kind: str, whole: Mapping[str, Any]) -> None:
        with replace_file(self.folder / kind / f"{whole['hash']}.json") as partial:
            partial.write_text(json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False), "utf-8")


def scores_of(told: Mapping[str, Any]) -> dict[str, Score]:
    """A result's scores, with NaN where JSON has null."""
    found: dict[str, dict[str, Any]] = {
        name: {k: float("nan") if v is None else v for k, v in one.items()} for name, one in told["scores"].items()
    }
    return {name: Score(**numbers) for name, numbers in found.items()}


def _finite(value: Any) -> Any:
    """JSON has no NaN: write null."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def _is_alive(told: Mapping[str, Any]) -> bool:
    """Whether the process of a note lives; one on another machine is believed for an hour after its last word."""
    import psutil

    if told.get("host") != socket.gethostname():
        return time.time() - float(told.get("said", told.get("since", 0))) < 3600
    try:
        return psutil.Process(int(told["pid"])).status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, ValueError):
        return False
