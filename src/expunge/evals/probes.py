"""Fresh probes on frozen features: what a picture shows (for the Inception Score), and which modality a vector is of.

Table 5 of the paper reads the modality off U' (99 %) and off K' (about 50 %) with the classifier theta_M, which was
trained on U' alone and, as described, has no input for K'. A classifier that never saw K' is at chance on it whatever
K' holds, so here either factor has a probe of its own, made and judged in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from expunge.core.groups import digest, group_of
from expunge.core.record import Score, Scores
from expunge.core.types import Embeds, Example, Picture, batches
from expunge.generators.mvi import Mvi
from expunge.generators.shapes import Parts
from expunge.tasks.encoding import judging
from expunge.tasks.intervals import bootstrap, by_group

FOLDS = 5


# ------------------------------------------------------------------------ what a picture shows


@dataclass(frozen=True)
class PictureClassifier:
    """One logistic regression per attribute on the vision CLS of a frozen model; the classes are all combinations.

    The probability of a class is the product over its attributes: what they share beyond the picture's features is
    left out, and in exchange 36 classes are learned from as many pictures as six need. ``accuracy`` is the share in
    per cent of pictures of unseen groups whose every attribute is read, cross-validated.
    """

    model: Embeds
    attributes: tuple[str, ...]
    machines: tuple[Any, ...] = field(repr=False)  # one scikit-learn pipeline per attribute
    accuracy: Score

    @classmethod
    def train(
        cls, model: Embeds, examples: Iterable[Example], attributes: Sequence[str] = ("clothes_colour", "wall")
    ) -> PictureClassifier:
        """Fit it on the pictures of ``examples`` whose facts name every attribute (``wall=mint``).

        The zoo's ``albef-tiny`` with public people is what the defaults are for (300 of them: accuracy 93 [90, 96],
        20 seconds on a busy core); scenes have ``("ground",)``. Same
        pictures, same classifier: nothing is drawn at random. Raises ValueError with fewer than two groups of
        pictures, or with an attribute that has a single value.
        """
        chosen = {digest(e.image.key): e for e in examples if _values(e, attributes) is not None}
        shown = [chosen[key] for key in sorted(chosen)]
        groups = [group_of(e) for e in shown]
        labels = np.array([_values(e, attributes) for e in shown])  # [n, attributes]
        if len(set(groups)) < 2 or any(len(set(column)) < 2 for column in labels.T):
            raise ValueError(f"{len(shown)} pictures do not tell apart what {', '.join(attributes)} may be")
        x = vision_features(model, [e.image for e in shown])
        right = np.ones(len(shown))
        for column in labels.T:
            right *= _guesses(x, column, groups) == column
        machines = tuple(_machine().fit(x, column) for column in labels.T)
        return cls(model, tuple(attributes), machines, _share(right, groups, seed=0))

    def knows(self, example: Example) -> bool:
        """Whether the example's facts name every attribute."""
        return _values(example, self.attributes) is not None

    def probabilities(self, pictures: Sequence[Picture]) -> np.ndarray:
        """p(y|x) [n, C], one column per combination of values."""
        x = vision_features(self.model, pictures)
        joint = np.ones((len(x), 1))
        for machine in self.machines:
            joint = (joint[:, :, None] * machine.predict_proba(x)[:, None, :]).reshape(len(x), -1)
        return joint


def vision_features(model: Embeds, pictures: Sequence[Picture], batch: int = 64) -> np.ndarray:
    """The last hidden CLS of the vision encoder [n, d], one row per picture. Raises what ``judging`` raises."""
    rows = []
    with judging(model):
        for some in batches(list(pictures), batch):
            tensors = model.collate([Example(picture.key, picture, "a picture") for picture in some])
            rows.append(model.encode_images(tensors).tokens[:, 0].double().cpu().numpy())
    return np.concatenate(rows)


def _values(example: Example, attributes: Sequence[str]) -> tuple[str, ...] | None:
    told = dict(fact.split("=", 1) for fact in sorted(example.facts) if "=" in fact)
    return tuple(told[a] for a in attributes) if all(a in told for a in attributes) else None


# ---------------------------------------------------------------------------- Table 5: modality


