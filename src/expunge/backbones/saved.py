"""Folders that diffusers and transformers save: which files hold the weights, how large they are, how to open them.

Only safetensors are opened. A pickle runs any code that it holds when it is opened, so a folder of pickles is refused;
code that a folder brings along is never run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch

from expunge.core.errors import ExpungeError
from expunge.train.fit import fast_precision

Precision = Literal["auto", "fp32", "bf16", "int8"]
"""How a generator is held: ``auto`` is bf16 for a big model where the hardware computes in it, otherwise fp32; ``int8``
is bf16 with the language model in 8 bit."""
BIG = 300_000_000
"""Weights from which ``auto`` takes half the room: a tiny model in float32 costs nothing and is exact."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_STEM = r"(?:model|diffusion_pytorch_model)"
_PART = r"(?:-\d{5}-of-\d{5})?"
_WEIGHTS = re.compile(rf"{_STEM}{_PART}(?:\.(?P<variant>\w+))?{_PART}\.safetensors")


def need_words(place: Path) -> Path:
    """BERT's word list, which released checkpoints lack: ``place`` is ``vocab.txt``, or the folder that it lies in.

    Raises ExpungeError where there is none.
    """
    words = place / "vocab.txt" if place.is_dir() else place
    if not words.exists():
        raise ExpungeError(
            f"{words} does not exist: a released checkpoint needs BERT's word list. Put bert-base-uncased's vocab.txt "
            "beside it."
        )
    return words


def variant(place: Path) -> str | None:
    """The variant of the weights to open in this folder: None for the plain files, else ``fp16`` or another that is
    there.

    Raises ExpungeError where there are no safetensors.
    """
    found = {m["variant"] for p in place.glob("*.safetensors") if (m := _WEIGHTS.fullmatch(p.name))}
    if not found:
        refuse_pickles(place)
        raise ExpungeError(f"{place} holds no weights: there is no model.safetensors or diffusion_pytorch_model in it.")
    return None if None in found else min(found, key=lambda name: (name != "fp16", name))


def whole(opened: tuple[Any, Mapping[str, Any]], place: str | Path, but: Sequence[str] = ()) -> Any:
    """The model that a library opened with ``output_loading_info``, if the folder held all of its weights.

    The trap: libraries draw what is missing at random and say so in their log only. ``but`` names members that a folder
    may lack. Raises ExpungeError otherwise.
    """
    model, told = opened
    if missing := sorted(name for name in told["missing_keys"] if name.split(".")[0] not in but):
        raise ExpungeError(
            f"{place} lacks {len(missing)} of the weights of a {type(model).__name__} ({missing[0]}): it is not whole, "
            "or holds a model of another kind. Copy it again, or open it as what it is."
        )
    return model


def refuse_pickles(place: Path) -> None:
    """Raise ExpungeError where the weights of a folder are pickles only."""
    pickled = sorted(p.name for p in place.glob("*") if p.suffix in PICKLES)
    if pickled and not list(place.glob("*.safetensors")):
        raise ExpungeError(
            f"{place} holds its weights as a pickle only ({pickled[0]}), and a pickle can run any code when it is "
            "opened. Take the safetensors of the same model, or convert it once where you trust it: load it with its "
            "own library and call save_pretrained(folder)."
        )


def told(path: Path) -> dict[str, Any]:
    """A JSON file of the folder. Raises ExpungeError where it is missing or unreadable."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExpungeError(f"{path.parent} is not whole: {path.name} is missing.") from None
    except ValueError as error:
        raise ExpungeError(f"{path} cannot be read: {error}. Save or copy the model again.") from None
    if not isinstance(found, dict):
        raise ExpungeError(f"{path} holds no settings but a {type(found).__name__}. Save or copy the model again.")
    return found


def image_settings(folder: Path) -> dict[str, Any]:
    """An image processor's settings: its own file, or the part of ``processor_config.json`` where newer versions of
    transformers put them.

    Raises ExpungeError where there are none, or no mean and deviation in them: they are never guessed.
    """
    joint, own = folder / "processor_config.json", folder / "preprocessor_config.json"
    found = told(joint).get("image_processor") if joint.exists() else None
    found = found or (told(own) if own.exists() else None)
    if not found:
        raise ExpungeError(
            f"{folder} does not say how pictures are prepared: neither {own.name} nor {joint.name} does. Copy it from "
            "the model's own folder, or save the model's processor there with save_pretrained."
        )
    three = {name: found.get(name) for name in ("image_mean", "image_std")}
    if missing := [name for name, held in three.items() if not isinstance(held, list) or len(held) != 3]:
        raise ExpungeError(f"the image settings of {folder} have no {missing[0]} of three numbers.")
    return found


def weights(folder: Path) -> int:
    """How many numbers the safetensors below a folder hold, counted from their headers; one variant of each part."""
    total = 0
    named = [(p, m["variant"]) for p in folder.rglob("*.safetensors") if (m := _WEIGHTS.fullmatch(p.name))]
    for place in {path.parent for path, _ in named} - {folder / "safety_checker"}:
        wanted = variant(place)
        files = [path for path, kind in named if path.parent == place and kind == wanted]
        total += sum(prod(one["shape"]) for path in files for one in header(path).values())
    return total


def header(path: Path) -> dict[str, Any]:
    """Name -> dtype and shape of the tensors in a safetensors file; nothing of them is read."""
    from safetensors import safe_open

    with safe_open(path, "pt") as opened:
        slices = {name: opened.get_slice(name) for name in opened.keys()}
        return {name: {"dtype": one.get_dtype(), "shape": one.get_shape()} for name, one in slices.items()}


def dtype(folder: Path, precision: Precision) -> torch.dtype:
    """What the weights are held in. ``auto`` reads the folder's headers, never its weights."""
    if precision == "auto":
        big = fast_precision() == "bf16" and weights(folder) >= BIG
        return torch.bfloat16 if big else torch.float32
    return torch.float32 if precision == "fp32" else torch.bfloat16
