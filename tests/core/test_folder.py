"""A run folder is whole or not there, whatever kills the run."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from expunge.core.errors import ExpungeError
from expunge.core.folder import MARKER, OWNER, amend, explained, open_run, staged


def write_run(destination: Path, text: str = "hello", **options) -> None:
    with staged(destination, **options) as staging:
        (staging / "model").mkdir()
        (staging / "model" / "weights").write_bytes(b"\x00\x01" * 1000)
        (staging / "record.json").write_text(text)


def leftovers(parent: Path) -> list[str]:
    return sorted(p.name for p in parent.iterdir() if p.name.startswith("."))


def test_a_finished_run_is_in_place_and_listed(tmp_path):
    write_run(tmp_path / "runs" / "x")
    run = open_run(tmp_path / "runs" / "x", verify=True)
    assert run.files.keys() == {"model/weights", "record.json"}
    assert run.files["record.json"] == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # of "hello"
    assert not (run.path / OWNER).exists() and leftovers(tmp_path / "runs") == []


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_failed_run_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error)):
        with staged(tmp_path / "x") as staging:
            (staging / "half").write_text("half")
            raise error
    assert list(tmp_path.iterdir()) == []


CHILD = """
    import os, sys, time
    from pathlib import Path
    from expunge.core import folder
    stop_at, destination = sys.argv[1], Path(sys.argv[2])

    def hang(*_):
        print("ready", flush=True)
        time.sleep(60)

    if stop_at == "marker":
        folder._write_marker = hang
    if stop_at == "rename":
        folder._put_in_place = hang
    if stop_at == "swap":
        rename = os.rename
        os.rename = lambda a, b: hang() if ".partial-" in str(a) else rename(a, b)
    with folder.staged(destination, overwrite=stop_at == "swap") as staging:
        (staging / "spec.json").write_text("{}")
        (staging / "record.json").write_text("new")
        if stop_at == "writing":
            hang()
"""


def kill_at(moment: str, destination: Path) -> None:
    """A real process, really killed, at one moment of its writing."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), moment, str(destination)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline().strip() == "ready"
    child.send_signal(signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL
    child.stdout.close()


@pytest.mark.parametrize("moment", ["writing", "marker", "rename"])
def test_a_killed_run_leaves_nothing_that_looks_whole(tmp_path, moment):
    destination = tmp_path / "x"
    kill_at(moment, destination)
    assert not destination.exists()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".x.partial-") and (left / MARKER).exists() == (moment == "rename")
    with pytest.raises(ExpungeError, match="stopped run left behind"):
        open_run(left)
    with pytest.raises(ExpungeError, match="no run folder"):
        open_run(destination)
    write_run(destination)  # the next run works, and clears what the killed one left
    assert open_run(destination, verify=True) and leftovers(tmp_path) == []


def test_a_run_killed_amid_an_overwrite_gives_the_old_one_back(tmp_path):
    destination = tmp_path / "x"
    write_run(destination, "old")
    kill_at("swap", destination)
    assert not destination.exists()
    with pytest.raises(ExpungeError, match="already holds something"):
        write_run(destination)
    assert (open_run(destination, verify=True).path / "record.json").read_text() == "old"
    write_run(destination, "newer", overwrite=True)
    assert (destination / "record.json").read_text() == "newer" and leftovers(tmp_path) == []


def test_staging_of_a_living_process_is_left_alone(tmp_path):
    other = tmp_path / f".x.partial-{os.getppid()}"
    other.mkdir()
    (other / OWNER).write_text(json.dumps({"host": socket.gethostname(), "pid": os.getppid()}))
    elsewhere = tmp_path / ".x.partial-99999999"
    elsewhere.mkdir()
    (elsewhere / OWNER).write_text(json.dumps({"host": "another-machine", "pid": 99999999}))
    write_run(tmp_path / "x")
    assert other.exists() and elsewhere.exists()


