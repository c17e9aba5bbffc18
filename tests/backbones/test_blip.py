"""BLIP beyond parity: what a training or unlearning run relies on."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BlipForImageTextRetrieval

from expunge.backbones.albef import checkpoints as albef_checkpoints
from expunge.backbones.blip import Blip, BlipAnswers, BlipEntailment, checkpoints, load, sizes
from expunge.backbones.blip.model import resize
from expunge.backbones.blip.processor import BlipProcessor, clean
from expunge.core.errors import ExpungeError
from expunge.core.types import Answers, Backbone, Embeds, Matches
from expunge.testing import small_albef, small_blip, small_corpus
from expunge.train.constrain import scale_gradient


@pytest.fixture
def blip():
    return small_blip()


@pytest.fixture(scope="module")
def examples():
    people = [e for e in small_corpus().train if e.source == "people"]
    return people[:2] + people[12:14] + [e for e in small_corpus().train if e.source == "scenes"][:2]


@pytest.fixture(scope="module")
def questions(examples):
    told = [("what is it?", ("a cat", "an owl", "a red picture of a cat"), "an owl"), (None, ("cat", "dog"), "cat")]
    return [
        replace(e, text=q or e.text, question=q, choices=c, answer=a)
        for e, (q, c, a) in zip(examples, told * 3, strict=True)
    ]


@pytest.fixture(scope="module")
def statements(examples):
    labels = ("contradiction", "neutral", "entailment") * 2
    return [replace(e, label=label) for e, label in zip(examples, labels, strict=True)]


def test_it_has_the_capabilities_it_claims(blip):
    assert isinstance(blip, Backbone) and isinstance(blip, Embeds) and isinstance(blip, Matches)
    assert not isinstance(blip, Answers)
    assert set(blip.parts()) == {"vision", "text", "fusion", "cross_attention", "projector", "head"}
    assert blip.traits.extras["score"] == "itm+itc" and blip.traits.extras["first_token"] == "[ENC]"
    for kind in (BlipAnswers, BlipEntailment):
        assert isinstance(kind.from_matching(blip), Answers)


def test_text_and_cross_attention_make_up_the_text_encoder(blip):
    parts = blip.parts()
    whole = {id(p) for p in blip.module.text_encoder.parameters()}
    reading, crossing = ({id(p) for p in parts[role].parameters()} for role in ("text", "cross_attention"))
    assert reading | crossing == whole and not reading & crossing


def test_the_released_sizes_are_the_default():
    config = sizes()
    text, vision = config.text_config, config.vision_config
    assert (vision.image_size, vision.patch_size, vision.num_hidden_layers, vision.hidden_size) == (384, 16, 12, 768)
    assert (text.num_hidden_layers, text.num_attention_heads, text.vocab_size, text.bos_token_id) == (
        12,
        12,
        30524,
        30522,
    )
    assert config.image_text_hidden_size == 256 and config.enc_token_id == 30523


def test_words_are_cleaned_as_blip_does():
    assert clean('A dark woman; she said: "Hi!" (really).') == "a dark woman she said hi really"
    assert clean("what's in the far-off corner, if any?") == "what's in the far-off corner, if any?"
    assert clean("word " * 60) == " ".join(["word"] * 50)


def test_no_word_of_the_world_is_unknown(blip):
    words = blip.processor.tokenizer
    ids = blip.processor.texts([e.text for e in small_corpus().train])["input_ids"]
    assert not (ids == words.unk_token_id).any()
    assert words.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [len(words) - 2, len(words) - 1]


def test_a_batch_of_one_person_does_not_crash(blip, examples):
    batch = blip.collate(examples[:2])
    assert batch["groups"].tolist() == [0, 0]
    loss = blip.loss(batch)
    assert loss.shape == (2,) and loss.isfinite().all()
    loss.mean().backward()


def test_the_task_loss_changes_nothing_and_reaches_everything(blip, examples):
    blip.module.hold_momentum(16)
    before = {k: v.clone() for k, v in blip.module.state_dict().items()}
    blip.loss(blip.collate(examples)).mean().backward()
    assert all(torch.equal(v, before[k]) for k, v in blip.module.state_dict().items())
    untouched = {k for k, p in blip.module.named_parameters() if p.requires_grad and p.grad is None}
    assert untouched == set()
    assert all(not p.requires_grad for k, p in blip.module.named_parameters() if "_m." in k)


def test_forgetting_drops_what_remembers(blip, tmp_path):
    blip.module.hold_momentum(16)
    blip.save_pretrained(tmp_path / "with")
    assert Blip.from_pretrained(tmp_path / "with").module.has_momentum
    blip.drop_training_state()
    assert not blip.module.has_momentum
    assert not any("_m." in k or "queue" in k for k in blip.module.state_dict())
    blip.save_pretrained(tmp_path / "without")
    assert not Blip.from_pretrained(tmp_path / "without").module.has_momentum


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_saved_it_loads_back(blip, examples, tmp_path, dtype):
    with torch.no_grad():
        blip.module.temp.fill_(0.25)
    blip.module.config.enc_first = False
    blip.save_pretrained(tmp_path, dtype=dtype)
    again = load(tmp_path)
    assert type(again) is Blip and not again.enc_first and again.temperature.item() == 0.25
    with torch.no_grad():
        ours, theirs = (m.encode_images(m.collate(examples)).feature for m in (blip, again))
    assert theirs.dtype == torch.float32
    assert torch.equal(ours, theirs) if dtype is None else torch.allclose(ours, theirs, atol=1e-2)
    if dtype is None:
        states = blip.module.state_dict(), again.module.state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_a_folder_opens_with_transformers_and_theirs_with_us(blip, examples, tmp_path):
    blip.module.config.enc_first = False  # transformers never substitutes
    blip.save_pretrained(tmp_path / "ours")
    theirs = BlipForImageTextRetrieval.from_pretrained(tmp_path / "ours").eval()
    batch = blip.collate(examples)
    with torch.no_grad():
        said = theirs(batch["input_ids"], batch["pixels"], attention_mask=batch["attention_mask"]).itm_score
        fused = blip.fuse(blip.encode_images(batch), blip.encode_texts(batch))
    assert torch.allclose(said, fused.logits, atol=1e-5)
    theirs.save_pretrained(tmp_path / "theirs")
    blip.processor.save_pretrained(tmp_path / "theirs")
    again = load(tmp_path / "theirs")
    assert type(again) is Blip and again.temperature.item() == pytest.approx(0.07)


def test_a_copy_is_independent(blip):
    other = blip.clone()
    with torch.no_grad():
        other.module.itm_head.weight.add_(1.0)
    assert type(other) is Blip and not torch.equal(other.module.itm_head.weight, blip.module.itm_head.weight)


def test_prepared_pictures_fuse_like_encoded_ones(blip, examples):
    batch = blip.collate(examples)
    with torch.no_grad():
        images, texts = blip.encode_images(batch), blip.encode_texts(batch)
        order = torch.tensor([3, 1, 2, 0, 5, 4])
        one = blip.fuse(images.take(order), texts).logits
        two = blip.fuse(blip.prepare_images(images)[order], texts).logits
    assert torch.allclose(one, two, atol=1e-6)
    with pytest.raises(ValueError, match="image_in"):
        blip.fuse(blip.prepare_images(images), texts, {"image_in": lambda h: h})
    with pytest.raises(ValueError, match="token ids"):
        blip.fuse(images, texts._replace(ids=None))


SITES = ["fused_in", "image_in", "text_tokens", "xattn_out"]


@pytest.mark.parametrize("site", SITES)
def test_every_tap_is_on_the_way(blip, examples, site):
    batch = blip.collate(examples)
    with torch.no_grad():
        images, texts = blip.encode_images(batch), blip.encode_texts(batch)
        plain = blip.fuse(images, texts).states
        assert torch.equal(plain, blip.fuse(images, texts, {site: lambda h: h}).states)
        assert not torch.allclose(plain, blip.fuse(images, texts, {site: lambda h: h * 2 + 1}).states)


@pytest.mark.parametrize("site", SITES)
def test_scaling_a_gradient_changes_gradients_only(blip, examples, site):
    batch = blip.collate(examples)

    def gradients(taps):
        blip.module.zero_grad()
        logits = blip.fuse(blip.encode_images(batch), blip.encode_texts(batch), taps).logits
        logits[:, 1].sum().backward()
        return logits.detach(), {k: p.grad.clone() for k, p in blip.module.named_parameters() if p.grad is not None}

    half = {site: lambda h: scale_gradient(h, torch.full((1, 1, 1), 0.5))}
    (logits, plain), (same, scaled) = gradients(None), gradients(half)
    assert torch.equal(logits, same)
    changed = {k for k in plain if not torch.allclose(plain[k], scaled[k], rtol=1e-4, atol=1e-9)}
    assert changed and not any(k.startswith("itm_head") for k in changed)


def test_a_padded_text_is_the_same_text(blip, examples):
    alone, together = blip.collate(examples[:1]), blip.collate(examples)
    with torch.no_grad():
        one = blip.fuse(blip.encode_images(alone), blip.encode_texts(alone)).logits[0]
        two = blip.fuse(blip.encode_images(together), blip.encode_texts(together)).logits[0]
    assert torch.allclose(one, two, atol=1e-5)


def test_enc_takes_the_first_place_only_when_fused(blip, examples):
    batch = blip.collate(examples)
    assert blip.entry(batch["input_ids"])[:, 0].unique().tolist() == [
        blip.processor.tokenizer.convert_tokens_to_ids("[ENC]")
    ]
    assert torch.equal(blip.entry(batch["input_ids"])[:, 1:], batch["input_ids"][:, 1:])
    assert batch["input_ids"][:, 0].unique().tolist() == [blip.processor.tokenizer.cls_token_id]  # left as it was
    blip.module.config.enc_first = False
    assert torch.equal(blip.entry(batch["input_ids"]), batch["input_ids"])


def test_gradcam_lies_on_text_only_and_on_its_first_token_in_the_last_layer(blip, examples):
    batch = blip.collate(examples)
    cam = blip.gradcam(batch)
    assert cam.shape == (*batch["input_ids"].shape, 2, 2) and (cam >= 0).all() and cam.sum() > 0
    assert cam[:, 1:].abs().sum() == 0
    earlier = blip.gradcam(batch, layer=0)
    assert earlier[:, 1:].sum() > 0 and earlier[batch["attention_mask"] == 0].abs().sum() == 0


def test_positions_are_interpolated_as_albefs_are(blip, examples, tmp_path):
    blip.save_pretrained(tmp_path)
    bigger = Blip.from_pretrained(tmp_path, pixels=32)
    old = blip.module.vision_model.embeddings.position_embedding
    expected = albef_checkpoints.interpolate_positions(old.detach(), 32, 8)
    assert torch.allclose(bigger.module.vision_model.embeddings.position_embedding, expected, atol=1e-6)
    assert bigger.traits.pixels == 32 and bigger.collate(examples)["pixels"].shape[-1] == 32
    assert bigger.loss(bigger.collate(examples)).isfinite().all()
    bigger.save_pretrained(tmp_path / "again")
    assert load(tmp_path / "again").traits.pixels == 32
    with pytest.raises(ExpungeError, match="multiple of the patch"):
        Blip.from_pretrained(tmp_path, pixels=30)


# ------------------------------------------------------------------------------------------- released files


def write_words(blip, folder):
    words = sorted(blip.processor.tokenizer.get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("\n".join(w for w, _ in words))


def released(model, folder, heads=None):
    """The model read back from a released file."""
    model.save_official(folder / "model.pth")
    return checkpoints.read_official(folder / "model.pth", heads=heads)


@pytest.mark.parametrize("kind", [Blip, BlipAnswers, BlipEntailment])
def test_the_released_layout_goes_there_and_back(blip, tmp_path, kind):
    model = blip if kind is Blip else kind.from_matching(blip)
    again = released(model, tmp_path)
    assert type(again) is type(model.module)
    parts = again.config.vision_config, again.config.text_config
    assert [part.num_attention_heads for part in parts] == [2, 2]  # which no tensor tells
    before, after = model.module.state_dict(), again.state_dict()
    assert all(torch.equal(before[k], v) for k, v in after.items() if k in before and "temp" not in k)
    lost = set(before) - set(after)
    assert lost == (
        set() if kind is not BlipAnswers else {k for k in before if k.split(".")[0] in ("vision_proj", "text_proj")}
    )


def test_a_released_file_loads_with_its_words(blip, examples, tmp_path):
    blip.save_official(tmp_path / "model.pth")
    with pytest.raises(ExpungeError, match=r"vocab\.txt"):
        load(tmp_path / "model.pth")
    write_words(blip, tmp_path)
    again = load(tmp_path / "model.pth")
    assert again.traits.extras["official_layout"] and again.traits.max_text_tokens == 24
    assert torch.equal(again.collate(examples)["input_ids"], blip.collate(examples)["input_ids"])
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na")
    with pytest.raises(ExpungeError, match="not the list"):
        load(tmp_path / "model.pth")


def test_pretraining_files_lose_their_decoder(blip, tmp_path):
    blip.module.hold_momentum(16)
    blip.save_official(tmp_path / "fine.pth")
    state = torch.load(tmp_path / "fine.pth", weights_only=True)["model"]
    state["queue_ptr"] = state.pop("ptr_queue")
    del state["idx_queue"]
    torch.save({"model": state | {"text_decoder.cls.predictions.bias": torch.zeros(3)}}, tmp_path / "pre.pth")
    one, two = (checkpoints.read_official(tmp_path / name, heads=2) for name in ("fine.pth", "pre.pth"))
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())


class Evil:
    def __reduce__(self):
        return (print, ("a pickle ran",))


def test_what_is_no_blip_is_refused(tmp_path, capsys):
    small_albef().save_official(tmp_path / "albef.pth")
    with pytest.raises(ExpungeError, match="not a BLIP"):
        checkpoints.read_official(tmp_path / "albef.pth")
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ExpungeError, match="opened safely"):
        checkpoints.read_official(tmp_path / "evil.pth")
    assert "a pickle ran" not in capsys.readouterr().out


# ------------------------------------------------------------------------------------------- answers


def test_choices_become_tokens(blip, questions):
    model = BlipAnswers.from_matching(blip)
    batch = model.collate(questions)
    words = blip.processor.tokenizer
    assert batch["choice_ids"].shape[:2] == (6, 3) and batch["target"].tolist() == [1, 0] * 3
    assert batch["choice_ids"][:, :, 0].unique().tolist() == [words.convert_tokens_to_ids("[DEC]")]
    assert words.decode(batch["choice_ids"][0, 1], skip_special_tokens=True).strip() == "an owl"
    assert batch["choice_mask"][1, 2].sum() == 0  # the second question offers two
    assert words.decode(batch["input_ids"][0], skip_special_tokens=True).startswith("what is it")
    asked = words.decode(batch["input_ids"][1], skip_special_tokens=True)
    assert asked.split()[:2] == clean(questions[1].text).split()[:2]  # without a question the text is it
    ids = blip.processor.choices([["3.5", "3 5", "!"]], 0)["choice_ids"][0]  # answers are not cleaned
    assert ids[0].tolist() != ids[1].tolist() and int(ids[2, 1]) != words.sep_token_id


def test_unknown_and_missing_answers(blip, questions):
    model = BlipAnswers.from_matching(blip)
    unknown = model.collate([replace(questions[0], answer=None)])
    assert unknown["target"].tolist() == [-1]
    with pytest.raises(ValueError, match="right answer"):
        model.loss(unknown)
    assert model.collate([replace(questions[0], choices=())])["target"].tolist() == [0]
    with pytest.raises(ExpungeError, match="not among the choices"):
        model.collate([replace(questions[0], answer="a bee")])


def test_choices_are_likelihoods_of_their_own(blip, questions):
    """Each score is the plain negated loss of that answer, whatever stands beside it; missing ones are impossible."""
    model = BlipAnswers.from_matching(blip)
    model.module.config.text_config.label_smoothing = 0.0
    batch = model.collate(questions)
    with torch.no_grad():
        scores = model.choose(model.fuse(model.encode_images(batch), model.encode_texts(batch)), batch)
        assert scores.shape == (6, 3) and torch.isneginf(scores[1::2, 2]).all()
        for i, e in enumerate(questions[:2]):
            for c, choice in enumerate(e.choices):
                alone = model.collate([replace(e, choices=(choice,), answer=choice)])
                assert torch.allclose(-model.loss(alone)[0], scores[i, c], atol=1e-4)
    assert (scores.masked_fill(scores.isneginf(), 0) < 0.001).all()


def test_prepared_pictures_answer_alike(blip, questions):
    model = BlipAnswers.from_matching(blip)
    batch = model.collate(questions)
    with torch.no_grad():
        images, texts = model.encode_images(batch), model.encode_texts(batch)
        one = model.choose(model.fuse(images, texts), batch)
        two = model.choose(model.fuse(model.prepare_images(images), texts), batch)
    assert torch.allclose(one[one.isfinite()], two[two.isfinite()], atol=1e-5)


@pytest.mark.parametrize("kind", [BlipAnswers, BlipEntailment])
def test_answering_models_save_load_and_learn(blip, questions, statements, tmp_path, kind):
    given = questions if kind is BlipAnswers else statements
    model = kind.from_matching(blip)
    assert torch.equal(model.temperature, blip.temperature)
    with torch.no_grad():
        batch = model.collate(given)
        assert torch.equal(model.encode_texts(batch).feature, blip.encode_texts(batch).feature)
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert type(again) is kind
    assert torch.equal(model.loss(model.collate(given)), again.loss(again.collate(given)))
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=3e-3)
    before = model.loss(batch).mean()
    for _ in range(10):
        optimizer.zero_grad()
        model.loss(batch).mean().backward()
        optimizer.step()
    assert model.loss(batch).mean() < before


def test_the_same_seed_grows_the_same_model(blip):
    one, two, other = (BlipEntailment.from_matching(blip, seed).module.cls_head[0].weight for seed in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_labels_have_their_places(blip, statements):
    model = BlipEntailment.from_matching(blip)
    batch = model.collate(statements[:3])
    assert batch["target"].tolist() == [0, 1, 2]
    fused = model.fuse(model.encode_images(batch), model.encode_texts(batch))
    assert model.choose(fused, batch).shape == (3, 3) and fused.logits.shape == (3, 0)
    unlabelled = model.collate([replace(statements[0], label=None)])
    with pytest.raises(ValueError, match="label"):
        model.loss(unlabelled)
    with pytest.raises(ExpungeError, match="none of contradiction"):
        model.collate([replace(statements[0], label="maybe")])


def test_a_decoder_reads_its_question_and_none_of_its_padding(blip, questions):
    """The same question alone and beside a longer one; what is masked of it changes nothing."""
    model = BlipAnswers.from_matching(blip)
    spread(model)
    short, long = replace(questions[0], text="a cat"), replace(questions[1], text="a cat in a red hat with a green owl")
    with torch.no_grad():
        found = []
        for some in ([short], [short, long]):
            batch = model.collate(some)
            found.append(model.choose(model.fuse(model.encode_images(batch), model.encode_texts(batch)), batch)[0])
        assert torch.allclose(found[0], found[1][: len(found[0])], atol=1e-4)
        other = model.collate([replace(short, text="an owl")])
        asked = model.choose(model.fuse(model.encode_images(other), model.encode_texts(other)), other)[0]
        assert not torch.allclose(asked, found[0], atol=1e-3)


def spread(model):
    """Weights large enough that what is read matters."""
    torch.manual_seed(0)
    for p in model.module.parameters():
        if p.ndim > 1:
            torch.nn.init.normal_(p, std=0.5)


def test_an_answer_that_cannot_be_grown_or_tied_is_refused(blip, tmp_path):
    model = BlipAnswers.from_matching(blip)
    model.save_official(tmp_path / "model.pth")
    found = torch.load(tmp_path / "model.pth", weights_only=True)
    found["model"]["text_decoder.cls.predictions.decoder.weight"] += 1
    torch.save(found, tmp_path / "odd.pth")
    with pytest.raises(ExpungeError, match="not tied"):
        checkpoints.read_official(tmp_path / "odd.pth")
    blip.module.config.text_config.hidden_size = 8
    with pytest.raises(ExpungeError, match="as wide as"):
        model.start.__func__(blip)


def test_folders_of_another_task_or_without_a_weight_are_refused(blip, tmp_path):
    blip.save_pretrained(tmp_path / "retrieval")
    for kind in (BlipAnswers, BlipEntailment):
        with pytest.raises(ExpungeError, match="of another kind"):
            kind.from_pretrained(tmp_path / "retrieval")
    held = load_file(tmp_path / "retrieval" / "model.safetensors")
    del held["itm_head.bias"]
    save_file(held, tmp_path / "retrieval" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ExpungeError, match=r"lacks 1 of the weights of a BlipForMatching \(itm_head.bias\)"):
        load(tmp_path / "retrieval")


def test_the_momentum_of_a_resized_model_stays_still(blip):
    blip.module.hold_momentum(16)
    resize(blip.module, 32)
    for name, moved in (("vision_model", True), ("vision_model_m", False)):
        held = getattr(blip.module, name).embeddings.position_embedding
        assert held.shape[1] == 17 and held.requires_grad is moved, name


@pytest.mark.parametrize("training", [False, True])
def test_dropout_is_for_training_alone(blip, examples, training, monkeypatch):
    """Of the attention and of what follows it, one at a time."""
    batch = blip.collate(examples[:2])
    blip.module.train(training)
    layer = blip.module.text_encoder.encoder.layer[0].attention
    for place in (layer.self.dropout, layer.output.dropout):
        monkeypatch.setattr(place, "p", 0.5)
        with torch.no_grad():
            one, two = (blip.encode_texts(batch).feature for _ in range(2))
        assert torch.equal(one, two) is not training
        monkeypatch.undo()


def test_grown_models_stand_still_and_draw_from_a_generator_of_their_own(blip):
    before = torch.random.get_rng_state()
    for kind in (BlipAnswers, BlipEntailment):
        blip.traits = replace(blip.traits, name="model_base.pth")
        model = kind.from_matching(blip)
        assert not model.module.training and not model.traits.extras["official_layout"]
        assert not model.module.config.queue and torch.equal(before, torch.random.get_rng_state())


def test_long_texts_are_cut_at_the_limit(blip, tmp_path):
    assert blip.processor.texts(["a red cat " * 30])["input_ids"].shape == (1, 24)
    blip.processor.tokenizer.model_max_length = 512  # as the hub's folders say; BLIP's data code cuts at 35
    blip.processor.tokenizer.save_pretrained(tmp_path)
    blip.processor.image.save_pretrained(tmp_path)
    assert BlipProcessor.from_pretrained(tmp_path).max_text_tokens == 35
