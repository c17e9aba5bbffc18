"""``forget`` by two processes that accelerate launches, with FSDP2: the same run folder as by one."""

from __future__ import annotations

import pytest
import torch

import expunge
from expunge.core.folder import open_run
from expunge.testing import small_albef, small_corpus
from launching import FSDP, launched
from writing_pairs import write_pairs

OPTIONS = ["anchors=random", "epochs=1", "least_steps=3", "texts_per_sample=2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("ranks")
    write_pairs(place, small_corpus())
    small_albef().save_pretrained(place / "start")
    return place


def asked():
    return sorted({e.group for e in small_corpus().train if e.source == "people"})[:2]


def plain(scores) -> dict[str, str]:
    return {name: repr(score) for name, score in scores.items()}


def test_two_sharded_processes_leave_the_run_of_one(place):
    told = [word for option in OPTIONS for word in ("-p", option)]
    words = ["-m", "expunge", "forget", "--model", place / "start", "--data", place / "pairs.jsonl"]
    words += ["--forget", ",".join(asked()), "--allow-leakage", "--method", "cse", *told, "--out", place / "two"]
    assert launched(FSDP, *words, at=place).count("run: ") == 1  # one of them speaks
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
