"""What the paper's equations promise of CSE."""

import random
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from expunge.backbones.blip.answers import BlipAnswers
from expunge.core.cache import cached
from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.core.spec import digest
from expunge.generators import mvi
from expunge.generators.shapes import Anchors
from expunge.methods.training.cse import CSE, Editor, inner, log_chance, mean_over, retold
from expunge.testing import (
    acquainted_albef,
    acquainted_splits,
    lend,
    small_albef,
    small_answers,
    small_blip,
    small_entailment,
    small_splits,
    stirred,
)

FREE = CSE(floor=-1.0, ceiling=1.0, match_floor=1e-30, retain_weight=0.0)  # the paper: no bounds, no retained data


@pytest.fixture(scope="module")
def splits():
    return small_splits(1)


@pytest.fixture(scope="module")
def same(splits):
    """Anchors that equal what must be forgotten."""
    return Anchors([[e.image.open(16)] for e in splits.forget], [[e.text] for e in splits.forget])


@pytest.fixture(scope="module")
def other(splits):
    others = [e for e in splits.retain if e.source == "people"][: len(splits.forget)]
    return Anchors([[e.image.open(16)] for e in others], [[e.text] for e in others])


def gradients(options, splits, anchors, names=("n", "p")):
    model = small_albef()
    terms = Editor(options, model, splits, anchors, 0).terms(splits.forget, ())
    sum(terms[n] for n in names if n in terms).backward()
    return {k: v.grad.clone() for k, v in model.module.named_parameters() if v.grad is not None}, terms


def gap(one, two):
    return max((one.get(k, torch.zeros(())) - two.get(k, torch.zeros(()))).abs().max().item() for k in one | two)


def test_the_loss_vanishes_when_anchors_equal_the_sample(splits, same):
    _, terms = gradients(replace(FREE, alpha_site="off"), splits, same)
    assert (terms["n"] + terms["p"]).item() == pytest.approx(0.0, abs=1e-4)


def test_without_alpha_the_gradient_of_equal_anchors_vanishes_too(splits, same):
    found, _ = gradients(replace(FREE, alpha_site="off"), splits, same)
    assert max(g.abs().max().item() for g in found.values()) < 1e-4


@pytest.mark.parametrize(("alpha", "left"), [(1.0, "p"), (0.0, "n")])
def test_alpha_at_its_ends_leaves_one_kind_of_pair(splits, other, alpha, left):
    both, _ = gradients(replace(FREE, alpha_site="fixed", alpha_fixed=alpha), splits, other)
    alone, _ = gradients(replace(FREE, alpha_site="off"), splits, other, names=(left,))
    assert gap(both, alone) < 1e-6


def test_switches_leave_out_their_pairs(splits, other):
    for switch, left in (("p_pairs", {"n"}), ("n_pairs", {"p"})):
        _, terms = gradients(replace(FREE, **{switch: False}), splits, other)
        assert set(terms) == left


@pytest.mark.parametrize("site", ["fused_in", "text_tokens", "xattn_out", "loss_scalar"])
def test_alpha_changes_gradients_never_the_loss(splits, other, site):
    plain, off = gradients(replace(FREE, alpha_site="off"), splits, other)
    scaled, on = gradients(replace(FREE, alpha_site=site), splits, other)
    assert all(torch.allclose(off[k], on[k], atol=1e-5) for k in off)
    assert gap(plain, scaled) > 1e-6


def test_uniform_alpha_before_the_last_layer_is_a_weight_on_the_loss(splits, other, monkeypatch):
    """Upstream of the last fusion layer ``fused_in`` with one alpha for all tokens equals ``fixed``."""
    half = lambda self, x, a2, text, text_r, others: tuple(torch.full(t.mask.shape, 0.3) for t in (text, text_r))  # noqa: E731
    weighted, _ = gradients(replace(FREE, alpha_site="fixed", alpha_fixed=0.3), splits, other)
    monkeypatch.setattr(Editor, "_alpha", half)
    tapped, _ = gradients(replace(FREE, alpha_site="fused_in"), splits, other)
    upstream = [k for k in weighted if k.startswith(("visual_encoder", "vision_proj", "text_encoder.embeddings"))]
    assert len(upstream) > 10
    assert gap({k: weighted[k] for k in upstream}, {k: tapped[k] for k in upstream}) < 1e-5


