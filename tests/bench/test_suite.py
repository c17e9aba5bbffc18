"""A suite is checked before anything starts, and becomes the same cells in the same order everywhere."""

from dataclasses import asdict
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bench.bench_toys import suite_text, write_methods, write_own_data

import published
from expunge.bench import plan as plans
from expunge.bench import reading
from expunge.bench import suite as suites
from expunge.bench.cells import Cell, Setting
from expunge.bench.workshop import Workshop
from expunge.core import plugins
from expunge.core.errors import DataError, ExpungeError, UnknownName
from expunge.core.run import Silent
from expunge.core.spec import digest
from expunge.scenario import draw
from expunge.testing import small_corpus
from expunge.train.originals import PAPER, RECIPES
from expunge.zoo import shelf


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("suite") / "own"
    write_own_data(place)
    write_methods(place)
    return place


def read(place, text, name="toy.toml"):
    (place / name).write_text(text)
    return reading.read(place / name)


def refused(place, text) -> str:
    with pytest.raises((DataError, ExpungeError)) as found:
        read(place, text)
    return str(found.value)


SHIPPED = [entry.name for entry in plugins.entries("suites")]


def test_the_papers_tables_have_suites():
    assert {
        "forgetting", "quick", "privacy", "copyright", "generation_ablation", "loss_ablation", "table6", "table8",
        "mllm_quick", "mllmu", "clear", "samples", "search", "search_multiple_choice", "search_entailment",
        "search_answering", "search_copyright", "analyses", "table7", "figures9_10",
    } <= set(SHIPPED)  # fmt: skip
    assert all(entry.line for entry in plugins.entries("suites"))


@pytest.fixture
def everything_made(tmp_path, monkeypatch):
    """A machine on which the models that are not shipped have been made."""
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path))
    for name in shelf.UNSHIPPED:
        shelf.home(name).mkdir(parents=True)
        (shelf.home(name) / "card.json").write_text("{}")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_suite_is_sound(name, everything_made):
    absent: list[str] = []
    assert reading.read(name, absent).rows
    waiting = "llava-tiny" not in shelf.names()  # its weights are made by a recipe of their own
    assert not absent or (waiting and all("llava-tiny" in one for one in absent))


def test_the_suites_of_chat_models_have_the_papers_sets_and_shares():
    for name, share in (("mllm_quick", 2 / 40), ("mllmu", 5 / 100), ("clear", 5 / 100)):
        suite = reading.read(name, [])
        (scenario,) = suite.scenarios
        size = scenario.data_options.get("size", 100)
        assert scenario.sizes[0] / size == share == 0.05 and scenario.tasks == ("answering",)
        assert suite.layout == ("clear" if name == "clear" else "mllmu") and suite.seeds == (
            (0,) if "q" in name else (0, 1, 2)
        )
        needs = {plugins.needs(plugins.load_method(m.name)).__name__ for m in suite.rows}
        assert needs <= plugins.find("backbones", "mllm").provides, "every method runs on a chat model"
    clear = reading.read("clear", []).scenarios[0]
    assert clear.make_original == asdict(RECIPES["answering"]), "the same recipe as for data of ours"


def test_a_suite_with_models_that_are_yet_to_be_made_says_how(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path))
    with pytest.raises(DataError) as found:
        reading.read("table8")
    named = [command for name, command in shelf.UNSHIPPED.items() if name != "llava-smol"]  # no suite asks for that
    assert all(command in str(found.value) for command in named)


def test_the_acceptance_table_has_its_grid_and_its_people():
    plan = plans.expand(reading.read("forgetting"))
    assert [(b.size, sorted(b.before)) for b in plan.blocks] == [(5, [0, 1, 2, 3, 4]), (50, [0, 1, 2, 3, 4])]
    assert [r.label for r in plan.blocks[0].rows] == ["nothing", "gradient_ascent", "finetune", "cse", "retrain"]
    kinds = [c.kind for c in plan.cells()]
    # one original and one retrained model for each seed and size, however many methods
    assert kinds.count("before") == kinds.count("retrained") == 10 and kinds.count("method") == 30
    whole = plugins.load_data("people")
    cells = [(b.size, s, cell) for b in plan.blocks for s, cell in b.before.items()]
    assert all(cell.setting.who == draw(whole, size, "groups", seed) for size, seed, cell in cells)


