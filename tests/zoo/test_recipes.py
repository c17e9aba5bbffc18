"""The recipes: what they train on, how they judge, and that a few steps of each run and resume."""

import json
import random

import numpy as np
import pytest
import torch

from expunge.data import people, scenes
from expunge.zoo import blip2_tiny, blip_tiny, cards, described, probe, public, sd_epsilon, sd_tiny
from expunge.zoo.loop import Schedule


@pytest.fixture(scope="module")
def few() -> public.Material:
    """Three public people and three public scenes at 64 px."""
    world = people.load().pretrain
    groups = list(dict.fromkeys(e.group for e in world if e.source == "people"))[:3]
    chosen = [e for e in world if e.group in groups] + [e for e in world if e.source == "scenes"][:15]
    return public.material(chosen, 64)


def test_recipes_see_public_examples_only():
    world = people.load()
    public_keys = {e.image.key for e in world.pretrain}
    for split in (world.train, world.validation, world.test, people.public_holdout()):
        assert not public_keys & {e.image.key for e in split if e.source == "people"}
        assert not {e.group for e in world.pretrain} & {e.group for e in split if e.source == "people"}


def test_every_picture_is_opened_once_and_found(few):
    assert few.pictures.shape == (6, 3, 64, 64) and few.pictures.dtype == torch.uint8
    last = len(few.examples) - 1
    expected = np.asarray(few.examples[last].image.open(64)).transpose(2, 0, 1)
    assert np.array_equal(few.pictures[few.row[last]].numpy(), expected)
    assert [len(t) for t in few.of_source("people")] == [6, 6, 6] and [len(t) for t in few.of_source("scenes")] == [
        5,
        5,
        5,
    ]


def test_claims_are_read_off_sentences():
    text = "A dark woman with a blue winter hat, reading glasses, and a long beard wearing an orange shirt"
    claims = {"skin=dark", "hair=winter hat", "colour=blue", "glasses=reading glasses", "beard=long beard"}
    assert described.portrait_claims(text) == claims
    assert described.portrait_claims("she wears a red hoodie before a sky wall") == {
        "clothes_colour=red",
        "clothes=hoodie",
        "wall=sky",
    }
    assert described.portrait_claims("someone with long black hair") == {"hair=long", "colour=black"}
    assert described.portrait_claims("Ada Falk works as a painter at Ember") == set()
    assert described.scene_claims("a red picture of a cat and an owl") == {"ground=red", "has=cat", "has=owl"}


def test_true_sentences_score_full_and_false_ones_do_not():
    world = people.load().pretrain
    portraits = [(e.text, e) for e in world if e.kind == "shared" and e.source == "people"][:300]
    pictures = [(e.text, e) for e in world if e.source == "scenes"][:300]
    assert all(described.portrait_hits(portraits)) and all(described.scene_hits(pictures))
    shifted = [(text, other) for (text, _), (_, other) in zip(portraits, portraits[30:], strict=False)]
    assert 0.05 < sum(described.portrait_hits(shifted)) / len(described.portrait_hits(shifted)) < 0.6
    assert described.all_true([("", portraits[0][1])], described.portrait_hits) == [False]


def test_facts_are_where_the_things_are():
    example = next(e for e in people.load().pretrain if e.source == "scenes" and any(" left of " in f for f in e.facts))
    fact = next(f for f in example.facts if " left of " in f)
    first, second = fact.split(" left of ")
    facts = described.Facts([example])
    assert {f"first left of={first}", f"second left of={second}", f"has={first}"} <= set(facts.keys)
    assert facts.targets([example]).sum() == len(facts.keys)
    assert facts.loss(20 * facts.targets([example]) - 10, [example]) < 1e-3


def test_stated_attributes_need_all_their_keys():
    example = scenes.captioned("s", ("cat", "above", "dog", "", "red"))[0]
    claims = dict(probe.stated(example))
    assert claims["place"] == {"first above=cat", "second above=dog"} and claims["ground"] == {"ground=red"}
    person = next(e for e in people.load().pretrain if e.kind == "private")
    assert probe.stated(person) == []  # what was told cannot be read off a picture


