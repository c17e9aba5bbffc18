"""All scores of a model that answers: accuracy on what it was to forget, on what it keeps, and on strangers.

The score names are those of retrieval (r_forget, r_retain, r_test …): the same question to another kind of model.
Samples depend on data and seed only, never on the model: before, after and oracle answer the same questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from expunge.core.record import Scores
from expunge.core.run import Run
from expunge.core.types import Answers, Example, Generates, Splits, Task
from expunge.evals import sampling
from expunge.evals.membership import Membership, as_rows, attempt
from expunge.evals.sampling import BOUNDS, Bounds
from expunge.tasks import entailment, multiple_choice
from expunge.tasks.choosing import Choices, accuracy, choose

CHANCE: dict[Task, float] = {"multiple_choice": multiple_choice.CHANCE, "entailment": entailment.CHANCE}


@dataclass(frozen=True)
class Exam:
    """What a model will be asked: ``sets`` of examples by the name of their score; ``r_forget`` is always there."""

    sets: dict[str, tuple[Example, ...]]
    members: tuple[Example, ...]
    others: tuple[Example, ...]
    notes: tuple[str, ...]

    def everyone(self) -> tuple[Example, ...]:
        """Every example that is asked or attacked, once, in order of appearance."""
        asked = [e for examples in self.sets.values() for e in examples]
        return tuple({e.id: e for e in (*asked, *self.members, *self.others)}.values())


@dataclass(frozen=True)
class AnswerEvidence:
    """What the scores were computed from, without the model."""

    exam: Exam
    choices: Choices
    membership: Membership | None
    notes: tuple[str, ...] = field(default_factory=tuple)


def set_exam(
    splits: Splits,
    test_examples: Sequence[Example],
    bounds: Bounds = BOUNDS,
    seed: int = 0,
) -> Exam:
    """Draw the examples: the same ones that retrieval's galleries are made of.

    ``r_forget``: all that is forgotten. ``r_retain``: retained groups of the same source. ``r_test``: held-out
    examples without the private ones, which nobody ever told the model. The first two also by kind.
    """
    drawn = sampling.draw(splits, test_examples, bounds, seed)
    sets = {
        name: tuple(e for e in examples if kind is None or e.kind == kind)
        for name, (examples, kind) in drawn.asked.items()
    }
    if drawn.known:
        sets["r_test"] = drawn.known
    return Exam(sets, drawn.members, drawn.others, drawn.notes)


def examine(
    model: Answers | Generates, splits: Splits, exam: Exam, run: Run | None = None, *, seed: int = 0
) -> tuple[Scores, AnswerEvidence]:
    """Ask one model everything and score its answers.

    Returns accuracies by name and, where the data allow the attack, mi, mi_auc, mi_private and mi_accuracy (all in per
    cent; the attack reads the fused CLS before the head), and the evidence with a note on what is absent. Raises
    ValueError when there is nothing to forget, TypeError for weights that are not float32.
    """
    if not splits.forget:
        raise ValueError("nothing to measure: the forget set is empty")
    run = run or Run()
    everyone = exam.everyone()
    choices = choose(model, everyone, run, keep_cls=True)
    scores: Scores = {}
    for name, examples in exam.sets.items():
        scores[name] = accuracy(choices, examples, "oracle" if name.startswith("r_forget") else "higher", seed=seed)
    membership, notes = None, exam.notes
    members, others = exam.members, exam.others
    if members:
        assert choices.cls is not None
        cls = choices.cls[choices.rows((*splits.forget, *members, *others))]
        rows = as_rows(cls, len(splits.forget), len(members), len(others))
        membership, refused = attempt(splits.forget, members, others, rows, seed=seed)
        scores |= membership.scores() if membership else {}
        notes += refused
    if choices.broken:
        notes += (f"{choices.broken} answers held scores that were not numbers: the model diverged.",)
    return scores, AnswerEvidence(exam, choices, membership, notes)
