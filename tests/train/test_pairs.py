"""Texts beside pictures that are not theirs."""

import random
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.train.pairs import hard_negatives, owner, strangers, with_strange_texts
from toy import people, person, scenes


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.integers(0, 99))
def test_nobody_stays_and_as_many_as_can_land_among_others(owners, seed):
    given_ = strangers(owners, random.Random(seed))
    assert sorted(given_) == list(range(len(owners)))
    assert all(i != j for i, j in enumerate(given_))
    largest = max(Counter(owners).values())
    at_home = sum(owners[i] == owners[j] for i, j in enumerate(given_))
    # Those of the largest owner who find no other, when they are more than half.
    assert at_home == max(0, 2 * largest - len(owners))


def test_one_alone_is_refused_and_draws_differ_by_seed():
    with pytest.raises(ValueError, match="alone"):
        strangers(["a"], random.Random(0))
    assert len({tuple(strangers("aabbccdd", random.Random(seed))) for seed in range(20)}) > 5


def test_strange_texts_keep_the_picture_and_change_the_owner():
    forget = people("f", 2)
    mixed = with_strange_texts(forget, (), random.Random(0))
    for example, strange in zip(forget, mixed):
        assert strange.image == example.image and strange.text != example.text and strange.group != example.group
    assert Counter(e.text for e in mixed) == Counter(e.text for e in forget)


def test_one_picture_borrows_texts_and_without_any_keeps_its_own():
    alone, spare = tuple(person("f0")), scenes("s", 2)
    assert all(e.group != "f0" for e in with_strange_texts(alone, spare, random.Random(0)))
    own = with_strange_texts(alone, (), random.Random(0))
    assert all(owner(e) == "f0" and e.text != a.text for e, a in zip(own, alone))
    assert with_strange_texts(alone[:1], spare, random.Random(0))[0].text != alone[0].text
    with pytest.raises(ValueError, match="single pair"):
        with_strange_texts(alone[:1], alone[1:], random.Random(0))


def test_hard_negatives_are_others_and_prefer_what_is_alike():
    similarity = torch.tensor([[9.0, 8.0, -9.0], [0.0, 9.0, 9.0], [0.0, 0.0, 9.0]])
    owners = torch.tensor([0, 1, 0])
    torch.manual_seed(0)
    drawn = [hard_negatives(similarity, owners).tolist() for _ in range(50)]
    assert {row[0] for row in drawn} == {1} and {row[2] for row in drawn} == {1}
    assert {row[1] for row in drawn} <= {0, 2} and Counter(row[1] for row in drawn)[2] > 45
    assert hard_negatives(similarity, torch.zeros(3, dtype=torch.long)).tolist() == [0, 1, 2]
