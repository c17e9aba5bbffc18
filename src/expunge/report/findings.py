"""What was looked at beside the scores, as sheets: the paper's Tables 5 and 9, numbers to Figures 7 and 8, anchors.

``Findings`` are plain data of one block, joined by ``bench.findings``; ``report.illustrations`` draws them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from expunge.core.record import Score
from expunge.report import printed
from expunge.report.grid import GridBlock, GridCell, Line, Panel, Results, Sheet, column_group, size_of
from expunge.report.measures import finite, number, signed
from expunge.report.plots import split_words

BEFORE, RETRAINED = "before", "retrained"
KINDS = ("told", "seen")
WORDS = 15
"""Words of each kind, as in the paper."""
TOLD_APART = (
    ("picture or text, both sides", ""), ("by chance: names exchanged", "_control"),
    ("the same, centred", "_centred"), ("centred, by chance", "_centred_control"),
)  # fmt: skip
"""Rows of the probe of both sides, and how the score of each ends."""
LONGEST = 200
"""Characters of a sample's text that a table shows."""


@dataclass(frozen=True)
class Findings:
    """One block's, by the label of a model: ``before``, a row's, ``retrained``. All but ``scores``, ``words`` and
    ``kinds`` are of the one ``seed``.

    ``words`` {word, pictures, seeds, before, after, shift}; ``kinds`` told and seen words, {before, shift, words} each;
    ``matching`` picture by text, in the order of ``groups``; ``attention`` {which, text, picture, map}; ``maps``
    {stage, split, side, group, kind, x, y} of before, after and oracle together; ``samples`` {group, text, picture,
    drawn, written}. Pictures are data URIs.
    """

    scores: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    words: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    kinds: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    seed: str = ""
    matching: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    groups: Sequence[str] = ()
    attention: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    maps: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    samples: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def found(results: Results) -> Iterable[tuple[GridBlock, Findings]]:
    """The blocks that were looked at."""
    return ((b, b.findings) for b in results.blocks if b.findings is not None and b.findings.scores | b.findings.words)


def place(results: Results, block: GridBlock) -> str:
    """Where a block stands, in one line."""
    return f"{column_group(results.blocks, block)}, {size_of(block)}"


def sheets(results: Results) -> list[Sheet]:
    """One sheet for each kind of finding; those without panels are left out by the caller."""
    return [_words(results), _inside(results), _anchors(results), _factors(results), _samples(results)]


# ------------------------------------------------------------------------------------------ words (Table 9)


def _words(results: Results) -> Sheet:
    panels = []
    for block, one in found(results):
        if one.kinds:
            heads = tuple(f"{kind}: {what}" for kind in KINDS for what in ("match before", "shift", "n"))
            lines = [Line(label, _of_kinds(kinds), label == RETRAINED) for label, kinds in one.kinds.items()]
            panels.append(Panel("", f"{place(results, block)}: told and seen words", heads, tuple(lines), stub="Model"))
        for label, words in one.words.items():
            lost, kept = split_words(words, WORDS)
            lines = []
            for i in range(max(len(lost), len(kept))):
                left, right = (part[i] if i < len(part) else None for part in (lost, kept))
                lines.append(Line(str(left["word"]) if left else "–", (*_shift(left), *_named(right))))
            heads = ("Large shift", "before", "n", "Near zero", "Shift", "before", "n")
            panels.append(Panel("", f"{place(results, block)}: {label}", heads, tuple(lines), stub="Word"))
    shifts = [one["shift"]["value"] for one in printed.rows("table9", "privacy").values()]
    note = (
        "Change of the match of a picture with a single word of its texts, in points of 100, after minus before; mean "
        "over the pictures that the word belongs to, then over the seeds where it occurs. n counts pictures over all "
        "seeds; words of a single one are left out. Large shifts first, then those nearest to zero: these two lists "
        "are picked by what became of the words. The table of told and seen words above them is not: told are the "
        "words of private sentences that no shared one holds, seen all others, each word of each picture once (n). "
        "A word that matches nothing before cannot lose it, so the match before stands beside the shift. "
        f"{_INTERVAL.replace('people', 'pictures')} "
        f"The paper prints shifts from {signed(min(shifts), 2)} to {signed(max(s for s in shifts if s < -1), 2)} for "
        f"names, places and foods, and up to {number(max(shifts), 5)} for everyday words."
    )
    return Sheet("words-shifted", "Words that lost their match, and words that did not (the paper’s Table 9)", note,
                 tuple(panels))  # fmt: skip


