"""What CSE computes, against numbers worked out by hand or pair by pair."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from tests.methods.test_cse import FREE
from torch.nn import functional as F

from expunge.core.types import Encoded
from expunge.generators.shapes import Anchors
from expunge.methods.training.cse import Editor
from expunge.testing import small_albef, small_answers, small_splits, unacquainted_albef


@pytest.fixture(scope="module")
def splits():
    return small_splits(1)


@pytest.fixture(scope="module")
def others(splits):
    return [e for e in splits.retain if e.source == "people"][: len(splits.forget)]


@pytest.fixture(scope="module")
def anchors(others):
    return Anchors([[e.image.open(16)] for e in others], [[e.text] for e in others])


def test_every_row_draws_one_of_its_own_pictures_and_texts(splits):
    forget = [splits.forget[i] for i in (2, 0, 1)]
    texts = [[f"{'one two three four'.split()[j]} of {i}" for j in range(4)] for i in range(len(splits.forget))]
    anchors = Anchors([[e.image.open(16)] * 4 for e in splits.forget], texts)
    model = small_albef()
    editor = Editor(replace(FREE, alpha_site="off", alpha_over="one"), model, splits, anchors, 0)
    collate, read = model.collate, []
    model.collate = lambda some: read.append(list(some)) or collate(some)
    for _ in range(20):
        editor.terms(forget, ())
    drawn = {"picture": [], "text": []}
    for x, r1, r2 in zip(read[::3], read[1::3], read[2::3], strict=True):
        assert x == forget
        assert [e.text for e in r1] == [e.text for e in forget]
        assert [e.image for e in r2] == [e.image for e in forget]
        own = [e.image.key.split(":") for e in r1]
        assert [(mark, row) for mark, row, _ in own] == [("R1", "2"), ("R1", "0"), ("R1", "1")]
        drawn["picture"].append(tuple(int(j) for _, _, j in own))
        drawn["text"].append(tuple(texts[i].index(e.text) for e, i in zip(r2, (2, 0, 1), strict=True)))
    for found in drawn.values():
        assert all(set(column) == {0, 1, 2, 3} for column in zip(*found, strict=True))
        assert sum(len(set(row)) > 1 for row in found) > 10  # every row for itself


def test_the_losses_and_their_bounds_pair_by_pair(splits, others, anchors):
    """L_N and L_P of the docstring from single pairs' S and p; each bound holds some of the pairs and not others."""
    model = unacquainted_albef()
    tau = model.temperature.item()

    def pair(picture, told):
        batch = model.collate([replace(told, image=picture.image)])
        image, text = model.encode_images(batch), model.encode_texts(batch)
        fused = model.fuse(image, text)
        return torch.dot(image.feature[0], text.feature[0]).item(), fused.logits[0].softmax(0)[1].item()

    with torch.no_grad():
        rows = [(pair(e, e), pair(e, o), pair(o, e)) for e, o in zip(splits.forget, others, strict=True)]
    (s, p), (s1, p1), (s2, p2) = (zip(*column, strict=True) for column in zip(*rows, strict=True))
    count = len(rows)
    floor, match_floor, *ceilings = (sum(sorted(some)[2:4]) / 2 for some in (s, p, s1, s2))
    push = sum(max(math.log(b), math.log(match_floor)) + max(a, floor) / tau + math.log(2) for a, b in zip(s, p))
    for ceiling in ceilings:
        pull = sum(
            math.log(b + d) + (min(a, ceiling) + min(c, ceiling)) / (2 * tau) for a, b, c, d in zip(s1, p1, s2, p2)
        )
        bounded = replace(FREE, alpha_site="off", floor=floor, ceiling=ceiling, match_floor=match_floor)
        terms = Editor(bounded, model, splits, anchors, 0).terms(splits.forget, ())
        assert terms["n"].item() == pytest.approx(push / count, rel=1e-3)
        assert terms["p"].item() == pytest.approx(-pull / count, rel=1e-3)


def turned(*degrees):
    """One text whose tokens are arrows of these directions: CLS, words, SEP."""
    angles = torch.tensor(degrees) * math.pi / 180
    tokens = torch.stack([angles.cos(), angles.sin()], 1)[None]
    return Encoded(torch.zeros(1, 2), tokens, torch.ones(1, len(degrees), dtype=torch.long))


def cos(degrees):
    return math.cos(degrees * math.pi / 180)


SOFT = [cos(20), cos(40)]  # of words at 0 and 60 degrees, beside words at 20 and 180
HALF = sum(SOFT) / 2


