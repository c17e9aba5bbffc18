"""What anybody who writes a method needs to test it: small real models, a small world, and the contract battery.

    from expunge.testing import check_method
    check_method("./mine.py")

The models are the real classes at toy size with random weights, so everything here runs in seconds, offline.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from expunge.backbones.albef import Albef, AlbefAnswers, AlbefConfig, AlbefEntailment, AlbefModel, AlbefProcessor
from expunge.backbones.albef.pairs import AlbefPairs
from expunge.backbones.blip import Blip, BlipForMatching, BlipProcessor, sizes
from expunge.backbones.blip.answers import BlipAnswers, BlipEntailment
from expunge.core import plugins
from expunge.core.errors import ExpungeError
from expunge.core.method_files import blaming, returned, uncallable
from expunge.core.options import options as read_options
from expunge.core.pictures import HeldPicture
from expunge.core.run import Run
from expunge.core.types import Backbone, Corpus, Example, Splits, Task
from expunge.train.fit import Schedule
from expunge.train.task import train_task
from expunge.zoo.shelf import made_for
from expunge.zoo.vocabulary import marked_tokenizer, tokenizer

K = TypeVar("K", bound=Backbone)

CONTROLS = frozenset({"nothing"})
"""Methods that are meant to leave the model as it is."""


@lru_cache(maxsize=4)
def small_corpus(task: Task = "retrieval") -> Corpus:
    """A dozen people and a dozen scenes to train on, four of each held out; of answering a dozen dossiers."""
    from expunge.data import dossiers, people

    if task == "answering":
        return dossiers.load(size=12, celebrities=4)
    whole = people.load(task=task)

    def some(examples, groups: int):
        kept: dict[str, set] = {}
        for e in examples:
            names = kept.setdefault(e.source, set())
            if len(names) < groups or e.group in names:
                names.add(e.group)
        return tuple(e for e in examples if e.group in kept[e.source])

    return Corpus("small", some(whole.train, 12), some(whole.validation, 4), some(whole.test, 4), task=task)


def small_splits(people: int = 2, task: Task = "retrieval") -> Splits:
    """``people`` of the small corpus to forget, the others to keep."""
    corpus = small_corpus(task)
    groups = sorted({e.group for e in corpus.train if e.source == "people" and e.group})
    return corpus.split(groups[:people])


def small_albef(seed: int = 0, width: int = 16) -> Albef:
    """A random ALBEF of some ten thousand parameters, with the small corpus's words."""
    torch.manual_seed(seed)
    words = tokenizer([e.text for e in small_corpus().train], 24)
    config = AlbefConfig(
        pixels=16, patch=8, vision_width=width, vision_layers=1, vision_heads=2, text_width=width, text_layers=3,
        fusion_layer=1, text_heads=2, text_inner=2 * width, vocabulary=len(words), positions=24, max_text_tokens=24,
        projection=width // 2, dropout=0.0, queue=16,
    )  # fmt: skip
    model = Albef(AlbefModel(config), AlbefProcessor(words, 16, 24), "small-albef")
    model.module.eval()
    return model


def small_blip(seed: int = 0, width: int = 16) -> Blip:
    """A random BLIP of some ten thousand parameters, with the small corpus's words and [DEC], [ENC]."""
    torch.manual_seed(seed)
    words = marked_tokenizer([e.text for e in small_corpus().train], 24)
    config = sizes(
        pixels=16, patch=8, vision_width=width, vision_layers=1, vision_heads=2, text_width=width, text_layers=2,
        text_heads=2, text_inner=2 * width, vocabulary=len(words), positions=24, projection=width // 2, dropout=0.0,
        separator=words.sep_token_id,
    )  # fmt: skip
    model = Blip(BlipForMatching(config), BlipProcessor(words, 16, 24), "small-blip")
    model.module.eval()
    return model


def acquainted_splits(task: Task = "retrieval") -> Splits:
    """Two of eight people of the small corpus to forget, six to keep: those whom ``acquainted`` models know."""
    corpus = small_corpus(task)
    people = [e for e in corpus.train if e.source == "people"]
    groups = sorted({e.group for e in people if e.group})[:8]
    forget, retain = (tuple(e for e in people if e.group in part) for part in (groups[:2], groups[2:]))
    return Splits(forget, retain, corpus.validation)


