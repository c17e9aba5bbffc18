"""What a run comes to."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
import torch
from tests.legs import STEP_S, WORK_S, Clock, Stop, saved

from expunge.core import plugins
from expunge.core.errors import Diverged, ExpungeError
from expunge.core.record import Record
from expunge.core.run import Run, Silent
from expunge.core.spec import Spec
from expunge.core.types import Splits
from expunge.evals.assessment import Assessment
from expunge.outcome import make_record, unlearn
from expunge.requests.matching import Requests
from expunge.scenario import Scenario
from expunge.testing import small_albef, small_corpus


@pytest.mark.parametrize("before", [(1000.0, 0.0), (0.0, 1000.0), (1000.0, 1000.0)], ids=str)
def test_what_was_made_before_a_method_worked_counts_in_no_leg(before, tmp_path, monkeypatch):
    """The original is trained, or awaited, in one leg, and found in the cache by the next."""
    clock = Clock(monkeypatch)

    class Method:
        stops = True

        def unlearn(self, model, splits, run):
            clock.now += STEP_S  # repeated by every leg
            with run.timed("editing"):
                clock.work(run, stops=self.stops)
            return model

    method = Method()

    def leg(seconds):
        run = Run(saved=saved(tmp_path))
        clock.now += seconds
        return unlearn(method, small_albef(), Splits((), (), ()), run)[1]

    with pytest.raises(Stop):
        leg(before[0])
    method.stops = False
    cost = leg(before[1])
    assert cost["seconds"] == WORK_S + STEP_S and cost["seconds_editing"] == WORK_S


def test_a_block_is_timed_in_all_its_legs_however_long_the_first_waited_for_it(tmp_path, monkeypatch):
    """Anchors keep what the block took: it is what everybody pays who finds them."""
    clock = Clock(monkeypatch)

    def leg(waiting_s, stops):
        run = Run(saved=saved(tmp_path))
        clock.now += waiting_s  # for another worker that was making the same
        with run.timed("mvi"):
            clock.work(run, stops=stops)
        return run.seconds["mvi"]

    with pytest.raises(Stop):
        leg(1000.0, True)
    assert leg(0.0, False) == WORK_S


HEAD = '"""A slip."""\nfrom dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Slip:\n'


def worked(tmp_path, monkeypatch, body: str, run: Run | None = None):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plug").mkdir(exist_ok=True)
    (tmp_path / "plug" / "slip.py").write_text(f"{HEAD}    def unlearn(self, model, splits, run):\n        {body}\n")
    method = plugins.load_method("plug/slip.py")()
    return unlearn(method, small_albef(), Splits((), (), ()), run or Run())


@pytest.mark.parametrize(
    "body, said",
    [
        ("model.modul", r"^plug/slip.py:8: AttributeError: .*'modul' \(in your method"),
        ("open('nowhere')", r"^plug/slip.py:8: FileNotFoundError: .*nowhere"),
        ("model.loss(None)", r"^plug/slip.py:8: "),
        ("pass", r'^plug/slip.py:7: unlearn returned None; end it with "return model"\.$'),
        ("return {}", r"^plug/slip.py:7: unlearn returned dict, which is no model"),
    ],
)
def test_a_slip_in_a_users_method_is_told_with_its_line(tmp_path, monkeypatch, body, said):
    with pytest.raises(ExpungeError, match=said):
        worked(tmp_path, monkeypatch, body)


def test_a_method_that_cannot_be_called_is_refused_when_it_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slip.py").write_text(f"{HEAD}    def unlearn(self, model, splits):\n        return model\n")
    with pytest.raises(ExpungeError, match=r"^slip.py:7: unlearn\(self, model, splits\) .* Write unlearn\(self, model"):
        plugins.load_method("slip.py")


def test_what_is_not_the_methods_fault_is_not_blamed_on_it(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("expunge.core.run.open", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        worked(tmp_path, monkeypatch, "run.log(step=0)", Run(folder=tmp_path))
    with pytest.raises(ExpungeError, match="^the model refuses$"):
        worked(
            tmp_path,
            monkeypatch,
            "from expunge.core.errors import Diverged, ExpungeError as E; raise E('the model refuses')",
        )

    class Inline:
        def unlearn(self, model, splits, run):
            raise KeyError("mine")

    with pytest.raises(KeyError):  # a class in somebody's script: the traceback says more
        unlearn(Inline(), small_albef(), Splits((), (), ()), Run())


def test_a_person_of_whom_something_stays_is_not_said_to_be_forgotten():
    people = {group: tuple(e for e in small_corpus().train if e.group == group) for group in ("p000", "p001")}
    one, two = people.values()
    alone = replace(one[0], id="alone", group=None)
    requests = Requests((), {})
    splits = Splits((one[0], *two, alone), one[1:])
    account = {"requests": [], "included": []}
    scenario = Scenario("m", small_corpus(), requests, splits, 0, Silent(), True, account=account)
    record = make_record(Spec("m", "d", ()), scenario, Assessment(splits, (), 0), Run(), {})
    assert record.forgotten == [one[0].id, "p001", "alone"]
    assert Record.from_json(record.to_json()).about == record.about == scenario.about()


def test_a_model_whose_weights_are_not_numbers_is_no_result():
    """The loss is looked at before a step: what the last step breaks shows in the weights alone."""

    class Overflowing:
        def unlearn(self, model, splits, run):
            with torch.no_grad():
                next(model.module.parameters()).mul_(float("inf"))
            return model

    with pytest.raises(
        Diverged, match=r"test_outcome leaves weights that are not numbers \([\w.]+\); try a smaller lr"
    ):
        unlearn(Overflowing(), small_albef(), Splits((), (), ()), Run())
