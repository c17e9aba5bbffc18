"""Known answers for the attack: it must see members, see nothing where there is nothing, and refuse to read domains."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.svm import SVC
from tests.toy import Noise, people, scenes

from expunge.core.pictures import NO_PICTURE
from expunge.core.types import Example
from expunge.evals import membership
from expunge.evals.membership import attack
from expunge.evals.pools import AttackRefused, draw_pools

FORGET, RETAIN, OUTSIDE = people("f", 8), people("r", 40), people("o", 30)


def run(forget_shift: float, member_shift: float, seed: int = 0, domain: float = 0.0):
    rng = np.random.default_rng(seed)

    def drawn(examples, shift):
        where = np.array([[domain if e.source == "scenes" else 0.0] for e in examples])
        return rng.normal(shift, 1.0, (len(examples), 6)) + where

    members, others = draw_pools(FORGET, RETAIN + scenes("s", 30), OUTSIDE + scenes("t", 30))
    rows = drawn(FORGET, forget_shift), drawn(members, member_shift), drawn(others, 0.0)
    return attack(FORGET, members, others, rows, draws=3, replicates=200)


def test_nothing_to_read_gives_fifty():
    found = run(0.0, 0.0)
    assert found.mi.value == pytest.approx(50, abs=6)
    assert found.mi_auc.value == pytest.approx(50, abs=12)
    assert found.accuracy.value == pytest.approx(50, abs=10)


def test_doing_nothing_does_not_look_like_forgetting():
    found = run(1.5, 1.5)
    assert found.mi.value > 85 and found.mi_auc.value > 95 and found.accuracy.value > 85
    assert found.mi_private is not None and found.mi_private.value > 85


def test_forgotten_like_outsiders_is_low():
    found = run(0.0, 1.5)
    assert found.mi.value < 15
    assert found.mi_auc.value == pytest.approx(50, abs=12)
    assert found.mi.low <= found.mi.value <= found.mi.high


def test_the_domain_is_not_read_as_membership():
    found = run(0.0, 0.0, domain=20.0)  # people and scenes lie far apart, members and others do not
    assert found.mi.value == pytest.approx(50, abs=8)


def test_features_that_are_not_numbers_do_not_stop_it():
    members, others = draw_pools(FORGET, RETAIN, OUTSIDE)
    for odd in ((np.nan,) * 3, (np.nan, np.inf, -np.inf)):  # all of them count as 0: nothing is left to read
        rows = tuple(np.full((len(e), 4), value) for e, value in zip((FORGET, members, others), odd))
        found = attack(FORGET, members, others, rows, draws=1, replicates=50)
        assert found.mi.value == pytest.approx(50, abs=10) and found.accuracy.value == 50


def test_the_scale_of_a_feature_does_not_hide_membership():
    """One feature tells members, five others are noise ten thousand times as large."""
    members, others = draw_pools(FORGET, RETAIN, OUTSIDE)
    rng = np.random.default_rng(0)

    def drawn(examples, shift):
        return rng.normal(0.0, 1.0, (len(examples), 6)) * [1, *[1e4] * 5] + [shift, *[0] * 5]

    rows = drawn(FORGET, 4.0), drawn(members, 4.0), drawn(others, 0.0)
    found = attack(FORGET, members, others, rows, draws=2, replicates=50)
    assert found.mi.value > 80 and found.accuracy.value > 80


def test_somebody_met_in_training_is_not_therefore_a_member():
    """Features that name the person and nothing else. The forgotten have those of the members: a sigmoid fitted on
    other sentences of the same people would be sure of them."""
    members, others = draw_pools(FORGET, RETAIN, OUTSIDE)
    rng = np.random.default_rng(0)
    place = {e.group: rng.normal(size=16) for e in members + others}
    twins = sorted({e.group for e in members})
    h_m, h_o = (np.array([place[e.group] for e in side]) for side in (members, others))
    h_f = np.array([place[twins[i % len(twins)]] for i in range(len(FORGET))])
    found = attack(FORGET, members, others, (h_f, h_m, h_o), draws=5, replicates=50)
    assert found.mi.value < 55


def test_the_machine_is_the_papers(monkeypatch):
    used = []
    monkeypatch.setattr(membership, "SVC", lambda **told: used.append(told) or SVC(**told))
    run(0.0, 0.0)
    assert used == [{"C": 1.0, "gamma": "scale"}] * 3


def test_pools_are_balanced_in_every_stratum_and_repeatable():
    members, others = draw_pools(FORGET, RETAIN + scenes("s", 90), OUTSIDE + scenes("t", 10), cap=100)
    for source, kind in {(e.source, e.kind) for e in members + others}:
        counts = [sum((e.source, e.kind) == (source, kind) for e in side) for side in (members, others)]
        assert counts[0] == counts[1] > 0
    assert len(members) <= 100
    again = draw_pools(FORGET, tuple(reversed(RETAIN + scenes("s", 90))), OUTSIDE + scenes("t", 10), cap=100)
    assert (members, others) == again
    assert not {e.group for e in FORGET} & {e.group for e in members}


def test_refuses_a_source_without_outsiders():
    with pytest.raises(AttackRefused, match="0 held-out groups"):
        draw_pools(FORGET, RETAIN, scenes("t", 30))
    with pytest.raises(AttackRefused, match="2 held-out groups"):
        draw_pools(FORGET, RETAIN, people("o", 2) + scenes("t", 30))


def test_where_a_whole_source_is_forgotten_the_others_teach_the_attack():
    members, others = draw_pools(FORGET, scenes("s", 30), OUTSIDE + scenes("t", 30))
    assert {e.source for e in members + others} == {"scenes"}
    rng = np.random.default_rng(0)

    def rows(shift: float):
        return tuple(rng.normal(m, 1.0, (len(e), 6)) for m, e in ((shift, FORGET), (1.5, members), (0.0, others)))

    known, gone = (attack(FORGET, members, others, rows(shift), draws=2, replicates=50) for shift in (1.5, 0.0))
    assert known.mi.value > 85 and gone.mi.value < 15
    assert "mi_auc" not in known.scores()  # nobody of their own source to be ranked against
    with pytest.raises(AttackRefused, match="0 retained groups"):
        draw_pools(FORGET, (), OUTSIDE + scenes("t", 30))


def artist(name: str, works: int, kinds=("shared", "private")) -> tuple[Example, ...]:
    pictures = [Noise(f"{name}-{i}") for i in range(works)]
    return tuple(
        Example(f"{name}-{i}", picture, f"work {i}", name, "art", kinds[i % len(kinds)])
        for i, picture in enumerate(pictures)
    )


def artists(prefix: str, count: int, works: int, kinds=("shared", "private")) -> tuple[Example, ...]:
    return tuple(e for i in range(count) for e in artist(f"{prefix}{i}", works, kinds))


@pytest.mark.parametrize("sizes", [(400, 400), (400, 6), (6, 400)])
def test_large_groups_leave_enough_of_them_to_attack(sizes):
    """Two whole groups of hundreds would fill a pool, and two cannot be split."""
    inside, outside = (artists(name, 8, works) for name, works in zip("ro", sizes))
    members, others = draw_pools(artist("f", 9), inside, outside, cap=600, seed=3)
    assert (members, others) == draw_pools(artist("f", 9), tuple(reversed(inside)), outside, cap=600, seed=3)
    assert 20 < len(members) == len(others) <= 600
    for side in (members, others):
        per_group = Counter(e.group for e in side)
        assert len(per_group) == 8 and max(per_group.values()) <= max(min(sizes), 90)
        kinds = Counter(e.kind for e in side)
        assert abs(kinds["shared"] - kinds["private"]) < 60
    rng = np.random.default_rng(0)
    rows = tuple(rng.normal(m, 1.0, (n, 4)) for m, n in ((2.0, 9), (2.0, len(members)), (0.0, len(others))))
    assert attack(artist("f", 9), members, others, rows, draws=2, replicates=50).mi.value > 75


def test_groups_are_whole_where_that_leaves_enough_of_them():
    members, _ = draw_pools(FORGET, RETAIN, OUTSIDE, cap=40)
    whole = Counter(e.group for e in RETAIN)
    assert all(whole[group] == count for group, count in Counter(e.group for e in members).items())


def test_groups_are_counted_after_kinds_were_balanced():
    told, seen = ("private",), ("shared",)
    retain = artists("r", 9, 5, told) + artists("s", 2, 5, seen)
    with pytest.raises(AttackRefused, match=r"fewer than 3 .* groups of the source 'art' .* same kind"):
        draw_pools(artist("f", 4), retain, artists("o", 9, 5, seen))
    members, others = draw_pools(FORGET, RETAIN + retain, OUTSIDE + artists("o", 9, 5, seen))
    assert {e.source for e in members + others} == {"people"}, "another source may be left out"
    with pytest.raises(AttackRefused, match="no kind"):
        draw_pools((), artists("r", 9, 5, told), artists("o", 9, 5, seen))


def test_members_and_others_are_alike_in_having_a_picture():
    """Otherwise members in words alone would be told from others by what they lack."""

    def side(prefix: str, count: int, seen: int) -> tuple[Example, ...]:
        return tuple(
            Example(f"{prefix}{i}-{j}", Noise(f"{prefix}{i}-{j}") if j < seen else NO_PICTURE, "x", f"{prefix}{i}", "p")
            for i in range(count)
            for j in range(4)
        )

    members, others = draw_pools(side("f", 4, 2), side("r", 9, 1), side("o", 9, 3))
    counts = [Counter(e.pictured for e in pool) for pool in (members, others)]
    assert counts[0] == counts[1] and set(counts[0]) == {True, False}
    with pytest.raises(AttackRefused, match="with a picture or without"):
        draw_pools(side("f", 4, 2), side("r", 9, 0), side("o", 9, 4))


def test_same_seed_same_answer():
    assert run(0.5, 1.0) == run(0.5, 1.0)
