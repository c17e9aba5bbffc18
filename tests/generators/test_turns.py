"""The branches in turns: the same objective block by block, and never two generators on the device."""

from dataclasses import replace

import pytest
import torch

from expunge.core.run import Run
from expunge.generators import mvi, seats, turns
from expunge.generators.shapes import PRESETS
from expunge.testing import small_painter, small_splits, small_writer
from expunge.train.resuming import Walk


@pytest.fixture(scope="module")
def generators():
    return small_painter(), small_writer()


@pytest.fixture(scope="module")
def forget():
    return small_splits(1).forget[:4]


@pytest.fixture(scope="module")
def model(generators, forget):
    parts = mvi.take_apart(*generators, forget)
    torch.manual_seed(0)
    return mvi.Mvi(*generators, parts, PRESETS["default"]), parts


def gradients(model, parts, learning):
    made = model.zero_grad(set_to_none=True) or torch.manual_seed(4)
    assert made is not None
    terms = model(parts, torch.arange(4), None, learning)
    torch.stack(list(terms.values())).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, terms


class Counting(Walk):
    """Batches of one row, in order."""

    def _shuffled(self):
        return list(range(self.count))


def taken(order, steps):
    return [(*learning, *rows) for learning, rows in (order.next() for _ in range(steps))]


BLOCKS = [
    ("picture", 0), ("picture", 1), ("text", 0), ("text", 1), ("picture", 2), ("picture", 3), ("text", 2),
    ("text", 3), ("picture", 4), ("text", 4),
]  # fmt: skip


def test_turns_take_the_same_batches_in_blocks():
    order = turns.Order(Counting(5, 1), 2, 5)
    assert order.steps == 10 and taken(order, 10) == BLOCKS
    together = turns.Order(Counting(5, 1), 0, 5)
    assert together.steps == 5 and taken(together, 5) == [(*turns.BOTH, i) for i in range(5)]


@pytest.mark.parametrize("done", range(10))
def test_turns_go_on_where_they_were_saved(done):
    order, later = (turns.Order(Counting(5, 1), 2, 5) for _ in range(2))
    before = taken(order, done)
    later.load_state_dict(order.state_dict())
    assert before + taken(later, 10 - done) == BLOCKS


def test_the_blocks_gradients_are_those_of_the_whole(model):
    """At the same weights and noise each branch's own modules get the joint gradient; the trunk's shares add up."""
    both, terms = gradients(*model, turns.BOTH)
    picture, first = gradients(*model, ("picture",))
    # The second branch draws no noise for a picture; what it does draw comes before.
    text, second = gradients(*model, ("text",))
    assert set(picture) | set(text) == set(both)
    assert not any(n.startswith(("of_text", "to_writer")) for n in picture)
    assert not any(n.startswith(("of_picture", "to_painter")) for n in text)
    for name, whole in both.items():
        parts = [g[name] for g in (picture, text) if name in g]
        expected = parts[0] if name.startswith("modality") else sum(parts)
        torch.testing.assert_close(expected, whole, rtol=1e-4, atol=1e-6, msg=name)
        assert name.startswith(("modality", "trunk")) == (len(parts) == 2)
    assert torch.equal(first["picture"], terms["picture"]) and torch.equal(second["text"], terms["text"])
    torch.testing.assert_close(first["kl"] + second["kl"], terms["kl"])


def test_theta_m_always_sees_both_kinds(model):
    """Of one kind alone it would learn to say that kind."""
    (found, _), (other, _) = (gradients(*model, (branch,)) for branch in turns.BOTH)
    assert all(torch.equal(found[n], other[n]) for n in found if n.startswith("modality"))


@torch.no_grad()
def judged(model, parts, rounds=8):
    """Means of the picture's and the text's term over fixed draws of U' and noise."""
    found = {"picture": 0.0, "text": 0.0}
    for seed in range(rounds):
        torch.manual_seed(100 + seed)
        terms = model(parts, torch.arange(len(parts)))
        found = {name: value + terms[name].item() / rounds for name, value in found.items()}
    return found


def test_one_step_each_in_turn_brings_both_terms_down(generators, forget):
    run = Run(seed=0)
    settings = replace(PRESETS["default"], epochs=25, least_steps=0, batch=len(forget), turns=1, lr=5e-3)
    trained, parts = mvi.train(*generators, forget, run, settings)
    assert len(run.terms) == 50 and [("picture" in t, "text" in t) for t in run.terms[:3]] == [
        (True, False), (False, True), (True, False),
    ]  # fmt: skip
    torch.manual_seed(0)
    before, after = judged(mvi.Mvi(*generators, parts, settings), parts), judged(trained, parts)
    assert after["text"] < before["text"] and after["picture"] < before["picture"], (before, after)
    modality = [t["modality"] for t in run.terms]
    assert sum(modality[-5:]) < 0.5 * sum(modality[:5])


