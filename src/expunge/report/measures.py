"""Every measure in plain words, and how its numbers are written.

The names are those of ``core.record``. ``short`` heads a column, ``plain`` is what a reader who has never seen the
paper needs, ``better`` is the direction in which a number is good news.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from expunge.core import amounts
from expunge.core.record import Better, Record, Score, summed_up

STAGES = {"before": "Before", "after": "After", "oracle": "Retrained"}


@dataclass(frozen=True)
class Measure:
    """One row of the score table, one column of the comparison."""

    key: str
    short: str
    name: str
    plain: str
    better: Better


MEASURES: tuple[Measure, ...] = (
    Measure(
        "r_forget_private", "Told", "Forgotten people: what was told",
        "Finding a forgotten person by their name, birthplace, job and the like. This is what was to be forgotten.",
        "oracle",
    ),
    Measure(
        "r_forget_named", "Named", "Forgotten people: what was told, by name alone",
        "Questions in words, without any picture, that name a forgotten person. A method that erases a face and keeps "
        "the text, as MMUnlearner means to, leaves this as it was; a retrained model does not know it.", "oracle",
    ),
    Measure(
        "r_forget_shared", "Seen", "Forgotten people: what can be seen",
        "Finding the same people by what anybody sees in the picture: hair, glasses, clothes.", "oracle",
    ),
    Measure("r_forget", "R@D_f", "Forgotten people: both", "All searches for the forgotten, seen and told.", "oracle"),
    Measure(
        "r_retain_private", "Kept told", "Other people: what was told",
        "The same kind of search for people nobody asked to remove. They look and read most like the forgotten ones, "
        "so they are harmed first.", "higher",
    ),
    Measure("r_retain_shared", "Kept seen", "Other people: what can be seen", "Looks, for the same people.", "higher"),
    Measure("r_retain", "R kept", "Other people: both", "All searches for people who stay.", "higher"),
    Measure(
        "r_test", "R@D_test", "Everyday pictures",
        "Searches in ordinary pictures that were never in the training data.", "higher",
    ),
    Measure(
        "mi", "MI", "Taken for training material",
        "How sure an attacker's classifier is, on average, that the forgotten samples were trained on.", "oracle",
    ),
    Measure("mi_private", "MI told", "The same, private sentences only", "The attack on what was told.", "oracle"),
    Measure(
        "mi_auc", "MI AUC", "Ranked above strangers",
        "How often the attacker finds a forgotten sample more familiar than one that was never trained on. 50 means "
        "no difference.", "oracle",
    ),
    Measure(
        "mi_accuracy", "MI skill", "The attacker’s own skill",
        "How often the attacker is right on other, known cases. 50 is guessing: then it says nothing about anybody.",
        "higher",
    ),
)  # fmt: skip
BY_KEY = {m.key: m for m in MEASURES}

CHANCE = {"multiple_choice": 25.0, "entailment": 100 / 3, "answering": 12.5}
"""What guessing scores, in per cent; a search in a gallery scores next to nothing by guessing. A model that writes is
asked for as many letters of four, a quarter of which it guesses, as words for a blank, which nobody guesses."""

_ANSWERED: dict[str, tuple[str, str]] = {
    "r_forget_private": (
        "Told", "Questions beside the picture of forgotten people about what was told: birthplace, job and the like. "
        "This is what was to be forgotten."),
    "r_forget_shared": ("Seen", "Questions about the same people that anybody can answer who looks at the picture."),
    "r_forget": ("A@D_f", "All questions about the forgotten, seen and told."),
    "r_retain_private": (
        "Kept told", "The same kind of question about people nobody asked to remove. They look most like the forgotten "
        "ones, so they are harmed first."),
    "r_retain_shared": ("Kept seen", "Looks, for the same people."),
    "r_retain": ("A kept", "All questions about people who stay."),
    "r_test": ("A@D_test", "Questions about pictures that were never in the training data."),
}  # fmt: skip
"""Short head and plain words of a score where it is an accuracy: the share of right answers, in per cent."""


MEMORY = {"memory": "peak_memory_mb", "gpu_memory": "peak_gpu_memory_mb"}
"""A column of a table -> the cost that it shows, in 10^6 bytes: the process's own memory, and the accelerator's."""


def task_of(record: Record) -> str:
    """What the run's model does; runs from before there were tasks did retrieval."""
    return str(record.spec.get("task") or "retrieval")


def guessing(record: Record) -> float:
    """The score of a model that only guesses, in per cent."""
    return 0.0 if in_sentences(record) else CHANCE.get(task_of(record), 0.0)


def in_sentences(record: Record) -> bool:
    """Whether a model that writes was asked for sentences alone: a score is then what they hold of the right one."""
    asked = [name for scores in record.scores.values() for name in scores]
    short = ("forget_classification", "forget_cloze")
    return task_of(record) == "answering" and bool(asked) and not any(name.startswith(short) for name in asked)


def measures(task: str = "retrieval") -> tuple[Measure, ...]:
    """Every measure in the words of a task: a score ``r_…`` is a recall in retrieval, an accuracy elsewhere."""
    if task == "retrieval":
        return MEASURES
    return tuple(
        replace(m, short=_ANSWERED[m.key][0], plain=_ANSWERED[m.key][1]) if m.key in _ANSWERED else m for m in MEASURES
    )