def test_what_a_living_process_is_overwriting_is_left_to_it(tmp_path):
    theirs, foreign = tmp_path / f".x.replaced-{os.getppid()}", tmp_path / ".x.replaced-by-hand"
    for one in (theirs, foreign):
        one.mkdir()
    write_run(tmp_path / "x")  # the place is free: nothing is put back there
    assert open_run(tmp_path / "x") and theirs.exists() and foreign.exists()
    write_run(tmp_path / "x", overwrite=True)  # it is taken: nothing is cleared away
    assert theirs.exists() and foreign.exists()


@pytest.mark.parametrize("name", ["a*", "a?", "[ab]c"])
def test_a_name_that_reads_as_a_pattern_is_only_a_name(tmp_path, name):
    """What runs that were killed left is cleared away under this very name, and under no other that it would match."""
    here, others = socket.gethostname(), ("ab", "abc", "ac", "bc")
    for one in (name, *others):
        left = tmp_path / f".{one}.partial-99999999"
        left.mkdir()
        (left / OWNER).write_text(json.dumps({"host": here, "pid": 99999999}))
        (tmp_path / f".{one}.replaced-99999999").mkdir()
    write_run(tmp_path / name)
    assert leftovers(tmp_path) == sorted(
        f".{one}.{kind}-99999999" for one in others for kind in ("partial", "replaced")
    )
    assert open_run(tmp_path / name, verify=True)


def test_everything_is_on_the_disk_before_its_marker_and_the_marker_before_its_place(tmp_path, monkeypatch):
    done, opened, staging = [], {}, f".x.partial-{os.getpid()}"
    real = {name: getattr(os, name) for name in ("open", "fsync", "replace", "rename")}

    def noted_open(path, *words, **named):
        handle = real["open"](path, *words, **named)
        opened[handle] = os.path.relpath(path, tmp_path) if isinstance(path, str | os.PathLike) else path
        return handle

    def noted_fsync(handle):
        done.append(f"flush {opened[handle]}")
        real["fsync"](handle)

    def noted(name):
        def move(source, target):
            done.append(f"{name} {os.path.relpath(source, tmp_path)} to {os.path.relpath(target, tmp_path)}")
            real[name](source, target)

        return move

    monkeypatch.setattr(os, "open", noted_open)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, noted(name))
    write_run(tmp_path / "x")
    monkeypatch.undo()
    assert done == [
        f"flush {staging}/model/weights",
        f"flush {staging}/record.json",
        f"flush {staging}/.{MARKER}",
        f"replace {staging}/.{MARKER} to {staging}/{MARKER}",
        f"flush {staging}",
        f"rename {staging} to x",
        "flush .",
    ]


def test_an_overwrite_that_the_disk_refuses_leaves_the_old_run_in_place(tmp_path, monkeypatch):
    write_run(tmp_path / "x", "old")
    rename = os.rename

    def refusing(source, target):
        if ".partial-" in str(source):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(source))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refusing)
    with pytest.raises(ExpungeError, match="cannot write the run to .*: permission was denied"):
        write_run(tmp_path / "x", "new", overwrite=True)
    monkeypatch.undo()
    assert (open_run(tmp_path / "x", verify=True).path / "record.json").read_text() == "old"
    assert leftovers(tmp_path) == []


def test_what_is_there_is_not_overwritten_by_accident(tmp_path):
    write_run(tmp_path / "x", "old")
    with pytest.raises(ExpungeError, match="already holds something"):
        write_run(tmp_path / "x", "new")
    write_run(tmp_path / "x", "new", overwrite=True)
    assert (tmp_path / "x" / "record.json").read_text() == "new" and leftovers(tmp_path) == []
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "empty")
    assert open_run(tmp_path / "empty")


