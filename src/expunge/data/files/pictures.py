"""Pictures in files, opened strictly: what a model sees is what the file holds, or an error says why not.

The policy, once and for all pictures:

* PNG, JPEG, WEBP, BMP and GIF only; of an animation the first frame.
* Everything is decoded in full. A file cut short is an error, never a picture that turns grey half-way.
* The header's size is checked before a pixel is decoded: at most ``MAX_PIXELS``.
* The camera's orientation (EXIF) is applied once. Colour profiles are not.
* Transparency is laid on white. Grey, palette and CMYK become RGB by Pillow's conversion; 16-bit grey is scaled
  to 8 bits (Pillow alone would clip it to white).
* The picture is squashed to a square with bicubic resampling, as the retrieval evaluation of ALBEF does.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from PIL import Image, ImageFile, ImageOps

from expunge.core.errors import DataError, Problem
from expunge.core.refusal import Nearest
from expunge.core.types import Picture

POLICY = 1
"""Number of this policy: what was decoded under another one is decoded again."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 50_000_000
MAX_BYTES = 200_000_000
KEPT_BYTES = 256_000_000


class Unreadable(Exception):
    """A picture that cannot be used: what was found, what to do. The caller knows the line it was named on."""

    def __init__(self, found: str, remedy: str):
        super().__init__(f"{found}. {remedy}")
        self.found, self.remedy = found, remedy


@dataclass(frozen=True)
class FilePicture:
    """A picture file named ``path`` inside ``root``. ``key`` is the SHA-256 of its bytes.

    One that lies inside another file (a row of a parquet file) holds its bytes in ``data``; ``path`` then says where.
    """

    path: str
    root: Path
    key: str
    look: int | None = field(default=None, compare=False)  # perceptual hash, where somebody computed it
    turned: tuple[int, ...] = field(default=(), compare=False)  # the same of the picture turned: ``looks_of()[1:]``
    data: bytes | None = field(default=None, compare=False, repr=False)

    def open(self, pixels: int) -> Image.Image:
        """RGB, ``pixels`` x ``pixels``. Raises ``DataError`` if the file is gone, broken, or no longer the same."""
        if (kept := _shelf.get((self.key, pixels))) is not None:
            return kept.copy()
        try:
            data = read_bytes(find_inside(self.path, self.root), self.path) if self.data is None else self.data
            if content_key(data) != self.key:
                raise Unreadable("has changed since it was checked", "Run the check again")
            image = squared(decode(data), pixels)
        except Unreadable as error:
            raise DataError([Problem(str(Path(self.root) / self.path), error.found, error.remedy)]) from error
        _shelf.put((self.key, pixels), image)
        return image.copy()


def is_stored(picture: Picture) -> bool:
    """Whether a picture lies in a file, or in a cell of one: then another that looks like it may be the same, saved
    again. Drawn ones resemble each other by design. Who has a ``look`` and what it is ``turned`` is stored."""
    return hasattr(picture, "look") and hasattr(picture, "turned")


class _Shelf:
    """Squared pictures kept in memory until ``room`` bytes are used; what comes later is decoded every time.

    Not a least-recently-used cache: an epoch walks through all pictures in turn, which would evict each just
    before it is needed again.
    """

    def __init__(self, room: int):
        self._room = room
        self._kept: dict[tuple[str, int], Image.Image] = {}

    def get(self, name: tuple[str, int]) -> Image.Image | None:
        return self._kept.get(name)

    def put(self, name: tuple[str, int], image: Image.Image) -> None:
        size = 3 * image.width * image.height
        if name not in self._kept and size <= self._room:
            self._room -= size
            self._kept[name] = image


_shelf = _Shelf(KEPT_BYTES)
_opening = threading.Lock()


