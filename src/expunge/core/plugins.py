"""Methods, backbones, data sets, tasks, zoo models and suites, found by their files.

A file in the right folder is all it takes: its name is the plug-in's name, its folder the stage, the first line of
its docstring the line in ``expunge list``. Finding parses the source and never imports it, so a list costs no torch
and a broken file cannot hide the others. Loading imports exactly the file that was asked for.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from expunge.core import types
from expunge.core.capabilities import CAPABILITIES, one_kind, served, spelled
from expunge.core.errors import ExpungeError, UnknownName
from expunge.core.method_files import import_file, only_method
from expunge.core.options import checked, described_call
from expunge.core.sources import tree_of

What = Literal["methods", "models", "backbones", "data", "tasks", "suites"]
KINDS: tuple[What, ...] = ("methods", "models", "backbones", "data", "tasks", "suites")
STAGES = ("data", "training", "architecture", "editing", "decoding")
PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Entry:
    """One plug-in as its file tells it. ``needs`` and ``provides`` are names in ``CAPABILITIES``."""

    kind: What
    name: str
    line: str
    path: Path
    stage: str = ""
    class_name: str = ""
    needs: str = ""
    provides: frozenset[str] = frozenset()
    serves: Mapping[str, frozenset[str]] = field(default_factory=dict)  # of a backbone: task -> what it then provides
    tasks: tuple[str, ...] = ()  # that a data set serves
    is_embedded: bool = False  # a world of ours: the model given is the pretrained one, and the original is made

    @property
    def module(self) -> str:
        """The dotted name to import."""
        return ".".join(("expunge", *self.path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")

    def runs_on(self, backbone: Entry) -> bool:
        """Whether a method finds in ``backbone`` what it needs, and a task to do it on: generators serve none."""
        return bool(backbone.serves) and self.needs in backbone.provides


# ---------------------------------------------------------------------------------------------- finding


def entries(kind: What, root: Path = PACKAGE) -> list[Entry]:
    """Everything of one kind, sorted by stage and name."""
    if kind not in KINDS:
        raise UnknownName("kind of plug-in", kind, KINDS)
    found = {
        "methods": _methods, "models": _models, "backbones": _backbones, "suites": _suites, "data": _data,
        "tasks": lambda root: _with_function("tasks", root, "predict"),
    }[kind](root)  # fmt: skip
    return sorted(found, key=lambda e: (STAGES.index(e.stage) if e.stage in STAGES else -1, e.name))


def find(kind: What, name: str, root: Path = PACKAGE) -> Entry:
    """The one called ``name``; ``UnknownName`` with the nearest otherwise."""
    known = {entry.name: entry for entry in entries(kind, root)}
    if name not in known:
        raise UnknownName("data set" if kind == "data" else kind.removesuffix("s"), name, known)
    return known[name]


def _files(folder: Path) -> Iterator[Path]:
    """The public Python files of a folder, and the ``__init__`` of its public packages."""
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.name.startswith(("_", ".")):
            continue
        if path.suffix == ".py":
            yield path
        elif (path / "__init__.py").is_file():
            yield path / "__init__.py"


def _name(path: Path) -> str:
    return path.parent.name if path.name == "__init__.py" else path.stem


def _parse(path: Path) -> ast.Module | None:
    """The syntax tree, or None for a file that cannot be parsed: it fails loudly when it is asked for by name."""
    try:
        return tree_of(path)
    except (SyntaxError, UnicodeDecodeError):
        return None


def _first_line(*nodes: ast.AST | None) -> str:
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            return text.splitlines()[0]
    return ""


def _methods(root: Path) -> Iterator[Entry]:
    for stage in STAGES:
        for path in _files(root / "methods" / stage):
            tree = _parse(path)
            for node in tree.body if tree else ():
                if isinstance(node, ast.ClassDef) and (unlearn := _function(node, "unlearn")):
                    needs = _declared_need(node, unlearn)
                    yield Entry("methods", _name(path), _first_line(node, tree), path, stage, node.name, needs)


def _function(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((m for m in node.body if isinstance(m, ast.FunctionDef) and m.name == name), None)


def _declared_need(node: ast.ClassDef, unlearn: ast.FunctionDef) -> str:
    """The capability named by ``needs = …``, by ``Method[…]`` or by the annotation of ``unlearn``'s model."""
    said: list[ast.expr | None] = []
    for member in node.body:
        if isinstance(member, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "needs" for t in member.targets):
            said.append(member.value)
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name) and member.target.id == "needs":
            said.append(member.value)
    said += [base.slice for base in node.bases if isinstance(base, ast.Subscript)]
    said += [argument.annotation for argument in unlearn.args.args[1:2]]
    return next((name for name in map(spelled, said) if name in CAPABILITIES), "Backbone")


