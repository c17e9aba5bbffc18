"""How good MVI's anchors are as pictures and texts: are they varied, true, and silent about what was told?

Equation:
    Inception Score = exp(E_x KL(p(y|x) || p(y))), p(y) = E_x p(y|x); between 1 and the number of classes.
    Self-BLEU-4 = mean over pictures of BLEU-4 of one text against one of every other, smoothed; 100 when all say the
    same, whatever the texts of one picture have in common.
    Private leak = mean share of an example's told words that its R_2 repeats; the same against strangers is chance.
    Attribute agreement = share of the attributes stated by R_2 that are true of the picture X_1.
Paper: Tables 3, 5 and 7. Sources: Salimans et al., "Improved Techniques for Training GANs" (2016); Zhu et al.,
"Texygen" (2018). Checked against: sacrebleu's sentence BLEU and known answers, in tests/evals.
Departs: the paper prints an Inception Score below 1, which its definition cannot give, two for the same system (3.08 in
Table 3, 8.7 in Table 7), and a "Text IS" that it does not define; the first is measured as defined and the second not
at all. Inception-v3 has no classes for drawn portraits, so p(y|x) comes from ``probes.PictureClassifier``: logistic
regressions on a frozen model's vision CLS. Scores of another classifier are not comparable, the paper's included.
Texygen compares all texts with one another; here a picture has several (its sentences, or N_R2 for each of them), and
what they have in common is the picture: only texts of different pictures are compared, one of each.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import entr

from expunge.core.groups import digest, group_of
from expunge.core.pictures import HeldPicture
from expunge.core.record import Score, Scores
from expunge.core.text import plain
from expunge.core.types import Example, Picture
from expunge.data.worlds.claims import claims
from expunge.evals.probes import PictureClassifier
from expunge.evals.stats import grouped_mean
from expunge.generators.quality import leaks
from expunge.generators.shapes import Anchors
from expunge.tasks.intervals import bootstrap, by_group

Claims = Callable[[str, Example], set[str]]


def generation_quality(
    anchors: Anchors,
    forget: Sequence[Example],
    *,
    classifier: PictureClassifier | None = None,
    stated: Claims = claims,
    at_most: int = 500,
    seed: int = 0,
) -> Scores:
    """Every score of the anchors that can be measured; what cannot be is absent. ``_real`` and ``_chance`` say how to
    read the score they stand beside: the same of X instead of R, and what vocabulary alone would give.

    Names: inception_score(_real), classifier_accuracy; self_bleu(_real); private_leak(_chance);
    attribute_agreement(_chance). All but the Inception Score are in per cent.

    Args:
        anchors: R of every example of ``forget``, in its order.
        classifier: for the Inception Score, over the examples whose facts name its attributes. Train it on the model
            before unlearning and on pictures that are not forgotten.
        stated: what a text states of an example's picture, as keys of ``Example.facts``.
        at_most: Self-BLEU compares this many pictures, drawn by ``seed``.

    Raises:
        ValueError: anchors are not as many as the examples.
    """
    if not len(anchors.pictures) == len(anchors.texts) == len(forget):
        raise ValueError(f"{len(forget)} examples, but anchors for {len(anchors.pictures)} and {len(anchors.texts)}")
    found: Scores = {}
    if classifier is not None:
        found |= _inception(anchors, forget, classifier, seed)
    made = [(text, group_of(e), e.image.key) for e, texts in zip(forget, anchors.texts) for text in texts]
    real = [(e.described, group_of(e), e.image.key) for e in forget]
    for name, told in (("self_bleu", made), ("self_bleu_real", real)):
        if len({picture for _, _, picture in told}) > 1:
            found[name] = self_bleu(*zip(*told), at_most=at_most, seed=seed)
    found |= private_leak(anchors, forget, seed=seed)
    found |= attribute_agreement(anchors, forget, stated, seed=seed)
    return found


# ------------------------------------------------------------------------------------ pictures


def inception_score(probabilities: np.ndarray, groups: Sequence[str] | None = None, *, seed: int = 0) -> Score:
    """exp(E_x KL(p(y|x) || p(y))) of class probabilities [n, C], rows that sum to 1.

    No splits: the interval is a bootstrap over ``groups`` (rows, when not given). A few pictures cannot show many
    classes, so small n biases the score downwards, and drawing with replacement does so once more: the interval is
    stretched to hold the value where the replicates all lie below it.

    Raises ValueError for what is not a table of probabilities.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or not p.size or (p < 0).any() or not np.allclose(p.sum(1), 1, atol=1e-4):
        raise ValueError(f"not class probabilities: an array of shape {p.shape} whose rows should sum to 1")
    groups = [str(i) for i in range(len(p))] if groups is None else groups
    names = sorted(set(groups))
    sums, count = by_group(groups, names, p)
    doubts, _ = by_group(groups, names, entr(p).sum(1))

    def score(drawn: np.ndarray) -> np.ndarray:
        """KL to the mean is the mean's entropy less the mean entropy; [R, G] -> [R]."""
        size = drawn @ count
        information = entr(drawn @ sums / size[:, None]).sum(1) - drawn @ doubts / size
        return np.exp(np.maximum(information, 0))  # rounding may leave -1e-16

    value = float(score(np.ones((1, len(names))))[0])
    low, high = bootstrap(score, len(names), seed=seed, bounds=(1.0, float(p.shape[1])))
    if not math.isnan(low):
        low, high = min(low, value), max(high, value)
    return Score(value, len(p), low, high)


