"""MMUnlearner: masks that are the ratio they are said to be, and that hold."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from chatting import SPLITS, seen, stranger, words
from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.core.scale import Scale
from expunge.core.types import Splits, batches
from expunge.methods.training.ga_diff import GADiff
from expunge.methods.training.mmunlearner import WORDS, MMUnlearner, groups
from expunge.testing import small_albef, small_splits
from expunge.train.adapters import adapted, plain_name
from expunge.train.masks import Mask, Masks
from expunge.train.slopes import Slopes

STEPS = {"epochs": 1, "least_steps": 3, "lr": 1e-3, "batch": 4}
PICTURED = Splits(tuple(seen(SPLITS.forget)), tuple(seen(SPLITS.retain)))


def moved(method, splits=SPLITS, build=stranger):
    """Parameters after minus before."""
    model = build()
    before = {n: p.detach().clone() for n, p in model.module.named_parameters()}
    method.unlearn(model, splits, Run(seed=0))
    return {n: p.detach() - before[n] for n, p in model.module.named_parameters()}


def squared(model, examples, size):
    """F by brute force: float64 from end to end."""
    model.module.double()
    named, total = dict(model.module.named_parameters()), {}
    chunks = list(batches(examples, size))
    for some in chunks:
        model.module.zero_grad()
        batch = {k: v.double() if v.is_floating_point() else v for k, v in model.collate(some).items()}
        model.loss(batch).mean().backward()
        for name, p in named.items():
            gradient = torch.zeros_like(p) if p.grad is None else p.grad
            total[name] = total.get(name, 0) + gradient**2 / len(chunks)
    return total


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_masks_are_a_brute_force_ratio_in_float64_against_their_own_preserve_sets(family):
    """One batch for each set, so that the order in it does not matter."""
    method = MMUnlearner(weighed_batch=99)
    masks = method.masks(stranger(family), SPLITS, Run(seed=0))
    text = [*SPLITS.retain, *words(SPLITS.forget)]
    kept = {"vision": squared(stranger(family), seen(SPLITS.retain), 99),
            "language": squared(stranger(family), text, 99)}  # fmt: skip
    forget, differ, total = squared(stranger(family), seen(SPLITS.forget), 99), 0, 0
    for part, names in groups(stranger(family)).items():
        assert names
        for name in names:
            ratio = (forget[name] + 1e-15) / (kept[part][name] + 1e-15)
            wrong = masks[name].unpacked() != (ratio >= 1.0)
            near = ((ratio - 1).abs() < 1e-2) | ((forget[name] < 1e-14) & (kept[part][name] < 1e-14))
            assert not (wrong & ~near).any(), name  # what is 0 but for rounding may fall on either side
            differ, total = differ + int(wrong.sum()), total + wrong.numel()
    assert set(masks) == {n for names in groups(stranger(family)).values() for n in names}
    assert differ < 0.01 * total


def test_what_is_said_of_the_forgotten_narrows_the_language_mask_only():
    with_words = MMUnlearner(weighed_batch=99).masks(stranger(), SPLITS, Run(seed=0))
    without = MMUnlearner(weighed_batch=99).masks(stranger(), PICTURED, Run(seed=0))
    for part, names in groups(stranger()).items():
        same = all(torch.equal(with_words[n].bits, without[n].bits) for n in names)
        assert same == (part == "vision")


@pytest.mark.parametrize("order", ["alternate", "sum"])
def test_with_nothing_in_the_mask_nothing_moves(order):
    change = moved(MMUnlearner(**STEPS, threshold=math.inf, order=order))
    assert all(not delta.any() for delta in change.values())


@pytest.mark.parametrize("order", ["alternate", "sum"])
@pytest.mark.parametrize("build", [stranger, small_albef])
def test_with_all_in_the_mask_it_is_gradient_difference(build, order):
    splits = PICTURED if build is stranger else small_splits()
    ours = moved(MMUnlearner(**STEPS, threshold=0.0, order=order, weighed=4), splits, build)
    theirs = moved(GADiff(**STEPS, order=order), splits, build)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours) and any(d.any() for d in ours.values())


IN_TURNS = [GADiff(**STEPS, order="alternate"), MMUnlearner(**STEPS), MMUnlearner(**STEPS, official_code=True)]


@pytest.mark.parametrize("method", IN_TURNS)
def test_in_turns_each_step_up_takes_the_next_of_the_forgotten(method):
    """Steps down draw retained examples alone, so that no forgotten one is skipped or climbed twice."""
    model, run, climbed = stranger(), Run(seed=0), Counter()
    if isinstance(method, MMUnlearner):
        masks = method.masks(model, SPLITS, Run(seed=0))
        method = type("Given", (MMUnlearner,), {"masks": lambda *_: masks})(**vars(method))
    forgotten, collate = {e.id for e in PICTURED.forget}, model.collate
    model.collate = lambda some: climbed.update(forgotten & {e.id for e in some}) or collate(some)
    replace(method, batch=1, least_steps=6).unlearn(model, PICTURED, run)
    ups = ["forget" in line for line in run.terms]
    period = len(ups) // sum(ups)
    assert sum(ups) == 6 and period == (4 if getattr(method, "official_code", False) else 2)
    assert ups == [i % period == 0 for i in range(len(ups))]
    assert all(("retain" in line) != ("forget" in line) for line in run.terms)
    assert set(climbed.values()) == {6 // len(forgotten)} and set(climbed) == forgotten


@pytest.mark.parametrize("method", IN_TURNS)
def test_a_step_in_portions_is_the_same_step(method):
    made, logs = [], []
    for portions in (1, 2):
        run = Run(seed=0, scale=Scale(accumulate=portions))
        model = stranger()
        replace(method, lr=1e-4, least_steps=4).unlearn(model, PICTURED, run)
        made.append(model.module.state_dict())
        logs.append([set(line) for line in run.terms])
    assert logs[0] == logs[1]
    start = stranger().module.state_dict()
    moved_by = max((made[0][n] - start[n]).abs().max() for n in start)
    assert all((made[0][n] - made[1][n]).abs().max() < 0.02 * moved_by for n in start)


def test_the_forgotten_are_weighed_in_a_drawn_order():
    """In file order a batch would hold one person's facts, whose gradients add up and are then squared."""
    weighed = []
    splits = replace(SPLITS, forget=SPLITS.forget * 8)
    spy = type("Spy", (MMUnlearner,), {"_weigh": lambda self, model, names, some, run: weighed.append(list(some)) or {
        n: torch.ones_like(p) for n, p in names.items()}})()  # fmt: skip
    spy.masks(stranger(), splits, Run(seed=0))
    told = list(seen(splits.forget))
    for some in (weighed[0], weighed[2]):
        assert some != told and Counter(e.id for e in some) == Counter(e.id for e in told)
    assert weighed[0] == weighed[2], "both masks are made of the same batches of the forgotten"


