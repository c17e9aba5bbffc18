"""BLIP-2 at toy size with both kinds of language model: stored, opened by transformers, differentiated, read aloud."""

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Blip2ForConditionalGeneration, GenerationConfig

from expunge.backbones.blip2 import Blip2
from expunge.core.errors import ExpungeError
from expunge.core.types import Backbone, Example
from expunge.testing import small_writer

TEXTS = ["a red hat on a man", "a green wall", "Ada works as a nurse at Lumen"]


class Plain:
    def __init__(self, colour: str) -> None:
        self.key = colour

    def open(self, pixels: int) -> Image.Image:
        return Image.new("RGB", (pixels, pixels), self.key)


EXAMPLES = [
    Example(f"e{i}", Plain(c), t) for i, (c, t) in enumerate(zip(("red", "white", "black"), TEXTS, strict=True))
]


@pytest.fixture(scope="module", params=["opt", "t5"])
def model(request) -> Blip2:
    return small_writer(request.param, TEXTS, tokens=16)


def test_is_a_backbone_with_its_parts(model):
    assert isinstance(model, Backbone)
    assert {"vision", "fusion", "projector", "text"} <= model.parts().keys()
    assert model.traits.feature_width == 24 and model.traits.extras["query_tokens"] == 4


def test_pictures_become_a_prefix(model):
    pixels = model.pixels(EXAMPLES)
    with torch.no_grad():
        prefix = model.encode_pictures(pixels)
        theirs = model.model.get_image_features(pixels).pooler_output
    assert pixels[0, :, 0, 0].tolist() == [1.0, -1.0, -1.0]
    assert prefix.shape == (3, 4, 24) and torch.equal(prefix, theirs)
    assert not torch.allclose(prefix[:, 0], prefix[:, 1])  # equal queries would never part


def test_texts_are_cleaned_marked_and_cut(model):
    made = model.tokens(["A red, HAT!", "a man " * 20])
    begin, end, pad = model._marks()
    assert made["input_ids"][0, :5].tolist() == [
        begin,
        *model.tokenizer.convert_tokens_to_ids(["a", "red", "hat"]),
        end,
    ]
    assert made["attention_mask"].sum(1).tolist() == [5, 16] and made["input_ids"][0, 5:].eq(pad).all()


def test_loss_per_example_is_each_on_its_own(model):
    batch = model.collate(EXAMPLES)
    with torch.no_grad():
        each = model.loss(batch)
        alone = torch.cat([model.loss(model.collate([e])) for e in EXAMPLES])
        prefix = model.encode_pictures(batch["pixels"])
        mean = model.text_loss(prefix, TEXTS)
        nats = model.token_nats(prefix, **model.tokens(TEXTS)).sum(1)
    torch.testing.assert_close(each, alone)
    torch.testing.assert_close(each, mean)
    torch.testing.assert_close(nats, mean * (batch["attention_mask"].sum(1) - 1))


def test_loss_is_what_transformers_counts(model):
    """The language model's own loss with the prefix ignored, over a batch of one text length."""
    text, prefix = "a green wall", torch.randn(1, 5, 24)
    made = model.tokens([text])
    language = model.model.language_model
    with torch.no_grad():
        if model.decoder_only:
            joined = torch.cat([prefix, language.get_input_embeddings()(made["input_ids"])], 1)
            labels = torch.cat([torch.full((1, 6), -100), made["input_ids"][:, 1:]], 1)  # prefix and begin bear no loss
            theirs = language(inputs_embeds=joined, labels=labels).loss
        else:
            theirs = language(inputs_embeds=prefix, labels=made["input_ids"][:, 1:]).loss
        torch.testing.assert_close(model.text_loss(prefix, [text])[0], theirs)


def test_gradient_reaches_a_prefix_of_any_length(model):
    prefix = torch.randn(2, 9, 24, requires_grad=True)
    model.text_loss(prefix, TEXTS[:2]).sum().backward()
    assert prefix.grad is not None and prefix.grad.abs().sum(dim=(1, 2)).gt(0).all()
    model.module.zero_grad()


def test_plain_text_needs_no_prefix(model):
    if not model.decoder_only:
        pytest.skip("an encoder has to read something")
    with torch.no_grad():
        assert model.text_loss(torch.zeros(2, 0, 24), TEXTS[:2]).shape == (2,)


def test_writing_is_repeatable_and_leaves_the_generator_alone(model):
    prefix = torch.randn(3, 4, 24)
    before = torch.random.get_rng_state()
    warm = {"max_tokens": 6, "sample": True, "temperature": 1.5}
    first = model.write(prefix, seed=1, **warm)
    assert first == model.write(prefix, seed=1, **warm) and torch.equal(before, torch.random.get_rng_state())
    assert len({str(model.write(prefix, seed=s, **warm)) for s in range(4)}) > 1
    greedy = model.write(prefix, max_tokens=6)
    assert greedy == model.write(prefix, max_tokens=6, seed=7) and len(greedy) == 3
    assert len(model.write(prefix, max_tokens=4, num_beams=2)) == 3


