"""Processors of chat models opened without torchvision: PIL for pictures, and no video at all.

What transformers 5 does without torchvision: ``AutoImageProcessor`` falls back to the PIL classes, but where
torchvision is installed it takes those of torchvision, whose resizing differs in the last digits. So PIL is asked for
always, and the same picture is the same tensor everywhere. ``Qwen2VLProcessor`` cannot even be constructed: it checks
its video processor against a class that needs torchvision. It is therefore built from its parts as a subclass that has
no video processor. The video settings of a folder are kept and written back, so that plain transformers (with
torchvision) still opens what we save.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor, AutoTokenizer, ProcessorMixin
from transformers.models.auto.processing_auto import processor_class_from_name
from transformers.utils import cached_file

from expunge.backbones.mllm.families import Family
from expunge.core.errors import ExpungeError

VIDEO_FILE = "video_preprocessor_config.json"
SHARED = ("image_mean", "image_std", "patch_size", "temporal_patch_size", "merge_size", "size")
"""Settings that a video processor shares with the image processor of the same model."""


def without_video(kind: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The processor class with no video processor among its parts; the class itself where it has none anyway."""
    if "video_processor" not in kind.get_attributes():
        return kind

    def get_attributes(cls: type) -> list[str]:
        return [name for name in kind.get_attributes() if name != "video_processor"]

    # Under the parent's name: that is what is written into the folder, and what plain transformers looks for.
    return type(kind.__name__, (kind,), {"get_attributes": classmethod(get_attributes)})


def build(kind: str, image: Any, tokenizer: Any, **settings: Any) -> Any:
    """A processor of the class called ``kind`` from an image processor and a tokenizer."""
    return without_video(processor_class_from_name(kind))(image, tokenizer, **settings)


def open_processor(folder: str | Path, family: Family, config: Any) -> Any:
    """The processor of a transformers folder (or hub id), completed where older folders are silent.

    Raises ExpungeError for a folder whose processor class is not of transformers.
    """
    source = str(folder)
    told = _settings(source)
    name = told.pop("processor_class", None) or _settings(source, "preprocessor_config.json").get("processor_class")
    kind = processor_class_from_name(name or family.processor)
    if kind is None:
        raise ExpungeError(f"{folder} asks for the processor {name!r}, which transformers does not have.")
    image = AutoImageProcessor.from_pretrained(source, backend="pil", trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    video = told.pop("video_processor", None) or _settings(source, VIDEO_FILE)
    template = _template(source) or getattr(tokenizer, "chat_template", None) or family.turns
    processor = without_video(kind).from_args_and_dict([image, tokenizer], told, chat_template=template)
    processor.expunge_video = video
    return complete(processor, config)


def complete(processor: Any, config: Any) -> Any:
    """Fill in what the model's configuration knows and older processor files do not say; returns the processor."""
    if getattr(processor, "patch_size", 0) is None:  # LLaVA counts its picture tokens by these three
        processor.patch_size = config.vision_config.patch_size
        processor.num_additional_image_tokens = 1  # the CLS of a CLIP tower
    if getattr(processor, "vision_feature_select_strategy", "") is None:
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def save_processor(processor: Any, family: Family, folder: Path) -> None:
    """Write what ``AutoProcessor`` opens, with the video settings where the family's class asks for them."""
    processor.save_pretrained(folder)
    if family.video:
        video = getattr(processor, "expunge_video", None) or _video_settings(processor, family)
        (folder / VIDEO_FILE).write_text(json.dumps(video, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _video_settings(processor: Any, family: Family) -> dict[str, Any]:
    image = processor.image_processor.to_dict()
    shared = {name: image[name] for name in SHARED if name in image}
    return {**shared, "video_processor_type": family.video, "processor_class": type(processor).__name__}


def _settings(source: str, name: str = "processor_config.json") -> dict[str, Any]:
    text = _text(source, name)
    return json.loads(text) if text else {}


def _template(source: str) -> str:
    """The chat template of a folder: a file of its own, or the older JSON file."""
    return _text(source, "chat_template.jinja") or _settings(source, "chat_template.json").get("chat_template", "")


def _text(source: str, name: str) -> str:
    found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    return Path(found).read_text("utf-8") if found else ""