@pytest.mark.parametrize(
    "options, words, back",
    [
        ({}, SOFT, [cos(20), 0.0]),  # 180 is opposite or worse to both
        ({"alpha_hard": 0.8}, [1.0, 0.0], [1.0, 0.0]),
        ({"alpha_hard": 0.95}, [0.0, 0.0], [0.0, 0.0]),
        ({"alpha_p1": "mean"}, SOFT, [HALF, HALF]),
        ({"alpha_p1": "mean", "alpha_hard": 0.8}, [1.0, 0.0], [0.5, 0.5]),
    ],
)
@pytest.mark.parametrize("centre", [None, (5.0, -3.0)])
def test_alpha_is_the_greatest_cosine_of_a_word_with_any_of_the_others(splits, anchors, options, words, back, centre):
    """CLS and SEP point alike in both texts: counted as words they would be nearer than any."""
    editor = Editor(
        replace(FREE, alpha_encoder="current", alpha_centre=False, **options), small_albef(), splits, anchors, 0
    )
    text, text_r = turned(45, 0, 60, 45), turned(45, 20, 180, 45)
    if centre:
        editor.centre = torch.tensor(centre)
        text, text_r = (t._replace(tokens=t.tokens + editor.centre) for t in (text, text_r))
    alpha, transposed = editor._alpha({}, {}, text, text_r, [])
    assert alpha[0, 1:3].tolist() == pytest.approx(words, abs=1e-5)
    assert transposed[0, 1:3].tolist() == pytest.approx(back, abs=1e-5)
    assert editor.alphas[0].tolist() == pytest.approx(words, abs=1e-5)


def test_further_texts_of_the_sample_raise_alpha_and_not_its_transpose(splits, anchors):
    model = small_albef()
    editor = Editor(replace(FREE, alpha_encoder="current", alpha_centre=False), model, splits, anchors, 0)
    model.encode_texts = lambda batch: batch["text"]
    further = [{"text": turned(45, 70, 45)}, {"text": turned(45, 300, 45)}]
    alpha, back = editor._alpha({}, {}, turned(45, 0, 60, 45), turned(45, 20, 180, 45), further)
    assert alpha[0, 1:3].tolist() == pytest.approx([cos(20), cos(10)], abs=1e-5)
    assert back[0, 1:3].tolist() == pytest.approx([cos(20), 0.0], abs=1e-5)


@pytest.mark.parametrize("encoder", ["reference", "current"])
def test_alpha_is_read_off_the_model_as_it_was_or_as_it_is(splits, others, anchors, encoder):
    """Word by word from the one model or the other, after the text encoder has moved."""
    model, before = unacquainted_albef(), unacquainted_albef()
    editor = Editor(replace(FREE, alpha_encoder=encoder, alpha_centre=False), model, splits, anchors, 0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.module.text_encoder.parameters():
            parameter.mul_(1 + torch.randn_like(parameter))
    editor.terms(splits.forget, ())

    def words(reader, example):
        text = reader.encode_texts(reader.collate([example]))
        return F.normalize(text.tokens[0, 1 : int(text.mask.sum()) - 1], dim=1)

    found = {}
    with torch.no_grad():
        for name, reader in (("reference", before), ("current", model)):
            pairs = zip(splits.forget, others, strict=True)
            found[name] = torch.cat([(words(reader, e) @ words(reader, o).T).amax(1).clamp(0, 1) for e, o in pairs])
    (alpha,) = editor.alphas
    torch.testing.assert_close(alpha, found[encoder], atol=1e-4, rtol=0)
    assert (found["reference"] - found["current"]).abs().max() > 0.05


def test_the_centre_is_the_mean_of_all_words(splits, others, anchors):
    """Of the forgotten, of their anchors and of what is kept, text by text; CLS and SEP are no words."""
    few = replace(splits, retain=splits.retain[:5])
    model = unacquainted_albef()
    words = []
    with torch.no_grad():
        for example in (*few.forget, *others, *few.retain):
            text = model.encode_texts(model.collate([example]))
            words.append(text.tokens[0, 1 : int(text.mask.sum()) - 1])
    centre = Editor(replace(FREE, alpha_site="off"), model, few, anchors, 0).centre
    torch.testing.assert_close(centre, torch.cat(words).mean(0), atol=1e-5, rtol=1e-4)
    assert len({len(some) for some in words}) > 2  # and not the mean of texts' means
    assert Editor(replace(FREE, alpha_site="off", alpha_centre=False), model, few, anchors, 0).centre == 0.0


def test_questions_are_given_the_answers_of_the_generated_texts_by_their_shares():
    """Three of four texts name the right colour and one a wrong one; nobody names the others."""
    whole = small_splits(1, "multiple_choice")
    first = next(e for e in whole.forget if e.kind == "shared" and "hair" in (e.question or ""))
    right, wrong = first.answer, next(c for c in first.choices if c != first.answer)
    texts = [f"somebody with {right} hair"] * 3 + [f"somebody with {wrong} hair"]
    model = small_answers()
    options = replace(FREE, alpha_site="loss_scalar")
    editor = Editor(options, model, replace(whole, forget=(first,)), Anchors([[first.image.open(16)]], [texts]), 0)
    times = 400
    batch, speaks = editor._answered([first] * times, [0] * times)
    counts = Counter(first.choices[i] for i in batch["target"].tolist())
    assert set(counts) == {right, wrong} and speaks.all()
    assert counts[right] / times == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / times) ** 0.5)
    editor.terms((first,), ())
    assert torch.cat(editor.alphas).tolist() == [0.75]
    hard = Editor(
        replace(options, alpha_hard=0.8), model, replace(whole, forget=(first,)),
        Anchors([[first.image.open(16)]], [texts]), 0,
    )  # fmt: skip
    hard.terms((first,), ())
    assert torch.cat(hard.alphas).tolist() == [0.0]
