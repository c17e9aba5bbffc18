"""One bit per weight: packed, joined, saved and applied as a bool of the same shape would be; and it holds."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.train import ranking
from expunge.train.fit import Schedule, fit
from expunge.train.masks import Mask, Masks, greatest, only_inside, outweighing
from toy import Toy
from toy_splits import SPLITS, fresh

flags = st.lists(st.booleans(), min_size=0, max_size=50)


def mask(chosen, shape=None):
    x = torch.tensor(chosen, dtype=torch.float32)
    return Mask.of(x.reshape(shape) if shape else x, lambda piece: piece > 0)


@settings(deadline=None)
@given(flags, st.data())
def test_bits_are_bools(chosen, data):
    other = data.draw(st.lists(st.booleans(), min_size=len(chosen), max_size=len(chosen)))
    a, b = mask(chosen), mask(other)
    assert len(a) == len(chosen) and a.bits.numel() == -(-len(chosen) // 8)
    assert a.count() == sum(chosen) and (~a).count() == len(chosen) - sum(chosen)
    assert (a & b).unpacked().tolist() == [x and y for x, y in zip(chosen, other)]
    assert (a | b).unpacked().tolist() == [x or y for x, y in zip(chosen, other)]
    assert (~a).unpacked().tolist() == [not x for x in chosen]
    assert torch.equal((~~a).bits, a.bits)


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 3, 4), (0, 3), (33, 31)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_is_zero_outside_and_itself_inside(shape, dtype, monkeypatch):
    monkeypatch.setattr(ranking, "CHUNK", 64)
    inside = torch.rand(shape) > 0.5
    made = Mask.of(inside.float(), lambda piece: piece > 0)
    gradient = torch.randn(shape).to(dtype)
    wanted = torch.where(inside, gradient, torch.zeros_like(gradient))
    gradient = torch.where(inside, gradient, torch.full_like(gradient, math.nan))  # times zero would stay NaN
    made.apply_(gradient)
    assert torch.equal(gradient, wanted) and torch.equal(made.unpacked(), inside)


def test_a_gradient_without_a_mask_is_zero_everywhere():
    held, free = torch.tensor([1.0, 2.0, 3.0]), torch.full((2, 2), math.nan)
    Masks(held=mask([1, 0, 1])).apply_({"held": held, "free": free, "none": None})
    assert held.tolist() == [1.0, 0.0, 3.0] and not free.any()


def test_masks_of_other_weights_are_refused():
    with pytest.raises(ValueError, match="same weights"):
        _ = mask([1, 0, 1, 0]) & mask([1, 0, 1, 0], (2, 2))
    with pytest.raises(ValueError, match="not of"):
        mask([1, 0]).apply_(torch.zeros(3))
    with pytest.raises(ValueError, match="contiguous"):
        mask([1, 0, 1, 0, 1, 0], (3, 2)).apply_(torch.zeros(2, 3).T)


def test_masks_are_saved_as_bits_and_come_back(tmp_path):
    torch.manual_seed(0)
    made = greatest({"a": torch.randn(40, 33), "b.c": torch.randn(5), "empty": torch.empty(0, 4)}, 0.3)
    made.save(tmp_path / "masks.safetensors")
    back = Masks.load(tmp_path / "masks.safetensors")
    assert back.keys() == made.keys() and all(torch.equal(back[n].bits, made[n].bits) for n in made)
    assert [m.shape for m in back.values()] == [(40, 33), (5,), (0, 4)]
    assert (tmp_path / "masks.safetensors").stat().st_size < (40 * 33 + 5) / 8 + 400


def test_a_file_that_holds_no_masks_is_refused(tmp_path):
    from safetensors.torch import save_file

    for name, content, told in [
        ("plain", {"a": torch.zeros(3)}, None),
        ("short", {"a": torch.zeros(3, dtype=torch.uint8)}, {"shapes": '{"a": [99]}'}),
        ("wide", {"a": torch.zeros(3)}, {"shapes": '{"a": [24]}'}),
    ]:
        save_file(content, str(tmp_path / name), metadata=told)
        with pytest.raises(ExpungeError, match=name):
            Masks.load(tmp_path / name)
    (tmp_path / "noise").write_bytes(b"no safetensors at all")
    with pytest.raises(ExpungeError, match="noise"):
        Masks.load(tmp_path / "noise")


@settings(deadline=None)
@given(st.integers(0, 300), st.floats(0, 1))
def test_the_greatest_are_those_that_a_sort_would_take(count, share):
    x = torch.randn(count + 1)
    made = greatest({"a": x[:7], "b": x[7:]}, share)
    wanted = round(share * len(x))
    order = x.abs().argsort(descending=True)[:wanted]
    found = torch.cat([made["a"].unpacked().flatten(), made["b"].unpacked().flatten()])
    assert sorted(found.nonzero().flatten().tolist()) == sorted(order.tolist())


def test_what_is_zero_is_never_among_the_greatest_and_equals_are_all_in():
    assert greatest({"a": torch.tensor([0.0, 0.0, 0.0, 1.0])}, 0.75)["a"].unpacked().tolist() == [False] * 3 + [True]
    assert greatest({"a": torch.tensor([2.0, -2.0, 2.0, 1.0])}, 0.5).count() == 3
    assert greatest({"a": torch.ones(4)}, 0.0).count() == 0
    with pytest.raises(ValueError, match="share"):
        greatest({"a": torch.ones(4)}, 1.2)


def test_a_weight_is_in_where_the_forgotten_outweigh_the_retained():
    forget = {"a": torch.tensor([2.0, 1.0, 0.0, 1e-3]), "only": torch.ones(2)}
    retain = {"a": torch.tensor([1.0, 2.0, 0.0, 0.0])}
    assert outweighing(forget, retain)["a"].unpacked().tolist() == [True, False, True, True]  # 0 against 0: no less
    assert outweighing(forget, retain, 3.0)["a"].unpacked().tolist() == [False, False, False, True]
    assert outweighing(forget, retain)["only"].count() == 2
    with pytest.raises(ValueError, match="importance of a"):
        outweighing({"a": torch.tensor([math.nan])}, {})


def test_the_ratio_is_the_quotients_where_that_can_be_computed():
    torch.manual_seed(0)
    f, r = torch.rand(5000, dtype=torch.float32) ** 4, torch.rand(5000) ** 4
    for factor in (0.5, 1.0, 2.0, 10.0):
        wanted = (f + 1e-15).double() / (r + 1e-15).double() >= factor
        differs = outweighing({"a": f}, {"a": r}, factor)["a"].unpacked() != wanted
        assert differs.sum() <= 1  # a tie may round either way


def trained(hold: bool, clear: bool, steps: int = 50):
    """A toy after AdamW with decay, its first weights, and masks of half of them."""
    model = fresh(Toy)
    named = dict(model.module.named_parameters())
    torch.manual_seed(1)
    masks = Masks({n: Mask.of(torch.rand(p.shape), lambda x: x > 0.5) for n, p in named.items() if n != "head.bias"})
    before = {n: p.detach().clone() for n, p in named.items()}

    def loss(forget, _):
        return {"task": -model.loss(model.collate(forget)).mean()}

    def clear_outside():
        masks.apply_({n: p.grad for n, p in named.items()})

    schedule = replace(Schedule(steps, 1e-2, len(SPLITS.forget)), weight_decay=0.5)
    assert schedule.steps(len(SPLITS.forget)) == steps
    holding = only_inside(named, masks) if hold else torch.enable_grad()
    with holding:
        fit(model, loss, SPLITS, Run(), schedule, after_backward=clear_outside if clear else None)
    return named, before, masks


def moved_outside(named, before, masks):
    none = torch.zeros((), dtype=torch.bool)
    return sum(
        int(((named[n] != before[n]) & ~(masks[n].unpacked() if n in masks else none)).sum()) for n in named
    )  # fmt: skip


@pytest.mark.parametrize("clear", [True, False])
def test_nothing_moves_outside_the_mask_in_50_steps_of_adamw_with_decay(clear):
    named, before, masks = trained(hold=True, clear=clear)
    assert moved_outside(named, before, masks) == 0
    inside = sum(int((named[n] != before[n])[masks[n].unpacked()].sum()) for n in masks)
    assert inside > 0.3 * masks.count()


def test_without_holding_decay_moves_what_has_no_gradient():
    assert moved_outside(*trained(hold=False, clear=True, steps=2)) > 0


def test_the_hold_ends_with_the_block():
    p = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([p], lr=0.1)
    p.grad = torch.ones(3)
    with only_inside({"p": p}, Masks({"p": mask([1, 0, 0])})):
        optimizer.step()
        assert p.tolist() == pytest.approx([0.9, 1, 1])
    optimizer.step()
    assert p.tolist() == pytest.approx([0.8, 0.9, 0.9])
