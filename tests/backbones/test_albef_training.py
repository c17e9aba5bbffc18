"""What the released training step of ALBEF does beside its numbers: queues, negatives, masked words, dropout."""

import pytest
import torch
from torch import nn

from expunge.backbones.albef import AlbefConfig, AlbefModel, losses
from expunge.backbones.albef.network import Attending, Projection, TextEmbeddings
from expunge.testing import small_albef, small_corpus
from expunge.train import matching


@pytest.fixture
def albef():
    model = small_albef()
    model.module.start_momentum()
    return model


@pytest.fixture(scope="module")
def strangers():
    """One example of each of ten groups; texts of several lengths."""
    return list({e.group: e for e in small_corpus().train}.values())[:10]


def test_momentum_starts_at_the_model_and_the_queues_at_nobody(albef):
    m = albef.module
    for name in ("visual_encoder", "vision_proj", "text_encoder", "text_proj"):
        copies, own = getattr(m, name + "_m").state_dict(), getattr(m, name).state_dict()
        assert all(torch.equal(copies[k], own[k]) for k in own), name
    for queue in (m.image_queue, m.text_queue):
        torch.testing.assert_close(queue.norm(dim=0), torch.ones(16))
    assert not torch.equal(m.image_queue, m.text_queue) and m.idx_queue.eq(-100).all()


def test_a_stranger_in_the_queue_is_no_positive(albef, strangers, monkeypatch):
    """Groups are counted anew in every batch: by them the first of one batch were the first of the next."""
    asked, same = [], matching.same
    monkeypatch.setattr(matching, "same", lambda ids, others: asked.append(same(ids, others)) or asked[-1])
    first, second = albef.collate(strangers[:4]), albef.collate(strangers[4:8])
    assert torch.equal(first["groups"], second["groups"])
    for batch in (first, second, first):
        albef.training_loss(batch)
    before, after, again = (targets[:, len(first["groups"]) :] for targets in asked if targets.shape[1] > 4)
    assert before.eq(0).all() and after.eq(0).all()
    assert torch.equal(again[:, :4], 0.5 * torch.eye(4)) and again[:, 4:].eq(0).all()  # but the same people are one
    own = {k: v for k, v in second.items() if k != "ids"}  # a caller's own numbers serve as well
    albef.training_loss({**own, "groups": first["ids"]})
    assert asked[-1][:, 4:8].eq(torch.eye(4) / 3).all()


def test_the_queues_take_in_what_the_momentum_copies_see(albef, strangers):
    batch = albef.collate(strangers[:3])
    albef.training_loss(batch)
    m = albef.module
    with torch.no_grad():
        image = m.image_tokens(batch["pixels"], momentum=True)[1]
        text = m.text_tokens(batch["input_ids"], batch["attention_mask"], momentum=True)[1]
    torch.testing.assert_close(m.image_queue[:, :3], image.T)
    torch.testing.assert_close(m.text_queue[:, :3], text.T)
    assert torch.equal(m.idx_queue[0, :3], batch["ids"]) and m.idx_queue[0, 3:].eq(-100).all()


def test_hard_negatives_are_matched_as_any_matching_model_matches(albef, strangers, monkeypatch):
    batch = albef.collate(strangers)
    assert len(set(batch["attention_mask"].sum(1).tolist())) > 1
    images, texts = albef.encode_images(batch), albef.encode_texts(batch)
    similarity = images.feature @ texts.feature.T / albef.temperature
    torch.manual_seed(0)
    theirs = matching.match(lambda i, j: albef.fuse(images.take(i), texts.take(j)).logits, similarity, batch["groups"])
    given = {}
    monkeypatch.setattr(losses, "match", lambda *told, own=losses.match: given.update(told=told) or own(*told))
    torch.manual_seed(0)
    ours = losses.training_loss(albef.module, batch, 0.4)["itm"]
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(given["told"][4], similarity.detach())  # pictures by texts, and no gradient in it
    assert not given["told"][4].requires_grad


