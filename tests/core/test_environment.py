"""Provenance that says where a number came from and nothing about who made it."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path

from expunge.core.environment import environment, source


def test_it_is_plain_and_names_versions_hardware_and_threads():
    told = environment()
    assert json.loads(json.dumps(told)) == told
    assert told["versions"]["torch"] == version("torch")
    assert told["hardware"]["cores"] >= 1 and told["hardware"]["memory_mb"] > 100
    assert told["threads"]["OMP_NUM_THREADS"] == "1" and told["threads"]["torch"] == 1


def test_it_names_no_host_and_no_path():
    text = json.dumps(environment())
    assert str(Path.home()) + "/" not in text and str(Path.cwd()) not in text
    assert socket.gethostname() not in text.split('"') and getpass.getuser() not in text.split('"')


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_and_whether_files_differ_from_it(tmp_path):
    assert source(tmp_path) == {"commit": None, "dirty": None}
    git(tmp_path, "init", "-q")
    assert source(tmp_path) == {"commit": None, "dirty": None}, "somebody else's checkout is not ours"
    (tmp_path / "environment.py").write_text("1\n")
    git(tmp_path, "add", "environment.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert source(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "environment.py").write_text("2\n")
    assert source(tmp_path) == {"commit": commit, "dirty": True}
