"""ITC and ITM within a batch, without a model."""

import math

import pytest
import torch
from torch.nn import functional as F

from expunge.train import matching


def test_a_negative_never_shares_the_id():
    ids = torch.tensor([0, 0, 1, 2, 2, 2])
    for seed in range(50):
        torch.manual_seed(seed)
        chosen, valid = matching.hard_negatives(torch.randn(6, 6), ids)
        assert valid.all() and (ids[chosen] != ids).all()


def test_negatives_are_drawn_in_proportion_to_similarity():
    torch.manual_seed(0)
    similarity = torch.zeros(3, 3)
    similarity[0, 2] = 8.0
    drawn = [matching.hard_negatives(similarity, torch.arange(3))[0][0].item() for _ in range(200)]
    assert drawn.count(2) > 190 and 0 not in drawn


def test_a_batch_of_one_id_has_no_negative():
    _, valid = matching.hard_negatives(torch.zeros(2, 2), torch.zeros(2, dtype=torch.long))
    assert not valid.any()


def test_contrast_shares_its_target_among_the_same_id():
    image = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), dim=-1)
    same, apart = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2])
    together = matching.contrast(image, image, same, torch.tensor(0.01))
    assert together[0].item() == pytest.approx(math.log(2), abs=1e-4)  # half the target on each of two equals
    assert together[2].item() == pytest.approx(0, abs=1e-4)
    assert matching.contrast(image, image, apart, torch.tensor(0.01))[0].item() == pytest.approx(math.log(2), abs=1e-4)


def test_match_counts_three_pairs_a_row_and_leaves_out_missing_negatives():
    asked = []

    def logits(i, j):
        asked.extend(zip(i.tolist(), j.tolist(), strict=True))
        return torch.zeros(len(i), 2)

    ids = torch.tensor([0, 1, 2])
    told = matching.match(logits, torch.zeros(3, 3), ids)
    assert torch.allclose(told, torch.full((3,), math.log(2)))
    assert len(asked) == 9 and asked[:3] == [(0, 0), (1, 1), (2, 2)] and all(i != j for i, j in asked[3:])
    alone = matching.match(logits, torch.zeros(2, 2), torch.tensor([0, 0]))
    assert torch.allclose(alone, torch.full((2,), math.log(2) / 3))
