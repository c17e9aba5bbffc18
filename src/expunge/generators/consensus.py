"""What the generated texts of a picture answer when a question is put to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from expunge.core.text import plain
from expunge.core.types import Example
from expunge.generators.quality import words


def answers(examples: Sequence[Example], texts: Sequence[Sequence[str]]) -> list[tuple[float, ...]]:
    """For each question the share that each of its choices has among the R_2 which speak of the matter.

    ``texts`` are the R_2 of each example. R_2 is generated from the picture alone, so those of all examples with the
    same picture are heard: a single one names two or three things and seldom the one that is asked about. An R_2
    speaks of the matter when it holds those words of the question that generated texts use at all ("hair" of "what
    colour is the hair", none of "what does this person wear"), and then for the choice that stands nearest to them: a
    text names many colours. Rivals for that place are the choices of whoever was asked the same. All zeros where no
    text speaks: nothing that can be seen answers the question.
    """
    heard: dict[str, list[list[str]]] = defaultdict(list)
    values: dict[str, set[frozenset[str]]] = defaultdict(set)
    for e, own in zip(examples, texts, strict=True):
        heard[e.image.key] += [plain(text, max_words=10_000).split() for text in own]
        values[e.question or ""] |= set(map(frozenset, map(words, e.choices))) - {frozenset()}
    spoken = {word for some in heard.values() for text in some for word in text}
    shares = []
    for e in examples:
        rivals = values[e.question or ""]
        subject = (words(e.question or "") & spoken).difference(*rivals)
        counts = dict.fromkeys(rivals, 0)
        for text in heard[e.image.key]:
            for value in _named(text, subject, rivals):
                counts[value] += 1
        own_counts = [counts.get(frozenset(words(choice)), 0) for choice in e.choices]
        shares.append(tuple(n / max(1, sum(own_counts)) for n in own_counts))
    return shares


def _named(text: Sequence[str], subject: Collection[str], values: Collection[frozenset[str]]) -> list[frozenset[str]]:
    """Of the ``values`` that a text holds the one nearest to the ``subject``, or several that are equally near."""
    places: dict[str, list[int]] = defaultdict(list)
    for i, word in enumerate(text):
        places[word].append(i)
    if not all(word in places for word in subject):
        return []
    held = [value for value in values if all(word in places for word in value)]
    if not subject:
        return held
    apart = {
        value: min(abs(i - j) for word in value for i in places[word] for other in subject for j in places[other])
        for value in held
    }
    nearest = min(apart.values(), default=0)
    return [value for value in held if apart[value] == nearest]
