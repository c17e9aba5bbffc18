"""How anchors are asked for and come about: generators lent, MVI trained on the forget set, samples generated, and what
of it a grid of runs remembers.

A run that stands for itself (``run.remember`` is None) keeps nothing: after a deletion neither a picture that was made
from a forgotten person nor that person's K' may lie around.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from expunge.core.run import Remember, Run
from expunge.core.spec import digest
from expunge.core.types import Example
from expunge.generators import footprint, keeping, mvi, quality
from expunge.generators.shapes import PRESETS, Anchors, Mode, Parts, Preset, Settings
from expunge.train.fit import fast_precision
from expunge.train.resuming import once

Precision = Literal["auto", "fp32", "bf16", "int8"]
Turns = int | Literal["auto"]


@dataclass(frozen=True)
class Recipe:
    """``painter`` and ``writer`` are lent by these names; ``pictures`` and ``texts`` are N_R1 and N_R2."""

    painter: str
    writer: str
    preset: Preset = "default"
    mode: Mode = "swap"
    pictures: int = 1
    texts: int = 4
    precision: Precision = "auto"
    turns: Turns = "auto"

    def anchors(self, forget: Sequence[Example], run: Run) -> tuple[Anchors, Mapping[str, float]]:
        """Anchors of the forget pairs and their quality; out of the grid's folder where there is one."""
        kept = self._remembered(forget, run, run.remember) if run.remember else once(
            run, "anchors", lambda: self._made(forget, run), keeping.write, keeping.read
        )  # fmt: skip
        return kept.anchors, kept.facts

    def train(self, forget: Sequence[Example], run: Run) -> tuple[mvi.Mvi, Parts]:
        """MVI on the forget pairs, and what it saw of them, also in ``run.keep["mvi"]``. Same seed, same MVI."""
        if run.lend is None:
            raise ValueError("MVI needs generators: run.lend must give models by name")
        how = {} if self.precision == "auto" else {"precision": self.precision}
        painter, writer = run.lend(self.painter, **how), run.lend(self.writer, **how)
        settings, parts = self.settings(painter, writer), None
        if run.remember is not None:
            parts = self._parts(painter, writer, forget, run, run.remember)
        run.keep["mvi"] = mvi.train(painter, writer, forget, run, settings, parts)
        return run.keep["mvi"]

    def settings(self, painter: Any, writer: Any) -> Settings:
        """The preset, its branches in turns where that was asked for or the device is too small for both at once.

        Raises ExpungeError where the device is too small for the two in turns, with what would help.
        """
        chosen = PRESETS[self.preset]
        if self.turns != "auto":
            return replace(chosen, turns=self.turns)
        if not torch.cuda.is_available():
            return chosen
        free, _ = torch.cuda.mem_get_info()
        plan = footprint.of_models(painter, writer, chosen, free)
        return plan.fitted(chosen, int8=self.precision == "int8")

    def foretell(self, painter: Path, writer: Path, free: float) -> tuple[str, ...]:
        """Whether both generators fit into ``free`` bytes at once, and what will be done where they do not; nothing for
        folders that hold something else than diffusers and transformers save."""
        try:
            return (footprint.of_folders(painter, writer, PRESETS[self.preset], int(free)).advice(),)
        except (OSError, ValueError, KeyError):
            return ()

    def _made(self, forget: Sequence[Example], run: Run) -> keeping.Kept:
        with run.timed("mvi"):
            trained, parts = self.train(forget, run)
            made = mvi.generate(trained, parts, run, self.mode, self.pictures, self.texts)
        return keeping.Kept(made, quality.measure(made, forget), run.seconds["mvi"])

    def _remembered(self, forget: Sequence[Example], run: Run, remember: Remember) -> keeping.Kept:
        """Made and put there if nobody did. It costs what it once took."""
        fresh: list[float] = []

        def build(folder: Path) -> None:
            spared = run.spared
            made = self._made(forget, run)
            run.spared = spared  # what K' out of the folder spared is in the seconds already
            keeping.write(made, folder)
            fresh.append(run.seconds.pop("mvi"))

        start = time.perf_counter()
        kept = keeping.read(remember(self.key(forget, run), build))
        run.spared += kept.seconds - (time.perf_counter() - start)  # neither waiting nor reading is the method's
        run.seconds["mvi"] = run.seconds.get("mvi", 0.0) + kept.seconds
        run.facts["anchors_remembered"] = not fresh
        return kept

    def _parts(self, painter: Any, writer: Any, forget: Sequence[Example], run: Run, remember: Remember) -> Parts:
        """K' and latents of the forget pairs: they depend on no seed and no setting of MVI, so many runs share them."""

        def build(folder: Path) -> None:
            began = time.perf_counter()
            keeping.write_parts(mvi.take_apart(painter, writer, forget), time.perf_counter() - began, folder)

        start = time.perf_counter()
        parts, seconds = keeping.read_parts(remember(self.parts_key(forget), build), [e.described for e in forget])
        run.spared += seconds - (time.perf_counter() - start)  # which the run's clock counts
        return parts

    def key(self, forget: Sequence[Example], run: Run) -> dict[str, Any]:
        """All that changes the anchors, but for the generators' weights. The forget pairs are told by their content."""
        settings = PRESETS[self.preset] if self.turns == "auto" else replace(PRESETS[self.preset], turns=self.turns)
        return {
            "what": "anchors",
            "forget": digest([[e.id, e.image.key, e.described, e.group, e.kind] for e in forget]),
            "painter": self.painter,
            "writer": self.writer,
            "mvi": settings.content(),
            "mode": self.mode,
            "counts": [self.pictures, self.texts],
            "seed": run.seed,
            "precision": fast_precision(),
            **self._where(),
        }

    def parts_key(self, forget: Sequence[Example]) -> dict[str, Any]:
        """All that changes K' and the latents, but for the generators' weights."""
        return {
            "what": "parts",
            "forget": digest([[e.image.key, e.described] for e in forget]),
            "painter": self.painter,
            "writer": self.writer,
            "precision": fast_precision(),
            **self._where(),
        }

    def _where(self) -> dict[str, Any]:
        """What the numbers depend on besides: a precision that was asked for, an accelerator and its size. Nothing on a
        CPU by default, so that anchors made before there was a choice are still found."""
        found: dict[str, Any] = {} if self.precision == "auto" else {"generators": self.precision}
        if torch.cuda.is_available():
            told = torch.cuda.get_device_properties(torch.cuda.current_device())
            found["accelerator"] = [told.name, told.total_memory]
        return found
