"""A suite is checked before anything starts, and becomes the same cells in the same order everywhere."""

from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bench.bench_toys import suite_text, write_methods, write_own_data

from expunge.bench import plan as plans
from expunge.bench import suite as suites
from expunge.bench.cells import Cell, Setting
from expunge.core import plugins
from expunge.core.errors import DataError, ExpungeError, UnknownName
from expunge.scenario import some_people
from expunge.testing import small_corpus


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("suite") / "own"
    write_own_data(place)
    write_methods(place)
    return place


def read(place, text, name="toy.toml"):
    (place / name).write_text(text)
    return suites.read(place / name)


def refused(place, text) -> str:
    with pytest.raises((DataError, ExpungeError)) as found:
        read(place, text)
    return str(found.value)


SHIPPED = [entry.name for entry in plugins.entries("suites")]


def test_the_papers_tables_have_suites():
    assert {
        "forgetting", "quick", "privacy", "copyright", "generation_ablation", "loss_ablation", "table6", "table8",
        "samples", "analyses", "table7", "figures9_10",
    } <= set(SHIPPED)  # fmt: skip
    assert all(entry.line for entry in plugins.entries("suites"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_suite_is_sound(name):
    assert suites.read(name).rows


def test_the_acceptance_table_is_the_old_scripts_grid():
    plan = plans.expand(suites.read("forgetting"))
    assert [(b.size, sorted(b.before)) for b in plan.blocks] == [(5, [0, 1, 2, 3, 4]), (50, [0, 1, 2, 3, 4])]
    assert [r.label for r in plan.blocks[0].rows] == ["nothing", "gradient_ascent", "finetune", "cse", "retrain"]
    kinds = [c.kind for c in plan.cells()]
    # one original and one retrained model for each seed and size, however many methods
    assert kinds.count("before") == kinds.count("retrained") == 10 and kinds.count("method") == 30
    corpus = plugins.load_data("people")
    assert all(c.setting.who == tuple(some_people(corpus, len(c.setting.who), c.setting.seed)) for c in plan.cells())


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
        suites.read("forgeting")


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


def test_the_hash_of_a_cell_without_analyses_is_what_it_was():
    """Written down before there were any: a folder of cells that took days must not be lost to a new field."""
    setting = Setting("m", "w", "d", "f", ("p1", "p2"), 3, "retrieval")
    assert Cell("method", setting, "cse", {"lr": 0.1}).hash == "1b0547dc763062f6db84ac877c001f87"
    assert Cell("before", setting).hash == "00fac20df0c041073d7ebd37f02b86e4"


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


@lru_cache(maxsize=1)
def corpus():
    return small_corpus()


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
        patched.setattr(plans, "_corpus", lambda *_: corpus())
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


def test_the_same_seed_draws_the_same_and_pictures_come_whole():
    whole = corpus()
    ids = plans.draw(whole, 3, "pictures", 1, "scenes")
    chosen = [e for e in whole.train if e.id in ids]
    assert len({e.image.key for e in chosen}) == 3
    assert len(chosen) == sum(e.image.key in {c.image.key for c in chosen} for e in whole.train)
    assert ids == plans.draw(whole, 3, "pictures", 1, "scenes") != plans.draw(whole, 3, "pictures", 2, "scenes")
    assert len(plans.draw(whole, 4, "samples", 0)) == 4
