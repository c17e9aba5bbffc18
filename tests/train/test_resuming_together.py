"""Two processes save together: one writes, both stop after the same step, each finds its own random numbers again."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback

import pytest
import torch
from torch import distributed, nn

from expunge.core import ranks, stopping
from expunge.core.checkpoints import Checkpoints, Pace
from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.train.resuming import Walk, lasting


def training(saved: Checkpoints | None, rank: int, ask_at: int | None = None) -> dict:
    """Six steps whose draws differ between the ranks; ``ask_at`` is the step at which rank 1 alone is asked to stop."""
    torch.manual_seed(rank)
    run, module = Run(saved=saved), nn.Linear(2, 2)
    with torch.no_grad():
        module.weight.fill_(1.0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    walk, drawn = Walk(5, 2), []
    torch.manual_seed(10 + rank)
    with lasting(run, "training", {"model": module, "optimizer": optimizer, "walk": walk}) as going:
        for step in going.steps(6):
            if step == ask_at and rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            optimizer.zero_grad()
            module(torch.ones(2)).sum().backward()
            optimizer.step()
            drawn.append([step, walk.next(), torch.rand(()).item()])
    return {"drawn": drawn, "weight": module.weight.tolist(), "took_over": going.step - len(drawn)}


def life(rank: int, place) -> dict:
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    distributed.init_process_group("gloo", init_method=f"file://{place / 'meeting'}", rank=rank, world_size=2)
    saved = lambda: Checkpoints(place / "saved", Pace())  # noqa: E731
    told: dict = {"straight": training(None, rank)}
    try:
        with stopping.heeded():
            training(saved(), rank, ask_at=2)
    except stopping.Stopped as stopped:
        told["stopped"] = [stopped.number, stopped.saved]
    told["resumed"] = training(saved(), rank)
    told["by the first"] = ranks.done_by_first(lambda: f"made by {rank}")

    def full():
        raise ExpungeError("the disk is full")

    try:
        ranks.done_by_first(full)
    except ExpungeError as error:
        told["error"] = str(error)
    distributed.barrier()
    distributed.destroy_process_group()
    return told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_stop_and_go_on_together(tmp_path):
    children = []
    for rank in range(2):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                (tmp_path / f"{rank}.json").write_text(json.dumps(life(rank, tmp_path)))
                code = 0
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
            os._exit(code)
        children.append(pid)
    deadline, codes = time.monotonic() + 120, {}
    while len(codes) < 2 and time.monotonic() < deadline:
        for pid in set(children) - set(codes):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    for pid in set(children) - set(codes):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert list(codes.values()) == [0, 0], "a process failed or waited for ever"
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for rank, one in enumerate(told):
        assert one["stopped"] == [signal.SIGTERM, "step 3 of 6 of training is saved"]
        assert one["resumed"]["took_over"] == 3 and one["resumed"]["weight"] == one["straight"]["weight"]
        assert one["resumed"]["drawn"] == one["straight"]["drawn"][3:]
        assert one["by the first"] == "made by 0"
        assert one["error"] == ("process 0 of 2 stopped; it says why." if rank else "the disk is full")
    assert told[0]["straight"]["drawn"] != told[1]["straight"]["drawn"]
    assert [p.name for p in (tmp_path / "saved").iterdir()] == ["000002-training"]
