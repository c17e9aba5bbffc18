"""Plug-ins are found by their files, loaded by name or path, and refused with words that help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from expunge.core import plugins
from expunge.core.capabilities import protocol_members
from expunge.core.errors import ExpungeError, UnknownName
from expunge.core.options import described_call
from expunge.core.types import TASKS, Answers, Backbone, Embeds, Matches

METHOD = '''
"""A module's line."""
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from expunge.core.types import Matches, Embeds

@dataclass(frozen=True)
class Mine:
    """Forgets by magic.

    More words.
    """
    {needs}
    tau: float = 0.05

    def unlearn(self, {model}, splits, run):
        return model
'''


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A package tree of the same shape as ours."""
    write(tmp_path / "methods/training/mine.py", METHOD.format(needs="", model="model: Matches"))
    write(tmp_path / "methods/training/_hidden.py", METHOD.format(needs="", model="model"))
    write(tmp_path / "methods/training/__init__.py", "")
    write(tmp_path / "methods/data/broken.py", "def (")
    write(
        tmp_path / "methods/data/explodes.py", "raise SystemExit('imported')\n" + METHOD.format(needs="", model="model")
    )
    write(tmp_path / "methods/elsewhere/lost.py", METHOD.format(needs="", model="model"))
    write(tmp_path / "data/world.py", '"""A world."""\ndef load():\n    pass\n')
    write(tmp_path / "data/words.py", '"""Only words."""\nWORDS = ()\n')
    write(tmp_path / "zoo/tiny/config.json", "{}")
    write(tmp_path / "zoo/tiny/card.json", '{"summary": "Small."}')
    write(tmp_path / "zoo/draws/model_index.json", "{}")
    write(tmp_path / "zoo/draws/unet/config.json", "{}")
    write(tmp_path / "bench/suites/first.toml", 'title = "The first."\n')
    return tmp_path


def test_methods_are_files_in_stages_and_finding_them_imports_nothing(house):
    found = plugins.entries("methods", house)
    assert [(e.stage, e.name, e.class_name, e.line) for e in found] == [
        ("data", "explodes", "Mine", "Forgets by magic."),
        ("training", "mine", "Mine", "Forgets by magic."),
    ]


def test_other_kinds_are_found_by_what_makes_them_one(house):
    assert [(e.name, e.line) for e in plugins.entries("data", house)] == [("world", "A world.")]
    assert [(e.name, e.line) for e in plugins.entries("models", house)] == [("draws", ""), ("tiny", "Small.")]
    assert [(e.name, e.line) for e in plugins.entries("suites", house)] == [("first", "The first.")]


@pytest.mark.parametrize(
    "needs, model, expected",
    [
        ("", "model", "Backbone"),
        ("", "model: Matches", "Matches"),
        ("needs = Embeds", "model", "Embeds"),
        ("needs: ClassVar[type] = Embeds", "model: Matches", "Embeds"),
        ("needs = 'Matches'", "model", "Matches"),
    ],
)
def test_a_need_reads_the_same_from_source_and_from_the_class(tmp_path, needs, model, expected):
    path = write(tmp_path / "methods/training/mine.py", METHOD.format(needs=needs, model=model))
    (entry,) = plugins.entries("methods", tmp_path)
    assert entry.needs == expected
    assert plugins.needs(plugins.load_method(path)).__name__ == expected


def test_capabilities_follow_the_protocols():
    assert {"Backbone", "Embeds", "Matches"} <= plugins.CAPABILITIES.keys()
    assert "Method" not in plugins.CAPABILITIES and "Picture" not in plugins.CAPABILITIES
    embeds, matches = protocol_members(Embeds), protocol_members(Matches)
    assert protocol_members(Backbone) < embeds < matches
    assert {"traits", "loss", "clone"} <= embeds and "fuse" in matches - embeds


def _backbone(members: list[str], parent: str = "") -> str:
    body = "\n".join(f"    def {name}(self): pass" for name in members)
    return f'"""A family."""\nclass Model{parent}:\n{body}\n'


def test_what_a_backbone_provides_is_read_from_its_members(tmp_path):
    all_members = sorted(protocol_members(Matches))
    without_fuse = [m for m in all_members if m != "fuse"]
    write(tmp_path / "backbones/whole.py", _backbone(all_members))
    write(tmp_path / "backbones/partial.py", _backbone(without_fuse))
    write(tmp_path / "backbones/package/__init__.py", '"""A family in two files."""\n')
    half = len(all_members) // 2
    write(tmp_path / "backbones/package/lower.py", _backbone(all_members[:half]).replace("Model", "Lower"))
    write(tmp_path / "backbones/package/upper.py", _backbone(all_members[half:], "(Lower)"))
    write(tmp_path / "backbones/nothing.py", '"""Not a backbone."""\nclass Other:\n    pass\n')
    found = {e.name: e.provides for e in plugins.entries("backbones", tmp_path)}
    assert found.keys() == {"whole", "partial", "package"}
    assert found["whole"] == found["package"] and "Matches" in found["whole"]
    assert "Embeds" in found["partial"] and "Matches" not in found["partial"]


def test_the_source_and_isinstance_agree():
    namespace: dict = {}
    exec(_backbone(sorted(protocol_members(Embeds))), namespace)
    assert plugins.provides(namespace["Model"]()) == {"Backbone", "Embeds"}


def test_a_model_that_chooses_does_not_match(tmp_path):
    """Both kinds have ``fuse``; the logits of one of them are empty."""
    choosing = _backbone(sorted(protocol_members(Answers)))
    namespace: dict = {}
    exec(choosing, namespace)
    write(tmp_path / "backbones/choosing.py", choosing)
    (entry,) = plugins.entries("backbones", tmp_path)
    assert plugins.provides(namespace["Model"]()) == entry.provides == {"Backbone", "Embeds", "Fuses", "Answers"}


def test_a_method_that_the_model_cannot_serve_is_refused(tmp_path):
    method = plugins.load_method(write(tmp_path / "mine.py", METHOD.format(needs="needs = Matches", model="model")))
    plugins.check_capability(method, frozenset({"Backbone", "Embeds", "Matches"}), "some-model")
    with pytest.raises(ExpungeError, match="'mine' needs a model that has Matches; 'some-model' has Backbone, Embeds"):
        plugins.check_capability(method, frozenset({"Backbone", "Embeds"}), "some-model")


@pytest.mark.parametrize(
    "text, said",
    [
        ("x = 1\n", "defines no class"),
        ("class A:\n    pass\n", "no class has `unlearn"),
        ("class A:\n    def unlearn(self, m, s, r): pass\n", "A is not a dataclass"),
        (
            "from dataclasses import dataclass\n@dataclass\nclass A:\n    def unlearn(self, m, s, r): pass\n",
            "A is not frozen",
        ),
        (METHOD.format(needs="", model="model") + "\nclass Two(Mine):\n    pass\n", "several classes.*Mine, Two"),
        ("import nonsense_that_is_not_there\n", "mine.py:1: .*ModuleNotFoundError"),
        ("x = 1\ndef (\n", "mine.py:2: .*SyntaxError"),
    ],
)
def test_a_users_file_that_is_no_method_is_refused_with_its_reason(tmp_path, text, said):
    with pytest.raises(ExpungeError, match=said):
        plugins.load_method(write(tmp_path / "mine.py", text))


def test_a_users_file_is_loaded_once_and_again_when_it_changes(tmp_path):
    path = write(tmp_path / "mine.py", METHOD.format(needs="", model="model"))
    first = plugins.load_method(str(path))
    assert plugins.load_method(path) is first and plugins.method_name(first) == "mine"
    path.write_text(path.read_text().replace("0.05", "0.5"))
    assert plugins.load_method(path)().tau == 0.5 and first().tau == 0.05


def test_unknown_names_are_met_with_the_nearest(house):
    with pytest.raises(UnknownName, match="no method called 'mime'. Did you mean 'mine'?"):
        plugins.find("methods", "mime", house)
    with pytest.raises(UnknownName, match="no data set called 'wrld'"):
        plugins.find("data", "wrld", house)
    with pytest.raises(ExpungeError, match="there is no method file nowhere.py"):
        plugins.load_method("nowhere.py")
    with pytest.raises(UnknownName, match="variant of people called 'validaton'. Did you mean 'validation'"):
        plugins.load_data("people:validaton")
    with pytest.raises(UnknownName, match="option of people called 'sise'"):
        plugins.load_data("people", sise=3)


def test_data_is_loaded_by_name_and_variant():
    corpus = plugins.load_data("scenes:validation", size=3)
    assert corpus.name == "scenes:validation" and len({e.group for e in corpus.train}) == 3


def test_files_of_the_user_are_told_from_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people").mkdir()
    (tmp_path / "mine").mkdir()
    assert not plugins.is_path("people") and not plugins.is_path("people:validation")
    assert plugins.is_path("./people") and plugins.is_path("mine") and plugins.is_path("missing.jsonl")


def test_a_data_set_says_its_tasks_and_whether_it_is_a_world_of_ours(tmp_path):
    world = '"""A world."""\nTASKS = ("retrieval",)\nEMBEDDED = True\ndef load(size=3):\n    pass\n'
    write(tmp_path / "data/world.py", world)
    write(tmp_path / "data/plain.py", '"""Plain."""\nTASKS = tuple(range(3))\ndef load():\n    pass\n')
    plain, found = plugins.entries("data", tmp_path)
    assert (found.tasks, found.is_embedded) == (("retrieval",), True)
    assert plain.tasks == TASKS and not plain.is_embedded
    assert not plugins.is_own("people") and plugins.is_own("coco") and plugins.is_own("./people")
    assert plugins.places("mllmu") == {"folder", "images", "amid", "amid_images"} and not plugins.places("people")


def test_options_of_data_are_held_against_their_annotations():
    with pytest.raises(ExpungeError, match="the option size of scenes cannot be 'many'"):
        plugins.load_data("scenes", size="many")
    assert len({e.group for e in plugins.load_data("scenes", size="3").train}) == 3
    with pytest.raises(ExpungeError, match=r"the data set coco needs folder: -d folder=…"):
        plugins.load_data("coco")


def test_every_option_of_a_data_set_is_explained():
    for entry in plugins.entries("data"):
        if entry.name != "jsonl":  # it takes none: `expunge show jsonl` says so
            options = [o for o in described_call(entry.path, "load") if o.name not in plugins.UNASKED]
            assert [o.name for o in options if not o.about] == [], entry.name


def test_a_source_is_read_again_when_it_changes(tmp_path):
    path = write(tmp_path / "data/world.py", '"""One."""\ndef load():\n    pass\n')
    assert plugins.entries("data", tmp_path)[0].line == "One."
    path.write_text(path.read_text().replace("One", "Three"))
    assert plugins.entries("data", tmp_path)[0].line == "Three."


def test_every_file_of_ours_is_found():
    """A file in a stage that nobody lists would be a method that nobody can call."""
    files = {p.stem for stage in plugins.STAGES for p in (plugins.PACKAGE / "methods" / stage).glob("[!_]*.py")}
    assert {e.name for e in plugins.entries("methods")} == files
    for entry in [e for kind in plugins.KINDS for e in plugins.entries(kind)]:
        assert entry.line or entry.kind == "models", f"{entry.path} has no first docstring line"
    assert {"people", "scenes", "jsonl"} <= {e.name for e in plugins.entries("data")}
    found = {e.name: e.provides for e in plugins.entries("backbones")}
    assert "Matches" in found["albef"] and {"Matches", "Answers"} <= found["blip"]


def test_methods_of_ours_load_and_declare_what_their_source_says():
    for entry in plugins.entries("methods"):
        assert plugins.needs(plugins.load_method(entry.name)).__name__ == entry.needs, entry.name


def test_listing_imports_no_model_library():
    code = (
        "import sys; from expunge.core import plugins; [plugins.entries(k) for k in plugins.KINDS]; "
        "print([m for m in ('torch', 'transformers', 'numpy', 'PIL', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
