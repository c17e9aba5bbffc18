"""The model as it was: what methods compare with while they change it."""

from __future__ import annotations

from typing import Any, TypeVar

from expunge.core.types import Backbone

M = TypeVar("M", bound=Backbone)


def reference(model: M) -> M:
    """A copy in evaluation mode that takes no gradient."""
    copy: Any = model.clone()
    copy.module.eval().requires_grad_(False)
    return copy
