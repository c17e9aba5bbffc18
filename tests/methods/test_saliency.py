"""SalUn and SSD: which weights, and what happens to them. Wrong answers, too."""

import math
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

from chatting import SPLITS, stranger, words
from expunge.core.run import Run
from expunge.core.types import LABELS, Splits, batches
from expunge.methods.editing.ssd import SSD, dampen
from expunge.methods.training.salun import SalUn
from expunge.testing import small_albef, small_splits
from expunge.train.mislabelling import mislabelled

STEPS = {"epochs": 1, "least_steps": 3, "lr": 1e-3, "batch": 6}


def weights(model):
    return {n: p.detach().clone() for n, p in model.module.named_parameters()}


# ------------------------------------------------------------------------------------ SalUn


@pytest.mark.parametrize("build, splits", [(small_albef, small_splits()), (stranger, SPLITS)])
def test_the_mask_is_half_of_all_weights_by_the_magnitude_of_the_summed_gradient(build, splits):
    model = build()
    masks = SalUn(batch=2).masks(model, splits.forget, Run(seed=0))
    model.module.zero_grad()
    shuffled = random.Random("salun:masks:0").sample(list(splits.forget), len(splits.forget))
    for some in batches(shuffled, 2):
        model.loss(model.collate(some)).sum().backward()  # signed: what cancels does not count
    found = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.module.named_parameters()}
    every = torch.cat([g.abs().flatten() for n, g in found.items() if n in masks])
    inside = torch.cat([masks[n].unpacked().flatten() for n in found if n in masks])
    assert masks.count() <= 0.51 * len(every)  # equals of the least are in, too
    assert every[inside].min() > 0 and every[inside].min() >= every[~inside].max() - 1e-7 * every.max()
    if every.gt(0).sum() > len(every) / 2:
        assert masks.count() >= round(0.5 * len(every))


def test_nothing_outside_the_mask_moves_and_the_rest_does():
    model, run = stranger(), Run(seed=0)
    masks, before = SalUn(batch=6, share=0.2).masks(model, SPLITS.forget, Run(seed=0)), weights(model)
    SalUn(**STEPS, share=0.2).unlearn(model, SPLITS, run)
    moved = 0
    for name, p in model.module.named_parameters():
        changed = p.detach() != before[name]
        assert not (changed & ~masks[name].unpacked()).any()
        moved += int(changed.sum())
    assert moved > 0.5 * masks.count() and run.facts["mask_share"] == pytest.approx(0.2, abs=0.01)


def test_without_a_share_nothing_moves():
    model = stranger()
    before = weights(model)
    SalUn(**STEPS, share=0.0).unlearn(model, SPLITS, Run(seed=0))
    assert all(torch.equal(p, before[n]) for n, p in model.module.named_parameters())


# ------------------------------------------------------------------------------------ wrong answers


def test_choices_are_wrong_and_each_wrong_one_comes_up():
    rng, question = random.Random(0), small_splits(task="multiple_choice").forget[0]
    drawn = Counter(mislabelled([question], [], rng)[0].answer for _ in range(300))
    assert set(drawn) == set(question.choices) - {question.answer} and min(drawn.values()) > 60
    made = mislabelled([question], [], rng)[0]
    assert made == replace(question, answer=made.answer)  # nothing else changes


def test_labels_are_wrong():
    rng, statement = random.Random(0), small_splits(task="entailment").forget[0]
    drawn = {mislabelled([statement], [], rng)[0].label for _ in range(60)}
    assert drawn == set(LABELS) - {statement.label}


def test_open_questions_get_a_perturbed_answer_or_somebody_elses():
    rng, e = random.Random(0), replace(SPLITS.forget[0], choices=())
    told = replace(e, perturbed=("a sailor", "a monk"))
    assert {mislabelled([told], SPLITS.retain, rng)[0].answer for _ in range(40)} == {"a sailor", "a monk"}
    others = {mislabelled([e], SPLITS.retain, rng)[0].answer for _ in range(99)}
    assert others == {o.answer for o in SPLITS.retain} and e.answer not in others
    with pytest.raises(ValueError, match="no wrong answer is known for Ada-nurse"):
        mislabelled([e], [], rng)


