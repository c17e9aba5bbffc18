"""What MVI works with and gives: painter and writer, settings, what was taken apart, and anchors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from expunge.core.types import Example
from expunge.train.fit import Schedule

Mode = Literal["swap", "reconstruct", "specific", "consistent", "random"]
Use = Literal["encode", "train", "generate", "away"]
"""What a generator is on the device for: its encoders; what gradients flow through; what draws or writes; nothing."""
Branch = Literal["picture", "text"]


class Painter(Protocol):
    """Text to picture (Stable Diffusion): encoder of K'_2 and decoder theta_1."""

    def seat(self, use: Use, device: torch.device | str) -> None: ...

    def encode_prompts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]: ...

    def encode_pictures(self, pixels: Tensor) -> Tensor: ...

    def denoise(self, latents: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]: ...

    def perceptual_distance(self, estimate: Tensor, latents: Tensor, condition: Tensor) -> Tensor: ...

    def draw(
        self, condition: Tensor, *, unconditional: Tensor | None, steps: int, guidance: float, seed: int
    ) -> list: ...

    def pixels(self, examples: Sequence[Example]) -> Tensor: ...


class Writer(Protocol):
    """Picture to text (BLIP-2): encoder of K'_1 and decoder theta_2."""

    def seat(self, use: Use, device: torch.device | str) -> None: ...

    def encode_pictures(self, pixels: Tensor) -> Tensor: ...

    def text_loss(self, prefix: Tensor, texts: Sequence[str]) -> Tensor: ...

    def write(self, prefix: Tensor, *, max_tokens: int, seed: int, sample: bool) -> list[str]: ...

    def pixels(self, examples: Sequence[Example]) -> Tensor: ...


@dataclass(frozen=True)
class Settings:
    """Sizes, weights and training of MVI.

    The weights stand before means (per modality, per element of the latent, per token: see ``generators.mvi``).
    ``kl_per_dimension`` takes the mean of the KL over the numbers of U', too; without it, as in ``paper``, their sum.

    ``turns`` above 0 trains the branches in turns of so many steps, one generator on the device at a time; 0 trains
    both in every step. See ``generators.turns``. ``at_once`` above 0 lets at most so many pairs of a batch pass at a
    time; their gradients add up to the batch's (a critic of pictures learns from the last of them only).
    """

    lr: float = 1e-3
    epochs: int = 20
    least_steps: int = 240  # more epochs where the forget set is small: five people are two batches
    most_steps: int = 1200  # fewer where it is large; 0: never
    batch: int = 16
    latents: int = 1
    width: int = 64
    w_modality: float = 1.0
    w_picture: float = 1.0
    w_text: float = 1.0
    beta: float = 1.0
    kl_per_dimension: bool = True
    w_adversarial: float = 0.0  # of Table 7, like the next: see generators.auxiliary
    w_perceptual: float = 0.0
    turns: int = 0
    at_once: int = 0

    def content(self) -> dict[str, Any]:
        """All that changes what is learned, as plain data; the last two only where they are set, so that what was made
        before there were any is still found."""
        return {name: value for name, value in asdict(self).items() if name not in ("turns", "at_once") or value}

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.epochs, self.lr, self.batch, least_steps=self.least_steps, most_steps=self.most_steps)


Preset = Literal["default", "paper", "adversarial", "perceptual", "both"]
PRESETS: dict[Preset, Settings] = {
    "default": Settings(),
    "paper": Settings(lr=2e-6, epochs=10, least_steps=0, most_steps=0, batch=2, latents=4, kl_per_dimension=False),
    "adversarial": Settings(w_adversarial=0.1),
    "perceptual": Settings(w_perceptual=5.0),
    "both": Settings(w_adversarial=0.1, w_perceptual=5.0),
}


@dataclass(frozen=True)
class Anchors:
    """For every forget pair: generated pictures R_1 (from its text) and texts R_2 (from its picture)."""

    pictures: list[list[Any]]  # [pairs][N_R1] PIL images
    texts: list[list[str]]  # [pairs][N_R2]


@dataclass
class Parts:
    """What frozen encoders see in the forget pairs, computed once."""

    latents: Tensor  # [n, c, h, w] the pictures, as the painter keeps them
    from_picture: Tensor  # K'_1 [n, n_q, d_l]
    from_text: Tensor  # K'_2 [n, L, d_t]
    text_mask: Tensor  # [n, L]
    nothing: Tensor  # K'_2 of the empty text [1, L0, d_t]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Tensor, device: torch.device | str) -> Parts:
        """These rows on a device, in float32, in which MVI's own nets compute whatever the generators do."""
        some = (t[rows].to(device).float() for t in (self.latents, self.from_picture, self.from_text))
        nothing = self.nothing.to(device).float()
        return Parts(*some, self.text_mask[rows].to(device), nothing, [self.texts[i] for i in rows.tolist()])