def _inception(anchors: Anchors, forget: Sequence[Example], classifier: PictureClassifier, seed: int) -> Scores:
    drawn: list[Picture] = []
    groups: list[str] = []
    real: dict[str, Example] = {}
    for i, (e, pictures) in enumerate(zip(forget, anchors.pictures)):
        if classifier.knows(e):
            drawn += [HeldPicture(f"R1:{i}:{j}", picture) for j, picture in enumerate(pictures)]
            groups += [group_of(e)] * len(pictures)
            real.setdefault(digest(e.image.key), e)
    if not drawn:
        return {}
    shown = list(real.values())
    return {
        "inception_score": inception_score(classifier.probabilities(drawn), groups, seed=seed),
        "inception_score_real": inception_score(
            classifier.probabilities([e.image for e in shown]), [group_of(e) for e in shown], seed=seed
        ),
        "classifier_accuracy": classifier.accuracy,
    }


# --------------------------------------------------------------------------------------- texts


def self_bleu(
    texts: Sequence[str],
    groups: Sequence[str] | None = None,
    pictures: Sequence[str] | None = None,
    *,
    at_most: int = 500,
    rounds: int = 10,
    seed: int = 0,
) -> Score:
    """Mean BLEU-4 in per cent of each picture's text against those of all others; the lower, the more diverse.

    In each of ``rounds`` one text is drawn for every picture (``pictures`` name that of each text; without them every
    text has one of its own) and compared with the texts drawn for the others: what repeats is what is said of different
    pictures, and any number of texts a picture has as many to be compared with. At most ``at_most`` pictures, drawn by
    ``seed`` as the texts are. ``n`` counts pictures. The interval resamples ``groups`` (one name for each text;
    pictures, when not given) with what each is compared to held fixed: a text drawn twice into the references would be
    its own copy.

    Raises ValueError with texts of fewer than two pictures.
    """
    pictures = [f"{i:09}" for i in range(len(texts))] if pictures is None else pictures
    told: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    for i, (text, picture) in enumerate(zip(texts, pictures, strict=True)):
        told.setdefault(picture, []).append(text)
        owner.setdefault(picture, picture if groups is None else groups[i])
    names = sorted(told)
    if len(names) < 2:
        raise ValueError(f"Self-BLEU compares the texts of different pictures; there are {len(names)}")
    if len(names) > at_most:
        names = sorted(random.Random(f"self-bleu:{seed}").sample(names, at_most))
    if all(len(told[name]) == 1 for name in names):
        rounds = 1
    scores = []
    for turn in range(rounds):
        rng = random.Random(f"self-bleu:{seed}:{turn}")
        scores.append(_against_all_others([rng.choice(told[name]) for name in names]))
    return grouped_mean(np.mean(scores, axis=0), [owner[name] for name in names], "lower", seed)


