"""In which numbers this machine computes fastest."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path


def fast_precision() -> str:
    """ "bf16" where bfloat16 is faster than float32, "fp32" elsewhere.

    Decided by what the hardware says of itself, never by a clock: a machine computes in the same numbers every time.
    The trap: a processor that knows bfloat16 need not be quicker in it. One core, products of 1184 x 128 x 512, in
    billions of operations a second: AMD EPYC with AVX512_BF16 190 for 68 in float32; Intel Xeon with AVX512_BF16 and
    without AMX 70 for 130, so that training takes 1.6 times as long in bfloat16.
    """
    import torch

    if torch.cuda.is_available():
        return "bf16"
    if getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)():
        return "bf16"
    has = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if has and "Intel" not in processor() else "fp32"


@cache
def processor() -> str:
    """The processor's name as the system has it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the next source knows
    return platform.processor() or platform.machine()
