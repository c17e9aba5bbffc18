"""All scores of a model that writes: every set of questions by form, with a picture and in words alone.

Names are ``<set>_<measure>_<visual|textual>``: ``forget_classification_visual``. Forgetting a face must show in the
visual ones of the forgotten while the textual ones stay. Where a set holds both what was told and what can be seen, the
name stands for what was told, and ``_shared`` after it for what can be seen.

Measures: classification, cloze, rouge1, rouge2, rougeL (F), rougeL_recall and bleu in per cent; probability,
truth_ratio (TOFU's) and truth_ratio_clear in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from expunge.core.groups import group_of
from expunge.core.record import Better, Score, Scores
from expunge.core.types import Example
from expunge.evals import truth, wording
from expunge.evals.stats import grouped_mean
from expunge.tasks.answering import Writings

FORGOTTEN = ("forget", "test")
"""Sets whose best value is the retrained model's."""
UTILITY = {"retain": "retain", "celebrity": "real_people", "real_faces": "real_people", "real_world": "world"}
"""A set -> its part of the model utility."""


def score_sets(sets: Mapping[str, Sequence[Example]], writings: Writings, *, seed: int = 0) -> Scores:
    """Every score that the sets allow, and the model utility of what they bring of its parts.

    What a set does not hold (no cloze, no wrong answers) is absent. Raises ValueError for an example that was not
    asked.
    """
    scores: Scores = {}
    for name, examples in sets.items():
        better: Better = "oracle" if name in FORGOTTEN else "higher"
        for suffix, some in cut(examples).items():
            for measure, score in _measures(some, writings.take(some), better, seed).items():
                modality, _, shared = suffix.partition("_")
                scores["_".join(filter(None, (name, measure, modality, shared)))] = score
    return scores | utility(sets, writings, seed=seed)


def cut(examples: Iterable[Example]) -> dict[str, tuple[Example, ...]]:
    """Examples by ``visual`` and ``textual``; with ``_shared`` what can be seen, where both kinds are there."""
    parts: dict[str, list[Example]] = {}
    examples = tuple(examples)
    for visual, name in ((True, "visual"), (False, "textual")):
        here = [e for e in examples if e.pictured == visual]
        apart = {"shared", "private"} <= {e.kind for e in here}
        for e in here:
            parts.setdefault(f"{name}_shared" if apart and e.kind == "shared" else name, []).append(e)
    return {name: tuple(some) for name, some in parts.items()}


def _measures(examples: Sequence[Example], written: Writings, better: Better, seed: int) -> Scores:
    found: Scores = {}
    for form, measure in (("classification", wording.classification_accuracy), ("cloze", wording.cloze_accuracy)):
        some = [e for e in examples if e.form == form]
        if some:
            answers = [e.answer or "" for e in some]
            found[form] = measure(written.take(some).texts, answers, _groups(some), better=better, seed=seed)
    if told := [e for e in examples if e.form == "generation"]:
        found |= _sentences(told, written.take(told), better, seed)
    return found


def _sentences(examples: Sequence[Example], written: Writings, better: Better, seed: int) -> Scores:
    """Of whole sentences: overlap, likelihood, and truth ratios of those that have wrong answers to compare with."""
    truths, groups = [e.answer or "" for e in examples], _groups(examples)
    found: Scores = {
        kind: wording.rouge(written.texts, truths, groups, kind=kind, better=better, seed=seed)
        for kind in ("rouge1", "rouge2", "rougeL")
    }
    found["rougeL_recall"] = _recall(examples, written, better, seed)
    found["bleu"] = wording.bleu(written.texts, truths, groups, better=better, seed=seed)
    found["probability"] = truth.probability(written.right, groups, better=better, seed=seed)
    if compared := _compared(examples):
        some = written.take(compared)
        for name, definition in (("truth_ratio", "tofu"), ("truth_ratio_clear", "clear")):
            ratios = truth.truth_ratios(some.reworded, some.wrong, definition)  # type: ignore[arg-type]
            found[name] = truth.truth_ratio(ratios, _groups(compared), forgotten=better == "oracle", seed=seed)
    return found


