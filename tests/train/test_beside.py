"""The terms that methods share, on losses chosen by hand."""

import pytest
import torch

from expunge.methods.training.salun import SalUn
from expunge.train.beside import retained, schedule_of
from expunge.train.slopes import Slopes


class Told:
    """A model whose loss of example i is its i-th number."""

    def __init__(self, *nats):
        self.nats = torch.tensor(nats, requires_grad=True)

    def collate(self, examples):
        return {"rows": list(examples)}

    def loss(self, batch):
        return self.nats[batch["rows"]]


def test_the_retain_term_is_the_weight_times_the_mean():
    model = Told(1.0, 2.0, 6.0)
    found = retained(model, [1, 2], 2.5)
    assert set(found) == {"retain"} and found["retain"].item() == 10.0  # 2.5 times the mean of 2 and 6
    assert retained(model, [1, 2], 0.0) == {} and retained(model, [], 2.5) == {}


def test_nothing_is_drawn_for_a_term_that_weighs_nothing():
    asked = SalUn(epochs=7, least_steps=11, lr=3e-3, batch=5, retain_weight=0.5, retain_ratio=2.0, near=0.25)
    made = schedule_of(asked)
    assert (made.epochs, made.least_steps, made.lr, made.batch, made.near) == (7, 11, 3e-3, 5, 0.25)
    assert made.retain_ratio == 2.0
    assert schedule_of(SalUn(retain_weight=0.0, retain_ratio=2.0)).retain_ratio == 0.0


def test_slopes_go_up_on_the_forgotten_and_down_on_the_rest_by_their_weights():
    model = Told(1.0, 5.0, 2.0, 4.0)
    terms = Slopes(model, forget_weight=2.0, retain_weight=3.0).terms([0, 1], [2, 3])
    assert {name: term.item() for name, term in terms.items()} == {"forget": -6.0, "retain": 9.0}
    sum(terms.values()).backward()
    assert model.nats.grad.tolist() == [-1.0, -1.0, 1.5, 1.5]


def test_slopes_climb_no_example_above_the_ceiling():
    model = Told(1.0, 5.0)
    terms = Slopes(model, forget_weight=2.0, ceiling=2.0).terms([0, 1], [])
    assert set(terms) == {"forget"} and terms["forget"].item() == -3.0  # minus twice the mean of 1 and 2
    terms["forget"].backward()
    assert model.nats.grad.tolist() == [-1.0, 0.0]


@pytest.mark.parametrize("forget, retain, climbs", [([0], [], True), ([], [0], False), ([0], [0], True)])
def test_slopes_know_whether_the_last_step_climbed(forget, retain, climbs):
    slopes = Slopes(Told(1.0), climbs=not climbs)
    assert set(slopes.terms(forget, retain)) == {n for n, some in (("forget", forget), ("retain", retain)) if some}
    assert slopes.climbs is climbs
