"""What became of every request, in words: one row each, for the terminal and for a run's page.

Reads the plain data of ``requests/ledger.py``, whole from a check or in part from a record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table

from expunge.report.measures import count

_NAMED = 3  # of a list of ids or places
_SHOWN = 200  # rows in a terminal


class Row(NamedTuple):
    """``notes`` are sentences, empty where there is nothing to add."""

    request: str
    where: str
    fate: str
    examples: int
    ids: str
    notes: tuple[str, ...]


def rows(entries: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row for every request, in the order asked."""
    return [
        Row(
            str(one.get("request", "")),
            one.get("where", ""),
            one.get("how") or one.get("status", ""),
            one.get("examples", 0),
            _some(one.get("ids", [])),
            tuple(_notes(one)),
        )
        for one in entries
    ]


def totals(account: Mapping[str, Any]) -> str:
    """One sentence in which requested and forgotten balance."""
    fates = ", ".join(f"{n} {status}" for status, n in account["totals"].items() if n or status == "matched")
    examples = account["examples"]
    added = f" ({examples['included']} of them look-alikes that nobody named)" if examples["included"] else ""
    return (
        f"{count(account['requested'], 'request', 'requests')}: {fates}. "
        f"{count(examples['forgotten'], 'example', 'examples')} to be forgotten{added}."
    )


def table(account: Mapping[str, Any]) -> Table:
    """For the terminal. What needs a person comes first where not all rows are shown."""
    drawn = Table("request", "at", "matched by", "examples", "ids", "notes", box=None, pad_edge=False)
    entries = account["requests"]
    if len(entries) > _SHOWN:
        entries = sorted(entries, key=lambda one: (one["status"] == "matched", not any(_notes(one))))
    for row in rows(entries[:_SHOWN]):
        cells = (_clipped(row.request), _clipped(row.where), row.fate, str(row.examples), row.ids, "; ".join(row.notes))
        drawn.add_row(*(_plain(cell) for cell in cells))
    if len(entries) > _SHOWN:
        drawn.add_row(f"… and {len(entries) - _SHOWN} more; --json has them all")
    return drawn


def _notes(one: Mapping[str, Any]) -> list[str]:
    told = []
    matched = one.get("status", "matched") == "matched"
    if near := one.get("near"):
        told.append(f"{'taken, near' if matched else 'like it'}: {_places(near)}")
    if alike := one.get("look_alikes"):
        told.append(f"look-alikes that stay: {_places(alike)}")
    if stays := one.get("group_stays"):
        told.append("stays: " + ", ".join(f"{n} more of group {group}" for group, n in stays.items()))
    if same := one.get("same_as"):
        told.append(f"also asked for at {_some(same)}")
    return told


def _places(likenesses: Sequence[Mapping[str, Any]]) -> str:
    return _some(
        [f"{n['where']} ({n['apart']} bits{', ' + n['turn'] if n['turn'] else ''})" for n in likenesses], between="; "
    )


def _some(names: Sequence[str], between: str = ", ") -> str:
    more = f" … {len(names)} in all" if len(names) > _NAMED else ""
    return between.join(map(str, names[:_NAMED])) + more


def _clipped(text: str, most: int = 40) -> str:
    """The end is kept: paths differ there."""
    return text if len(text) <= most else "…" + text[1 - most :]


def _plain(text: str) -> Any:
    """As it is: a group called ``[b]`` is no markup."""
    from rich.text import Text

    return Text(text)
