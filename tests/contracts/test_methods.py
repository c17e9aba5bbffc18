"""Every method found in its folder keeps the same promises."""

import pytest

from expunge.core import plugins
from expunge.testing import check_method, small_answers, small_entailment

METHODS = [entry.name for entry in plugins.entries("methods")]
QUICK = {"retrain": ("epochs=1",), "finetune": ("batch=32",), "cse": ("epochs=1", "least_steps=1", "batch=8")}


def runs_on_answers(name):
    return plugins.needs(plugins.load_method(name)).__name__ in plugins.provides(small_answers())


def test_the_battery_sees_all_of_them():
    assert {"nothing", "gradient_ascent", "finetune", "retrain", "cse"} <= set(METHODS)
    assert len(METHODS) == len(set(METHODS)) >= 5


@pytest.mark.parametrize("name", METHODS)
def test_contract(name):
    checked = check_method(name, QUICK.get(name, ()))
    assert len(checked) >= 9


@pytest.mark.parametrize("build", [small_answers, small_entailment])
@pytest.mark.parametrize("name", [n for n in METHODS if runs_on_answers(n)])
def test_contract_for_models_that_answer(name, build):
    quick = (*QUICK.get(name, ()), "mvi_preset=paper") if name == "cse" else QUICK.get(name, ())
    assert len(check_method(name, quick, build)) >= 9


def test_the_battery_for_models_that_answer_sees_them():
    assert {"nothing", "gradient_ascent", "finetune", "retrain", "cse"} <= {n for n in METHODS if runs_on_answers(n)}


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