@pytest.mark.parametrize("weighed, pictures, told", [(2, 2, 2), (0, 6, 6)])
def test_masks_are_made_from_as_many_retained_examples_as_are_asked_for(weighed, pictures, told):
    """Two of the forgotten's are pictured and two in words alone, six and six of the others'."""
    seen_by = []
    spy = type("Spy", (MMUnlearner,), {"_weigh": lambda self, model, names, some, run: seen_by.append(list(some)) or {
        n: torch.ones_like(p) for n, p in names.items()}})(weighed=weighed)  # fmt: skip
    spy.masks(stranger(), SPLITS, Run(seed=0))
    for some in seen_by:
        assert len({e.id for e in some}) == len(some)
    forgotten, vision, again, language = ([(e.group == "Ada", e.pictured) for e in some] for some in seen_by)
    assert Counter(forgotten) == Counter(again) == {(True, True): 2}
    assert Counter(vision) == {(False, True): pictures}
    assert Counter(language) == {(False, True): pictures, (True, False): 2, (False, False): told}


@pytest.mark.parametrize("order", ["alternate", "sum"])
def test_gradients_end_at_the_masks(order):
    """So that clipping counts what moves and nothing else; a step leaves the gradient that it took."""
    method, model, inside = MMUnlearner(**STEPS, order=order), stranger(), 0
    masks = method.masks(model, SPLITS, Run(seed=0))
    method.unlearn(model, SPLITS, Run(seed=0))
    for name, p in model.module.named_parameters():
        if p.grad is not None:
            held = masks[name].unpacked()
            assert not p.grad[~held].any(), name
            inside += int((p.grad != 0).sum())
    assert inside > 1000


