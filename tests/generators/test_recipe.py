"""How anchors come about: what a grid remembers of it, and how generators are asked for."""

import time
from dataclasses import replace

import pytest
import torch

from expunge.core.cache import cached
from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.core.spec import digest
from expunge.generators import footprint, mvi
from expunge.generators.recipe import Recipe
from expunge.generators.shapes import PRESETS
from expunge.testing import lend, small_splits

QUICK = Recipe("sd", "blip2", "paper", texts=1)


@pytest.fixture(scope="module")
def forget():
    return small_splits(1).forget[:3]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setitem(PRESETS, "paper", replace(PRESETS["paper"], epochs=1))


def remembering(root):
    return lambda key, build: cached(key, build, root)


def weights(run, recipe, forget):
    with run.timed("mvi"):
        return recipe.train(forget, run)[0].state_dict()


def test_remembered_parts_are_shared_by_seeds_and_change_nothing(forget, tmp_path, monkeypatch):
    alone = [weights(Run(seed=s, lend=lend), QUICK, forget) for s in (1, 2)]
    taken, slow = [], mvi.take_apart

    def watched(*given):
        taken.append(1)
        time.sleep(0.3)
        return slow(*given)

    monkeypatch.setattr(mvi, "take_apart", watched)
    runs = [Run(seed=s, lend=lend, remember=remembering(tmp_path)) for s in (1, 2)]
    found = [weights(run, QUICK, forget) for run in runs]
    for one, other in zip(alone, found, strict=True):
        assert all(torch.equal(v, other[k]) for k, v in one.items())
    assert len(taken) == 1 and len(list(tmp_path.glob("*/parts.safetensors"))) == 1
    # The second is spared what taking apart took, and counts it all the same.
    assert abs(runs[0].spared) < 0.25 < runs[1].spared < runs[1].seconds["mvi"]


def test_a_run_of_its_own_keeps_nothing(forget, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path / "cache"))
    QUICK.anchors(forget, Run(seed=0, lend=lend))
    assert not list(tmp_path.rglob("*"))


def test_the_cost_of_remembered_parts_is_counted_once(forget, tmp_path, monkeypatch):
    slow = mvi.take_apart
    monkeypatch.setattr(mvi, "take_apart", lambda *given: time.sleep(1.0) or slow(*given))
    first, second = (Run(seed=s, lend=lend, remember=remembering(tmp_path)) for s in (1, 2))
    start = time.perf_counter()
    QUICK.anchors(forget, first)
    assert 1.0 < first.seconds["mvi"] <= time.perf_counter() - start, "what was made just now was not made twice"
    start = time.perf_counter()
    QUICK.anchors(forget, second)
    wall = time.perf_counter() - start
    assert second.seconds["mvi"] > 1.0 and 0.5 < second.spared < 1.0 + wall
    third = Run(seed=2, remember=remembering(tmp_path))
    QUICK.anchors(forget, third)
    assert third.seconds["mvi"] == second.seconds["mvi"] and third.facts["anchors_remembered"]


def test_only_what_changes_the_parts_makes_new_ones(forget):
    key = QUICK.parts_key(forget)
    same = {"preset": "default", "mode": "consistent", "pictures": 3, "texts": 2, "turns": 4}
    assert all(replace(QUICK, **{k: v}).parts_key(forget) == key for k, v in same.items())
    others = [replace(QUICK, **{k: "other"}).parts_key(forget) for k in ("painter", "writer")]
    others.append(replace(QUICK, precision="bf16").parts_key(forget))
    others += [QUICK.parts_key(forget[1:]), QUICK.parts_key(forget[::-1])]
    others.append(QUICK.parts_key((replace(forget[0], text="something else"), *forget[1:])))
    assert len({digest(k) for k in (key, *others)}) == 7
    assert digest(key) != digest(QUICK.key(forget, Run()))


def test_whatever_changes_the_anchors_asks_for_others(forget):
    changes = [
        {"painter": "other"}, {"writer": "other"}, {"preset": "default"}, {"mode": "specific"}, {"pictures": 2},
        {"texts": 2}, {"precision": "bf16"}, {"turns": 3},
    ]  # fmt: skip
    keys = [replace(QUICK, **change).key(forget, Run()) for change in changes]
    first, rest = forget[0], tuple(forget[1:])
    fields = [{"id": "x"}, {"image": forget[-1].image}, {"text": "x"}, {"group": "x"}, {"kind": None}]
    if first.image.key == forget[-1].image.key:
        fields[1] = {"image": replace(first.image, key="x")}
    keys += [QUICK.key((replace(first, **change), *rest), Run()) for change in fields]
    keys += [QUICK.key(some, Run(seed=seed)) for some, seed in ((forget, 0), (forget, 1), (rest, 0), (forget[::-1], 0))]
    assert len({digest(key) for key in keys}) == len(keys)


def test_what_was_not_asked_for_is_not_in_the_key(forget):
    """Anchors that were made before there were turns and precisions are still found."""
    told = QUICK.key(forget, Run())
    assert "turns" not in told["mvi"] and not {"generators", "accelerator"} & set(told) | (
        {"accelerator"} & set(told) if not torch.cuda.is_available() else set()
    )
    assert replace(QUICK, turns=0).key(forget, Run()) == told
    assert replace(QUICK, turns=3).key(forget, Run())["mvi"]["turns"] == 3


@pytest.mark.parametrize("precision", ["auto", "fp32", "int8"])
def test_generators_are_lent_in_the_precision_asked_for(forget, precision):
    asked = []

    def watched(name, **how):
        asked.append((name, how))
        return lend(name)

    replace(QUICK, precision=precision).train(forget, Run(lend=watched))
    how = {} if precision == "auto" else {"precision": precision}
    assert asked == [("sd", how), ("blip2", how)]


@pytest.fixture
def card(monkeypatch):
    """A device with so many bytes free, as far as the plan can see."""

    def have(free):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, free))

    return have


def test_turns_follow_from_the_device(card):
    models = lend("sd"), lend("blip2")
    recipe = Recipe("sd", "blip2")
    assert recipe.settings(*models) == PRESETS["default"]
    plan = footprint.of_models(*models, PRESETS["default"], 0)
    between = (plan.joint + plan.turns_peak) // 2
    card(plan.joint)
    assert recipe.settings(*models).turns == 0
    card(between)
    assert recipe.settings(*models).turns == footprint.TURNS
    card(1)
    with pytest.raises(ExpungeError, match="do not fit"):
        recipe.settings(*models)
    assert replace(recipe, turns=5).settings(*models).turns == 5


def test_eight_bit_is_named_where_it_would_help(card, monkeypatch):
    models, recipe = (lend("sd"), lend("blip2")), Recipe("sd", "blip2")
    monkeypatch.setattr(footprint, "OVERHEAD", 0)
    plan = footprint.of_models(*models, PRESETS["paper"], 0)
    large = footprint.Plan(plan.painter, replace(plan.writer, decoder=10**9, decoder_int8=10**6), 0, 2, 5 * 10**8)
    monkeypatch.setattr(footprint, "of_models", lambda *_: large)
    card(1)
    with pytest.raises(ExpungeError, match="generator_precision=int8"):
        recipe.settings(*models)
    assert replace(recipe, precision="int8").settings(*models).turns == footprint.TURNS
