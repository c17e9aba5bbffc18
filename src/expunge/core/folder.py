"""Run folders: whole or not there.

A run is written into ``.<name>.partial-<pid>`` beside its destination. Last of all comes ``complete.json`` with the
hash of every file, then one rename puts the folder in place. Whatever kills the run before that leaves only the
hidden staging folder, which ``open_run`` refuses and the next run to the same place clears away.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from expunge.core.errors import ExpungeError
from expunge.core.record import Record
from expunge.core.spec import Spec

MARKER = "complete.json"
OWNER = ".owner.json"  # who is writing a staging folder; never part of a run

CHECKPOINTS = ".checkpoints"  # ends the name of the hidden folder with a run's checkpoints (core.checkpoints)

_HIDDEN = re.compile(r"^\..+\.(partial|replaced)-\d+$|^\..+\.checkpoints$")

_EXPLAINED = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission was denied",
    errno.EPERM: "permission was denied",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EISDIR: "there is a folder of that name; name a file",
    errno.ENOENT: "its folder does not exist and cannot be made here; make it, or name another",
}


@dataclass(frozen=True)
class RunFolder:
    """A whole run on disk."""

    path: Path
    files: Mapping[str, str]  # relative path -> sha256

    def spec(self) -> Spec:
        return Spec.from_json((self.path / "spec.json").read_text(encoding="utf-8"))

    def record(self) -> Record:
        return Record.from_json((self.path / "record.json").read_text(encoding="utf-8"))

    @property
    def model(self) -> Path:
        return self.path / "model"


@contextmanager
def staged(destination: str | Path, *, overwrite: bool = False, what: str = "run") -> Iterator[Path]:
    """Yield a folder to write into; it becomes ``destination`` when the block ends well and vanishes when it does not.

    An existing folder that holds anything is refused, unless ``overwrite`` is set and it is a run of ours: a folder
    that this program did not complete is never deleted. ``what`` is what errors call it.
    """
    destination = Path(os.path.abspath(destination))
    staging = destination.with_name(f".{destination.name}.partial-{os.getpid()}")
    with explained(destination, what):
        _put_back(destination)
        _refuse_occupied(destination, overwrite)
        destination.parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(destination)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        (staging / OWNER).write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    try:
        with explained(destination, what):
            yield staging
            _write_marker(staging)
            _put_in_place(staging, destination, overwrite)
            # Only now: a run killed before the rename is still known by its owner, and cleared away next time.
            (destination / OWNER).unlink(missing_ok=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that nobody keeps."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def open_run(folder: str | Path, *, verify: bool = False) -> RunFolder:
    """The run in ``folder``. Refuses what is missing, foreign, incomplete or changed.

    Sizes are always compared; ``verify`` reads every file and compares its hash.
    """
    path = Path(folder)
    if not path.is_dir():
        stopped = path.with_name(f".{path.name}{CHECKPOINTS}").is_dir() if path.name else False
        going_on = " A run to it was stopped: the command that began it goes on from there." if stopped else ""
        raise ExpungeError(f"there is no run folder {path}.{going_on}")
    resolved = path.resolve()
    if any(_HIDDEN.search(one.name) for one in (resolved, resolved.parent)):
        raise ExpungeError(f"{path} is what a stopped run left behind, not a run. Run it again.")
    return open_whole(path, verify=verify)


def open_whole(path: Path, *, verify: bool = False) -> RunFolder:
    """Any folder that ``staged`` completed, a checkpoint as well as a run. Refuses as ``open_run`` does."""
    marker = path / MARKER
    if not marker.is_file():
        started = any((path / name).exists() for name in (OWNER, "spec.json", "log.jsonl"))
        found = "is an unfinished run: it was stopped before it was whole. Run it again" if started else (
            f"is not a run folder of expunge: it has no {MARKER}. Give the folder that --out named"
        )  # fmt: skip
        raise ExpungeError(f"{path} {found}.")
    try:
        told = json.loads(marker.read_text(encoding="utf-8"))
        files = {str(name): (str(one["sha256"]), int(one["bytes"])) for name, one in told["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExpungeError(f"{marker} cannot be read as a list of files: {error}") from error
    for name, (sha256, size) in files.items():
        file = path / name
        if not Path(os.path.abspath(file)).is_relative_to(os.path.abspath(path)):
            raise ExpungeError(f"{marker} names a file outside the run: {name}.")
        if not file.is_file():
            raise ExpungeError(f"the run in {path} is damaged: {name} is missing.")
        if file.stat().st_size != size or (verify and _sha256(file) != sha256):
            raise ExpungeError(f"the run in {path} is damaged: {name} is not what the run wrote.")
    return RunFolder(path, {name: sha256 for name, (sha256, _) in files.items()})


def amend(folder: str | Path, texts: Mapping[str, str]) -> RunFolder:
    """Replace or add small files of a whole run, such as its record after a later evaluation.

    The other files are linked where the disk allows it and copied where it does not, so a run stays whole throughout.
    """
    run = open_run(folder)
    with staged(run.path, overwrite=True) as staging:
        for name in run.files:
            if name not in texts:
                (staging / name).parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(run.path / name, staging / name)
        for name, text in texts.items():
            (staging / name).write_text(text, encoding="utf-8")
    return open_run(run.path)


# ---------------------------------------------------------------------------------------------- inside


def _refuse_occupied(destination: Path, overwrite: bool) -> None:
    if destination.is_dir() and not any(destination.iterdir()):
        return
    if not os.path.lexists(destination):
        return
    if not destination.is_dir():
        raise ExpungeError(f"{destination} is a file; a run needs a folder.")
    if not overwrite:
        raise ExpungeError(f"{destination} already holds something. Choose another folder, or pass --overwrite.")
    if not (destination / MARKER).is_file():
        raise ExpungeError(f"{destination} is not a complete run of expunge, so it will not be overwritten.")


@contextmanager
def explained(destination: str | Path, what: str = "run") -> Iterator[None]:
    """Turn what a disk or a permission refuses into one sentence. Trouble with files elsewhere is left as it is."""
    destination = Path(os.path.abspath(destination))
    try:
        yield
    except Exception as error:
        code = error.errno if isinstance(error, OSError) else _code_in(error)
        named = getattr(error, "filename", None)
        at = None if not isinstance(named, str | bytes | os.PathLike) else Path(os.path.abspath(os.fsdecode(named)))
        ours = at is None or at.is_relative_to(destination.parent) or destination.is_relative_to(at)
        if code == errno.ENOENT:  # what is missing elsewhere in the folder, such as a picture, is not the destination
            beside = at is not None and at.parent == destination.parent and at.name.startswith(f".{destination.name}.")
            ours = at is not None and (destination.is_relative_to(at) or beside)
        if code in _EXPLAINED and ours:
            raise ExpungeError(f"cannot write the {what} to {destination}: {_EXPLAINED[code]}.") from error
        raise


def _code_in(error: Exception) -> int | None:
    """Writers in other languages put the system's number into their message, as safetensors does."""
    found = re.search(r"os error (\d+)", str(error))
    return int(found[1]) if found else None