def test_the_seed_of_sampled_words_is_the_batchs_and_only_likely_ones_are_drawn(model, monkeypatch):
    """What the docstring of ``write`` warns of."""
    one = torch.randn(1, 4, 24)
    warm = {"max_tokens": 8, "sample": True, "temperature": 1.5, "seed": 1}
    assert len(set(model.write(one.expand(6, -1, -1), **warm))) > 1, "one prefix, one seed, other words by place"
    asked = {}
    language = model.model.language_model
    monkeypatch.setattr(
        language, "generate", lambda **given: asked.update(given) or torch.zeros(1, 1, dtype=torch.long)
    )
    model.write(one, sample=True)
    assert asked["generation_config"].do_sample and asked["generation_config"].temperature == 1.0
    settings = language._prepare_generation_config(asked["generation_config"])
    assert (settings[0] if isinstance(settings, tuple) else settings).top_k == 50


def test_stored_and_loaded_is_the_same(model, tmp_path):
    model.save_pretrained(tmp_path / "toy")
    back = Blip2.from_pretrained(tmp_path / "toy")
    theirs = Blip2ForConditionalGeneration.from_pretrained(tmp_path / "toy").eval()
    batch = model.collate(EXAMPLES)
    with torch.no_grad():
        assert torch.equal(back.loss(batch), model.loss(batch))
        assert torch.equal(
            theirs.get_image_features(batch["pixels"]).pooler_output, model.encode_pictures(batch["pixels"])
        )
    assert back.image == model.image and back.traits.max_text_tokens == 16
    prefix = model.encode_pictures(batch["pixels"])
    assert back.write(prefix, max_tokens=5) == model.write(prefix, max_tokens=5)


def test_a_clone_is_independent(model):
    twin = model.clone()
    with torch.no_grad():
        twin.model.query_tokens.add_(1)
    assert not torch.equal(twin.model.query_tokens, model.model.query_tokens)


def test_the_language_models_own_settings_of_writing_change_nothing(model):
    """A penalty on repeated words would forbid the colour of the second hat."""
    prefix, language = torch.randn(2, 4, 24), model.model.language_model
    plain, own = model.write(prefix, max_tokens=6), language.generation_config
    strict = GenerationConfig(**{**own.to_dict(), "repetition_penalty": 9.0, "no_repeat_ngram_size": 1})
    language.generation_config = strict
    try:
        assert model.write(prefix, max_tokens=6) == plain and language.generation_config is strict
    finally:
        language.generation_config = own


def test_writing_leaves_training_as_it_was_even_when_it_fails(model, monkeypatch):
    twin, seen = model.clone(), []
    language = twin.model.language_model

    def fails(**given):
        seen.append(language.training)
        raise RuntimeError("no room")

    for training in (True, False):
        language.train(training)
        monkeypatch.setattr(language, "generate", fails)
        with pytest.raises(RuntimeError, match="no room"):
            twin.write(torch.randn(1, 4, 24))
        assert language.training is training
    assert seen == [False, False]


def test_people_are_numbered_as_groups(model):
    same = [Example(f"s{i}", Plain("red"), "a red hat", group=g) for i, g in enumerate(("p", "q", "p", None))]
    assert model.collate(same)["groups"].tolist() == [0, 1, 0, 2]


def test_halves_on_disk_leave_the_model_whole(model, tmp_path):
    model.save_pretrained(tmp_path / "half", dtype=torch.float16)
    assert model.model.dtype == torch.float32
    assert {v.dtype for v in load_file(tmp_path / "half" / "model.safetensors").values()} == {torch.float16}


def test_a_seat_keeps_frozen_what_is_frozen(model):
    twin = model.clone()
    for frozen in (True, False):
        twin.model.query_tokens.requires_grad_(not frozen)
        twin.seat("encode", "cpu")
        assert twin.model.query_tokens.requires_grad is not frozen


def test_a_folder_that_lacks_weights_is_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    save_file({k: v for k, v in held.items() if k != "query_tokens"}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ExpungeError, match=r"lacks 1 of the weights .* \(query_tokens\)"):
        Blip2.from_pretrained(tmp_path)


def test_how_it_writes_is_handed_on(model, monkeypatch):
    asked = []
    language = model.model.language_model
    monkeypatch.setattr(
        language, "generate", lambda **given: asked.append(given) or torch.zeros(1, 1, dtype=torch.long)
    )
    model.write(torch.randn(1, 4, 24), sample=True, temperature=1.5)
    model.write(torch.randn(1, 4, 24), num_beams=3, max_tokens=7)
    drawn, beams = (given["generation_config"] for given in asked)
    assert drawn.do_sample and (drawn.temperature, drawn.max_new_tokens) == (1.5, 30)
    assert not beams.do_sample and (beams.num_beams, beams.max_new_tokens) == (3, 7)
