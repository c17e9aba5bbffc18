"""Two gloo processes weigh FSDP2's shards as one does the whole, and hold what is outside the masks of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.train.two_ranks import batch, network

from expunge.train.importance import SquaredGradients, gradients, trained

SCRIPT = Path(__file__).with_name("two_ranks.py")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    place = tmp_path_factory.mktemp("ranks")
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), f"file://{place}/meet", str(rank), str(place / f"{rank}.json")],
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        errors = [process.communicate(timeout=120)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [p.returncode for p in started] == [0, 0], "\n".join(errors)
    return [json.loads((place / f"{rank}.json").read_text()) for rank in range(2)]


def test_importances_of_shards_are_those_of_the_whole(told):
    model = network()
    named = trained(model)
    squares = SquaredGradients(named)
    losses = sum(model(batch(rank)).square().sum() for rank in range(2)) / 2  # FSDP averages over the ranks
    for found in gradients(named, [losses]):
        squares.add(found)
    importances = squares.mean()
    for rank in told:
        for name, whole in rank["fisher"].items():
            assert torch.allclose(torch.tensor(whole), importances[name], rtol=1e-4)


def test_nothing_of_a_shard_moves_outside_its_mask(told):
    assert all(rank["moved_outside"] == 0 and rank["moved_inside"] > 10 for rank in told)
