"""Options become fields, checked; everything else is refused by name."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from expunge.core.errors import Diverged, ExpungeError, UnknownName
from expunge.core.options import checked, described, described_by_task, described_call, identity, options, values


@dataclass(frozen=True)
class Sample:
    """A method for these tests."""

    needs: ClassVar[Any] = None
    tau: float = 0.05  # temperature
    site: Literal["fused_in", "off"] = "fused_in"
    """Where it acts,
    in two lines."""
    layers: tuple[int, ...] = ()
    weight: float | None = None
    pairs: bool = True
    steps: int = 3

    def __post_init__(self) -> None:
        if self.tau <= 0:
            raise ValueError("tau must be above zero")

    def unlearn(self, model, splits, run):
        return model


def test_words_become_typed_fields():
    made = options(Sample, ["tau=1e-3", "site=off", "layers=[1, 2]", "weight=null", "pairs=false", "steps=4"])
    assert made == Sample(1e-3, "off", (1, 2), None, False, 4)
    assert type(made) is Sample and type(made.tau) is float


def test_a_mapping_and_nothing_work_too():
    assert options(Sample) == Sample()
    assert options(Sample, {"tau": 2, "layers": (3,)}) == Sample(tau=2.0, layers=(3,))


def test_values_can_be_given_back():
    made = options(Sample, ["layers=[1]"])
    assert values(made)["layers"] == [1] and options(Sample, values(made)) == made


def test_options_that_came_later_are_told_only_where_they_were_asked_for():
    @dataclass(frozen=True)
    class Grown(Sample):
        added: ClassVar[tuple[str, ...]] = ("later",)
        later: int = 3

    default = Grown()
    assert identity(default, default) == values(Sample()) and "later" in values(default)
    assert identity(Grown(later=4), default)["later"] == 4
    assert identity(Grown(tau=1.0), default) == values(Sample(tau=1.0))


@pytest.mark.parametrize(
    "given, kind, said",
    [
        (["tua=1"], UnknownName, "no option of Sample called 'tua'. Did you mean 'tau'"),
        (["needs=1"], UnknownName, "called 'needs'"),
        (["tau=warm"], ExpungeError, "tau: must be a number; got 'warm'"),
        (["steps=2.5"], ExpungeError, "steps: must be a whole number; got 2.5"),
        (["steps=abc"], ExpungeError, "steps: must be a whole number; got 'abc'"),
        (["pairs=perhaps"], ExpungeError, "pairs: must be true or false; got 'perhaps'"),
        (["layers=3"], ExpungeError, r"layers: must be a list, such as \[1, 2\]; got 3"),
        (['layers=[1, "x"]'], ExpungeError, "layers: item 2 must be a whole number; got 'x'"),
        (["site=nowhere"], ExpungeError, "site: must be 'fused_in' or 'off'; got 'nowhere'"),
        (["tau=nan"], ExpungeError, "tau: must be a finite number; got nan"),
        (["weight=inf"], ExpungeError, "weight: must be a finite number; got inf"),
        (["tau=-1"], ExpungeError, "together: tau must be above zero\n"),
        (["tau"], ExpungeError, "written name=value, not 'tau'"),
        (["tau=1", "tau=2"], ExpungeError, "given twice"),
    ],
)
def test_what_fits_no_field_is_refused(given, kind, said):
    with pytest.raises(kind, match=said):
        options(Sample, given)


def test_all_wrong_values_are_told_at_once():
    with pytest.raises(ExpungeError, match="(?s)2 options of Sample.*tau:.*steps:"):
        options(Sample, ["tau=x", "steps=y"])


def test_the_source_tells_types_defaults_and_comments():
    told = {o.name: o for o in described(Path(__file__), "Sample")}
    assert list(told) == ["tau", "site", "layers", "weight", "pairs", "steps"]
    assert (told["tau"].type, told["tau"].default, told["tau"].about) == ("float", "0.05", "temperature")
    assert told["site"].about == "Where it acts, in two lines."


@dataclass(frozen=True)
class Tuned(Sample):
    by_task: ClassVar[dict[str, dict[str, Any]]] = {"entailment": {"tau": 0.5, "steps": 7}}


def test_a_task_may_have_defaults_of_its_own_and_what_is_given_wins():
    assert options(Tuned) == Tuned() and options(Tuned, task="multiple_choice") == Tuned()
    assert options(Tuned, ["steps=1"], "entailment") == Tuned(tau=0.5, steps=1)
    assert options(Tuned, {"tau": 0.1}, "entailment") == Tuned(tau=0.1, steps=7)
    assert described_by_task(Path(__file__), "Tuned") == Tuned.by_task
    assert described_by_task(Path(__file__), "Sample") == {}


def test_a_default_of_a_task_that_is_no_field_is_refused():
    @dataclass(frozen=True)
    class Wrong(Sample):
        by_task: ClassVar[dict[str, dict[str, Any]]] = {"entailment": {"taau": 0.5}}

    with pytest.raises(UnknownName):
        options(Wrong, task="entailment")


def test_arguments_are_described_from_their_source(tmp_path):
    path = tmp_path / "world.py"
    path.write_text(
        "def load(\n    folder: Path,  # where it lies\n    size: int = 3,\n    *,\n    seed=0,  # drives it\n):\n"
        "    pass\n"
        "def other(a): pass  # nothing\n"
    )
    found = [(o.name, o.type, o.default, o.about) for o in described_call(path, "load")]
    assert found == [("folder", "Path", "", "where it lies"), ("size", "int", "3", ""), ("seed", "", "0", "drives it")]
    assert [(o.name, o.about) for o in described_call(path, "other")] == [("a", "")]


@dataclass(frozen=True)
class Trained:
    lr: float
    epochs: int = 0  # 0: as the original
    batch: int = 16
    weighed_batch: int = 4
    least_steps: int = 24
    rates: tuple[float, ...] = (1e-4,)


@pytest.mark.parametrize(
    "given, said",
    [
        (["lr=-1"], "lr: must be above 0; got -1"),
        (["lr=0"], "lr: must be above 0"),
        (["lr=nan"], "lr: must be a finite number"),
        (["batch=0"], "batch: must be at least 1; got 0"),
        (["batch=-4"], "batch: must be at least 1; got -4"),
        (["weighed_batch=0"], "weighed_batch: must be at least 1"),
        (["epochs=-3", "least_steps=0"], "epochs: must be at least 1; got -3"),
        (["least_steps=-1"], "least_steps: must be at least 0"),
        (["rates=[1e-4, 0]"], "rates: must be above 0"),
    ],
)
def test_a_number_that_trains_nothing_is_refused(given, said):
    with pytest.raises(ExpungeError, match=said):
        options(Trained, {"lr": 1e-3} | {name: json.loads(v) if v != "nan" else math.nan for name, v in
                                         (one.split("=") for one in given)})  # fmt: skip


def test_a_default_that_means_something_else_stays_allowed():
    assert options(Trained, ["lr=1e-3", "epochs=0"]) == Trained(1e-3)


def test_what_must_be_given_is_said_without_what_was():
    with pytest.raises(ExpungeError) as told:
        options(Trained, [], whose="--recipe")
    assert str(told.value).startswith("1 option of --recipe cannot be used:\n  lr: must be given\nThere is: lr, epochs")
    assert issubclass(Diverged, ExpungeError) and issubclass(Diverged, FloatingPointError)


def test_arguments_are_refused_in_plain_words():
    def load(size: int = 3) -> None: ...

    with pytest.raises(ExpungeError, match="the option size of people cannot be 'x': it must be a whole number."):
        checked(load, {"size": "x"}, "people")
