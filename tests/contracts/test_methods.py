"""Every method found in its folder keeps the same promises."""

import re
from pathlib import Path

import pytest

from expunge.core import plugins
from expunge.testing import (
    check_method,
    small_albef,
    small_answers,
    small_blip,
    small_blip_answers,
    small_blip_entailment,
    small_entailment,
    small_mllm,
)

METHODS = [entry.name for entry in plugins.entries("methods")]
QUICK = {
    "retrain": ("epochs=1",),
    "finetune": ("epochs=1",),
    "cse": ("epochs=1", "least_steps=1", "batch=8", "mvi_preset=paper", "texts_per_sample=2"),
    "bad_teacher": ("least_steps=1", "batch=32"),
    "adversarial": ("epochs=1", "least_steps=1", "iterations=2", "importance_pairs=3"),
    "multidelete": ("epochs=1", "least_steps=1", "batch=6"),
    "slug": ("trials=2", "candidates=1", "judged=6", "examples=8"),
    "ga_diff": ("least_steps=2",),
    "npo": ("least_steps=2",),
    "task_arithmetic": ("epochs=1", "least_steps=2"),
    "negmerge": ("epochs=1", "least_steps=2", "rates=[1e-4, 3e-4]"),
    "kl_min": ("least_steps=2",),
    "po": ("epochs=1", "least_steps=2"),
    "undial": ("epochs=1", "least_steps=2"),
    "rmu": ("epochs=1", "least_steps=2"),
    "mmunlearner": ("least_steps=2", "weighed=6", "weighed_batch=8"),
    "salun": ("epochs=1", "least_steps=2"),
    "ssd": ("alpha=1", "examples=24"),
    "manu": ("examples=16",),
}


def runs_on(name, build):
    return plugins.needs(plugins.load_method(name)).__name__ in plugins.provides(build())


MATCHING = [name for name in METHODS if runs_on(name, small_albef)]


def test_the_battery_sees_all_of_them():
    comparisons = {"bad_teacher", "adversarial", "multidelete", "slug"}
    assert {"nothing", "gradient_ascent", "finetune", "retrain", "cse"} | comparisons <= set(METHODS)
    assert len(METHODS) == len(set(METHODS)) >= 20 and len(MATCHING) >= 15
    assert set(METHODS) - set(MATCHING) == {"kl_min", "po", "undial", "rmu", "manu"}  # they need a model that speaks


@pytest.mark.parametrize("build", [small_albef, small_blip])
@pytest.mark.parametrize("name", MATCHING)
def test_contract(name, build):
    checked = check_method(name, QUICK.get(name, ()), build)
    assert len(checked) >= 9


@pytest.mark.parametrize("build", [small_answers, small_entailment, small_blip_answers, small_blip_entailment])
@pytest.mark.parametrize("name", [n for n in METHODS if runs_on(n, small_answers)])
def test_contract_for_models_that_answer(name, build):
    assert len(check_method(name, QUICK.get(name, ()), build)) >= 9


def test_the_battery_for_models_that_answer_sees_them():
    assert {"nothing", "gradient_ascent", "finetune", "retrain", "cse"} <= {
        n for n in METHODS if runs_on(n, small_answers)
    }


@pytest.mark.parametrize("name", [n for n in METHODS if runs_on(n, small_mllm)])
def test_contract_for_models_that_speak(name):
    assert len(check_method(name, QUICK.get(name, ()), small_mllm)) >= 9


def test_the_battery_for_models_that_speak_sees_them():
    new = {"kl_min", "po", "undial", "rmu", "manu", "mmunlearner", "salun", "ssd"}
    old = {"nothing", "gradient_ascent", "finetune", "retrain", "ga_diff", "npo", "task_arithmetic", "negmerge"}
    assert new | old == {n for n in METHODS if runs_on(n, small_mllm)}


def test_a_method_in_a_users_file_gets_the_same_battery(tmp_path):
    (tmp_path / "mine.py").write_text(
        '"""Shrink everything a little."""\n'
        "from dataclasses import dataclass\n\nimport torch\n\n\n"
        "@dataclass(frozen=True)\nclass Mine:\n    factor: float = 0.99\n\n"
        "    def unlearn(self, model, splits, run):\n"
        "        with torch.no_grad():\n"
        "            for p in model.module.parameters():\n"
        "                p.mul_(self.factor)\n"
        "        return model\n"
    )
    assert len(check_method(tmp_path / "mine.py")) >= 9


