"""What MultiDelete's paper promises of its three losses."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from expunge.core.run import Run
from expunge.core.types import Splits
from expunge.methods.training.multidelete import Eraser, MultiDelete, fused
from expunge.train.reference import reference
from toy import Toy, ToyAnswers, person
from toy_splits import KINDS, SPLITS, fresh, gradients, largest


def terms(kind, options=None, forget=SPLITS.forget, retain=SPLITS.retain):
    model = fresh(kind)
    return model, Eraser(options or MultiDelete(), model, 0).terms(forget, retain)


@pytest.mark.parametrize("kind", KINDS)
def test_what_holds_still_is_zero_at_the_original_and_decoupling_is_not(kind):
    model, found = terms(kind)
    assert found["multi"].item() == 0.0 and found["uni"].item() == 0.0
    assert largest(gradients(model, found, {"multi", "uni"})) == 0.0
    model, found = terms(kind)
    assert found["md_fused"].item() > 1e-4 and largest(gradients(model, found, {"md_fused"})) > 1e-5
    assert ("md" in found) == (kind is Toy)


@pytest.mark.parametrize("kind", KINDS)
def test_switches_leave_out_their_term(kind):
    off = {"md", "md_fused"} if kind is Toy else {"md_fused"}
    _, every = terms(kind)
    assert set(every) == off | {"multi", "uni"}
    for options, gone in (
        (MultiDelete(decoupling=False), off),
        (MultiDelete(multimodal=False), {"multi"}),
        (MultiDelete(unimodal="off"), {"uni"}),
    ):
        assert set(terms(kind, options)[1]) == set(every) - gone
    assert set(terms(Toy, MultiDelete(decouple="fused"))[1]) == {"md_fused", "multi", "uni"}
    assert set(terms(Toy, MultiDelete(decouple="similarity"))[1]) == {"md", "multi", "uni"}
    # There is no similarity that a choosing model ranks by: it decouples its fused states whatever is asked.
    assert "md_fused" in terms(ToyAnswers, MultiDelete(decouple="similarity"))[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_released_variant_lets_texts_move(kind):
    for unimodal, moves in (("both", True), ("image", False)):
        model = fresh(kind)
        eraser = Eraser(MultiDelete(unimodal=unimodal, decoupling=False, multimodal=False), model, 0)
        with torch.no_grad():
            model.module.read.weight.mul_(0.5).add_(0.3)
        assert (eraser.terms(SPLITS.forget, ())["uni"].item() > 0) == moves


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_held_is_held_by_its_mean_squared_distance(kind):
    """From where it was, on a model that has moved: each encoder's output, and the fused CLS of the retained."""
    model, before = fresh(kind), fresh(kind)
    erasers = {how: Eraser(MultiDelete(unimodal=how), model, 0) for how in ("both", "image", "off")}
    with torch.no_grad():
        model.module.see.weight.mul_(1.5).add_(0.2)
        model.module.read.weight.mul_(0.5).add_(0.3)
    found = {how: eraser.terms(SPLITS.forget, SPLITS.retain) for how, eraser in erasers.items()}

    def apart(encode, examples):
        now, then = (getattr(m, encode)(m.collate(examples)) for m in (model, before))
        if kind is Toy:
            return (now.feature - then.feature).square().mean().item()
        gaps = (now.tokens - then.tokens).square().mean(2)[now.mask == 1]  # all tokens alike, padding apart
        return gaps.mean().item()

    image, text = apart("encode_images", SPLITS.forget), apart("encode_texts", SPLITS.forget)
    assert min(image, text) > 1e-3 and abs(image - text) > 1e-3
    assert found["image"]["uni"].item() == pytest.approx(image, rel=1e-4)
    assert found["both"]["uni"].item() == pytest.approx(image + text, rel=1e-4)
    assert "uni" not in found["off"]
    now, then = (
        m.fuse(m.encode_images(batch), m.encode_texts(batch)).states[:, 0]
        for m, batch in ((m, m.collate(SPLITS.retain)) for m in (model, before))
    )
    assert found["off"]["multi"].item() == pytest.approx((now - then).square().mean().item(), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fused_term_draws_the_pair_to_what_strangers_were(kind):
    """Two pictures of one text each: each goes to where its picture stood beside the other's text."""
    forget = (SPLITS.forget[2], SPLITS.forget[6])
    assert forget[0].group != forget[1].group
    model, before = fresh(kind), fresh(kind)
    eraser = Eraser(MultiDelete(), model, 0)
    with torch.no_grad():
        model.module.see.weight.mul_(1.5).add_(0.2)
    batch = model.collate(forget)
    now = model.fuse(model.encode_images(batch), model.encode_texts(batch)).states[:, 0]
    swapped = before.collate([replace(forget[1], image=forget[0].image), replace(forget[0], image=forget[1].image)])
    then = before.fuse(before.encode_images(swapped), before.encode_texts(swapped)).states[:, 0]
    found = eraser.terms(forget, ())["md_fused"].item()
    assert found == pytest.approx((now - then).square().mean().item(), rel=1e-4)


def test_the_similarity_term_is_the_papers_formula():
    """With two pictures of one text each, the only permutation without fixed points is the swap."""
    forget = (person("f0")[2], person("f1")[2])
    model = fresh(Toy)
    found = Eraser(MultiDelete(), model, 0).terms(forget, ())
    batch = model.collate(forget)
    image, text = model.encode_images(batch).feature, model.encode_texts(batch).feature
    expected = 2 * F.mse_loss(image @ text.T, image @ text.flip(0).T)
    assert found["md"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_picture_to_forget_borrows_strangers_from_what_is_retained(kind):
    one = SPLITS.forget[:4]
    assert {e.group for e in one} == {"f0"}
    assert terms(kind, forget=one[:1])[1]["md_fused"].item() > 0
    with pytest.raises(ValueError, match="single pair"):
        terms(kind, forget=one[:1], retain=())


@pytest.mark.parametrize("kind", KINDS)
def test_the_forgotten_become_strangers(kind):
    model, run, forget = fresh(kind), Run(seed=0), SPLITS.forget
    original = reference(model)
    options = MultiDelete(epochs=30, lr=1e-2, batch=4, unimodal="off")
    after = options.unlearn(model, SPLITS, run)
    assert len(run.terms) == 90

    def moved(examples):
        with torch.no_grad():
            batch = model.collate(examples)
            return F.mse_loss(fused(after, batch), fused(original, batch)).item()

    assert moved(forget) > 2 * moved(SPLITS.retain)


def test_every_step_sees_equal_batches(monkeypatch):
    sizes = []
    original = Eraser.terms
    monkeypatch.setattr(Eraser, "terms", lambda self, f, r: sizes.append((len(f), len(r))) or original(self, f, r))
    MultiDelete(epochs=1, least_steps=0, batch=5).unlearn(fresh(Toy), SPLITS, Run(seed=0))
    assert sizes == [(5, 5), (5, 5), (2, 2)]


def test_a_last_pair_alone_borrows_the_texts_of_the_other_forgotten():
    forget = (*SPLITS.forget[:2], replace(SPLITS.forget[-1], group="somebody else"))
    run = Run(seed=0)
    replace(MultiDelete(), epochs=1, least_steps=0, batch=2).unlearn(fresh(Toy), Splits(forget, ()), run)
    assert len(run.terms) == 2


def test_the_least_number_of_steps_adds_epochs():
    run = Run(seed=0)
    replace(MultiDelete(), epochs=1, least_steps=7, batch=6).unlearn(fresh(Toy), SPLITS, run)
    assert len(run.terms) == 8