class Knows(nn.Module):
    """A head that is certain of the words it was told."""

    def __init__(self, words, vocabulary):
        super().__init__()
        self.logits = 99.0 * nn.functional.one_hot(words, vocabulary)

    def forward(self, states):
        return self.logits


def test_eight_in_ten_words_are_masked_one_is_another_and_one_stays(albef, strangers, monkeypatch):
    m, batch = albef.module, albef.collate(strangers * 20)
    ids = batch["input_ids"]
    words = ids >= 5
    reading, read = [], m.text_encoder.read
    monkeypatch.setattr(m.text_encoder, "read", lambda given, mask: reading.append(given) or read(given, mask))
    m.mlm_head = Knows(ids[words], m.config.vocabulary)
    torch.manual_seed(0)
    with torch.no_grad():
        image = m.image_tokens(batch["pixels"])[0]
        loss = losses.masked_words(m, image, batch, mask_id=4, special=5, rate=1.0)
    assert loss.max() < 1e-6  # what is to be guessed are the words that stood there
    (seen,) = reading
    assert torch.equal(seen[~words], ids[~words])
    masked, kept = seen[words] == 4, seen[words] == ids[words]
    assert masked.float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert kept.float().mean().item() == pytest.approx(0.1, abs=0.03)
    other = seen[words][~masked & ~kept]
    assert other.min() >= 5 and len(other.unique()) > 20


def test_pretraining_adds_masked_words_of_half_the_batch(albef, strangers, monkeypatch):
    shown = {}

    def guessing(model, image, batch, mask_id, special):
        shown.update(rows=len(image), ids=len(batch["input_ids"]), marks=(mask_id, special))
        return torch.tensor([1.0, 2.0])

    monkeypatch.setattr(losses, "masked_words", guessing)
    terms = albef.pretraining_loss(albef.collate(strangers[:3]), 0.4)
    words = albef.processor.tokenizer
    assert terms["mlm"].item() == 1.5 and shown["rows"] == shown["ids"] == 2
    assert shown["marks"] == (words.mask_token_id, max(words.all_special_ids) + 1)


def test_the_share_of_the_momentum_models_word_is_the_models_own_unless_told(albef, strangers, monkeypatch):
    asked = []
    ones = torch.ones(1)
    monkeypatch.setattr(losses, "training_loss", lambda m, b, alpha: asked.append(alpha) or {"ita": ones, "itm": ones})
    for alpha in (None, 0.0, 0.7):
        albef.training_loss({}, alpha)
    assert asked == [0.4, 0.0, 0.7]


@pytest.mark.parametrize(
    ("part", "given"),
    [
        (Attending(8, 2, 8, 0.5), lambda part, x: (x, part.keys_values(x), None)),
        (Projection(8, 8, 1e-12, 0.5), lambda part, x: (x, x)),
        (TextEmbeddings(9, 6, 8, 1e-12, 0.5), lambda part, x: (torch.arange(6)[None],)),
    ],
    ids=["attention", "output", "embeddings"],
)
def test_dropout_is_for_training_alone(part, given):
    told = given(part, torch.randn(1, 6, 8))
    assert not torch.equal(part.train()(*told), part(*told))
    assert torch.equal(part.eval()(*told), part(*told))


def test_fresh_weights_are_small_and_their_biases_nothing():
    sizes = {"vision_width": 16, "vision_layers": 1, "vision_heads": 2, "text_width": 16, "text_layers": 2}
    torch.manual_seed(0)
    m = AlbefModel(AlbefConfig(**sizes, fusion_layer=1, text_heads=2, text_inner=32, vocabulary=50, pixels=32))
    state = m.state_dict()
    spread = [k for k, v in state.items() if v.ndim > 1 and not 0.01 < v.std() < 0.03]
    assert spread == [] and all(v.eq(0).all() for k, v in state.items() if k.endswith("bias"))