def _backbones(root: Path) -> Iterator[Entry]:
    for path in _files(root / "backbones"):
        if not (tree := _parse(path)):
            continue
        files = sorted(path.parent.glob("*.py")) if path.name == "__init__.py" else [path]
        classes = [n for t in map(_parse, files) if t for n in t.body if isinstance(n, ast.ClassDef)]
        serves = served(classes)
        if provides := serves.pop(""):
            yield Entry("backbones", _name(path), _first_line(tree), path, provides=provides, serves=serves)


def _models(root: Path) -> Iterator[Entry]:
    """The outermost folders of the zoo that hold a model; ``card.json`` beside it may carry a ``summary``."""
    folders = {
        path.parent for name in ("config.json", "model_index.json") for path in (root / "zoo").glob(f"**/{name}")
    }
    for folder in sorted(folders):
        if folders.isdisjoint(folder.parents) and not (folder / "made_from.json").exists():  # originals are no start
            card = folder / "card.json"
            told = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
            yield Entry("models", folder.name, str(told.get("summary", "")), folder)


def _data(root: Path) -> Iterator[Entry]:
    for entry in _with_function("data", root, "load"):
        tree = _parse(entry.path)
        tasks = tuple(map(str, constant(tree, "TASKS") or types.TASKS))
        yield replace(entry, tasks=tasks, is_embedded=bool(constant(tree, "EMBEDDED")))


def constant(tree: ast.Module | None, name: str) -> Any:
    """What a source assigns to ``name`` at its top, as a plain value; None where it does not, or not plainly."""
    for node in tree.body if tree else ():
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            try:
                return ast.literal_eval(node.value)
            except ValueError:
                return None
    return None


def _with_function(kind: What, root: Path, name: str) -> Iterator[Entry]:
    """Files that define ``name``, as a function or as a class's member; the others of the folder help those."""
    for path in _files(root / kind):
        tree = _parse(path)
        if tree and any(
            (isinstance(n, ast.FunctionDef) and n.name == name) or (isinstance(n, ast.ClassDef) and _function(n, name))
            for n in tree.body
        ):
            yield Entry(kind, _name(path), _first_line(tree), path)


def _suites(root: Path) -> Iterator[Entry]:
    for path in sorted((root / "bench" / "suites").glob("*.toml")):
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        yield Entry("suites", path.stem, str(told.get("title", "")), path)


# ---------------------------------------------------------------------------------------------- loading


def load_module(entry: Entry) -> ModuleType:
    """Import the plug-in's module."""
    return importlib.import_module(entry.module)


def load_method(name: str | Path) -> type:
    """The class of a method: a name of ours, or the path of a user's file (anything that ends in ``.py``)."""
    if str(name).endswith(".py"):
        return only_method(import_file(Path(name)), str(name))
    entry = find("methods", str(name))
    return only_method(load_module(entry), entry.module)


def source_hash(method: Any) -> str | None:
    """SHA-256 of a user's method file, so that an edited file is another question; None for methods of ours."""
    path = Path(method) if isinstance(method, str | Path) else None
    if path is None or path.suffix != ".py" or not path.is_file():
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()


def method_name(method_class: type) -> str:
    """What a method is called in tables: the name of its file."""
    return Path(inspect.getfile(method_class)).stem


def load_data(name: str, **options: Any) -> types.Corpus:
    """A corpus by name (``people``, ``people:validation``, ``flickr30k``), or from the user's JSONL file or folder.

    ``options`` go to the data set's ``load`` (``size``, ``seed``; ``folder`` for a public one; ``root`` for a file),
    checked against its annotations. ``progress`` is passed on where it is taken.
    """
    return _called(name, "load", options)


def read_data(name: str, **options: Any) -> Any:
    """What going through a data set comes to (``data.files.reading.Reading``), problems and all; a corpus of one that
    is drawn. ``fresh`` looks at everything again."""
    has_read = is_path(name) or hasattr(load_module(find("data", name.partition(":")[0])), "read")
    return _called(name, "read" if has_read else "load", options)


