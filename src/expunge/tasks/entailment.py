"""Does the picture entail a statement, contradict it, or leave it open (visual entailment)?

Equation: the label of greatest logit of the classifier on the fused CLS.
Paper: SNLI-VE (Xie et al. 2019); protocol of salesforce/ALBEF b9727e4, VE.py and models/model_ve.py, restated:
labels contradiction 0, neutral 1, entailment 2, plain accuracy.
Departs: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from expunge.core.record import Better, Score
from expunge.core.run import Run
from expunge.core.types import LABELS, Answers, Example, Generates
from expunge.tasks.choosing import Choices, accuracy, choose
from expunge.tasks.encoding import Precision

CHANCE = 100 / len(LABELS)


def predict(
    model: Answers | Generates,
    examples: Sequence[Example],
    run: Run | None = None,
    *,
    batch: int = 64,
    precision: Precision = "float32",
) -> Choices:
    """Score the three labels of every statement. Raises ValueError for an example without one of ``LABELS``."""
    for e in examples:
        if e.label not in LABELS:
            raise ValueError(f"example {e.id} has the label {e.label!r}, which is none of {', '.join(LABELS)}")
    return choose(model, examples, run, batch=batch, precision=precision)


def score(choices: Choices, examples: Sequence[Example], better: Better = "higher", *, seed: int = 0) -> Score:
    """Accuracy in per cent with n and a 95 % interval; guessing gives a third."""
    return accuracy(choices, examples, better, seed=seed)