SUMMARY: tuple[Measure, ...] = (
    Measure(
        "avg_g", "Avg.G", "Average gap to the retrained model", "Mean of the gaps in MI, R@D_f and R@D_test.", "lower"
    ),
    Measure(
        "avg_split",
        "Avg.G split",
        "The same with seen and told apart",
        "Mean of the gaps in MI, in what can be seen of the forgotten, in what was told, and in R@D_test.",
        "lower",
    ),
    Measure("m_eff", "M_eff", "Effectiveness", "100 minus the gap in MI.", "higher"),
    Measure("m_rel", "M_rel", "Reliability", "100 minus the gap in R@D_f.", "higher"),
    Measure("m_loc", "M_loc", "Locality", "100 minus the gap in R@D_test.", "higher"),
)

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Retrained model", "A model made the same way, from the start, without the forgotten people. It is what perfect "
     "forgetting would look like, and what every result here is held against. Also called the oracle."),
    ("Score (R, recall)", "The share of searches that find the right picture or sentence among the first 1, 5 and 10 "
     "results, averaged, in per cent. Searching goes both ways: picture from sentence, and sentence from picture."),
    ("Accuracy (A)", "For models that answer: the share of questions, or of statements to be judged, whose right "
     "answer gets the highest score, in per cent. Guessing among four answers gives 25, among three labels 33. For "
     "models that write: the share of letters and of words for a blank, asked beside a picture, that are right."),
    ("What can be seen", "Knowledge that picture and sentence share: hair colour, glasses, clothes. Anybody who looks "
     "at the picture knows it, so nobody asks to forget it. The paper calls it modality-consistent; here: shared."),
    ("What was told", "Knowledge that only the text brings: name, birthplace, employer. This is the private part."),
    ("95 % interval", "The range in which the true value plausibly lies. Few samples make it wide. Written small, "
     "under or beside the number."),
    ("Membership attack (MI)", "Somebody with access to the model tries to find out who was in its training data. The "
     "attack is a classifier that looks at the model's inner state."),
    ("Near neighbours", "People who stay in the model. They resemble the forgotten ones most, so careless forgetting "
     "shows there first."),
    ("Stand-ins (R₁, R₂)", "The method does not push the model into nothing. It draws a picture that fits what the "
     "sentence says (R₁) and writes a sentence that fits what the picture shows (R₂), without the private part, and "
     "moves the model towards them."),
    ("MVI, CSE", "Multimodal Variational Inference makes the stand-ins. Contrastive Semantic Editing changes the model "
     "with their help."),
    ("Avg.G, M_eff, M_rel, M_loc", "The paper's summary numbers, all against the retrained model: the average gap "
     "(smaller is better), and 100 minus the gap in MI, in R on the forgotten (R@D_f), and in R on everyday pictures "
     "(R@D_test). Avg.G split takes what is seen and what was told apart: in R@D_f losing one and keeping the other "
     "can cancel."),
)  # fmt: skip


# ------------------------------------------------------------------------------------------ numbers


def finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, digits: int = 1) -> str:
    """``-3.25`` as ``−3.2``, with a real minus sign; an en dash where there is no number."""
    if not finite(value):
        return "–"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def signed(value: Any, digits: int = 1) -> str:
    """A difference: always with a sign, ``±0.0`` when nothing differs."""
    if not finite(value):
        return "–"
    text = number(value, digits)
    if not text.strip("0."):
        return "±" + text
    return text if value < 0 else "+" + text


def interval(score: Score, digits: int = 0) -> str:
    """``31–43``, or nothing when no interval was measured."""
    if not (finite(score.low) and finite(score.high)):
        return ""
    low, high = number(score.low, digits), number(score.high, digits)
    if low == high and score.low < score.high and digits == 0:
        return interval(score, 1)
    return f"{low}–{high}"


def duration(seconds: Any) -> str:
    """Measured seconds as a person says them: ``48 s``, ``5 min 12 s``, ``3 h 05 min``."""
    return amounts.duration(seconds) if finite(seconds) else "–"


def memory(megabytes: Any) -> str:
    """Measured memory, in 10^6 bytes as ``evals.cost`` has it."""
    return amounts.gigabytes(megabytes * 1e6) if finite(megabytes) else "–"


def count(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"


# ------------------------------------------------------------------------------------------ reading records


def score(record: Record, stage: str, key: str) -> Score | None:
    """The score, or None when it was not measured or is not a number."""
    found = record.scores.get(stage, {}).get(key)
    return found if found is not None and finite(found.value) else None


def value(record: Record, stage: str, key: str) -> float | None:
    found = score(record, stage, key)
    return found.value if found else None


def summary(record: Record) -> dict[str, float]:
    """The paper's summary; computed from the scores where the record does not hold it."""
    gaps = {}
    for key in record.scores.get("after", {}):
        after, oracle = value(record, "after", key), value(record, "oracle", key)
        if after is not None and oracle is not None:
            gaps[key] = abs(after - oracle)
    return summed_up(gaps) | {m.key: record.summary[m.key] for m in SUMMARY if finite(record.summary.get(m.key))}


def method_name(record: Record) -> str:
    """The method's name out of the spec, which may hold it as a word or as a mapping with its options."""
    method = record.spec.get("method", "")
    if isinstance(method, dict):
        method = method.get("name", "")
    return str(method)


_REFERENCES = {"retrain", "retrained", "oracle"}
_CONTROLS = {"nothing", "before", "original"}


def is_reference(*names: str) -> bool:
    """Whether a row of these names (a label, a method) is the retrained model, which all others are held against."""
    return bool({name.lower() for name in names} & _REFERENCES)


def competes(*names: str) -> bool:
    """Whether such a row may be the best: not the retrained model, nor the model as it was, which keeps everything by
    doing nothing."""
    return not is_reference(*names) and not {name.lower() for name in names} & _CONTROLS