def redrawn(model: K, std: float = 0.1) -> K:
    """``model`` with every matrix drawn anew, in place: it knows nothing, and is spread out enough to learn within a
    few seconds."""
    with torch.no_grad():
        for parameter in model.module.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, std)
    return model


def unacquainted_albef() -> Albef:
    """What ``acquainted_albef`` was trained from."""
    return redrawn(small_albef(width=32))


def unacquainted_blip() -> Blip:
    return redrawn(small_blip(width=32))


def unacquainted_answers() -> AlbefAnswers:
    return AlbefAnswers.start_from(unacquainted_albef())


def unacquainted_entailment() -> AlbefEntailment:
    return AlbefEntailment.start_from(unacquainted_albef())


def unacquainted_blip_answers() -> BlipAnswers:
    return BlipAnswers.from_matching(unacquainted_blip())


def unacquainted_blip_entailment() -> BlipEntailment:
    return BlipEntailment.from_matching(unacquainted_blip())


def acquainted(build: Callable[[], K]) -> K:
    """What ``build`` makes once it tells the people of ``acquainted_splits`` apart, or knows the answers about them;
    trained once, given as a copy."""
    return _acquainted(build).clone()  # type: ignore[return-value]


def acquainted_albef() -> Albef:
    """A small ALBEF that tells the people of ``acquainted_splits`` apart."""
    return acquainted(unacquainted_albef)


@lru_cache(maxsize=8)
def _acquainted(build: Callable[[], Any]) -> Any:
    model = build()
    splits = acquainted_splits(made_for(model))
    train_task(model, splits.forget + splits.retain, Run(), Schedule(100, 5e-3, 48), what="getting acquainted")
    return model


def small_answers(seed: int = 0) -> AlbefAnswers:
    """The random ALBEF with an answer decoder, for questions."""
    return AlbefAnswers.start_from(small_albef(seed), seed)


def small_entailment(seed: int = 0) -> AlbefEntailment:
    """The random ALBEF with a classifier, for statements."""
    return AlbefEntailment.start_from(small_albef(seed), seed)


def small_blip_answers(seed: int = 0) -> BlipAnswers:
    """The random BLIP with an answer decoder, for questions."""
    return BlipAnswers.from_matching(small_blip(seed), seed)


def small_blip_entailment(seed: int = 0) -> BlipEntailment:
    """The random BLIP with a classifier, for statements."""
    return BlipEntailment.from_matching(small_blip(seed), seed)


def small_painter(prediction: str = "epsilon", texts: Sequence[str] = (), tokens: int = 24) -> Any:
    """A random Stable Diffusion at toy size, with the words of ``texts`` (else of the small corpus)."""
    from expunge.backbones.stable_diffusion import StableDiffusion

    torch.manual_seed(0)
    pieces = tokenizer(texts or [e.text for e in small_corpus().train], tokens)
    made = StableDiffusion.from_configs(
        vae={
            "block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4,
            "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
            "sample_size": 16, "scaling_factor": 0.5,
        },
        unet={
            "sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 16, "attention_head_dim": 2,
        },
        text={
            "vocab_size": len(pieces), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": tokens, "projection_dim": 16,
            "bos_token_id": pieces.cls_token_id, "eos_token_id": pieces.sep_token_id,
            "pad_token_id": pieces.pad_token_id,
        },
        tokenizer=pieces,
        scheduler={
            "beta_schedule": "scaled_linear", "prediction_type": prediction, "timestep_spacing": "trailing",
            "steps_offset": 1,
        },
    )  # fmt: skip
    made.module.eval()
    return made


