"""What models can do, by the protocols of ``core.types``: of a loaded model, or read from a backbone's source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from expunge.core import types

CAPABILITIES: dict[str, type] = {
    name: value
    for name, value in vars(types).items()
    if isinstance(value, type) and getattr(value, "_is_protocol", False) and types.Backbone in value.__mro__
}
"""Protocol name -> protocol, from ``Backbone`` up. A new capability in ``core.types`` appears here by itself."""


def served(classes: Sequence[ast.ClassDef]) -> dict[str, frozenset[str]]:
    """Task -> capabilities of the class that serves it, by its ``task`` or ``tasks``; "" for those of all classes.

    A class has a capability when it has its every member: what ``plugins.provides`` will say of the loaded model.
    """
    by_name = {node.name: node for node in classes}

    def line(node: ast.ClassDef, seen: frozenset[str] = frozenset()) -> list[ast.ClassDef]:
        """The class and those that it extends, as far as they are of ours."""
        parents = [by_name[p] for p in map(spelled, node.bases) if p in by_name and p not in seen]
        return [node, *(one for parent in parents for one in line(parent, seen | {node.name}))]

    found: dict[str, frozenset[str]] = {"": frozenset()}
    for node in classes:
        members = set().union(*map(_members, line(node)))
        has = one_kind(name for name, p in CAPABILITIES.items() if protocol_members(p) <= members)
        found[""] |= has
        for task in next(filter(None, map(_tasks, line(node))), ()) if has else ():
            found[task] = found.get(task, frozenset()) | has
    return found


def _members(node: ast.ClassDef) -> set[str]:
    names: set[str] = set()
    for item in ast.walk(node):
        if isinstance(item, ast.FunctionDef):
            names.add(item.name)
        elif isinstance(item, ast.AnnAssign | ast.Assign):
            targets = [item.target] if isinstance(item, ast.AnnAssign) else item.targets
            names |= {t.id for t in targets if isinstance(t, ast.Name)}
            names |= {t.attr for t in targets if isinstance(t, ast.Attribute) and spelled(t.value) == "self"}
    return names


def _tasks(node: ast.ClassDef) -> tuple[str, ...]:
    """The plain value of ``tasks`` in a class's body, or of ``task``."""
    told = {}
    for item in node.body:
        targets = [item.target] if isinstance(item, ast.AnnAssign) else getattr(item, "targets", [])
        for target in targets:
            if spelled(target) in ("task", "tasks") and isinstance(value := getattr(item, "value", None), ast.expr):
                told[spelled(target)] = [one.value for one in ast.walk(value) if isinstance(one, ast.Constant)]
    return tuple(map(str, told.get("tasks") or told.get("task") or ()))


def one_kind(found: Iterable[str]) -> frozenset[str]:
    """Without Matches where there is Answers: both fuse, and members do not tell that the logits are empty."""
    found = frozenset(found)
    return found - {"Matches"} if "Answers" in found else found


def protocol_members(protocol: type) -> set[str]:
    """The public members of a protocol and of the protocols that it extends."""
    return {
        name
        for parent in protocol.__mro__
        if getattr(parent, "_is_protocol", False) and parent.__module__ == types.__name__
        for name in (*vars(parent), *vars(parent).get("__annotations__", {}))
        if not name.startswith("_")
    }


def spelled(node: ast.expr | None) -> str:
    """A name, or the last part of a dotted one, or a text; empty for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
