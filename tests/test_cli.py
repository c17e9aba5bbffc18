"""The command line: words reach the API as they were meant, errors are sentences, help costs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import expunge
from expunge import cli
from expunge.core.errors import ExpungeError, Problem
from expunge.core.folder import staged
from expunge.core.scale import Lora, Scale
from expunge.core.stopping import Stopped
from expunge.core.types import Corpus, Example
from expunge.data.worlds.drawing import DrawnPicture
from expunge.requests.asked import Words
from expunge.requests.ledger import ledger
from expunge.requests.matching import match

CORPUS = Corpus("x", tuple(Example(n, DrawnPicture(n, str), n, n[:-1]) for n in ("Ada1", "Ada2", "Bob1")))


class Examined:
    """What the API found out about a request."""

    def __init__(self, problems: tuple = (), warnings: tuple = (), account: dict | None = None):
        self.findings, self.account = (problems, warnings), account or {}

    def to_json(self) -> str:
        return '{"all": "of it"}'


class Result:
    """What the API's functions give back, as far as the command line looks."""

    def __init__(self, folder: Path | None = None, notes: tuple[str, ...] = ()):
        self.folder, self.record = folder, types.SimpleNamespace(notes=list(notes))

    def table(self) -> str:
        return "a [table] of numbers"

    def verdict(self) -> str:
        return "a verdict"


@pytest.fixture
def api(monkeypatch) -> types.SimpleNamespace:
    """An API that notes its calls and does no work."""
    fake: Any = types.ModuleType("expunge.api")
    fake.calls = []

    def noted(name: str, result: Any):
        def call(*words: Any, **named: Any) -> Any:
            if progress := named.pop("progress", None):
                progress.start("working", 2)
                progress.advance()
                progress.finish()
            fake.calls.append((name, words, named))
            if isinstance(result, BaseException):
                raise result
            return result

        setattr(fake, name, call)

    fake.answers = noted
    for name in ("demo", "forget", "evaluate"):
        noted(name, Result())
    noted("write_report", Path("page.html"))
    noted("examine", Examined())
    monkeypatch.setitem(sys.modules, "expunge.api", fake)
    monkeypatch.setattr(expunge, "api", fake, raising=False)
    return fake