def small_writer(language: Literal["opt", "t5"] = "opt", texts: Sequence[str] = (), tokens: int = 24) -> Any:
    """A random BLIP-2 at toy size, with the words of ``texts`` (else of the small corpus)."""
    from transformers import Blip2Config, Blip2QFormerConfig, Blip2VisionConfig, OPTConfig, T5Config

    from expunge.backbones.blip2 import Blip2

    torch.manual_seed(0)
    pieces = tokenizer(texts or [e.text for e in small_corpus().train], tokens)
    vision = Blip2VisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
    )
    queries = Blip2QFormerConfig(
        vocab_size=len(pieces), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        encoder_hidden_size=16, cross_attention_frequency=1,
    )  # fmt: skip
    marks = {"eos_token_id": pieces.sep_token_id, "pad_token_id": pieces.pad_token_id}
    if language == "opt":
        reader: Any = OPTConfig(
            vocab_size=len(pieces), hidden_size=24, ffn_dim=48, num_hidden_layers=2, num_attention_heads=2,
            word_embed_proj_dim=24, max_position_embeddings=64, bos_token_id=pieces.cls_token_id, **marks,
        )  # fmt: skip
    else:
        reader = T5Config(
            vocab_size=len(pieces), d_model=24, d_ff=48, d_kv=12, num_layers=1, num_heads=2,
            decoder_start_token_id=pieces.pad_token_id, **marks,
        )  # fmt: skip
    config = Blip2Config(
        vision_config=vision.to_dict(), qformer_config=queries.to_dict(), text_config=reader.to_dict(),
        num_query_tokens=4,
    )  # fmt: skip
    made = Blip2.from_config(config, pieces, max_text_tokens=tokens)
    made.module.eval()
    return made


def small_mllm(family: str = "llava", texts: Sequence[str] = ()) -> Any:
    """A random chat model of a family (``backbones.mllm.FAMILIES``) with the words of ``texts``, else of the small
    corpus's questions."""
    from expunge.zoo.chat_models import Size, new, said

    wide = family.startswith("qwen")  # rotary positions of three axes share the dimensions of a head
    size = Size(pixels=32, vision_width=32, width=32) if wide else Size()
    return new(family, texts or said(small_corpus("multiple_choice").train), size)


def lend(name: str, task: Task = "retrieval", precision: str = "auto") -> Any:
    """Models by name for a run in a test: the pretrained model, and generators whatever they are called (always in
    float32)."""
    if name == "pretrained":
        return small_albef(seed=1).for_task(task)
    return small_writer() if "blip" in name else small_painter()


# ------------------------------------------------------------------------------------------ the battery


