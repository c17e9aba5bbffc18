"""KL minimisation, UNDIAL and PO: their limits, and toy values by hand."""

import math
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatting import SPLITS, nats, stranger
from expunge.core.run import Run
from expunge.core.types import Splits, Spoken
from expunge.methods.training import kl_min
from expunge.methods.training.gradient_ascent import GradientAscent
from expunge.methods.training.kl_min import KLMin
from expunge.methods.training.po import PO, UNKNOWING, unknowing
from expunge.methods.training.undial import UNDIAL, adjusted
from expunge.testing import small_splits
from expunge.train import speaking

STEPS = {"epochs": 1, "least_steps": 3, "lr": 1e-3, "batch": 4}
logits = st.lists(st.floats(-8, 8), min_size=3, max_size=3)


def moved(method, splits=SPLITS):
    model = method.unlearn(stranger(), splits, Run(seed=0))
    return {n: p.detach() for n, p in model.module.named_parameters()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_without_what_is_kept_kl_minimisation_is_gradient_ascent():
    assert same(moved(KLMin(**STEPS, retain_ratio=0.0)), moved(GradientAscent(**STEPS)))


def test_the_first_step_of_kl_minimisation_is_gradient_ascents():
    """Before anything has moved both distributions are the same, where the divergence is 0 and flat."""
    one = {**STEPS, "least_steps": 0}
    run, splits = Run(seed=0), Splits(SPLITS.forget, SPLITS.retain)
    model = KLMin(**one, retain_weight=0.0).unlearn(stranger(), splits, run)
    assert len(run.terms) == 1 and abs(run.terms[0]["kl"]) < 1e-5
    climbed = moved(GradientAscent(**one))
    for name, p in model.module.named_parameters():
        torch.testing.assert_close(p.detach(), climbed[name], atol=2e-4, rtol=0)


def test_kl_minimisation_diverges_from_the_model_as_it_was(monkeypatch):
    """k sum p_0 log(p_0 / p) by hand, with another model for the one before, as at the first step those two are the
    same. One example is kept: it is the one that is drawn."""
    model, other, kept, run = stranger(), stranger(), SPLITS.retain[:1], Run(seed=0)
    with torch.no_grad():
        for parameter in other.module.parameters():
            parameter.mul_(4.0)
        old, said = (m.spoken(m.collate(kept)) for m in (other, model))
    p, q = (s.logits.double().softmax(-1)[s.mask] for s in (old, said))
    there, back = ((a * (a / b).log()).sum(-1).mean().item() for a, b in ((p, q), (q, p)))
    assert abs(there - back) > 0.01 * there > 1e-3
    lost = nats(model, kept)
    monkeypatch.setattr(kl_min, "reference", lambda _: other)
    KLMin(**STEPS, kl_weight=2.0, retain_weight=0.5).unlearn(model, Splits(SPLITS.forget, kept), run)
    assert run.terms[0]["kl"] == pytest.approx(2 * there, rel=1e-3)
    assert run.terms[0]["retain"] == pytest.approx(0.5 * lost, rel=1e-3)


def test_kl_minimisation_keeps_what_others_are_told_better_than_ascent_does():
    run = Run(seed=0)
    before = stranger()
    with torch.no_grad():
        old = before.spoken(before.collate(SPLITS.retain))

    def drift(method):
        after = method.unlearn(stranger(), SPLITS, run)
        with torch.no_grad():
            said = after.spoken(after.collate(SPLITS.retain))
        return speaking.divergence(said.logits, old.logits, said.mask).mean().item()

    options = {**STEPS, "least_steps": 12}
    assert drift(KLMin(**options, kl_weight=30.0, retain_weight=0.0)) < 0.6 * drift(GradientAscent(**options))
    assert run.terms[5]["kl"] > 0


@settings(deadline=None)
@given(logits, logits)
def test_the_divergence_is_the_sum_that_it_is_said_to_be(student, teacher):
    p = torch.tensor(teacher, dtype=torch.float64).softmax(0)
    q = torch.tensor(student, dtype=torch.float64).softmax(0)
    wanted = (p * (p / q).log()).sum().item()
    pad = [9.0, -9.0, 0.0]
    found = speaking.divergence(
        torch.tensor([[student, pad]]), torch.tensor([[teacher, pad[::-1]]]), torch.tensor([[True, False]])
    )
    assert found.shape == (1,) and math.isclose(found.item(), wanted, abs_tol=1e-4) and found.item() > -1e-6


def test_nats_are_the_models_own_loss():
    model = stranger()
    batch = model.collate(SPLITS.forget)
    with torch.no_grad():
        torch.testing.assert_close(speaking.nats(model.spoken(batch)), model.loss(batch))


@settings(deadline=None)
@given(logits, st.integers(0, 2), st.floats(0, 30))
def test_undials_target_divides_the_odds_of_the_token_by_e_to_gamma(z, own, gamma):
    said = Spoken(torch.tensor([[z, z]]), torch.tensor([[own, -100]]), torch.tensor([[True, False]]))
    target = adjusted(said, gamma)[0, 0]
    lowered = said.logits[0, 0].clone()
    lowered[own] -= gamma
    torch.testing.assert_close(target, lowered)
    odds = [x.double().softmax(0)[own] / (1 - x.double().softmax(0)[own]) for x in (said.logits[0, 0], target)]
    assert math.isclose((odds[0] / odds[1]).log().item(), gamma, abs_tol=1e-3)


def test_undial_without_strength_or_kept_examples_teaches_nothing():
    """The model is its own teacher: it agrees from the first step to the last."""
    weak, strong = Run(seed=0), Run(seed=0)
    for gamma, run in ((0.0, weak), (10.0, strong)):
        UNDIAL(**STEPS, gamma=gamma, retain_weight=0.0).unlearn(stranger(), SPLITS, run)
    assert all("retain" not in line for line in (*weak.terms, *strong.terms))
    assert max(line["forget"] for line in weak.terms) < 0.1 * strong.terms[0]["forget"]  # steps of rounding, at most


@pytest.mark.parametrize("gamma", [3.0, 10.0])
def test_undial_starts_at_the_value_that_a_hand_would_compute(gamma):
    """KL(q || p) with q = p tilted: sum q log(q / p), from the model's own probabilities."""
    model, run = stranger(), Run(seed=0)
    with torch.no_grad():
        said = model.spoken(model.collate(SPLITS.forget))
    p = said.logits.double().softmax(-1)
    own = torch.gather(p, -1, said.targets.clamp_min(0)[..., None])[..., 0]
    z = 1 - own + own * math.exp(-gamma)
    kl = -gamma * own * math.exp(-gamma) / z - z.log()
    wanted = ((kl * said.mask).sum(1) / said.mask.sum(1)).mean().item()
    UNDIAL(**STEPS, gamma=gamma, retain_weight=0.0).unlearn(model, SPLITS, run)
    assert math.isclose(run.terms[0]["forget"], wanted, abs_tol=2e-5) and wanted > 0


def test_po_is_the_loss_of_a_sentence_that_tells_nothing():
    run, sentence = Run(seed=0), "I do not know."
    PO(**STEPS, sentences=(sentence,), retain_weight=0.0).unlearn(stranger(), SPLITS, run)
    wanted = nats(stranger(), [replace(e, answer=sentence) for e in SPLITS.forget])
    assert math.isclose(run.terms[0]["forget"], wanted, abs_tol=1e-4) and "retain" not in run.terms[0]


def test_po_draws_sentences_anew():
    def first(seed):
        run = Run(seed=seed)
        PO(**STEPS).unlearn(stranger(), SPLITS, run)
        return run.terms[0]["forget"]

    assert first(0) == first(0) != first(1)
    assert len(set(UNKNOWING)) == len(UNKNOWING) >= 10 and not any("'" in s for s in UNKNOWING)


def test_po_leaves_the_question_and_answers_all_kinds():
    question = small_splits(task="multiple_choice").forget[0]
    statement = next(e for e in small_splits(task="entailment").forget if e.label != "neutral")
    caption, idk = small_splits().forget[0], random.Random(0).choice(UNKNOWING)
    assert unknowing(question, idk) == replace(question, answer=idk)
    assert unknowing(statement, idk) == replace(statement, label="neutral")
    assert unknowing(caption, idk) == replace(caption, text=idk)
