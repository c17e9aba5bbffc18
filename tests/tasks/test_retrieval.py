"""Retrieval: known answers, and that shortcuts change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.toy import Noise, Toy, people, person, scenes

from expunge.core.groups import digest
from expunge.core.types import Example
from expunge.tasks.encoding import encode, fuse_pairs
from expunge.tasks.gallery import Gallery
from expunge.tasks.predictions import WORST, Predictions, shortlist
from expunge.tasks.recall import expected_hits, recall
from expunge.tasks.retrieval import predict
from expunge.testing import small_blip, small_corpus


def world() -> tuple[Example, ...]:
    return people("ann", 6) + scenes("tree", 5)


def made(gallery: Gallery, itc, itm=None, k_test: int = 16) -> Predictions:
    """Predictions without a model: ``itc(picture example, text example)`` for every pair."""
    pictures = {digest(e.image.key): e for e in gallery.examples}
    texts = {digest(e.text): e for e in gallery.examples}

    def matrix(of):
        return torch.tensor([[float(of(pictures[p], texts[t])) for t in sorted(texts)] for p in sorted(pictures)])

    logits = matrix(itm or itc)
    return Predictions(tuple(sorted(pictures)), tuple(sorted(texts)), matrix(itc), logits, logits.sigmoid(), k_test)


def fits(picture: Example, text: Example) -> bool:
    return picture.described_by(text)


@pytest.mark.parametrize("kind", [None, "shared", "private"])
def test_a_perfect_model_has_recall_100(kind):
    gallery = Gallery("all", world(), kind=kind)
    found = recall(made(gallery, fits), gallery)
    assert found.value == 100
    assert found.table()["tr1"] == found.table()["ir1"] == 100


def test_identical_descriptions_count_for_everyone_they_fit():
    twins = [
        replace(e, id=f"{name}-{e.id}", image=Noise(name), group=name) for name in ("a", "b") for e in person("x")[:2]
    ]
    gallery = Gallery("twins", tuple(twins))
    assert recall(made(gallery, lambda p, t: p.group == "a"), gallery).value == 100


def test_without_meaning_a_text_belongs_to_its_pictures_and_to_equal_words():
    def plain(name, text):
        return Example(f"{name}{text}", Noise(name), text)

    gallery = Gallery("jsonl", (plain("a", "A dog."), plain("b", "a dog"), plain("c", "a cat")))
    board = made(gallery, fits).board(gallery)
    assert board.relevant.sum() == 5  # two spellings for each of a and b, one cat
    assert recall(made(gallery, lambda p, t: ("cat" in t.text) == (p.image.key == "c")), gallery).value == 100


def test_ties_count_by_expectation():
    scores = np.zeros((1, 20))
    relevant = np.zeros((1, 20), dtype=bool)
    relevant[0, 3] = True
    np.testing.assert_allclose(expected_hits(scores, relevant), [[1 / 20, 5 / 20, 10 / 20]])
    relevant[0, 7] = True  # two right among twenty: 1 - C(18, k) / C(20, k)
    np.testing.assert_allclose(
        expected_hits(scores, relevant), [[0.1, 1 - 15 * 14 / (20 * 19), 1 - 10 * 9 / (20 * 19)]]
    )
    scores[0, :4] = [2, 2, 2, 1]
    np.testing.assert_allclose(expected_hits(scores, relevant), [[0, 1, 1]])


def test_what_is_no_number_never_hits():
    """Such items tie with one another, and among equals the right one would come first now and then."""
    scores = np.full((1, 16), WORST)
    relevant = np.eye(1, 16, dtype=bool)
    assert expected_hits(scores, relevant).sum() == 0
    assert expected_hits(scores + np.linspace(0, 1, 16), relevant).sum() == 0, "with a cosine on top"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_expected_hits_are_what_random_tie_breaking_gives(seed, n):
    rng = np.random.default_rng(seed)
    scores, relevant = rng.integers(0, 3, (1, n)).astype(float), rng.random((1, n)) < 0.4
    orders = rng.random((4_000, n))
    ranks = np.lexsort((orders, np.broadcast_to(-scores, orders.shape)), axis=1)
    first = relevant[0][ranks].argmax(1) if relevant.any() else np.full(4_000, 99)
    simulated = [(first < k).mean() for k in (1, 5, 10)]
    np.testing.assert_allclose(expected_hits(scores, relevant)[0], simulated, atol=0.05)


def test_what_is_not_short_listed_never_hits():
    gallery = Gallery("all", world())
    found = recall(made(gallery, lambda p, t: not fits(p, t), fits, k_test=3), gallery)
    assert found.value == 0


def test_a_model_that_knows_nothing_is_at_chance():
    gallery = Gallery("all", world())
    table = recall(made(gallery, lambda p, t: 0.0), gallery).table()
    assert 0 <= table["ir1"] <= 25 and table["r"] < 75


def test_tiny_galleries_and_large_k():
    one = person("solo")[2:3]
    for examples in (one, one * 2, person("solo")):
        gallery = Gallery("one", tuple(examples))
        predictions = predict(Toy(), [gallery], k_test=128)
        found = recall(predictions, gallery)
        assert found.value == 100
        assert found.score().n >= 2


def test_all_groups_equal():
    everyone = tuple(replace(e, group="same") for e in world())
    score = recall(predict(Toy(), [Gallery("g", everyone)]), Gallery("g", everyone)).score()
    assert 0 <= score.value <= 100 and np.isnan(score.low)  # one group cannot be resampled


def test_private_texts_do_not_compete_with_descriptions():
    gallery = Gallery("all", world(), kind="private")
    board = made(gallery, fits).board(gallery)
    assert len(board.texts) == 12 + 15  # private sentences and all captions
    assert len(board.asking_pictures) == 6 and len(board.asking_texts) == 12


def test_a_gallery_refuses_queries_that_are_not_in_it():
    with pytest.raises(ValueError, match="lacks 4 of its queries"):
        Gallery("g", people("ann", 1), people("bob", 1))
    with pytest.raises(ValueError, match="empty"):
        Gallery("g", ())


def test_predictions_refuse_a_gallery_they_do_not_know():
    few, all_ = Gallery("few", people("ann", 2)), Gallery("all", world())
    with pytest.raises(ValueError, match="was not predicted"):
        recall(predict(Toy(), [few]), all_)
    wide = predict(Toy(), [Gallery("q", world(), people("ann", 1))], k_test=2)
    with pytest.raises(ValueError, match="not among those predicted"):
        recall(wide, all_)


@pytest.mark.parametrize("k_test", [1, 4, 500])
def test_prepared_equals_plain_loop(k_test):
    galleries = [Gallery("all", world()), Gallery("private", world(), people("ann", 2), "private")]
    fast, slow = (
        predict(Toy(3), galleries, k_test=k_test, batch=7, pair_batch=5, naive=naive) for naive in (False, True)
    )
    scored = ~fast.itm.isneginf()
    assert torch.equal(scored, ~slow.itm.isneginf())
    assert (fast.itm - slow.itm)[scored].abs().max() <= 1e-5
    for gallery in galleries:
        assert recall(fast, gallery).table() == pytest.approx(recall(slow, gallery).table())


def test_shortcuts_are_equal_where_the_fused_encoder_reads_the_text_anew():
    """BLIP fuses from token ids, so these must travel with the encodings through sorting, padding and cutting."""
    corpus = small_corpus()
    gallery = Gallery("all", corpus.test)
    fast, slow = (predict(small_blip(), [gallery], k_test=4, batch=7, pair_batch=5, naive=n) for n in (False, True))
    scored = ~fast.itm.isneginf()
    assert torch.equal(scored, ~slow.itm.isneginf()) and scored.sum() > 50
    assert (fast.itm - slow.itm)[scored].abs().max() <= 1e-5
    assert fast.itm[scored].std() > 0
    blip, pair = small_blip(), fast.itm.argmax()
    row, column = divmod(int(pair), fast.itm.shape[1])
    picture = next(e for e in corpus.test if digest(e.image.key) == fast.pictures[row])
    batch = blip.collate(
        [replace(picture, text=next(e.text for e in corpus.test if digest(e.text) == fast.texts[column]))]
    )
    with torch.no_grad():
        alone = blip.fuse(blip.encode_images(batch), blip.encode_texts(batch)).logits[0, 1]
    assert alone.item() == pytest.approx(fast.itm.max().item(), abs=1e-5)


def test_one_forward_gives_what_every_gallery_alone_gives():
    galleries = [
        Gallery("all", world()),
        Gallery("scenes", scenes("tree", 5)),
        Gallery("told", world(), people("ann", 2), "private"),
    ]
    together = predict(Toy(1), galleries, k_test=3)
    for gallery in galleries:
        alone = recall(predict(Toy(1), [gallery], k_test=3), gallery)
        np.testing.assert_allclose(recall(together, gallery).texts, alone.texts)
        np.testing.assert_allclose(recall(together, gallery).pictures, alone.pictures)


@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False))
def test_order_of_examples_changes_nothing(rng):
    shuffled = list(world())
    rng.shuffle(shuffled)
    first, second = (Gallery("g", tuple(e)) for e in (world(), shuffled))
    one, two = (predict(Toy(), [g], k_test=4) for g in (first, second))
    assert torch.equal(one.itm, two.itm) and torch.equal(one.itc, two.itc)
    assert recall(one, first).score() == recall(two, second).score()


def test_each_pair_is_scored_once():
    model = Toy()
    predictions = predict(model, [Gallery("a", world()), Gallery("b", world(), people("ann", 3))], k_test=4)
    assert model.fused_pairs == int((~predictions.itm.isneginf()).sum())


def test_itc_can_be_added():
    gallery = Gallery("g", world())
    predictions = predict(Toy(), [gallery])
    board = predictions.board(gallery)
    plain, both = (predictions.ranked(board, "texts", s) for s in ("itm", "itm+itc"))
    listed = ~plain.isneginf()
    itc = predictions.itc[board.pictures][:, board.texts][board.asking_pictures]
    torch.testing.assert_close((both - plain)[listed], itc[listed])


def test_a_model_is_ranked_as_it_says(tmp_path):
    model, gallery = Toy(), Gallery("g", world())
    model.traits = replace(model.traits, extras={"score": "itm+itc"})
    predictions = predict(model, [gallery])
    predictions.save(tmp_path / "p.safetensors")
    for found in (predictions, Predictions.load(tmp_path / "p.safetensors")):
        board = found.board(gallery)
        told, both, plain = (found.ranked(board, "texts", s) for s in (None, "itm+itc", "itm"))
        assert torch.equal(told, both) and not torch.equal(told, plain)
    assert predict(Toy(), [gallery]).score == "itm"


def test_a_broken_model_scores_badly_instead_of_crashing():
    model = Toy()
    model.module.head.weight.data.fill_(torch.nan)
    gallery = Gallery("g", world())
    predictions = predict(model, [gallery])
    assert predictions.broken > 0
    assert recall(predictions, gallery).value < 80


def test_half_precision_is_never_silent():
    model = Toy()
    model.module.bfloat16()
    with pytest.raises(TypeError, match="bfloat16"):
        predict(model, [Gallery("g", world())])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = predict(Toy(), [Gallery("g", world())])
    assert torch.equal(inside.itm, predict(Toy(), [Gallery("g", world())]).itm)


def test_training_mode_and_gradients_are_left_alone():
    model = Toy()
    model.module.train()
    model.module.drop.eval()
    predict(model, [Gallery("g", world())])
    assert model.module.training and not model.module.drop.training


def test_predictions_are_saved_without_samples(tmp_path):
    gallery = Gallery("g", world(), people("ann", 1))
    predictions = predict(Toy(), [gallery], k_test=2)
    predictions.save(tmp_path / "p.safetensors")
    assert b"lives" not in (tmp_path / "p.safetensors").read_bytes()
    back = Predictions.load(tmp_path / "p.safetensors")
    for name in ("itc", "itm", "probability"):
        assert torch.equal(getattr(back, name).nan_to_num(-9), getattr(predictions, name).nan_to_num(-9))
    assert recall(back, gallery).score() == recall(predictions, gallery).score()


def test_interval_holds_the_value_and_knows_its_doubt():
    gallery = Gallery("all", world())
    score = recall(predict(Toy(), [gallery], k_test=4), gallery).score("oracle", seed=1)
    assert score.low <= score.value <= score.high and score.better == "oracle"
    perfect = recall(made(gallery, fits), gallery).score()
    assert perfect.high == 100 and 60 < perfect.low < 100  # eleven of eleven groups is not certainty


def test_fused_pairs_keep_the_pair_they_belong_to():
    model, examples = Toy(), world()
    encodings = encode(model, examples, batch=4)
    pairs = encodings.pairs(examples)
    together = fuse_pairs(model, encodings, pairs, pair_batch=3, keep_cls=True)
    for k in (0, 7, len(examples) - 1):
        alone = fuse_pairs(model, encodings, pairs[k : k + 1], keep_cls=True)
        torch.testing.assert_close(alone.cls[0], together.cls[k])
        torch.testing.assert_close(alone.probability[0], together.probability[k])


def test_shortlist_never_exceeds_the_gallery():
    assert shortlist(torch.zeros(3, 2), 10).all()
    assert shortlist(torch.zeros(3, 9), 4).sum(1).tolist() == [4, 4, 4]
