"""The tables of README.md that follow from the sources.

python -m expunge.readme            writes them anew
python -m expunge.readme --check    ends with 1 where README.md is not current
"""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from expunge.core import plugins
from expunge.core.capabilities import CAPABILITIES
from expunge.core.errors import ExpungeError
from expunge.core.sources import tree_of

COMMAND = "python -m expunge.readme"
CHAT = (
    "A chat model reads picture and text as one sequence, so it has no such place; CSE and MultiDelete, which act "
    "there, are refused on it before anything starts."
)
Column = tuple[str, frozenset[str]]
"""A head, and what models under it provide."""


def method_table() -> str:
    """Every method with its stage, what it does in one line, and the paper it comes from."""
    rows = [(f"`{m.name}`", m.stage, m.line, paper(m.path)) for m in plugins.entries("methods")]
    return _table(("method", "stage", "what it does", "paper"), rows)


def capability_table() -> str:
    """Methods against models and what these are asked: yes, or what the method needs and they lack."""
    methods, columns = plugins.entries("methods"), _columns()
    rows = [
        (f"`{m.name}`", *("yes" if m.needs in has else f"no: needs {m.needs}" for _, has in columns)) for m in methods
    ]
    lacking = dict.fromkeys(m.needs for m in methods for _, has in columns if m.needs not in has)
    notes = [f"*{need}*: {_first_sentence(CAPABILITIES[need])}" for need in lacking]
    without = [f"`{b.name}`" for b in plugins.entries("backbones") if not b.serves]
    return (
        "\n\n".join(
            [
                _table(("method", *(head for head, _ in columns)), rows).rstrip(),
                *notes,
                *([CHAT] if "Fuses" in lacking else []),
                f"{' and '.join(without)} are lent to methods as generators; nothing is asked of them yet.",
            ]
        )
        + "\n"
    )


SECTIONS = {"methods": method_table, "matrix": capability_table}
"""What stands between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``."""


def written(text: str) -> str:
    """README.md's ``text`` with its sections as they are now. Raises ExpungeError where markers are missing."""
    for name, made in SECTIONS.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not (found and closed):
            raise ExpungeError(f"README.md has no section between {begin.strip()} and {end}: write both lines.")
        text = f"{head}{begin}{made()}{end}{tail}"
    return text


def paper(path: Path) -> str:
    """What a source says after ``Paper:`` up to a semicolon; an en dash where it says none."""
    text = ast.get_docstring(tree_of(path)) or ""
    if "Paper:" not in text:
        return "–"
    told: list[str] = []
    for line in text[text.index("Paper:") + len("Paper:") :].splitlines():
        if told and not line.startswith(" "):
            break
        told.append(line.strip())
    return " ".join(told).partition(";")[0].rstrip(".") or "–"


def _columns() -> list[Column]:
    """Tasks that mean the same for a method stand together, and so do the models that serve them."""
    grouped: dict[tuple[tuple[str, ...], frozenset[str]], list[str]] = {}
    order = [entry.name for entry in plugins.entries("tasks")]
    for backbone in plugins.entries("backbones"):
        alike: dict[frozenset[str], list[str]] = {}
        for task in sorted(backbone.serves, key=order.index):
            alike.setdefault(backbone.serves[task], []).append(task)
        for has, tasks in alike.items():
            grouped.setdefault((tuple(tasks), has), []).append(backbone.name)
    return [(f"{', '.join(names)}: {', '.join(tasks)}", has) for (tasks, has), names in grouped.items()]


def _first_sentence(protocol: type) -> str:
    text = " ".join((inspect.getdoc(protocol) or "").split())
    return text.partition(". ")[0].rstrip(".") + "."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(one.replace('|', chr(92) + '|') for one in line)} |" for line in lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--check", action="store_true")
    words.add_argument("--file", type=Path, default=Path("README.md"))
    asked = words.parse_args(arguments)
    old = asked.file.read_text(encoding="utf-8")
    new = written(old)
    if asked.check and new != old:
        print(f"{asked.file} is not current: run {COMMAND}", file=sys.stderr)
        return 1
    if new != old:
        asked.file.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
