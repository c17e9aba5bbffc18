"""Bytes that a run needs against bytes that there are: a table before anything is loaded, and a refusal with a number.

Weights and what is copied of them is certain; activations are an estimate, and alone never a reason to refuse. What
engines shard (FSDP2, ZeRO: weights, gradients, moments) is divided among their processes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from expunge.core.amounts import gigabytes
from expunge.core.errors import ExpungeError
from expunge.train.footprint import BYTES, Sizes

GB = 1e9
SHARDED = ("weights", "gradients", "moments")
WORDS = {
    "weights": "the model",
    "gradients": "gradients",
    "moments": "the optimiser's moments",
    "references": "frozen copies that the method compares with",
    "deltas": "differences of weights",
    "before": "as it was, for the record of what changed",
}


@dataclass(frozen=True)
class Item:
    """One line of a budget. ``is_certain`` is false for estimates, ``is_on_device`` for what stays in main memory."""

    name: str
    copies: float
    numbers: float
    bytes: float
    is_certain: bool = True
    is_on_device: bool = True


@dataclass(frozen=True)
class Machine:
    """What is free where the model computes; ``is_device`` for an accelerator with memory of its own."""

    what: str
    free: float
    is_device: bool = False


@dataclass(frozen=True)
class Budget:
    items: tuple[Item, ...]

    def bytes(self, machine: Machine | None = None, *, only_certain: bool = False) -> float:
        """All of it, or what lies on the machine's device, or of that what is certain."""
        here = machine is None or not machine.is_device
        return sum(i.bytes for i in self.items if (here or i.is_on_device) and (i.is_certain or not only_certain))

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Name, copies, numbers and gigabytes, with the total, as text."""
        told = [
            (WORDS.get(i.name, i.name), f"{i.copies:g} x", f"{i.numbers / 1e6:,.1f} M",
             f"{'' if i.is_certain else 'about '}{gigabytes(i.bytes)}") for i in self.items
        ]  # fmt: skip
        return [*told, ("together", "", "", f"about {gigabytes(self.bytes())}")]


def budget(
    model: Sizes,
    copies: Mapping[str, float],
    lent: Mapping[str, Sizes] | None = None,
    batch: float = 0.0,
    *,
    checkpointing: bool = False,
    activation_bytes: int = BYTES,
    processes: int = 1,
) -> Budget:
    """What one process holds. ``copies`` are the method's, ``lent`` the models that its options name, ``batch`` the
    pairs whose activations are held at a time. With ``processes`` what engines shard is a share."""

    def shared(name: str, count: float) -> Item:
        part = processes if name in SHARDED else 1
        return Item(name, count, model.weights, model.weights * count * BYTES / part)

    held = Item("weights", 1, model.numbers, model.numbers * BYTES / processes)
    items = [held, *(shared(name, count) for name, count in copies.items())]
    if copies:
        items.append(Item("before", 1, model.numbers, model.numbers * BYTES, is_on_device=False))
    # Lent models may be loaded in half precision, or take turns on the device: never a reason to refuse by themselves.
    items += [Item(name, 1, one.numbers, one.numbers * BYTES, is_certain=False) for name, one in (lent or {}).items()]
    kept = batch * (model.checkpointed if checkpointing else model.activations)
    if kept and copies:
        named = f"activations of {batch:g} pairs" + (", layers computed twice" if checkpointing else "")
        items.append(Item(named, 1, kept, kept * activation_bytes, is_certain=False))
    return Budget(tuple(items))


def machine() -> Machine:
    """What is free: on the current CUDA device, otherwise of main memory, within this container's limit."""
    import torch

    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return Machine(torch.cuda.get_device_name(), float(free), True)
    import psutil

    local = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return Machine("this machine", min(float(psutil.virtual_memory().available), _container()) / local)


def sharding() -> int:
    """Among how many processes ``accelerate launch`` said that weights are sharded; 1 where it did not."""
    asked = (os.environ.get("ACCELERATE_USE_FSDP", ""), os.environ.get("ACCELERATE_USE_DEEPSPEED", ""))
    return max(1, int(os.environ.get("WORLD_SIZE", "1"))) if "true" in map(str.lower, asked) else 1


def _container(folder: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that a control group (version 2) leaves this process; infinite without a limit."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        return math.inf if limit == "max" else int(limit) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return math.inf


def check(found: Budget, machine: Machine, what: str, remedies: Mapping[str, str], processes: int = 1) -> str | None:
    """Raises ExpungeError where what is certain exceeds what is free; a warning where the estimate does, else None.

    ``remedies`` are sentences by the item that they make smaller ("" for any); ``what`` is what would run.
    """
    certain, whole = found.bytes(machine, only_certain=True), found.bytes(machine)
    if whole <= machine.free:
        return None
    names = {i.name for i in found.items}
    enough = certain <= machine.free  # then a smaller batch may do
    ways = [told for item, told in remedies.items() if item in names or (enough and not item)]
    if more := _processes(found, machine, processes):
        launch = f"accelerate launch --num_processes {more} --use_fsdp --fsdp_version 2 -m expunge"
        ways.append(f"{more} processes with FSDP, each on a device of its own ({launch} …)")
    free = f"{machine.what} has {gigabytes(machine.free)} free"
    if not enough:
        largest = sorted((i for i in found.items if i.is_certain), key=lambda i: -i.bytes)[:3]
        told = ", ".join(f"{WORDS.get(i.name, i.name)} {gigabytes(i.bytes)}" for i in largest)
        raise ExpungeError(
            f"{what} needs {gigabytes(certain)} at least ({told}, …); {free}. "
            f"{'Use ' + ', or '.join(ways) if ways else 'Use a machine with more memory'}. Nothing was loaded."
        )
    return (
        f"{what} needs about {gigabytes(whole)}; {free}. If it does not fit: "
        f"{', or '.join(ways) or 'a machine with more memory'}."
    )


def _processes(found: Budget, machine: Machine, processes: int) -> int | None:
    """How many processes would be enough if engines shard what they can; None where no number is."""
    if not machine.is_device:
        return None  # processes on one machine share its memory
    on_device = [i for i in found.items if i.is_on_device and i.is_certain]
    shared = sum(i.bytes for i in on_device if i.name in SHARDED) * processes
    room = machine.free - sum(i.bytes for i in on_device if i.name not in SHARDED)
    return math.ceil(shared / room) if room > 0 and shared / room > processes else None
