"""What the analyses of a block's cells found, joined over stages and seeds: for ``report.findings``, no model library.

Numbers are means over seeds. What is looked at (matrices, maps, samples) is of one seed: the first of which the model
before and most rows are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from expunge.bench.cells import scores_of
from expunge.core.record import Better, Score, Scores
from expunge.evals.joining import feature_map, kinds_over_seeds, overlap_over_seeds, shift_over_seeds, word_shift
from expunge.evals.stats import mean_interval
from expunge.report.findings import BEFORE, RETRAINED, Findings

LEAST = 2
"""Pictures, over all seeds, below which a word is left out of Table 9."""


def gather(block: Mapping[str, Any], found: Mapping[str, Any]) -> Findings:
    """Everything there is of one block. Empty where no cell of it was analysed."""
    shared = {BEFORE: block["before"], RETRAINED: block["retrained"]}
    rows = {row["label"]: row["cells"] for row in block["rows"] if row["cells"] not in shared.values()}
    cells = {BEFORE: shared[BEFORE], **rows, RETRAINED: shared[RETRAINED]}
    told = {
        label: {seed: found[h]["analyses"] for seed, h in hashes.items() if "analyses" in found.get(h, {})}
        for label, hashes in cells.items()
    }
    told = {label: per_seed for label, per_seed in told.items() if per_seed}
    if not told:
        return Findings()
    seed = _one_seed(told)
    scores = {label: _scores(per_seed) for label, per_seed in told.items()}
    for label, looked in _overlaps(told, [*rows, RETRAINED]).items():
        scores[label] |= looked
    shown = {label: per_seed[seed] for label, per_seed in told.items() if seed in per_seed}
    return Findings(
        scores=scores,
        words=_words(told, rows),
        kinds=_kinds(told, [*rows, RETRAINED]),
        seed=seed,
        matching=_part(shown, "matching", "matrix"),
        groups=next(iter(_part(shown, "matching", "groups").values()), []),
        attention=_part(shown, "attention", "pairs"),
        maps=_maps(_part(shown, "map", "features"), rows),
        samples=_part(shown, "anchors", "samples"),
        notes=tuple(
            dict.fromkeys(
                n for per_seed in told.values() for one in per_seed.values() for a in one.values() for n in a["notes"]
            )
        ),
    )


def analysed(result: Mapping[str, Any]) -> Scores:
    """Every score of a cell's analyses, under its own name."""
    scores: Scores = {}
    for one in result.get("analyses", {}).values():
        scores |= scores_of(one)
    return scores


def _one_seed(told: Mapping[str, Mapping[str, Any]]) -> str:
    """The first seed that the most models have, the model before counting for all others together."""
    seeds = list(dict.fromkeys(seed for per_seed in told.values() for seed in per_seed))
    return max(seeds, key=lambda s: (s in told.get(BEFORE, {}), sum(s in per_seed for per_seed in told.values())))


def _scores(per_seed: Mapping[str, Any]) -> dict[str, Score]:
    """Over seeds; of one seed its own score, which has an interval over groups."""
    seeds = [analysed({"analyses": one}) for one in per_seed.values()]
    names = list(dict.fromkeys(name for scores in seeds for name in scores))
    joined = {}
    for name in names:
        known = [s[name] for s in seeds if name in s and s[name].value == s[name].value]
        if known:
            over = mean_interval([s.value for s in known], known[0].better)
            joined[name] = over if len(known) > 1 else known[0]
    return joined


def _words(told: Mapping[str, Mapping[str, Any]], rows: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    joined = {}
    for label in rows:
        shifts = [word_shift(*both, least=1) for both in _both(told, label, "words", "words")]
        if words := [row for row in shift_over_seeds(shifts) if row["pictures"] >= LEAST]:
            joined[label] = words
    return joined


def _kinds(told: Mapping[str, Mapping[str, Any]], labels: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    joined = {label: kinds_over_seeds(_both(told, label, "words", "words")) for label in labels}
    return {label: kinds for label, kinds in joined.items() if kinds}


def _overlaps(told: Mapping[str, Mapping[str, Any]], labels: Sequence[str]) -> dict[str, Scores]:
    """How far each still looks where the model before looked, at the forgotten and at those who stay."""
    found: dict[str, Scores] = {}
    asked: tuple[tuple[str, Better], ...] = (("forget", "oracle"), ("retain", "higher"))
    for label in labels:
        both = _both(told, label, "attention", "looked")
        for split, better in asked:
            score = overlap_over_seeds([(one[split], two[split]) for one, two in both], better)
            if score is not None:
                found.setdefault(label, {})[f"overlap_{split}"] = score
    return found


def _both(told: Mapping[str, Mapping[str, Any]], label: str, analysis: str, key: str) -> list[tuple[Any, Any]]:
    """What an analysis found before and with one label, of every seed where both are there."""
    before, after = (_part(told.get(name, {}), analysis, key) for name in (BEFORE, label))
    return [(before[seed], after[seed]) for seed in after if seed in before]


def _part(told: Mapping[str, Any], analysis: str, key: str) -> dict[str, Any]:
    """Label -> one thing that an analysis found, of the labels where it is there."""
    return {label: one[analysis][key] for label, one in told.items() if key in one.get(analysis, {})}


def _maps(features: Mapping[str, Any], rows: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """One map for each row, of before, after and retrained together, so that places can be compared."""
    maps = {}
    for label in rows:
        stages = {"before": BEFORE, "after": label, "oracle": RETRAINED}
        known = {stage: features[name] for stage, name in stages.items() if name in features}
        if "after" in known and (points := feature_map(known)):
            maps[label] = points
    return maps
