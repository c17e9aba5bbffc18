"""All scores of one model: what it still knows of the forgotten, of the retained, and of everything else.

Every sample that is drawn here depends on data and seed only, never on the model: before, after and oracle answer
the same questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from expunge.core.record import Scores
from expunge.core.run import Run
from expunge.core.types import Example, Matches, Splits
from expunge.evals import sampling
from expunge.evals.membership import Membership, as_rows, attempt
from expunge.evals.sampling import BOUNDS, Bounds
from expunge.tasks.encoding import encode, fuse_pairs
from expunge.tasks.gallery import Gallery
from expunge.tasks.predictions import Predictions, ScoreName
from expunge.tasks.recall import Recall, recall
from expunge.tasks.retrieval import everyone, predict


@dataclass(frozen=True)
class Questions:
    """What a model will be asked. ``galleries`` by the name of their score; ``forget`` is always there."""

    galleries: dict[str, Gallery]
    members: tuple[Example, ...]
    others: tuple[Example, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """What the scores were computed from, without the model: enough for panels and for other cuts."""

    questions: Questions
    predictions: Predictions
    recalls: dict[str, Recall]
    membership: Membership | None
    notes: tuple[str, ...] = field(default_factory=tuple)


def ask(
    splits: Splits,
    test_examples: Sequence[Example],
    bounds: Bounds = BOUNDS,
    seed: int = 0,
) -> Questions:
    """Draw the galleries and the attack's examples.

    * ``r_forget``: the forgotten search among forgotten + test + near neighbours. Near neighbours are retained
      groups of the forgotten's own source, within ``bounds``.
    * ``r_retain``: the near neighbours search in the same gallery.
    * ``r_test``: the test examples search among themselves, without the private sentences of outsiders: nobody
      ever told the model, so nobody could know them.
    * each of the first two also split into ``_shared`` and ``_private`` where the data say which is which.

    ``bounds`` say how much of each.
    """
    drawn = sampling.draw(splits, test_examples, bounds, seed)
    gallery = splits.forget + drawn.test + drawn.near
    galleries = {name: Gallery(name, gallery, queries, kind) for name, (queries, kind) in drawn.asked.items()}
    if drawn.known:
        galleries["r_test"] = Gallery("r_test", drawn.known)
    return Questions(galleries, drawn.members, drawn.others, drawn.notes)


def measure(
    model: Matches,
    splits: Splits,
    test_examples: Sequence[Example],
    run: Run | None = None,
    *,
    k_test: int = 16,
    bounds: Bounds = BOUNDS,
    score: ScoreName | None = None,
    seed: int = 0,
    questions: Questions | None = None,
) -> tuple[Scores, Evidence]:
    """Ask one model everything and score its answers.

    Returns scores by name (r_forget, r_retain, each also _shared and _private, r_test, mi, mi_auc, mi_private,
    mi_accuracy: all in per cent) and the evidence. What the data do not allow to measure is absent, and a note in
    the evidence says why. The cost is about ``k_test`` fused pairs per text of the galleries: bound it with
    ``bounds``.

    Raises:
        ValueError: nothing to forget, or ``k_test`` below 1.
        TypeError: weights that are not float32.
    """
    if not splits.forget:
        raise ValueError("nothing to measure: the forget set is empty")
    run = run or Run()
    questions = questions or ask(splits, test_examples, bounds, seed)
    galleries = list(questions.galleries.values())
    pools = questions.members + questions.others
    encodings = encode(model, everyone(galleries) + pools, run)
    predictions = predict(model, galleries, run, k_test=k_test, encodings=encodings)
    recalls = {name: recall(predictions, gallery, score) for name, gallery in questions.galleries.items()}
    scores: Scores = {}
    for name, found in recalls.items():
        scores[name] = found.score("oracle" if name.startswith("r_forget") else "higher", seed=seed)
    membership, notes = None, questions.notes
    if pools:
        pairs = encodings.pairs(splits.forget + pools)
        cls = fuse_pairs(model, encodings, pairs, run, keep_cls=True).cls
        assert cls is not None
        rows = as_rows(cls, len(splits.forget), len(questions.members), len(questions.others))
        membership, refused = attempt(splits.forget, questions.members, questions.others, rows, seed=seed)
        scores |= membership.scores() if membership else {}
        notes += refused
    if predictions.broken:
        notes += (f"{predictions.broken} scores were not numbers and count as the worst possible: the model diverged.",)
    return scores, Evidence(questions, predictions, recalls, membership, notes)
