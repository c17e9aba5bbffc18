"""Chat models that see (LLaVA-1.5, Qwen2-VL, Qwen2.5-VL, Idefics2): pictures and questions in, words out."""

from __future__ import annotations

from pathlib import Path

from expunge.backbones.mllm.families import FAMILIES
from expunge.backbones.mllm.model import Mllm

__all__ = ["FAMILIES", "Mllm", "load"]


def load(folder: str | Path) -> Mllm:
    """A folder that transformers or ``save_pretrained`` wrote."""
    return Mllm.from_pretrained(folder)
