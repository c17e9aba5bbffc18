"""What a run will take, told before it starts: steps, pairs, memory and time, of one method on one model.

Nothing is loaded and nothing is measured: sizes come from headers, steps from the method's own schedule, and time from
cells of a grid that were measured before, or, failing that, from operations at a stated rate.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, cast

from expunge.core import plugins
from expunge.core.errors import ExpungeError
from expunge.core.options import copies, foresee
from expunge.core.types import Method, Task, Work
from expunge.methods.data.retrain import Retrain
from expunge.train import budget as budgets
from expunge.train.budget import Budget, Machine, budget
from expunge.train.footprint import Sizes, sizes
from expunge.train.originals import PAPER, RECIPES, Recipe
from expunge.zoo import shelf

CORE_RATE = 4e10
"""Operations a second that a processor's core is taken to do in training: docs/scale.md has what ours did."""
CUDA_RATE = 1.5e13
"""The same for an accelerator, in float32; a recipe states its machine's."""


@dataclass(frozen=True)
class Rate:
    """Operations a second, and on what."""

    flops: float
    what: str

    @classmethod
    def of_this_machine(cls, machine: Machine) -> Rate:
        if machine.is_device:
            return cls(CUDA_RATE, machine.what)
        cores = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        return cls(cores * CORE_RATE, f"{cores} core{'s' if cores > 1 else ''}")


@dataclass(frozen=True)
class Forecast:
    """What is foreseen of one piece of work. None is what nobody can say; ``by`` is where ``seconds`` come from."""

    what: str
    work: Work | None = None
    memory: Budget | None = None
    seconds: float | None = None
    by: str = ""
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Outlook:
    """Everything foreseen of one request; ``missing`` is what is not on this machine."""

    title: str
    forecasts: tuple[Forecast, ...]
    rate: Rate
    machine: Machine
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    memory: Budget | None = None  # of the method, item by item


def size_of(name: str, task: str = "retrieval") -> Sizes | None:
    """Of the model that training on the task begins from; None where it is not here or tells no size."""
    return _sized(name, task)[0]


def _sized(name: str, task: str) -> tuple[Sizes | None, str]:
    """The size, or none and why."""
    try:
        return sizes(shelf.locate(shelf.beginning(name, cast(Task, task)))), ""
    except ExpungeError as error:
        return None, str(error)


def lent_by(method: Any, known: Mapping[str, Sizes] | None = None) -> dict[str, Sizes]:
    """Sizes of the models that a method's options name, by option, without those that are neither here nor known."""
    named = {option: str(getattr(method, option)) for option in plugins.models(type(method))}
    found = {option: (known or {}).get(name) or size_of(name) for option, name in named.items()}
    return {option: one for option, one in found.items() if one is not None}


def of_method(
    method: Any, model: Sizes | None, forget: int, retain: int, task: str, rate: Rate,
    machine: Machine | None = None, *, known: Mapping[str, Sizes] | None = None, what: str = "",
) -> Forecast:  # fmt: skip
    """One method. ``known`` are sizes of models that are not here, by the name that an option gives; with a
    ``machine`` the method also tells what its lent models mean there, which takes it seconds."""
    work = foresee(method, forget, retain, task)
    lent = lent_by(method, known)
    missing = [o for o in plugins.models(type(method)) if o not in lent]
    if work is not None and not work.lent:
        lent, missing = {}, []
    notes = tuple(f"{option} {getattr(method, option)} is not here: not counted" for option in missing)
    if machine and machine.is_device and lent and not missing and isinstance(method, Method):
        notes += method.foretell(_places(method), machine.free)
    held = None if model is None else budget(
        model, copies(type(method)), lent, work.batch if work else 0.0, processes=budgets.sharding()
    )  # fmt: skip
    seconds = by = None
    if work is not None and model is not None and not missing:
        operations = work.pairs * model.flops + sum(work.lent.get(o, 0.0) * one.flops for o, one in lent.items())
        seconds, by = operations / rate.flops, f"{operations:.1e} operations"
    return Forecast(what or type(method).__name__, work, held, seconds, by or "", notes)


