"""A user's folder: a few picture files, and a JSONL file written line by line."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


class Album:
    """Writes pictures and lines below a temporary folder."""

    def __init__(self, root: Path):
        self.root = root
        self.file = root / "captions.jsonl"

    def paint(self, name: str, seed: int = 0, size: tuple[int, int] = (48, 40), **save) -> Path:
        """A picture of coarse coloured noise: distinct seeds look distinct."""
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize(size, Image.Resampling.NEAREST).save(path, **save)
        return path

    def write(self, *lines: dict | str | bytes, name: str = "captions.jsonl") -> Path:
        """One line per argument: an object, or text or bytes as they are."""
        path = self.root / name
        raw = [json.dumps(one) if isinstance(one, dict) else one for one in lines]
        path.write_bytes(b"".join((one.encode() if isinstance(one, str) else one) + b"\n" for one in raw))
        return path


def line(number: int, **changes) -> dict:
    """A sound line; a change to ``...`` removes the key."""
    made = {"id": f"e{number}", "image": f"{number}.png", "text": f"picture number {number}", "group": f"g{number}"}
    made.update(changes)
    return {key: value for key, value in made.items() if value is not ...}


@pytest.fixture
def album(tmp_path: Path) -> Album:
    made = Album(tmp_path)
    for number in range(4):
        made.paint(f"{number}.png", number)
    return made


@pytest.fixture
def row():
    return line


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing: decoding it would allocate everything claimed."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


@pytest.fixture
def claim_png():
    return png_header