def test_the_example_of_the_guide_passes_the_battery(tmp_path):
    guide = Path(__file__).parents[2].joinpath("CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    for build in (small_albef, small_mllm):
        assert len(check_method(tmp_path / "mine.py", (), build)) >= 9


HEAD = '"""A slip."""\nfrom dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Slip:\n'


@pytest.mark.parametrize(
    "body, said",
    [
        ("def unlearn(self, model, splits, run):\n        pass", 'returned None; end it with "return model"'),
        ("def unlearn(self, model, splits, run):\n        return 3", "returned int, which is no model"),
        ("def unlearn(self, model, splits):\n        return model", r"7: unlearn\(self, model, splits\) cannot be"),
        ("def unlearn(self, model, splits, run):\n        model.modul", r"slip.py:8: AttributeError: .*\(in your"),
    ],
)
def test_the_battery_says_which_promise_a_slip_broke(tmp_path, body, said):
    (tmp_path / "slip.py").write_text(f"{HEAD}    {body}\n")
    with pytest.raises(AssertionError, match=said):
        check_method(tmp_path / "slip.py")


def test_the_battery_names_a_builder_where_the_model_has_not_what_a_method_needs():
    with pytest.raises(AssertionError, match=r"needs a model that has Generates; .*build=small_mllm"):
        check_method("kl_min")


@pytest.mark.parametrize(
    "harm",
    [
        "splits.forget[0].image.image.paste(0, (0, 0, 8, 8))",
        "object.__setattr__(splits.retain[3], 'text', 'somebody else')",
        "object.__setattr__(splits, 'retain', splits.retain[1:])",
    ],
    ids=["paints over a picture", "rewrites a text", "drops an example"],
)
def test_the_battery_sees_examples_that_were_touched(tmp_path, harm):
    (tmp_path / "rough.py").write_text(
        '"""Leaves traces."""\nfrom dataclasses import dataclass\n\nimport torch\n\n\n'
        "@dataclass(frozen=True)\nclass Rough:\n    def unlearn(self, model, splits, run):\n"
        f"        {harm}\n"
        "        with torch.no_grad():\n            model.module.temp.add_(0.1)\n        return model\n"
    )
    with pytest.raises(AssertionError, match="leaves the examples it was given alone"):
        check_method(tmp_path / "rough.py")


@pytest.mark.parametrize("options", [(), ("steps=2",)])
def test_the_battery_sees_a_field_without_a_default(tmp_path, options):
    (tmp_path / "bare.py").write_text(
        '"""Wants to be told."""\nfrom dataclasses import dataclass, field\n\n\n'
        "@dataclass(frozen=True)\nclass Bare:\n    steps: int\n    names: list = field(default_factory=list)\n\n"
        "    def unlearn(self, model, splits, run):\n        return model\n"
    )
    with pytest.raises(AssertionError, match="bare: every field has a default"):
        check_method(tmp_path / "bare.py", options)


def test_the_battery_can_fail(tmp_path):
    (tmp_path / "lazy.py").write_text(
        '"""Claims to forget."""\nfrom dataclasses import dataclass\n\n\n'
        "@dataclass(frozen=True)\nclass Lazy:\n    def unlearn(self, model, splits, run):\n        return model\n"
    )
    with pytest.raises(AssertionError, match="moves weights"):
        check_method(tmp_path / "lazy.py")
    (tmp_path / "dice.py").write_text(
        '"""Never twice the same."""\nimport os\nfrom dataclasses import dataclass\n\nimport torch\n\n\n'
        "@dataclass(frozen=True)\nclass Dice:\n    def unlearn(self, model, splits, run):\n"
        "        draw = torch.Generator().manual_seed(int.from_bytes(os.urandom(4), 'big'))\n"
        "        with torch.no_grad():\n"
        "            model.module.temp.add_(torch.rand((), generator=draw))\n        return model\n"
    )
    with pytest.raises(AssertionError, match="same model for the same seed"):
        check_method(tmp_path / "dice.py")


@pytest.mark.parametrize(
    "draw",
    [
        "torch.rand(()).item()",
        "random.random()",
        "float(np.random.rand())",
        "run.lend('pretrained') and torch.rand(()).item()",
    ],
)
def test_the_battery_sees_draws_that_nobody_seeded(tmp_path, draw):
    """Models are built, and lent, with a seed of their own: what comes after them must not count as seeded by it."""
    (tmp_path / "unseeded.py").write_text(
        '"""Draws from what all code shares."""\nimport random\nfrom dataclasses import dataclass\n\n'
        "import numpy as np\nimport torch\n\n\n"
        "@dataclass(frozen=True)\nclass Unseeded:\n    def unlearn(self, model, splits, run):\n"
        f"        drawn = {draw}\n"
        "        with torch.no_grad():\n            model.module.temp.add_(drawn)\n        return model\n"
    )
    with pytest.raises(AssertionError, match="same model for the same seed"):
        check_method(tmp_path / "unseeded.py")
