"""Silence the neurons that pictures of the forgotten wake and pictures of the others do not (MANU).

Equation: I = I_abs + I_freq + I_var + I_rms per neuron, from the same questions asked with the picture and without:
    I_abs = |m - t| / (|m| + |t|),  I_freq = |n_m - n_t| / (n_m + n_t),  I_var = sqrt(v_m + v_t),
    I_rms = sqrt(|s_m - s_t| / (s_m + s_t));  the ``share`` with the greatest I(D_f) / I(D_r) are scaled by 1 - decay.
Symbols: a neuron is one input of the last layer of a feed-forward block of the language model; over examples, at their
    last token: m, t means with and without picture, n how often above tau, v variances, s sums of squares.
Paper: Liu et al., "Modality-Aware Neuron Pruning for Unlearning in Multimodal Large Language Models" (ACL 2025).
Checked against: PreckLi/MIP-Editor ab54ebb, manu.py (a third party's; the official repository could not be had), as
    restated in notes on it. Its tau 0.1 and its ratio are the defaults; ``score=difference`` is the paper's
    I(D_f) - w I(D_r) with w 0.5, as they give it.
Departs: (1) means of gated activations have either sign: the denominator of I_abs takes magnitudes, or I has poles. (2)
    the source's hooks scale activations while the program runs; here the weights that read a neuron are scaled, which
    is the same model and can be saved. (3) examples without a picture cannot be compared and are left out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from expunge.core.errors import ExpungeError
from expunge.core.pictures import NO_PICTURE
from expunge.core.run import Run
from expunge.core.types import Example, Generates, Method, Splits, Work, batches
from expunge.train import neurons
from expunge.train.masks import greatest

TINY = 1e-6  # in every denominator, as in the source


@dataclass(frozen=True)
class MANU(Method[Generates]):
    copies: ClassVar[Mapping[str, float]] = {}
    share: float = 0.05  # of all neurons; 0.01 to 0.1 in the literature
    decay: float = 1.0  # how much of a chosen neuron is taken away
    tau: float = 0.1  # above it a neuron counts as awake
    score: Literal["ratio", "difference"] = "ratio"  # I(D_f) / I(D_r), or I(D_f) - weight I(D_r)
    weight: float = 0.5  # w of the difference
    examples: int = 256  # of D_f, and of D_r, at most
    batch: int = 16

    def unlearn(self, model: Generates, splits: Splits, run: Run) -> Generates:
        layers = neurons.outputs(model.parts()["language"])
        forget, retain = (self._some(part, run.seed) for part in (splits.forget, splits.retain))
        if not layers or not forget:
            what = "no example to forget has a picture" if layers else "the language model has no known MLP"
            raise ExpungeError(f"MANU compares questions with and without their picture in MLPs: {what}.")
        of_forget, of_retain = (self.importances(model, layers, part, run) for part in (forget, retain))
        chosen = greatest({n: self.scores(of_forget[n], of_retain.get(n)) for n in layers}, self.share)
        for name, layer in layers.items():
            silence(layer, chosen[name].unpacked(), 1 - self.decay)
        run.facts["silenced_neurons"] = chosen.count()
        return model

    def scores(self, forget: Tensor, retain: Tensor | None) -> Tensor:
        """[m] from importances [m]; never negative, so that what matters more to the others is never chosen."""
        other = torch.zeros_like(forget) if retain is None else retain
        made = forget / (other + TINY) if self.score == "ratio" else forget - self.weight * other
        return made.clamp(min=0)

    def importances(self, model: Generates, layers: dict, examples: Sequence[Example], run: Run) -> dict[str, Tensor]:
        """I [m] of every layer; empty for no examples."""
        if not examples:
            return {}
        seen, asked = Activity(self.tau), Activity(self.tau)
        with run.stage("watching neurons (MANU)", len(examples)), torch.no_grad():
            for some in batches(examples, self.batch):
                for activity, shown in ((seen, some), (asked, [replace(e, image=NO_PICTURE) for e in some])):
                    batch = model.collate(shown)
                    with watching(layers, batch["attention_mask"], activity):
                        model.hidden_states(batch)
                run.progress.advance(len(some))
        return {name: importance(seen, asked, name) for name in layers}

    def _some(self, examples: Sequence[Example], seed: int) -> list[Example]:
        pictured = [e for e in examples if e.pictured]
        return random.Random(f"manu:{seed}").sample(pictured, min(self.examples, len(pictured)))

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        read = min(self.examples, forget) + min(self.examples, retain)
        return Work(0, 2 * read / 3, min(self.batch, forget) / 3)  # twice each, forward only


class Activity:
    """Sums over examples of each neuron's activation, its square, and whether it is above ``tau``; in float64."""

    def __init__(self, tau: float):
        self.tau = tau
        self.count: dict[str, int] = {}
        self.sums: dict[str, Tensor] = {}  # [3, m]

    def add(self, name: str, z: Tensor) -> None:
        """Activations [B, m]."""
        z = z.double()
        made = torch.stack([z.sum(0), z.square().sum(0), (z > self.tau).double().sum(0)])
        self.sums[name] = self.sums[name] + made if name in self.sums else made
        self.count[name] = self.count.get(name, 0) + len(z)

    def mean(self, name: str) -> Tensor:
        return self.sums[name][0] / self.count[name]

    def variance(self, name: str) -> Tensor:
        """Unbiased; 0 for a single example."""
        total, squares, _ = self.sums[name]
        n = self.count[name]
        return ((squares - total.square() / n) / max(1, n - 1)).clamp(min=0)


def importance(seen: Activity, asked: Activity, name: str) -> Tensor:
    """I [m] of one layer, in float32."""
    m, t = seen.mean(name), asked.mean(name)
    (_, s_m, n_m), (_, s_t, n_t) = seen.sums[name], asked.sums[name]
    absolute = (m - t).abs() / (m.abs() + t.abs() + TINY)
    frequency = (n_m - n_t).abs() / (n_m + n_t + TINY)
    variance = (seen.variance(name) + asked.variance(name)).sqrt()
    energy = ((s_m - s_t).abs() / (s_m + s_t + TINY)).sqrt()
    return (absolute + frequency + variance + energy).float()


@contextmanager
def watching(layers: Mapping[str, Any], mask: Tensor, activity: Activity) -> Iterator[None]:
    """Inside, what each layer reads at the last token of ``mask`` [B, T] is added to ``activity``."""
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)

    def note(name: str):
        def hook(_: Any, arguments: tuple[Tensor, ...]) -> None:
            z = arguments[0]
            activity.add(name, z[torch.arange(len(z), device=z.device), last.to(z.device)])

        return hook

    hooks = [layer.register_forward_pre_hook(note(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def silence(layer: Any, chosen: Tensor, factor: float) -> None:
    """Scale what ``layer`` reads of the chosen neurons [m]: of its weight, and of an adapter's first matrix."""
    for weight in layer.parameters():
        if weight.ndim == 2 and weight.shape[1] == len(chosen):
            weight[:, chosen.to(weight.device)] *= factor
