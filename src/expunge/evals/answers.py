"""All scores of a model that answers: accuracy on what it was to forget, on what it keeps, and on strangers.

The score names are those of retrieval (r_forget, r_retain, r_test …): the same question to another kind of model.
Samples depend on data and seed only, never on the model: before, after and oracle answer the same questions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from expunge.core.record import Scores
from expunge.core.run import Run
from expunge.core.types import Answers, Example, Splits, Task
from expunge.evals.forgetting import KINDS, Pools, draw_attack, near_neighbours, tested
from expunge.evals.membership import Membership, as_rows, attack
from expunge.tasks import entailment, multiple_choice
from expunge.tasks.choosing import Choices, accuracy, choose
from expunge.tasks.encoding import encode

CHANCE: dict[Task, float] = {"multiple_choice": multiple_choice.CHANCE, "entailment": entailment.CHANCE}


@dataclass(frozen=True)
class Exam:
    """What a model will be asked: ``sets`` of examples by the name of their score; ``r_forget`` is always there."""

    sets: dict[str, tuple[Example, ...]]
    pools: Pools
    notes: tuple[str, ...]

    def everyone(self) -> tuple[Example, ...]:
        """Every example that is asked or attacked, once, in order of appearance."""
        asked = [e for examples in self.sets.values() for e in examples]
        return tuple({e.id: e for e in (*asked, *self.pools.members, *self.pools.others)}.values())


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
    *,
    retained_groups: int | None = 100,
    test_pictures: int | None = 150,
    attack_cap: int = 600,
    seed: int = 0,
) -> Exam:
    """Draw the examples, as ``forgetting.ask`` draws its galleries and with the same random numbers.

    ``r_forget``: all that is forgotten. ``r_retain``: retained groups of the same source. ``r_test``: held-out
    examples without the private ones, which nobody ever told the model. The first two also by kind.
    """
    rng = random.Random(f"questions:{seed}")
    near = near_neighbours(splits, retained_groups, rng)
    test = tested(test_examples, test_pictures, rng)
    sets: dict[str, tuple[Example, ...]] = {}
    notes: list[str] = []
    for name, examples in (("r_forget", splits.forget), ("r_retain", near)):
        split = {"shared", "private"} <= {e.kind for e in examples}
        for suffix, kind in KINDS.items():
            if examples and (kind is None or split):
                sets[name + suffix] = tuple(e for e in examples if kind is None or e.kind == kind)
    if not near:
        notes.append("No retained example shares the forgotten examples' source: near neighbours were not measured.")
    if known := tuple(e for e in test if e.kind != "private"):
        sets["r_test"] = known
    else:
        notes.append("There are no test examples: r_test was not measured.")
    pools, refused = draw_attack(splits, test_examples, attack_cap, seed)
    return Exam(sets, pools, (*notes, *refused))


def examine(
    model: Answers, splits: Splits, exam: Exam, run: Run | None = None, *, seed: int = 0
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
    encodings = encode(model, everyone, run)
    choices = choose(model, everyone, run, keep_cls=True, encodings=encodings)
    scores: Scores = {}
    for name, examples in exam.sets.items():
        scores[name] = accuracy(choices, examples, "oracle" if name.startswith("r_forget") else "higher", seed=seed)
    membership = None
    members, others = exam.pools
    if members:
        assert choices.cls is not None
        cls = choices.cls[choices.rows((*splits.forget, *members, *others))]
        rows = as_rows(cls, len(splits.forget), len(members), len(others))
        membership = attack(splits.forget, members, others, rows, seed=seed)
        scores |= membership.scores()
    notes = exam.notes
    if choices.broken:
        notes += (f"{choices.broken} answers held scores that were not numbers: the model diverged.",)
    return scores, AnswerEvidence(exam, choices, membership, notes)
