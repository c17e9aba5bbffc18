"""Whether locks in a folder hold: between processes (tried), and between machines (as far as its mount says)."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from expunge.core.errors import ExpungeError

SHARED = {"nfs": ("nolock", "local_lock=all", "local_lock=flock"), "nfs4": (), "cifs": ("nobrl",), "smb3": ("nobrl",)}
"""Network file systems whose locks hold between machines, unless they were mounted with one of these words."""
LUSTRE = ("lustre",)
LOCAL = ("fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "9p", "vboxsf")
"""File systems that several machines may see and whose locks hold on each machine alone."""


def check_locks(folder: Path) -> None:
    """Raise ExpungeError where a lock that one process holds is given to another one, too."""
    from filelock import FileLock, Timeout

    path = folder / "locks" / f".trial-{uuid.uuid4().hex}.lock"
    try:
        with FileLock(path):
            try:
                with FileLock(path, timeout=0, thread_local=False):
                    held = False
            except Timeout:
                held = True
    except (OSError, NotImplementedError) as error:
        raise ExpungeError(f"the file system of {folder} knows no locks ({error}): choose another folder.") from error
    finally:
        path.unlink(missing_ok=True)
    if not held:
        raise ExpungeError(
            f"locks in {folder} do not hold: two workers would take the same cell. Choose another folder."
        )


def doubt(folder: Path) -> str:
    """Why workers on other machines may take the same cells, in a sentence; empty where there is no reason.

    It costs time and nothing else: what they write is the same, whole, and the last one stays.
    """
    kind, words = mount_of(folder)
    loose = [word for word in SHARED.get(kind, ()) if word in words]
    if kind in LUSTRE and "flock" not in words:
        loose = ["no flock"]
    if kind in LOCAL:
        loose = ["locks of its own on every machine"]
    if not loose:
        return ""
    return (
        f"{folder} lies on {kind} with {', '.join(loose)}: workers on several machines may measure the same cell twice."
    )


def mount_of(folder: Path) -> tuple[str, list[str]]:
    """Kind and options of the file system that holds a folder."""
    import psutil

    place = os.path.realpath(folder)
    mounts = [p for p in psutil.disk_partitions(all=True) if Path(place).is_relative_to(p.mountpoint)]
    if not mounts:
        return "", []
    nearest = max(mounts, key=lambda p: len(p.mountpoint))
    return nearest.fstype, nearest.opts.split(",")
