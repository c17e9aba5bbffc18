"""What a plan was made from, so that one that lies in a folder is shown only as long as all of that is as it was.

Making a plan takes a model library and reads all data, looking here takes neither: files are known by name, size and
time. Pictures that one's own data name, and what lies in folders of a data folder, are not looked at.
"""

from __future__ import annotations

import hashlib
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from expunge.bench import places
from expunge.bench.suite import find
from expunge.core import plugins
from expunge.core.environment import PACKAGES, source, versions
from expunge.core.errors import ExpungeError
from expunge.core.spec import digest
from expunge.core.types import Task
from expunge.zoo import shelf

if TYPE_CHECKING:
    from expunge.bench.cells import Setting
    from expunge.bench.plan import Plan

GONE = "not here"


def of(made: Plan) -> dict[str, Any]:
    """All that decided which cells the plan has, as plain data; and when and at which commit that was, for people."""
    cells = made.cells()
    settings = {id(cell.setting): cell.setting for cell in cells}.values()  # cells of a block share theirs
    models = {name for at in settings for name in _models(at)}
    models |= {str(cell.options[option]) for cell in cells for option in cell.models if option in cell.options}
    files = {place for at in settings for place in _data(at)} | {cell.path for cell in cells if cell.source}
    return {
        "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": source()["commit"],
        **_always(made.suite.path, made.suite.paths),
        "models": {name: _stamp_of_model(name) for name in sorted(models)},
        "files": {path: _stamp(Path(path)) for path in sorted(files)},
    }


def changed(told: Mapping[str, Any], suite: str) -> list[str]:
    """What is not as it was when the plan ``told`` of was made, in words; empty where the plan still holds."""
    if told["text"] != find(suite).read_text(encoding="utf-8"):
        return ["the suite"]
    then = told.get("grounds")
    if then is None:
        return ["what it was made from, which it does not say"]
    path = find(suite).resolve()
    now = _always(str(path), places.told(tomllib.loads(told["text"]).get("paths", {}), path.parent))
    words = {
        "suite": "where the suite lies", "places": "where its [paths] lie", "zoo": "the zoo's models",
        "sources": "the code of expunge", "versions": "what is installed",
    }  # fmt: skip
    found = [words[name] for name in words if now[name] != then[name]]
    found += [name for name, stamp in then["models"].items() if _stamp_of_model(name) != stamp]
    return found + [path for path, stamp in then["files"].items() if _stamp(Path(path)) != stamp]


def _always(path: str, named: Mapping[str, str]) -> dict[str, Any]:
    """What every plan depends on."""
    return {
        "suite": path, "places": dict(named), "zoo": shelf.names(),
        "sources": _sources(), "versions": versions(PACKAGES),
    }  # fmt: skip


def _models(at: Setting) -> Iterator[str]:
    """Models of a setting as ``shelf`` finds them: those that its trainings begin from, and those that it names."""
    for name in filter(None, (at.paths["model"], at.paths["pretrained"])):
        yield from (name, str(shelf.beginning(name, cast(Task, at.task))))


def _data(at: Setting) -> Iterator[str]:
    """Where a setting's data lie, if they are no world of ours."""
    if plugins.is_path(at.paths["data"]):
        yield at.paths["data"]
    given = at.paths["data_options"]
    yield from (str(given[name]) for name in plugins.places(at.paths["data"]) if given.get(name))


def _sources() -> str:
    """One hash of all our Python files: what is a default, and how data are drawn, stands in some of them."""
    total = hashlib.sha256()
    for path in sorted(plugins.PACKAGE.rglob("*.py")):
        total.update(path.relative_to(plugins.PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:32]


def _stamp_of_model(name: str) -> str:
    try:
        return shelf.stamp(name)
    except (ExpungeError, OSError):
        return GONE


def _stamp(place: Path) -> str:
    """Of a file, or of the files that a folder holds directly."""
    try:
        files = [place] if place.is_file() else sorted(one for one in place.iterdir() if one.is_file())
        found = [(one.name, one.stat()) for one in files]
    except OSError:
        return GONE
    return digest([[name, told.st_size, told.st_mtime_ns] for name, told in found])[:32]
