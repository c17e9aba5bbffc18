"""Models by name: the zoo's own, folders written by ``save_pretrained``, released checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.core.cache import cache_root
from expunge.core.errors import ExpungeError, UnknownName
from expunge.core.refusal import Nearest
from expunge.core.spec import digest
from expunge.core.types import Task

if TYPE_CHECKING:
    from expunge.backbones.saved import Precision

WEIGHTS = Path(__file__).parent / "weights"
UNSHIPPED = {
    "blip2-t5-tiny": "python -m expunge.zoo.blip2_tiny --language t5",
    "sd-tiny-epsilon": "python -m expunge.zoo.sd_epsilon",
    "llava-smol": "python -m expunge.zoo.llava_smol",
}
"""Models that only one table needs, or that are too large, are not shipped; the command that makes each, in about half
an hour on a core."""
FILES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
"""What a file of weights is called: such a name is no hub id."""


def made() -> Path:
    """Where models lie that were made on this machine and are not shipped."""
    return cache_root() / "zoo"


def home(name: str) -> Path:
    """Where the recipe of a zoo model puts it."""
    return (made() if name in UNSHIPPED else WEIGHTS) / name


def names() -> list[str]:
    """The zoo's models, by the folders that hold their weights."""
    marks = ("config.json", "model_index.json")
    return sorted(p.name for p in WEIGHTS.glob("*") if any((p / mark).exists() for mark in marks))


def locate(name: str | Path) -> Path:
    """The folder or file that ``name`` means: a zoo name, or a path that exists.

    A hub id is looked for in the local hub cache only: nothing is downloaded here. Raises UnknownName otherwise, and
    ExpungeError for a path that does not exist and, with the command, for a model of the zoo that has yet to be made.
    """
    if str(name) in names():
        return WEIGHTS / str(name)
    if str(name) in UNSHIPPED:
        if (made() / str(name) / "card.json").exists():  # written last
            return made() / str(name)
        raise ExpungeError(f"{name} is not shipped. Make it once, in about half an hour: {UNSHIPPED[str(name)]}")
    path = Path(name).expanduser()
    if path.exists():
        return path
    if str(name).startswith((".", "/", "~")) or str(name).count("/") > 1 or path.suffix in FILES:
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ExpungeError(f"there is no file or folder {path.absolute()}. {Nearest(beside)(path.name)}".rstrip())
    if "/" in str(name):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(str(name), local_files_only=True))
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
            raise ExpungeError(
                f"{name} is neither a folder nor in this machine's hub cache. Download it first, or give its folder."
            ) from None
    raise UnknownName("model", str(name), [*names(), *UNSHIPPED])


def stamp(name: str | Path) -> str:
    """Tells whether a model's files are still the same: a hash of names, sizes and times, not of their content."""
    place = locate(name)
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
    found = [(p.relative_to(place).as_posix(), p.stat()) for p in files]
    return digest([[name, told.st_size, told.st_mtime_ns] for name, told in found])[:32]


def load(name: str | Path, precision: Precision = "auto") -> Any:
    """The backbone that ``name`` means, on the CPU, in eval mode. What a folder holds decides its class.

    Models that are unlearned come in float32. Generators come in the ``precision`` asked for: ``auto`` is float32
    unless they are big and the hardware computes in bfloat16. Raises ExpungeError for a folder whose weights are no
    safetensors.
    """
    place = locate(name)
    if place.is_file():
        return _released(place)
    from expunge.backbones.saved import dtype

    kind = backbone_of(place)
    if kind == "stable_diffusion":
        from expunge.backbones.stable_diffusion import StableDiffusion

        return StableDiffusion.from_pretrained(place, dtype=dtype(place, precision))
    if kind == "blip2":
        from expunge.backbones.blip2 import Blip2

        return Blip2.from_pretrained(place, dtype=dtype(place, precision), eight_bit=precision == "int8")
    from expunge.backbones import albef, blip, mllm

    return {"albef": albef, "blip": blip, "mllm": mllm}[kind].load(_checked(place))


def backbone_of(name: str | Path) -> str:
    """The plug-in that opens this model, by what its folder says; "" for a released checkpoint, whose tensors tell.

    Raises ExpungeError for a folder that none of them opens, and for a checkpoint without the words that it needs.
    """
    place = locate(name)
    if place.is_file():
        from expunge.backbones.saved import need_words

        if place.suffix not in FILES:  # before it is missed that other files have no word list beside them
            raise ExpungeError(f"{place} is no model: name a folder, or a checkpoint ({', '.join(FILES)}).")
        if not (place.parent / "tokenizer.json").exists():
            need_words(place.parent)
        return ""
    if (place / "model_index.json").exists():
        return "stable_diffusion"
    told = place / "config.json"
    if not told.exists():
        raise ExpungeError(f"{place} holds no model: there is no config.json and no model_index.json in it.")
    try:
        kind = str(json.loads(told.read_text(encoding="utf-8")).get("model_type", "nothing"))
    except (ValueError, AttributeError) as error:
        raise ExpungeError(f"{told} cannot be read: {error}. Fetch the model again.") from None
    from expunge.backbones.mllm.families import FAMILIES

    known = {"albef": "albef", "blip": "blip", "blip-2": "blip2", **dict.fromkeys(FAMILIES, "mllm")}
    kind = "albef" if kind.partition("-")[0] == "albef" else kind
    if kind not in known:
        raise ExpungeError(
            f"{place} holds a model of type {kind!r}; this version knows {', '.join(known)} and Stable Diffusion."
        )
    return known[kind]


def _checked(place: Path) -> Path:
    """The folder. Raises ExpungeError where its weights would not be read from safetensors.

    The trap: beside safetensors of another name, or of a variant that is not asked for, transformers takes the pickle.
    """
    from expunge.backbones.saved import variant

    if (named := variant(place)) is not None:
        raise ExpungeError(
            f"{place} holds its weights as the variant {named!r} only, which this kind of model is not opened from. "
            "Take model.safetensors of the same model."
        )
    return place


def _released(place: Path) -> Any:
    """A released ``.pth``: its tensors say whether it is a BLIP or an ALBEF. Raises ExpungeError for anything else."""
    from expunge.backbones import albef, blip

    if blip.checkpoints.looks_like(blip.checkpoints.open_released(place)):
        return blip.load(place)
    return albef.load(place)


def start(name: str | Path, task: Task) -> Any:
    """The model that training on ``task`` starts from: the one of that name, under a new head where it needs one.

    Raises ExpungeError for a model that cannot be trained on the task.
    """
    model = load(beginning(name, task))
    if serves(model, task):
        return model
    grown = model.for_task(task) if hasattr(model, "for_task") else model
    if not serves(grown, task):
        raise ExpungeError(f"{name} cannot be trained on {task}.")
    return grown


def beginning(name: str | Path, task: Task) -> str | Path:
    """The zoo's model of that name that was taught what the task is, where there is one; the model itself otherwise."""
    taught = f"{name}-{task.replace('_', '-')}"
    return taught if taught in names() else name


def made_for(model: Any) -> Task:
    """The task of a model, or the first of several: retrieval, unless it says otherwise."""
    return getattr(model, "task", "retrieval")


def serves(model: Any, task: Task) -> bool:
    """Whether a model can be asked what the task asks: a model that speaks serves several with the same weights."""
    return task in getattr(model, "tasks", (made_for(model),))
