"""In which precision, and with which kernels, a training loop computes, and what of a frozen model is left whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import deterministic

WHOLE = ("lm_head", "wo")
"""Matrices of a language model that 8 bit leaves as they are: the last one, and those of T5 whose inputs pass what
float16 holds, in which 8-bit products are taken. A BLIP-2 is loaded by it, and its room on a device counted."""


@contextmanager
def repeatable() -> Iterator[None]:
    """Deterministic kernels inside the block, where torch has them.

    The trap: indexing's backward adds up in parallel on a CPU, so with two threads the same seed gives other weights.
    Another: asked for deterministic kernels, torch also fills all memory that nobody has written yet, which guards
    against code that reads it and takes 8 % of a small model's step. Nothing here reads it.
    """
    memory: Any = deterministic  # a module with a property, which type checkers do not see
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        memory.fill_uninitialized_memory = filled


def quick(precision: str):
    """A context for ``precision``. In bfloat16 on a CPU small attention is fastest unfused."""
    if precision == "fp32":
        return nullcontext()
    stack = ExitStack()
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    stack.enter_context(torch.autocast(kind, torch.bfloat16))
    if kind == "cpu":
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
    return stack
