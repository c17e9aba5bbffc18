"""Pictures that are already in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image


@dataclass(frozen=True)
class HeldPicture:
    """A picture held as an image, such as a generated one; ``key`` must be unique to it."""

    key: str
    image: Image.Image = field(compare=False, repr=False)

    def open(self, pixels: int) -> Image.Image:
        rgb = self.image.convert("RGB")
        return rgb if rgb.size == (pixels, pixels) else rgb.resize((pixels, pixels), Image.Resampling.BICUBIC)
