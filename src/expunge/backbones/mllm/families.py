"""The families of chat models that are known, by the ``model_type`` of their configuration: where their parts are, and
how a turn is written where a folder brings no chat template of its own.

Module paths are those of transformers 5's classes; ``tests/backbones/test_mllm.py`` holds them against these classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from expunge.core.errors import ExpungeError

LLAVA_TURNS = """\
{% for m in messages %}{{ m.role.upper() }}: \
{% for c in m.content %}{% if c.type == 'image' %}<image>
{% else %}{{ c.text }}{% endif %}{% endfor %}\
{{ eos_token if m.role == 'assistant' else ' ' }}{% endfor %}\
{% if add_generation_prompt %}ASSISTANT:{% endif %}"""
QWEN_TURNS = """\
{% for m in messages %}<|im_start|>{{ m.role }}
{% for c in m.content %}{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>\
{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
IDEFICS_TURNS = """\
{% for m in messages %}{{ m.role.capitalize() }}:{{ '' if m.content[0].type == 'image' else ' ' }}\
{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"""


@dataclass(frozen=True)
class Family:
    """Module paths by role, disjoint and below the model; ``end`` closes a turn (None: the tokenizer's own end).

    ``processor`` is transformers' class, for folders that do not name it.
    """

    processor: str
    vision: tuple[str, ...]
    projector: tuple[str, ...]
    language: tuple[str, ...]
    head: tuple[str, ...]
    turns: str
    end: str | None = None
    spatial: bool = False  # tokens behind a picture are placed by its height and width (M-RoPE)
    video: str | None = None  # the video processor's class, which plain transformers looks for; we never use it

    def paths(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Role and module paths, one role after the other."""
        for role in ("vision", "projector", "language", "head"):
            yield role, getattr(self, role)


QWEN = Family(
    "Qwen2VLProcessor",
    vision=("model.visual.patch_embed", "model.visual.blocks"),
    projector=("model.visual.merger",),  # transformers keeps it inside the tower
    language=("model.language_model",),
    head=("lm_head",),
    turns=QWEN_TURNS,
    end="<|im_end|>",
    spatial=True,
    video="Qwen2VLVideoProcessor",
)
FAMILIES = {
    "llava": Family(
        "LlavaProcessor",
        vision=("model.vision_tower",),
        projector=("model.multi_modal_projector",),
        language=("model.language_model",),
        head=("lm_head",),
        turns=LLAVA_TURNS,
    ),
    "qwen2_vl": QWEN,
    "qwen2_5_vl": replace(QWEN, processor="Qwen2_5_VLProcessor"),
    "idefics2": Family(
        "Idefics2Processor",
        vision=("model.vision_model",),
        projector=("model.connector",),
        language=("model.text_model",),
        head=("lm_head",),
        turns=IDEFICS_TURNS,
        end="<end_of_utterance>",
    ),
}


def family_of(config: Any) -> Family:
    """The family of a transformers configuration. Raises ExpungeError with those that are known."""
    kind = getattr(config, "model_type", None)
    if kind not in FAMILIES:
        raise ExpungeError(f"a chat model of type {kind!r} is not known; known are {', '.join(FAMILIES)}.")
    return FAMILIES[kind]


def parts_of(model: nn.Module, family: Family) -> dict[str, nn.Module]:
    """Modules by role; a role of several modules is a list of them."""
    found: dict[str, nn.Module] = {}
    for role, paths in family.paths():
        modules = [model.get_submodule(path) for path in paths]
        found[role] = modules[0] if len(modules) == 1 else nn.ModuleList(modules)
    return found
