"""A corpus as somebody's own data: a JSONL file of pairs beside a folder of pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from expunge.core.types import Corpus, Example


def write_pairs(place: Path, corpus: Corpus, kept: Callable[[str, Example], bool] = lambda split, e: True) -> None:
    """pairs.jsonl and pictures/ below ``place``, of the examples that are ``kept`` (split, example)."""
    (place / "pictures").mkdir(parents=True)
    names, lines = {}, []
    for split, examples in (("train", corpus.train), ("validation", corpus.validation), ("test", corpus.test)):
        for e in (e for e in examples if kept(split, e)):
            if e.image.key not in names:
                names[e.image.key] = f"pictures/{len(names)}.png"
                e.image.open(32).save(place / names[e.image.key])
            line = {"id": e.id, "image": names[e.image.key], "text": e.text, "group": e.group, "source": e.source}
            lines.append(json.dumps(line | {"kind": e.kind, "split": split}))
    (place / "pairs.jsonl").write_text("\n".join(lines))