def test_what_is_wrong_is_said_with_file_key_and_nearest_name(place):
    good = suite_text('["./quick.py"]')
    assert "scenarios[0].sizs" in (told := refused(place, good.replace("sizes =", "sizs ="))) and "'sizes'" in told
    assert "toy.toml: seeds" in refused(place, good.replace("seeds = [0, 1]", 'seeds = ["a"]'))
    assert "'nothing'" in (told := refused(place, suite_text('["nothin"]'))) and "methods[0].name" in told
    told = refused(place, suite_text('[{name = "cse", options = {n_pair = false}}]'))
    assert "methods[0].options" in told and "'n_pairs'" in told
    told = refused(place, suite_text('[{name = "cse", opions = {}}]'))
    assert "methods[0].opions" in told and "'options'" in told
    assert "'retrieval'" in refused(place, suite_text('["nothing"]', more='tasks = ["retrival"]'))
    assert "baseline" in refused(place, suite_text('["nothing"]', top='baseline = "cse"'))
    assert "two rows" in refused(place, suite_text('["nothing", "nothing"]'))
    assert "either sizes or who" in refused(place, suite_text('["nothing"]', more='who = ["p1"]'))
    assert "no seeds" in refused(place, suite_text('["nothing"]', seeds="[1, 1]"))
    assert "no TOML" in refused(place, "title = ")
    with pytest.raises(UnknownName, match="forgetting"):
        reading.read("forgeting")


def test_an_analysis_is_asked_by_name(place):
    told = refused(place, suite_text('["nothing"]', top='analyses = ["word"]'))
    assert "analyses" in told and "'words'" in told
    assert "anchors" in refused(place, suite_text('["nothing"]', top='columns = ["self_bleu"]'))


def test_only_the_cells_that_are_looked_at_have_another_hash(place):
    methods = '["./quick.py", {name = "cse", options = {epochs = 1}}]'

    def cells(top):
        return {c.label: c for c in plans.expand(read(place, suite_text(methods, top=top, against="retrain"))).cells()}

    plain, made, looked = cells(""), cells('analyses = ["anchors", "factors"]'), cells('analyses = ["map", "words"]')
    for label, cell in plain.items():
        assert cell.analyses == () and "analyses" not in cell.content()
        # What is made of anchors is asked of methods that make some; what is looked at, of everybody.
        assert (made[label].hash == cell.hash) == (not label.startswith("cse"))
        assert looked[label].hash != cell.hash and set(looked[label].analyses) == {"map", "words"}
    again = cells('analyses = ["words", "map"]')
    assert [c.hash for c in again.values()] == [c.hash for c in looked.values()]


def test_the_identity_of_a_cell_without_analyses_knows_nothing_of_them():
    """Spelled out: a folder of cells that took days must not be lost to a new field."""
    setting = Setting("m", "w", "d", "f", ("p1", "p2"), 3, "retrieval")
    plain = {"kind": "method", **setting.content(), "method": "cse", "options": {"lr": 0.1}, "method_source": None}
    cell = Cell("method", setting, "cse", {"lr": 0.1})
    assert cell.content() == plain and cell.hash == digest(plain)[:32]
    assert Cell("before", setting).content() == {"kind": "before", **setting.content()}
    assert Cell("before", setting, analyses=("map",)).hash != Cell("before", setting).hash


def test_everything_wrong_is_said_at_once(place):
    told = refused(place, suite_text('["nothin", "csee"]', top='columns = ["mia"]'))
    assert "3 problems" in told


