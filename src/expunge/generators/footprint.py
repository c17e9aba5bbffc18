"""How much room MVI's two generators need on a device, from their settings alone: no weight is loaded.

The models are built on torch's meta device, where tensors have a shape and no content. Weights are counted there; what
a pair of the batch keeps for its backward is counted by running one forward and adding up all that autograd saves.
Attention is taken to be fused, as it is on a GPU: queries, keys, values and result are kept, the square of scores is
not. Bytes throughout; a GB is 10^9 of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from expunge.core.errors import ExpungeError
from expunge.generators.shapes import Settings
from expunge.train.precision import WHOLE

Choice = Literal["joint", "turns", "int8", "none"]
WORDS = 32
"""Tokens of a text, its marks included, when its loss is counted."""
TURNS = 25
"""Steps of a branch before the other's turn: the generators change seats once in so many."""
OVERHEAD = 1_500_000_000
"""What the device's own context, workspaces and gaps between tensors take: an estimate."""


@dataclass(frozen=True)
class Need:
    """What one generator takes. ``decoder`` is what gradients flow through, and ``decoder_int8`` the same with its
    matrices in 8 bit (a painter has no such form); ``pair`` is what one pair of the batch keeps for its backward."""

    encoders: int
    decoder: int
    decoder_int8: int
    pair: int


