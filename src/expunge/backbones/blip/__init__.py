"""BLIP (Li et al. 2022): one text encoder that reads alone or attends to the picture; retrieval, questions, entailment.

The networks are transformers' own; see ``model`` for what is added and ``answers`` for what is not official.
"""

from __future__ import annotations

import json
from pathlib import Path

from expunge.backbones.blip import checkpoints
from expunge.backbones.blip.answers import BlipAnswers, BlipEntailment
from expunge.backbones.blip.model import BlipForAnswers, BlipForEntailment, BlipForMatching, sizes
from expunge.backbones.blip.processor import BlipProcessor
from expunge.backbones.blip.retrieval import Blip
from expunge.core.errors import ExpungeError

__all__ = [
    "Blip", "BlipAnswers", "BlipEntailment", "BlipForAnswers", "BlipForEntailment", "BlipForMatching", "BlipProcessor",
    "checkpoints", "load", "sizes",
]  # fmt: skip

KINDS = {
    "BlipForImageTextRetrieval": Blip,  # transformers' own folders
    "BlipForMatching": Blip,
    "BlipForQuestionAnswering": BlipAnswers,
    "BlipForAnswers": BlipAnswers,
    "BlipForEntailment": BlipEntailment,
}


def load(source: str | Path) -> Blip | BlipAnswers | BlipEntailment:
    """The backbone that a folder's ``architectures`` or a released file's tensors name. Raises ExpungeError."""
    source = Path(source)
    if source.is_dir():
        told = json.loads((source / "config.json").read_text(encoding="utf-8")).get("architectures") or ["nothing"]
        if told[0] not in KINDS:
            raise ExpungeError(f"{source} holds a {told[0]}; of BLIP's kinds there are {', '.join(KINDS)}.")
        return KINDS[told[0]].from_pretrained(source)
    return KINDS[type(checkpoints.read_official(source)).__name__].from_pretrained(source)