def test_captions_change_their_text_and_mixtures_keep_their_order():
    rng, captions = random.Random(0), small_splits().forget[:4]
    question = small_splits(task="multiple_choice").forget[0]
    made = mislabelled([captions[0], question, *captions[1:]], small_splits().retain[:9], rng)
    assert [e.image.key for e in made] == [e.image.key for e in (captions[0], question, *captions[1:])]
    assert made[1].question == question.question and made[1].answer != question.answer
    assert all(a.text != b.text for a, b in zip((made[0], *made[2:]), captions))


# ------------------------------------------------------------------------------------ SSD


def test_dampening_by_hand():
    """Selected where I_f > alpha I_D, strictly; shrunk by lambda I_D / I_f, and never made to grow."""
    p = nn.Parameter(torch.full((5,), 2.0))
    forget, whole = torch.tensor([8.0, 4.0, 2.0, 0.0, 3.0]), torch.tensor([1.0, 2.0, 1.0, 0.0, 0.0])
    count = dampen({"p": p}, {"p": forget}, {"p": whole}, 2.0, 3.0)
    assert count == 2 and p.tolist() == [2.0 * 3 / 8, 2.0, 2.0, 2.0, 0.0]
    q = nn.Parameter(torch.ones(1))
    assert dampen({"q": q}, {"q": torch.tensor([3.0])}, {"q": torch.tensor([1.0])}, 2.0, 9.0) == 1
    assert q.item() == 1.0  # 9 x 1 / 3 would make it grow


@pytest.mark.parametrize("per", ["batch", "sample"])
def test_the_model_is_dampened_by_its_squared_gradients(per):
    model, run = stranger(), Run(seed=0)
    before = weights(model)

    def squares(examples, size):
        total = {n: torch.zeros_like(p) for n, p in model.module.named_parameters()}
        chunks = list(batches(examples, size if per == "batch" else 1))
        for some in chunks:
            model.module.zero_grad()
            model.loss(model.collate(some)).mean().backward()
            for n, p in model.module.named_parameters():
                total[n] += 0 if p.grad is None else p.grad**2 / len(chunks)
        return total

    everything = random.Random("ssd:0").sample([*SPLITS.forget, *SPLITS.retain], 16)
    f, d = squares(SPLITS.forget, 4), squares(everything, 4)
    model.module.zero_grad()
    SSD(alpha=1.5, dampening=0.5, per=per, batch=4).unlearn(model, SPLITS, run)
    wanted = {n: torch.where(f[n] > 1.5 * d[n], before[n] * (0.5 * d[n] / f[n]).clamp(max=1), before[n]) for n in f}
    now = dict(model.module.named_parameters())
    wrong = sum(int((~torch.isclose(now[n], wanted[n], rtol=1e-2, atol=1e-6)).sum()) for n in wanted)
    total = sum(p.numel() for p in before.values())
    assert wrong < 0.01 * total and 0.001 < run.facts["dampened_share"] < 0.9


def test_above_the_greatest_possible_ratio_nothing_is_dampened():
    """D holds D_f, so I_f is at most |D| / |D_f| times I_D where every sample is squared alone: 4 here."""
    model = stranger()
    before = weights(model)
    SSD(alpha=4.01, per="sample").unlearn(model, SPLITS, Run(seed=0))
    assert all(torch.equal(p, before[n]) for n, p in model.module.named_parameters())


def test_what_nobody_depends_on_stays_and_no_nan_is_left():
    model = stranger()
    only_words = Splits(tuple(words(SPLITS.forget)), tuple(words(SPLITS.retain)))
    before = {n: p.detach().clone() for n, p in model.module.named_parameters()}
    SSD(alpha=1.0, batch=2).unlearn(model, only_words, Run(seed=0))
    vision = {id(p) for p in model.parts()["vision"].parameters()}
    for name, p in model.module.named_parameters():
        assert p.isfinite().all() and (id(p) not in vision or torch.equal(p, before[name]))
    assert math.isfinite(model.loss(model.collate(SPLITS.forget)).sum().item())
