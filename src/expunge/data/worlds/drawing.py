"""Pictures drawn from SVG: rasterised on demand, kept in memory once drawn.

``resvg`` is pure and carries no fonts here, so the same SVG gives the same bytes on every platform.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import resvg_py
from PIL import Image


@dataclass(frozen=True)
class DrawnPicture:
    """A picture that a function draws. ``key`` names the drawing and must determine it fully."""

    key: str
    draw: Callable[[str], str]  # key -> SVG text

    def open(self, pixels: int) -> Image.Image:
        return _render(self, pixels).copy()

    def svg(self) -> str:
        return self.draw(self.key)


@lru_cache(maxsize=20_000)
def _render(picture: DrawnPicture, pixels: int) -> Image.Image:
    return rasterise(picture.svg(), pixels)


def rasterise(svg: str, pixels: int) -> Image.Image:
    """An SVG text as an RGB image of ``pixels`` x ``pixels``; what is transparent becomes white."""
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=pixels, height=pixels, skip_system_fonts=True))
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image).convert("RGB").resize((pixels, pixels))
