"""A user's method: a Python file anywhere, imported, and the one class in it that is a method."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from expunge.core.errors import ExpungeError

NAMED = "expunge_method_"
"""Begins the names of the modules that users' files become."""
PACKAGE = Path(__file__).resolve().parents[1]


def import_file(path: Path) -> ModuleType:
    """The module in ``path``. Raises ExpungeError with the line where it cannot be imported."""
    if not path.is_file():
        raise ExpungeError(f"there is no method file {path}. Give the path of a Python file, or a name that "
                           "`expunge list methods` shows.")  # fmt: skip
    source = path.read_bytes()
    # Place and content are part of the module's name: an edited file is a new module, a copy elsewhere is blamed by its
    # own name, and dataclasses find it in sys.modules.
    mark = hashlib.sha256(bytes(path.absolute()) + source).hexdigest()[:12]
    module_name = f"{NAMED}{path.stem}_{mark}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ExpungeError(f"{path} cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[module_name]
        if not isinstance(error, Exception):
            raise
        line = error.lineno if isinstance(error, SyntaxError) else _line_in(error, path)
        where = f"{path}:{line}" if line else str(path)
        raise ExpungeError(f"{where}: the file cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _line_in(error: BaseException, path: Path) -> int | None:
    """The last line of ``path`` that the traceback went through."""
    path = path.absolute()
    return next((line for frame, line in reversed(_steps(error)) if _file_of(frame) == path), None)


def _steps(error: BaseException) -> list[tuple[FrameType, int]]:
    """Frames and lines from where an error was caught to where it was raised."""
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return found


def _file_of(frame: FrameType) -> Path:
    return Path(frame.f_code.co_filename).absolute()


def file_of(method_class: type) -> Path | None:
    """The user's file that a method was read from; None for a method of ours, and for a class made elsewhere."""
    if not method_class.__module__.startswith(NAMED):
        return None
    return Path(inspect.getfile(method_class)).absolute()


@contextmanager
def blaming(method_class: type) -> Iterator[None]:
    """Say of what goes wrong in a user's method where in its file that was: ExpungeError with the line.

    What already speaks for itself passes, and so does what the disk refuses to us: only where the method itself
    touched a file is it the method's.
    """
    path = file_of(method_class)
    try:
        yield
    except ExpungeError:
        raise
    except Exception as error:
        steps = [_file_of(frame) for frame, _ in _steps(error)]
        if path is None or path not in steps:
            raise
        below = steps[len(steps) - steps[::-1].index(path) :]
        if isinstance(error, OSError) and any(one.is_relative_to(PACKAGE) for one in below):
            raise
        raise ExpungeError(
            f"{_shown(path)}:{_line_in(error, path)}: {type(error).__name__}: {error} (in your method; EXPUNGE_DEBUG=1 "
            "shows the whole way there)"
        ) from error


def returned(method_class: type, after: Any, model: type) -> Any:
    """What ``unlearn`` gave back, if that is a model. Raises ExpungeError with how to mend the method."""
    if isinstance(after, model):
        return after
    what = "None" if after is None else f"{type(after).__name__}, which is no model"
    raise ExpungeError(f'{place_of(method_class)}: unlearn returned {what}; end it with "return model".')


def place_of(method_class: type) -> str:
    """``file:line`` of a method's ``unlearn``, or the name of the class where nothing tells it."""
    code = getattr(inspect.unwrap(method_class.unlearn), "__code__", None)  # type: ignore[attr-defined]
    return f"{_shown(Path(code.co_filename))}:{code.co_firstlineno}" if code else method_class.__name__


def _shown(path: Path) -> str:
    """A path as somebody in the current folder would write it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def uncallable(chosen: type) -> str:
    """Why a class's ``unlearn`` cannot be called with a model, splits and a run; empty where it can."""
    taken = inspect.signature(chosen.unlearn)  # type: ignore[attr-defined]
    try:
        taken.bind(chosen, "model", "splits", "run")
    except TypeError as error:
        named = ", ".join(taken.parameters)
        found = f"unlearn({named}) cannot be given a model, splits and a run: {error}"
        return f"{found}. Write unlearn(self, model, splits, run)"
    return ""


def only_method(module: ModuleType, shown: str) -> type:
    """The one frozen dataclass with ``unlearn`` that a module defines, or an error that says what it has instead."""
    defined = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    able = [c for c in defined if callable(getattr(c, "unlearn", None))]
    if not defined:
        raise ExpungeError(f"{shown} defines no class. A method is one frozen dataclass with `unlearn`.")
    if not able:
        names = ", ".join(c.__name__ for c in defined)
        raise ExpungeError(f"{shown}: no class has `unlearn(self, model, splits, run)`. It defines: {names}.")
    if len(able) > 1:
        names = ", ".join(c.__name__ for c in able)
        raise ExpungeError(f"{shown} defines several classes with `unlearn`: {names}. Keep one to a file.")
    (chosen,) = able
    if "__dataclass_fields__" not in vars(chosen) or not is_dataclass(chosen):
        raise ExpungeError(f"{shown}: {chosen.__name__} is not a dataclass. Put @dataclass(frozen=True) above it.")
    if not chosen.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise ExpungeError(f"{shown}: {chosen.__name__} is not frozen. Write @dataclass(frozen=True).")
    if why := uncallable(chosen):
        raise ExpungeError(f"{place_of(chosen)}: {why}.")
    return chosen
