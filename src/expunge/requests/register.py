"""Training examples by id, group, text and picture: where a request finds what it names, or is told why not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from expunge.core.groups import group_of
from expunge.core.identity import composed, normalised
from expunge.core.refusal import Nearest, place
from expunge.core.types import Corpus, Example
from expunge.data.files.pictures import Unreadable, content_key, decode, find_inside, is_stored, looks_of, read_bytes
from expunge.requests.alike import NEAR_BITS, SHOWN_BITS, Gallery, Likeness
from expunge.requests.asked import Request
from expunge.requests.wording import Closest

Status = Literal["matched", "ambiguous", "not found", "broken"]


@dataclass(frozen=True)
class Fate:
    """What became of a request: the ids it names and how it names them, or what was found and what to do.

    ``near`` holds pictures that look like the asked one: taken where the request matched, else only suggested.
    """

    status: Status
    ids: tuple[str, ...] = ()
    how: str = ""
    found: str = ""
    remedy: str = ""
    near: tuple[Likeness, ...] = ()


def _matched(examples: Iterable[Example], how: str, near: Sequence[Likeness] = ()) -> Fate:
    return Fate("matched", tuple(e.id for e in examples), how, near=tuple(near))


class Register:
    """The index, and what else the corpus holds, to explain a miss."""

    def __init__(self, corpus: Corpus):
        self._ids: dict[str, list[Example]] = defaultdict(list)
        self._groups: dict[str, list[Example]] = defaultdict(list)
        self._texts: dict[str, list[Example]] = defaultdict(list)
        self._pictures: dict[str, list[Example]] = defaultdict(list)
        self._all = {e.id: e for e in corpus.train}
        for e in corpus.train:
            self._ids[composed(e.id)].append(e)
            for words in dict.fromkeys(normalised(text) for text in (e.text, e.statement) if text):
                self._texts[words].append(e)
            if e.group is not None:
                self._groups[composed(e.group)].append(e)
            if is_stored(e.image):
                self._pictures[e.image.key].append(e)
        self._elsewhere: dict[str, str] = {}
        self._pictures_elsewhere: dict[str, Example] = {}
        for split, e in _untrained(corpus):
            for name in (e.id, e.group or ""):
                self._elsewhere.setdefault(composed(name), split)
            self._pictures_elsewhere.setdefault(e.image.key, e)
        self._corpus = corpus
        self._near = Nearest((*self._ids, *self._groups))
        self._closest = Closest(self._texts)

    @cached_property
    def _gallery(self) -> Gallery:
        return Gallery((e for examples in self._pictures.values() for e in examples), SHOWN_BITS)

    @property
    def twofold(self) -> frozenset[str]:
        """Names that are an id and also a group of other examples."""
        return frozenset(name for name in self._ids.keys() & self._groups.keys() if self._are_two(name))

    def _are_two(self, name: str) -> bool:
        return {e.id for e in self._ids[name]} != {e.id for e in self._groups[name]}

    def knows(self, name: str) -> bool:
        return composed(name) in self._ids or composed(name) in self._groups

    def find(self, request: Request) -> Fate:
        """The examples that a well-formed request names, or why it names none.

        Where items that it names were skipped it names none: nothing asked for is forgotten in part.
        """
        fate = self._find(request)
        names = [composed(request.value)] if request.by in ("id", "group", "name") else []
        if fate.status == "matched" and request.by == "picture":
            names = [composed(g) for g in dict.fromkeys(self._all[name].group for name in fate.ids) if g is not None]
        for name in names:
            if count := self._corpus.left_out.get(name):
                found = f"{count} item{'s' * (count > 1)} of {name!r} could not be read, so it would be met in part"
                return Fate("broken", found=found, remedy="Mend the data (the notes say where)")
        return fate

    def _find(self, request: Request) -> Fate:
        if request.by == "text":
            return self._by_text(request.value)
        if request.by == "picture":
            try:
                return self._by_picture(request)
            except Unreadable as error:
                return Fate("broken", found=error.found, remedy=error.remedy)
        return self._by_name(request)

    def _by_name(self, request: Request) -> Fate:
        value = composed(request.value)
        by_id = self._ids.get(value, []) if request.by != "group" else []
        by_group = self._groups.get(value, []) if request.by != "id" else []
        if by_id and by_group and self._are_two(value):
            found = f"{request.value!r} is an id ({place(by_id[0])}) and also a group of {len(by_group)} examples"
            return Fate("ambiguous", found=found, remedy='Say which is meant: {"id": …} or {"group": …}')
        if request.pictured and by_group:
            return self._pictures_of(by_group, request.value)
        if hits := by_group or by_id:
            return _matched(hits, "group" if by_group else "id")
        name = self._corpus.name
        if where := self._elsewhere.get(value):
            found = f"{request.value!r} is in the {where} split of {name}, which this model was not trained on"
            return Fate("not found", found=found, remedy=_ONLY_TRAINED)
        what = {"id": "id", "group": "group"}.get(request.by, "id or group")
        other = ""
        if request.by != "name" and self.knows(value):
            other = f"There is {'a group' if request.by == 'id' else 'an id'} of that name: ask by it"
        found = f"no {what} {request.value!r} in the training data of {name}"
        return Fate("not found", found=found, remedy=other or self._near(value) or "Check the name against the data")

    def _pictures_of(self, group: list[Example], name: str) -> Fate:
        if seen := [e for e in group if e.pictured]:
            return _matched(seen, f"pictures of the group; {len(group) - len(seen)} in words stay")
        found = f"none of the {len(group)} examples of {name!r} has a picture"
        return Fate("not found", found=found, remedy='Ask for the group without "pictured"')

    def _by_text(self, text: str) -> Fate:
        words = normalised(text)
        hits = self._texts.get(words, []) if words else []
        if not hits:
            near = self._closest(words)
            remedy = "Give the text as it stands in the data, or an id"
            if near:
                nearest = self._texts[near][0]
                said = nearest.text if normalised(nearest.text) == near else nearest.statement
                remedy = f"The nearest is {said!r} ({place(nearest)}): ask for it if it is meant, or by id"
            return Fate("not found", found=f"no training text says {text!r}", remedy=remedy)
        # The same words about several people: guessing whom was meant is not ours to do.
        about = {group_of(e): e for e in hits}
        if len(about) > 1:
            some = ", ".join(place(e) for e in list(about.values())[:3])
            found = f"the text {text!r} stands for {len(about)} different subjects ({some})"
            return Fate("ambiguous", found=found, remedy="Ask by id or by group")
        return _matched(hits, "text")

    def _by_picture(self, request: Request) -> Fate:
        """The same content is taken; what only looks like it is taken only where the request says how near."""
        if not self._pictures:
            found = f"the pictures of {self._corpus.name} are drawn and no files, so none can be asked for by picture"
            return Fate("not found", found=found, remedy="Ask by id or by group")
        data = read_bytes(find_inside(request.value, request.folder, _BESIDE))
        key = content_key(data)
        hits = self._pictures.get(key, [])
        if hits and request.within is None:
            return _matched(hits, "same picture")
        near = [like for _, like in self._gallery.like([looks_of(decode(data))])]
        if request.within is not None:
            taken = [n for n in near if n.apart <= request.within and n.example.image.key != key]
            if hits or taken:
                more = [e for n in taken for e in self._pictures[n.example.image.key]]
                how = " and ".join(["same picture"] * bool(hits) + [f"near pictures ({len(taken)})"] * bool(taken))
                return _matched([*hits, *more], how, taken)
        return self._not_by_picture(request, key, near)

    def _not_by_picture(self, request: Request, key: str, near: list[Likeness]) -> Fate:
        if elsewhere := self._pictures_elsewhere.get(key):
            found = f"the picture {request.value!r} is the one at {place(elsewhere)}, which trained nothing"
            return Fate("not found", found=found, remedy=_ONLY_TRAINED)
        if not near:
            found = f"no training picture is {request.value!r}, and none looks like it (within {SHOWN_BITS} of 64 bits)"
            return Fate("not found", found=found, remedy="Check the picture, or ask by id or by group")
        some = "; ".join(f"the one at {place(n.example)}, {n}" for n in near[:3])
        more = f"; and {len(near) - 3} more" if len(near) > 3 else ""
        found = f"no training picture is {request.value!r}, but {len(near)} look{'s' * (len(near) == 1)} like it"
        if request.within is not None:
            found += f", none within {request.within} of 64 bits"
        take = '"near": true' if near[0].apart <= NEAR_BITS else f'"within": {near[0].apart}'
        remedy = f"Look at them; if they are what is meant, add {take}, or ask by id"
        return Fate("ambiguous", found=f"{found} ({some}{more})", remedy=remedy, near=tuple(near))


_BESIDE = "a request names a picture from the folder of its file"
_ONLY_TRAINED = "Only examples of the train split can be forgotten"


def _untrained(corpus: Corpus) -> Iterator[tuple[str, Example]]:
    for split in ("validation", "test", "pretrain"):
        for e in getattr(corpus, split):
            yield split, e