def test_alpha_is_one_on_repeated_words_and_in_range(splits, same, other):
    for anchors, sure in ((same, True), (other, False)):
        model = small_albef()
        editor = Editor(FREE, model, splits, anchors, 0)
        editor.terms(splits.forget, ())
        (alpha,) = editor.alphas
        assert alpha.min() >= 0 and alpha.max() <= 1 + 1e-5
        assert (alpha.min() > 0.999) == sure


def test_a_word_is_shared_if_any_description_holds_it(splits, same, other):
    """With the sample's own sentence among its R_2 every word is found, whichever R_2 the step takes."""
    both = Anchors(other.pictures, [[*o, *s] for o, s in zip(other.texts, same.texts, strict=True)])
    found = {}
    for over in ("one", "all"):
        editor = Editor(replace(FREE, alpha_over=over), small_albef(), splits, both, 0)
        editor.terms(splits.forget, ())
        found[over] = editor.alphas[0]
    assert found["all"].min() > 0.999 > found["one"].min()


def test_bounded_terms_stop_pushing(splits, other):
    done = replace(FREE, floor=1.0, match_floor=1.0, alpha_site="off")
    found, _ = gradients(done, splits, other, names=("n",))
    assert not found or max(g.abs().max().item() for g in found.values()) == 0.0


def test_bounds_are_read_off_the_model(splits, other):
    """What strangers' cosine is, no pair is pushed below; what a true pair's is, none is pulled above."""
    model, whole = acquainted_albef(), acquainted_splits()
    count = len(whole.forget)
    batch = model.collate(whole.near)
    assert 1 < len(whole.near) <= 128
    with torch.no_grad():
        cosine = model.encode_images(batch).feature @ model.encode_texts(batch).feature.T
    strangers = batch["groups"][:, None] != batch["groups"][None]
    anchors = Anchors([other.pictures[0]] * count, [other.texts[0]] * count)
    measured = Editor(CSE(alpha_site="off"), model, whole, anchors, 0)
    assert strangers.any()
    rng = random.Random("cse:0")  # the editor's own draw
    some = rng.sample(whole.near, len(whole.near))
    batch = model.collate(some)
    rows, columns = (batch["groups"][:, None] != batch["groups"][None]).nonzero().T
    pick = torch.tensor(rng.sample(range(len(rows)), min(128, len(rows))))
    with torch.no_grad():
        mixed = model.fuse(model.encode_images(batch).take(rows[pick]), model.encode_texts(batch).take(columns[pick]))
    assert measured.match_floor == pytest.approx(F.softmax(mixed.logits, -1)[:, 1].mean().item(), abs=1e-5)
    assert measured.floor == pytest.approx(cosine[strangers].mean().item(), abs=1e-5)
    assert measured.ceiling == pytest.approx(cosine.diag().mean().item(), abs=1e-5)
    assert measured.floor < measured.ceiling - 0.05
    told = Editor(replace(FREE, floor=0.25), small_albef(), splits, other, 0)
    assert (told.floor, told.ceiling) == (0.25, 1.0)


def test_strangers_are_looked_for_farther_off_where_all_who_are_near_are_one(splits, other):
    """One person's pairs beside the forgotten: bounds still stand, on everybody."""
    near = [e for e in splits.retain if e.source == splits.forget[0].source]
    alone = tuple(e for e in splits.retain if e.source != splits.forget[0].source) + tuple(
        e for e in near if e.group == near[0].group
    )
    editor = Editor(CSE(alpha_site="off"), small_albef(), replace(splits, retain=alone), other, 0)
    assert editor.floor > -1 and editor.ceiling < 1 and editor.match_floor > 1e-3


