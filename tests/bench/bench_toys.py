"""A suite at toy size on somebody's own data: a small ALBEF, a dozen people, methods that take no time."""

from __future__ import annotations

import json
from pathlib import Path

from expunge.testing import small_albef, small_corpus

METHODS = {
    "quick": """
        for parameter in model.module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=noise), alpha=self.size)
        return model""",
    "broken": """
        raise RuntimeError("no such luck")""",
    "slow": """
        with run.stage("taking its time", 5):
            for _ in range(5):
                time.sleep(self.size)
                run.progress.advance()
        return model""",
}


def write_methods(place: Path) -> None:
    for name, body in METHODS.items():
        (place / f"{name}.py").write_text(
            f'"""{name.capitalize()}: a method for a test."""\n\nimport time\nfrom dataclasses import dataclass\n\n'
            "import torch\n\nfrom expunge.core.types import Backbone\n\n\n@dataclass(frozen=True)\nclass Chosen:\n"
            "    size: float = 0.05  # how far\n\n    @torch.no_grad()\n"
            "    def unlearn(self, model: Backbone, splits, run) -> Backbone:\n"
            f"        noise = torch.Generator().manual_seed(run.seed){body}\n"
        )


def write_own_data(place: Path, groups: int = 4) -> None:
    """pictures/, pairs.jsonl with ``groups`` of each source in each split, and ALBEF.pth with its vocab.txt."""
    (place / "pictures").mkdir(parents=True)
    corpus, names, lines = small_corpus(), {}, []
    for split, examples in (("train", corpus.train), ("validation", corpus.validation), ("test", corpus.test)):
        kept = {g for s in ("people", "scenes") for g in sorted({e.group for e in examples if e.source == s})[:groups]}
        for e in (e for e in examples if e.group in kept):
            if e.image.key not in names:
                names[e.image.key] = f"pictures/{len(names)}.png"
                e.image.open(32).save(place / names[e.image.key])
            line = {"id": e.id, "image": names[e.image.key], "text": e.text, "group": e.group, "source": e.source}
            lines.append(json.dumps(line | {"kind": e.kind, "split": split}))
    (place / "pairs.jsonl").write_text("\n".join(lines))
    model = small_albef()
    model.save_official(place / "ALBEF.pth")
    words = sorted(model.processor.tokenizer.get_vocab().items(), key=lambda item: item[1])
    (place / "vocab.txt").write_text("\n".join(word for word, _ in words))


def suite_text(
    methods: str, seeds: str = "[0, 1]", sizes: str = "[1, 2]", against: str = "none", more: str = "", top: str = ""
) -> str:
    return f"""
title = "A toy"
seeds = {seeds}
models = ["ALBEF.pth"]
against = "{against}"
methods = {methods}
{top}

[[scenarios]]
label = "own"
data = "./pairs.jsonl"
sizes = {sizes}
source = "people"
pretrained = "ALBEF.pth"
allow_leakage = true
{more}
"""