def test_pairs_a_few_at_a_time_add_up_to_the_batch(generators, forget, monkeypatch):
    """With the same noise for every pair the steps are those of the whole batch."""
    monkeypatch.setattr(mvi, "_sample", lambda mean, log_variance: mean)
    painter, whole = generators[0], generators[0].denoise
    fixed = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 4, 8, 8, generator=fixed)

    def denoise(latents, condition):
        many = len(latents)
        return whole(latents, condition, noise=noise.expand(many, -1, -1, -1), timesteps=torch.full((many,), 500))

    monkeypatch.setattr(painter, "denoise", denoise)
    found = []

    def watch(parameters, most):
        found.append([p.grad.clone() for p in parameters])

    monkeypatch.setattr(mvi.nn.utils, "clip_grad_norm_", watch)
    monkeypatch.setattr(mvi, "fast_precision", lambda: "fp32")
    logs = []
    for few in (0, 3, 1):
        run = Run(seed=0)
        mvi.train(*generators, forget, run, replace(PRESETS["default"], epochs=1, least_steps=0, batch=4, at_once=few))
        logs.append({name: value for name, value in run.terms[-1].items() if name != "what"})
    for grads, log in zip(found[1:], logs[1:], strict=True):
        assert log == pytest.approx(logs[0], rel=1e-3) and len(grads) == len(found[0]) > 10
        for one, other in zip(grads, found[0], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_in_turns_the_generators_never_meet_on_the_device(generators, forget, monkeypatch):
    uses = {}
    seen = []

    def watch(which, model):
        def seat(use, device):
            uses[which] = use
            seen.append(dict(uses))

        monkeypatch.setattr(model, "seat", seat)

    painter, writer = generators
    watch("painter", painter)
    watch("writer", writer)
    model, parts = mvi.train(
        painter, writer, forget, Run(seed=0), replace(PRESETS["default"], epochs=2, least_steps=0, turns=1)
    )
    mvi.generate(model, parts, Run(seed=0), steps=1, max_tokens=2)
    assert all(list(now.values()).count("away") >= len(now) - 1 for now in seen)
    assert [now["painter"] for now in seen[1:]].count("train") >= 2
    assert {now.get("writer") for now in seen} == {None, "encode", "train", "generate", "away"} - (
        {None} if "writer" in seen[0] else set()
    )
    assert seen[-1] == {"painter": "away", "writer": "away"}
    seen.clear()
    mvi.train(painter, writer, forget, Run(seed=0), replace(PRESETS["default"], epochs=1, least_steps=0))
    assert {"painter": "train", "writer": "train"} in seen


def test_encoders_are_sent_away_and_come_back(generators):
    """On the meta device nothing is left of what is moved there: what is on it can be told from what is not."""
    painter, writer = (g.clone() for g in generators)
    at = lambda module: {p.device.type for p in module.parameters()}  # noqa: E731
    for use, there in (("encode", {"vae", "text"}), ("train", {"unet"}), ("generate", {"unet", "vae"})):
        fresh = painter.clone()
        fresh.seat(use, "meta")
        assert {name for name, part in fresh.module.items() if at(part) == {"meta"}} == there
    for use, speaks in (("encode", False), ("train", True), ("generate", True)):
        fresh = writer.clone()
        fresh.seat(use, "meta")
        sees = [at(part) for role, part in fresh.parts().items() if role != "text"] + [{fresh.device.type}]
        assert at(fresh.parts()["text"]) == ({"meta"} if speaks else {"cpu"})
        assert all(one == ({"cpu"} if speaks else {"meta"}) for one in sees)


def test_who_goes_leaves_first():
    order = []

    class Sitter:
        def __init__(self, name):
            self.name = name

        def seat(self, use, device):
            order.append((self.name, use))

    for painting, writing in (("train", "away"), ("away", "train")):
        seats.place(Sitter("painter"), Sitter("writer"), torch.device("cpu"), painting=painting, writing=writing)
    assert order == [("writer", "away"), ("painter", "train"), ("painter", "away"), ("writer", "train")]
