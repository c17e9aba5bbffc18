"""What a block of work cost: seconds and peak memory."""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch

EVERY_S = 0.02


@dataclass(eq=False)
class Cost:
    """Filled in when the block ends. Megabytes are 10^6 bytes.

    ``peak_memory_mb`` is resident memory of this process alone (no children, no page cache), everything included
    that was there before the block. It is exact where the block set a new record for the process; below an
    earlier record it is the largest of samples every 20 ms, and a shorter spike is missed.
    ``peak_gpu_memory_mb`` counts what torch allocated on the current CUDA device, 0 without one. Blocks may lie within
    one another.
    """

    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    peak_gpu_memory_mb: float = 0.0


_open: list[Cost] = []
"""Blocks under way. The device has one peak: whoever resets it for itself would take it from those around it."""


def _record_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes on macOS, KiB on Linux


def _note_gpu_peak() -> None:
    """Tell every block under way the most that torch has held on the device since the last reset."""
    if torch.cuda.is_initialized():  # before that it has held nothing, and some calls fail
        for cost in _open:
            cost.peak_gpu_memory_mb = max(cost.peak_gpu_memory_mb, torch.cuda.max_memory_allocated() / 1e6)


@contextmanager
def measured() -> Iterator[Cost]:
    """``with measured() as cost: ...``; read ``cost`` afterwards. Filled in also when the block raises."""
    cost, process, done = Cost(), psutil.Process(), threading.Event()
    samples = [process.memory_info().rss / 1e6]

    def watch() -> None:
        while not done.wait(EVERY_S):
            samples.append(process.memory_info().rss / 1e6)

    watcher = threading.Thread(target=watch, daemon=True)
    record, start = _record_mb(), time.perf_counter()
    _note_gpu_peak()
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    watcher.start()
    try:
        _open.append(cost)
        yield cost
    finally:
        cost.seconds = time.perf_counter() - start
        done.set()
        watcher.join()
        samples.append(process.memory_info().rss / 1e6)
        cost.peak_memory_mb = max(samples)
        if _record_mb() > record:
            cost.peak_memory_mb = max(cost.peak_memory_mb, _record_mb())
        _note_gpu_peak()
        _open.remove(cost)
