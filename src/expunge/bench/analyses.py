"""What a cell looks at beside its scores, where a suite asks for it: the paper's Tables 5 and 9, Figures 7 to 10.

    words      how well every forgotten picture matches each word of its texts, told or seen (Table 9)
    matching   the match of every forgotten group's picture with every group's text (Figure 7a)
    attention  where the model looks, shown for one forgotten, one retained and one everyday pair (Figure 7b), and for
               one pair of every group, so that before and after can be laid over each other
    map        features of forgotten and retained pairs, and how near true pairs are (Figure 8)
    anchors    how varied, true and silent the anchors are (Tables 3 and 7), with a few shown (Figures 9 and 10)
    factors    a fresh probe of the modality on U' and K', centred and not (Table 5)

Every analysis is plain data: ``scores``, ``notes``, and what a page draws. ``bench.findings`` joins those of several
cells. Of our worlds everybody is invented and may be shown; of data of one's own only numbers are kept, because a cell
is read by more people than the data is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expunge.core import plugins
from expunge.core.groups import digest, group_of
from expunge.core.record import Better, Score
from expunge.core.run import Run
from expunge.core.types import Example
from expunge.evals import attribution
from expunge.evals.assessment import one_each
from expunge.evals.generation import generation_quality
from expunge.evals.probes import PictureClassifier, factors, modality_probe
from expunge.evals.stats import grouped_mean
from expunge.scenario import Scenario
from expunge.showing import SIDE, data_uri

ATTRIBUTES = (("clothes_colour", "wall"), ("ground",))
"""What the Inception Score's classifier reads, of people and of scenes."""
TAUGHT = 300
"""How many pictures teach it."""
SHOWN = 6
"""How many anchors are shown, each of another group."""
MAPPED = 40
"""How many examples of each split the map holds."""
LOOKED = 40
"""Of how many groups of each split it is kept where the model looks."""
DIGITS = 4


@dataclass(frozen=True)
class Subject:
    """What is looked at: a model as it is after its cell's work, and the run that led to it.

    ``method`` is None for the shared models. ``classifier`` is asked only where anchors are judged.
    """

    scenario: Scenario
    model: Any
    method: Any
    run: Run
    classifier: Callable[[], PictureClassifier | None]

    @property
    def forget(self) -> tuple[Example, ...]:
        return self.scenario.splits.forget

    @property
    def near(self) -> list[Example]:
        return self.scenario.splits.near


def analyse(asked: Iterable[str], subject: Subject) -> dict[str, Any]:
    """Name -> {scores, notes, ...} as plain data, in the order asked."""
    found = {}
    for name in asked:
        found[name] = {"scores": {}, "notes": [], **_ANALYSES[name](subject)}
        found[name]["scores"] = {key: vars(score) for key, score in found[name]["scores"].items()}
    return found


# ------------------------------------------------------------------------------------------ of any model


def _words(subject: Subject) -> dict[str, Any]:
    if lacks := _no_match(subject, "words"):
        return lacks
    if subject.scenario.own_data:
        return _withheld("words: the words of forgotten texts of your own data")
    rows = attribution.word_matches(subject.model, subject.forget, subject.run)
    return {"words": [{**row, "match": round(row["match"], 2 * DIGITS)} for row in rows]}


def _matching(subject: Subject) -> dict[str, Any]:
    if lacks := _no_match(subject, "matching"):
        return lacks
    found = attribution.matching_matrix(subject.model, subject.forget, subject.run)
    matrix, groups, seed = found["matrix"], found["groups"], subject.scenario.seed
    own = [(group, 100 * matrix[i][i]) for i, group in enumerate(groups)]
    others = [(g, 100 * v) for i, g in enumerate(groups) for j, v in enumerate(matrix[i]) if i != j]
    names = list(map(str, range(1, len(groups) + 1))) if subject.scenario.own_data else groups
    return {
        "scores": {"matching_own": _mean(own, "oracle", seed)}
        | ({"matching_others": _mean(others, "oracle", seed)} if others else {}),
        "groups": names,
        "matrix": [[round(v, DIGITS) for v in row] for row in matrix],
    }


def _attention(subject: Subject) -> dict[str, Any]:
    if lacks := _no_match(subject, "attention"):
        return lacks
    if subject.scenario.own_data:
        return _withheld("attention: pictures of your own data")
    chosen = _three(subject)
    maps = attribution.gradcam_maps(subject.model, list(chosen.values()))
    if maps is None:
        return {"notes": ["attention: the model cannot say where it looks"]}
    return {
        "pairs": [
            {"which": which, "text": e.text, "picture": data_uri(e.image.open(SIDE)), "map": _rounded(looked)}
            for (which, e), looked in zip(chosen.items(), maps, strict=True)
        ],
        "looked": {
            name: _looked(subject, sorted(split, key=lambda e: e.id))
            for name, split in (("forget", subject.forget), ("retain", subject.near))
        },
    }


