"""The verdict in a terminal: one headline, one line per question, what was not checked."""

from __future__ import annotations

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from expunge.core.record import Record
from expunge.report.verdict import judge

MARKS = {"good": ("✓", "green"), "unsure": ("~", "yellow"), "bad": ("✗", "red"), "unknown": ("?", "dim")}
FRAMES = {"passed": "green", "unsure": "yellow", "failed": "red", "withheld": "dim"}


def verdict_card(record: Record) -> Panel:
    """For ``rich.print`` after a run."""
    verdict = judge(record)
    lines = Table.grid(padding=(0, 1))
    lines.add_column(no_wrap=True)
    lines.add_column()
    for finding in verdict.findings:
        mark, style = MARKS[finding.level]
        answer = Text(finding.question + " ", style="bold")
        answer.append(finding.sentence, style="not bold")
        lines.add_row(Text(mark, style=style), answer)
        if finding.numbers:
            lines.add_row("", Text(finding.numbers, style="dim"))
    unchecked = Text("Not checked: " + " ".join(verdict.unchecked), style="dim")
    body = Group(Text(verdict.summary), Text(""), lines, Text(""), unchecked)
    return Panel(
        body, title=Text(verdict.headline), title_align="left", border_style=FRAMES[verdict.status], padding=(1, 2)
    )