@dataclass(frozen=True)
class Plan:
    """The peaks of MVI's training on a device of ``budget`` bytes, and what follows from them.

    ``learned`` are MVI's own weights with gradients and AdamW's moments.
    """

    painter: Need
    writer: Need
    learned: int
    batch: int
    budget: int

    @property
    def encoding(self) -> int:
        """Taking apart: the larger of the two sets of encoders, one after the other."""
        return max(self.painter.encoders, self.writer.encoders) + OVERHEAD

    @property
    def joint(self) -> int:
        """Both decoders with activations at once."""
        own, other = self.painter, self.writer
        return own.decoder + other.decoder + self.batch * (own.pair + other.pair) + self.learned + OVERHEAD

    @property
    def turns_peak(self) -> int:
        """One decoder with its activations at a time."""
        each = [need.decoder + self.batch * need.pair for need in (self.painter, self.writer)]
        return max(each) + self.learned + OVERHEAD

    @property
    def int8_peak(self) -> int:
        """In turns with a language model in 8 bit, which stays where it is."""
        pairs = max(self.painter.decoder + self.batch * self.painter.pair, self.batch * self.writer.pair)
        return self.writer.decoder_int8 + pairs + self.learned + OVERHEAD

    @property
    def choice(self) -> Choice:
        """The first that fits: both at once, in turns, in turns with the language model in 8 bit; or none."""
        peaks: dict[Choice, int] = {"joint": self.joint, "turns": self.turns_peak, "int8": self.int8_peak}
        return next((name for name, peak in peaks.items() if max(peak, self.encoding) <= self.budget), "none")

    @property
    def largest(self) -> int:
        """How many pairs fit at a time in any way; 0 where not one does."""
        return max(self._most(int8=False), self._most(int8=True))

    def _most(self, *, int8: bool) -> int:
        """How many pairs fit at a time in turns."""
        if self.encoding > self.budget:
            return 0
        own, other = self.painter, self.writer
        room = self.budget - self.learned - OVERHEAD - (other.decoder_int8 if int8 else 0)
        speaking = room if int8 else room - other.decoder
        return max(0, min((room - own.decoder) // max(1, own.pair), speaking // max(1, other.pair)))

    def fitted(self, settings: Settings, *, int8: bool) -> Settings:
        """The settings in the way that fits: both at once, in turns, in turns with fewer pairs at a time.

        Raises ExpungeError where none does; ``int8`` says that the language model is in 8 bit.
        """
        choice = self.choice
        if choice == "joint":
            return settings
        if choice == "turns" or (choice == "int8" and int8):
            return replace(settings, turns=TURNS)
        if few := self._most(int8=int8):
            return replace(settings, turns=TURNS, at_once=few)
        raise ExpungeError(self.advice())

    def advice(self) -> str:
        """The choice in a sentence with its numbers."""
        room = f"{self.budget / 1e9:.1f} GB"
        peaks = {"joint": self.joint, "turns": self.turns_peak, "int8": self.int8_peak}
        told = {name: f"{peak / 1e9:.1f} GB" for name, peak in peaks.items()}
        how = {
            "joint": f"Both generators fit into {room} at once: {told['joint']} with a batch of {self.batch}.",
            "turns": f"In turns the generators fit into {room}: {told['turns']} with a batch of {self.batch}, "
            f"where both at once need {told['joint']}.",
            "int8": f"With the language model in 8 bit the generators fit into {room}: {told['int8']} with a batch of "
            f"{self.batch}, where in turns they need {told['turns']}. Take generator_precision=int8.",
            "none": f"The generators do not fit into {room} with a batch of {self.batch}: at best they need "
            f"{min(self.turns_peak, self.int8_peak) / 1e9:.1f} GB. "
            + (f"{self.largest} pairs at a time would fit." if self.largest else "Take a smaller pair."),
        }
        return how[self.choice]


def of_folders(painter: Path, writer: Path, settings: Settings, budget: int, dtype=torch.bfloat16) -> Plan:
    """The plan for two folders as diffusers and transformers save them; only their JSON is read."""
    from transformers import Blip2Config, CLIPTextConfig

    told = {name: json.loads((painter / name / "config.json").read_text("utf-8")) for name in ("vae", "unet")}
    text = CLIPTextConfig.from_pretrained(str(painter / "text_encoder"))
    writing = Blip2Config.from_pretrained(str(writer))
    return of_configs(told["vae"], told["unet"], text, writing, settings, budget, dtype)


def of_models(painter: Any, writer: Any, settings: Settings, budget: int) -> Plan:
    """The plan for two generators that are there, in the precision they are in."""
    parts, text = painter.parts(), painter.parts()["text"].config
    dtype = parts["unet"].dtype
    return of_configs(parts["vae"].config, parts["unet"].config, text, writer.module.config, settings, budget, dtype)


def of_configs(
    vae: Mapping[str, Any], unet: Mapping[str, Any], text: Any, blip2: Any, settings: Settings, budget: int,
    dtype: torch.dtype = torch.bfloat16,
) -> Plan:  # fmt: skip
    """The plan from the parts' own settings."""
    painter = painter_need(vae, unet, text, settings, dtype)
    writer = writer_need(blip2, settings, dtype)
    widths = unet["cross_attention_dim"], blip2.text_config.hidden_size
    return Plan(painter, writer, 16 * _learned(settings, *widths), settings.batch, budget)


def painter_need(vae: Mapping[str, Any], unet: Mapping[str, Any], text: Any, settings: Settings, dtype) -> Need:
    """Weights and activations of a Stable Diffusion; its autoencoder is always in float32."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    with torch.device("meta"):
        drawing: Any = UNet2DConditionModel.from_config(dict(unet)).requires_grad_(False)
        nn.Module.to(drawing, dtype)  # diffusers' own warns of modules to be kept in float32, and names none
        encoders = _bytes(AutoencoderKL.from_config(dict(vae)), torch.float32) + _bytes(CLIPTextModel(text), dtype)
        side, channels, width = unet["sample_size"], unet["in_channels"], unet["cross_attention_dim"]
        noisy = torch.empty(1, channels, side, side, dtype=dtype)
        length = text.max_position_embeddings + settings.latents
        condition = torch.empty(1, length, width, dtype=dtype, requires_grad=True)
        level = torch.empty(1, dtype=torch.long)
        pair = _kept(drawing, lambda: drawing(noisy, level, encoder_hidden_states=condition).sample)
    return Need(encoders, _bytes(drawing, dtype), _bytes(drawing, dtype), pair)


def writer_need(config: Any, settings: Settings, dtype) -> Need:
    """Weights and activations of a BLIP-2: one text of ``WORDS`` tokens after the prefix."""
    from transformers import Blip2ForConditionalGeneration

    with torch.device("meta"):
        model = Blip2ForConditionalGeneration(config).to(dtype).requires_grad_(False)
        language: Any = model.language_model
        prefix = torch.empty(
            1, settings.latents + config.num_query_tokens, config.text_config.hidden_size, dtype=dtype,
            requires_grad=True,
        )  # fmt: skip
        ids = torch.empty(1, WORDS, dtype=torch.long)

        def speak() -> Tensor:
            if config.use_decoder_only_language_model:
                joined = torch.cat([prefix, language.get_input_embeddings()(ids)], dim=1)
                length = joined.shape[1]
                # Given whole: a mask of padding would be looked into, and on the meta device nothing is in it.
                places, seen = torch.ones(1, length, dtype=torch.long), torch.ones(1, 1, length, length, dtype=dtype)
                logits = language(inputs_embeds=joined, attention_mask=seen, position_ids=places).logits
                logits = logits[:, prefix.shape[1] :]
            else:
                logits = language(inputs_embeds=prefix, decoder_input_ids=ids).logits
            return F.cross_entropy(logits.transpose(1, 2).float(), ids, reduction="none")

        pair = _kept(language, speak)
    decoder, whole = _bytes(language, dtype), _bytes(model, dtype)
    matrices = sum(m.weight.numel() for n, m in language.named_modules() if _is_quantised(n, m))
    return Need(whole - decoder, decoder, decoder - matrices * (dtype.itemsize - 1), pair)


def _is_quantised(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and name.rpartition(".")[2] not in WHOLE


def _learned(settings: Settings, painter_width: int, writer_width: int) -> int:
    """How many weights MVI has."""
    from expunge.generators.mvi import Mvi
    from expunge.generators.shapes import Parts

    with torch.device("meta"):
        one = torch.empty(1, 1, 1)
        parts = Parts(one, torch.empty(1, 1, writer_width), torch.empty(1, 1, painter_width), one, one, [""])
        made: Any = Mvi(None, None, parts, settings)  # type: ignore[arg-type]
    return sum(p.numel() for p in made.parameters())


def _bytes(module: Any, dtype: torch.dtype) -> int:
    return dtype.itemsize * sum(p.numel() for p in module.parameters())


def _kept(module: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Bytes that ``forward`` keeps for its backward, the weights of ``module`` left out."""
    weights = {p.untyped_storage()._cdata for p in module.parameters()}
    found: dict[int, Tensor] = {}

    def pack(saved: Tensor) -> Tensor:
        place = saved.untyped_storage()._cdata
        if place not in weights:
            found[place] = saved  # held, so that no later storage gets the same place
        return saved

    with saved_tensors_hooks(pack, lambda saved: saved), _Fused():
        forward()
    return sum(saved.untyped_storage().nbytes() for saved in found.values())


class _Fused(TorchFunctionMode):
    """Attention that keeps what a fused kernel keeps."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return _Attention.apply(*args[:3] or [(kwargs or {})[name] for name in ("query", "key", "value")])
        return func(*args, **(kwargs or {}))


class _Attention(torch.autograd.Function):
    """Shapes only: [.., L, E], [.., S, E], [.., S, E'] -> [.., L, E']."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        made = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, made)
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise NotImplementedError("shapes have no gradient")