def test_the_official_code_clips_all_gradients_before_it_masks_the_named_ones():
    """Every gradient 1: n of them are as long as the root of n, and are cut to a length of 1. Steps down are free."""
    model, method = stranger(), MMUnlearner(official_code=True)
    named = dict(model.module.named_parameters())
    masks = Masks({n: Mask.of(p, lambda piece: torch.zeros_like(piece, dtype=torch.bool)) for n, p in named.items()})
    worded = {name for name in named if any(word in name for word in WORDS)}
    assert worded and set(named) - worded
    slopes = Slopes(model)
    clear = method._clearing(named, masks, slopes)
    cut = sum(p.numel() for p in named.values()) ** -0.5
    for slopes.climbs in (False, True):
        for p in named.values():
            p.grad = torch.ones_like(p)
        clear()
        for name, p in named.items():
            wanted = 1.0 if not slopes.climbs else 0.0 if name in worded else cut
            torch.testing.assert_close(p.grad, torch.full_like(p, wanted), rtol=1e-3, atol=0)


@pytest.mark.parametrize("adapters", [False, True])
def test_nothing_moves_outside_the_mask_in_50_steps_of_adamw_with_decay(adapters):
    if adapters:
        pytest.importorskip("peft")
    method = MMUnlearner(epochs=1, least_steps=25, lr=1e-2, batch=4)
    model = stranger().adapt(rank=4, dropout=0.0) if adapters else stranger()
    masks = method.masks(model, SPLITS, Run(seed=0))
    before = {n: p.detach().clone() for n, p in model.module.named_parameters()}
    run = Run(seed=0)
    assert method.schedule(2, 6).weight_decay > 0
    method.unlearn(model, SPLITS, run)
    assert len(run.terms) == 50
    inside = outside = 0
    for name, p in model.module.named_parameters():
        changed = p.detach() != before[name]
        mask = masks[name].unpacked() if name in masks else torch.zeros_like(changed)
        assert not (changed & ~mask).any(), name
        inside, outside = inside + int(changed.sum()), outside + int((~mask & p.requires_grad).sum())
    assert inside > 1000 and outside > (100 if adapters else 5000)


def test_with_adapters_the_masks_bear_the_names_of_what_is_trained():
    pytest.importorskip("peft")
    model = stranger().adapt(rank=4, dropout=0.0)
    masks = MMUnlearner().masks(model, SPLITS, Run(seed=0))
    trained = {n for n, p in model.module.named_parameters() if p.requires_grad}
    assert set(masks) == trained and all("lora_" in name for name in trained)
    second = {n for n in trained if "lora_B" in n}
    assert any(0 < masks[n].count() < len(masks[n]) for n in second)  # no empty words: they do hold something
    plain = MMUnlearner(moved="language").masks(stranger(), SPLITS, Run(seed=0))
    assert set(adapted(model.module)) <= set(plain)  # masks of the model without adapters find its layers
    bare = {plain_name(n) for n, p in model.module.named_parameters() if not p.requires_grad}
    assert set(plain) <= bare


