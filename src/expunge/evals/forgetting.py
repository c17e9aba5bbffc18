"""All scores of one model: what it still knows of the forgotten, of the retained, and of everything else.

Every sample that is drawn here depends on data and seed only, never on the model: before, after and oracle answer
the same questions.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from expunge.core.record import Scores
from expunge.core.run import Run
from expunge.core.types import Example, Matches, Splits
from expunge.evals.membership import AttackRefused, Membership, as_rows, attack, draw_pools
from expunge.tasks.encoding import encode, fuse_pairs
from expunge.tasks.gallery import Gallery, group_of
from expunge.tasks.predictions import Predictions, ScoreName
from expunge.tasks.recall import Recall, recall
from expunge.tasks.retrieval import everyone, predict

KINDS = {"": None, "_shared": "shared", "_private": "private"}


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
    *,
    retained_groups: int | None = 100,
    test_pictures: int | None = 150,
    attack_cap: int = 600,
    seed: int = 0,
) -> Questions:
    """Draw the galleries and the attack's examples.

    * ``r_forget``: the forgotten search among forgotten + test + near neighbours. Near neighbours are retained
      groups of the forgotten's own source, at most ``retained_groups``.
    * ``r_retain``: the near neighbours search in the same gallery.
    * ``r_test``: the test examples search among themselves, without the private sentences of outsiders: nobody
      ever told the model, so nobody could know them.
    * each of the first two also split into ``_shared`` and ``_private`` where the data say which is which.

    ``test_pictures`` bounds the test pictures of every source (all their texts come along); None takes all.
    """
    rng = random.Random(f"questions:{seed}")
    near = near_neighbours(splits, retained_groups, rng)
    test = tested(test_examples, test_pictures, rng)
    gallery = splits.forget + test + near
    galleries, notes = {}, []
    for name, queries in (("r_forget", splits.forget), ("r_retain", near)):
        split = {"shared", "private"} <= {e.kind for e in queries}
        for suffix, kind in KINDS.items():
            if queries and (kind is None or split):
                galleries[name + suffix] = Gallery(name + suffix, gallery, queries, kind)
    if not near:
        notes.append("No retained example shares the forgotten examples' source: near neighbours were not measured.")
    if known := tuple(e for e in test if e.kind != "private"):
        galleries["r_test"] = Gallery("r_test", known)
    else:
        notes.append("There are no test examples: r_test was not measured.")
    pools, refused = draw_attack(splits, test_examples, attack_cap, seed)
    return Questions(galleries, *pools, (*notes, *refused))


class Pools(NamedTuple):
    """Whom the membership attack learns from; both empty where it is refused."""

    members: tuple[Example, ...]
    others: tuple[Example, ...]


def draw_attack(splits: Splits, test_examples: Sequence[Example], cap: int, seed: int) -> tuple[Pools, list[str]]:
    """The pools of the membership attack, or none and a note that says why."""
    try:
        return Pools(*draw_pools(splits.forget, splits.retain, test_examples, cap=cap, seed=seed)), []
    except AttackRefused as refusal:
        return Pools((), ()), [f"Membership was not measured: {refusal}"]


def near_neighbours(splits: Splits, at_most: int | None, rng: random.Random) -> tuple[Example, ...]:
    """Retained groups of the forgotten examples' own sources."""
    sources = {e.source for e in splits.forget}
    return _some_groups([e for e in splits.retain if e.source in sources], at_most, rng)


def tested(test_examples: Sequence[Example], pictures: int | None, rng: random.Random) -> tuple[Example, ...]:
    """``pictures`` test pictures of every source with all their texts."""
    test: tuple[Example, ...] = ()
    for source in sorted({e.source for e in test_examples}):
        test += _some_groups([e for e in test_examples if e.source == source], pictures, rng, by_picture=True)
    return test


def measure(
    model: Matches,
    splits: Splits,
    test_examples: Sequence[Example],
    run: Run | None = None,
    *,
    k_test: int = 16,
    retained_groups: int | None = 100,
    test_pictures: int | None = 150,
    attack_cap: int = 600,
    score: ScoreName | None = None,
    seed: int = 0,
    questions: Questions | None = None,
) -> tuple[Scores, Evidence]:
    """Ask one model everything and score its answers.

    Returns scores by name (r_forget, r_retain, each also _shared and _private, r_test, mi, mi_auc, mi_private,
    mi_accuracy: all in per cent) and the evidence. What the data do not allow to measure is absent, and a note in
    the evidence says why. The cost is about ``k_test`` fused pairs per text of the galleries: bound it with
    ``retained_groups`` and ``test_pictures``.

    Raises:
        ValueError: nothing to forget, or ``k_test`` below 1.
        TypeError: weights that are not float32.
    """
    if not splits.forget:
        raise ValueError("nothing to measure: the forget set is empty")
    run = run or Run()
    bounds = {"retained_groups": retained_groups, "test_pictures": test_pictures, "attack_cap": attack_cap}
    questions = questions or ask(splits, test_examples, **bounds, seed=seed)
    galleries = list(questions.galleries.values())
    pools = questions.members + questions.others
    encodings = encode(model, everyone(galleries) + pools, run)
    predictions = predict(model, galleries, run, k_test=k_test, encodings=encodings)
    recalls = {name: recall(predictions, gallery, score) for name, gallery in questions.galleries.items()}
    scores: Scores = {}
    for name, found in recalls.items():
        scores[name] = found.score("oracle" if name.startswith("r_forget") else "higher", seed=seed)
    membership = None
    if pools:
        pairs = encodings.pairs(splits.forget + pools)
        cls = fuse_pairs(model, encodings, pairs, run, keep_cls=True).cls
        assert cls is not None
        rows = as_rows(cls, len(splits.forget), len(questions.members), len(questions.others))
        membership = attack(splits.forget, questions.members, questions.others, rows, seed=seed)
        scores |= membership.scores()
    notes = questions.notes
    if predictions.broken:
        notes += (f"{predictions.broken} scores were not numbers and count as the worst possible: the model diverged.",)
    return scores, Evidence(questions, predictions, recalls, membership, notes)


def _some_groups(
    examples: Iterable[Example], at_most: int | None, rng: random.Random, *, by_picture: bool = False
) -> tuple[Example, ...]:
    """All examples of ``at_most`` groups (or pictures) drawn at random, in the given order."""

    def unit(e: Example) -> str:
        return e.image.key if by_picture else group_of(e)

    examples = tuple(examples)
    names = sorted({unit(e) for e in examples})
    chosen = set(names if at_most is None or len(names) <= at_most else rng.sample(names, at_most))
    return tuple(e for e in examples if unit(e) in chosen)
