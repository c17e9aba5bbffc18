"""Every method found in its folder, stopped in the middle of its work, goes on to the very same model."""

import pytest
import torch
from tests.contracts.test_methods import METHODS, QUICK, runs_on

from expunge.core import plugins
from expunge.core.checkpoints import Checkpoints, Pace
from expunge.core.options import options as read_options
from expunge.core.run import Run
from expunge.testing import lend, small_albef, small_mllm, small_splits, stirred

TRAINED = {
    "cse", "multidelete", "bad_teacher", "adversarial", "finetune", "retrain", "gradient_ascent", "ga_diff", "npo",
    "task_arithmetic", "negmerge", "kl_min", "po", "undial", "rmu", "mmunlearner", "salun",
}  # fmt: skip
LONGER = {
    "cse": ("anchors=random", "epochs=1", "least_steps=4", "batch=8"),
    "bad_teacher": ("least_steps=4", "batch=32"),
    "adversarial": ("epochs=2", "least_steps=4", "iterations=2", "importance_pairs=3", "stop_at=-1"),
    "multidelete": ("epochs=1", "least_steps=4", "batch=6"),
    "ga_diff": ("least_steps=2", "order=alternate"),
    "npo": ("least_steps=4",),
    "task_arithmetic": ("epochs=1", "least_steps=4"),
    "negmerge": ("epochs=1", "least_steps=3", "rates=[1e-4, 3e-4]"),
    "kl_min": ("least_steps=4",),
    "po": ("epochs=1", "least_steps=4"),
    "undial": ("epochs=1", "least_steps=4"),
    "rmu": ("epochs=1", "least_steps=4"),
    "mmunlearner": ("least_steps=2", "weighed=6", "weighed_batch=8"),
    "salun": ("epochs=1", "least_steps=4"),
}


class Stop(BaseException):
    """As a kill: nobody catches it."""


class Fragile(Run):
    """A run that is stopped when it wants to note its n-th line."""

    left = 10**9

    def log(self, **numbers):
        self.left -= 1
        if self.left < 0:
            raise Stop
        super().log(**numbers)


def leg(name, folder=None, lines=10**9, stir=0):
    run = Fragile(seed=3, lend=lend, saved=Checkpoints(folder, Pace(steps=1)) if folder else None)
    run.left = lines
    method = read_options(plugins.load_method(name), LONGER.get(name) or QUICK.get(name, ()))
    speaks = not runs_on(name, small_albef)
    model = stirred(small_mllm() if speaks else small_albef(), stir)  # what was drawn before is no part of the run
    after = method.unlearn(model, small_splits(task="multiple_choice" if speaks else "retrieval"), run)
    return after.module.state_dict(), run.terms, run.facts


@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_method_goes_on_to_the_same_model(name, tmp_path):
    state, terms, facts = leg(name)
    if len(terms) > 2:
        with pytest.raises(Stop):
            leg(name, tmp_path, len(terms) // 2, stir=1)
    assert any(tmp_path.iterdir()) == (name in TRAINED)
    again, told, found = leg(name, tmp_path, stir=2)
    assert state.keys() == again.keys() and all(torch.equal(state[k], again[k]) for k in state)
    assert terms == told and facts == found
