"""The audits on a real architecture: a tiny ALBEF with random weights, on the embedded people and scenes."""

from __future__ import annotations

import pytest
import torch

from expunge.backbones.albef import Albef, AlbefConfig, AlbefModel, AlbefProcessor
from expunge.core.types import Matches, Splits
from expunge.data.people import sentences
from expunge.data.scenes import captioned
from expunge.data.worlds.persons import invent
from expunge.evals.attribution import Explains, gradcam_maps
from expunge.evals.forgetting import measure
from expunge.tasks.encoding import judging
from expunge.tasks.gallery import Gallery
from expunge.tasks.recall import recall
from expunge.tasks.retrieval import predict
from expunge.zoo.vocabulary import tokenizer


def crowd(prefix: str, count: int):
    return tuple(e for person in invent(count, 0, prefix, set(), set()) for e in sentences(person))


SPLITS = Splits(crowd("f", 2), crowd("r", 4))
TEST = crowd("o", 4) + tuple(
    e for i, ground in enumerate(("red", "blue")) for e in captioned(f"x{i}", ("cat", "above", "dog", "", ground))
)


@pytest.fixture(scope="module")
def albef() -> Albef:
    words = tokenizer([e.text for e in SPLITS.forget + SPLITS.retain + TEST], 30)
    config = AlbefConfig(
        pixels=32, patch=8, vision_width=32, vision_layers=2, vision_heads=4, text_width=32, text_layers=4,
        fusion_layer=2, text_heads=4, text_inner=64, vocabulary=len(words), positions=40, projection=16, queue=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AlbefModel(config)
    for p in model.parameters():  # fresh weights are so small that all scores agree to 1e-5 whatever one does
        if p.dim() > 1:
            torch.nn.init.normal_(p, std=0.3)
    return Albef(model, AlbefProcessor(words, 32, 30))


def test_prepared_equals_plain_loop(albef):
    gallery = Gallery("all", SPLITS.forget + TEST)
    fast, slow = (predict(albef, [gallery], k_test=5, batch=7, pair_batch=16, naive=naive) for naive in (False, True))
    scored = ~fast.itm.isneginf()
    assert torch.equal(scored, ~slow.itm.isneginf())
    assert fast.itm[scored].std() > 0.1
    assert (fast.itm - slow.itm)[scored].abs().max() <= 1e-5
    assert recall(fast, gallery).table() == pytest.approx(recall(slow, gallery).table())


def test_all_scores_and_nothing_moves(albef):
    state = {k: v.clone() for k, v in albef.module.state_dict().items()}
    scores, evidence = measure(albef, SPLITS, TEST, k_test=4)
    assert {"r_forget_private", "r_test", "mi", "mi_auc"} <= set(scores) and evidence.predictions.broken == 0
    assert scores == measure(albef, SPLITS, TEST, k_test=4)[0]
    assert all(torch.equal(v, state[k]) for k, v in albef.module.state_dict().items())


def test_gradcam(albef):
    assert isinstance(albef, Matches) and isinstance(albef, Explains)
    maps = gradcam_maps(albef, SPLITS.forget[:3], batch=2)
    assert len(maps) == 3 and len(maps[0]) == len(maps[0][0]) == 4
    assert all(0 <= x <= 1 for rows in maps for row in rows for x in row)
    assert max(x for row in maps[0] for x in row) == pytest.approx(1)
    assert all(p.grad is None for p in albef.module.parameters())


def test_words_have_maps_of_their_own_before_the_last_layer_only(albef):
    batch = albef.collate(SPLITS.forget[:3])
    with judging(albef):
        last, earlier = (albef.gradcam(batch, layer) for layer in (-1, 0))
    assert last[:, 0].sum() > 0 and last[:, 1:].abs().sum() == 0
    assert earlier[:, 1:].sum() > 0
    whole = torch.tensor(gradcam_maps(albef, SPLITS.forget[:3]))
    torch.testing.assert_close(whole, (last[:, 0] / last[:, 0].amax((1, 2), keepdim=True)).nan_to_num())
