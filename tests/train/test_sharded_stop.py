"""Sharded over two processes, a stopped training goes on bit for bit, and what was saved holds whole tensors."""

from __future__ import annotations

from pathlib import Path

import torch

from expunge.testing import small_albef
from launching import FSDP, launched

SCRIPT = Path(__file__).with_name("stopping_sharded.py")


def test_sharded_processes_stop_and_go_on_together(tmp_path):
    launched(FSDP, SCRIPT, tmp_path)
    found = torch.load(tmp_path / "found.pt")
    (straight, terms), (resumed, terms_again) = found["straight"], found["resumed"]
    assert found["stopped"] == "step 3 of 6 of gradient difference is saved"
    assert len(terms) == 6 and terms == terms_again
    assert all(torch.equal(straight[k], resumed[k]) for k in straight)
    before = small_albef().module.state_dict()
    assert any(not torch.equal(before[k], v) for k, v in straight.items())
    sizes = sorted(v.numel() for v in before.values())
    assert sorted(found["sizes"]["weights"]) == sorted(found["sizes"]["moments"]) == sizes
