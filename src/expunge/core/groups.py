"""Which examples belong together, and the short names under which scores of single pictures and texts are stored."""

from __future__ import annotations

from hashlib import sha256

from expunge.core.types import Example


def digest(content: str) -> str:
    """Sixteen hex digits that stand for a picture key or a text, so that stored scores hold no sample."""
    return sha256(content.encode()).hexdigest()[:16]


def group_of(example: Example) -> str:
    """The unit that intervals resample: the person or composition, or the picture where no group is known. A question
    in words alone without a group is a unit of its own: having no picture is nothing in common."""
    return example.group if example.group is not None else digest(example.image.key or example.id)
