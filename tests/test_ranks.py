"""``forget`` by two processes that accelerate launches, with FSDP2: the same run folder as by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import expunge
from expunge.core.folder import open_run
from expunge.testing import small_albef, small_corpus

OPTIONS = ["anchors=random", "epochs=1", "least_steps=3", "texts_per_sample=2"]
FSDP = "--use_fsdp --fsdp_version 2 --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no".split()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("ranks")
    (place / "pictures").mkdir()
    corpus, names, lines = small_corpus(), {}, []
    for split, examples in (("train", corpus.train), ("validation", corpus.validation), ("test", corpus.test)):
        for e in examples:
            if e.image.key not in names:
                names[e.image.key] = f"pictures/{len(names)}.png"
                e.image.open(32).save(place / names[e.image.key])
            line = {"id": e.id, "image": names[e.image.key], "text": e.text, "group": e.group, "source": e.source}
            lines.append(json.dumps(line | {"kind": e.kind, "split": split}))
    (place / "pairs.jsonl").write_text("\n".join(lines))
    small_albef().save_pretrained(place / "start")
    return place


def asked():
    return sorted({e.group for e in small_corpus().train if e.source == "people"})[:2]


def plain(scores) -> dict[str, str]:
    return {name: repr(score) for name, score in scores.items()}


def launched(place, *more: str) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", *FSDP, "--main_process_port", "0"]
    words += ["-m", "expunge", "forget", "--model", str(place / "start"), "--data", str(place / "pairs.jsonl")]
    words += ["--forget", ",".join(asked()), "--allow-leakage", *more]
    source = str(Path(__file__).parents[1] / "src")
    return subprocess.run(
        words, cwd=place, timeout=600, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": source, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip


def test_two_sharded_processes_leave_the_run_of_one(place):
    told = [word for option in OPTIONS for word in ("-p", option)]
    done = launched(place, "--method", "cse", *told, "--out", str(place / "two"))
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("run: ") == 1  # one of them speaks
    one = expunge.forget(place / "start", place / "pairs.jsonl", asked(), "cse", OPTIONS, allow_leakage=True,
                         out=place / "one")  # fmt: skip
    run = open_run(place / "two", verify=True)
    record = run.record()
    assert record.environment["ranks"] == {"count": 2, "engine": "fsdp2", "backend": "gloo"}
    assert "ranks_differed" not in record.generator
    assert record.spec["hash"] == one.record.spec["hash"]
    assert plain(record.scores["before"]) == plain(one.record.scores["before"])  # to the last bit
    for name, score in one.record.scores["after"].items():
        assert record.scores["after"][name].n == score.n
        assert record.scores["after"][name].value == pytest.approx(score.value, abs=0.5), name
    one_log, two_log = ((place / which / "log.jsonl").read_text().splitlines() for which in ("one", "two"))
    assert len(one_log) == len(two_log) > 2
    states = [expunge.load_model(place / which / "model").module.state_dict() for which in ("one", "two")]
    assert max(float((states[0][k] - states[1][k]).abs().max()) for k in states[0]) < 1e-4
    assert any(not torch.equal(states[1][k], v) for k, v in small_albef().module.state_dict().items())
    assert not [p for p in place.iterdir() if ".partial-" in p.name]