def _of_kinds(kinds: Mapping[str, Mapping[str, Any]]) -> tuple[GridCell, ...]:
    cells: list[GridCell] = []
    for kind in KINDS:
        one = kinds.get(kind)
        if one is None:
            cells += [GridCell()] * 3
            continue
        shift = _cell(one["shift"], 2)
        cells += [_cell(one["before"], 1), GridCell(signed(one["shift"].value, 2), shift.half),
                  GridCell(str(one["words"]))]  # fmt: skip
    return tuple(cells)


def _shift(row: Mapping[str, Any] | None) -> tuple[GridCell, ...]:
    if row is None:
        return (GridCell(""),) * 3
    digits = 2 if abs(row["shift"]) >= 0.1 else 5
    return GridCell(signed(row["shift"], digits)), GridCell(number(row["before"], 1)), GridCell(str(row["pictures"]))


def _named(row: Mapping[str, Any] | None) -> tuple[GridCell, ...]:
    return (GridCell("" if row is None else str(row["word"])), *_shift(row))


# ------------------------------------------------------------------------------------------ numbers to the figures


def _inside(results: Results) -> Sheet:
    columns = {
        "matching_own": ("own pairs (%)", 1), "matching_others": ("strangers (%)", 1),
        "cosine_forget": ("cosine D_f", 3), "cosine_strangers": ("cosine strangers", 3),
        "cosine_retain": ("cosine D_r", 3), "overlap_forget": ("look D_f (%)", 1),
        "overlap_retain": ("look D_r (%)", 1),
    }  # fmt: skip
    note = (
        "The numbers behind the drawings. Own pairs: mean match of a forgotten picture with its own text, the diagonal "
        "of Figure 7 (a); strangers: with the texts of the other forgotten. Cosine: of the features of true pairs, "
        "which a map (Figure 8) can only hint at; strangers is each picture of D_f with the texts of all others. Look: "
        "how far a model still looks where the model before looked (Figure 7 b), as the intersection of both Grad-CAM "
        "maps with a sum of 1, for one sentence of each group; 100 is the same place. The nearer to the retrained "
        f"model, the better. {_INTERVAL}"
    )
    return Sheet("inside", "Matches and features (the paper’s Figures 7 and 8)", note,
                 tuple(_numbers(results, columns)))  # fmt: skip


def _anchors(results: Results) -> Sheet:
    columns = {
        "inception_score": ("IS", 2), "inception_score_real": ("IS of X", 2), "self_bleu": ("Self-BLEU-4", 1),
        "self_bleu_real": ("of X", 1), "private_leak": ("leak (%)", 1), "private_leak_chance": ("by chance", 1),
        "attribute_agreement": ("agreement (%)", 1), "attribute_agreement_chance": ("by chance", 1),
        "attributes_stated": ("stated", 2),
    }  # fmt: skip
    accuracy = [
        s["classifier_accuracy"].value
        for _, one in found(results)
        for s in one.scores.values()
        if "classifier_accuracy" in s
    ]
    note = (
        "IS: Inception Score of R_1; beside it that of the pictures X_1 themselves, which is as much as the classifier "
        "can see. Self-BLEU-4 of R_2: the lower, the more varied. Leak: share of the words that were told about "
        "somebody which R_2 repeats. Agreement: share of the attributes stated by R_2 that are true of X_1. By chance: "
        f"the same against others. Stated: attributes in a text. {_INTERVAL}"
    )
    if accuracy:
        least, most = (number(x, 0) for x in (min(accuracy), max(accuracy)))
        note += (
            " The classes are read by logistic regressions on the pretrained model’s vision, right for "
            f"{least if least == most else f'{least} to {most}'} % of unseen pictures: scores of Inception-v3, the "
            "paper’s included, are not comparable."
        )
    withheld = dict.fromkeys(n for _, one in found(results) for n in one.notes)
    note += "".join(f" {text[0].upper()}{text[1:]}." for text in withheld)
    return Sheet("anchors", "The anchors: how varied, true and silent", note, tuple(_numbers(results, columns)))


