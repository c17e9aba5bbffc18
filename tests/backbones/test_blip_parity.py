"""The released code's numbers (salesforce/BLIP 056a169, random weights): ours must agree.

``golden/`` lies beside the tests (see its README); EXPUNGE_GOLDEN names another folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from expunge.backbones.blip import Blip, BlipAnswers, BlipForAnswers, BlipForMatching, BlipProcessor, checkpoints

GOLDEN = Path(os.environ.get("EXPUNGE_GOLDEN", Path(__file__).parents[1] / "golden"))
FILES = {"retrieval": "blip_retrieval_tiny_official.pth", "vqa": "blip_vqa_tiny_official.pth"}
SEEN: set[str] = set()


class Watched(dict):
    """Remembers which expected tensors were looked at."""

    def __getitem__(self, name):
        SEEN.add(name)
        return super().__getitem__(name)


@pytest.fixture
def expected():
    return Watched(load_file(GOLDEN / "blip_tiny_expected.safetensors"))


@pytest.fixture
def blip():
    return Blip(checkpoints.read_official(GOLDEN / FILES["retrieval"]), BlipProcessor(None, 48))


@pytest.fixture
def answers():
    return BlipAnswers(checkpoints.read_official(GOLDEN / FILES["vqa"]), BlipProcessor(None, 48))


@pytest.fixture
def batch(expected):
    return {
        "pixels": expected["images"],
        "input_ids": expected["input_ids"],
        "attention_mask": expected["attention_mask"],
    }


def assert_close(ours, theirs, tolerance=1e-4):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max().item() <= tolerance


def test_encoders(blip, batch, expected):
    images, texts = blip.encode_images(batch), blip.encode_texts(batch)
    assert_close(images.tokens, expected["image_embeds"])
    real = expected["attention_mask"].bool()
    assert_close(texts.tokens[real], expected["text_embeds"][real])
    assert_close(images.feature, expected["image_feat"], 1e-5)
    assert_close(texts.feature, expected["text_feat"], 1e-5)


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("first", ["cls", "enc"])
def test_match_of_every_pair(blip, batch, expected, first, prepared):
    blip.module.config.enc_first = first == "enc"
    images, texts = blip.encode_images(batch), blip.encode_texts(batch)
    i, j = torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij")
    i, j = i.flatten(), j.flatten()
    side = blip.prepare_images(images)[i] if prepared else images.take(i)
    assert_close(blip.fuse(side, texts.take(j)).logits.view(5, 5, 2), expected[f"itm_logits_{first}"])


def test_transformers_own_forward_agrees(blip, batch, expected):
    """The walk through the layers is ours, so the same modules run whole must say the same."""
    out = super(BlipForMatching, blip.module).forward(
        batch["input_ids"], batch["pixels"], attention_mask=batch["attention_mask"]
    )
    own = torch.arange(5)
    assert_close(out.itm_score, expected["itm_logits_cls"][own, own])


def test_question_states(answers, batch, expected):
    fused = answers.fuse(answers.encode_images(batch), answers.encode_texts(batch))
    real = expected["attention_mask"].bool()
    assert_close(fused.states[real], expected["question_states"][real])
    assert fused.logits.shape == (5, 0)


def every_choice(batch, expected):
    """The four answers offered to each of the five questions."""
    ids, mask = expected["answer_ids"], expected["answer_mask"]
    return {**batch, "choice_ids": ids.expand(5, -1, -1), "choice_mask": mask.expand(5, -1, -1)}


def test_answer_nats_and_training_loss(answers, batch, expected):
    offered = every_choice(batch, expected)
    for k in range(4):
        nats = answers.loss({**offered, "target": torch.full((5,), k)})
        assert_close(nats, expected["answer_nll"][:, k])


def test_choices_are_scored_without_smoothing(answers, batch, expected):
    offered = every_choice(batch, expected)
    fused = answers.fuse(answers.encode_images(batch), answers.encode_texts(batch))
    smooth = answers.choose(fused, offered)
    answers.module.config.text_config.label_smoothing = 0.0
    for k in range(4):
        assert_close(-smooth[:, k], answers.loss({**offered, "target": torch.full((5,), k)}), 1e-5)
    assert (smooth + expected["answer_nll"]).abs().max() > 0.01  # the released numbers are smoothed


def test_official_ranking(answers, batch, expected):
    fused = answers.fuse(answers.encode_images(batch), answers.encode_texts(batch))
    best = answers.rank_answers(fused, expected["answer_ids"], expected["answer_mask"], 4)
    assert torch.equal(best, expected["rank_answer_top"])
    # With one short-listed answer the first token decides alone.
    one = answers.rank_answers(fused, expected["answer_ids"], expected["answer_mask"], 1)
    assert one.shape == (5,)


@pytest.mark.parametrize(("file", "kind"), [("retrieval", BlipForMatching), ("vqa", BlipForAnswers)])
def test_written_in_the_released_layout_it_loads_back_identically(file, kind, tmp_path):
    model = checkpoints.read_official(GOLDEN / FILES[file])
    assert type(model) is kind
    checkpoints.write_official(model, tmp_path / "again.pth")
    released = torch.load(GOLDEN / FILES[file], weights_only=True)["model"]
    ours = torch.load(tmp_path / "again.pth", weights_only=True)["model"]
    assert set(released) == set(ours)
    assert all(torch.equal(released[k], ours[k]) for k in released)


def test_every_expected_tensor_was_compared(expected):
    if len(SEEN) < 5:
        pytest.skip("run the whole file")
    assert set(expected) == SEEN
