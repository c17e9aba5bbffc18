"""What is wrong with a suite that has the right shape: names that do not exist, options that no method has, doubles."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from expunge.bench.suite import (
    ALL,
    COLUMNS,
    LOOKS,
    MADE,
    MADE_COLUMNS,
    Method,
    Scenario,
    Suite,
    place,
    placed_options,
    tasks_of,
)
from expunge.core import plugins
from expunge.core.errors import ExpungeError, Problem, UnknownName
from expunge.core.options import described_call, options, values
from expunge.core.spec import canonical
from expunge.report import layouts, printed


def problems(suite: Suite, path: Path, absent: list[str] | None = None) -> Iterable[Problem]:
    """Everything at once, with file and key. Models and data that are not here are no problem where there is a list to
    put them in."""

    def wrong(key: str, found: str, remedy: str) -> Problem:
        return Problem(f"{path}: {key}", found, remedy)

    for key, found, is_absent in _names(suite):
        if is_absent and absent is not None:
            absent.append(found[0])
        else:
            yield wrong(key, *found)
    yield from (wrong(k, *f) for k, f in _budget(suite))
    labels = [m.shown for m in suite.rows]
    for label in sorted({one for one in labels if labels.count(one) > 1}):
        yield wrong("methods", f"two rows are called {label!r}", "Give each its own label.")
    if not labels:
        yield wrong("methods", "there is none", "Name at least one.")
    if suite.baseline and suite.baseline not in labels:
        yield wrong("baseline", f"no row is called {suite.baseline!r}", f"There is: {', '.join(labels)}.")
    for column in suite.columns:
        if column not in COLUMNS:
            yield wrong("columns", f"no column called {column!r}", f"There is: {', '.join(COLUMNS)}.")
    for asked in suite.analyses:
        if asked not in LOOKS + MADE:
            yield wrong("analyses", *_split(UnknownName("analysis", asked, LOOKS + MADE)))
    for column in sorted(set(suite.columns) & set(MADE_COLUMNS)) if "anchors" not in suite.analyses else ():
        yield wrong("columns", f"{column!r} is measured on anchors", 'Write analyses = ["anchors"].')
    shown = [s.shown for s in suite.scenarios]
    for label in sorted({one for one in shown if shown.count(one) > 1}):
        yield wrong("scenarios", f"two are called {label!r}", "Give each its own label.")
    if not suite.scenarios:
        yield wrong("scenarios", "there is none", "Write at least one [[scenarios]].")
    for i, scenario in enumerate(suite.scenarios):
        key = f"scenarios[{i}]"
        if bool(scenario.sizes) == bool(scenario.who):
            yield wrong(key, "it needs either sizes or who", 'Write sizes = [5, 50], or who = ["p017"].')
        if any(size < 1 for size in scenario.sizes):
            yield wrong(f"{key}.sizes", "a size below one", "Forget at least one.")
        if scenario.paper_sizes and len(scenario.paper_sizes) != len(scenario.sizes):
            yield wrong(f"{key}.paper_sizes", "not as many as sizes", "Write one printed size for each.")
        for where, seeds in ((f"{key}.seeds", scenario.seeds), ("seeds", suite.seeds)):
            if seeds is not None and (not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0):
                yield wrong(where, f"{list(seeds)} are no seeds", "Write different numbers from 0 up.")


Found = tuple[str, tuple[str, str], bool]
"""A key, (what is wrong, what to do), and whether what is wrong is only that a model or data are not here."""


def _names(suite: Suite) -> Iterable[Found]:
    """Every name that is not found where the program will look it up."""
    if suite.paper and suite.paper not in printed.tables():
        yield "paper", (f"no printed table called {suite.paper!r}", f"There is: {', '.join(printed.tables())}."), False
    if suite.layout and suite.layout not in layouts.LAYOUTS:
        yield "layout", _split(UnknownName("layout", suite.layout, layouts.LAYOUTS)), False
    for i, method in enumerate(suite.written):
        yield from _method(suite, method, f"methods[{i}]")
    yield from _listed_models(suite)
    for i, scenario in enumerate(suite.scenarios):
        yield from _scenario(suite, scenario, f"scenarios[{i}]")


def _method(suite: Suite, method: Method, key: str) -> Iterable[Found]:
    try:
        chosen = plugins.load_method(place(suite, method.name))
    except ExpungeError as error:
        yield f"{key}.name", _split(error), False
        return
    try:
        options(chosen, method.options)
    except ExpungeError as error:
        yield f"{key}.options", _split(error), False
        return
    found = list(_grid(chosen, method))
    yield from ((f"{key}.grid", one, False) for one in found)
    yield from () if found else ((f"{key}.options", one, True) for one in _models(chosen, method))


def _listed_models(suite: Suite) -> Iterable[Found]:
    from expunge.zoo import shelf

    listed = {("models", suite.models)} | {(f"scenarios[{i}].models", s.models) for i, s in enumerate(suite.scenarios)}
    for key, models in sorted(listed, key=lambda one: one[0]):
        for model in models if models and models != ALL else ():
            try:
                shelf.locate(place(suite, model))
            except ExpungeError as error:
                yield key, _split(error), True


def _scenario(suite: Suite, scenario: Scenario, key: str) -> Iterable[Found]:
    """Its tasks, the options of its methods, and its data."""
    from expunge.scenario import recipe_of

    data = place(suite, scenario.data)
    if plugins.is_path(data) or data.partition(":")[0] in {entry.name for entry in plugins.entries("data")}:
        try:
            recipe_of(data, scenario.pretrained, scenario.make_original)
        except ExpungeError as error:
            yield f"{key}.make_original", _split(error), False
    tasks = [entry.name for entry in plugins.entries("tasks")]
    for task in _asked(scenario):
        if task not in tasks:
            yield f"{key}.tasks", _split(UnknownName("task", task, tasks)), False
    yield from ((f"{key}.settings.{where}", one, False) for where, one in _settings(suite, scenario))
    if not plugins.is_path(data):
        yield from _public_data(suite, scenario, data, key)
    elif not Path(data).exists():
        missing = f"there is no data at {data}"
        yield f"{key}.data", (missing, "A path is read from the suite's own folder."), True


def _public_data(suite: Suite, scenario: Scenario, data: str, key: str) -> Iterable[Found]:
    """A data set by its name: its options, where it lies, and the tasks that it serves."""
    try:
        entry = plugins.find("data", data.partition(":")[0])
    except ExpungeError as error:
        yield f"{key}.data", _split(error), False
        return
    yield from ((f"{key}.data_options", one, False) for one in _data_options(entry, scenario))
    told = placed_options(suite, scenario)
    for option in sorted(plugins.places(data) & told.keys()):
        if not Path(str(told[option])).exists():
            missing = f"there is no data at {told[option]}"
            yield f"{key}.data_options.{option}", (missing, "Say where it lies with --path."), True
    known = {one.name for one in plugins.entries("tasks")}
    for task in _asked(scenario):
        if task in known and task not in entry.tasks:
            yield f"{key}.tasks", (f"{data} does not serve {task}", f"It serves {', '.join(entry.tasks)}."), False


def _asked(scenario: Scenario) -> tuple[str, ...]:
    """The tasks that are asked for by name."""
    return () if scenario.tasks == ALL else tuple(scenario.tasks)


def _settings(suite: Suite, scenario: Scenario) -> Iterable[tuple[str, tuple[str, str]]]:
    """(key, (what is wrong, what to do)) of options that a scenario gives by task and method."""
    rows = {Path(m.name).stem: m.name for m in suite.written}
    asked = tasks_of(scenario) if scenario.tasks != ALL else [entry.name for entry in plugins.entries("tasks")]
    for task, given in scenario.settings.items():
        if task not in asked:
            yield task, _split(UnknownName("task in this scenario", task, asked))
            continue
        for name, told in given.items():
            try:
                if name not in rows:
                    raise UnknownName("method in this suite", name, rows)
                options(plugins.load_method(place(suite, rows[name])), told, task)
            except ExpungeError as error:
                yield f"{task}.{name}", _split(error)


def _data_options(entry: plugins.Entry, scenario: Scenario) -> Iterable[tuple[str, str]]:
    """Options that a data set does not have, and those that it needs and are not given."""
    found = {o.name: o for o in described_call(entry.path, "load") if o.name not in plugins.UNASKED}
    for name in scenario.data_options:
        if name not in found and name != "variant":
            yield _split(UnknownName(f"option of {entry.name}", name, found))
    for name, option in found.items():
        if not option.default and name not in scenario.data_options:
            yield f"{entry.name} needs {name}", f'Write data_options = {{ {name} = "…" }}.'


def _split(error: ExpungeError) -> tuple[str, str]:
    """A sentence of what is wrong and one of what to do, out of one message."""
    found, _, remedy = str(error).partition(". ")
    return found.rstrip("."), remedy or "`expunge list` shows what there is."


def _grid(chosen: type, method: Method) -> Iterable[tuple[str, str]]:
    """(what is wrong, what to do) with a method's grid."""
    if empty := [name for name, tried in method.grid.items() if not tried]:
        yield f"nothing to try for {', '.join(empty)}", "Write at least one value in each list."
    if twice := sorted(method.grid.keys() & method.options.keys()):
        yield f"{', '.join(twice)} stands in options, too", "Either fix an option or search it."
    wrong: dict[tuple[str, str], None] = {}  # what is wrong with one value is wrong in many settings: said once
    made = []
    for name, tried in method.grid.items():
        for value in tried:
            try:
                options(chosen, {name: value})
            except ExpungeError as error:
                wrong[_split(error)] = None
    if not wrong:
        for setting in method.settings:
            try:  # values may be good one by one and not together
                made.append(canonical(values(options(chosen, setting.options))))
            except ExpungeError as error:
                wrong[_split(error)] = None
    yield from wrong
    if len(set(made)) < len(made):
        yield "two settings are the same", "Write different values."


def _models(chosen: type, method: Method) -> Iterable[tuple[str, str]]:
    """Models that a method's options name and nobody has, such as a generator's."""
    from expunge.zoo import shelf

    made = [options(chosen, setting.options) for setting in method.settings]
    for name in dict.fromkeys(getattr(one, option) for one in made for option in plugins.models(chosen)):
        try:
            shelf.locate(name)
        except ExpungeError as error:
            yield _split(error)


def _budget(suite: Suite) -> Iterable[tuple[str, tuple[str, str]]]:
    """Whether every searched method has as many tries as the suite says."""
    if suite.budget is None:
        return
    found = {name: len(labels) for name, labels in suite.searches.items()}
    if not found:
        yield "budget", ("no method has a grid", "Write one, or remove the budget.")
    elif set(found.values()) != {suite.budget}:
        counts = " and ".join(str(n) for n in sorted(set(found.values()), reverse=True))
        told = ", ".join(f"{name} {n}" for name, n in found.items())
        who = "the methods have" if len(found) > 1 else "the method has"
        yield "budget", (f"{who} {counts} settings; each must have {suite.budget}", f"There is: {told}.")
