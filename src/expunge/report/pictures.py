"""Pictures as data URIs: attention laid over them, and back to pixels for a drawing."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from expunge.report.measures import finite

SIDE = 128


def heat(values: Sequence[Sequence[float]]) -> str | None:
    """Attention [h][w] as a picture to lay over another: red where the model looks, clear where it does not.

    On the scale of its own peak; None where it looks nowhere.
    """
    layer = _layer(values)
    return None if layer is None else encoded(layer)


def laid_over(picture: str, values: Sequence[Sequence[float]]) -> str:
    """The picture under its heat, as one; the picture itself where the model looks nowhere."""
    from PIL import Image

    ground = decoded(picture).convert("RGBA").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    layer = _layer(values)
    return encoded((Image.alpha_composite(ground, layer) if layer else ground).convert("RGB"))


def _layer(values: Sequence[Sequence[float]]) -> Any:
    from PIL import Image

    peak = max((v for row in values for v in row if finite(v)), default=0.0)
    if peak <= 0:
        return None
    levels = [round(255 * min(max(v / peak, 0.0), 1.0)) if finite(v) else 0 for row in values for v in row]
    grey = Image.new("L", (len(values[0]), len(values)))
    grey.putdata(levels)
    alpha = grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC).point([min(215, round(x * 0.95)) for x in range(256)])
    layer = Image.new("RGBA", alpha.size, (214, 40, 57, 0))
    layer.putalpha(alpha)
    return layer


def encoded(picture: Any) -> str:
    """A PIL picture as ``data:image/png;base64,…``."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def decoded(uri: str) -> Any:
    """The PIL picture of a data URI."""
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