def _looked(subject: Subject, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """{group, map} of one pair of each group; the same pairs for every model of a setting."""
    chosen = one_each(examples)[:LOOKED]
    maps = attribution.gradcam_maps(subject.model, chosen) or []
    return [{"group": group_of(e), "map": _rounded(looked)} for e, looked in zip(chosen, maps, strict=True)]


def _rounded(looked: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[round(v, DIGITS) for v in row] for row in looked]


def _three(subject: Subject) -> dict[str, Example]:
    """One forgotten pair, one that stays and one of the test pictures; the same for every model of a setting."""
    corpus = subject.scenario.corpus
    found = {"forgotten": one_each(subject.forget)[0]}
    for which, examples in (("retained", subject.near), ("everyday", corpus.test or corpus.validation)):
        other = [e for e in examples if which != "everyday" or e.source not in {f.source for f in subject.forget}]
        if pool := one_each(sorted(other or examples, key=lambda e: e.id)):
            found[which] = pool[subject.scenario.seed % len(pool)]
    return found


def _map(subject: Subject) -> dict[str, Any]:
    splits, seed = (subject.forget, subject.near), subject.scenario.seed
    near = attribution.pair_cosines(subject.model, *splits, subject.run, seed=seed)
    better: dict[str, Better] = {"forget": "oracle", "retain": "higher", "strangers": "oracle"}
    scores = {f"cosine_{name}": _mean(pairs, better[name], seed, (-1.0, 1.0)) for name, pairs in near.items()}
    if subject.scenario.own_data:
        return {"scores": scores} | _withheld("map: features of your own data, which tell a person as a picture does")
    rows = attribution.features(subject.model, *splits, subject.run, at_most=MAPPED, seed=seed)
    return {
        "scores": scores,
        "features": [{**row, "feature": [round(v, DIGITS) for v in row["feature"]]} for row in rows],
    }


# ------------------------------------------------------------------------------------------ of what was made


def _anchors(subject: Subject) -> dict[str, Any]:
    made = subject.run.keep.get("anchors")
    if made is None:
        return {"notes": ["anchors: the method kept none"]}
    forget = subject.forget
    scores = generation_quality(made, forget, classifier=subject.classifier(), seed=subject.scenario.seed)
    if subject.scenario.own_data:
        return {"scores": scores} | _withheld("anchors: samples beside your own data")
    samples = []
    for e in one_each(forget)[:SHOWN]:
        i = forget.index(e)
        drawn, written = made.pictures[i], made.texts[i]
        samples.append(
            {
                "group": group_of(e), "kind": e.kind, "text": e.described, "picture": data_uri(e.image.open(SIDE)),
                "drawn": data_uri(drawn[0].resize((SIDE, SIDE))) if drawn else None,
                "written": written[0] if written else None,
            }
        )  # fmt: skip
    return {"scores": scores, "samples": samples}


def _factors(subject: Subject) -> dict[str, Any]:
    taken = _taken_apart(subject)
    groups = [group_of(e) for e in subject.forget]
    if taken is None:
        return {"notes": ["factors: the anchors were not made by MVI, so there is no U' and no K'"]}
    if len(set(groups)) < 2:
        return {"notes": ["factors: a probe is judged on groups that it has not seen; there is one group only"]}
    seed = subject.scenario.seed
    scores: dict[str, Score] = {}
    for name, (pictures, texts) in factors(*taken, seed=seed).items():
        scores |= modality_probe(name, pictures, texts, groups, seed=seed)
        scores |= modality_probe(f"{name}_centred", pictures, texts, groups, centred=True, seed=seed)
    return {"scores": scores}


def _taken_apart(subject: Subject) -> Any:
    """The trained MVI with its parts: the run's own, or trained again by the same seed where its anchors came from
    elsewhere. None where there is none."""
    if "mvi" in subject.run.keep:
        return subject.run.keep["mvi"]
    if not hasattr(subject.method, "train_mvi") or getattr(subject.method, "anchors", "") == "random":
        return None
    return subject.method.train_mvi(
        subject.scenario.splits, Run(subject.run.seed, None, subject.run.progress, subject.run.lend)
    )


def classifier(scenario: Scenario) -> PictureClassifier | None:
    """A reader of pictures for the Inception Score, on the model that the original was trained from: it has seen
    nobody who is forgotten, and all cells of a model and a world share it. None where pictures come without facts."""
    told = [_names(e) for e in scenario.splits.forget]
    for attributes in ATTRIBUTES:
        if not any(names.issuperset(attributes) for names in told):
            continue
        forgotten = {e.image.key for e in scenario.splits.forget}
        pools = (scenario.corpus.pretrain, scenario.splits.retain)
        for pool in pools:
            known = {e.image.key: e for e in pool if e.image.key not in forgotten and _names(e).issuperset(attributes)}
            try:
                chosen = [known[key] for key in sorted(known, key=digest)[:TAUGHT]]
                return PictureClassifier.train(scenario.lend("pretrained"), chosen, attributes)
            except ValueError:  # too few pictures, or all alike
                continue
    return None


# ------------------------------------------------------------------------------------------ shared


def _names(e: Example) -> set[str]:
    return {fact.partition("=")[0] for fact in e.facts}


def _no_match(subject: Subject, name: str) -> dict[str, Any] | None:
    if "Matches" in plugins.provides(subject.model):
        return None
    return {"notes": [f"{name}: a model that answers has no match score to look at"]}


def _withheld(what: str) -> dict[str, Any]:
    return {"notes": [f"{what} are not stored"]}


def _mean(
    values: Sequence[tuple[str, float]], better: Better, seed: int, bounds: tuple[float, float] = (0.0, 100.0)
) -> Score:
    groups, numbers = zip(*values)
    return grouped_mean(numbers, groups, better, seed, bounds)


_ANALYSES: Mapping[str, Callable[[Subject], dict[str, Any]]] = {
    "words": _words, "matching": _matching, "attention": _attention, "map": _map, "anchors": _anchors,
    "factors": _factors,
}  # fmt: skip
