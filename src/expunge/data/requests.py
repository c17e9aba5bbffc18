"""Who is to be forgotten: requests, each matched to training examples or rejected with a reason.

``WHO`` is a list of ids or groups (or one string of them, with commas), or a JSONL file of requests. A line of such
a file holds exactly one of ``id``, ``group`` and ``text``, and may hold a ``reason``. Leaving a deletion request out
silently is the worst that can happen, so none is dropped: requested = matched + rejected, and a single rejected one
stops the run.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from expunge.core.errors import Problem
from expunge.core.types import Corpus, Example, Splits
from expunge.data.identity import composed, normalised
from expunge.data.lines import kind_of, read_objects, unsound, unsound_name
from expunge.data.refusal import Nearest, place, refusal

Who = str | Path | Iterable[str | Mapping[str, str]]
By = Literal["id", "group", "text", "name"]
ASKED: tuple[By, ...] = ("id", "group", "text")
KEYS = (*ASKED, "reason")


@dataclass(frozen=True)
class Request:
    """One thing asked for. ``by`` says what ``value`` names; ``name`` means an id or a group, whichever exists."""

    by: By
    value: str
    where: str  # file:line, or its number in a list
    reason: str = ""

    def __str__(self) -> str:
        return self.value if self.by == "name" else f"{self.by}={self.value}"


@dataclass(frozen=True)
class Requests:
    """Every request's fate: the ids of the training examples it names, or the reason why it names none."""

    requested: tuple[Request, ...]
    matched: Mapping[Request, tuple[str, ...]]
    rejected: Mapping[Request, str]
    problems: tuple[Problem, ...] = field(default=())

    def __post_init__(self) -> None:
        fates = [*self.matched, *self.rejected]
        if len(fates) != len(self.requested) or set(fates) != set(self.requested):
            raise AssertionError("a request was lost: requested must equal matched and rejected together")

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all matched examples, each once, in the order asked for."""
        return tuple(dict.fromkeys(name for names in self.matched.values() for name in names))

    def split(self, corpus: Corpus) -> Splits:
        """Cut the training data by exactly the matched ids, even where an id is spelt like another's group."""
        chosen = set(self.ids)
        forget = tuple(e for e in corpus.train if e.id in chosen)
        return Splits(forget, tuple(e for e in corpus.train if e.id not in chosen), corpus.validation)


def resolve(corpus: Corpus, who: Who) -> Requests:
    """Match all requests, or raise one ``DataError`` that lists everything wrong with them."""
    requests = match(corpus, who)
    if requests.problems:
        raise refusal(requests.problems)
    return requests


def match(corpus: Corpus, who: Who, mentioned: Collection[str] = ()) -> Requests:
    """The same without raising: what is wrong stands in ``problems``.

    ``mentioned`` holds names that stand in broken lines of the data: a request for one is rejected, but adds no
    problem of its own, since mending the line may well be all that is needed.
    """
    index = _Index(corpus)
    problems: list[Problem] = []
    requested: list[Request] = []
    matched: dict[Request, tuple[str, ...]] = {}
    rejected: dict[Request, str] = {}
    for request, fault in _read(who, index, problems):
        requested.append(request)
        ids, found, remedy = ((), *fault) if fault else index.find(request)
        if ids:
            matched[request] = ids
            continue
        rejected[request] = found
        if fault is not _SAID and composed(request.value) not in mentioned:
            problems.append(Problem(request.where, found, remedy))
    if not requested and not problems:
        problems.append(Problem("the request", "names nobody", "Give ids, groups or a file of requests"))
    return Requests(tuple(requested), matched, rejected, tuple(problems))


# ---------------------------------------------------------------------------------------------- reading


_Fault = tuple[str, str]  # found, remedy
_SAID: _Fault = ("is not a readable line", "Mend the line")  # its problem was reported with its column already


def _is_file(who: str, index: _Index) -> bool:
    # os.path and not Path: a list of ids may be longer than a file name can be.
    return not index.knows(who) and (who.endswith((".jsonl", ".json")) or os.path.isfile(who))


