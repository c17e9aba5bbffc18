"""Errors a person can act on: what was asked, what was found, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


class ExpungeError(Exception):
    """Anything the user can mend. The command line prints the message and exits with 2."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the input: ``where`` is ``file:line`` where there is one."""

    where: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.found}. {self.remedy}"


class DataError(ExpungeError):
    """Input that would make a run fail or lie; holds every problem, not only the first."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} found before anything started:"
        super().__init__("\n".join([head, *(f"  {p}" for p in self.problems)]))


class UnknownName(ExpungeError):
    """A name that does not exist, with the nearest that does."""

    def __init__(self, what: str, asked: str, known: Iterable[str]):
        known = sorted(known)
        near = get_close_matches(asked, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        shown = ", ".join(known[:12]) + (f", … ({len(known)} in all)" if len(known) > 12 else "")
        super().__init__(f"no {what} called {asked!r}.{hint} There is: {shown}.")