def content_key(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def find_inside(name: str, root: Path, elsewhere: str = "if the pictures lie elsewhere: --images FOLDER") -> Path:
    """The real path of ``name`` below ``root``; refuses what leaves it, also through a symbolic link.

    ``elsewhere`` ends the remedies: what to do where the pictures lie in another folder.
    """
    shown = repr(os.path.abspath(root))  # quoted, since a sentence goes on after it
    stay = f"Name it relative to {shown}, and keep it there; {elsewhere}"
    if "\x00" in name or not name.strip():
        raise Unreadable("the picture has no usable name", stay)
    # Both flavours: a data set written on Windows must not mean something else here.
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("\\"):
        raise Unreadable(f"the picture {name!r} is an absolute path", stay)
    if ".." in PureWindowsPath(name).parts:
        raise Unreadable(f"the picture {name!r} climbs out of its folder with '..'", stay)
    try:
        path, inside = (Path(root) / name).resolve(), Path(root).resolve()
        if not path.is_relative_to(inside):
            raise Unreadable(f"the picture {name!r} is a link that leads out of {shown}", stay)
        if path.is_dir():
            raise Unreadable(f"the picture {name!r} is a folder", "Name a picture file")
        if not path.exists():
            siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            beside = [str(PurePosixPath(name).with_name(one)) for one in siblings]
            # By the stem: every photograph ends in .jpg, and nobody who asks for one means just any other.
            near = Nearest(beside, most=2_000, by=lambda one: PurePosixPath(one).stem)(name)
            raise Unreadable(f"the picture {name!r} does not exist in {shown}", near or f"Check the name; {elsewhere}")
        # A pipe or a device would block or never end.
        if not path.is_file():
            raise Unreadable(f"the picture {name!r} is not a regular file", "Name a picture file")
    except (OSError, RuntimeError) as error:  # a name too long, a loop of links, a folder one may not enter
        raise Unreadable(f"the picture {name!r} cannot be reached ({error})", stay) from error
    return path


def read_bytes(path: Path, name: str = "") -> bytes:
    """The whole file, read once: what is hashed is what is decoded. ``name`` is what the user's line calls it."""
    name = name or path.name
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise Unreadable(f"the picture {name!r} is a file of {size:,} bytes", "Shrink it")
        data = path.read_bytes()
    except OSError as error:
        found = f"the picture {name!r} cannot be read ({error.strerror})"
        raise Unreadable(found, "Check its permissions") from error
    if not data:
        raise Unreadable(f"the picture {name!r} is an empty file", "Fetch it again")
    return data


def decode(data: bytes) -> Image.Image:
    """The picture in full size as upright RGB, or ``Unreadable``."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        found = "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on in this process, so broken pictures would load half grey"
        raise Unreadable(found, "Set it to False")
    shrink = f"Shrink it to at most {MAX_PIXELS // 1_000_000} megapixels"
    try:
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Unreadable(f"the picture is absurdly large, {image.width} x {image.height} pixels", shrink)
        image.load()
        return _as_rgb(ImageOps.exif_transpose(image))
    except Unreadable:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable(f"the picture is absurdly large ({error})", shrink) from error
    except Image.UnidentifiedImageError as error:
        what = "a web page or XML" if data.lstrip()[:1] == b"<" else "something else"
        raise Unreadable(f"the file is {what}, no picture in {', '.join(FORMATS)}", "Fetch or convert it") from error
    except Exception as error:  # decoders raise whatever a broken file leads them to
        found = f"the picture cannot be decoded ({error})"
        raise Unreadable(found, "It is damaged or cut short: fetch it again") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow has 32-bit integers only for formats we do not open
        deep = np.asarray(image).astype(np.int64)
        grey = (np.clip(deep, 0, 65_535) + 128) // 257
        if isinstance(clear := image.info.get("transparency"), int):
            grey[deep == clear] = 255
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    return image.convert("RGB")


def squared(image: Image.Image, pixels: int) -> Image.Image:
    return image.resize((pixels, pixels), Image.Resampling.BICUBIC)


def look_of(image: Image.Image) -> int:
    """Perceptual hash of 64 bits (the ``phash`` of the ImageHash package): near-equal pictures differ in few.

    The signs, against their median, of the 8 x 8 slowest waves in a 32 x 32 grey thumbnail.
    """
    return _signs(_slow_waves(image))


_QUARTER = "turned by a quarter"
TURNS = (
    "", "mirrored", "turned by a half and mirrored", "turned by a half",
    f"{_QUARTER} and mirrored", _QUARTER, _QUARTER, f"{_QUARTER} and mirrored",
)  # fmt: skip
"""What was done to the picture, for every entry of ``looks_of``."""


def looks_of(image: Image.Image) -> tuple[int, ...]:
    """``look_of`` of the picture and of its seven turned and mirrored copies, in the order of ``TURNS``.

    Nothing is drawn again: mirroring changes the sign of every odd wave, and a quarter turn is that of the
    transposed waves.
    """
    slow, odd = _slow_waves(image), np.where(np.arange(8) % 2, -1.0, 1.0)
    upright = (slow, slow.T)
    return tuple(
        _signs(waves * across * down[:, None])
        for waves in upright for down in (np.ones(8), odd) for across in (np.ones(8), odd)
    )  # fmt: skip


def _slow_waves(image: Image.Image) -> np.ndarray:
    from scipy.fft import dctn

    thumbnail = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float64)
    return dctn(thumbnail)[:8, :8]


def _signs(waves: np.ndarray) -> int:
    return int("".join("01"[bit] for bit in (waves > np.median(waves)).ravel().astype(int)), 2)
