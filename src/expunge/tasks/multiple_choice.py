"""Questions about a picture with four answers to choose from, one of them right (V-MCQ).

Equation: the choice of greatest log-likelihood under the answer decoder, given picture and question.
Paper: the paper's privacy scenario (section 5, App. D) asks MLLMU-Bench and VQA questions this way, and does not say
how a choice is scored; ranking candidate answers by the decoder is what salesforce/ALBEF b9727e4 does
(models/model_vqa.py:149-206).
Departs: the released ranking picks candidates by their first word and counts that twice; with four choices there is
nothing to pick, and each is scored once (``AlbefAnswers.rank_answers`` has the released way). The paper's three wrong
answers are unrelated to the right one; those of the embedded worlds are other values of the same list (another city for
a city), which is harder.
"""

from __future__ import annotations

from collections.abc import Sequence

from expunge.core.record import Better, Score
from expunge.core.run import Run
from expunge.core.types import Answers, Example, Generates
from expunge.tasks.choosing import Choices, accuracy, choose
from expunge.tasks.encoding import Precision

CHANCE = 25.0


def predict(
    model: Answers | Generates,
    examples: Sequence[Example],
    run: Run | None = None,
    *,
    batch: int = 64,
    precision: Precision = "float32",
) -> Choices:
    """Score the choices of every question. Raises ValueError for an example without question, choices and answer."""
    for e in examples:
        if e.question is None or e.answer not in e.choices:
            raise ValueError(f"example {e.id} is no question whose answer is among its choices")
    return choose(model, examples, run, batch=batch, precision=precision)


def score(choices: Choices, examples: Sequence[Example], better: Better = "higher", *, seed: int = 0) -> Score:
    """Accuracy in per cent with n and a 95 % interval; guessing gives 25 with four choices."""
    return accuracy(choices, examples, better, seed=seed)