@pytest.fixture
def method(tmp_path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(
        '"""Mine."""\nfrom dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Mine:\n'
        '    """My own way."""\n\n    tau: float = 0.05  # temperature\n\n'
        "    def unlearn(self, model, splits, run):\n        return model\n"
    )
    return str(path)


def run(monkeypatch, *words: str) -> int:
    """The command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["expunge", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_forget_passes_on_what_was_asked(api, monkeypatch, method, capsys):
    words = ["forget", "--model", "albef-tiny", "--data", "people:validation", "--forget", "p1,p2", "--forget", "p3"]
    more = ["--method", method, "-p", "tau=0.1", "--seed", "7", "--against", "retrain", "--with-samples", "--out", "x"]
    more += ["--task", "entailment", "--save-every", "100steps", "--no-resume"]
    more += ["-d", "size=50", "--data-option", "seed=3"]
    more += ["--precision", "bf16", "--accumulate", "2", "--gradient-checkpointing", "--lora", "r=4"]
    assert run(monkeypatch, *words, *more) == 0
    ((name, positional, named),) = api.calls
    assert name == "forget" and positional == ()
    assert named == {
        "model": "albef-tiny", "data": "people:validation", "forget": Words(["p1,p2", "p3"]), "method": method,
        "options": ["tau=0.1"], "seed": 7, "against": "retrain", "with_samples": True, "out": Path("x"),
        "images": None, "pretrained": None, "allow_leakage": False, "overwrite": False,
        "task": "entailment", "include_near": False, "save_every": "100steps", "resume": False,
        "data_options": {"size": 50, "seed": 3}, "make_original": False,
        "scale": Scale("bf16", 2, True, Lora(4)),
    }  # fmt: skip
    captured = capsys.readouterr()
    assert captured.out == "a [table] of numbers\na verdict\n" and "working" in captured.err


def test_why_something_was_not_measured_is_said_briefly(api, monkeypatch, capsys):
    words = ["forget", "--model", "albef-tiny", "--data", "people", "--forget", "p1"]
    api.answers("forget", Result(notes=("r_test was not measured.", "r_test was not measured.", "few people")))
    assert run(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert said.endswith("a verdict\nnote: r_test was not measured.\nnote: few people\n")
    api.answers("forget", Result(notes=tuple(f"note {n}" for n in range(20))))
    assert run(monkeypatch, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["note: note 7", "… 12 more notes are in the record and on the page"]


def test_the_recipe_of_an_original_is_passed_on(api, monkeypatch, tmp_path):
    (tmp_path / "d.jsonl").write_text("")
    words = ["forget", "--model", "m", "--data", str(tmp_path / "d.jsonl"), "--forget", "p1", "--make-original"]
    assert run(monkeypatch, *words) == 0 and api.calls[-1][2]["make_original"] is True
    assert run(monkeypatch, *words, "--recipe", "epochs=2", "--recipe", "lr=1e-4") == 0
    assert api.calls[-1][2]["make_original"] == {"epochs": 2, "lr": 1e-4}


def test_one_word_may_be_a_file_of_requests_but_not_among_names():
    assert cli.requested(["who.jsonl"]) == "who.jsonl" and cli.requested(["p1,p2"]) == "p1,p2"
    several = cli.requested(["p1, p2", "p3,"])
    assert isinstance(several, Words) and several == ("p1, p2", "p3,")  # cut where the data is known
    with pytest.raises(ExpungeError, match="not both: who.jsonl"):
        cli.requested(["p1", "who.jsonl"])


@pytest.mark.parametrize(
    "change, said",
    [
        ({"--method": "nothin_like_it"}, "no method called 'nothin_like_it'"),
        ({"--method": "missing.py"}, "there is no method file missing.py"),
        ({"--data": "peple"}, "no data set called 'peple'. Did you mean 'people'?"),
        ({"--data": "missing.jsonl"}, "there is no data at missing.jsonl"),
        ({"-p": "tau"}, "written name=value"),
        ({"--task": "retreival"}, "no task called 'retreival'. Did you mean 'retrieval'?"),
        ({"-d": "sise=3"}, "no option of people called 'sise'. Did you mean 'size'?"),
        ({"-d": "size"}, "written name=value"),
        ({"--recipe": "lr=1e-5"}, "--recipe says how --make-original trains: give both"),
    ],
)
def test_typos_are_refused_before_any_work(api, monkeypatch, method, capsys, change, said):
    words = {"--model": "m", "--data": "people", "--forget": "p1", "--method": method, "-p": "tau=1", **change}
    assert run(monkeypatch, "forget", *(word for pair in words.items() for word in pair)) == 2
    captured = capsys.readouterr()
    assert said in captured.err and "Traceback" not in captured.err and api.calls == []


def test_wrong_usage_is_exit_code_2(monkeypatch, capsys):
    assert run(monkeypatch, "frget") == 2
    assert run(monkeypatch, "forget", "--model", "m") == 2
    assert run(monkeypatch, "forget", "--seed", "x") == 2
    assert "forget" in capsys.readouterr().err


def test_errors_are_sentences_and_the_traceback_is_for_who_asks(api, monkeypatch, capsys):
    api.answers("demo", ExpungeError("the disk is full."))
    assert run(monkeypatch, "demo") == 2
    assert capsys.readouterr().err.endswith("expunge: the disk is full.\n")
    api.answers("demo", ZeroDivisionError("oh"))
    assert run(monkeypatch, "demo") == 70
    said = capsys.readouterr().err
    assert "defect of expunge" in said and "ZeroDivisionError: oh" in said and "Traceback" not in said
    monkeypatch.setenv("EXPUNGE_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["expunge", "demo"])
    with pytest.raises(ZeroDivisionError):
        cli.main()
    monkeypatch.delenv("EXPUNGE_DEBUG")
    api.answers("demo", KeyboardInterrupt())
    assert run(monkeypatch, "demo") == 130


@pytest.mark.parametrize("number, code", [(2, 130), (15, 143)])
def test_a_stopped_run_says_in_one_line_how_to_go_on(api, monkeypatch, capsys, number, code):
    words = ["forget", "--model", "albef-tiny", "--data", "people", "--forget", "p1"]
    api.answers("forget", Stopped(number, "step 40 of 400 of editing (CSE) is saved"))
    assert run(monkeypatch, *words) == code
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("step 40 of 400 of editing (CSE) is saved; the same command goes on from there.")
    api.answers("forget", Stopped(number))
    assert run(monkeypatch, *words) == code
    assert capsys.readouterr().err.splitlines()[-1].endswith("there was nothing to save yet.")


def test_check_says_all_problems_and_exits_with_1(api, monkeypatch, capsys, tmp_path):
    assert run(monkeypatch, "check", "p1", "--data", "people") == 0
    problems = [Problem("who.jsonl:1", "unknown id", "Mend it"), Problem("who.jsonl:2", "empty line", "Drop it")]
    api.answers("examine", Examined(problems, [Problem("data", "few people", "Add some")]))
    monkeypatch.chdir(tmp_path)
    Path("d.jsonl").write_text("")
    assert run(monkeypatch, "check", "who.jsonl", "--data", "d.jsonl", "--images", "pictures") == 1
    said = capsys.readouterr().err
    assert "who.jsonl:1: unknown id. Mend it\nwho.jsonl:2" in said and "note: data: few people" in said
    asked = {"images": Path("pictures"), "allow_leakage": False, "include_near": False, "task": "retrieval"}
    asked["data_options"] = {}
    assert api.calls[-1][1:] == (("who.jsonl", "d.jsonl"), asked)
    assert run(monkeypatch, "check", "1", "--data", "flickr30k", "-d", "folder=/pictures", "-d", "extra=[1]") == 1
    assert api.calls[-1][2]["data_options"] == {"folder": "/pictures", "extra": [1]}
    assert run(monkeypatch, "check", "p1", "--data", "flickr30k", "-d", "foldr=x") == 2
    assert "Did you mean 'folder'?" in capsys.readouterr().err
    assert run(monkeypatch, "check", "p1", "--data", "people", "--task", "entailmet") == 2
    assert "Did you mean 'entailment'" in capsys.readouterr().err


def test_check_says_once_what_is_wrong_on_every_line(api, monkeypatch, capsys):
    alike = [Problem(f"mine.jsonl:{n}", "unknown key 'caption'", "Drop it") for n in range(1, 3_001)]
    other = [Problem("mine.jsonl", f"is odd in way {n}", "Mend it") for n in range(60)]
    api.answers("examine", Examined([*alike, *other], alike))
    assert run(monkeypatch, "check", "p1", "--data", "people") == 1
    lines = capsys.readouterr().err.splitlines()
    lines = [line for line in lines if "working" not in line]
    once = "mine.jsonl:1: unknown key 'caption'. Drop it (the same in 3 000 places; this is the first)"
    assert lines[0] == once and lines[50] == "… 11 more; --json has all" and lines[51] == f"note: {once}"
    assert lines[52] == "3060 problems found." and len(lines) == 53


def test_check_shows_what_became_of_every_request(api, monkeypatch, capsys):
    account = ledger(match(CORPUS, ["Ada", "Adda"]), CORPUS, CORPUS.split(["Ada"]))
    api.answers("examine", Examined((Problem("request 2", "no such group", "Mend it"),), account=account))
    words = ["check", "Ada,Adda", "--data", "people", "--include-near"]
    assert run(monkeypatch, *words) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[1].split() == ["Ada", "request", "1", "group", "2", "Ada1,", "Ada2"]
    assert said[2].split() == ["Adda", "request", "2", "not", "found", "0"]
    assert said[3] == "2 requests: 1 matched, 1 not found. 2 examples to be forgotten."
    assert api.calls[-1][2]["include_near"] is True
    assert run(monkeypatch, *words, "--json") == 1
    assert capsys.readouterr().out == '{"all": "of it"}\n'
    api.answers("examine", Examined(account=account))
    assert run(monkeypatch, *words, "--json") == 0
    assert capsys.readouterr().out == '{"all": "of it"}\n'


def test_runs_are_looked_at_before_work_starts(api, monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, "evaluate", str(tmp_path)) == 2
    assert run(monkeypatch, "report", str(tmp_path)) == 2
    assert "not a run folder" in capsys.readouterr().err and api.calls == []
    with staged(tmp_path / "x") as staging:
        (staging / "report.html").write_text("")
    api.answers("evaluate", Result(tmp_path / "x"))
    assert run(monkeypatch, "evaluate", str(tmp_path / "x"), "--against", "retrain") == 0
    assert f"page: {tmp_path / 'x' / 'report.html'}" in capsys.readouterr().out
    assert run(monkeypatch, "report", str(tmp_path / "x"), "-o", "p.html") == 0
    assert [call[:2] for call in api.calls] == [
        ("evaluate", (tmp_path / "x",)),
        ("write_report", ([tmp_path / "x"], Path("p.html"))),
    ]


def test_demo_passes_on_what_was_asked(api, monkeypatch):
    assert run(monkeypatch, "demo", "--count", "3", "--fresh") == 0
    assert api.calls == [("demo", (), {"out": None, "seed": 0, "count": 3, "fresh": True, "overwrite": False})]


def test_list_and_show_speak_of_what_there_is(monkeypatch, capsys, method):
    for what in ("methods", "models", "data", "tasks", "suites"):
        assert run(monkeypatch, "list", what) == 0
    said = capsys.readouterr().out
    assert "people" in said and "albef" in said and "retrieval" in said
    assert run(monkeypatch, "list", "method") == 2
    assert "Did you mean 'methods'?" in capsys.readouterr().err
    assert run(monkeypatch, "list", "--matrix") == 0
    assert capsys.readouterr().out.split()[:3] == ["method", "needs", "albef"]
    assert run(monkeypatch, "show", "people") == 0
    assert "licence: Portraits: Avataaars by Pablo Stanley" in capsys.readouterr().out
    assert run(monkeypatch, "show", "flickr30k") == 0
    said = capsys.readouterr().out
    assert "flickr30k_train.json" in said and "folder  Path" in said and "tasks: retrieval" in said
    assert "licence: Flickr30k: for non-commercial" in said and "download: Ask its owners" in said
    assert run(monkeypatch, "show", "albef") == 0
    assert "has: Backbone, Embeds, Fuses, Matches" in capsys.readouterr().out
    assert run(monkeypatch, "show", "search_copyright") == 0
    assert "search_copyright.toml\nFor one of your own copy it" in capsys.readouterr().out
    assert run(monkeypatch, "show", "privacy") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Fictitious people amid" in said and "models albef-tiny methods nothing, retrain, finetune" in said
    assert "scenario privacy people; 5, 50, 500 groups forgotten; tasks retrieval, multiple_choice" in said
    assert run(monkeypatch, "show", method) == 0
    assert "My own way." in (said := capsys.readouterr().out) and "tau  float  = 0.05  temperature" in said
    assert run(monkeypatch, "show", "peple") == 2
    assert "Did you mean 'people'?" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------- start-up cost


def cost_in_seconds(words: list[str]) -> float:
    """Processor time of a child: what others do on the machine is not in it."""
    child = subprocess.Popen([sys.executable, "-m", "expunge", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return used.ru_utime + used.ru_stime


def test_help_takes_less_than_three_tenths_of_a_second():
    assert min(cost_in_seconds(["--help"]) for _ in range(3)) < 0.3


@pytest.mark.parametrize("words", [["--help"], ["forget", "--help"], ["list", "methods"], ["list", "--matrix"]])
def test_no_model_library_is_imported_before_work_starts(words):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "expunge", *words], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "expunge.cli" in imported
    heavy = ("torch", "transformers", "diffusers", "numpy", "scipy", "sklearn", "PIL", "matplotlib", "jinja2")
    assert imported.isdisjoint(heavy)


def test_importing_the_package_imports_nothing_and_every_public_name_has_a_home():
    code = "import sys, expunge; print(sorted(m for m in sys.modules if m.startswith('expunge')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['expunge']"
    assert set(expunge.__all__) == {*expunge._HOME_OF, "testing"} and set(expunge.__all__) <= set(dir(expunge))
    assert expunge.Example.__name__ == "Example" and expunge.Delta.__name__ == "Delta"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = expunge.nonsense


def test_a_dry_run_asks_what_it_would_take_and_starts_nothing(api, monkeypatch, method, capsys):
    free = types.SimpleNamespace(free=2e9, what="a machine")
    rate = types.SimpleNamespace(flops=1e9, what="a core")
    told = types.SimpleNamespace(
        title="mine on m", missing=("the data at none.jsonl",), forecasts=(), memory=None, machine=free, rate=rate,
        notes=("it is tight",),
    )  # fmt: skip
    api.answers("foresee", told)
    words = ["forget", "--model", "m", "--data", "none.jsonl", "--forget", "p1", "--method", method, "--dry-run"]
    assert run(monkeypatch, *words) == 0
    ((name, _, named),) = api.calls
    assert name == "foresee" and named["data"] == "none.jsonl" and "out" not in named
    out = capsys.readouterr().out
    assert "the data at none.jsonl" in out and "2.0 GB on a machine" in out and "it is tight" in out


def test_a_dry_run_of_a_suite_needs_nothing_that_it_names(api, monkeypatch, capsys):
    recipe = Path(__file__).parents[1] / "recipes" / "paper" / "table4.toml"
    monkeypatch.setenv("EXPUNGE_PATH_MLLMU", "so that it is put back")
    assert run(monkeypatch, "bench", str(recipe), "--dry-run", "--path", "mllmu=/nowhere/people") == 0
    out = capsys.readouterr().out
    assert "/nowhere/people" in out and "P + N + alpha" in out and "24.0 GB" in out and api.calls == []
    assert run(monkeypatch, "bench", str(recipe), "--dry-run", "--path", "mllmu") == 2
    assert "NAME=FOLDER" in capsys.readouterr().err


def a_grid(missing: int = 0, passed_on: int = 0) -> tuple[types.SimpleNamespace, types.SimpleNamespace]:
    """What the API gives back of a suite: how far it is, and what was drawn."""
    told = {"died": [], "failures": [], "is_whole": not missing, "passed_on": passed_on}
    return types.SimpleNamespace(status=types.SimpleNamespace(missing=missing), **told), types.SimpleNamespace()


@pytest.mark.parametrize("ray", [False, True])
def test_a_grid_is_measured_once_by_whoever_was_asked(api, monkeypatch, tmp_path, ray):
    monkeypatch.setattr(cli, "say_drawn", lambda drawn: None)
    api.Resources = lambda *given: given
    api.answers("run_suite", a_grid())
    words = ["bench", "quick", "--out", str(tmp_path), "--workers", "2", *(["--ray", "--cpus", "3"] if ray else [])]
    assert run(monkeypatch, *words) == 0
    ((name, words, _),) = api.calls
    assert name == "run_suite" and words[:4] == ("quick", tmp_path, 2, False)
    assert words[5] == ((3.0, 0.0) if ray else None)
    api.answers("run_suite", a_grid(missing=3))
    assert run(monkeypatch, "bench", "quick", "--out", str(tmp_path)) == 1


def test_cells_of_others_are_the_apis_to_take_and_to_pass_on_where_a_grid_is_measured(
    api, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(cli, "say_drawn", lambda drawn: None)
    words = ["bench", "quick", "--out", str(tmp_path), "--cells-from", "a.jsonl", "--cells-to", "c.jsonl"]
    for passed_on, said in ((7, "7 finished cells are in c.jsonl"), (0, "no cell is finished yet, so c.jsonl was not")):
        api.answers("run_suite", a_grid(passed_on=passed_on))
        assert run(monkeypatch, *words) == 0
        assert said in "".join(capsys.readouterr())
        assert api.calls[-1][1][6:] == ([Path("a.jsonl")], Path("c.jsonl"), cli.say_taken)


def test_a_grid_that_is_stopped_says_what_is_saved(api, monkeypatch, tmp_path, capsys):
    api.answers("run_suite", Stopped(15, "what was being trained is saved"))
    assert run(monkeypatch, "bench", "quick", "--out", str(tmp_path)) == 143
    assert "is saved; the same command goes on from there." in capsys.readouterr().err


def test_cells_are_taken_and_passed_on_without_a_model(api, monkeypatch, tmp_path, capsys):
    from expunge.bench import drawing, glance
    from expunge.bench.exchange import Taken

    asked: list[tuple] = []
    monkeypatch.setattr(cli, "say_drawn", lambda drawn: None)
    monkeypatch.setattr(glance, "folder_of", lambda suite, out, tell: tell("an old plan is shown") or Path("there"))
    monkeypatch.setattr(drawing, "draw", lambda folder: None)
    monkeypatch.setattr(glance, "take", lambda *told: asked.append(told) or Taken(5, 2, 1))
    monkeypatch.setattr(glance, "pass_on", lambda *told: asked.append(told) or 7)
    words = ["bench", "quick", "--only-table", "--cells-from", "a.jsonl", "--cells-from", "b", "--cells-to", "c.jsonl"]
    assert run(monkeypatch, *words) == 0
    assert asked == [("quick", None, [Path("a.jsonl"), Path("b")]), (Path("there"), Path("c.jsonl"))]
    out, error = capsys.readouterr()
    assert error == "note: an old plan is shown\n"
    assert "5 finished cells were taken; 2 were here already; 1 are not of this suite" in out
    assert "7 finished cells are in c.jsonl" in out and api.calls == []