@pytest.mark.parametrize("part, still", [("vision", "language"), ("language", "vision")])
def test_one_mask_alone_leaves_the_other_part(part, still):
    run, model = Run(seed=0), stranger()
    before = {n: p.detach().clone() for n, p in model.module.named_parameters()}
    MMUnlearner(**STEPS, moved=part).unlearn(model, SPLITS, run)
    found = groups(model)
    assert all(torch.equal(p, before[n]) for n, p in found[still].items())
    assert any(not torch.equal(p, before[n]) for n, p in found[part].items())
    assert run.facts[f"mask_share_{still}"] == 0 < run.facts[f"mask_share_{part}"] < 1


def test_the_official_code_moves_what_the_paper_holds():
    """Its descent steps are not masked, decay is not held, and names without one of its words are free."""
    run, model = Run(seed=0), stranger()
    method = MMUnlearner(**STEPS, official_code=True, threshold=math.inf)
    before = {n: p.detach().clone() for n, p in model.module.named_parameters()}
    method.unlearn(model, SPLITS, run)
    reached = {n: p for n, p in model.module.named_parameters() if p.ndim > 1 and p.grad is not None}
    assert len(reached) > 20 and all(not torch.equal(p, before[n]) for n, p in reached.items())
    turns = ["forget" in line for line in run.terms]
    period = 1 + len(seen(SPLITS.retain)) // len(seen(SPLITS.forget))
    assert turns == [i % period == 0 for i in range(len(turns))] and period == 4


def test_the_official_code_masks_the_ascent_of_named_weights():
    """Where there has never been a gradient AdamW moves a weight by its decay alone; here in one step."""
    method = MMUnlearner(epochs=1, least_steps=0, lr=1e-3, batch=9, official_code=True, threshold=math.inf)
    only = Splits(PICTURED.forget, ())
    free, model, held = moved(method, only), stranger(), 0
    for name, p in model.module.named_parameters():
        named = any(word in name for word in WORDS)
        decay = torch.full_like(p, 0.0) if p.ndim <= 1 else -1e-3 * 0.02 * p.detach()
        if named and free[name].any():  # AdamW leaves alone what the loss never reaches
            held += 1
            torch.testing.assert_close(free[name], decay, atol=1e-7, rtol=0.1)
    assert held > 10 and free["model.language_model.embed_tokens.weight"].abs().max() > 5e-4  # no word in its name


def test_nan_is_refused():
    model = stranger()
    with torch.no_grad():
        next(model.parts()["vision"].parameters()).fill_(math.nan)
    with pytest.raises((FloatingPointError, ValueError), match="not finite|NaN"):
        MMUnlearner(**STEPS).unlearn(model, SPLITS, Run(seed=0))


def test_importances_are_float32_where_weights_are_half():
    """In half precision squares of 1e-5 would all be 0, and every ratio 1."""
    model = stranger()
    model.module.to(torch.bfloat16)
    masks = MMUnlearner().masks(model, SPLITS, Run(seed=0))
    share = masks.count() / sum(map(len, masks.values()))
    assert 0.05 < share < 0.95
    full = MMUnlearner().masks(stranger(), SPLITS, Run(seed=0))
    agree = sum((masks[n].unpacked() == full[n].unpacked()).sum() for n in full) / sum(map(len, full.values()))
    assert agree > 0.9


def test_without_a_picture_there_is_nothing_to_forget():
    with pytest.raises(ExpungeError, match="no example to forget has a picture"):
        MMUnlearner().unlearn(stranger(), replace(SPLITS, forget=tuple(words(SPLITS.forget))), Run())


def test_questions_in_words_alone_are_never_climbed():
    asked = []
    model = stranger()
    collate = model.collate
    model.collate = lambda examples: asked.append(list(examples)) or collate(examples)
    method = MMUnlearner(**STEPS)
    masks = method.masks(model, SPLITS, Run(seed=0))
    assert any(not e.pictured for some in asked for e in some) and masks
    asked.clear()
    object.__setattr__(method, "masks", lambda *_: masks)
    run = Run(seed=0)
    method.unlearn(model, SPLITS, run)
    assert asked and all(e.pictured for some in asked for e in some)
    assert sum("forget" in line for line in run.terms) == 3, "as many steps up as asked for, and none without examples"
