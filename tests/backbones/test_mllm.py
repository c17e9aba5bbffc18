"""Chat models of four families at toy size: asked with and without pictures, differentiated, stored, opened by
transformers, adapted."""

import json
import sys

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig

from expunge.backbones.mllm import FAMILIES, Mllm
from expunge.backbones.mllm.families import family_of
from expunge.backbones.mllm.processors import VIDEO_FILE
from expunge.backbones.mllm.turns import turn_of
from expunge.core.errors import ExpungeError
from expunge.core.pictures import NO_PICTURE, HeldPicture
from expunge.core.types import Backbone, Example, Generates
from expunge.testing import small_mllm
from expunge.train.adapters import adapted, plain_name
from expunge.zoo import shelf

RED, BLUE = (HeldPicture(c, Image.new("RGB", (32, 32), c)) for c in ("red", "blue"))
JOB, WHERE = "what is the job of this person", "where was Ada born"
EXAMPLES = [
    Example("1", RED, JOB, "g", question=JOB, answer="a nurse", choices=("a nurse", "a baker by night")),
    Example("2", NO_PICTURE, WHERE, "h", question=WHERE, answer="in a small town",
            choices=("town", "in a small town", "no")),
    Example("3", BLUE, "a nurse in a town", "h", label="neutral"),
    Example("4", BLUE, "the baker of a small town"),
]  # fmt: skip
ALONE = [e for e in EXAMPLES if not e.pictured]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def model(request) -> Mllm:
    return small_mllm(request.param, TEXTS)


TEXTS = [JOB, WHERE, *(w for e in EXAMPLES for w in (e.text, e.answer or "", *e.choices)), "what is in the picture"]


def seen(model, batch):
    """The batch as transformers' model reads it."""
    return {k: v for k, v in batch.items() if k not in ("labels", "groups")}


def image_tokens(model, batch):
    return (batch["input_ids"] == model.processor.image_token_id).sum(1).tolist()


def test_it_generates_and_its_parts_are_the_whole_of_it(model):
    assert isinstance(model, Backbone) and isinstance(model, Generates)
    parts = model.parts()
    assert list(parts) == ["vision", "projector", "language", "head"]
    owned = [{id(p) for p in part.parameters()} for part in parts.values()]
    assert all(owned[:3]) and set().union(*owned) == {id(p) for p in model.module.parameters()}
    assert not (owned[0] & owned[1] or (owned[0] | owned[1]) & owned[2])


def test_only_the_answer_and_its_end_bear_loss(model):
    batch = model.collate(EXAMPLES)
    tokenizer, end = model.processor.tokenizer, model.prompter.end
    said = [tokenizer.decode(row[row >= 0], skip_special_tokens=False) for row in batch["labels"]]
    assert said == [f"{a} {end}" for a in ("a nurse", "in a small town", "maybe", "the baker of a small town")]
    borne = batch["labels"] >= 0
    assert torch.equal(batch["labels"][borne], batch["input_ids"][borne])
    assert batch["attention_mask"].sum(1).eq(borne.long().cumsum(1).argmax(1) + 1).all()  # it is the last of its row
    asked = tokenizer.decode(batch["input_ids"][0][: int(borne[0].nonzero()[0])])
    assert "what is the job of this person" in asked and "nurse" not in asked


def test_text_alone_brings_no_picture_tokens(model):
    counts = image_tokens(model, model.collate(EXAMPLES))
    assert counts[1] == 0 and min(counts[0], counts[2], counts[3]) > 0
    alone = model.collate(ALONE)
    assert image_tokens(model, alone) == [0] and "pixel_values" not in alone
    assert model.loss(alone).isfinite().all()


def test_losses_do_not_depend_on_company(model):
    with torch.no_grad():
        each = model.loss(model.collate(EXAMPLES))
        alone = torch.cat([model.loss(model.collate([e])) for e in EXAMPLES])
    torch.testing.assert_close(each, alone)


def test_loss_is_what_transformers_counts(model):
    for e in EXAMPLES:
        batch = model.collate([e])
        with torch.no_grad():
            theirs = model.module(**seen(model, batch), labels=batch["labels"]).loss
            torch.testing.assert_close(model.loss(batch)[0], theirs)