def test_a_folder_that_is_not_ours_is_never_deleted(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").write_text("years of work")
    with pytest.raises(ExpungeError, match="not a complete run of expunge, so it will not be overwritten"):
        write_run(tmp_path / "x", overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ExpungeError, match="is a file"):
        write_run(tmp_path / "file", overwrite=True)
    assert (tmp_path / "x" / "thesis.tex").read_text() == "years of work"


def test_a_destination_taken_meanwhile_is_refused(tmp_path):
    with pytest.raises(ExpungeError, match="already holds something"):
        with staged(tmp_path / "x"):
            (tmp_path / "x").mkdir()
            (tmp_path / "x" / "theirs").write_text("theirs")
    assert (tmp_path / "x" / "theirs").exists() and leftovers(tmp_path) == []


def test_foreign_unfinished_and_damaged_folders_are_told_apart(tmp_path):
    (tmp_path / "foreign").mkdir()
    with pytest.raises(ExpungeError, match="is not a run folder of expunge"):
        open_run(tmp_path / "foreign")
    (tmp_path / "foreign" / "log.jsonl").write_text("")
    with pytest.raises(ExpungeError, match="unfinished run"):
        open_run(tmp_path / "foreign")
    write_run(tmp_path / "x")
    (tmp_path / "x" / "record.json").write_text("jello")
    assert open_run(tmp_path / "x")  # same size: only reading everything tells
    with pytest.raises(ExpungeError, match="record.json is not what the run wrote"):
        open_run(tmp_path / "x", verify=True)
    (tmp_path / "x" / "record.json").write_text("longer")
    with pytest.raises(ExpungeError, match="record.json is not what the run wrote"):
        open_run(tmp_path / "x")
    (tmp_path / "x" / "record.json").unlink()
    with pytest.raises(ExpungeError, match="record.json is missing"):
        open_run(tmp_path / "x")
    (tmp_path / "x" / MARKER).write_text('{"files": {"../secret": {"sha256": "", "bytes": 0}}}')
    with pytest.raises(ExpungeError, match="outside the run"):
        open_run(tmp_path / "x")
    (tmp_path / "x" / MARKER).write_text("[")
    with pytest.raises(ExpungeError, match="cannot be read"):
        open_run(tmp_path / "x")


def test_a_stopped_run_that_is_asked_for_is_told_from_one_that_never_was(tmp_path):
    (tmp_path / ".first.checkpoints").mkdir()
    with pytest.raises(ExpungeError, match="A run to it was stopped: the command that began it goes on"):
        open_run(tmp_path / "first")
    with pytest.raises(ExpungeError, match=r"there is no run folder [^ ]+second\.$"):
        open_run(tmp_path / "second")


def test_a_run_can_be_amended_and_stays_whole(tmp_path):
    write_run(tmp_path / "x", "old")
    weights = (tmp_path / "x" / "model" / "weights").read_bytes()
    run = amend(tmp_path / "x", {"record.json": "new", "report.html": "page"})
    assert run.files.keys() == {"model/weights", "record.json", "report.html"}
    assert (run.path / "record.json").read_text() == "new" and (run.path / "model" / "weights").read_bytes() == weights
    assert open_run(tmp_path / "x", verify=True) and leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "error, said",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
    ],
)
def test_what_the_disk_refuses_is_said_in_words(tmp_path, error, said):
    with pytest.raises(ExpungeError, match=said):
        with staged(tmp_path / "x"):
            raise error
    assert list(tmp_path.iterdir()) == []


def test_trouble_with_other_files_is_not_blamed_on_the_run(tmp_path):
    with pytest.raises(PermissionError, match="secret.png"):
        with staged(tmp_path / "x"):
            raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/secret.png")


@pytest.mark.parametrize("place", ["nowhere/page.html", "taken", "file/page.html"])
def test_where_a_page_cannot_be_written_is_said_in_words(tmp_path, place, monkeypatch):
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExpungeError, match=f"cannot write the page to {tmp_path / place}: "):
        with explained(place, "page"):
            (tmp_path / place).write_text("")


def test_a_missing_file_elsewhere_is_not_blamed_on_the_run(tmp_path):
    """A picture that vanished beside the run, in the folder that the run is written to."""
    with pytest.raises(FileNotFoundError, match="gone.png"):
        with staged(tmp_path / "x"):
            (tmp_path / "gone.png").read_bytes()


def test_a_file_system_without_new_folders_is_refused_in_words():
    with pytest.raises(ExpungeError, match="cannot write the run to /proc/x: its folder does not exist"):
        with staged("/proc/x"):
            pass


def test_a_path_through_a_file_is_refused_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExpungeError, match="is a file, not a folder"):
        write_run(tmp_path / "file" / "below")
