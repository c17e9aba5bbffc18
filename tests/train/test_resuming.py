"""A training that is stopped anywhere and goes on ends bit for bit where an uninterrupted one does."""

from __future__ import annotations

import logging
import random
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from expunge.core import stopping
from expunge.core.checkpoints import Checkpoints, Pace
from expunge.core.run import Run
from expunge.core.types import Splits
from expunge.generators import keeping
from expunge.testing import small_albef, small_splits
from expunge.train.fit import Enough, Schedule, fit
from expunge.train.resuming import Dice, Fields, Walk, Weights, lasting, once

EVERY_STEP = Pace(steps=1)
SCHEDULE = Schedule(epochs=3, lr=1e-2, batch=3, retain_ratio=1.0)


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it, nothing is tidied up but what the system would."""


class Lesson:
    """A loss with draws of its own, from every kind of generator, a count, and a buffer that moves."""

    def __init__(self, model, stop_at=None):
        self.model, self.stop_at, self.seen = model, stop_at, 0
        self.rng, self.dice = random.Random(7), torch.Generator().manual_seed(7)
        if not hasattr(model.module, "seen"):
            model.module.register_buffer("seen", torch.zeros(3))
            model.module.itm_head.bias.requires_grad_(False)

    def terms(self, forget, retain):
        if self.seen == self.stop_at:
            raise Killed
        self.seen += 1
        m = self.model.module
        m.seen += torch.rand(3)
        with torch.no_grad():  # no gradient, and moved all the same: a momentum copy
            m.itm_head.bias.lerp_(m.itm_head.weight[:, 0], 0.1)
        noise = self.rng.random() + random.random() + torch.rand((), generator=self.dice) + m.seen.mean()
        return {"task": self.model.loss(self.model.collate([*forget, *retain])).mean() * noise}

    @property
    def state(self):
        return Fields(self, "rng", "dice", "seen")


def states(model):
    return {k: v.clone() for k, v in model.module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.fixture
def splits():
    whole = small_splits()
    return Splits(whole.forget[:7], whole.retain[:9])


def leg(folder, splits, stop_at=None, pace=EVERY_STEP):
    """One process's life: everything from the start, on other random numbers, with the checkpoints that lie there."""
    model = small_albef()  # seeds torch's generator: stirring comes after it
    torch.manual_seed(random.randrange(10**6))
    lesson = Lesson(model, stop_at)
    run = Run(3, saved=Checkpoints(folder, pace) if folder else None)
    random.seed(3)
    try:
        fit(model, lesson.terms, splits, run, SCHEDULE, state=lesson.state)
    except Killed:
        return None
    after = torch.rand(2), random.random()  # what comes next draws the same numbers, too
    return states(model), run.terms, after


@pytest.mark.parametrize("stops", [(0,), (1, 2, 5), (3, 8)])
def test_resumed_equals_straight_bit_for_bit(tmp_path, splits, stops):
    straight = leg(None, splits)
    for stop in stops:
        assert leg(tmp_path, splits, stop) is None
    resumed = leg(tmp_path, splits)
    assert same(straight[0], resumed[0]) and straight[1] == resumed[1]
    assert torch.equal(straight[2][0], resumed[2][0]) and straight[2][1] == resumed[2][1]
    assert len(straight[1]) == 9


def test_a_finished_training_takes_no_step(tmp_path, splits):
    straight = leg(tmp_path, splits)
    again = leg(tmp_path, splits, stop_at=0)  # any step would kill it
    assert again is not None and same(again[0], straight[0]) and again[1] == straight[1]


def test_two_checkpoints_at_most_and_one_of_what_is_finished(tmp_path, splits):
    assert leg(tmp_path, splits, 5) is None
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["000004-training", "000005-training"]
    assert leg(tmp_path, splits) is not None
    (left,) = tmp_path.iterdir()
    assert "exp_avg" not in (left / "state" / "state.json").read_text()  # nobody needs its optimiser any more
    assert {p.suffix for p in left.rglob("*") if p.is_file()} == {".json", ".safetensors"}


def test_a_run_of_seconds_writes_nothing(tmp_path, splits):
    assert leg(tmp_path, splits, pace=Pace()) is not None
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_half_written_checkpoints_are_passed_by_and_logged(tmp_path, splits, caplog):
    straight = leg(None, splits)
    assert leg(tmp_path, splits, 5) is None
    newest = tmp_path / "000005-training" / "state" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x77")  # same size: only its hash tells
    with caplog.at_level(logging.WARNING):
        resumed = leg(tmp_path, splits)
    assert "000005-training" in caplog.text and "damaged" in caplog.text
    assert same(straight[0], resumed[0]) and straight[1] == resumed[1]

    (tmp_path / "000099-training").mkdir()  # an empty one, and one without its marker
    assert leg(tmp_path, splits, 0) is not None
    assert not (tmp_path / "000099-training").exists()


