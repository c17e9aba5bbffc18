"""Programs started as two processes by ``accelerate launch``, on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
COMMON = "--num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0".split()
DDP = ["--multi_gpu"]  # on a machine without GPUs it is this that starts two processes
FSDP = ["--use_fsdp", "--fsdp_version", "2"]


def launched(way: list[str], *program: str | Path, at: Path | None = None) -> str:
    """What it printed; its errors fail the test."""
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", *way, *COMMON, *map(str, program)],
        cwd=at, timeout=600, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE), "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
