"""What bad teaching promises: the forgotten learn from who knows nothing, the retained from who was there."""

from dataclasses import replace

import pytest
import torch

from expunge.core.run import Run
from expunge.core.types import Encoded
from expunge.methods.training.bad_teacher import BadTeacher, Lesson, draw_anew
from expunge.testing import small_albef
from expunge.train.reference import reference
from toy import Toy, ToyAnswers
from toy_splits import KINDS, SPLITS, fresh, gradients, largest

MIXED = (*SPLITS.forget[:6], *SPLITS.retain[:6])


def lesson(kind, student=0, bad=9, options=None):
    """A student, the good teacher of seed 0 and a bad one, each by the seed of its weights."""
    models = [kind(seed) for seed in (student, 0, bad)]
    for m in models:
        m.module.eval()
    return models[0], Lesson(options or BadTeacher(), *models, SPLITS.forget)


@pytest.mark.parametrize("kind", KINDS)
def test_who_equals_both_teachers_has_nothing_to_learn(kind):
    torch.manual_seed(0)
    student, taught = lesson(kind, bad=0)
    found = taught.terms(MIXED, ())
    assert sum(v.item() for v in found.values()) == pytest.approx(0.0, abs=1e-5)
    assert largest(gradients(student, found)) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_each_teacher_teaches_its_own(kind):
    torch.manual_seed(0)
    at_start = lesson(kind)[1].terms(MIXED, ())
    assert at_start["forget"].item() > 1e-3 and at_start["retain"].item() == pytest.approx(0.0, abs=1e-5)
    as_bad = lesson(kind, student=9)[1].terms(MIXED, ())
    assert as_bad["forget"].item() == pytest.approx(0.0, abs=1e-5) and as_bad["retain"].item() > 1e-3


def test_of_two_pairs_rows_columns_and_all_kinds_of_matches_are_distilled():
    """KL(teacher || student) by hand: half of the row, half of the column, and a third each of the true pair, of the
    picture beside the other's text and of the other's picture beside the text. Of two each is the other's negative."""
    pairs = (SPLITS.forget[2], SPLITS.retain[2])
    student, good, bad = (fresh_by(seed) for seed in (5, 0, 9))
    found = Lesson(BadTeacher(), student, good, bad, SPLITS.forget).terms(pairs, ())

    def chances(model):
        batch = model.collate(pairs)
        image, text = model.encode_images(batch), model.encode_texts(batch)
        cosines = (image.feature @ text.feature.T / 0.07).double()
        told = [(1 / 2, cosines.softmax(1)), (1 / 2, cosines.T.softmax(1))]
        for i, j in (([0, 1], [0, 1]), ([0, 1], [1, 0]), ([1, 0], [0, 1])):
            told.append((1 / 3, model.fuse(image.take(i), text.take(j)).logits.double().softmax(1)))
        return told

    with torch.no_grad():
        for row, teacher, name in ((0, bad, "forget"), (1, good, "retain")):
            wanted = 0.0
            for (weight, p), (_, q) in zip(chances(teacher), chances(student)):
                wanted += weight * (p[row] * (p[row] / q[row]).log()).sum().item()
            assert found[name].item() == pytest.approx(wanted / 2, rel=1e-3) and wanted > 1e-3


def fresh_by(seed):
    model = Toy(seed)
    model.module.eval()
    return model


def test_pictures_are_given_the_texts_that_look_most_like_them_and_texts_the_pictures():
    """Cosines that are one-sided: row by row the greatest of another's are 2, 0, 1; column by column 1, 2, 0."""
    cosines = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    taught = lesson(Toy)[1]
    none = torch.zeros(3, 1)
    taught.good.encode_images = lambda batch: Encoded(torch.eye(3), none, none)
    taught.good.encode_texts = lambda batch: Encoded(cosines.T, none, none)
    taught.tau = torch.tensor(0.01)
    torch.manual_seed(0)
    texts, pictures = taught._wrong_pairs({}, [SPLITS.forget[0], SPLITS.forget[4], SPLITS.forget[8]])
    assert texts.tolist() == [2, 0, 1] and pictures.tolist() == [1, 2, 0]


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_the_default_of_the_source_divides_by_the_number_of_classes(classes):
    student, teacher = torch.randn(2, 5, classes, generator=torch.Generator().manual_seed(0))
    _, taught = lesson(Toy)
    batchmean = taught.divergence(student, teacher)
    taught.options = replace(taught.options, reduction="mean")
    mean = taught.divergence(student, teacher)
    assert torch.allclose(mean, batchmean / classes)
    official = torch.nn.functional.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="mean")
    assert mean.mean().item() == pytest.approx(official.item(), rel=1e-5)


def test_absent_choices_have_no_say_and_no_gradient():
    _, taught = lesson(ToyAnswers)
    student = torch.tensor([[1.0, 0.0, float("-inf")]], requires_grad=True)
    teacher = torch.tensor([[0.0, 1.0, float("-inf")]])
    each = taught.divergence(student, teacher)
    each.sum().backward()
    shorter = taught.divergence(student[:, :2], teacher[:, :2])
    assert each.item() == pytest.approx(shorter.item()) and student.grad.isfinite().all()


def test_a_hot_temperature_hides_the_difference():
    cold = lesson(Toy)[1].terms(MIXED, ())["forget"].item()
    hot = lesson(Toy, options=BadTeacher(temperature=100.0))[1].terms(MIXED, ())["forget"].item()
    assert hot < 0.01 * cold


@pytest.mark.parametrize(
    ("what", "moved", "kept"),
    [
        ("whole", {"visual_encoder", "text_encoder", "vision_proj", "itm_head"}, {"temp"}),
        ("text+fusion", {"text_encoder"}, {"visual_encoder", "vision_proj", "text_proj", "itm_head", "temp"}),
        ("heads+fusion", {"vision_proj", "text_proj", "itm_head"}, {"visual_encoder", "temp"}),
    ],
)
def test_only_the_named_parts_are_drawn_anew(what, moved, kept):
    model = small_albef()
    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    state = torch.get_rng_state()
    draw_anew(model, what, 3)
    assert torch.equal(state, torch.get_rng_state())
    changed = {k.split(".")[0] for k, v in model.module.state_dict().items() if not torch.equal(v, before[k])}
    assert moved <= changed and not kept & changed
    again = small_albef()
    draw_anew(again, what, 3)
    assert all(torch.equal(v, again.module.state_dict()[k]) for k, v in model.module.state_dict().items())


def test_everything_that_has_a_shape_is_new_in_a_whole_bad_teacher():
    """Biases and norms were 0 and 1 and may be so again."""
    model, old = small_albef(), small_albef().module.state_dict()
    draw_anew(model, "whole", 3)
    assert [k for k, p in model.module.named_parameters() if p.ndim > 1 and torch.equal(p, old[k])] == []


def test_parts_that_a_model_lacks_are_refused():
    with pytest.raises(ValueError, match="no part of"):
        model = fresh(Toy)
        model.parts = lambda: {"vision": model.module.see}
        draw_anew(model, "text+fusion", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_walks_the_forgotten_and_a_part_of_the_retained(kind):
    run, model = Run(seed=0), fresh(kind)
    old = reference(model)
    BadTeacher(epochs=1, least_steps=0, batch=8, lr=1e-2, retain_share=0.5).unlearn(model, SPLITS, run)
    half = round(len(SPLITS.retain) / 2)
    assert run.facts["retained_pairs"] == half
    assert len(run.terms) == -(-(len(SPLITS.forget) + half) // 8)
    assert any(not torch.equal(a, b) for a, b in zip(old.module.parameters(), model.module.parameters()))