def test_a_text_without_words_is_pushed_whole(splits, other):
    """It shares nothing with R_2; its weight is not that of an empty mean."""
    mute = replace(splits, forget=tuple(replace(e, text="?!") for e in splits.forget))
    pushed, _ = gradients(FREE, mute, other, names=("n",))
    whole, _ = gradients(replace(FREE, alpha_site="off"), mute, other, names=("n",))
    assert max(g.abs().max().item() for g in whole.values()) > 1e-6 and gap(pushed, whole) < 1e-6


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"texts_per_sample": 0}, "texts_per_sample must be at least 1"),
        ({"pictures_per_sample": 0}, "pictures_per_sample must be at least 1"),
        ({"alpha_fixed": 7.0}, "alpha_fixed must lie between 0 and 1"),
        ({"match_floor": 2.0}, "match_floor must lie between 0 and 1"),
        ({"floor": -3.0}, "floor is a cosine"),
    ],
)
def test_options_that_would_ruin_an_edit_are_refused_before_anything_is_made(option, said):
    with pytest.raises(ExpungeError, match=said):
        CSE(**option)


def test_words_only_inner_mask_and_means():
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
    assert inner(mask).tolist() == [[0, 1, 1, 0, 0], [0, 1, 0, 0, 0]]
    values = torch.tensor([[9.0, 1, 3, 9, 9], [9.0, 2, 9, 9, 9]])
    assert mean_over(values, inner(mask)).tolist() == [2.0, 2.0]


def test_an_edit_keeps_head_and_temperature_and_reports_its_anchors(splits):
    model, run = small_albef(), Run(seed=0, lend=lend)
    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    CSE(epochs=1, least_steps=1, batch=6, mvi_preset="paper").unlearn(model, splits, run)
    after = model.module.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in ("itm_head.weight", "itm_head.bias", "temp"))
    assert any(not torch.equal(before[k], after[k]) for k in before)
    assert {"private_leak", "text_overlap", "picture_distance", "alpha_mean"} <= set(run.facts)
    assert {"mvi", "cse"} <= set(run.seconds) and len(run.keep["anchors"].texts) == len(splits.forget)


def test_without_retained_data_it_is_the_papers_equation(splits):
    run = Run(seed=0, lend=lend)
    CSE(epochs=1, least_steps=1, batch=6, retain_weight=0.0, mvi_preset="paper").unlearn(small_albef(), splits, run)
    assert all("retain" not in t for t in run.terms)


# ------------------------------------------------------------------------------------------ anchors remembered

QUICK = CSE(epochs=2, least_steps=1, batch=6, mvi_preset="paper", texts_per_sample=2)


def remembering(root):
    return lambda key, build: cached(key, build, root)


def edited(options, splits, run, stir=0):
    return options.unlearn(stirred(small_albef(), stir), splits, run).module.state_dict()


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_remembered_anchors_give_bit_for_bit_the_same_edit(splits, tmp_path, monkeypatch):
    alone, first = (Run(seed=1, lend=lend), Run(seed=1, lend=lend, remember=remembering(tmp_path)))
    afresh, kept = edited(QUICK, splits, alone), edited(QUICK, splits, first)
    assert equal(afresh, kept) and first.facts["anchors_remembered"] is False
    assert len(list(tmp_path.glob("*/parts.safetensors"))) == len(list(tmp_path.glob("*/anchors.json"))) == 1
    monkeypatch.setattr(mvi, "train", lambda *_: pytest.fail("MVI ran again"))
    # However torch's generator was left by whoever made the anchors.
    again = Run(seed=1, remember=remembering(tmp_path))
    assert equal(afresh, edited(QUICK, splits, again, stir=7))
    assert again.facts == {**alone.facts, "anchors_remembered": True}
    # The seconds are those of the making, and the total counts them in place of the reading.
    assert again.seconds["mvi"] == first.seconds["mvi"] > 0 and abs(first.spared) < first.seconds["mvi"] + 1
    assert again.spared == pytest.approx(again.seconds["mvi"], abs=0.5) and alone.spared == 0.0
    assert [t.tobytes() for ps in again.keep["anchors"].pictures for t in ps] == [
        t.tobytes() for ps in alone.keep["anchors"].pictures for t in ps
    ]  # fmt: skip


