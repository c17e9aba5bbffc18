"""How problems with the input are gathered and said: all of them, each with the nearest thing that exists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches

from expunge.core.types import Example


def place(example: Example) -> str:
    """Where an example stands: ``file:line`` for a user's own data, its id for a drawn world."""
    return example.origin or f"example {example.id}"


class Nearest:
    """Suggests an existing name for one that does not exist.

    Comparing strings is slow, and a file may ask a hundred thousand times: after ``budget`` different names, or among
    more than ``most``, it stays silent. A name that was asked for before has the same answer, so that a wrong column
    is complained of in the same words on every line. Names less alike than ``cutoff`` (0 to 1) are not suggested.
    ``by`` gives the part of a name that is compared; by default all of it is.
    """

    def __init__(
        self,
        known: Iterable[str],
        budget: int = 50,
        most: int = 20_000,
        cutoff: float = 0.6,
        by: Callable[[str], str] = str,
    ):
        self._known = sorted(set(known))
        self._left = budget if len(self._known) <= most else 0
        self._cutoff = cutoff
        self._by = by
        self._answered: dict[str, str] = {}

    def __call__(self, asked: str) -> str:
        """``"Did you mean 'x'?"`` or the empty string."""
        if asked in self._answered:
            return self._answered[asked]
        if self._left <= 0:
            return ""
        self._left -= 1
        folded = {self._by(name).casefold(): name for name in reversed(self._known)}
        near = get_close_matches(self._by(asked).casefold(), folded, n=1, cutoff=self._cutoff)
        self._answered[asked] = f"Did you mean {folded[near[0]]!r}?" if near else ""
        return self._answered[asked]