def test_more_than_there_is_cannot_be_forgotten(place):
    with pytest.raises(ExpungeError, match="cannot be forgotten"):
        plans.expand(read(place, suite_text('["nothing"]', sizes="[99]")))


def test_rows_share_cells_and_variants_do_not(place):
    text = suite_text(
        '["nothing", "./quick.py", {name = "./quick.py", label = "same", options = {size = 0.05}}, '
        '{name = "./quick.py", label = "more", options = {size = 1}}, "retrain"]',
        against="retrain",
    )
    plan = plans.expand(read(place, text))
    rows = {row.label: row for row in plan.blocks[0].rows}
    assert rows["nothing"].cells == plan.blocks[0].before and rows["retrain"].cells == plan.blocks[0].retrained
    assert rows["quick"].cells[0].hash == rows["same"].cells[0].hash != rows["more"].cells[0].hash
    assert len(plan.cells()) == 2 * 2 * 4  # seeds, sizes, and before, retrained, quick, more


def test_an_edited_method_or_changed_data_is_another_cell(place, tmp_path):
    def first(where):
        return plans.expand(read(where, suite_text('["./quick.py"]', seeds="[0]", sizes="[1]"))).cells()[-1]

    before = first(place)
    copied = tmp_path / "moved"
    write_own_data(copied)
    write_methods(copied)
    assert first(copied).hash == before.hash  # only the content counts, not where it lies
    (copied / "quick.py").write_text((copied / "quick.py").read_text() + "# changed\n")
    assert first(copied).hash != before.hash
    write_methods(copied)
    lines = (copied / "pairs.jsonl").read_text().splitlines()
    (copied / "pairs.jsonl").write_text("\n".join(lines[:-1]))
    assert first(copied).hash != before.hash


def test_the_search_tries_every_method_of_the_paper_as_often_and_never_on_the_reported_people():
    suite = reading.read("search")
    every = {method.name for method in reading.read("privacy").rows} - {"nothing", "retrain"}
    assert every == set(suite.searches) and len(every) == 7
    assert {len(labels) for labels in suite.searches.values()} == {8} == {suite.budget}
    assert {s.data for s in suite.scenarios} == {"people:validation"} and suite.against == "retrain"
    assert [(s.sizes, s.seeds) for s in suite.scenarios] == [((5,), (0, 1)), ((50,), (0,))]


def test_the_search_for_models_that_write_tries_what_the_tables_report_and_on_other_people():
    suite = reading.read("search_answering")
    for name in ("mllmu", "clear", "mllm_quick"):
        reported = reading.read(name)
        assert {method.name for method in reported.rows} - {"nothing", "retrain"} == set(suite.searches)
        assert {s.unit for s in suite.scenarios} == {s.unit for s in reported.scenarios}
        assert not {s.data for s in suite.scenarios} & {s.data for s in reported.scenarios}
    assert {len(labels) for labels in suite.searches.values()} == {4} == {suite.budget}
    assert {s.data for s in suite.scenarios} == {"dossiers:validation"} and suite.layout == "mllmu"


def test_a_scenario_may_have_settings_of_its_own_by_task_and_method(place):
    methods = '["finetune", {name = "finetune", label = "fast", options = {lr = 1e-2}}, "./quick.py"]'
    plain = plans.expand(read(place, suite_text(methods)))
    told = "settings.retrieval = {finetune = {lr = 1e-5, batch = 8}, quick = {size = 0.2}}"
    told = plans.expand(read(place, suite_text(methods, more=told)))
    rows = {row.label: row.cells[0].options for row in told.blocks[0].rows}
    assert rows["finetune"] == {"epochs": 3, "lr": 1e-5, "batch": 8} and rows["quick"] == {"size": 0.2}
    assert rows["fast"] == {"epochs": 3, "lr": 1e-2, "batch": 8}  # a row's own word wins
    assert plain.blocks[0].rows[0].cells[0].hash != told.blocks[0].rows[0].cells[0].hash
    other = "settings.entailment.finetune = {lr = 1e-5}\ntasks = ['retrieval', 'entailment']"
    assert read(place, suite_text('["finetune"]', more=other))
    for wrong, why in (
        ("settings.entailment.finetune = {lr = 1e-5}", "settings.entailment: no task in this scenario called"),
        ("settings.retrieval.fintune = {lr = 1e-5}", "retrieval.fintune: no method in this suite called 'fintune'"),
        ("settings.retrieval.finetune = {rl = 1e-5}", "retrieval.finetune"),
    ):
        assert why in refused(place, suite_text('["finetune"]', more=wrong))


