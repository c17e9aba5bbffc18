"""How problems with the input are gathered and said: all of them, each with the nearest thing that exists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from expunge.core.errors import DataError, Problem
from expunge.core.types import Example

PRINTED = 200


def refusal(problems: Sequence[Problem]) -> DataError:
    """One error that holds every problem and prints at most ``PRINTED`` of them, saying how many there are."""
    error = DataError(problems)
    if len(problems) > PRINTED:
        shown = "\n".join(f"  {p}" for p in problems[:PRINTED])
        left = len(problems) - PRINTED
        error.args = (f"{len(problems)} problems found before anything started:\n{shown}\n  … and {left} more",)
    return error


def place(example: Example) -> str:
    """Where an example stands: ``file:line`` for a user's own data, its id for a drawn world."""
    return example.origin or f"example {example.id}"


class Nearest:
    """Suggests an existing name for one that does not exist.

    Comparing strings is slow, and a file with a wrong column would ask a hundred thousand times: after
    ``budget`` suggestions, or among more than ``most`` names, it stays silent.
    """

    def __init__(self, known: Iterable[str], budget: int = 50, most: int = 20_000):
        self._known = sorted(set(known))
        self._left = budget if len(self._known) <= most else 0

    def __call__(self, asked: str) -> str:
        """``"Did you mean 'x'?"`` or the empty string."""
        if self._left <= 0:
            return ""
        self._left -= 1
        folded = {name.casefold(): name for name in reversed(self._known)}
        near = get_close_matches(asked.casefold(), folded, n=1)
        return f"Did you mean {folded[near[0]]!r}?" if near else ""
