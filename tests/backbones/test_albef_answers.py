"""ALBEF that answers, beyond parity: what a training or unlearning run relies on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from expunge.backbones import albef
from expunge.backbones.albef import AlbefAnswers, AlbefConfig, AlbefEntailment, AlbefModel
from expunge.core import plugins
from expunge.core.errors import ExpungeError
from expunge.core.types import Answers, Backbone
from expunge.testing import small_albef, small_answers, small_corpus, small_entailment
from expunge.zoo import shelf

BOTH = [(small_answers, "multiple_choice"), (small_entailment, "entailment")]


@pytest.fixture(params=BOTH, ids=["answers", "entailment"])
def model_and_batch(request):
    build, task = request.param
    model = build()
    return model, model.collate(small_corpus(task).train[:14:3])


def test_it_has_the_capabilities_it_claims(model_and_batch):
    model, _ = model_and_batch
    assert isinstance(model, Backbone) and isinstance(model, Answers)
    assert "Answers" in plugins.find("backbones", "albef").provides
    role = "decoder" if isinstance(model, AlbefAnswers) else "head"
    assert set(model.parts()) == {"vision", "text", "fusion", "cross_attention", "projector", role}
    assert model.traits.extras["projected"] is True


def test_it_starts_from_the_pretrained_encoders(model_and_batch):
    model, batch = model_and_batch
    start = small_albef()
    ours, theirs = model.module.state_dict(), start.module.state_dict()
    shared = ours.keys() & theirs.keys()
    assert {"temp", "vision_proj.weight", "text_encoder.encoder.layer.2.output.dense.weight"} <= shared
    assert all(torch.equal(ours[k], theirs[k]) for k in shared)
    assert torch.equal(model.encode_images(batch).feature, start.encode_images(batch).feature)
    again = type(model).start_from(start).module.state_dict()
    assert all(torch.equal(ours[k], again[k]) for k in ours)


def test_the_decoder_starts_as_the_fusion_layers():
    model, start = small_answers(), small_albef()
    for ours, theirs in zip(model.module.text_decoder.bert.upper, start.module.text_encoder.upper, strict=True):
        wanted = theirs.state_dict()
        assert all(torch.equal(v, wanted[k]) for k, v in ours.state_dict().items())
    words = model.module.text_decoder.bert.embeddings.word_embeddings.weight
    assert torch.equal(words, start.module.text_encoder.embeddings.word_embeddings.weight)


def test_the_decoder_takes_the_head_for_masked_words():
    start = small_albef()
    config = AlbefConfig(**{**start.module.config.to_dict(), "masked_language": True})
    start.module = AlbefModel(config).eval()
    torch.nn.init.normal_(start.module.mlm_head.decoder.bias)
    words = AlbefAnswers.start_from(start).module.text_decoder.cls.predictions
    assert torch.equal(words.transform.dense.weight, start.module.mlm_head.dense.weight)
    assert torch.equal(words.bias, start.module.mlm_head.decoder.bias)


def test_loss_reaches_every_part_and_goes_down(model_and_batch):
    model, batch = model_and_batch
    loss = model.loss(batch)
    assert loss.shape == batch["target"].shape and loss.isfinite().all() and (loss > 0).all()
    loss.mean().backward()
    for role in ("vision", "text", "fusion", "decoder" if isinstance(model, AlbefAnswers) else "head"):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parts()[role].parameters()), role
    with torch.no_grad():
        for p in model.module.parameters():
            if p.grad is not None:
                p -= 0.05 * p.grad
        assert model.loss(batch).mean() < loss.mean()


def test_loss_is_the_chance_of_the_target(model_and_batch):
    model, batch = model_and_batch
    scores = model.choose(model.pair(batch), batch)
    rows = torch.arange(len(scores))
    expected = -scores[rows, batch["target"]]
    if isinstance(model, AlbefEntailment):
        expected = -scores.log_softmax(-1)[rows, batch["target"]]
    torch.testing.assert_close(model.loss(batch), expected, atol=1e-5, rtol=1e-5)


def test_an_unknown_target_cannot_be_trained_on(model_and_batch):
    model, batch = model_and_batch
    with pytest.raises(ValueError, match="1 have none"):
        model.loss({**batch, "target": batch["target"].index_fill(0, torch.tensor([1]), -1)})


def test_taps_act_on_their_sites(model_and_batch):
    model, batch = model_and_batch
    images, texts = model.encode_images(batch), model.encode_texts(batch)
    plain = model.fuse(images, texts).states
    for site in ("fused_in", "image_in", "text_tokens", "xattn_out"):
        seen = []
        tapped = model.fuse(images, texts, {site: lambda h, seen=seen: seen.append(h) or h * 0}).states
        assert seen and not torch.equal(tapped, plain), site
    with pytest.raises(ValueError, match="image_in"):
        model.fuse(model.prepare_images(images), texts, {"image_in": lambda h: h})


def test_it_saves_and_loads(model_and_batch, tmp_path):
    model, batch = model_and_batch
    model.save_pretrained(tmp_path / "model")
    loaded = shelf.load(tmp_path / "model")
    assert type(loaded) is type(model)
    assert torch.equal(loaded.choose(loaded.pair(batch), batch), model.choose(model.pair(batch), batch))
    with pytest.raises(ExpungeError, match="no ALBEF"):
        (tmp_path / "model" / "config.json").write_text('{"model_type": "albef-poet"}')
        albef.load(tmp_path / "model")


def test_the_released_layout_keeps_projections_and_temperature(model_and_batch, tmp_path):
    model, batch = model_and_batch
    with torch.no_grad():
        model.module.temp.fill_(0.05)
    model.save_official(tmp_path / "model.pth")
    words = sorted(model.processor.tokenizer.get_vocab().items(), key=lambda item: item[1])
    (tmp_path / "vocab.txt").write_text("\n".join(word for word, _ in words))
    loaded = shelf.load(tmp_path / "model.pth")
    assert type(loaded) is type(model) and loaded.traits.extras["official_layout"]
    ours, theirs = model.module.state_dict(), loaded.module.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_clone_is_independent(model_and_batch):
    model, _ = model_and_batch
    other = model.clone()
    with torch.no_grad():
        other.module.temp.fill_(1.0)
    assert model.temperature != other.temperature and type(other) is type(model)


def test_for_task():
    start, model = small_albef(), small_answers()
    assert start.for_task("retrieval") is start and type(start.for_task("entailment")) is AlbefEntailment
    assert model.for_task("multiple_choice") is model
    with pytest.raises(ExpungeError, match="made for multiple_choice, not for entailment"):
        model.for_task("entailment")


def test_choices_and_the_released_ranking_by_words():
    model = small_answers()
    question = small_corpus("multiple_choice").train[0]
    batch = model.collate([question])
    assert batch["choice_ids"].shape[:2] == (1, 4) and batch["choice_mask"].any(-1).all()
    ids, chances = model.rank_answers(model.pair(batch), question.choices, 4)
    assert sorted(ids[0].tolist()) == [0, 1, 2, 3] and chances.sum() == pytest.approx(1.0)
    none = model.collate([small_corpus().train[0]])
    assert none["target"].tolist() == [-1] and none["choice_mask"].sum() == 0
    assert model.choose(model.pair(none), none).tolist() == [[-torch.inf]]


@pytest.mark.parametrize("kind", [AlbefAnswers, AlbefEntailment])
def test_a_fresh_model_stands_still_and_draws_from_a_generator_of_its_own(kind):
    start, before = small_albef(), torch.random.get_rng_state()
    start.traits = replace(start.traits, name="ALBEF.pth")
    model = kind.start_from(start)
    assert torch.equal(before, torch.random.get_rng_state()) and not model.module.training
    assert model.traits.name.startswith("ALBEF-") and not model.traits.extras["official_layout"]


def test_answers_stand_as_they_are_and_questions_are_cleaned():
    processor = small_answers().processor
    near, far, asked = (processor.answers(["3.5"]), processor.answers(["35"]), processor.answers(["?"]))
    assert near["input_ids"].tolist() != far["input_ids"].tolist() and asked["attention_mask"].sum() == 3
    assert processor.texts(["3.5?"])["input_ids"].tolist() == processor.texts(["35"])["input_ids"].tolist()


def test_targets_are_places_and_unknown_ones_are_said():
    question = small_corpus("multiple_choice").train[0]
    asked = [question, replace(question, answer="nobody"), replace(question, choices=question.choices[:2])]
    asked[2] = replace(asked[2], answer=asked[2].choices[1])
    batch = small_answers().collate(asked)
    assert batch["target"].tolist() == [question.choices.index(question.answer), -1, 1]
    assert batch["choice_mask"].any(-1).sum(1).tolist() == [4, 4, 2]
    assert torch.equal(batch["choice_ids"][2, :2], batch["choice_ids"][0, :2])
    statement = small_corpus("entailment").train[0]
    labels = ("contradiction", "neutral", "entailment", None, "perhaps")
    batch = small_entailment().collate([replace(statement, label=label) for label in labels])
    assert batch["target"].tolist() == [0, 1, 2, -1, -1]


def test_no_more_answers_are_ranked_than_there_are():
    model = small_answers()
    question = small_corpus("multiple_choice").train[0]
    fused = model.pair(model.collate([question]))
    assert model.rank_answers(fused, question.choices, 128)[0].shape == (1, 4)
