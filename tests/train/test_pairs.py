"""Texts beside pictures that are not theirs."""

import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.train.pairs import joined, owner, strangers, with_strange_texts
from toy import Toy, people, person, scenes


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


def test_batches_of_different_lengths_become_one():
    model = Toy()
    (e, *_) = people("f", 1)
    short, long = (model.encode_texts(model.collate([replace(e, text=t)])) for t in ("a", "a b c"))
    both = joined([short, long])
    assert both.tokens.shape[:2] == both.mask.shape == (2, long.mask.shape[1]) and both.ids is None
    assert torch.equal(both.take([1]).tokens, long.tokens) and both.mask[0].sum() == short.mask.sum()
    ids = [c._replace(ids=c.mask * 7) for c in (short, long)]
    assert torch.equal(joined(ids).ids, both.mask * 7)
