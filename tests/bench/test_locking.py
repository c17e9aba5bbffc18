"""Locks are tried, and what a mount says of them is read."""

from types import SimpleNamespace

import filelock
import psutil
import pytest

from expunge.bench import locking
from expunge.core.errors import ExpungeError


def test_locks_that_hold_are_fine_and_leave_nothing(tmp_path):
    (tmp_path / "locks").mkdir()
    locking.check_locks(tmp_path)
    assert not list((tmp_path / "locks").iterdir())


def test_locks_that_do_not_hold_are_refused(tmp_path, monkeypatch):
    class Open(filelock.SoftFileLock):
        def _acquire(self):
            self._context.lock_file_fd = 0

        def _release(self):
            self._context.lock_file_fd = None

    (tmp_path / "locks").mkdir()
    monkeypatch.setattr(filelock, "FileLock", Open)
    with pytest.raises(ExpungeError, match="do not hold"):
        locking.check_locks(tmp_path)


@pytest.mark.parametrize(
    ("kind", "words", "told"),
    [
        ("ext4", "rw", ""),
        ("nfs4", "rw,vers=4.2", ""),
        ("nfs", "rw,nolock", "nolock"),
        ("lustre", "rw,flock", ""),
        ("lustre", "rw", "no flock"),
        ("fuse.sshfs", "rw", "every machine"),
    ],
)
def test_a_mount_says_whether_locks_hold_between_machines(tmp_path, monkeypatch, kind, words, told):
    mounts = [("/", "ext4", "rw"), (str(tmp_path), kind, words)]
    found = [SimpleNamespace(mountpoint=m, fstype=f, opts=o) for m, f, o in mounts]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: found)
    said = locking.doubt(tmp_path / "grid")
    assert (told in said) if told else said == ""
