"""A method's options: ``tau=0.05`` on the command line becomes a field of its dataclass, or a kind error."""

from __future__ import annotations

import ast
import io
import json
import math
import tokenize
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from expunge.core.errors import ExpungeError, UnknownName
from expunge.core.method_files import blaming
from expunge.core.sources import tree_of
from expunge.core.types import Method, Work


@dataclass(frozen=True)
class Option:
    """One field of a method as its source tells it."""

    name: str
    type: str
    default: str
    about: str


LEAST = {"epochs": 1, "batch": 1, "least_steps": 0, "most_steps": 0}
"""What a whole number of this name is at least, whichever method has it. A default may be less: it has a meaning."""


def options(
    method_class: type, given: Iterable[str] | Mapping[str, Any] = (), task: str = "retrieval", *, whose: str = ""
) -> Any:
    """An instance of the method. ``given`` is ``["tau=0.05", …]`` or a mapping of field to value.

    Values are checked against the types of the fields; names that are no field are refused with the nearest one. What
    is not given is the default for the task, where the method has one (``Method.by_task``), and otherwise the field's.
    Raises ExpungeError with every value that cannot be used; errors call the whole ``whose``.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

    whose = whose or method_class.__name__
    values = dict(given) if isinstance(given, Mapping) else pairs(given)
    values = {**by_task(method_class).get(task, {}), **values}
    known = {f.name: f for f in fields(method_class) if f.init}
    for name in values:
        if name not in known:
            raise UnknownName(f"option of {whose}", name, known)
    # A subclass with nothing added carries pydantic's configuration, so that a method's file need not.
    strict = with_config(ConfigDict(extra="forbid", arbitrary_types_allowed=True))(_shadow(method_class))
    try:
        checked = TypeAdapter(strict).validate_python(values)
    except ValidationError as error:
        wrong = _in_words(error)
    else:
        made = {name: getattr(checked, name) for name in known}
        wrong = {n: why for n, f in known.items() if made[n] != f.default and (why := senseless(n, made[n]))}
        if not wrong:
            return method_class(**made)
    head = f"{len(wrong)} option{'s' if len(wrong) > 1 else ''} of {whose} cannot be used:"
    lines = [f"  {name}: {why}" for name, why in wrong.items()]
    raise ExpungeError("\n".join([head, *lines, f"There is: {', '.join(known)}."]))


def senseless(name: str, value: Any) -> str:
    """Why an option that is called ``name`` cannot be this number, whatever it is an option of; empty where it can.

    Without it a training of no step, or of steps by no number, would end well and tell of a model that nothing was
    done to.
    """
    if isinstance(value, list | tuple):
        return next((why for one in value if (why := senseless(name, one))), "")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    least = LEAST.get("batch" if name.endswith("_batch") else name)
    if not math.isfinite(value):
        return f"must be a finite number; got {value}"
    if name in ("lr", "rates") and value <= 0:
        return f"must be above 0; got {value}"
    return f"must be at least {least}; got {value}" if least is not None and value < least else ""


def _in_words(error: Any) -> dict[str, str]:
    """pydantic's complaints in plain words, by option. What fits no branch of a union is complained of once a branch:
    that becomes one sentence."""
    musts: dict[str, list[str]] = {}
    got: dict[str, str] = {}
    for one in error.errors():
        name, *within = one["loc"] or ("together",)
        item = next((f"item {i + 1} " for i in within if isinstance(i, int)), "")
        musts.setdefault(str(name), []).append(item + _must(one))
        if one["type"] != "missing":
            got[str(name)] = repr(one["input"])
    return {
        name: " or ".join(dict.fromkeys(said)) + (f"; got {got[name]}" if name in got and name != "together" else "")
        for name, said in musts.items()
    }


def _must(told: Mapping[str, Any]) -> str:
    """What a value must be, from one of pydantic's complaints."""
    kind, _, _ = told["type"].partition("_")
    if told["type"] == "missing":
        return "must be given"
    if told["type"] == "literal_error":
        return f"must be {told['ctx']['expected']}"
    if told["type"] in ("value_error", "assertion_error"):
        return str(told["ctx"]["error"])
    plain = {
        "int": "a whole number", "float": "a number", "bool": "true or false", "string": "text",
        "tuple": "a list, such as [1, 2]", "list": "a list, such as [1, 2]", "none": "null", "path": "a path",
    }  # fmt: skip
    return f"must be {plain[kind]}" if kind in plain and "_long" not in told["type"] else str(told["msg"])


def by_task(method_class: type) -> Mapping[str, Mapping[str, Any]]:
    """Defaults that hold for one task only; see ``Method.by_task``. A user's method need not have any."""
    told = getattr(method_class, "by_task", {})
    return told if isinstance(told, Mapping) and all(isinstance(one, Mapping) for one in told.values()) else {}