def _numbers(results: Results, columns: Mapping[str, tuple[str, int]]) -> Iterable[Panel]:
    for block, one in found(results):
        keys = [key for key in columns if any(key in scores for scores in one.scores.values())]
        lines = [
            Line(label, tuple(_cell(scores.get(key), columns[key][1]) for key in keys), label in (BEFORE, RETRAINED))
            for label, scores in one.scores.items()
            if any(key in scores for key in keys)
        ]
        if lines:
            yield Panel("", place(results, block), tuple(columns[key][0] for key in keys), tuple(lines), stub="Model")


def _cell(score: Score | None, digits: int, complement: bool = False) -> GridCell:
    if score is None or not finite(score.value):
        return GridCell()
    half = number((score.high - score.low) / 2, digits) if finite(score.low) and finite(score.high) else ""
    return GridCell(number(100 - score.value if complement else score.value, digits), half)


# ------------------------------------------------------------------------------------------ factors (Table 5)


def _factors(results: Results) -> Sheet:
    panels = []
    told = printed.rows("table5", "privacy")
    inputs = {"U'_1": ("specific", True), "U'_2": ("specific", False), "K'_1": ("consistent", True),
              "K'_2": ("consistent", False)}  # fmt: skip
    for block, one in found(results):
        for label, scores in one.scores.items():
            if "modality_specific" not in scores:
                continue
            where = f"{place(results, block)}: {label}"
            lines = []
            for output in ("text", "image"):
                ours = [
                    _cell(scores[f"modality_{factor}_{'pictures' if of_picture else 'texts'}"], 1,
                          of_picture != (output == "image"))
                    for factor, of_picture in inputs.values()
                ]  # fmt: skip
                lines.append(Line(f"A_{output}, fresh probe", tuple(ours)))
                paper = [GridCell(number(told[name][output]["value"], 2)) for name in inputs]
                lines.append(Line(f"A_{output}, paper’s θ_M", tuple(paper), reference=True))
            panels.append(Panel("", where, tuple(inputs), tuple(lines), stub="Read as"))
            both = [
                Line(name, tuple(_cell(scores.get(f"modality_{f}{suffix}"), 1) for f in ("specific", "consistent")))
                for name, suffix in TOLD_APART
            ]
            panels.append(Panel("", f"{where}, told apart", ("U'", "K'"), tuple(both), stub="Probe"))
    note = (
        "How often a factor is read as text or as a picture, in per cent. Ours: a logistic regression made afresh for "
        "U' and for K', fitted on four fifths of the forgotten and judged on the others; 50 is chance for both sides "
        "together, and the row below shows what luck alone gives. The paper asks θ_M, which was trained on these very "
        "U' and never saw a K': that it guesses on K' says that K' is new to it, not what K' holds. A fresh probe that "
        "finds the modality in K' does not deny the method, either: states of two encoders lie in different places, "
        "whatever they mean; with each side’s own mean taken away (centred) that is gone, and a linear probe is then "
        f"near chance by its arithmetic, on U' too. {_INTERVAL}"
    )
    return Sheet("factors", "Which modality a factor betrays (the paper’s Table 5)", note, tuple(panels))


# ------------------------------------------------------------------------------------------ samples (Figure 9)


def _samples(results: Results) -> Sheet:
    panels = []
    for block, one in found(results):
        first = next(iter(one.samples.values()), ())
        lines = []
        for i, sample in enumerate(first):
            texts = [sample["text"], *(made[i]["written"] if i < len(made) else None for made in one.samples.values())]
            cells = tuple(GridCell(_short(text) if text else "–") for text in texts)
            lines.append(Line(sample["group"], cells, picture=sample["picture"]))
        if lines:
            heads = ("Ground truth", *one.samples)
            where = f"{place(results, block)}, seed {one.seed}"
            panels.append(Panel("", where, heads, tuple(lines), stub="Forgotten", prose=True))
    note = (
        "The forgotten text and what MVI writes of its picture (R_2), one sentence of every sample. Nobody here is "
        "real."
    )
    return Sheet("written", "Texts that MVI wrote (the paper’s Figure 9)", note, tuple(panels))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


_INTERVAL = "± is half the 95 % interval: over seeds, or over people where there is one seed."
