"""Who is to be forgotten: requests, each matched to training examples or rejected with a reason.

``WHO`` is a list of ids or groups (or one string of them, with commas), or a JSONL file of requests. A line of such
a file holds exactly one of ``id``, ``group``, ``text`` and ``picture``, and may hold a ``reason``. Leaving a deletion
request out silently is the worst that can happen, so none is dropped: requested = matched + rejected, and a single
rejected one stops the run. Nothing is guessed: a request that could mean several things is rejected as ambiguous.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from expunge.core.errors import DataError, Problem
from expunge.core.identity import composed
from expunge.core.types import Corpus, Splits
from expunge.requests.asked import Fault, Name, Request, Who, read
from expunge.requests.register import Fate, Register


@dataclass(frozen=True)
class Requests:
    """Every request with its fate. The same subject asked for twice is two requests.

    ``twofold`` holds the names that are an id in the data and also a group of other examples.
    """

    requested: tuple[Request, ...]
    fates: Mapping[Request, Fate]
    problems: tuple[Problem, ...] = field(default=())
    twofold: frozenset[str] = field(default=frozenset(), repr=False)

    def __post_init__(self) -> None:
        if len(self.fates) != len(self.requested) or set(self.fates) != set(self.requested):
            raise AssertionError("a request was lost: requested must equal matched and rejected together")
        for request, fate in self.fates.items():
            if bool(fate.ids) != (fate.status == "matched"):
                raise AssertionError(f"{request} is {fate.status} with {len(fate.ids)} examples")

    @property
    def matched(self) -> Mapping[Request, tuple[str, ...]]:
        """The ids of the training examples that each names."""
        return {request: fate.ids for request, fate in self.fates.items() if fate.status == "matched"}

    @property
    def rejected(self) -> Mapping[Request, str]:
        """The reason why each names none."""
        return {request: fate.found for request, fate in self.fates.items() if fate.status != "matched"}

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all matched examples, each once, in the order asked for."""
        return tuple(dict.fromkeys(name for names in self.matched.values() for name in names))

    @property
    def names(self) -> Iterator[Name]:
        """Ids and groups that ask for the same again, without files and pictures: what a spec holds.

        A twofold one says which it is, ``{"id": …}`` or ``{"group": …}``: alone it could not be read back.
        """
        for request, fate in self.fates.items():
            if request.pictured or request.by in ("text", "picture"):
                yield from map(self.by_id, fate.ids)
            elif request.by == "name" or composed(request.value) not in self.twofold:
                yield request.value
            else:
                yield {request.by: request.value}

    def by_id(self, name: str) -> Name:
        """What asks for the example of that id, and for no group."""
        return {"id": name} if composed(name) in self.twofold else name

    def split(self, corpus: Corpus, more: Collection[str] = ()) -> Splits:
        """Cut the training data by exactly the matched ids and ``more``, even where an id is spelt like a group."""
        chosen = {*self.ids, *more}
        forget = tuple(e for e in corpus.train if e.id in chosen)
        return Splits(forget, tuple(e for e in corpus.train if e.id not in chosen), corpus.validation)


def resolve(corpus: Corpus, who: Who) -> Requests:
    """Match all requests, or raise one ``DataError`` that lists everything wrong with them."""
    requests = match(corpus, who)
    if requests.problems:
        raise DataError(requests.problems)
    return requests


def match(corpus: Corpus, who: Who, mentioned: Collection[str] = ()) -> Requests:
    """The same without raising: what is wrong stands in ``problems``.

    ``mentioned`` holds names that stand in broken lines of the data: a request for one is rejected, but adds no
    problem of its own, since mending the line may well be all that is needed. Where such lines were skipped
    (``corpus.left_out``) a request for one of their names is rejected and a problem, since it would be met in part.
    """
    register = Register(corpus)
    problems: list[Problem] = []
    fates: dict[Request, Fate] = {}
    requested: list[Request] = []
    for request, fault in read(who, register.knows, problems):
        requested.append(request)
        fate = _fate(fault) if fault else register.find(request)
        fates[request] = fate
        name = composed(request.value)
        known = bool(fault and fault.said) or (name in mentioned and name not in corpus.left_out)
        if fate.status != "matched" and not known:
            problems.append(Problem(request.where, fate.found, fate.remedy))
    if not requested and not problems:
        problems.append(Problem("the request", "names nobody", "Give ids, groups or a file of requests"))
    return Requests(tuple(requested), fates, tuple(problems), register.twofold)


def _fate(fault: Fault) -> Fate:
    return Fate("ambiguous" if fault.ambiguous else "broken", found=fault.found, remedy=fault.remedy)