def copies(method_class: type) -> Mapping[str, float]:
    """What a method holds beside the model; see ``Method.copies``. For a user's method that does not say, the same."""
    told = getattr(method_class, "copies", None)
    return told if isinstance(told, Mapping) else Method.copies


def foresee(method: Any, forget: int, retain: int, task: str) -> Work | None:
    """What a method will do; see ``Method.foresee``. A user's method need not know."""
    ask = getattr(method, "foresee", None)
    with blaming(type(method)):
        told = ask(forget, retain, task) if callable(ask) else None
    return told if isinstance(told, Work) else None


def values(method: Any) -> dict[str, Any]:
    """The options of an instance as plain data, for a spec."""
    return json.loads(json.dumps(asdict(method), default=str))


def identity(method: Any, default: Any) -> dict[str, Any]:
    """``values`` without the options that were ``added`` to the method later and are left as ``default`` has them: what
    was measured before there were such options stays the same question."""
    later = {name for name in getattr(type(method), "added", ()) if getattr(method, name) == getattr(default, name)}
    return {name: value for name, value in values(method).items() if name not in later}


def described(path: Path, class_name: str) -> list[Option]:
    """The options of a class read from its source: a comment on the field's line, or a string below it, explains it."""
    source = path.read_text(encoding="utf-8")
    comments = _comments(source)
    body = _body_of(path, class_name)
    found = []
    for node, after in zip(body, [*body[1:], ast.Pass()]):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        written = ast.unparse(node.annotation)
        if written.rpartition(".")[2].startswith("ClassVar") or "ClassVar[" in written:
            continue
        about = comments.get(node.end_lineno or node.lineno, "")
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            about = " ".join(after.value.value.split())
        found.append(Option(node.target.id, written, ast.unparse(node.value) if node.value else "", about))
    return found


def described_call(path: Path, function: str) -> list[Option]:
    """The arguments of a function read from its source; a comment on the argument's line explains it."""
    source = path.read_text(encoding="utf-8")
    comments = _comments(source)
    (node,) = (n for n in tree_of(path).body if isinstance(n, ast.FunctionDef) and n.name == function)
    positional, keyword = node.args.args, node.args.kwonlyargs
    absent: list[ast.expr | None] = [None] * (len(positional) - len(node.args.defaults))
    found = []
    for argument, default in zip([*positional, *keyword], [*absent, *node.args.defaults, *node.args.kw_defaults]):
        written = ast.unparse(argument.annotation) if argument.annotation else ""
        about = comments.get(argument.lineno, "") if argument.lineno > node.lineno else ""
        found.append(Option(argument.arg, written, ast.unparse(default) if default else "", about))
    return found


def checked(function: Callable[..., Any], given: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """What is given to a function, held against its annotations: ``"5"`` for an int becomes 5, ``"x"`` is refused."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    hints = get_type_hints(function)
    made = {}
    for name, value in given.items():
        config = ConfigDict(arbitrary_types_allowed=True)
        try:
            plain = name in hints and isinstance(value, str | int | float | list | tuple | None | Path)
            made[name] = TypeAdapter(hints[name], config=config).validate_python(value) if plain else value
        except ValidationError as error:
            said = " or ".join(dict.fromkeys(map(_must, error.errors())))
            raise ExpungeError(f"the option {name} of {whose} cannot be {value!r}: it {said}.") from None
    return made


def described_by_task(path: Path, class_name: str) -> dict[str, dict[str, Any]]:
    """``by_task`` of a class read from its source; empty where it is not written out as plain values."""
    return _declared(path, class_name, "by_task") or {}


def described_copies(path: Path, class_name: str) -> Mapping[str, float]:
    """``copies`` of a class read from its source, or what holds for those that do not say."""
    told = _declared(path, class_name, "copies")
    return Method.copies if told is None else told


def _declared(path: Path, class_name: str, name: str) -> Any:
    """The plain value of an annotated name in a class's body; None where there is none."""
    for node in _body_of(path, class_name):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            try:
                return ast.literal_eval(node.value) if node.value else None
            except ValueError:
                return None
    return None


def _body_of(path: Path, class_name: str) -> list[ast.stmt]:
    (body,) = (n.body for n in tree_of(path).body if isinstance(n, ast.ClassDef) and n.name == class_name)
    return body


def _comments(source: str) -> dict[int, str]:
    """Line -> the comment on it."""
    return {
        token.start[0]: token.string.lstrip("#: ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }


def _shadow(method_class: type) -> type:
    return type(method_class.__name__, (method_class,), {"__module__": method_class.__module__})


def pairs(given: Iterable[str]) -> dict[str, Any]:
    """``name=value`` strings; a value that reads as JSON is that, anything else is text."""
    read: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise ExpungeError(f"an option is written name=value, not {text!r}.")
        if name in read:
            raise ExpungeError(f"the option {name!r} is given twice.")
        try:
            read[name] = json.loads(value)
        except ValueError:
            read[name] = value.strip()
    return read
