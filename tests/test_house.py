"""The laws of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import expunge

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TEXTS = [
    *SOURCES, *sorted((ROOT / "tests").rglob("*.py")),
    *sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("pyproject.toml", "constraints.txt", "NOTICE", ".ci/run")),
]  # fmt: skip
NAMELESS = {"utils", "util", "helpers", "helper", "common", "base", "manager", "factory", "misc"}


def test_there_is_something_to_look_at():
    assert len(SOURCES) > 40 and (ROOT / "src/expunge/cli.py") in SOURCES


def test_no_file_is_over_500_lines():
    long = {
        str(p.relative_to(ROOT)): n for p in SOURCES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert long == {}


def test_everything_has_a_name():
    assert [p for p in SOURCES if NAMELESS & {p.stem, p.parent.name}] == []


def test_every_module_says_what_it_is():
    silent = [
        p for p in SOURCES if (text := p.read_text(encoding="utf-8")).strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_no_machine_path_and_no_registry_host_stands_in_a_file():
    words = ["/" + "work/", "/" + "farm/", "/" + "root/", "pypi" + ".org", "pythonhosted" + ".org", "deb" + ".debian"]
    found = {(p.name, w) for p in TEXTS for w in words if w in p.read_text(encoding="utf-8")}
    assert found == set()


def test_no_text_points_to_notes_that_are_not_here():
    texts = [*TEXTS, *sorted((ROOT / "recipes").rglob("*.toml"))]
    assert [p.name for p in texts if re.search(r"\bspec/\w+\.md", p.read_text(encoding="utf-8"))] == []


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_pinned_to_what_was_tested():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9A-Za-z.]+", pin) for pin in pins), "one plain pin to a line"
    pinned = {_key(pin.partition("==")[0]) for pin in pins}
    project = PROJECT["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    assert {_key(re.split(r"[<>=!~ \[;]", one)[0]) for one in asked} <= pinned
    assert "torch==2.13.0" in pins


@pytest.mark.parametrize("name", ["pyproject.toml", "CITATION.cff", "CHANGELOG.md"])
def test_the_version_is_the_same_everywhere(name):
    assert expunge.__version__ in (ROOT / name).read_text(encoding="utf-8")


def readme_command(name: str) -> str:
    """The command between README's markers: the one that people copy and that .ci/run runs."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"<!-- command: {name} -->\n```sh\n(.+)\n```", text)
    return block


def test_the_readme_holds_the_two_commands_that_ci_runs():
    assert readme_command("demo").endswith("expunge demo") and "constraints.txt" in readme_command("demo")
    assert "pytest" in readme_command("tests") and "'.[dev]'" in readme_command("tests")
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "command_of demo" in ci and "command_of tests" in ci
