"""Work that survives being stopped: a loop over steps that is saved as it goes, and results that are kept.

A run is the same program in every leg, so what is saved is only what the program cannot make again at once: weights,
optimisers, the place in the data, generators of random numbers, and what the run has noted so far. A leg that finds
such a state takes it over where it comes to that piece of work, and ends bit for bit where an uninterrupted run does
(on a CPU; elsewhere as far as the kernels repeat themselves).

Every process of a run of several calls these functions alike. Whatever differs between them (place in the data, random
numbers) is gathered by the first, which alone writes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import nn

from expunge.core import ranks, stopping
from expunge.core.packing import read_state, write_state
from expunge.core.run import Run
from expunge.train.shards import parted, whole

T = TypeVar("T")
STATE, RESULT = "state", "result"


class Stateful(Protocol):
    """What can be saved: torch's modules and optimisers, and whatever keeps to their words.

    States are nested dicts, lists and tuples of tensors, numbers, words and None.
    """

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class Weights:
    """What a training changes: ``trained`` parameters of ``module`` or outside of it, all its buffers, and others of
    its parameters that were written to."""

    def __init__(self, module: nn.Module, trained: Sequence[nn.Parameter]):
        self.module = module
        chosen, inside = {id(p) for p in trained}, {id(p) for p in module.parameters()}
        self.trained = {n for n, p in module.named_parameters() if id(p) in chosen}
        self.outside = [p for p in trained if id(p) not in inside]
        # torch counts in-place changes: momentum copies take no gradient and move all the same.
        self.untouched = {n: p._version for n, p in module.named_parameters() if n not in self.trained}

    def state_dict(self) -> dict[str, Any]:
        parameters = {
            n: p for n, p in self.module.named_parameters()
            if n in self.trained or p._version != self.untouched.get(n)
        }  # fmt: skip
        parameters = {n: whole(p) for n, p in parameters.items()}
        return {"parameters": parameters, "buffers": dict(self.module.named_buffers()), "outside": self.outside}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for here, found in (
            (dict(self.module.named_parameters()), state["parameters"]),
            (dict(self.module.named_buffers()), state["buffers"]),
        ):
            for name, value in found.items():
                here[name].copy_(parted(value, here[name]))
        for parameter, value in zip(self.outside, state["outside"], strict=True):
            parameter.copy_(value)


class Dice:
    """All generators of random numbers of this process that belong to nobody: torch's, python's and numpy's."""

    def state_dict(self) -> dict[str, Any]:
        import numpy

        name, keys, *rest = cast(tuple, numpy.random.get_state(legacy=True))
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
        return {
            "torch": torch.get_rng_state(), "cuda": cuda, "python": random.getstate(),
            "numpy": (name, torch.from_numpy(keys.astype("int64")), *rest),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        import numpy

        torch.set_rng_state(state["torch"])
        if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
            torch.cuda.set_rng_state_all(state["cuda"])
        random.setstate(state["python"])
        name, keys, *rest = state["numpy"]
        numpy.random.set_state((name, keys.numpy().astype("uint32"), *rest))


class Walk:
    """Which examples come next: passes over ``count`` of them in orders that ``rng`` shuffles (None: torch's own)."""

    def __init__(self, count: int, batch: int, rng: random.Random | None = None):
        self.count, self.batch, self.rng = count, batch, rng
        self.order: list[int] = []
        self.at = 0

    def next(self) -> list[int]:
        """Places of the next batch; the last one of a pass may be smaller."""
        if self.at >= len(self.order):
            self.order, self.at = self._shuffled(), 0
        some = self.order[self.at : self.at + self.batch]
        self.at += self.batch
        return some

    def _shuffled(self) -> list[int]:
        if self.rng is None:
            return torch.randperm(self.count).tolist()
        order = list(range(self.count))
        self.rng.shuffle(order)
        return order

    def state_dict(self) -> dict[str, Any]:
        order = torch.tensor(self.order, dtype=torch.long)
        return {"order": order, "at": self.at, "rng": self.rng and self.rng.getstate()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.order, self.at = state["order"].tolist(), state["at"]
        if self.rng is not None:
            self.rng.setstate(state["rng"])


class Fields:
    """Attributes of ``holder`` by name, saved and put back: generators of random numbers, and plain data."""

    def __init__(self, holder: Any, *names: str):
        self.holder, self.names = holder, names

    def state_dict(self) -> dict[str, Any]:
        return {name: _state_of(getattr(self.holder, name)) for name in self.names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.names:
            held = getattr(self.holder, name)
            if isinstance(held, random.Random):
                held.setstate(state[name])
            elif isinstance(held, torch.Generator):
                held.set_state(state[name])
            else:
                setattr(self.holder, name, state[name])


def _state_of(held: Any) -> Any:
    if isinstance(held, random.Random):
        return held.getstate()
    return held.get_state() if isinstance(held, torch.Generator) else held


class Moments:
    """What an optimiser remembers, as whole tensors: nothing that is saved depends on who held which part."""

    def __init__(self, optimizer: torch.optim.Optimizer):
        self.optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        told = self.optimizer.state_dict()
        held = {i: {name: whole(value) for name, value in mine.items()} for i, mine in told["state"].items()}
        return {**told, "state": held}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        held = {i: {n: parted(v, params[i]) for n, v in mine.items()} for i, mine in state["state"].items()}
        self.optimizer.load_state_dict({**state, "state": held})


class Training:
    """A loop over steps under way. Iterate over ``steps(total)``; between two steps it may be saved, or stopped."""

    def __init__(self, run: Run, what: str, parts: Mapping[str, Stateful], passing: tuple[str, ...]):
        self.run, self.what, self.parts, self.passing = run, what, dict(parts), passing
        self.step, self.done = 0, False
        self.key = ""
        self._began = run.clock()
        self._on_disk = False
        self._saved_step = 0
        self._total = 0

    @property
    def shown(self) -> str:
        """What a progress bar says."""
        return f"{self.what}, going on at step {self.step + 1}" if self.step and not self.done else self.what

    def steps(self, total: int) -> Iterator[int]:
        """The numbers of the steps that are still to be taken."""
        self._total = total
        if self.step:
            self.run.progress.advance(min(self.step, total))
        while self.step < total and not self.done:
            yield self.step
            self.step += 1
            if self.key:
                self._stepped()

    def take_over(self, key: str) -> None:
        """Go on from the newest whole checkpoint of ``key``, if there is one."""
        assert self.run.saved is not None
        self.key, saved = key, self.run.saved
        found = ranks.done_by_first(lambda: saved.newest(key))
        if found is None:
            return
        place, about = found
        state = read_state(place / STATE)
        for name, part in self.parts.items():
            if name in state["parts"]:
                part.load_state_dict(state["parts"][name])
        mine = state["each"][ranks.index()]
        for name, part in self._own().items():
            if name in mine:
                part.load_state_dict(mine[name])
        self.step, self.done = about["step"], about["done"]
        self._on_disk, self._saved_step = True, self.step
        self.run.resume(state["ledger"])
        self._began = self.run.clock() - about["seconds"]

    def finish(self) -> None:
        """Keep the end, where that is worth it: what comes next may take long."""
        assert self.run.saved is not None
        if not self.done and (self._on_disk or self.run.saved.pace.is_worth(self.run.clock() - self._began)):
            self._save(done=True)

    def _stepped(self) -> None:
        saved = self.run.saved
        assert saved is not None
        due = saved.pace.is_due(saved.idle_s(), self.step - self._saved_step)
        wish = max(ranks.gather(max(stopping.asked() * 2, int(due))))
        if wish:
            self._save(done=False)
        if wish > 1:
            raise stopping.Stopped(wish // 2, f"step {self.step} of {self._total} of {self.what} is saved")

    def _save(self, *, done: bool) -> None:
        """Write what is needed to go on; of a training that is done, what it left."""
        saved = self.run.saved
        assert saved is not None
        shared, own = {}, self._own()
        for name, part in self.parts.items():
            if name not in own and not (done and name in self.passing):
                shared[name] = part.state_dict()
        mine = {name: part.state_dict() for name, part in own.items() if not (done and name in self.passing)}
        state = {"parts": shared, "each": ranks.gather(mine), "ledger": self.run.ledger()}
        about = {"step": self.step, "done": done, "seconds": self.run.clock() - self._began, "what": self.what}

        def write(folder: Path) -> None:
            (folder / STATE).mkdir()
            write_state(state, folder / STATE)

        ranks.done_by_first(lambda: str(saved.save(self.key, about, write)))
        saved.saved_at = time.monotonic()  # the others have saved, too
        self._on_disk, self._saved_step = True, self.step

    def _own(self) -> dict[str, Stateful]:
        """What differs between processes: all but weights and optimisers, which are kept alike."""
        shared = (Weights, Moments, nn.Module, torch.optim.Optimizer)
        return {n: p for n, p in self.parts.items() if not isinstance(p, shared)} | {"dice": Dice()}


@contextmanager
def lasting(
    run: Run,
    what: str,
    parts: Mapping[str, Stateful],
    *,
    passing: tuple[str, ...] = ("optimizer", "walk"),
    kept: bool = True,
) -> Iterator[Training]:
    """A training of ``parts`` that is saved with the run's checkpoints, and goes on from there when it was stopped.

    ``passing`` names the parts that nobody needs once it is done. Without checkpoints, or where it is not
    to be ``kept``, it is a plain loop.
    """
    training = Training(run, what, parts, passing)
    if run.saved is None or not kept:
        yield training
        return
    with run.saved.entered(what) as key, stopping.deferred():
        training.take_over(key)
        yield training
        training.finish()


def once(run: Run, name: str, make: Callable[[], T], write: Callable[[T, Path], None], read: Callable[[Path], T]) -> T:
    """What ``make`` gives, kept with the run's checkpoints by ``write``: a run that goes on ``read``s it instead.

    What was saved while it was being made goes when it is whole. Without checkpoints it is ``make()``.
    """
    if run.saved is None:
        return make()
    saved, began = run.saved, run.clock()
    with saved.entered(name) as key:
        found = ranks.done_by_first(lambda: saved.newest(key))
        if found is not None:
            state = read_state(found[0] / STATE)
            Dice().load_state_dict(state["each"][ranks.index()])
            run.resume(state["ledger"])
            return read(found[0] / RESULT)
        made = make()
        if saved.pace.is_worth(run.clock() - began):
            state = {"each": ranks.gather(Dice().state_dict()), "ledger": run.ledger()}

            def fill(folder: Path) -> None:
                (folder / STATE).mkdir()
                (folder / RESULT).mkdir()
                write_state(state, folder / STATE)
                write(made, folder / RESULT)

            ranks.done_by_first(lambda: str(saved.save(key, {"done": True}, fill)))
        return made
