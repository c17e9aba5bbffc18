"""What ``expunge list`` and ``expunge show`` say, read from sources without importing a model library."""

from __future__ import annotations

import ast
import os
import tomllib
from pathlib import Path
from typing import Any

from expunge.console import columns
from expunge.core import plugins
from expunge.core.errors import UnknownName
from expunge.core.options import described, described_by_task, described_call, described_copies
from expunge.core.plugins import Entry
from expunge.core.sources import tree_of

LISTED = ("methods", "models", "data", "tasks", "suites")


def listing(what: str) -> str:
    """One line for each plug-in of a kind."""
    if what not in LISTED:
        raise UnknownName("list", what, LISTED)
    if what == "methods":
        return _methods()
    found = plugins.entries(what)  # type: ignore[arg-type]
    rows = [(e.name, *([", ".join(e.tasks)] if what == "data" else []), e.line) for e in found]
    text = columns(rows) if rows else f"there are no {what} yet"
    if what == "models" and (families := plugins.entries("backbones")):
        text += "\n\nand any checkpoint of these families:\n" + columns([(e.name, e.line) for e in families], "  ")
    return text


def matrix() -> str:
    """Methods against backbones: yes where the backbone has what the method needs."""
    backbones = plugins.entries("backbones")
    head = ["method", "needs", *(b.name for b in backbones), ""]
    rows = [
        [m.name, m.needs, *("yes" if m.runs_on(b) else "no" for b in backbones), ""] for m in plugins.entries("methods")
    ]
    return columns([head, *rows])


def page(name: str) -> str:
    """Everything a source says about the plug-in called ``name``; several kinds may share a name."""
    if name.endswith(".py"):
        return _user_method(Path(name))
    known: dict[str, list[Entry]] = {}
    for kind in plugins.KINDS:
        for entry in plugins.entries(kind):
            known.setdefault(entry.name, []).append(entry)
    if name not in known:
        raise UnknownName("method, model, data set, task or suite", name, known)
    return "\n\n".join(_entry(entry) for entry in known[name])


def _methods() -> str:
    blocks = []
    found = plugins.entries("methods")
    for stage in plugins.STAGES:
        if rows := [(entry.name, entry.line) for entry in found if entry.stage == stage]:
            blocks.append(f"{stage}\n{columns(rows, '  ')}")
    return "\n\n".join(blocks) or "there are no methods yet"


def _entry(entry: Entry) -> str:
    kind = {"data": "data set"}.get(entry.kind, entry.kind.removesuffix("s"))
    parts = [f"{entry.name} ({f'{entry.stage} ' if entry.stage else ''}{kind})"]
    if entry.kind == "suites":
        return "\n\n".join([*parts, *_suite(entry.path)])
    if entry.path.suffix != ".py":
        return "\n\n".join([*parts, *filter(None, [entry.line])])
    tree = tree_of(entry.path)
    parts += _docstrings(tree, entry.class_name)
    if entry.kind == "methods":
        parts += [f"needs a model that has: {entry.needs}", _options(entry.path, entry.class_name)]
    if entry.provides:
        order = [name for name in plugins.CAPABILITIES if name in entry.provides]
        parts.append(f"has: {', '.join(order)}")
    if entry.kind == "data":
        parts += [f"tasks: {', '.join(entry.tasks)}", _data_options(entry)]
    for key in ("LICENCE", "DOWNLOAD"):
        if text := plugins.constant(tree, key):
            parts.append(f"{key.lower()}: {text}")
    return "\n\n".join(parts)


def _suite(path: Path) -> list[str]:
    """What a suite asks, and the file to copy for one of one's own."""
    told = tomllib.loads(path.read_text(encoding="utf-8"))
    rows = [("models", _listed(told.get("models", []))), ("methods", _listed(told.get("methods", [])))]
    rows += [("seeds", _listed(told.get("seeds", [])))]
    for scenario in told.get("scenarios", []):
        said = [str(scenario.get("data", ""))]
        if sizes := scenario.get("sizes"):
            said.append(f"{_listed(sizes)} {scenario.get('unit', 'groups')} forgotten")
        said += [f"{name} {_listed(scenario[name])}" for name in ("tasks", "seeds", "models") if name in scenario]
        rows.append((f"scenario {scenario.get('label', '')}".strip(), "; ".join(said)))
    file = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path
    copying = f"file: {file}\nFor one of your own copy it, name your method in it, and say: expunge bench mine.toml"
    return [str(told.get("title", "")), *filter(None, [" ".join(str(told.get("about", "")).split())]),
            columns([row for row in rows if row[1]]), copying]  # fmt: skip


def _listed(values: Any) -> str:
    """Numbers and names with commas; a method that is a table by its label, with what it changes."""
    if isinstance(values, str):
        return "every one" if values == "*" else values
    return ", ".join(dict.fromkeys(_row(one) if isinstance(one, dict) else str(one) for one in values))


def _row(method: dict[str, Any]) -> str:
    asked = {**method.get("options", {}), **method.get("grid", {})}
    settings = ", ".join(f"{name} = {value}" for name, value in asked.items())
    return f"{method.get('name', '?')} ({settings})" if settings else str(method.get("name", "?"))


def _data_options(entry: Entry) -> str:
    """What `-d name=value` may say, beside the task and the variant, which are said elsewhere."""
    found = [o for o in described_call(entry.path, "load") if o.name not in plugins.UNASKED]
    if entry.name == "jsonl":
        return "say --data FILE.jsonl, and --images for the folder that its pictures are named from"
    whose = "a world of ours: --model is what the original is made from" if entry.is_embedded else (
        "your own data: --model is the original, or with --make-original what it is made from"
    )  # fmt: skip
    rows = [(o.name, o.type, f"= {o.default}" if o.default else "", o.about) for o in found]
    return f"{whose}\n\noptions (-d name=value)\n" + columns(rows, "  ")


def _user_method(path: Path) -> str:
    method = plugins.load_method(path)
    tree = tree_of(path)
    parts = [f"{path.stem} (method in {path})", *_docstrings(tree, method.__name__)]
    parts += [f"needs a model that has: {plugins.needs(method).__name__}", _options(path, method.__name__)]
    return "\n\n".join(parts)


def _docstrings(tree: ast.Module, class_name: str) -> list[str]:
    """The module's and the class's, with the indentation of neither."""
    nodes = [tree, *(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == class_name)]
    return [text for node in nodes if (text := ast.get_docstring(node))]


def _options(path: Path, class_name: str) -> str:
    found = described(path, class_name)
    held = ", ".join(f"{name} {count:g} x" for name, count in described_copies(path, class_name).items())
    text = f"holds beside the model, in copies of its weights: {held or 'nothing'}\n\n"
    if not found:
        return text + "options: none"
    rows = [(o.name, o.type, f"= {o.default}" if o.default else "", o.about) for o in found]
    text += "options (-p name=value)\n" + columns(rows, "  ")
    for task, own in described_by_task(path, class_name).items():
        text += f"\nwhere the task is {task}: " + ", ".join(f"{name} = {value!r}" for name, value in own.items())
    return text