def _called(name: str, function: str, options: dict[str, Any]) -> Any:
    if is_path(name):
        return getattr(load_module(find("data", "jsonl")), function)(name, **options)
    plain_name, colon, variant = name.partition(":")
    module = load_module(find("data", plain_name))
    variants: tuple[str, ...] = getattr(module, "VARIANTS", () if hasattr(module, "read") else ("test", "validation"))
    if colon and variant not in variants:
        raise UnknownName(f"variant of {plain_name}", variant, variants or ["none"])
    called = getattr(module, function)
    taken = inspect.signature(called).parameters
    options = {key: value for key, value in options.items() if key in taken or key not in PASSED}
    for option in options:
        if option not in taken:
            raise UnknownName(f"option of {plain_name}", option, [one for one in taken if one not in UNASKED])
    if missing := [p.name for p in taken.values() if p.default is p.empty and p.name not in options]:
        asked = " ".join(f"-d {one}=…" for one in missing)
        raise ExpungeError(f"the data set {plain_name} needs {', '.join(missing)}: {asked}.")
    if colon:
        options["variant"] = variant
    return called(**options | checked(called, {k: v for k, v in options.items() if k not in UNASKED}, plain_name))


PASSED = ("progress", "fresh")
"""What the program gives to a data set that takes it."""
UNASKED = (*PASSED, "task", "variant")
"""What no user says as an option of the data."""


def is_own(name: str) -> bool:
    """Whether data are the user's own, files or a public data set: the model given is then the original itself."""
    return is_path(name) or not find("data", name.partition(":")[0]).is_embedded


def reader(name: str) -> str:
    """The plug-in that reads the data called ``name``."""
    return "jsonl" if is_path(name) else name.partition(":")[0]


def places(name: str) -> frozenset[str]:
    """The options of a data set that say where something lies on this machine: those annotated with a path."""
    if is_path(name):
        return frozenset()
    found = described_call(find("data", name.partition(":")[0]).path, "load")
    return frozenset(option.name for option in found if "Path" in option.type)


def is_path(name: str) -> bool:
    """Whether ``--data`` means files of the user's. A name of ours wins over a folder of that name: write ./people."""
    if name.endswith(".jsonl") or "/" in name or "\\" in name:
        return True
    return Path(name).exists() and name not in {entry.name for entry in entries("data")}


# ---------------------------------------------------------------------------------------- capabilities


def needs(method_class: type) -> type:
    """The capability a method asks for: ``needs = Matches``, ``Method[Matches]``, or its ``unlearn``'s annotation."""
    said: list[Any] = [getattr(method_class, "needs", None)]
    said += [a for base in getattr(method_class, "__orig_bases__", ()) for a in get_args(base)]
    said += [p.annotation for p in list(inspect.signature(method_class.unlearn).parameters.values())[1:2]]  # type: ignore[attr-defined]
    for one in said:
        name = one if isinstance(one, str) else getattr(one, "__name__", "")
        if name.rpartition(".")[2] in CAPABILITIES:
            return CAPABILITIES[name.rpartition(".")[2]]
    return types.Backbone


def models(method_class: type) -> tuple[str, ...]:
    """The options of a method that name a model; see ``Method.models``. A user's method need not say."""
    told = getattr(method_class, "models", ())
    known = {f.name for f in fields(method_class)}
    return tuple(name for name in told if name in known) if isinstance(told, tuple) and "models" not in known else ()


def provides(backbone: Any) -> frozenset[str]:
    """The capabilities a loaded model has."""
    return one_kind(name for name, protocol in CAPABILITIES.items() if isinstance(backbone, protocol))


def check_capability(method_class: type, provided: frozenset[str], model: str) -> None:
    """Refuse a method that the model cannot serve, before anything long starts."""
    wanted = needs(method_class)
    if wanted.__name__ not in provided:
        able = ", ".join(e.name for e in entries("backbones") if e.serves and wanted.__name__ in e.provides)
        these = ", ".join(e.name for e in entries("methods") if e.needs in provided)
        raise ExpungeError(
            f"the method {method_name(method_class)!r} needs a model that has {wanted.__name__}; {model!r} has "
            f"{', '.join(sorted(provided)) or 'nothing of the kind'}."
            + (f" Methods that run on it: {these} (--method)." if these else "")
            + (f" Models that have {wanted.__name__}: {able}." if able else "")
        )


def check_fit(method_class: type, backbone: Entry, task: str, model: str) -> None:
    """The same by what a backbone's source says, before a model is read. Raises ExpungeError also for a task that it
    does not serve."""
    if not backbone.serves:
        raise ExpungeError(
            f"{model} is a generator ({backbone.name}): methods make anchors with it, but it serves no task and is not "
            "unlearned itself. `expunge list --matrix` shows what runs where."
        )
    if task not in backbone.serves:
        served = ", ".join(t for t in types.TASKS if t in backbone.serves)
        raise ExpungeError(f"{model} ({backbone.name}) serves {served}, not {task}: say --task with one of these.")
    check_capability(method_class, backbone.serves[task], model)
