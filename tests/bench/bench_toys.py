"""A suite at toy size on somebody's own data: a small ALBEF, a dozen people, methods that take no time."""

from __future__ import annotations

from pathlib import Path

from expunge.testing import small_albef, small_corpus
from writing_pairs import write_pairs

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
    corpus = small_corpus()
    chosen: dict[str, set[str | None]] = {}
    for split, examples in (("train", corpus.train), ("validation", corpus.validation), ("test", corpus.test)):
        every = {s: sorted({str(e.group) for e in examples if e.source == s}) for s in ("people", "scenes")}
        chosen[split] = {group for groups_of in every.values() for group in groups_of[:groups]}
    write_pairs(place, corpus, lambda split, e: e.group in chosen[split])
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
