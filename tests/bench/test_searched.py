"""What a method does when nobody says otherwise is what the published searches chose: nobody picks a rate by hand."""

import csv
from pathlib import Path

import pytest

from expunge.bench import glance, reading
from expunge.bench.harvest import harvest
from expunge.core import plugins
from expunge.core.options import options

RESULTS = Path(__file__).parents[2] / "docs" / "results"
SEARCHES = {
    "search": "retrieval",
    "search_copyright": "retrieval",
    "search_entailment": "entailment",
    "search_multiple_choice": "multiple_choice",
}
"""Published searches -> the task that each is about. All but that for copyright choose defaults."""


def published(search: str) -> dict[str, str]:
    """Method -> the label of the setting that the published page says is best, of as many as the suite has."""
    page = (RESULTS / search / f"{search}.md").read_text().replace("\\", "")
    budget = reading.read(search).budget
    table = page.split("| Avg.G | settings | cells |")[1].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert {row[2] for row in rows} == {f"{budget} of {budget}"}
    return {row[0].partition(" ")[0]: row[0] for row in rows}


@pytest.mark.parametrize("search, task", SEARCHES.items())
def test_settings_are_those_that_the_published_searches_chose(search, task):
    rows = {row.shown: row for row in reading.read(search).rows}
    chosen = published(search)
    assert set(chosen) == set(reading.read(search).searches)
    given: list[dict] = [{}]
    if search == "search_copyright":  # scenes: what differs from the defaults stands in the suites that use them
        copyright = [one for name in ("copyright", "table6") for one in reading.read(name).scenarios]
        given = [one.settings[task] for one in copyright if one.data == "scenes"]
        assert len(given) == 2
    for method, label in chosen.items():
        kind = plugins.load_method(method)
        for settings in given:
            assert options(kind, settings.get(method, {}), task) == options(kind, rows[label].options, task), label


@pytest.mark.parametrize("search", ["search_copyright", "search_entailment", "search_multiple_choice"])
def test_the_published_choice_is_the_smallest_published_distance(search):
    """Where there is one draw of one size, the choice can be read off the table of all settings."""
    with open(RESULTS / search / f"{search}.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["column"] == "avg_g"]
    for method, labels in reading.read(search).searches.items():
        means = {row["method"]: float(row["mean"]) for row in rows if row["method"] in labels}
        assert len(means) == len(labels) and min(means, key=lambda one: means[one]) == published(search)[method]


def test_the_search_for_copyright_tries_every_comparison_as_often_and_what_privacy_chose():
    suite = reading.read("search_copyright")
    assert set(suite.searches) == set(reading.read("search").searches)
    assert {len(labels) for labels in suite.searches.values()} == {4} == {suite.budget}
    assert {s.data for s in suite.scenarios} == {"scenes:validation"}
    for method in suite.written:
        chosen = options(plugins.load_method(method.name))
        assert all(getattr(chosen, name) in tried for name, tried in method.grid.items())


def test_the_published_choice_for_copyright_is_that_of_the_published_cells(tmp_path):
    glance.take("search_copyright", tmp_path, [RESULTS / "search_copyright"])
    found = harvest(tmp_path / "search_copyright").chosen
    assert {one.method: one.label for one in found} == published("search_copyright")
    assert all(one.measured == one.settings == 4 for one in found)
