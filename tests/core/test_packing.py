"""States come back bit for bit, from files that hold no code."""

import json
import math
import random

import pytest
import torch
from torch import nn

from expunge.core.packing import JSON, TENSORS, read_state, write_state


def test_what_is_written_comes_back(tmp_path):
    shared = torch.arange(6.0)
    state = {
        "rng": random.Random(3).getstate(), "nothing": None, "flag": True, "few": [1, 2.5, "word"],
        "tiny": 5e-324, "third": 1 / 3, "infinite": math.inf, "by number": {0: {"step": torch.tensor(4.0)}, 1: {}},
        "views": [shared[:3], shared[3:]], "half": torch.randn(2, 3).bfloat16(), "bits": torch.tensor([True, False]),
        "empty": torch.empty(0, 4), "a": {"b": torch.ones(1)}, "a.b": torch.zeros(1), "$tuple": "a name, not a mark",
    }  # fmt: skip
    write_state(state, tmp_path)
    back = read_state(tmp_path)
    assert list(back) == list(state)
    tensors = [("half",), ("bits",), ("empty",), ("a", "b"), ("a.b",), ("views", 0), ("views", 1)]
    for place in tensors:
        here, there = state, back
        for step in place:
            here, there = here[step], there[step]
        assert torch.equal(here, there) and here.dtype == there.dtype, place
    again = random.Random()
    again.setstate(back["rng"])
    assert again.random() == random.Random(3).random()
    assert back["by number"][0]["step"] == 4 and set(back["by number"]) == {0, 1}
    assert all(back[k] == state[k] for k in ("nothing", "flag", "few", "tiny", "third", "infinite", "$tuple"))
    assert {p.name for p in tmp_path.iterdir()} == {JSON, TENSORS}
    json.loads((tmp_path / JSON).read_text())


def test_an_optimiser_goes_on_as_if_nothing_had_been(tmp_path):
    def steps(module, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            module(torch.ones(2)).square().sum().backward()
            optimizer.step()

    def fresh():
        torch.manual_seed(0)
        module = nn.Linear(2, 2)
        groups = [{"params": [module.weight], "weight_decay": 0.1}, {"params": [module.bias], "lr": 1e-4}]
        return module, torch.optim.AdamW(groups, lr=1e-2)

    straight, resumed = fresh(), fresh()
    steps(*straight, 5)
    steps(*resumed, 2)
    write_state([resumed[0].state_dict(), resumed[1].state_dict()], tmp_path)
    later = fresh()
    for part, state in zip(later, read_state(tmp_path)):
        part.load_state_dict(state)
    steps(*later, 3)
    assert all(torch.equal(a, b) for a, b in zip(straight[0].parameters(), later[0].parameters()))


def test_what_has_no_place_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"state.loss.1 is a object"):
        write_state({"loss": [1, object()]}, tmp_path)
