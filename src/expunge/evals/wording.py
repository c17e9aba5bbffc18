"""How well written answers agree with the right ones: letters, blanks, ROUGE and BLEU. All in per cent.

Equation:
    Classification = share of texts whose letter is the right one.
    Cloze = share of texts that hold the right words.
    ROUGE-n: shared n-grams over those of the reference (recall) or of the text (precision), F their harmonic mean;
    ROUGE-L the same of the longest common subsequence of words.
    BLEU-4 = brevity penalty times the geometric mean of clipped n-gram precisions, n = 1..4.
Paper: Liu et al., "MLLMU-Bench" (2025). Sources: franciscoliu/MLLMU-Bench 0e3098e, restated: ROUGE as F with the
stemmer, BLEU of words split at spaces with smoothing 1 (0.1 for a count of zero), cloze by substring. CLEAR and TOFU
take ROUGE-L recall. Checked against: nltk's smoothing, and counts by hand, in tests; rouge-score does the counting.
Departs: the released classification takes a text's first character, so that "About ..." answers A; ``reading="first"``
does, too. By default a letter counts where it stands alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import numpy as np

from expunge.core.record import Better, Score
from expunge.evals.stats import grouped_mean

Rouge = Literal["rouge1", "rouge2", "rougeL"]
Measure = Literal["fmeasure", "recall", "precision"]
Reading = Literal["alone", "first"]
_LETTER = re.compile(
    r"\W*"
    r"(?:(?:the\s+)?(?:correct\s+|right\s+)?(?:answer|option|choice)\b(?:\s+is\b)?\W*"
    r"(?:option\s+|letter\s+)?\W*)?"
    r"([A-Z])"
    # What may follow: nothing, a stop or a bracket, a dash between spaces, closing marks. No apostrophe within a word.
    r"(?:\s*(?:$|[.:,;)\]\n])|\s+[-\u2013\u2014]\s|[\"'*`\u2019\u201d]+(?!\w))",
    re.I,
)
EPSILON = 0.1
"""What a count of zero becomes: nltk's smoothing method 1."""


# ------------------------------------------------------------------------------------------ letters and blanks


def letter_of(text: str, reading: Reading = "alone") -> str:
    """The letter that a text chooses, in upper case; empty where it chooses none.

    Alone: ``b``, ``B.``, ``(B) Lisbon``, ``**B**``, ``B - Lisbon``, ``The correct answer is option B``; not ``Berlin``,
    and not ``a baker`` or ``d'Artagnan``, which are words.
    """
    if reading == "first":
        return text.strip()[:1].upper()
    found = _LETTER.match(text.strip())
    return found.group(1).upper() if found else ""


def classification_accuracy(
    texts: Sequence[str], letters: Sequence[str], groups: Sequence[str] | None = None, *, reading: Reading = "alone",
    better: Better = "higher", seed: int = 0,
) -> Score:  # fmt: skip
    """Share of texts that choose the right letter."""
    _same(texts, letters)
    right = [100.0 * (letter_of(text, reading) == letter) for text, letter in zip(texts, letters)]
    return grouped_mean(right, groups, better, seed)


def holds(text: str, truth: str) -> bool:
    """Whether a text holds the truth, in whichever case. Raises ValueError for an empty truth, which all hold."""
    if not truth.strip():
        raise ValueError("a blank without a right answer cannot be scored")
    return truth.strip().casefold() in text.casefold()


def cloze_accuracy(
    texts: Sequence[str], truths: Sequence[str], groups: Sequence[str] | None = None, *, better: Better = "higher",
    seed: int = 0,
) -> Score:  # fmt: skip
    """Share of texts that hold the truth; see ``holds``."""
    _same(texts, truths)
    right = [100.0 * holds(text, truth) for text, truth in zip(texts, truths)]
    return grouped_mean(right, groups, better, seed)


# ------------------------------------------------------------------------------------------ overlap


def rouge(
    texts: Sequence[str], truths: Sequence[str], groups: Sequence[str] | None = None, *, kind: Rouge = "rougeL",
    measure: Measure = "fmeasure", stemmer: bool = True, better: Better = "higher", seed: int = 0,
) -> Score:  # fmt: skip
    """Mean ROUGE of every text against its truth."""
    return grouped_mean(rouge_values(texts, truths, kind, measure, stemmer), groups, better, seed)


def rouge_values(
    texts: Sequence[str], truths: Sequence[str], kind: Rouge = "rougeL", measure: Measure = "fmeasure",
    stemmer: bool = True,
) -> np.ndarray:  # fmt: skip
    """ROUGE of each text, [n] in [0, 100]."""
    _same(texts, truths)
    scorer = _scorer(kind, stemmer)
    return np.array([100 * getattr(scorer.score(truth, text)[kind], measure) for text, truth in zip(texts, truths)])


@cache
def _scorer(kind: Rouge, stemmer: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=stemmer)


def bleu(
    texts: Sequence[str], truths: Sequence[str], groups: Sequence[str] | None = None, *, better: Better = "higher",
    seed: int = 0,
) -> Score:  # fmt: skip
    """Mean BLEU-4 of every text against its truth, a sentence each."""
    return grouped_mean(bleu_values(texts, truths), groups, better, seed)


def bleu_values(texts: Sequence[str], truths: Sequence[str]) -> np.ndarray:
    """BLEU-4 of each text, [n] in [0, 100]. Words are what stands between spaces: punctuation and case count.

    sacrebleu makes the score, with zeros as ``EPSILON``. Orders for which a short text has no n-grams count as one
    that is missed, so a single right word has 17.8; a text that shares no word has 0.
    """
    _same(texts, truths)
    return np.array([_bleu(text.split(), truth.split()) for text, truth in zip(texts, truths)])


def _bleu(said: list[str], truth: list[str]) -> float:
    from sacrebleu.metrics import BLEU

    correct, total = [], []
    for n in range(1, 5):
        mine, theirs = (Counter(tuple(w[i : i + n]) for i in range(len(w) - n + 1)) for w in (said, truth))
        correct.append(sum((mine & theirs).values()))
        total.append(max(1, sum(mine.values())))
    if not correct[0]:
        return 0.0
    made = BLEU.compute_bleu(correct, total, len(said), len(truth), smooth_method="floor", smooth_value=EPSILON)
    return float(made.score)


def _same(texts: Sequence[str], truths: Sequence[str]) -> None:
    if len(texts) != len(truths):
        raise ValueError(f"{len(texts)} answers, but {len(truths)} to hold them against")
