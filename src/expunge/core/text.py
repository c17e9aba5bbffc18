"""How a caption is cleaned before any tokenizer sees it."""

from __future__ import annotations

import re

_DROPPED = re.compile(r"[,.'!?\"()*#:;~]")
_SPACED = re.compile(r"[-/\s]+")


def plain(text: str, max_words: int = 30) -> str:
    """Lower case, no punctuation, single spaces, at most ``max_words`` words.

    The rule of ALBEF's released retrieval code (salesforce/ALBEF b9727e4, dataset/utils.py:24-46), stated in
    our words: ``,.'!?"()*#:;~`` vanish, ``-`` and ``/`` become spaces, ``<person>`` loses its brackets.
    """
    text = _DROPPED.sub("", text.lower()).replace("<person>", "person")
    return " ".join(_SPACED.sub(" ", text).split()[:max_words])