SEARCHED = '[{name = "./quick.py", options = OPTIONS, grid = GRID}]'


def searched(grid, options="{}", **more):
    return suite_text(SEARCHED.replace("OPTIONS", options).replace("GRID", grid), **more)


def test_a_grid_is_one_row_for_every_combination(place):
    told = """[
      {name = "finetune", options = {batch = 8}, grid = {lr = [1e-4, 1e-3], epochs = [1, 5]}},
      {name = "gradient_ascent", label = "up", grid = {lr = [1e-5, 0.25]}}, "nothing", "cse",
    ]"""
    suite = read(place, suite_text(told))
    labels = [f"finetune lr={lr} epochs={epochs}" for lr in ("0.0001", "0.001") for epochs in (1, 5)]
    assert [m.shown for m in suite.rows] == [*labels, "up lr=1e-05", "up lr=0.25", "nothing", "cse"]
    assert [m.options for m in suite.rows][1:3] == [
        {"batch": 8, "lr": 1e-4, "epochs": 5}, {"batch": 8, "lr": 1e-3, "epochs": 1},
    ]  # fmt: skip
    assert suite.searches == {"finetune": tuple(labels), "up": ("up lr=1e-05", "up lr=0.25")}
    assert suite.held_against == "cse"
    plan = plans.expand(suite)
    rows = {row.label: row for row in plan.blocks[0].rows}
    assert [rows[label].cells[0].options["lr"] for label in labels] == [1e-4, 1e-4, 1e-3, 1e-3]
    assert {rows[label].cells[0].options["batch"] for label in labels} == {8}
    assert {rows[label].method for label in labels} == {"finetune"}
    # A setting is the cell that somebody gets who asks for the same options.
    same = suite_text('[{name = "finetune", options = {batch = 8, lr = 1e-3, epochs = 5}}]')
    assert plans.expand(read(place, same)).blocks[0].rows[0].cells[0].hash == rows[labels[3]].cells[0].hash


def test_a_search_has_no_baseline_of_its_own(place):
    assert read(place, suite_text('[{name = "cse", grid = {lr = [1e-4, 1e-3]}}]')).held_against == ""


def test_what_is_wrong_with_a_grid_is_said(place):
    assert "methods[0].grid.size" in (told := refused(place, searched("{size = 1.0}"))) and "valid list" in told
    assert "methods[0].grid" in (told := refused(place, searched("{sizes = [1.0]}"))) and "'size'" in told
    told = refused(place, searched("{size = [1.0, 'much', 'more']}"))
    assert told.count("methods[0].grid") == 2 and "'much'" in told and "'more'" in told
    assert "size stands in options, too" in refused(place, searched("{size = [1.0]}", "{size = 2.0}"))
    assert "nothing to try for size" in refused(place, searched("{size = []}"))
    told = refused(place, searched("{size = [1.0, 1.0]}"))
    assert "two rows are called 'quick size=1.0'" in told and "two settings are the same" in told
    assert "two settings are the same" in refused(place, searched("{size = [1, 1.0]}"))
    double = '[{name = "./quick.py", grid = {size = [1.0]}}, {name = "./quick.py", label = "quick size=1.0"}]'
    assert "two rows are called 'quick size=1.0'" in refused(place, suite_text(double))


