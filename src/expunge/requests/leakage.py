"""What is asked to be forgotten and kept at once: forgetting it would fail, or only seem to work.

Pictures are compared by content, texts after normalisation. A text that both sides hold is no leak when both mark it
``shared``: two people may well wear the same hat. What is nearly equal is only suspected (``alike``, ``wording``),
among picture files and their texts alone: drawn portraits, and sentences made for them, resemble each other by design.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations

from expunge.core.errors import Problem
from expunge.core.identity import normalised
from expunge.core.refusal import place
from expunge.core.types import DESCRIBE, Corpus, Example, Splits, Task
from expunge.requests.alike import Alike, look_alikes

_PICTURE_REMEDY = "Add it to the request, drop it from the data, or pass --allow-leakage"
_TEXT_REMEDY = (
    'Mark both lines "kind": "shared" if both pictures show it, add it to the request, or pass --allow-leakage'
)


def caption(e: Example, task: Task) -> str:
    """What is told of its picture; empty for questions and statements: a question is asked of many, and a statement
    judged beside many, so that neither is a secret without its picture."""
    if task == "retrieval":
        return e.text
    return e.statement if task == "answering" and e.question == DESCRIBE else ""


def find_leaks(forget: Sequence[Example], retain: Sequence[Example], task: Task = "retrieval") -> list[Problem]:
    """Pictures and captions that are both to be forgotten and to be kept, each once, naming both places."""
    problems = []
    leaking = set()
    for key, asked, kept in _meeting(forget, retain, _picture):
        leaking.add(key)
        problems.append(_leak("the same picture", asked, kept, _PICTURE_REMEDY))
    # What is kept of a leaking picture is told already; what another picture says as well is not.
    others = [e for e in retain if e.image.key not in leaking]
    for _, asked, kept in _meeting(forget, others, lambda e: normalised(caption(e, task)) or None):
        secret_asked = [e for e in asked if e.kind != "shared"]
        secret_kept = [e for e in kept if e.kind != "shared"]
        if secret_asked or secret_kept:
            # Not quoted: where a leak is allowed it is recorded, and a record holds nothing that was forgotten.
            problems.append(_leak("the same text", secret_asked or asked, secret_kept or kept, _TEXT_REMEDY))
    return problems


def near_warnings(alike: Iterable[Alike]) -> list[Problem]:
    """One warning for every picture to be forgotten that others, which stay, look like: nothing is certain."""
    remedy = "Look at both; if they are the same, add it to the request, or pass --include-near"
    warnings = []
    for asked, kept in alike:
        more = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
        found = f"its picture looks like the one at {place(kept[0].example)} ({kept[0]}){more}, which is kept"
        warnings.append(Problem(place(asked), found, remedy))
    return warnings


def held_out_warnings(splits: Splits, corpus: Corpus) -> list[Problem]:
    """Whoever is forgotten and seems to be held out, too, by a near picture, by a text, or by a group in another case.

    The audits take the held-out for strangers. One warning for every picture, text and group of the forget set.
    """
    warnings = []
    heldout = [e for split in (corpus.validation, corpus.test) for e in split]

    def warn(asked: Example, found: str, where: Example) -> None:
        found = f"{found} at {place(where)}, which is held out"
        warnings.append(Problem(place(asked), found, "Look at both: the audits take the held-out for strangers"))

    for asked, others in look_alikes(splits.forget, heldout):
        warn(asked, f"its picture looks like the one ({others[0]})", others[0].example)
    told, strange = ([e for e in side if e.kind != "shared"] for side in (splits.forget, heldout))
    for _, here, there in _meeting(told, strange, lambda e: normalised(caption(e, corpus.task)) or None):
        warn(here[0], "its text is the one", there[0])
    spelt = [[e for e in side if e.group is not None] for side in (splits.forget, heldout)]
    for _, here, there in _meeting(*spelt, lambda e: (e.group or "").casefold()):
        if here[0].group not in {e.group for e in there}:  # spelt alike it is said of every group
            warn(here[0], f"its group {here[0].group!r} is nearly {there[0].group!r}", there[0])
    return warnings


def find_overlap(corpus: Corpus) -> list[Problem]:
    """Pictures in two splits: held-out examples that were trained on make every audit lie."""
    problems = []
    for one, two in combinations(("train", "validation", "test"), 2):
        first, second = getattr(corpus, one), getattr(corpus, two)
        for _, early, late in _meeting(first, second, _picture):
            found = f"its picture is in the {one} split and, at {place(late[0])}, in the {two} split"
            problems.append(Problem(place(early[0]), found, "Keep it in one split, or pass --allow-leakage"))
    return problems


def _meeting(
    left: Iterable[Example], right: Iterable[Example], key: Callable[[Example], Hashable]
) -> list[tuple[Hashable, list[Example], list[Example]]]:
    """Keys that both sides hold, in the order of ``left``, with the examples of either side; None is no key."""
    held: tuple[dict[Hashable, list[Example]], ...] = (defaultdict(list), defaultdict(list))
    for examples, by_key in zip((left, right), held, strict=True):
        for e in examples:
            if (name := key(e)) is not None:
                by_key[name].append(e)
    return [(k, here, held[1][k]) for k, here in held[0].items() if k in held[1]]


def _picture(e: Example) -> str | None:
    """Questions in words alone have no picture, so they have none in common."""
    return e.image.key if e.pictured else None


def _leak(what: str, asked: Sequence[Example], kept: Sequence[Example], remedy: str) -> Problem:
    more = f" (and {len(kept) - 1} more)" if len(kept) > 1 else ""
    return Problem(place(asked[0]), f"{what} is to be forgotten here and kept at {place(kept[0])}{more}", remedy)