def _read(who: Who, index: _Index, problems: list[Problem]) -> Iterator[tuple[Request, _Fault | None]]:
    """Every request with what is already wrong with its form."""
    if isinstance(who, Path) or (isinstance(who, str) and _is_file(who, index)):
        for where, value in read_objects(Path(who), problems):
            yield (Request("name", "", where), _SAID) if value is None else _from_object(value, where)
        return
    if isinstance(who, str):
        who = [who] if index.knows(who) else [part.strip() for part in who.split(",") if part.strip()]
    for number, item in enumerate(who, 1):
        where = f"request {number}"
        if isinstance(item, Mapping):
            yield _from_object(dict(item), where)
        elif wrong := unsound_name(item):
            yield Request("name", str(item), where), (f"the request {wrong}", "Name an id or a group")
        else:
            yield Request("name", item, where), None


def _from_object(value: dict[str, Any], where: str) -> tuple[Request, _Fault | None]:
    asked: list[By] = [key for key in ASKED if key in value]
    shown = str(value[asked[0]]) if asked else str(value)
    by: By = asked[0] if asked else "name"
    reason = value.get("reason", "")
    request = Request(by, shown, where, reason if isinstance(reason, str) else "")
    if unknown := [key for key in value if key not in KEYS]:
        return request, (f"unknown key {unknown[0]!r}", Nearest(KEYS)(unknown[0]) or f"Known are {', '.join(KEYS)}")
    if len(asked) != 1:
        found = f"holds {' and '.join(map(repr, asked))}" if asked else "names nobody"
        return request, (found, "Give exactly one of 'id', 'group' and 'text'")
    judge = unsound if by == "text" else unsound_name
    if wrong := judge(value[by]):
        return request, (f"{by!r} {wrong}", "Give a string")
    if not isinstance(reason, str):
        return request, (f"'reason' is {kind_of(reason)}, not a string", "Give a string")
    return request, None


# ---------------------------------------------------------------------------------------------- matching


class _Index:
    """Training examples by id, group and text, and what else the corpus holds, to explain a miss."""

    def __init__(self, corpus: Corpus):
        self._ids: dict[str, list[Example]] = defaultdict(list)
        self._groups: dict[str, list[Example]] = defaultdict(list)
        self._texts: dict[str, list[Example]] = defaultdict(list)
        for e in corpus.train:
            self._ids[composed(e.id)].append(e)
            self._texts[normalised(e.text)].append(e)
            if e.group is not None:
                self._groups[composed(e.group)].append(e)
        self._elsewhere: dict[str, str] = {}
        for split in ("validation", "test", "pretrain"):
            for e in getattr(corpus, split):
                for name in (e.id, e.group or ""):
                    self._elsewhere.setdefault(composed(name), split)
        self._corpus = corpus.name
        self._near = Nearest((*self._ids, *self._groups))

    def knows(self, name: str) -> bool:
        return composed(name) in self._ids or composed(name) in self._groups

    def find(self, request: Request) -> tuple[tuple[str, ...], str, str]:
        """Ids, or none with what was found and what to do."""
        value = composed(request.value)
        if request.by == "text":
            return self._by_text(request.value)
        by_id = self._ids.get(value, []) if request.by != "group" else []
        by_group = self._groups.get(value, []) if request.by != "id" else []
        if by_id and by_group and {e.id for e in by_id} != {e.id for e in by_group}:
            found = f"{request.value!r} is an id ({place(by_id[0])}) and also a group of {len(by_group)} examples"
            return (), found, 'Say which is meant: {"id": …} or {"group": …}'
        if hits := by_group or by_id:
            return tuple(e.id for e in hits), "", ""
        if where := self._elsewhere.get(value):
            found = f"{request.value!r} is in the {where} split of {self._corpus}, which this model was not trained on"
            return (), found, "Only examples of the train split can be forgotten"
        what = {"id": "id", "group": "group"}.get(request.by, "id or group")
        other = ""
        if request.by != "name" and self.knows(value):
            other = f"There is {'a group' if request.by == 'id' else 'an id'} of that name: ask by it"
        found = f"no {what} {request.value!r} in the training data of {self._corpus}"
        return (), found, other or self._near(value) or "Check the name against the data"

    def _by_text(self, text: str) -> tuple[tuple[str, ...], str, str]:
        hits = self._texts.get(normalised(text), []) if normalised(text) else []
        if not hits:
            return (), f"no training text says {text!r}", "Give the text as it stands in the data, or an id"
        # The same words about several people: guessing whom was meant is not ours to do.
        about = {e.group if e.group is not None else e.image.key: e for e in hits}
        if len(about) > 1:
            some = ", ".join(place(e) for e in list(about.values())[:3])
            return (), f"the text {text!r} stands for {len(about)} different subjects ({some})", "Ask by id or by group"
        return tuple(e.id for e in hits), "", ""