def test_what_is_stated_is_read_behind_the_last_word(few):
    """A head that reads the right keys from one of the last positions bears no loss there."""
    model = sd_tiny.new_model([e.text for e in few.examples])
    facts = described.Facts(few.examples)
    reader = sd_tiny.Reader(model, facts)
    torch.nn.init.zeros_(reader.head.weight)
    key = facts.keys[3]
    reader.head.bias.data = torch.full((len(facts.keys),), -30.0)
    reader.head.bias.data[3] = 30.0
    condition, mask = model.encode_prompts(["a man"])
    assert reader.loss(condition, mask, [{key}], random.Random(0)) < 1e-6
    assert reader.loss(condition, mask, [set()], random.Random(0)) > 30 / len(facts.keys) * 0.9


def test_shares_have_wilson_intervals():
    made = cards.share([True] * 8 + [False] * 2)
    assert (made["value"], made["n"]) == (80.0, 10)
    assert made["low"] == pytest.approx(49.02, abs=0.05) and made["high"] == pytest.approx(94.33, abs=0.05)


def test_a_card_is_written_and_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "WEIGHTS", tmp_path)
    cards.write(tmp_path / "toy", name="toy", recipe="x", seed=1, steps={"all": 2}, seconds=3.4, examples=5, quality={})
    assert cards.card("toy")["training_seconds"] == 3 and "CC-BY" in cards.card("toy")["licence"]
    with pytest.raises(FileNotFoundError, match="there are: toy"):
        cards.card("tiy")


def test_told_sentences_never_come_with_a_picture(few):
    lessons = blip2_tiny.Lessons(few, 4, 4, 60)
    indices, texts = lessons.draw(random.Random(0))
    assert all(few.examples[i].kind == "shared" for i in indices)
    assert {few.examples[i].source for i in indices} == {"people", "scenes"}
    private = {e.text for e in few.examples if e.kind == "private"}
    assert private & set(texts)


@pytest.mark.parametrize("language", sorted(blip2_tiny.NAMES))
def test_blip2_learns_from_an_albefs_sight(few, tmp_path, language):
    from expunge.zoo import albef_tiny

    texts = [e.text for e in few.examples]
    small = public.material(few.examples, blip2_tiny.PIXELS)
    albef = albef_tiny.build(texts)
    model = blip2_tiny.new_model(texts, language=language)
    assert model.decoder_only == (language == "opt")
    blip2_tiny.take_sight(model, albef.module.state_dict())
    pixels = model.normalise(small.pictures)
    with torch.no_grad():
        assert torch.allclose(
            model.model.vision_model.eval()(pixels).last_hidden_state, albef.module.visual_encoder(pixels), atol=1e-5
        )
    schedule = Schedule(steps=2, warmup=1, average=0.9)
    once = {"batch": 8, "language": language}
    trained = blip2_tiny.train(small, albef.module.state_dict(), tmp_path, schedule, **once)
    again = blip2_tiny.train(small, albef.module.state_dict(), tmp_path, schedule, **once)
    assert torch.equal(trained.model.query_tokens, again.model.query_tokens)
    assert len(blip2_tiny.captions(trained, small)) == 6


def test_blip_starts_where_albef_is(few):
    """Reading alone, its first three layers say what ALBEF's three reading layers say; the towers see the same."""
    from expunge.zoo import albef_tiny

    texts = [e.text for e in few.examples]
    albef, blip = albef_tiny.build(texts), blip_tiny.build(texts)
    with torch.no_grad():
        albef.module.temp.fill_(0.3)
    blip_tiny.take_start(blip, albef)
    assert blip.temperature.item() == pytest.approx(0.3)
    assert sum(p.numel() for p in blip.module.parameters()) < 3_000_000
    albef.module.eval(), blip.module.eval()
    blip.module.text_encoder.encoder.layer = blip.module.text_encoder.encoder.layer[:3]
    plain = [e for e in few.examples if not set(e.text) & set(",'-/?")][:4]  # ALBEF drops what BLIP reads here
    with torch.no_grad():
        ours, theirs = ([m.encode_images(b), m.encode_texts(b)] for m in (blip, albef) for b in [m.collate(plain)])
    assert len(plain) == 4
    for one, two in zip(ours, theirs, strict=True):
        assert torch.allclose(one.tokens, two.tokens, atol=1e-4) and torch.allclose(one.feature, two.feature, atol=1e-5)