def test_tokens_logits_and_likelihoods_agree(model):
    batch = model.collate(EXAMPLES)
    with torch.no_grad():
        spoken, log_probs = model.spoken(batch), model.log_probs(batch)
        whole = model.module(**seen(model, batch)).logits
    first = int((batch["labels"][1] >= 0).nonzero()[0])
    count = int(spoken.mask[1].sum())
    torch.testing.assert_close(spoken.logits[1, :count], whole[1, first - 1 : first - 1 + count])
    assert spoken.targets[1, :count].tolist() == batch["labels"][1, first : first + count].tolist()
    assert spoken.targets[1, count:].eq(-100).all() and log_probs[1, count:].eq(0).all()
    expected = whole[1, first - 1].log_softmax(-1)[batch["labels"][1, first]]
    torch.testing.assert_close(log_probs[1, 0], expected)
    torch.testing.assert_close(-log_probs.sum(1) / spoken.mask.sum(1), model.loss(batch))


def test_an_unknown_answer_cannot_be_learned(model):
    bare = Example("5", RED, JOB, question=JOB)
    with pytest.raises(ValueError, match="is not known"):
        model.collate([bare])
    assert len(model.write([bare], 2)) == 1  # but it can be asked


def test_gradient_reaches_every_part(model):
    model.module.zero_grad()
    model.loss(model.collate(EXAMPLES)).sum().backward()
    for role, part in model.parts().items():
        assert sum(p.grad.abs().sum() for p in part.parameters() if p.grad is not None) > 0, role
    model.module.zero_grad()


def test_hidden_states_of_every_layer(model):
    batch = model.collate(EXAMPLES)
    layers = model.traits.extras["layers"]
    with torch.no_grad():
        first, last = model.hidden_states(batch, 0), model.hidden_states(batch)
        assert first.shape == (*batch["input_ids"].shape, model.traits.feature_width)
        assert not torch.allclose(first, last) and torch.equal(last, model.hidden_states(batch, layers))
        states = model.prompt_states(EXAMPLES)
    rows = torch.arange(len(EXAMPLES))
    before = (batch["labels"] >= 0).long().argmax(1) - 1
    torch.testing.assert_close(states, last[rows, before], rtol=1e-4, atol=1e-5)


def test_choices_are_scored_by_the_likelihood_of_the_whole_answer(model):
    with torch.no_grad():
        scores = model.score_choices(EXAMPLES[:3])
        batch = model.collate(EXAMPLES[:3])
        right = model.log_probs(batch).sum(1)
    assert scores.shape == (3, 3) and scores[0, 2] == -torch.inf and scores.isfinite().sum() == 8
    torch.testing.assert_close(scores[[0, 1, 2], [0, 1, 1]], right)
    with pytest.raises(ValueError, match="nothing to choose"):
        model.score_choices(EXAMPLES)


def test_answers_weighed_on_one_reading_are_as_likely_as_each_read_whole(model):
    loud = model.clone()
    with torch.no_grad():  # or every token stands for itself, and places do not matter
        for parameter in loud.module.parameters():
            parameter.mul_(4)
    loud.weigh(EXAMPLES[:1], [["no"]])  # whatever it remembers of other pictures must not matter
    for some in (EXAMPLES, ALONE * 3, EXAMPLES[::-1]):
        answers = [["a nurse", "in a small town", "no"][: 1 + at % 3] for at in range(len(some))]
        found = loud.weigh(some, answers)
        assert [len(row) for row in found] == [len(own) for own in answers]
        for e, own, row in zip(some, answers, found):
            for answer, nats in zip(own, row):
                batch = loud.prompter.learning([turn_of(e).answered(answer)])
                assert nats.item() == pytest.approx(loud.loss(batch).item(), rel=1e-3)
    spread = [row[0].item() for row in loud.weigh(EXAMPLES, [["a nurse"]] * 4)]
    assert max(spread) - min(spread) > 0.3  # it does look at what was asked
    with pytest.raises(ValueError, match="needs an answer"):
        loud.weigh(EXAMPLES[:2], [["a nurse"], []])