def _places(method: Any) -> dict[str, Path]:
    """Where the models that a method's options name lie, by option, without those that are not here."""
    found: dict[str, Path] = {}
    for option in plugins.models(type(method)):
        with suppress(ExpungeError):
            found[option] = shelf.locate(str(getattr(method, option)))
    return found


def of_training(what: str, recipe: Recipe, model: Sizes | None, pairs: int, rate: Rate) -> Forecast:
    """Making an original, or retraining."""
    work = recipe.schedule.work(pairs)
    held = budget(model, {"gradients": 1, "moments": 2}, batch=work.batch) if model else None
    operations = work.pairs * model.flops if model else None
    return Forecast(
        what, work, held, operations / rate.flops if operations else None,
        f"{operations:.1e} operations" if operations else "",
    )  # fmt: skip


def of_request(
    method: Any, model: str, task: str, counts: tuple[int, int] | None, *, makes_original: bool = False,
    retrains: bool = False, recipe: Recipe | None = None, missing: Sequence[str] = (), notes: Sequence[str] = (),
) -> Outlook:  # fmt: skip
    """One request: ``counts`` of examples to forget and to retain, None where the data is not here. Where the
    original is made it is trained first, unless it is kept; ``retrains`` counts a retrained model, too. Without a
    ``recipe`` both are made as on an embedded world, or, where the model given is the original, as the paper's."""
    here = budgets.machine()
    rate = Rate.of_this_machine(here)
    size, why = _sized(model, task)
    absent = [*missing, *([f"the model {model}: {why}"] if size is None else [])]
    name = plugins.method_name(type(method))
    if counts is None:
        held = budget(size, copies(type(method)), lent_by(method)) if size else None
        return Outlook(f"{name} on {model}", (Forecast(name),), rate, here, tuple(absent), tuple(notes), held)
    forget, retain = counts
    trained = recipe or recipe_of(task, own_data=not makes_original)
    if isinstance(method, Retrain):  # what its options leave open
        method = replace(method, **asdict(method.recipe(cast(Task, task), trained)))
    asked = of_method(method, size, forget, retain, task, rate, here, what=name)
    rows = [asked]
    if makes_original:
        rows.insert(0, of_training("the original, unless it is kept", trained, size, forget + retain, rate))
    if retrains:
        rows.append(of_training("retrained, unless it is kept", trained, size, retain, rate))
    title = f"{name} on {model}: {forget} examples to forget, {retain} to retain"
    return Outlook(title, tuple(rows), rate, here, tuple(absent), tuple(notes), asked.memory)


def recipe_of(task: str, own_data: bool = False) -> Recipe:
    """How original and retrained models are made where nobody says."""
    return PAPER if own_data else RECIPES[cast(Task, task)]


def check_memory(method: Any, model: str, forget: int, retain: int, task: str) -> list[str]:
    """Notes on memory before anything is loaded. Raises ExpungeError where it cannot be enough.

    A model whose size cannot be read is not judged: loading it will say what is wrong.
    """
    size = size_of(model, task)
    if size is None:
        return []
    here = budgets.machine()
    foreseen = of_method(method, size, forget, retain, task, Rate.of_this_machine(here))
    if foreseen.memory is None:
        return []
    name = plugins.method_name(type(method))
    told = budgets.check(foreseen.memory, here, f"{name} on {model}", remedies(method), budgets.sharding())
    return [told] if told else []


def remedies(method: Any) -> dict[str, str]:
    """What the user may change, by what it makes smaller ("": the activations, which are never certain)."""
    own = {f.name for f in fields(method)}
    told = {option: f"a smaller {option} (-p {option}=…)" for option in plugins.models(type(method))}
    if "precision" in own and getattr(method, "precision", "") != "bf16":
        told[""] = "--option precision=bf16"
    if "batch" in own:
        told[""] = " with ".join(filter(None, [told.get("", ""), f"a batch below {method.batch} (-p batch=…)"]))
    return told
