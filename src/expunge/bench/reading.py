"""A suite read from TOML: its shape checked by pydantic, what the shape cannot tell by ``soundness``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from expunge.bench.places import filled, told
from expunge.bench.soundness import problems
from expunge.bench.suite import FILLED, Method, Scenario, Suite, called, find, part, tasks_of
from expunge.core.errors import DataError, ExpungeError, Problem

_SHAPES: dict[str, type] = {"methods": Method, "scenarios": Scenario}


def read(suite: str | Path, absent: list[str] | None = None) -> Suite:
    """The suite, checked; of one task alone where that is named after a colon. Raises DataError with everything wrong.

    With a list for what is ``absent`` a suite may name models and data that are not here: they are put there.
    """
    path = find(suite)
    text = path.read_text(encoding="utf-8")
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ExpungeError(f"{path}: this is no TOML: {error}.") from error
    raw = _placed(raw, path)
    taken = set(FILLED) & raw.keys()  # they are the program's to fill in
    if taken:
        raise DataError([Problem(f"{path}: {key}", "no such key", "Remove it.") for key in sorted(taken)])
    try:
        filled_in = {"name": called(suite), "text": text, "path": str(path.resolve()), "task": part(suite)[1]}
        made = TypeAdapter(Suite).validate_python(raw | filled_in)
    except ValidationError as error:
        raise DataError([_problem(path, one) for one in _told_once(error)]) from None
    if found := list(problems(made, path, absent)):
        raise DataError(found)
    return _narrowed(made)


def _narrowed(suite: Suite) -> Suite:
    """The suite with its one task, where it has one. Raises ExpungeError where no scenario asks for that."""
    if not suite.task:
        return suite
    left = tuple(replace(one, tasks=(suite.task,)) for one in suite.scenarios if suite.task in tasks_of(one))
    if not left:
        asked = sorted({task for one in suite.scenarios for task in tasks_of(one)})
        raise ExpungeError(f"{suite.path} has no scenario with the task {suite.task}, only with {', '.join(asked)}.")
    return replace(suite, scenarios=left)


def _placed(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """The suite with every ``$NAME`` put in, where ``[paths]`` is a table of texts; its shape is checked later."""
    named = raw.get("paths", {})
    if not isinstance(named, dict) or not all(isinstance(one, str) for one in named.values()):
        return raw
    places = told(named, path.resolve().parent)
    texts = {key: raw[key] for key in ("title", "about") if key in raw}  # prose, which may speak of dollars
    try:
        return {**filled(raw, places), **texts, **({"paths": places} if "paths" in raw else {})}
    except ExpungeError as error:
        raise ExpungeError(f"{path}: {error}") from error


def _told_once(error: ValidationError) -> Iterable[Any]:
    """Pydantic tells of every member of a union; the one that the value was meant for suffices."""
    found: dict[str, Any] = {}
    for one in error.errors():
        key = _spelled(one["loc"])
        known = found.get(key)
        if known is None or known["type"] == "literal_error":
            found[key] = one
    # A misspelt key inside a table is told there; that the table is no string is then noise.
    inner = [k for k in found if "." in k]
    return [one for k, one in found.items() if not any(other.startswith(k + ".") for other in inner)]


def _spelled(loc: tuple[Any, ...]) -> str:
    """``("scenarios", 0, "sizes")`` as ``scenarios[0].sizes``, without the names of a union's members."""
    text = ""
    for step in loc:
        if isinstance(step, int):
            text += f"[{step}]"
        elif not any(mark in str(step) for mark in "[(") and str(step) not in ("Method", "Scenario", "str"):
            text += f".{step}" if text else str(step)
    return text


def _problem(path: Path, one: Any) -> Problem:
    where = f"{path}: {_spelled(one['loc'])}"
    if one["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        shape = _SHAPES.get(str(one["loc"][0]), Suite) if len(one["loc"]) > 1 else Suite
        known = [f.name for f in fields(shape) if f.name not in FILLED or shape is not Suite]
        near = get_close_matches(str(one["loc"][-1]), known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        return Problem(where, "no such key", f"{hint}There is: {', '.join(sorted(known))}.")
    if one["type"] in ("missing", "missing_argument"):
        return Problem(where, "this key is missing", "Write it.")
    return Problem(where, one["msg"], f"It reads {one['input']!r}.")