def test_the_editor_does_not_read_torchs_generator_before_fit_seeds_it(splits, other):
    found = []
    for seed in (0, 1):
        model = small_albef()
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        editor = Editor(CSE(), model, splits, other, 0)
        assert torch.equal(before, torch.get_rng_state())
        found.append((editor.floor, editor.ceiling, editor.match_floor, editor.centre))
    (*bounds, centre), (*others, another) = found
    assert bounds == others and torch.equal(centre, another)


def test_only_what_changes_anchors_makes_new_ones(splits):
    run, key = Run(seed=0), QUICK._recipe.key(splits.forget, Run(seed=0))
    editing = {
        "lr": 1e-3, "epochs": 9, "alpha_site": "off", "n_pairs": False, "retain_ratio": 1.0, "near": 0.1, "batch": 2,
    }  # fmt: skip
    assert all(replace(QUICK, **{k: v})._recipe.key(splits.forget, run) == key for k, v in editing.items())
    making = {
        "anchors": "consistent", "pictures_per_sample": 2, "texts_per_sample": 1, "mvi_preset": "default",
        "painter": "other", "writer": "other",
    }  # fmt: skip
    others = [replace(QUICK, **{k: v})._recipe.key(splits.forget, run) for k, v in making.items()]
    others.append(QUICK._recipe.key(splits.forget, Run(seed=1)))
    told = replace(splits.forget[0], text="something else was told")
    others.append(QUICK._recipe.key((replace(splits, forget=(told, *splits.forget[1:]))).forget, run))
    others.append(QUICK._recipe.key((replace(splits, forget=splits.forget[1:])).forget, run))
    looks = replace(splits.forget[0], image=splits.retain[-1].image)
    others.append(QUICK._recipe.key((replace(splits, forget=(looks, *splits.forget[1:]))).forget, run))
    assert len({digest(one) for one in (key, *others)}) == 1 + len(others) == 11


def test_random_anchors_are_never_kept(splits, tmp_path):
    run = Run(seed=0, remember=remembering(tmp_path))
    replace(QUICK, anchors="random").make_anchors(splits, run)
    assert not list(tmp_path.iterdir()) and "anchors_remembered" not in run.facts and run.seconds["mvi"] > 0


# ------------------------------------------------------------------------------------------ models that answer

BOTH = [(small_answers, "multiple_choice"), (small_entailment, "entailment")]


@pytest.mark.parametrize(("build", "task"), BOTH)
def test_log_chance_is_that_of_the_right_answer(build, task):
    model, some = build(), small_splits(1, task).forget[:5]
    batch = model.collate(some)
    fused = model.fuse(model.encode_images(batch), model.encode_texts(batch))
    expected = model.choose(fused, batch).softmax(-1)[torch.arange(5), batch["target"]].log()
    torch.testing.assert_close(log_chance(model, fused, batch), expected)


def test_log_chance_of_a_model_that_matches_is_that_of_a_match(splits):
    model = small_albef()
    batch = model.collate(splits.forget)
    fused = model.fuse(model.encode_images(batch), model.encode_texts(batch))
    assert torch.equal(log_chance(model, fused, batch), F.log_softmax(fused.logits, dim=-1)[:, 1])


@pytest.mark.parametrize(("build", "task"), BOTH)
def test_the_losses_vanish_for_answers_too_when_anchors_equal_the_sample(build, task):
    """For statements this holds of what is entailed: there R_2, entailed by construction, has the sample's label."""
    whole = small_splits(1, task)
    kept = tuple(e for e in whole.forget if e.label in (None, "entailment"))
    whole = replace(whole, forget=kept)
    same = Anchors([[e.image.open(16)] for e in kept], [[e.text] for e in kept])
    terms = Editor(replace(FREE, alpha_site="off"), build(), whole, same, 0).terms(kept, ())
    assert (terms["n"] + terms["p"]).item() == pytest.approx(0.0, abs=1e-4)


def test_a_description_of_the_picture_is_entailed():
    false = next(e for e in small_splits(1, "entailment").forget if e.label == "contradiction")
    told = retold(false, "a woman with red hair")
    assert (told.text, told.label, told.image) == ("a woman with red hair", "entailment", false.image)
    asked = small_splits(1, "multiple_choice").forget[0]
    told = retold(asked, "a woman with red hair")
    assert (told.choices, told.answer, told.label) == (asked.choices, asked.answer, None)