def _against_all_others(texts: Sequence[str]) -> list[float]:
    """BLEU-4 in per cent of each text against all the others.

    Words are those of ``core.text.plain``. sacrebleu counts the n-grams and makes the score, with its exponential
    smoothing and, for texts of fewer than four words, effective order. Each text's clipping counts come from the two
    largest counts of every n-gram, which is what comparing all with all gives, without the square of the work.
    """
    from sacrebleu.metrics import BLEU
    from sacrebleu.metrics.helpers import extract_all_word_ngrams

    # Nothing said is one thing that may be said: without a word of its own it would pass for unlike all others.
    said = [plain(text, max_words=10_000) or "<nothing>" for text in texts]
    counted: list[tuple[Counter, int]] = [extract_all_word_ngrams(text, 1, 4) for text in said]
    most: dict[tuple[str, ...], tuple[int, int]] = {}
    for grams, _ in counted:
        for gram, count in grams.items():
            first, second = most.get(gram, (0, 0))
            most[gram] = (count, first) if count >= first else (first, max(second, count))
    lengths = Counter(length for _, length in counted)
    scores = []
    for grams, length in counted:
        correct, total = [0] * 4, [0] * 4
        for gram, count in grams.items():
            first, second = most[gram]
            others = second if count == first else first
            correct[len(gram) - 1] += min(count, others)
            total[len(gram) - 1] += count
        near = [n for n in lengths if n != length or lengths[n] > 1]
        nearest = min(near, key=lambda n: (abs(n - length), n))  # of two as near, the shorter
        made = BLEU.compute_bleu(correct, total, length, nearest, smooth_method="exp", effective_order=True)
        scores.append(min(100.0, made.score))  # exp(log(100)) is a hair above
    return scores


def private_leak(anchors: Anchors, forget: Sequence[Example], *, seed: int = 0) -> Scores:
    """How much of what was told each R_2 repeats, in per cent, and by chance: see ``generators.quality.leaks``.

    ``n`` counts texts of private examples; without any, nothing is returned.
    """
    found = leaks(anchors, forget)
    scores = {}
    if found:
        groups = [group_of(e) for e, _, _ in found]
        scores["private_leak"] = grouped_mean([100 * own for _, own, _ in found], groups, "lower", seed)
    if compared := [(np.mean(others), group_of(e)) for e, _, others in found if others]:
        chance, groups = zip(*compared)
        scores["private_leak_chance"] = grouped_mean([100 * c for c in chance], groups, "lower", seed)
    return scores


def attribute_agreement(
    anchors: Anchors, forget: Sequence[Example], stated: Claims = claims, *, seed: int = 0
) -> Scores:
    """The share in per cent of the attributes stated by R_2 that are true of X_1.

    ``n`` counts stated attributes. ``_chance`` asks the same of every other group's picture of that source: a
    generator that always says the commonest colour agrees so often. What a text does not state costs nothing, so
    ``attributes_stated``, the mean number of them in a text, stands beside it. Nothing is returned where no example's
    words are known.
    """
    known = [bool(e.facts and stated(e.described, e)) for e in forget]
    sources = {e.source for e, is_known in zip(forget, known) if is_known}
    pictures: dict[str, dict[str, Example]] = {}
    for e in forget:
        pictures.setdefault(e.source, {}).setdefault(digest(e.image.key), e)
    right, groups, chances, chance_groups, number, owners = [], [], [], [], [], []
    for e, texts in zip(forget, anchors.texts):
        if e.source not in sources:
            continue
        others = [o.facts for o in pictures[e.source].values() if group_of(o) != group_of(e)]
        for text in texts:
            said = sorted(stated(text, e))
            number.append(float(len(said)))
            owners.append(group_of(e))
            right += [100.0 * (claim in e.facts) for claim in said]
            groups += [group_of(e)] * len(said)
            if others:
                chances += [100 * float(np.mean([claim in facts for facts in others])) for claim in said]
                chance_groups += [group_of(e)] * len(said)
    scores: Scores = {}
    if right:
        scores["attribute_agreement"] = grouped_mean(right, groups, "higher", seed)
    if chances:
        scores["attribute_agreement_chance"] = grouped_mean(chances, chance_groups, "lower", seed)
    if number:
        scores["attributes_stated"] = grouped_mean(number, owners, "higher", seed, bounds=(0.0, max(number)))
    return scores