def _clear_abandoned(destination: Path) -> None:
    """Remove staging folders of runs to the same place that were killed on this machine: they may hold samples."""
    for staging in destination.parent.glob(f".{_escaped(destination.name)}.partial-*"):
        try:
            owner = json.loads((staging / OWNER).read_text())
            abandoned = owner["host"] == socket.gethostname() and not _is_alive(int(owner["pid"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if abandoned:
            shutil.rmtree(staging, ignore_errors=True)


def _put_back(destination: Path) -> None:
    """After a kill amid an overwrite: give the old run its place again, or clear it when the new one has that place."""
    for replaced in destination.parent.glob(f".{_escaped(destination.name)}.replaced-*"):
        pid = replaced.name.rpartition("-")[2]
        if pid.isdigit() and not _is_alive(int(pid)):
            if destination.exists():
                shutil.rmtree(replaced, ignore_errors=True)
            else:
                os.rename(replaced, destination)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _is_alive(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _write_marker(staging: Path) -> None:
    paths = sorted(p for p in staging.rglob("*") if p.is_file() and p != staging / OWNER)
    listed = {
        p.relative_to(staging).as_posix(): {"sha256": _sha256(p), "bytes": p.stat().st_size} for p in paths
    }  # fmt: skip
    for p in paths:
        _flush(p)
    partial = staging / f".{MARKER}"
    partial.write_text(json.dumps({"format": 1, "files": listed}, indent=1, sort_keys=True), encoding="utf-8")
    _flush(partial)
    os.replace(partial, staging / MARKER)
    _flush(staging)


def _put_in_place(staging: Path, destination: Path, overwrite: bool) -> None:
    _refuse_occupied(destination, overwrite)  # somebody may have been faster
    if not destination.is_dir():
        os.rename(staging, destination)
    elif not any(destination.iterdir()):
        destination.rmdir()
        os.rename(staging, destination)
    else:
        replaced = destination.with_name(f".{destination.name}.replaced-{os.getpid()}")
        os.rename(destination, replaced)
        try:
            os.rename(staging, destination)
        except BaseException:
            os.rename(replaced, destination)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    _flush(destination.parent)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Ask the disk to have it; a folder cannot be opened everywhere, and then its rename is all there is."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