def _recall(examples: Sequence[Example], written: Writings, better: Better, seed: int) -> Score:
    truths = [e.answer or "" for e in examples]
    return wording.rouge(
        written.texts, truths, _groups(examples), kind="rougeL", measure="recall", better=better, seed=seed
    )


def _chosen(examples: Sequence[Example], written: Writings, seed: int) -> Scores:
    """The three of questions with options, where TOFU has real authors and the world: likelihood among the options,
    and the truth against the other options."""
    groups = _groups(examples)
    compared = truth.truth_ratios([np.array([nats]) for nats in written.right], written.wrong)
    return {
        "rougeL_recall": _recall(examples, written, "higher", seed),
        "probability": truth.probability(written.right, groups, among=written.wrong, better="higher", seed=seed),
        "truth_ratio": truth.truth_ratio(compared, groups, forgotten=False, seed=seed),
    }


def ratios(examples: Iterable[Example], written: Writings, definition: truth.Definition = "tofu") -> truth.Ratios:
    """Truth ratios of what is forgotten, as ``cut``; absent where nothing can be compared. What forget quality needs of
    a model, as plain data."""
    found: truth.Ratios = {}
    for name, some in cut(examples).items():
        if compared := _compared(some):
            mine = written.take(compared)
            values = truth.truth_ratios(mine.reworded, mine.wrong, definition)
            found[name] = {"groups": _groups(compared), "values": values.tolist()}
    return found


def rightness(examples: Iterable[Example], written: Writings, better: Better, *, seed: int = 0) -> Score | None:
    """Share in per cent of letters and blanks that are right. Where there are none, ROUGE-L's recall of the sentences:
    of an answer of one word that is the share of texts that hold it. None without any of them."""
    examples = tuple(examples)
    some = [e for e in examples if e.form in ("classification", "cloze")]
    if not some:
        told = [e for e in examples if e.form == "generation"]
        return _recall(told, written.take(told), better, seed) if told else None
    judged = zip(some, written.take(some).texts)
    right = [100.0 * is_right(e, text) for e, text in judged]
    return grouped_mean(right, _groups(some), better, seed)


def is_right(e: Example, text: str) -> bool:
    """Whether a written answer chooses the right letter, or holds the right words; of a sentence, whether it is it."""
    truth = e.answer or ""
    if e.form == "classification":
        return wording.letter_of(text) == truth
    return wording.holds(text, truth) if e.form == "cloze" else text.split() == truth.split()


def utility(sets: Mapping[str, Sequence[Example]], writings: Writings, *, seed: int = 0) -> Scores:
    """The harmonic mean of those of TOFU's nine numbers that the sets bring; its name says how many they are."""
    parts: dict[str, Score] = {}
    for name, part in UTILITY.items():
        asked = sets.get(name, ())
        told = [e for e in asked if e.form == "generation" and e.kind != "shared"]
        chosen = [e for e in asked if e.form == "classification" and e.perturbed]
        if told:
            scores = _sentences(told, writings.take(told), "higher", seed)
        elif chosen:
            scores = _chosen(chosen, writings.take(chosen), seed)
        else:
            continue
        per_cent = scores["rougeL_recall"]
        parts[f"{part}_rougeL_recall"] = replace(
            per_cent, value=per_cent.value / 100, low=per_cent.low / 100, high=per_cent.high / 100
        )
        parts[f"{part}_probability"] = scores["probability"]
        if "truth_ratio" in scores:
            parts[f"{part}_truth_ratio"] = scores["truth_ratio"]
    return {truth.utility_name(parts): truth.model_utility(parts)} if parts else {}


def _compared(examples: Iterable[Example]) -> list[Example]:
    return [e for e in examples if e.form == "generation" and e.paraphrased and e.perturbed]


def _groups(examples: Iterable[Example]) -> list[str]:
    """The units that intervals resample. Questions in words that belong to nobody are a unit each."""
    return [e.id if e.group is None and not e.pictured else group_of(e) for e in examples]
