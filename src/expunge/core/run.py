"""A run under way: its seed, its log, its progress. Methods see this and nothing else of the outside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from expunge.core.checkpoints import Checkpoints

from expunge.core.scale import Scale


class Progress(Protocol):
    """Where a loop says how far it is; the command line draws it as a bar with the time left."""

    def start(self, what: str, total: int) -> None: ...

    def advance(self, steps: int = 1) -> None: ...

    def finish(self) -> None: ...


class Silent:
    """Progress that nobody watches."""

    def start(self, what: str, total: int) -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        pass

    def finish(self) -> None:
        pass


Remember = Callable[[Mapping[str, Any], Callable[[Path], None]], Path]
"""(key, build) -> the folder that ``build`` filled for that key, now or in an earlier run. The key holds all that
changes what is built, but for the weights of the method's ``models``: who remembers adds them."""


@dataclass
class Run:
    """What a method may know about its surroundings.

    ``lend`` gives models by name: a zoo name, or "pretrained" for the model that the original was trained from; a
    method that wants a generator in another precision than its size suggests adds ``precision=``.
    ``seed`` drives every random choice. ``log`` appends one line of named numbers to ``log.jsonl``. ``folder`` is
    the staging folder, or None for a run in memory. ``seconds`` collects named durations. ``facts`` collects named
    numbers, or words, for the record's ``generator`` part; ``keep`` holds what panels want to show (anchors), in
    memory only. ``remember`` keeps what many runs of a grid need (``bench`` sets it); it is None for a run that stands
    for itself, which keeps nothing. ``spared`` are the seconds that remembered work once took, since the clock began:
    part of the cost.
    ``saved`` is where trainings under way are saved (``train.resuming``), None where a stop loses them; ``peak_mb`` is
    the most memory that earlier legs of a resumed run held when they were saved, in 10^6 bytes. ``scale`` is how
    training loops compute.
    """

    seed: int = 0
    folder: Path | None = None
    progress: Progress = field(default_factory=Silent)
    lend: Callable[..., Any] | None = None
    terms: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    keep: dict[str, Any] = field(default_factory=dict)
    remember: Remember | None = None
    spared: float = 0.0
    saved: Checkpoints | None = None
    peak_mb: float = 0.0
    scale: Scale = Scale()

    def __post_init__(self) -> None:
        self._timed: dict[str, float] = {}  # of blocks under way: what the clock said when they began
        self.begin()

    def begin(self) -> None:
        """Set the clock to nothing, just before the work whose seconds are told.

        What is made or awaited before that may take long in one leg of a resumed run and be found at once in the next.
        A ledger whose clock held it would count it as the work's.
        """
        self._origin, self.spared = time.perf_counter(), 0.0

    def log(self, **numbers: Any) -> None:
        self.terms.append(numbers)
        if self.folder is not None:
            with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(numbers) + "\n")

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the wall-clock seconds of a block, in all its legs, to ``seconds[name]``.

        No block stands within another of its name.
        """
        self._timed[name] = self.clock()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - self._timed.pop(name)

    def clock(self) -> float:
        """Seconds of work since the clock began: those that passed, and those that were spared."""
        return time.perf_counter() - self._origin + self.spared

    def ledger(self) -> dict[str, Any]:
        """All that was noted so far, as plain data for a checkpoint."""
        import psutil

        resident_mb = psutil.Process().memory_info().rss / 1e6
        return {
            "terms": list(self.terms), "seconds": dict(self.seconds), "facts": dict(self.facts),
            "clock": self.clock(), "peak_mb": max(self.peak_mb, resident_mb),
            "timed": {name: self.clock() - began for name, began in self._timed.items()},
        }  # fmt: skip

    def resume(self, ledger: dict[str, Any]) -> None:
        """Go on from a ledger: the log is rewritten as it was then, and the clock goes on from there.

        A ledger that ends before what is already noted belongs to work that is being repeated: it changes nothing.
        """
        if len(ledger["terms"]) < len(self.terms):
            return
        self.terms[:] = ledger["terms"]
        self.seconds |= ledger["seconds"]
        self.facts |= ledger["facts"]
        self.peak_mb = max(self.peak_mb, ledger["peak_mb"])
        self.spared += ledger["clock"] - self.clock()
        for name, seconds in ledger.get("timed", {}).items():  # the leg before may have waited longer to begin it
            if name in self._timed:
                self._timed[name] = self.clock() - seconds
        if self.folder is not None:
            (self.folder / "log.jsonl").write_text("".join(json.dumps(n) + "\n" for n in self.terms), encoding="utf-8")

    @contextmanager
    def stage(self, what: str, total: int) -> Iterator[None]:
        """A progress bar around a loop of ``total`` steps; call ``progress.advance`` inside."""
        self.progress.start(what, total)
        try:
            yield
        finally:
            self.progress.finish()