def test_answers_that_a_tokenizer_joins_to_the_question_are_read_whole(model, monkeypatch):
    own = [["a nurse", "no"]] * len(EXAMPLES)
    before = torch.stack(model.weigh(EXAMPLES, own))
    monkeypatch.setattr(type(model.prompter), "tails", lambda self, turns: None)
    torch.testing.assert_close(torch.stack(model.weigh(EXAMPLES, own)), before, rtol=1e-4, atol=1e-4)


def test_writing_is_the_same_alone_and_in_company(model):
    before = model.loss(model.collate(ALONE))
    every = model.write(EXAMPLES, 8)
    torch.testing.assert_close(model.loss(model.collate(ALONE)), before)  # writing leaves nothing behind
    assert every == [model.write([e], 8)[0] for e in EXAMPLES] == [*model.write(EXAMPLES[::-1], 8)][::-1]


def test_a_folders_own_settings_of_writing_change_nothing(model):
    """Released models come with penalties on repeated words, and the options of a question are repeated words."""
    plain, own = model.write(EXAMPLES, 8), model.module.generation_config
    strict = GenerationConfig(**{**own.to_dict(), "repetition_penalty": 9.0, "no_repeat_ngram_size": 1})
    model.module.generation_config = strict
    try:
        assert model.write(EXAMPLES, 8) == plain and model.module.generation_config is strict
    finally:
        model.module.generation_config = own


def learned(model: Mllm, steps: int = 60) -> Mllm:
    """The model after it has learned the examples by heart."""
    optimizer = torch.optim.Adam([p for p in model.module.parameters() if p.requires_grad], 1e-2)
    batch = model.collate(EXAMPLES)
    model.module.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(batch).mean().backward()
        optimizer.step()
    model.module.eval()
    return model


def test_what_was_learned_is_written_and_chosen(model):
    pupil = learned(model.clone())
    assert pupil.write(EXAMPLES) == ["a nurse", "in a small town", "maybe", "the baker of a small town"]
    assert pupil.score_choices(EXAMPLES[:3]).argmax(1).tolist() == [0, 1, 1]
    assert model.write(EXAMPLES) != pupil.write(EXAMPLES)  # a clone is independent


def test_stored_and_loaded_is_the_same_and_transformers_opens_it(model, tmp_path):
    model.save_pretrained(tmp_path / "toy")
    back = shelf.load(tmp_path / "toy")
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "toy").eval()
    batch = model.collate(EXAMPLES)
    assert type(plain) is type(model.module) and back.traits.pixels == model.traits.pixels
    with torch.no_grad():
        assert torch.equal(back.loss(back.collate(EXAMPLES)), model.loss(batch))
        assert torch.equal(plain(**seen(model, batch)).logits, model.module(**seen(model, batch)).logits)
    assert back.write(EXAMPLES, 5) == model.write(EXAMPLES, 5)
    if not family_of(model.module.config).video:  # plain transformers needs torchvision for the others
        processor = AutoProcessor.from_pretrained(tmp_path / "toy")
        text, prompt = "USER: <image> a nurse", processor(text="USER: <image> a nurse", images=RED.open(16))
        assert prompt["input_ids"] == model.processor(text=text, images=RED.open(16))["input_ids"]
    assert "torchvision" not in sys.modules


def test_half_precision_is_asked_for_and_kept(model, tmp_path):
    model.save_pretrained(tmp_path / "half", dtype=torch.float16)
    assert Mllm.from_pretrained(tmp_path / "half").dtype == torch.float32
    brain = Mllm.from_pretrained(tmp_path / "half", dtype=torch.bfloat16)
    assert brain.dtype == torch.bfloat16 and model.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(
            brain.loss(brain.collate(EXAMPLES)), model.loss(model.collate(EXAMPLES)), rtol=0.05, atol=0.1
        )


def test_a_folder_without_a_template_gets_its_familys(model, tmp_path):
    model.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    assert torch.equal(Mllm.from_pretrained(tmp_path).collate(EXAMPLES)["labels"], model.collate(EXAMPLES)["labels"])


# ------------------------------------------------------------------------------------ adapters


