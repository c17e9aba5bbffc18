"""Entailment and question answering of the released code (salesforce/ALBEF b9727e4, random weights): ours must agree.

See ``tests/golden/README.md``; EXPUNGE_GOLDEN names another folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from expunge.backbones.albef import AlbefAnswers, AlbefEntailment, checkpoints
from expunge.backbones.albef.processor import AlbefProcessor
from expunge.core.errors import ExpungeError
from expunge.core.types import Answers

GOLDEN = Path(os.environ.get("EXPUNGE_GOLDEN", Path(__file__).parents[1] / "golden"))
VE, VQA = GOLDEN / "albef_ve_tiny_official.pth", GOLDEN / "albef_vqa_tiny_official.pth"


@pytest.fixture(scope="module")
def expected():
    return load_file(GOLDEN / "albef_vqa_ve_expected.safetensors")


@pytest.fixture(scope="module")
def entailment():
    return AlbefEntailment(checkpoints.read_official(VE), AlbefProcessor(None, 48), VE.name)


@pytest.fixture(scope="module")
def answers():
    return AlbefAnswers(checkpoints.read_official(VQA), AlbefProcessor(None, 48), VQA.name)


@pytest.fixture(scope="module")
def batch(expected):
    names = {"images": "pixels", "input_ids": "input_ids", "attention_mask": "attention_mask"}
    return {ours: expected[theirs] for theirs, ours in names.items()}


def assert_close(ours, theirs, tolerance=1e-4):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max().item() <= tolerance


def every_answer(expected, count):
    """The six answers as choices of every question."""
    ids, mask = (expected[name][None].expand(count, -1, -1) for name in ("answer_ids", "answer_mask"))
    return {"choice_ids": ids, "choice_mask": mask}


@torch.no_grad()
def test_entailment_logits(entailment, expected, batch):
    assert isinstance(entailment, Answers)
    fused = entailment.fuse(entailment.encode_images(batch), entailment.encode_texts(batch))
    assert_close(entailment.choose(fused, batch), expected["ve_logits"])
    prepared = entailment.prepare_images(entailment.encode_images(batch))
    again = entailment.fuse(prepared[torch.arange(5)], entailment.encode_texts(batch))
    assert_close(entailment.choose(again, batch), expected["ve_logits"])
    target = torch.tensor([0, 1, 2, 2, 1])
    chances = expected["ve_logits"].log_softmax(-1)[torch.arange(5), target]
    assert_close(entailment.loss({**batch, "target": target}), -chances)


@torch.no_grad()
def test_question_states_and_answer_likelihoods(answers, expected, batch):
    assert isinstance(answers, Answers)
    fused = answers.pair(batch)
    real = batch["attention_mask"].bool()
    assert_close(fused.states[real], expected["question_states"][real])
    assert fused.logits.shape == (5, 0)
    assert_close(answers.choose(fused, every_answer(expected, 5)), -expected["answer_nll"])


@torch.no_grad()
def test_choices_that_an_example_lacks_score_minus_infinity(answers, expected, batch):
    choices = every_answer(expected, 5)
    mask = choices["choice_mask"].clone()
    mask[1, 4:], mask[3, 1:] = 0, 0
    scores = answers.choose(answers.pair(batch), {**choices, "choice_mask": mask})
    there = mask.any(-1)
    assert_close(scores[there], -expected["answer_nll"][there])
    assert bool((scores[~there] == -torch.inf).all()) and int((~there).sum()) == 7


@torch.no_grad()
def test_the_released_ranking(answers, expected, batch):
    fused = answers.pair(batch)
    ids, chances = answers.module.rank_answers(
        fused.states, fused.mask, expected["answer_ids"], expected["answer_mask"], 4
    )
    assert torch.equal(ids, expected["rank_answer_topk_ids"])
    assert_close(chances, expected["rank_answer_topk_probs"])


@torch.no_grad()
def test_the_training_loss_with_weighted_answers(answers, expected, batch):
    which, weights = expected["vqa_answer_index"], expected["vqa_weights"]
    rows = torch.tensor([0, 0, 1, 1, 2, 3, 4])
    ids, mask = expected["answer_ids"][which], expected["answer_mask"][which]
    each = answers.answer_loss(answers.pair(batch), ids, mask, rows, weights)
    assert each.shape == (5,)
    assert_close(each.mean(), expected["vqa_training_loss"])
    one = {**batch, **every_answer(expected, 5), "target": torch.tensor([2, 3, 4, 5, 0])}
    assert_close(answers.loss(one), expected["answer_nll"][torch.arange(5), one["target"]])


@pytest.mark.parametrize("path", [VE, VQA])
def test_written_in_the_released_layout_it_loads_back_identically(path, tmp_path):
    model = checkpoints.read_official(path)
    checkpoints.write_official(model, tmp_path / "again.pth")
    released = torch.load(path, weights_only=True)["model"]
    ours = torch.load(tmp_path / "again.pth", weights_only=True)["model"]
    assert set(released) == set(ours)
    assert all(torch.equal(released[k], ours[k]) for k in released)


def test_a_released_checkpoint_has_no_projections(answers, batch):
    assert answers.traits.extras["projected"] is False and answers.traits.feature_width == 64
    images = answers.encode_images(batch)
    assert_close(images.feature, torch.nn.functional.normalize(images.tokens[:, 0], dim=-1), 0.0)
    assert "projector" not in answers.parts()


def test_an_untied_output_matrix_is_refused(tmp_path):
    found = torch.load(VQA, weights_only=True)
    found["model"]["text_decoder.cls.predictions.decoder.weight"] += 1
    torch.save(found, tmp_path / "odd.pth")
    with pytest.raises(ExpungeError, match="not tied"):
        checkpoints.read_official(tmp_path / "odd.pth")


def test_a_checkpoint_of_another_task_is_refused():
    with pytest.raises(ExpungeError, match="AlbefEntailmentModel, not a AlbefAnswersModel"):
        AlbefAnswers.from_pretrained(VE)