@torch.no_grad()
def factors(mvi: Mvi, parts: Parts, *, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """``specific`` (U', drawn from its posterior by ``seed``) and ``consistent`` (K'), each as (of pictures [n, d_1],
    of texts [n, d_2]), mean-pooled over tokens; padding of the text does not count."""
    rows = torch.arange(len(parts))
    rng = torch.Generator().manual_seed(seed)
    specific = []
    for mean, log_variance in mvi.infer(parts, rows):
        noise = torch.randn(mean.shape, generator=rng).to(mean)
        specific.append((mean + (0.5 * log_variance).exp() * noise).mean(1))
    mask = parts.text_mask[..., None].to(parts.from_text)
    consistent = parts.from_picture.mean(1), (parts.from_text * mask).sum(1) / mask.sum(1).clamp(min=1)
    both = {"specific": tuple(specific), "consistent": consistent}
    return {name: tuple(x.double().cpu().numpy() for x in pair) for name, pair in both.items()}


def modality_probe(
    name: str,
    pictures: np.ndarray,
    texts: np.ndarray,
    groups: Sequence[str],
    *,
    width: int = 16,
    centred: bool = False,
    seed: int = 0,
) -> Scores:
    """How well a fresh logistic regression tells vectors of pictures [n, d_1] from vectors of texts [n, d_2].

    Both are brought to ``width`` numbers (fewer where there are not so many) by a PCA of their own and to unit mean
    square, maps and probe fitted on four fifths of the groups and judged on the rest. Returns ``modality_<name>``
    in per cent, ``_pictures`` and ``_texts``: the same of the vectors of one side alone, which may lean to either and
    have no chance level of their own, and ``_control``: the same probe where the two names of a random half of the
    pairs are exchanged, which must stay near 50. With few pairs only the control shows how much is luck.

    Two spaces of different width have no common origin, and the choice of one decides: by default the PCA's axes are
    used without taking the mean away, and a probe may use that the two lie in different places. ``centred`` takes
    each side's own mean away; a linear probe is then near chance whatever the two hold, U' included. Neither is
    evidence that K' is free of its modality, and 50 % under the second is no more than its arithmetic.

    Raises ValueError when rows and groups do not match or there are fewer than two groups.
    """
    count = len(groups)
    if not len(pictures) == len(texts) == count:
        raise ValueError(f"{len(pictures)} pictures and {len(texts)} texts of {count} pairs")
    if len(set(groups)) < 2:
        raise ValueError("a probe is judged on groups that it has not seen; there is one group only")
    truth = np.repeat([0, 1], count)
    exchanged = np.random.default_rng(seed).permutation(count) < count // 2
    control = np.where(np.tile(exchanged, 2), 1 - truth, truth)
    guesses = {"": np.empty_like(truth), "_control": np.empty_like(truth)}
    labels = {"": truth, "_control": control}
    for train, test in _folds(groups):
        some = min(width, pictures.shape[1], texts.shape[1], len(train))
        sides = [_narrow(x[train], x, some, centred) for x in (pictures, texts)]
        x = np.concatenate(sides)  # [2n, some]
        learn, judge = (np.concatenate([rows, rows + count]) for rows in (train, test))
        for suffix, y in labels.items():
            guesses[suffix][judge] = _machine().fit(x[learn], y[learn]).predict(x[judge])
    both = [*groups, *groups]
    found = {f"modality_{name}{suffix}": _share(guesses[suffix] == y, both, seed) for suffix, y in labels.items()}
    right = guesses[""] == truth
    sides = {"pictures": right[:count], "texts": right[count:]}
    return found | {f"modality_{name}_{side}": _share(part, groups, seed) for side, part in sides.items()}


def _narrow(learn: np.ndarray, x: np.ndarray, width: int, centred: bool) -> np.ndarray:
    """``x`` on the first principal axes of ``learn``, at the scale at which ``learn`` has mean square 1."""
    with np.errstate(invalid="ignore"):  # the share of a variance of 0, which nobody reads
        pca = PCA(width, svd_solver="full").fit(learn)
    origin = pca.mean_ if centred else 0.0
    scale = np.sqrt(np.mean(((learn - origin) @ pca.components_.T) ** 2))
    return (x - origin) @ pca.components_.T / max(scale, 1e-12)


# ------------------------------------------------------------------------------------- shared


def _machine() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000))


def _folds(groups: Sequence[str]) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Training and test rows of folds that keep a group together; the same for the same groups."""
    return GroupKFold(min(FOLDS, len(set(groups)))).split(np.zeros(len(groups)), groups=np.asarray(groups))


def _guesses(x: np.ndarray, labels: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """The label of each row as a probe reads it that never saw its group."""
    guessed = labels.copy()
    for train, test in _folds(groups):
        if len(set(labels[train])) > 1:
            guessed[test] = _machine().fit(x[train], labels[train]).predict(x[test])
        else:
            guessed[test] = labels[train][0]
    return guessed


def _share(right: np.ndarray, groups: Sequence[str], seed: int) -> Score:
    """How often, in per cent, with a bootstrap interval over groups."""
    names = sorted(set(groups))
    sums, count = by_group(groups, names, 100 * np.asarray(right, dtype=np.float64))
    low, high = bootstrap(lambda drawn: drawn @ sums / (drawn @ count), len(names), seed=seed)
    return Score(float(sums.sum() / count.sum()), len(right), low, high)