def test_a_budget_is_the_same_for_everybody(place):
    grids = (
        '[{name = "cse", grid = {lr = [1e-5, 1e-4], epochs = [1, 2, 3]}}, {name = "./quick.py", grid = {size = %s}}]'
    )
    eight, six = ("[" + ", ".join(f"{i}.0" for i in range(n)) + "]" for n in (8, 6))
    told = refused(place, suite_text(grids % eight, top="budget = 8"))
    assert "the methods have 8 and 6 settings; each must have 8" in told and "cse 6, quick 8" in told
    assert read(place, suite_text(grids % six, top="budget = 6")).budget == 6
    assert "the methods have 6 settings; each must have 7" in refused(place, suite_text(grids % six, top="budget = 7"))
    assert "no method has a grid" in refused(place, suite_text('["nothing"]', top="budget = 8"))
    assert "budget" in refused(place, suite_text(grids % six, top='budget = "six"'))


def test_a_cell_of_a_task_knows_the_weights_that_its_training_begins_from(place, tmp_path, monkeypatch):
    def weights_on(scenario, model):
        plan = plans.expand(suites.Suite((scenario,), ("nothing",), (0,), (model,), path=str(place / "toy.toml")))
        return {block.task: block.before[0].setting.weights for block in plan.blocks}

    taught = tmp_path / "shelved-entailment" / "model.safetensors"
    for folder in ("shelved", "shelved-entailment"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text("{}")
        (tmp_path / folder / "model.safetensors").write_text(folder)
    monkeypatch.setattr(shelf, "WEIGHTS", tmp_path)
    monkeypatch.setattr(plans, "load_corpus", lambda *_: corpus())
    tasks = ("retrieval", "multiple_choice", "entailment")
    found = weights_on(suites.Scenario("people", sizes=(1,), tasks=tasks), "shelved")
    assert found["retrieval"] == found["multiple_choice"] == plans.weights("shelved")
    assert found["entailment"] == plans.weights("shelved-entailment") != found["retrieval"]
    taught.write_text("taught again")
    plans.weights.cache_clear()
    again = weights_on(suites.Scenario("people", sizes=(1,), tasks=tasks), "shelved")
    assert again["entailment"] != found["entailment"] and again["retrieval"] == found["retrieval"]
    # Somebody's own model is the original itself, whatever stands on our shelf; its retraining begins as ours does.
    own = suites.Scenario("./pairs.jsonl", sizes=(1,), source="people", tasks=("entailment",), pretrained="shelved")
    assert weights_on(own, "shelved") == {"entailment": plans.weights("shelved")}
    (block,) = plans.expand(suites.Suite((own,), ("nothing",), (0,), ("shelved",), path=str(place / "toy.toml"))).blocks
    assert block.before[0].setting.pretrained == plans.weights("shelved-entailment")


def test_cells_from_before_there_were_public_data_are_the_cells_of_today():
    setting = Setting("m", "w", "d", "f", ("a",), 0, "retrieval", {"size": 3}, "p", {"epochs": 1})
    assert Cell("before", setting).hash == "e7a1a3260e63d7285b16eb2659483926"


PUBLIC = """
seeds = [0]
models = ["ALBEF.pth"]
methods = ["nothing"]
against = "none"

[[scenarios]]
data = "flickr30k"
data_options = { folder = "FOLDER", skip = false }
unit = "pictures"
sizes = [1]
"""


def test_where_public_data_lie_is_no_part_of_a_cell(place):
    """A suite names the folder from its own place; the fingerprint is what tells data apart."""

    def cell(folder, more=""):
        return plans.expand(read(place, PUBLIC.replace("FOLDER", folder) + more)).cells()[0]

    for folder in ("flickr", "elsewhere/flickr"):
        published.flickr30k(place / folder)
    one, other = cell("flickr"), cell("elsewhere/flickr")
    assert one.hash == other.hash and one.setting.data_options == {"skip": False}
    assert one.setting.paths["data_options"]["folder"] == str(place / "flickr")
    assert one.setting.recipe == asdict(PAPER), "no recipe of the embedded worlds suits a model of full size"
    made = cell("flickr", "make_original = true\n")
    assert made.hash != one.hash and made.setting.make_original and made.setting.recipe["lr"] == 1e-5
    assert cell("flickr", "make_original = { epochs = 2 }\n").setting.recipe["epochs"] == 2
    published.paint(place / "elsewhere/flickr/flickr30k-images/1002.jpg", 123)
    assert cell("elsewhere/flickr").hash != one.hash


def test_a_cell_whose_original_is_made_is_measured(place):
    published.flickr30k(place / "flickr")
    more = "make_original = { epochs = 1, batch = 8 }\n"
    text = PUBLIC.replace("FOLDER", "flickr").replace('against = "none"', 'against = "retrain"') + more
    for cell in plans.expand(read(place, text)).cells():
        found = Workshop().measure(cell, Silent())
        assert found["scores"]["r_forget"]["n"] > 0
        assert found["cost"].get("seconds", 1) > 0


def test_what_public_data_cannot_do_is_said_before_anything_starts(place):
    text = PUBLIC.replace("FOLDER", "flickr")
    for change, said in (
        (("skip = false", "skp = false"), "scenarios[0].data_options: no option of flickr30k called 'skp'"),
        (('folder = "flickr", ', ""), "scenarios[0].data_options: flickr30k needs folder"),
        (("sizes", 'tasks = ["entailment"]\nsizes'), "scenarios[0].tasks: flickr30k does not serve entailment"),
        (("sizes", "make_original = { epoch = 2 }\nsizes"), "scenarios[0].make_original: no option of --recipe"),
        (("sizes", 'make_original = true\npretrained = "ALBEF.pth"\nsizes'), "leave --pretrained out"),
        (('"flickr30k"', '"people"'), "no option of people called 'folder'"),
    ):
        assert said in refused(place, text.replace(*change))


def test_other_weights_of_a_generator_are_another_cell(place, tmp_path, monkeypatch):
    def cells():
        plans.weights.cache_clear()
        plan = plans.expand(read(place, suite_text('["cse", "finetune"]', seeds="[0]", sizes="[1]")))
        return {cell.method: cell for cell in plan.cells() if cell.kind == "method"}

    for name in ("sd-tiny", "blip2-tiny"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_text(name)
    monkeypatch.setattr(shelf, "WEIGHTS", tmp_path)
    first = cells()
    assert first["cse"].models == {"painter": plans.weights("sd-tiny"), "writer": plans.weights("blip2-tiny")}
    assert first["cse"].content()["models"] == first["cse"].models and "models" not in first["finetune"].content()
    (tmp_path / "blip2-tiny" / "model.safetensors").write_text("taught again")
    again = cells()
    assert again["cse"].hash != first["cse"].hash and again["finetune"].hash == first["finetune"].hash


def test_a_generator_that_nobody_has_is_said_before_anything_starts(place):
    told = refused(place, suite_text('[{name = "cse", options = {painter = "sd-tinny"}}]'))
    assert "methods[0].options" in told and "'sd-tiny'" in told
    told = refused(place, suite_text('[{name = "cse", grid = {writer = ["blip2-tiny", "blop"]}}]'))
    assert "methods[0].options" in told and "'blop'" in told


@lru_cache(maxsize=1)
def corpus():
    return small_corpus()


def test_a_suite_may_be_asked_for_one_task_alone(place):
    whole = plans.expand(reading.read("privacy"))
    some = plans.expand(reading.read("privacy:multiple_choice"))
    assert {block.task for block in whole.blocks} == {"retrieval", "multiple_choice"}
    assert [block.size for block in some.blocks] == [5, 50, 500]
    assert {block.task for block in some.blocks} == {"multiple_choice"}
    assert {cell.hash for cell in some.cells()} < {cell.hash for cell in whole.cells()}  # measured once for both
    assert (some.suite.name, some.suite.typed) == ("privacy_multiple_choice", "privacy:multiple_choice")
    assert reading.read(some.suite.asked) == some.suite  # as a worker is told it
    own = read(place, suite_text('["nothing"]'))
    assert (own.typed, reading.read(f"{own.path}:retrieval").typed) == ("toy.toml", "toy.toml:retrieval")


def test_a_task_that_there_is_not_or_that_is_not_asked_is_told(place):
    with pytest.raises(UnknownName, match="no task called 'retreival'. Did you mean 'retrieval'"):
        reading.read("privacy:retreival")
    with pytest.raises(UnknownName, match="no suite called 'privaci'"):
        reading.read("privaci:retrieval")
    with pytest.raises(
        ExpungeError, match="no scenario with the task entailment, only with multiple_choice, retrieval"
    ):
        reading.read("privacy:entailment")
    assert suites.part(r"C:\grids\mine.toml") == (r"C:\grids\mine.toml", "")
    assert "no such key" in refused(place, 'task = "retrieval"\n' + suite_text('["nothing"]'))


@settings(max_examples=25, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 50), min_size=1, max_size=4, unique=True),
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True),
    methods=st.lists(st.sampled_from(["nothing", "gradient_ascent", "finetune", "retrain"]), min_size=1, unique=True),
    unit=st.sampled_from(["groups", "pictures", "samples"]),
    against=st.sampled_from(["retrain", "none"]),
)
def test_the_grid_is_the_product_in_the_same_order_every_time(seeds, sizes, methods, unit, against):
    scenario = suites.Scenario("people", "people", sizes=tuple(sizes), unit=unit)
    suite = suites.Suite((scenario,), tuple(methods), tuple(seeds), against=against)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plans, "load_corpus", lambda *_: corpus())
        plan, again = plans.expand(suite), plans.expand(suite)
    assert [c.hash for c in plan.cells()] == [c.hash for c in again.cells()]
    assert len(plan.blocks) == len(sizes)
    assert all([list(row.cells) for row in b.rows] == [seeds] * len(methods) for b in plan.blocks)
    hashes = {c.hash for c in plan.cells()}
    assert len(hashes) == len(plan.cells())
    wanted = {c.hash for b in plan.blocks for row in b.rows for c in row.cells.values()}
    assert wanted <= hashes
    # Different contents have different hashes, and the label has no part in it.
    contents = {str(c.content()) for c in plan.cells()}
    assert len(contents) == len(hashes)
    # Early seeds come first: the first cells are a whole grid of the first seed.
    first = [c.setting.seed for c in plan.cells()]
    assert first == sorted(first, key=seeds.index)


