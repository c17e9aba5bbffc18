"""Errors a person can act on: what was asked, what was found, what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

ALIKE, PRINTED = 3, 50
"""In more places than the first number a problem is said once; more lines than the second are not read by anybody."""


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


class FileFault(Problem):
    """What is wrong with a file and not with one of its items: what else it holds, nobody knows."""


def in_lines(problems: Sequence[Problem], rest: str = "`expunge check … --json` has all") -> list[str]:
    """Problems as lines for people: what is wrong in many places alike is said at the first of them, with the count.

    At most ``PRINTED`` lines; the last says how many problems were not said, and by ``rest`` where they are.
    """
    places = Counter((p.found, p.remedy) for p in problems)
    lines, said, held = [], set(), 0
    for p in problems:
        what = p.found, p.remedy
        if places[what] <= ALIKE:
            again, here = "", 1
        elif what not in said:
            again, here = f" (the same in {places[what]:,} places; this is the first)".replace(",", " "), places[what]
        else:
            continue
        said.add(what)
        if len(lines) < PRINTED:
            lines.append(f"{p}{again}")
            held += here
    left = f"{len(problems) - held:,}".replace(",", " ")
    return lines if held == len(problems) else [*lines, f"… {left} more; {rest}"]


class DataError(ExpungeError):
    """Input that would make a run fail or lie; holds every problem, and says those that are alike once."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} found before anything started:"
        super().__init__("\n".join([head, *(f"  {line}" for line in in_lines(self.problems))]))


class Diverged(ExpungeError, FloatingPointError):
    """A number that a training cannot go on from: what the method was asked for, not how it is written, led there."""


class UnknownName(ExpungeError):
    """A name that does not exist, with the nearest that does."""

    def __init__(self, what: str, asked: str, known: Iterable[str]):
        known = sorted(known)
        near = get_close_matches(asked, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        shown = ", ".join(known[:12]) + (f", … ({len(known)} in all)" if len(known) > 12 else "")
        super().__init__(f"no {what} called {asked!r}.{hint} There is: {shown}.")