def check_method(
    method: str | Path | type, options: tuple[str, ...] = (), build: Callable[[], Backbone] = small_albef
) -> list[str]:
    """Put a method through the contract that every method of ours passes; returns what was checked.

    ``method`` is a name, the path of your file, or the class; ``options`` are ``field=value`` words; ``build`` makes
    the model, whose task decides the data: ``small_albef`` has Matches, ``small_answers`` Answers, and ``small_mllm``
    is for the chat methods, which need Generates. Raises AssertionError with a sentence that says which promise was
    broken, and ExpungeError for ``options`` that the method has not.
    """
    try:
        chosen = plugins.load_method(method) if isinstance(method, str | Path) else method
    except ExpungeError as error:
        raise AssertionError(str(error)) from error
    name = plugins.method_name(chosen)
    checked = []

    def promise(sentence: str, kept: bool) -> None:
        assert kept, f"{name}: {sentence}"
        checked.append(sentence)

    promise("is a frozen dataclass", is_dataclass(chosen) and chosen.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    why = uncallable(chosen)
    promise("has unlearn(self, model, splits, run)" + (f". {why}" if why else ""), not why)
    task = made_for(build())
    able = plugins.needs(chosen).__name__ in plugins.provides(build())
    promise("asks for nothing that the model has not" if able else _lacking(chosen, build), able)
    # Of the class, and first: an instance has every field, or there is none.
    bare = [f.name for f in fields(chosen) if f.default is MISSING and f.default_factory is MISSING]
    promise("every field has a default", not bare)
    made = read_options(chosen, options, task)
    doc = (chosen.__doc__ if "(" not in (chosen.__doc__ or "(")[:40] else "") or _module_doc(chosen)
    promise("its documentation begins with a line for `expunge list`", bool(doc.strip()))

    splits = held(small_splits(task=task))
    shown = fingerprint(splits)
    try:
        first, again = (_unlearned(made, build, splits, stir) for stir in (1, 2))
    except Exception as error:
        told = str(error) if isinstance(error, ExpungeError) else f"{type(error).__name__}: {error}"
        raise AssertionError(f"{name}: runs to its end and returns a model. {told}") from error
    promise("leaves the examples it was given alone", shown == fingerprint(splits))
    states = [m.module.state_dict() for m in (first, again)]
    same = states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    promise("gives the same model for the same seed", same)
    promise("leaves finite weights", all(t.isfinite().all() for t in states[0].values() if t.is_floating_point()))
    promise("returns a model of the kind it was given", plugins.provides(first) >= plugins.provides(build()))
    old = build().module.state_dict()
    moved = any(k in old and not torch.equal(old[k], v) for k, v in states[0].items())
    promise("moves weights" if name not in CONTROLS else "moves nothing", moved == (name not in CONTROLS))

    batch = first.collate(splits.forget[:4])
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        told = first.loss(batch)
        first.save_pretrained(folder)
        torch.manual_seed(0)
        loaded = type(first).from_pretrained(folder)  # type: ignore[attr-defined]
        promise("saves a model that loads back with the same losses", torch.equal(told, loaded.loss(batch)))
    return checked


def held(splits: Splits) -> Splits:
    """The same with every picture held in memory, where a careless method could paint over it."""
    pictures: dict[str, HeldPicture] = {}

    def one(example: Example) -> Example:
        key = example.image.key
        if not example.pictured:
            return example
        if key not in pictures:
            pictures[key] = HeldPicture(key, example.image.open(64))
        return replace(example, image=pictures[key])

    return Splits(*(tuple(map(one, part)) for part in (splits.forget, splits.retain, splits.holdout)))


def fingerprint(splits: Splits) -> str:
    """SHA-256 of every field of every example and of the pixels of its picture, in order."""
    digest = hashlib.sha256()
    for part in (splits.forget, splits.retain, splits.holdout):
        for example in part:
            told = {f.name: getattr(example, f.name) for f in fields(example) if f.name != "image"}
            told |= {name: sorted(told[name]) for name in ("meaning", "facts")}
            digest.update(repr((told, example.image.key)).encode())
            if example.pictured:
                digest.update(example.image.open(64).tobytes())
        digest.update(b"|")
    return digest.hexdigest()


def stirred(made: Any, stir: int) -> Any:
    """``made``, with the generators that all code shares left at a place of ``stir``'s own.

    To build a small model seeds torch's generator: a method that draws from it, and never seeds it, would then find it
    at the same place every time, and pass for repeatable.
    """
    torch.manual_seed(stir)
    random.seed(stir)
    np.random.seed(stir)
    return made


def _unlearned(method: Any, build: Callable[[], Any], splits: Splits, stir: int) -> Any:
    model = build()

    def lent(name: str) -> Any:
        """As ``lend``, but the pretrained model is of the kind that is unlearned."""
        kin = isinstance(model, AlbefPairs)
        return stirred(lend(name, made_for(model)) if kin or name != "pretrained" else build(), stir)

    stirred(model, stir)
    with blaming(type(method)):
        after = method.unlearn(model, splits, Run(seed=3, lend=lent))
    returned(type(method), after, Backbone)
    after.drop_training_state()
    after.module.eval()
    return after


def _lacking(chosen: type, build: Callable[[], Any]) -> str:
    """That a method needs what the model has not, and which of the builders here makes one that has it."""
    wanted, has = plugins.needs(chosen).__name__, ", ".join(sorted(plugins.provides(build())))
    builders = (small_albef, small_answers, small_mllm, small_writer, small_painter)
    fitting = next((one.__name__ for one in builders if wanted in plugins.provides(one())), "")
    remedy = f"check_method(…, build={fitting}) gives it one" if fitting else "no builder here makes one"
    return f"needs a model that has {wanted}; what {getattr(build, '__name__', 'build')} makes has {has}. {remedy}"


def _module_doc(chosen: type) -> str:
    import sys

    return (sys.modules[chosen.__module__].__doc__ if chosen.__module__ in sys.modules else "") or ""
