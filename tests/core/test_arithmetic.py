"""A machine computes in what is faster there, and by its own word."""

from __future__ import annotations

import pytest
import torch

from expunge.core import arithmetic
from expunge.core.environment import environment


@pytest.mark.parametrize(
    "name, knows, amx, expected",
    [
        ("AMD EPYC 9354 32-Core Processor", True, False, "bf16"),
        ("AMD EPYC 7702", False, False, "fp32"),
        ("Intel(R) Xeon(R) Processor", True, False, "fp32"),  # it knows bfloat16, and is slower in it
        ("Intel(R) Xeon(R) Platinum 8481C", True, True, "bf16"),
        ("Neoverse-V2", False, False, "fp32"),
    ],
)
def test_bfloat16_is_taken_where_it_is_faster(monkeypatch, name, knows, amx, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: knows)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(arithmetic, "processor", lambda: name)
    assert arithmetic.fast_precision() == expected
    assert environment()["hardware"]["precision"] == expected


def test_a_gpu_computes_in_bfloat16_whatever_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(arithmetic, "processor", lambda: "Intel(R) Xeon(R) Processor")
    assert arithmetic.fast_precision() == "bf16"


def test_a_torch_that_cannot_say_computes_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert arithmetic.fast_precision() == "fp32"
