"""Original and retrained models of the embedded scenarios: found on the shelf, in the cache, or trained.

As in the paper an *original* is the pretrained model fine-tuned on the scenario with the forget set, and *retrain* the
same without it. Both take minutes on two cores, so they are kept by what made them. Those of the demo ship with the
package, with the same key beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from expunge.core.cache import cached
from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.core.spec import canonical, digest
from expunge.core.types import Corpus
from expunge.train.fit import fast_precision
from expunge.train.originals import RECIPES, Recipe, train_original
from expunge.zoo import shelf

SHIPPED = shelf.WEIGHTS / "originals"
KEY = "made_from.json"
COST = "cost.json"


def key(start: str, corpus: Corpus, without: Collection[str], seed: int, recipe: Recipe) -> dict[str, Any]:
    """All that decides which model comes out, but for the arithmetic of the machine, which the cache adds.

    Raises ExpungeError for a folder without safetensors: there would be nothing to tell its model from others by.
    """
    place = shelf.locate(shelf.beginning(start, corpus.task))
    weights = sorted([place] if place.is_file() else place.glob("*.safetensors"))
    if not weights:
        raise ExpungeError(f"{place} holds no safetensors, so no original can be made from it.")
    return {
        "what": "original",
        "start": _sha256(weights),
        "data": corpus.fingerprint,
        "without": digest(sorted(without)) if without else None,
        "seed": seed,
        "recipe": asdict(recipe),
        **({"task": corpus.task} if corpus.task != "retrieval" else {}),  # keys from before there were tasks stay valid
    }


def original(
    start: str,
    corpus: Corpus,
    run: Run,
    *,
    without: Collection[str] = (),
    recipe: Recipe | None = None,
    fresh: bool = False,
) -> Any:
    """The model trained from ``start`` on ``corpus.train``, but for the examples whose ids are in ``without``.

    The task is the corpus's, and so is the recipe where none is given; where it is not retrieval, ``start`` gets a new
    head or decoder first.

    A shipped model serves when its key fits; otherwise the cache does, and it is trained when it is in neither.
    ``fresh`` passes the shipped ones by. Which it was is added to ``run.facts`` as ``shipped_models``.
    ``run.seconds["training"]`` is what its training took, all legs of it, now or when it was kept; a shipped one does
    not say. ``run``'s clock begins anew where it is trained.
    """
    recipe = recipe or RECIPES[corpus.task]
    wanted = key(start, corpus, without, run.seed, recipe)
    if not fresh and (place := shipped(wanted)):
        run.facts["shipped_models"] = run.facts.get("shipped_models", 0) + 1
        return shelf.load(place)
    forgotten = set(without)
    kept = tuple(e for e in corpus.train if e.id not in forgotten)

    def build(folder: Path) -> None:
        what = "training the original model" if not without else "training without them (retrain)"
        run.begin()  # another process that was just making it may have been awaited, in one leg only
        train_original(shelf.start(start, corpus.task), kept, run, recipe, what=what).save_pretrained(folder)
        (folder / COST).write_text(json.dumps({"seconds": run.clock()}), encoding="utf-8")

    # Models made in bfloat16 and in float32 differ slightly, so each has its own place in the cache.
    place = cached({**wanted, "precision": fast_precision(), "fresh": fresh}, build)
    if (place / COST).is_file():
        run.seconds["training"] = json.loads((place / COST).read_text(encoding="utf-8"))["seconds"]
    return shelf.load(place)


def shipped(wanted: dict[str, Any]) -> Path | None:
    """The folder of a shipped model that was made from exactly this, if there is one."""
    for told in sorted(SHIPPED.glob(f"*/{KEY}")):
        if json.loads(told.read_text(encoding="utf-8"))["key"] == json.loads(canonical(wanted)):
            return told.parent
    return None


def ship(model: Any, name: str, made_from: dict[str, Any], card: dict[str, Any]) -> Path:
    """Put a model on the shelf in half precision: the folder, its key and what was measured of it."""
    import torch

    folder = SHIPPED / name
    model.save_pretrained(folder, dtype=torch.float16)
    (folder / KEY).write_text(json.dumps({"key": json.loads(canonical(made_from)), **card}, indent=1), encoding="utf-8")
    return folder


def _sha256(files: list[Path]) -> str:
    """Of the files as if they were one. (``bench.plan.weights`` hashes hashes: neither may change, or all that is
    kept is lost.)"""
    total = hashlib.sha256()
    for file in files:
        with open(file, "rb") as opened:
            hashlib.file_digest(opened, lambda: total)
    return total.hexdigest()
