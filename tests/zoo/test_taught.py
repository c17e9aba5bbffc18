"""A zoo model that was taught a task is where that task's originals begin."""

import json

import pytest

from expunge.backbones.albef import Albef
from expunge.data import people
from expunge.testing import small_albef
from expunge.zoo import albef_answers, shelf
from expunge.zoo.loop import Schedule


@pytest.fixture
def few(monkeypatch):
    """A few public people and scenes for a recipe at toy size."""
    whole = people.public

    small_albef()  # its words are those of the whole world

    def some(task):
        by_source = {}
        for e in whole(task):
            if len(by_source.setdefault(e.source, [])) < 24:
                by_source[e.source].append(e)
        return tuple(e for found in by_source.values() for e in found)

    monkeypatch.setattr(people, "public", some)


@pytest.mark.parametrize("task", sorted(albef_answers.ASKS))
def test_a_recipe_teaches_and_goes_on_where_it_was(few, tmp_path, task):
    schedule = [Schedule(steps=n, lr=1e-3, warmup=1, say_every=1) for n in (1, 2)]
    straight = albef_answers.train(task, small_albef(), tmp_path / "a", schedule[1])
    albef_answers.train(task, small_albef(), tmp_path / "b", schedule[1])
    again = albef_answers.train(task, small_albef(), tmp_path / "b", schedule[1])
    assert shelf.made_for(straight) == task
    ours, theirs = straight.module.state_dict(), again.module.state_dict()
    assert all((ours[k] == theirs[k]).all() for k in ours)
    before = small_albef().for_task(task).module.state_dict()
    assert any((ours[k] != before[k]).any() for k in ours)


def test_public_examples_hold_no_one_of_the_scenarios():
    public = {e.group for task in ("retrieval", *albef_answers.ASKS) for e in people.public(task)}
    for variant in ("test", "validation"):
        world = people.load(variant, task="multiple_choice")
        assert public.isdisjoint(e.group for e in (*world.train, *world.validation, *world.test))
    assert people.load().pretrain == people.public()


def test_a_taught_model_is_the_beginning_of_its_task(tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "WEIGHTS", tmp_path)
    small_albef().save_pretrained(tmp_path / "mine")
    assert shelf.beginning("mine", "entailment") == "mine"
    assert type(shelf.start("mine", "entailment")).__name__ == "AlbefEntailment"
    taught = Albef.from_pretrained(tmp_path / "mine").for_task("entailment")
    taught.module.cls_head[0].bias.data.fill_(0.5)
    taught.save_pretrained(tmp_path / "mine-entailment")
    assert json.loads((tmp_path / "mine-entailment" / "config.json").read_text())
    assert shelf.beginning("mine", "entailment") == "mine-entailment"
    assert (shelf.start("mine", "entailment").module.cls_head[0].bias == 0.5).all()
    assert type(shelf.start("mine", "retrieval")).__name__ == "Albef"