@pytest.mark.parametrize(
    ("build", "task"), [*BOTH, (lambda: BlipAnswers.from_matching(small_blip()), "multiple_choice")]
)
def test_an_edit_of_answers_keeps_the_classifier_and_hides_the_question_from_the_generators(build, task, monkeypatch):
    model, forget, read = build(), small_splits(1, task), []
    taken = mvi.take_apart
    monkeypatch.setattr(mvi, "take_apart", lambda p, w, e: read.append(taken(p, w, e)) or read[-1])
    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    run = Run(seed=0, lend=lend)
    quick = CSE(epochs=1, least_steps=1, batch=6, mvi_preset="paper", texts_per_sample=1)
    quick.unlearn(model, forget, run)
    after = model.module.state_dict()
    kept = ("text_decoder.", "cls_head.", "temp")
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith(kept))
    assert any(not torch.equal(before[k], after[k]) for k in before if k.startswith("text_encoder."))
    assert read[0].texts == [e.statement or e.text for e in forget.forget]
    if task == "multiple_choice":
        assert all(text != e.question for text, e in zip(read[0].texts, forget.forget, strict=True))


def test_strangers_answer_by_chance_or_better(splits):
    """The floor of p is read off other people's pictures beside the question."""
    whole = small_splits(1, "multiple_choice")
    anchors = Anchors([[e.image.open(16)] for e in whole.forget], [["red hair"] for _ in whole.forget])
    editor = Editor(CSE(alpha_site="off"), small_answers(), whole, anchors, 0)
    assert 0.05 < editor.match_floor < 0.75


def asked(text, **options):
    """One question, ``text`` for its R_2, as questions are edited: the editor, its terms, and the largest gradient."""
    whole = small_splits(1, "multiple_choice")
    (first, *_) = (e for e in whole.forget if e.kind == "shared")
    model = small_answers()
    anchors = Anchors([[first.image.open(16)]], [[text.format(first.answer)]])
    chosen = replace(FREE, alpha_site=CSE.by_task["multiple_choice"]["alpha_site"], **options)
    editor = Editor(chosen, model, replace(whole, forget=(first,)), anchors, 0)
    terms = editor.terms((first,), ())
    torch.stack(list(terms.values())).sum().backward()
    grads = [p.grad.abs().max().item() for p in model.module.parameters() if p.grad is not None]
    return editor, terms, max(grads)


def test_what_no_generated_text_answers_is_pushed_and_not_pulled():
    editor, _, moved = asked("nothing to see", p_pairs=False)
    assert torch.cat(editor.alphas).tolist() == [0.0] and moved > 1e-6
    _, terms, moved = asked("nothing to see", n_pairs=False)
    assert set(terms) == {"p"} and moved == 0.0


def test_what_every_generated_text_answers_rightly_is_pulled_and_not_pushed():
    editor, _, moved = asked("somebody with {}", p_pairs=False)
    assert torch.cat(editor.alphas).tolist() == [1.0] and moved == 0.0
    _, _, moved = asked("somebody with {}", n_pairs=False)
    assert moved > 1e-6


@pytest.mark.parametrize(("build", "task"), BOTH)
def test_models_that_answer_have_no_contrast_unless_asked(build, task):
    whole = small_splits(1, task)
    anchors = Anchors([[e.image.open(16)] for e in whole.forget], [["red hair"] for _ in whole.forget])
    terms = {
        how: Editor(replace(FREE, contrast=how), build(), whole, anchors, 0).terms(whole.forget, ())
        for how in ("auto", "off", "on")
    }
    assert all(torch.equal(terms["auto"][k], terms["off"][k]) for k in ("n", "p"))
    assert not torch.equal(terms["auto"]["n"], terms["on"]["n"])


def test_models_that_match_have_contrast(splits, other):
    terms = {how: gradients(replace(FREE, contrast=how), splits, other)[1] for how in ("auto", "on", "off")}
    assert torch.equal(terms["auto"]["p"], terms["on"]["p"]) and not torch.equal(terms["on"]["p"], terms["off"]["p"])
