"""The pages' common ground: how a template is filled, and the beginning and end that every page has."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from expunge.report.measures import GLOSSARY

SCRIPT = "addEventListener('beforeprint',()=>document.querySelectorAll('details').forEach(d=>d.open=true))"


def render(name: str, *, filters: dict[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """The page that the template ``name`` makes of ``values``, with style sheet, script and glossary at hand."""
    environment = Environment(
        loader=FunctionLoader(_resource), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= filters or {}
    return environment.get_template(name).render(
        style=Markup(_resource("page.css")),
        script=Markup(SCRIPT),
        script_hash=base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode(),
        glossary=GLOSSARY,
        **values,
    )


def _resource(name: str) -> str:
    return files("expunge.report").joinpath(name).read_text(encoding="utf-8")