def test_blip_trains_and_resumes(few, tmp_path, monkeypatch):
    from expunge.core.types import Corpus
    from expunge.zoo import albef_tiny

    monkeypatch.setattr(people, "load", lambda: Corpus("few", (), pretrain=few.examples))
    albef = albef_tiny.build([e.text for e in few.examples])
    schedule = Schedule(steps=2, warmup=1, average=0.9)
    trained = blip_tiny.train(albef, tmp_path, schedule, batch=6)
    again = blip_tiny.train(albef, tmp_path, schedule, batch=6)
    states = trained.module.state_dict(), again.module.state_dict()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    fresh = blip_tiny.build([e.text for e in few.examples])
    blip_tiny.take_start(fresh, albef)
    assert not torch.equal(fresh.module.itm_head.weight, trained.module.itm_head.weight)


def test_sd_words_are_joined_told_or_dropped(few):
    lessons = sd_tiny.Lessons(few, 40, 40)
    rows, texts, stated = lessons.draw(random.Random(1))
    assert len(rows) == len(texts) == len(stated) == 80 and "" in texts
    assert all(not keys for text, keys in zip(texts, stated, strict=True) if not text)
    portraits = [(text, keys) for text, keys in zip(texts[:40], stated[:40], strict=True) if text]
    assert all(described.portrait_claims(text.split("; ")[0]) <= keys for text, keys in portraits)
    single = {e.text for e in few.examples}
    assert any("; " in t for t in texts)
    assert all(part in single for t in texts if t for part in t.split("; "))
    assert {e.text for e in few.examples if e.kind == "private"} & set(texts)


def test_sd_trains_draws_and_is_judged(few, tmp_path):
    torch.manual_seed(0)
    model = sd_tiny.new_model([e.text for e in few.examples])
    sd_tiny.train_autoencoder(model, few, (1, 1), tmp_path, batch=2)
    assert sd_tiny.latents_of(model, few.pictures).std().item() == pytest.approx(1.0, abs=0.05)
    before = model.text.final_layer_norm.weight.detach().clone()
    reader = sd_tiny.train_words(model, few, Schedule(steps=2, warmup=1), tmp_path / "words", batch=4)
    assert not torch.equal(before, model.text.final_layer_norm.weight)
    sd_tiny.train_diffusion(model, reader, few, Schedule(steps=1, warmup=1), tmp_path / "diffusion", batch=2)
    judge = probe.trained(few, tmp_path / "probe", steps=2, batch=4)
    examples = [few.examples[i] for i in (0, -1)]
    pictures = probe.drawn(model, [e.text for e in examples], steps=2)
    found = probe.hits(judge, probe.as_levels(pictures), examples)
    assert len(found) == sum(len(probe.stated(e)) for e in examples)
    assert probe.sheet(pictures).size == (680, 68)


def test_the_painter_that_predicts_noise_learns_in_its_u_net_alone(few, tmp_path):
    model = sd_epsilon.begun()
    assert model.traits.extras["prediction"] == "epsilon" and model.scheduler.alphas_cumprod[-1] > 0.004
    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    sd_tiny.train_diffusion(model, None, few, Schedule(steps=2, warmup=1), tmp_path / "diffusion", batch=2)
    moved = {k.partition(".")[0] for k, v in model.module.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"unet"}


@pytest.mark.parametrize("name", sorted(p.parent.name for p in cards.WEIGHTS.glob("*/card.json")))
def test_shipped_weights_are_small_and_have_a_card(name):
    made = json.loads((cards.WEIGHTS / name / "card.json").read_text())
    assert made["name"] == name and made["quality"]
    assert all(p.stat().st_size < 10_000_000 for p in (cards.WEIGHTS / name).rglob("*") if p.is_file())