@given(seed=st.integers(0, 9), who=st.lists(st.text("abc", min_size=1), min_size=1, unique=True), label=st.text())
def test_identity_is_the_content_and_nothing_else(seed, who, label):
    def setting(**more):
        return Setting("m", "w", "d", "f", tuple(sorted(who)), seed, "retrieval", **more)

    one = Cell("method", setting(), "cse", {"lr": 0.1, "tau": 0.0})
    same = Cell("method", setting(paths={"model": "/elsewhere"}), "cse", {"tau": 0.0, "lr": 0.1}, label=label)
    assert one.hash == same.hash
    others = [
        Cell("method", setting(), "cse", {"lr": 0.2, "tau": 0.0}), Cell("method", setting(), "slug", one.options),
        Cell("before", setting()), Cell("retrained", setting()),
        Cell("method", setting(data_options={"size": 3}), "cse", one.options),
    ]  # fmt: skip
    assert len({one.hash, *(c.hash for c in others)}) == 6


def test_every_task_is_what_an_embedded_world_can_be_asked():
    from expunge.bench.suite import Scenario

    asked = {"retrieval", "multiple_choice", "entailment"}
    assert set(suites.tasks_of(Scenario("people", tasks="*"))) == asked
    assert suites.tasks_of(Scenario("dossiers", tasks="*")) == ("answering",)
    assert set(suites.tasks_of(Scenario("mine.jsonl", tasks="*"))) == asked
