"""Pictures that are already in memory, and the absence of one."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from expunge.core.errors import ExpungeError


@dataclass(frozen=True)
class HeldPicture:
    """A picture held as an image, such as a generated one; ``key`` must be unique to it."""

    key: str
    image: Image.Image = field(compare=False, repr=False)

    def open(self, pixels: int) -> Image.Image:
        rgb = self.image.convert("RGB")
        return rgb if rgb.size == (pixels, pixels) else rgb.resize((pixels, pixels), Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class NoPicture:
    """Stands where an example is text alone. Models that can do without look at ``Example.pictured``."""

    key: str = ""

    def open(self, pixels: int) -> Image.Image:
        raise ExpungeError("an example has no picture, and this model needs one. Take a model that reads text alone.")


NO_PICTURE = NoPicture()
