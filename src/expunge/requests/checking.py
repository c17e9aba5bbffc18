"""Everything that would make a run fail or lie, found before it starts: all of it, not only the first."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from expunge.core.errors import Problem
from expunge.core.refusal import place
from expunge.core.types import Corpus, Example, Splits, Task
from expunge.data import jsonl
from expunge.data.files.reading import Reading
from expunge.evals.pools import AttackRefused
from expunge.evals.sampling import draw_attack
from expunge.requests import leakage
from expunge.requests.alike import look_alikes
from expunge.requests.asked import Who
from expunge.requests.ledger import Inclusion, doubts, include, ledger
from expunge.requests.matching import Requests, match
from expunge.requests.wording import find_reworded

LISTED = 50


class Findings(NamedTuple):
    """``problems`` stop a run; ``warnings`` say which of its numbers will be missing or doubtful."""

    problems: list[Problem]
    warnings: list[Problem]


@dataclass(frozen=True)
class Examination:
    """A request held against the data: what was found, who is forgotten, and what became of every request.

    ``included`` are examples that were added because their pictures look like those asked for. ``account`` is the
    ledger of the requests, empty where the data could not be read.
    """

    findings: Findings
    requests: Requests
    splits: Splits
    included: tuple[Inclusion, ...]
    account: dict[str, Any]

    def to_json(self) -> str:
        """The findings and the account as one object."""
        told = {name: [asdict(one) for one in some] for name, some in self.findings._asdict().items()}
        return json.dumps({**told, **self.account}, ensure_ascii=False, indent=1)


def check(
    data: Corpus | Reading | str | Path,
    who: Who,
    *,
    root: str | Path | None = None,
    allow_leakage: bool = False,
    task: Task = "retrieval",
) -> Findings:
    """Read the data, match the requests, look for leaks; see ``examine``."""
    return examine(data, who, root=root, allow_leakage=allow_leakage, task=task).findings


def examine(
    data: Corpus | Reading | str | Path,
    who: Who,
    *,
    root: str | Path | None = None,
    allow_leakage: bool = False,
    include_near: bool = False,
    task: Task = "retrieval",
) -> Examination:
    """Read the data, match the requests, look for leaks. ``data`` is a corpus, a reading, a JSONL file or its folder.
    ``task`` says what the lines of a file must hold (see ``jsonl.read``). ``include_near`` also forgets the pictures
    that look like those asked for (one step: what looks like an added one is only warned of).

    Problems in the data do not hide those in the request: what could be read is used for what comes after.
    """
    problems: list[Problem] = []
    mentioned: Mapping[str, int] = {}
    if isinstance(data, Corpus):
        corpus = data
    else:
        reading = data if isinstance(data, Reading) else jsonl.read(data, root, task)
        problems += reading.problems
        corpus, mentioned = reading.corpus(), reading.mentioned
        if reading.problems and not corpus.train:  # nothing to hold a request against
            return Examination(Findings(problems, list(corpus.warnings)), Requests((), {}), Splits((), ()), (), {})
    requests = match(corpus, who, mentioned)
    problems += requests.problems
    splits = requests.split(corpus)
    alike = look_alikes(splits.forget, splits.retain)
    included: list[Inclusion] = []
    if include_near and alike:
        included = include(alike, splits.retain)
        splits = requests.split(corpus, [one.example.id for one in included])
        alike = look_alikes(splits.forget, splits.retain)
    if splits.forget and not splits.retain:
        found = f"all {len(splits.forget)} training examples are to be forgotten and none is kept"
        problems.append(Problem(corpus.name, found, "Keep some, or delete the model instead"))
    account = ledger(requests, corpus, splits, alike, included)
    leaks = _leaks(corpus, splits)
    reworded = find_reworded(*(_captions(side, corpus.task) for side in (splits.forget, splits.retain)))
    strangers = leakage.held_out_warnings(splits, corpus)
    near = [*_first(leakage.near_warnings(alike)), *_first(reworded), *_first(strangers)]
    warnings = [*corpus.warnings, *near, *_withheld(corpus, splits), *_doubtful_names(corpus), *_first(doubts(account))]
    if allow_leakage:
        warnings = [*leaks, *warnings]
    else:
        problems += leaks
    return Examination(Findings(problems, warnings), requests, splits, tuple(included), account)


def _first(warnings: list[Problem]) -> list[Problem]:
    """At most ``LISTED`` of a kind, saying how many there are: a warning repeated a thousand times is not read."""
    if len(warnings) <= LISTED:
        return warnings
    left = Problem("the check", f"{len(warnings) - LISTED} more warnings like the last", "Mend these first")
    return [*warnings[:LISTED], left]


def _leaks(corpus: Corpus, splits: Splits) -> list[Problem]:
    return [*leakage.find_leaks(splits.forget, splits.retain, corpus.task), *leakage.find_overlap(corpus)]


def _captions(examples: Sequence[Example], task: Task) -> list[Example]:
    """Those with a caption, as its text: questions and statements repeat from picture to picture by nature."""
    return [replace(e, text=told) for e in examples if (told := leakage.caption(e, task))]


def _withheld(corpus: Corpus, splits: Splits) -> list[Problem]:
    """Audits that this data cannot support, each with what it lacks, counted as ``evals.sampling`` draws."""
    heldout = corpus.test or corpus.validation
    warnings = []

    def withhold(lacking: str, scores: str, remedy: str) -> None:
        warnings.append(Problem(corpus.name, f"{lacking}, so {scores} will be withheld", remedy))

    refused = _no_membership(splits, heldout)
    if refused:
        remedy = f'Add lines with "split": "{"test" if corpus.test else "validation"}" of the same source and kinds'
        withhold(refused, "the membership audit (mi, mi_auc)", remedy)
    if not heldout:
        withhold("no test split", "r_test", 'Add lines with "split": "test" that trained nothing')
    elif all(e.kind == "private" for e in heldout):
        found = f"all {len(heldout)} held-out examples are private, which nobody told the model"
        withhold(found, "r_test", 'Hold out some of "kind": "shared", too')
    kinds = {e.kind for e in splits.forget}
    if None in kinds:
        remedy = 'Mark what can be seen "kind": "shared" and what was told "kind": "private"'
        withhold("some texts to forget have no kind", "r_forget_shared and r_forget_private", remedy)
    if heldout:
        # A membership attack that meets a population only among members reads the population, not membership.
        covered = {e.source for e in heldout}
        for source in sorted({e.source for e in corpus.train} - covered - {e.source for e in splits.forget}):
            found = f"the source {source!r} has no held-out example: membership is not audited there"
            warnings.append(Problem(corpus.name, found, "Hold some of it out"))
    return warnings


def _no_membership(splits: Splits, heldout: Sequence[Example]) -> str:
    """Why the membership attack will refuse, by its own draw; empty where it will not."""
    if not heldout:
        return "no held-out example"
    try:
        draw_attack(splits, heldout)
    except AttackRefused as refusal:
        return refusal.lacking
    return ""


def _doubtful_names(corpus: Corpus) -> list[Problem]:
    """Groups that stand in training and held-out data, and groups that differ only in case."""
    warnings = []
    first: dict[str, Example] = {}
    for e in corpus.train:
        if e.group is not None:
            first.setdefault(e.group, e)
    for split in ("validation", "test"):
        for e in {e.group: e for e in reversed(getattr(corpus, split)) if e.group in first}.values():
            found = f"the group {e.group!r} is in the {split} split and, at {place(first[e.group])}, in training"
            warnings.append(Problem(place(e), found, "The audits take it for a stranger: hold whole groups out"))
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in first:
        spellings[name.casefold()].append(name)
    for names in spellings.values():
        if len(names) > 1:
            found = f"the groups {' and '.join(map(repr, names))} differ only in case"
            warnings.append(Problem(place(first[names[0]]), found, "If they are one, spell them alike"))
    return warnings