def test_adapters_train_alone_and_are_merged_when_stored(model, tmp_path):
    pytest.importorskip("peft")
    names = [n for n, _ in model.module.named_parameters()]
    pupil = model.clone().adapt(rank=4, alpha=8, dropout=0.0)
    language = {f"{n}.weight" for n, m in model.module.named_modules() if isinstance(m, torch.nn.Linear)}
    language &= {n for n in names if id(model.module.get_parameter(n)) in ids(model.parts()["language"])}
    assert set(adapted(pupil.module)) == language and language
    assert {plain_name(n) for n, _ in pupil.module.named_parameters()} - {None} == set(names)
    assert all("lora_" in n for n, p in pupil.module.named_parameters() if p.requires_grad)
    with torch.no_grad():
        assert torch.equal(pupil.loss(pupil.collate(EXAMPLES)), model.loss(model.collate(EXAMPLES)))
    learned(pupil, 3)
    with torch.no_grad():
        told = pupil.loss(pupil.collate(EXAMPLES))
    assert not torch.allclose(told, model.loss(model.collate(EXAMPLES)))
    pupil.save_pretrained(tmp_path)
    back = Mllm.from_pretrained(tmp_path)
    assert adapted(pupil.module)  # storing leaves the model as it was
    with torch.no_grad():
        torch.testing.assert_close(back.loss(back.collate(EXAMPLES)), told)
    pupil.merge()
    assert [n for n, _ in pupil.module.named_parameters()] == names and not adapted(pupil.module)
    assert all(p.requires_grad for p in pupil.module.parameters())
    moved = {n for n in names if not torch.equal(pupil.module.get_parameter(n), model.module.get_parameter(n))}
    assert moved == language


def ids(part):
    return {id(p) for p in part.parameters()}


def test_adapters_are_refused_where_they_cannot_be(model):
    pytest.importorskip("peft")
    with pytest.raises(ExpungeError, match="no part called 'ears'"):
        model.clone().adapt(roles=("ears",))
    with pytest.raises(ExpungeError, match="carries adapters already"):
        model.clone().adapt().adapt()


def test_adapters_are_drawn_from_their_seed(model):
    pytest.importorskip("peft")
    one, two, other = (model.clone().adapt(seed=s).module.state_dict() for s in (1, 1, 2))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


# ------------------------------------------------------------------------------------ one family each


def test_video_settings_are_kept(tmp_path):
    model = small_mllm("qwen2_vl", TEXTS)
    model.save_pretrained(tmp_path / "one")
    told = json.loads((tmp_path / "one" / VIDEO_FILE).read_text())
    assert told["video_processor_type"] == "Qwen2VLVideoProcessor" and told["patch_size"] == 8
    (tmp_path / "one" / VIDEO_FILE).write_text(json.dumps(told | {"max_frames": 7}))
    Mllm.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two")
    assert json.loads((tmp_path / "two" / VIDEO_FILE).read_text())["max_frames"] == 7
    assert json.loads((tmp_path / "two" / "processor_config.json").read_text())["processor_class"] == "Qwen2VLProcessor"


def test_older_folders_say_less_and_are_completed(tmp_path):
    """Released LLaVA folders of the first year name neither patch size nor strategy; the model's configuration does."""
    model = small_mllm("llava", TEXTS)
    model.save_pretrained(tmp_path)
    told = json.loads((tmp_path / "processor_config.json").read_text())
    for name in ("patch_size", "vision_feature_select_strategy", "num_additional_image_tokens"):
        del told[name]
    (tmp_path / "processor_config.json").write_text(json.dumps(told))
    batch = Mllm.from_pretrained(tmp_path).collate(EXAMPLES)
    assert torch.equal(batch["input_ids"], model.collate(EXAMPLES)["input_ids"])


def test_models_of_no_family_are_refused():
    from transformers import BlipConfig

    with pytest.raises(ExpungeError, match="'blip' is not known; known are llava"):
        family_of(BlipConfig())


def test_no_task_but_questions_and_statements():
    model = small_mllm("llava", TEXTS)
    assert model.for_task("entailment") is model
    assert shelf.serves(model, "multiple_choice") and not shelf.serves(model, "retrieval")
    with pytest.raises(ExpungeError, match="cannot be trained on retrieval"):
        model.for_task("retrieval")
