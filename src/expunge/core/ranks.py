"""Several processes ("ranks") that do one run together, started by ``accelerate launch`` or another launcher.

The first rank alone prints, stages and writes. What only it can know it tells the others (``from_first``); what may go
wrong on one of them is done ``together``, so that all of them stop where one does and nobody waits for ever. With one
process every function here does nothing, and nothing is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from expunge.core.errors import ExpungeError

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long a rank waits for the others: the first may be drawing a page, or a slow disk may be read."""
_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_INDICES = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
"""Where launchers say how many there are and which one this is; the names that accelerate reads, too."""


class Elsewhere(ExpungeError):
    """Another rank stopped, and says why; this one has nothing to add."""


def count() -> int:
    """How many processes work on this run."""
    return _told(_COUNTS, 1)


def index() -> int:
    """Which of them this is, from 0."""
    return _told(_INDICES, 0) if count() > 1 else 0


def is_first() -> bool:
    return index() == 0


def _told(names: tuple[str, ...], otherwise: int) -> int:
    found = (os.environ.get(name, "") for name in names)
    return next((int(text) for text in found if text.isdigit()), otherwise)


def refuse_many(why: str, instead: str) -> None:
    """Raise ExpungeError where several processes were started for what one does."""
    if count() > 1:
        raise ExpungeError(f"{count()} processes were started together, but {why}: {instead}.")


@cache
def joined() -> Any:
    """accelerate's state of this process, once it has met the others. Raises ExpungeError where they cannot meet."""
    import torch
    from accelerate import PartialState

    try:
        return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    except (ImportError, ValueError, RuntimeError) as error:
        raise ExpungeError(f"{count()} processes were started, but they cannot work together: {error}") from error


def device() -> Any:
    """Where this rank computes: an accelerator of its own, or the CPU."""
    import torch

    return joined().device if count() > 1 else torch.device("cuda" if torch.cuda.is_available() else "cpu")


# ------------------------------------------------------------------------------------------ talking


def gather(value: T) -> list[T]:
    """What every rank has, in their order. Every rank must ask."""
    if count() == 1:
        return [value]
    from torch import distributed

    joined()
    found: list[Any] = [None] * count()
    distributed.all_gather_object(found, value)
    return found


def from_first(value: T) -> T:
    """What the first rank has. Every rank must ask."""
    if count() == 1:
        return value
    from torch import distributed

    joined()
    held: list[Any] = [value if is_first() else None]
    distributed.broadcast_object_list(held, src=0, device=device())
    return held[0]


def done_by_first(work: Callable[[], T]) -> T:
    """What ``work`` gives on the first rank, which alone does it; its error is raised on all. Every rank must ask."""
    if count() == 1:
        return work()
    found: Any = None
    with together():
        if is_first():
            found = work()
    return from_first(found)


@contextmanager
def together() -> Iterator[None]:
    """If the block fails on one rank it fails on all. Every rank must come here, and none may wait inside it.

    The error of the lowest rank that failed is told there; the others raise ``Elsewhere``.
    """
    if count() == 1:
        yield
        return
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    settle(error)


def settle(error: Exception | None) -> None:
    """Raise on every rank if any has an error: ``error`` on the lowest of those, ``Elsewhere`` on the others."""
    failed = [i for i, told in enumerate(gather(None if error is None else str(error))) if told is not None]
    if failed and failed[0] == index():
        assert error is not None
        raise error
    if failed:
        raise Elsewhere(f"process {failed[0]} of {count()} stopped; it says why.") from error


@contextmanager
def by_first(
    opened: Callable[[], AbstractContextManager[T]], otherwise: Callable[[], AbstractContextManager[T]]
) -> Iterator[T]:
    """A context that the first rank alone opens; the others have ``otherwise`` meanwhile.

    Whatever goes wrong in opening or closing it is raised on every rank. An error inside the block is left to whoever
    raises it: ranks may be waiting for one another there.
    """
    if count() == 1:
        with opened() as held:
            yield held
        return
    context = opened() if is_first() else otherwise()
    with together():
        held = context.__enter__()
    try:
        yield held
    except BaseException as error:
        if not context.__exit__(type(error), error, error.__traceback__):
            raise
    else:
        with together():
            context.__exit__(None, None, None)
