"""Pictures that are already in memory, and the picture that is not there."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from expunge.core.types import Example


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
    """Stands where a picture would in a question asked in words alone. There is one of it: ``NO_PICTURE``."""

    key: str = ""

    def open(self, pixels: int) -> Image.Image:
        """Raises TypeError: a model that would look at it has been handed a question that it cannot be asked."""
        raise TypeError("this question has no picture; a model that must look at one cannot be asked it")


NO_PICTURE = NoPicture()


def has_picture(example: Example) -> bool:
    """Whether the question comes with a picture: the one place that says how a question in words alone is marked."""
    return not isinstance(example.image, NoPicture)