def test_enough_is_an_end_like_any_other(tmp_path, splits):
    ends = []
    for _ in range(2):
        model, run = small_albef(), Run(saved=Checkpoints(tmp_path, EVERY_STEP))
        count = []

        def loss(forget, _, model=model, count=count):
            count.append(1)
            if len(count) == 4:
                raise Enough
            return {"task": model.loss(model.collate(forget)).mean()}

        fit(model, loss, splits, run, SCHEDULE)
        ends.append((states(model), run.terms, len(count)))
    assert same(ends[0][0], ends[1][0]) and ends[0][1] == ends[1][1]
    assert (ends[0][2], ends[1][2]) == (4, 0)


def test_the_clock_goes_on_and_the_log_is_whole(tmp_path, splits, monkeypatch):
    import time

    now = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    folders = [tmp_path / "one", tmp_path / "two"]
    seconds = []
    for folder, stop in zip(folders, (4, None)):
        folder.mkdir()
        run, model = Run(3, folder, saved=Checkpoints(tmp_path / "saved", EVERY_STEP)), small_albef()
        lesson = Lesson(model, stop)

        def terms(forget, retain, lesson=lesson):
            now[0] += 10
            return lesson.terms(forget, retain)

        try:
            with run.timed("cse"):
                fit(model, terms, splits, run, SCHEDULE, state=lesson.state)
        except Killed:
            pass
        seconds.append(run.seconds["cse"])
        now[0] += 5000  # the night between
    assert seconds == [50, 90]  # nine steps of ten seconds; the half step that was lost counts for nothing
    assert len((folders[1] / "log.jsonl").read_text().splitlines()) == 9


def test_a_piece_of_work_is_done_once(tmp_path):
    made = []

    def work(folder, stop):
        run = Run(saved=Checkpoints(folder, EVERY_STEP))
        random.seed(1)

        def make():
            made.append(1)
            with lasting(run, "inner", {}) as training:
                for step in training.steps(3):
                    run.log(step=step, x=random.random())
            return keeping.Kept(keeping.Anchors([], [["a"]]), {"n": 1}, 2.0)

        kept = once(run, "anchors", make, keeping.write, keeping.read)
        return kept, run.terms, random.random()

    first, second = work(tmp_path, None), work(tmp_path, None)
    assert first == second and len(made) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["000005-anchors"]  # what was saved within it is gone


def test_the_same_name_twice_is_two_trainings(tmp_path):
    def twice(stop_at):
        run, seen = Run(saved=Checkpoints(tmp_path, EVERY_STEP)), []
        for _ in range(2):
            with lasting(run, "training", {}) as training:
                for step in training.steps(3):
                    if len(run.terms) == stop_at:
                        raise Killed
                    run.log(step=step)
                    seen.append(step)
        return seen, run.terms

    with pytest.raises(Killed):
        twice(4)
    seen, terms = twice(None)
    assert seen == [1, 2] and [t["step"] for t in terms] == [0, 1, 2, 0, 1, 2]


@contextmanager
def asked_during(step_wanted):
    """A signal that arrives while a step is being taken."""
    import os
    import signal

    def maybe(step):
        if step == step_wanted:
            os.kill(os.getpid(), signal.SIGTERM)

    with stopping.heeded():
        yield maybe


def test_a_signal_waits_for_the_step_and_saves_it(tmp_path):
    run, taken = Run(saved=Checkpoints(tmp_path, Pace())), []
    with pytest.raises(stopping.Stopped) as stopped, asked_during(2) as maybe:
        with lasting(run, "editing", {}) as training:
            for step in training.steps(9):
                maybe(step)
                taken.append(step)
    assert taken == [0, 1, 2] and stopped.value.exit_code == 143
    assert stopped.value.saved == "step 3 of 9 of editing is saved"
    resumed = Run(saved=Checkpoints(tmp_path, Pace()))
    with lasting(resumed, "editing", {}) as training:
        assert list(training.steps(9)) == [3, 4, 5, 6, 7, 8]
    assert stopping.asked() == 0


def test_walks_shuffle_as_lists_and_tensors_are_shuffled():
    torch.manual_seed(4)
    rows = [r.tolist() for _ in range(2) for r in torch.randperm(5).split(2)]
    torch.manual_seed(4)
    walk = Walk(5, 2)
    assert [walk.next() for _ in range(6)] == rows
    order = list("abcde")
    random.Random(4).shuffle(order)
    walk = Walk(5, 2, random.Random(4))
    assert ["abcde"[i] for _ in range(3) for i in walk.next()] == order


def test_weights_outside_the_module_and_dice_come_back():
    inside, outside = nn.Linear(2, 2), nn.Parameter(torch.ones(3))
    weights = Weights(inside, [inside.weight, outside])
    kept, rolled = weights.state_dict(), Dice()
    kept = {
        "parameters": {k: v.clone() for k, v in kept["parameters"].items()},
        "buffers": {},
        "outside": [torch.ones(3)],
    }
    assert kept["parameters"].keys() == {"weight"}  # the bias is neither trained nor touched
    dice = rolled.state_dict()
    drawn = torch.rand(1), random.random()
    with torch.no_grad():
        outside.zero_()
        inside.weight.zero_()
    weights.load_state_dict(kept)
    rolled.load_state_dict(dice)
    assert outside.tolist() == [1, 1, 1] and torch.equal(inside.weight, kept["parameters"]["weight"])
    assert (torch.rand(1), random.random()) == drawn
