"""ALBEF beyond parity: what a training or unlearning run relies on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from expunge.backbones.albef import Albef, AlbefAnswers, AlbefConfig, AlbefEntailment, checkpoints, losses
from expunge.core.errors import ExpungeError
from expunge.core.pictures import HeldPicture
from expunge.core.types import Backbone, Embeds, Matches
from expunge.testing import small_albef, small_corpus
from expunge.zoo import shelf


@pytest.fixture
def albef():
    return small_albef()


@pytest.fixture(scope="module")
def examples():
    people = [e for e in small_corpus().train if e.source == "people"]
    return people[:2] + people[12:14] + [e for e in small_corpus().train if e.source == "scenes"][:2]


def test_it_has_the_capabilities_it_claims(albef):
    assert isinstance(albef, Backbone) and isinstance(albef, Embeds) and isinstance(albef, Matches)
    assert set(albef.parts()) == {"vision", "text", "fusion", "cross_attention", "projector", "head"}


def test_the_released_sizes_are_the_default():
    config = AlbefConfig()
    assert (config.pixels, config.patch, config.vision_layers, config.text_layers, config.fusion_layer) == (
        384,
        16,
        12,
        12,
        6,
    )
    assert (config.vision_width, config.projection, config.queue, config.vocabulary) == (768, 256, 65536, 30522)


def test_a_batch_of_one_person_does_not_crash(albef, examples):
    batch = albef.collate(examples[:2])
    assert batch["groups"].tolist() == [0, 0]
    loss = albef.loss(batch)
    assert loss.shape == (2,) and loss.isfinite().all()
    loss.mean().backward()


def test_the_task_loss_changes_nothing(albef, examples):
    albef.module.start_momentum()
    before = {k: v.clone() for k, v in albef.module.state_dict().items()}
    albef.loss(albef.collate(examples))
    assert all(torch.equal(v, before[k]) for k, v in albef.module.state_dict().items())


def test_the_released_step_moves_momentum_and_queue(albef, examples):
    albef.module.start_momentum()
    with torch.no_grad():
        albef.module.vision_proj.weight.add_(1.0)
    old = albef.module.vision_proj_m.weight.clone()
    terms = albef.training_loss(albef.collate(examples))
    assert set(terms) == {"ita", "itm"} and int(albef.module.queue_ptr) == len(examples)
    assert not torch.equal(old, albef.module.vision_proj_m.weight)
    trained = dict(albef.module.named_parameters())
    assert all(not p.requires_grad for k, p in trained.items() if "_m." in k)


def test_the_queue_wraps_round(albef):
    albef.module.start_momentum()
    feature = torch.nn.functional.normalize(torch.randn(10, 8), dim=-1)
    for _ in range(2):
        albef.module.enqueue(feature, feature, torch.arange(10))
    assert int(albef.module.queue_ptr) == 4 and albef.module.idx_queue[0, :4].tolist() == [6, 7, 8, 9]


def test_masked_words_learn_only_from_words(albef, examples):
    from expunge.backbones.albef.model import MaskedLanguageHead

    model = albef.module
    model.mlm_head = MaskedLanguageHead(16, model.config.vocabulary, 1e-12)
    batch = albef.collate(examples)
    image, _ = model.image_tokens(batch["pixels"])
    torch.manual_seed(0)
    loss = losses.masked_words(model, image, batch, mask_id=4, special=5, rate=0.5)
    assert loss.shape == (len(examples),) and loss.mean() > 1
    none = losses.masked_words(model, image, batch, 4, special=model.config.vocabulary - 1)
    assert none.abs().max() == 0  # every word counts as special


def test_forgetting_drops_what_remembers(albef):
    albef.module.start_momentum()
    albef.drop_training_state()
    assert not albef.module.has_momentum
    assert not any("_m." in k or "queue" in k for k in albef.module.state_dict())


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_saved_it_loads_back(albef, examples, tmp_path, dtype):
    albef.save_pretrained(tmp_path, dtype=dtype)
    again = Albef.from_pretrained(tmp_path)
    with torch.no_grad():
        ours, theirs = (m.encode_images(m.collate(examples)).feature for m in (albef, again))
    assert theirs.dtype == torch.float32
    assert torch.equal(ours, theirs) if dtype is None else torch.allclose(ours, theirs, atol=1e-2)


def test_prepared_pictures_fuse_like_encoded_ones(albef, examples):
    batch = albef.collate(examples)
    with torch.no_grad():
        images, texts = albef.encode_images(batch), albef.encode_texts(batch)
        order = torch.tensor([3, 1, 2, 0, 5, 4])
        one = albef.fuse(images.take(order), texts).logits
        two = albef.fuse(albef.prepare_images(images)[order], texts).logits
    assert torch.allclose(one, two, atol=1e-6)
    with pytest.raises(ValueError, match="image_in"):
        albef.fuse(albef.prepare_images(images), texts, {"image_in": lambda h: h})


@pytest.mark.parametrize("site", ["fused_in", "image_in", "text_tokens", "xattn_out"])
def test_every_tap_is_on_the_way(albef, examples, site):
    batch = albef.collate(examples)
    with torch.no_grad():
        images, texts = albef.encode_images(batch), albef.encode_texts(batch)
        plain = albef.fuse(images, texts).states
        assert torch.equal(plain, albef.fuse(images, texts, {site: lambda h: h}).states)
        assert not torch.allclose(plain, albef.fuse(images, texts, {site: lambda h: h * 2 + 1}).states)


def test_a_padded_text_is_the_same_text(albef, examples):
    alone = albef.collate(examples[:1])
    together = albef.collate(examples)
    with torch.no_grad():
        one = albef.fuse(albef.encode_images(alone), albef.encode_texts(alone)).logits[0]
        two = albef.fuse(albef.encode_images(together), albef.encode_texts(together)).logits[0]
    assert torch.allclose(one, two, atol=1e-5)


def test_what_is_no_albef_is_refused(tmp_path):
    torch.save({"model": {"something": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ExpungeError, match="not an ALBEF"):
        checkpoints.read_official(tmp_path / "other.pth")
    (tmp_path / "broken.pth").write_bytes(b"no checkpoint")
    with pytest.raises(ExpungeError, match="opened safely"):
        checkpoints.read_official(tmp_path / "broken.pth")


class Evil:
    def __reduce__(self):
        return (print, ("a pickle ran",))


def test_a_pickle_with_code_in_it_never_runs(tmp_path, capsys):
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ExpungeError, match="opened safely"):
        checkpoints.read_official(tmp_path / "evil.pth")
    assert "a pickle ran" not in capsys.readouterr().out


def test_pretraining_checkpoints_lose_their_bert_prefix(albef, tmp_path):
    albef.save_official(tmp_path / "fine.pth")
    state = torch.load(tmp_path / "fine.pth", weights_only=True)["model"]
    renamed = {k.replace("text_encoder.", "text_encoder.bert."): v for k, v in state.items()}
    renamed["text_encoder.cls.predictions.bias"] = torch.zeros(3)
    torch.save({"model": renamed}, tmp_path / "pre.pth")
    one, two = (checkpoints.read_official(tmp_path / name, heads=2) for name in ("fine.pth", "pre.pth"))
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())


def test_a_checkpoint_without_words_says_what_to_do(albef, tmp_path):
    albef.save_official(tmp_path / "ALBEF.pth")
    with pytest.raises(ExpungeError, match="vocab.txt"):
        Albef.from_pretrained(tmp_path / "ALBEF.pth")
    with pytest.raises(ExpungeError, match="multiple of the patch"):
        Albef.from_pretrained(tmp_path / "ALBEF.pth", pixels=30)


def test_the_roles_of_the_text_encoder_are_disjoint_and_all_of_it(albef):
    parts = albef.parts()
    text, fusion, crossing = ({id(p) for p in parts[r].parameters()} for r in ("text", "fusion", "cross_attention"))
    assert text | fusion == {id(p) for p in albef.module.text_encoder.parameters()} and not text & fusion
    assert crossing < fusion


@pytest.mark.parametrize("kind", [AlbefAnswers, AlbefEntailment])
def test_a_folder_of_another_task_is_refused_either_way(albef, tmp_path, kind):
    """transformers would draw the head or the decoder at random and say so in its log only."""
    albef.save_pretrained(tmp_path / "retrieval")
    with pytest.raises(ExpungeError, match="of another kind"):
        kind.from_pretrained(tmp_path / "retrieval")
    kind.start_from(albef).save_pretrained(tmp_path / "other")
    with pytest.raises(ExpungeError, match="itm_head"):
        Albef.from_pretrained(tmp_path / "other")


def test_a_folder_that_lacks_weights_is_refused(albef, tmp_path):
    albef.save_pretrained(tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    del held["itm_head.weight"]
    save_file(held, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ExpungeError, match=r"lacks 1 of the weights of a AlbefModel \(itm_head.weight\)"):
        shelf.load(tmp_path)


def test_a_folder_opens_for_larger_pictures(albef, examples, tmp_path):
    albef.save_pretrained(tmp_path)
    bigger = Albef.from_pretrained(tmp_path, pixels=32)
    old = albef.module.visual_encoder.pos_embed.detach()
    assert torch.equal(bigger.module.visual_encoder.pos_embed, checkpoints.interpolate_positions(old, 32, 8))
    assert bigger.module.visual_encoder.pos_embed.requires_grad and bigger.traits.pixels == 32
    assert bigger.loss(bigger.collate(examples)).isfinite().all()
    bigger.save_pretrained(tmp_path / "again")
    assert shelf.load(tmp_path / "again").collate(examples)["pixels"].shape[-1] == 32
    with pytest.raises(ExpungeError, match="multiple of the patch"):
        Albef.from_pretrained(tmp_path, pixels=30)


def write_words(albef, folder, more=()):
    words = sorted(albef.processor.tokenizer.get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("\n".join([*(w for w, _ in words), *more]))


def test_the_released_layout_goes_there_and_back(albef, examples, tmp_path):
    """Heads too, which no tensor tells, and the momentum that the file was trained with."""
    for p in albef.module.parameters():
        torch.nn.init.normal_(p, std=0.5) if p.ndim > 1 else None
    albef.module.config.momentum = 0.9
    albef.save_official(tmp_path / "model.pth")
    write_words(albef, tmp_path)
    again, batch = shelf.load(tmp_path / "model.pth"), albef.collate(examples)
    assert torch.equal(again.collate(examples)["input_ids"], batch["input_ids"])
    with torch.no_grad():
        ours, theirs = (m.fuse(m.encode_images(batch), m.encode_texts(batch)).logits for m in (albef, again))
    assert torch.equal(ours, theirs) and again.module.config.momentum == 0.9
    write_words(albef, tmp_path, ["one", "too", "many"])
    with pytest.raises(ExpungeError, match="only"):
        Albef.from_pretrained(tmp_path / "model.pth")


@pytest.mark.parametrize(("width", "heads"), [(768, 12), (512, 8), (256, 4)])
def test_a_file_that_tells_no_heads_has_them_by_width(width, heads):
    state = {
        "visual_encoder.patch_embed.proj.weight": torch.zeros(width, 3, 8, 8),
        "visual_encoder.pos_embed": torch.zeros(1, 5, width),
        "visual_encoder.cls_token": torch.zeros(1, 1, width),
        "visual_encoder.blocks.0.norm1.bias": torch.zeros(width),
        "text_encoder.embeddings.word_embeddings.weight": torch.zeros(9, width),
        "text_encoder.embeddings.position_embeddings.weight": torch.zeros(512, width),
        "text_encoder.encoder.layer.0.intermediate.dense.weight": torch.zeros(7, width),
        "text_encoder.encoder.layer.3.crossattention.self.key.bias": torch.zeros(width),
        "text_decoder.bert.encoder.layer.1.output.dense.bias": torch.zeros(width),
        "temp": torch.tensor(0.02),
    }
    found = checkpoints._sizes_of(state, {}, None, checkpoints.AlbefAnswersModel)
    assert found["vision_heads"] == found["text_heads"] == heads
    assert (found["text_layers"], found["fusion_layer"], found["decoder_layers"]) == (4, 3, 2)
    assert found["max_text_tokens"] == 50 and found["initial_temperature"] == pytest.approx(0.02)
    assert checkpoints._sizes_of(state, {}, None, checkpoints.AlbefModel)["max_text_tokens"] == 30


def test_pretraining_checkpoints_keep_no_ids_in_their_queue(albef, tmp_path):
    albef.module.start_momentum()
    albef.save_official(tmp_path / "model.pth")
    state = torch.load(tmp_path / "model.pth", weights_only=True)["model"]
    del state["idx_queue"]
    torch.save({"model": state}, tmp_path / "pre.pth")
    read = checkpoints.read_official(tmp_path / "pre.pth", heads=2)
    assert read.has_momentum and read.idx_queue.tolist() == [[-100] * 16]


def test_the_module_itself_scores_pairs(albef, examples):
    batch = albef.collate(examples)
    with torch.no_grad():
        fused = albef.fuse(albef.encode_images(batch), albef.encode_texts(batch))
        assert torch.equal(albef.module(batch["pixels"], batch["input_ids"], batch["attention_mask"]), fused.logits)


def test_pictures_stand_upright_and_are_normalised_as_released(albef):
    levels = np.zeros((16, 16, 3), dtype=np.uint8)
    levels[2, 5] = (255, 0, 51)  # third row, sixth column
    (made,) = albef.processor.pictures([HeldPicture("dot", Image.fromarray(levels))])
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    torch.testing.assert_close(made[:, 2, 5], (torch.tensor([1.0, 0.0, 0.2]) - mean) / std)
    torch.testing.assert_close(made[:, 5, 2], -mean / std)


def test_long_texts_are_cut_at_the_limit_and_end(albef):
    made, words = albef.processor.texts(["A red cat, " * 30, "red"]), albef.processor.tokenizer
    assert made["input_ids"].shape == (2, 24) and made["attention_mask"].sum(1).tolist() == [24, 3]
    assert made["input_ids"][0, -1] == words.sep_token_id and words.unk_token_id not in made["input_ids"]


def test_groups_are_people_and_otherwise_pictures(albef, examples):
    shown = [replace(e, group=g) for e, g in zip(examples[2:] * 2, ("p", "q", "p", None, "q", None, None, None))]
    pictures = [e.image.key for e in shown]
    made = albef.collate(shown)
    numbers = {name: i for i, name in enumerate(dict.fromkeys(e.group or e.image.key for e in shown))}
    expected = [numbers[e.group or key] for e, key in zip(shown, pictures, strict=True)]
    assert made["groups"].tolist() == expected and expected[0] == expected[2] and pictures[0] != pictures[2]
    alike = made["groups"][:, None] == made["groups"][None]
    assert torch.equal(alike, made["ids"][:, None] == made["ids"][None]) and made["ids"].min() >= 0
