"""Stable Diffusion: latent text-to-image diffusion on diffusers' own parts, spoken to through a few verbs.

A *condition* is what the U-Net attends to, [B, L, d_t]: the text encoder's states, or any other sequence of that
width and any length, so other encoders' tokens can be joined to it. Pictures are [B, 3, H, W] in [-1, 1] at the
model's own size; latents are multiplied by the autoencoder's scaling factor. All of that scaling happens here.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

from expunge.backbones import saved
from expunge.core.errors import ExpungeError
from expunge.core.text import plain
from expunge.core.types import Batch, Example, Traits

PREDICTIONS = ("epsilon", "v_prediction")
PARTS = {"vae": "AutoencoderKL", "unet": "UNet2DConditionModel", "text_encoder": "CLIPTextModel"}
SEATS = {"encode": ("vae", "text"), "train": ("unet",), "generate": ("unet", "vae"), "away": ()}
MOST_STATES = 2**26
"""Numbers in one layer's states up to which texts are encoded together."""
SLICED = 512
"""Pixels from which pictures are decoded one at a time: at full size a batch of them fills a card."""


class StableDiffusion:
    """An autoencoder, a U-Net, a text encoder, a tokenizer and the scheduler's configuration."""

    def __init__(
        self,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        text: CLIPTextModel,
        tokenizer: Any,
        scheduler: Mapping[str, Any] | None = None,
        name: str = "stable-diffusion",
    ) -> None:
        """``scheduler`` holds any diffusers scheduler's settings; noise is added and removed by DDIM's rules."""
        self.vae, self.unet, self.text, self.tokenizer = vae, unet, text, tokenizer
        self.scheduler = DDIMScheduler.from_config(dict(scheduler or {}), clip_sample=False)
        if unet.config.in_channels != vae.config.latent_channels:
            raise ExpungeError(
                f"{name} is not a plain text-to-image model: its U-Net takes {unet.config.in_channels} channels, its "
                f"autoencoder gives {vae.config.latent_channels} (a model for inpainting or depth takes more)."
            )
        self._module = nn.ModuleDict({"vae": vae, "unet": unet, "text": text})
        shrinks = 2 ** (len(vae.config.block_out_channels) - 1)
        self._traits = Traits(
            name=name,
            pixels=unet.config.sample_size * shrinks,
            max_text_tokens=min(tokenizer.model_max_length, text.config.max_position_embeddings),
            feature_width=unet.config.cross_attention_dim,
            extras={
                "prediction": self.scheduler.config.prediction_type,
                "noise_levels": self.scheduler.config.num_train_timesteps,
                "latent_channels": unet.config.in_channels,
                "latent_pixels": unet.config.sample_size,
            },
        )
        if self._traits.pixels >= SLICED:
            vae.enable_slicing()

    # ------------------------------------------------------------------------------------ made and stored

    @classmethod
    def from_configs(
        cls,
        vae: Mapping,
        unet: Mapping,
        text: Mapping,
        tokenizer: Any,
        scheduler: Mapping | None = None,
        name: str = "stable-diffusion",
    ) -> StableDiffusion:
        """Random weights of any size, from the arguments of the parts' own configurations."""
        parts = AutoencoderKL(**vae), UNet2DConditionModel(**unet), CLIPTextModel(CLIPTextConfig(**text))
        return cls(*parts, tokenizer, scheduler, name)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> StableDiffusion:
        """Load what diffusers' pipelines save: vae/, unet/, text_encoder/, tokenizer/, scheduler/ of any class.

        A safety checker and a feature extractor are left where they are. U-Net and text encoder are held in ``dtype``,
        the autoencoder always in float32: it is small, and its latents are what is aimed at. Raises ExpungeError for a
        folder that is no plain Stable Diffusion, holds pickles only, is not whole, or predicts what MVI has no loss
        for.
        """
        local = Path(folder).is_dir()
        scheduler = checked(Path(folder)) if local else DDIMScheduler.load_config(folder, subfolder="scheduler")

        def part(kind: Any, place: str, **how: Any) -> Any:
            inside = Path(folder) / place
            name = saved.variant(inside) if inside.is_dir() else None
            how |= {"subfolder": place, "variant": name, "use_safetensors": True, "output_loading_info": True}
            return saved.whole(kind.from_pretrained(str(folder), **how), inside)

        made = cls(
            part(AutoencoderKL, "vae", torch_dtype=torch.float32),
            part(UNet2DConditionModel, "unet", torch_dtype=dtype),
            part(CLIPTextModel, "text_encoder", dtype=dtype),
            AutoTokenizer.from_pretrained(str(folder), subfolder="tokenizer", trust_remote_code=False),
            scheduler,
            name=Path(folder).name,
        )
        made.module.eval()
        return made

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write the diffusers layout, which ``StableDiffusionPipeline.from_pretrained`` opens. Halves on request."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        places = {"vae": self.vae, "unet": self.unet, "text_encoder": self.text}
        for place, part in places.items():
            (copy.deepcopy(part).to(dtype) if dtype else part).save_pretrained(folder / place)
        self.tokenizer.save_pretrained(folder / "tokenizer")
        self.scheduler.save_pretrained(folder / "scheduler")
        index = {
            "_class_name": "StableDiffusionPipeline",
            "_diffusers_version": diffusers.__version__,
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", type(self.tokenizer).__name__],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        }
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")

    def clone(self) -> StableDiffusion:
        return copy.deepcopy(self)

    def drop_training_state(self) -> None:
        """Nothing to drop: the model holds weights only."""

    # ------------------------------------------------------------------------------------ the waist

    @property
    def traits(self) -> Traits:
        return self._traits

    @property
    def module(self) -> nn.Module:
        return self._module

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    def seat(self, use: Literal["encode", "train", "generate", "away"], device: torch.device | str) -> None:
        """Put what ``use`` needs on ``device`` and the rest on the CPU: encoders, the U-Net, or U-Net and decoder."""
        needed = SEATS[use]
        for name, part in self._module.items():
            if name not in needed:
                part.to("cpu")
        for name in needed:
            self._module[name].to(device)

    def parts(self) -> dict[str, nn.Module]:
        crossing = [m for name, m in self.unet.named_modules() if name.endswith("attn2")]
        return {"vae": self.vae, "unet": self.unet, "text": self.text, "cross_attention": nn.ModuleList(crossing)}

    def collate(self, examples: Sequence[Example]) -> Batch:
        numbers: dict[str, int] = {}
        groups = [numbers.setdefault(e.group or e.id, len(numbers)) for e in examples]
        return {
            "pixels": self.pixels(examples),
            **self.tokens([e.text for e in examples]),
            "groups": torch.tensor(groups),
        }

    def loss(self, batch: Batch) -> Tensor:
        """The squared error of the prediction per example, [B]. ``noise`` and ``timesteps`` may be in the batch."""
        condition = self.encode_tokens(batch["input_ids"], batch["attention_mask"])
        latents = self.encode_pictures(batch["pixels"])
        return self.denoising_loss(latents, condition, noise=batch.get("noise"), timesteps=batch.get("timesteps"))

    # ------------------------------------------------------------------------------------ words and pictures

    def pixels(self, examples: Sequence[Example]) -> Tensor:
        """The examples' pictures at the model's size, [B, 3, H, W] in [-1, 1]."""
        return self.to_range([e.image.open(self.traits.pixels) for e in examples])

    def to_range(self, pictures: Sequence[Image.Image]) -> Tensor:
        stacked = np.stack([np.asarray(p.convert("RGB")) for p in pictures])  # [B, H, W, 3]
        return (torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1).to(self.vae.device)

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask``, padded to the full length as Stable Diffusion was trained."""
        length = self.traits.max_text_tokens
        cleaned = [plain(t, max_words=length) for t in texts]
        made = self.tokenizer(cleaned, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return {k: made[k].to(self.text.device) for k in ("input_ids", "attention_mask")}

    def encode_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The last hidden states, [B, L, d_t]. The mask is used only where the encoder was trained with one."""
        masked = getattr(self.text.config, "use_attention_mask", False)
        return self.text(input_ids, attention_mask=attention_mask if masked else None).last_hidden_state

    def encode_prompts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The condition of each text, [B, L, d_t], and which positions hold its words, [B, L]."""
        made = self.tokens(texts)
        length, width = made["input_ids"].shape[1], self.text.config.hidden_size
        few = max(1, MOST_STATES // (length * width))
        pairs = zip(made["input_ids"].split(few), made["attention_mask"].split(few))
        return torch.cat([self.encode_tokens(*pair) for pair in pairs]), made["attention_mask"]

    def encode_pictures(self, pixels: Tensor) -> Tensor:
        """Scaled latents, [B, c, h, w]: the mean of the posterior, so the same picture gives the same latents."""
        return self.vae.encode(pixels).latent_dist.mode() * self.vae.config.scaling_factor

    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Pictures of scaled latents."""
        latents = latents if self._is_whole else latents.to(self.vae.dtype)
        drawn = self.vae.decode(latents / self.vae.config.scaling_factor).sample.float()
        levels = ((drawn.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return [Image.fromarray(picture) for picture in levels]

    # ------------------------------------------------------------------------------------ diffusion

    def denoising_loss(
        self, latents: Tensor, condition: Tensor, *, noise: Tensor | None = None, timesteps: Tensor | None = None
    ) -> Tensor:
        """The mean squared error of the U-Net's prediction per example, [B]; gradients reach the condition.

        The target is the noise or the velocity, as the scheduler's configuration says.
        """
        return self.denoise(latents, condition, noise=noise, timesteps=timesteps)[0]

    def denoise(
        self, latents: Tensor, condition: Tensor, *, noise: Tensor | None = None, timesteps: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``denoising_loss`` [B], and the clean latents [B, c, h, w] that the same prediction amounts to.

        Where the model predicts the noise, what it amounts to is coarse at high noise levels: an error of the
        prediction is divided by the little signal that is left.
        """
        if noise is None:
            noise = torch.randn_like(latents)
        if timesteps is None:
            timesteps = self._levels(latents)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        predicted = self._predict(noisy, timesteps, condition)
        target = self._target(latents, noise, timesteps)
        loss = (predicted.float() - target.float()).square().mean(dim=(1, 2, 3))
        kept = self.scheduler.alphas_cumprod.to(latents)[timesteps].sqrt()[:, None, None, None]
        lost = (1 - kept.square()).sqrt()
        if self.scheduler.config.prediction_type == "epsilon":
            return loss, (noisy - lost * predicted) / kept
        return loss, kept * noisy - lost * predicted

    def perceptual_distance(self, estimate: Tensor, latents: Tensor, condition: Tensor) -> Tensor:
        """How unlike two pictures' latents look to the U-Net itself, [B]: 0 where they are equal.

        Both get the same noise at the same level, drawn anew; the distance is the mean square between the features
        after the U-Net's middle block, as a share of those of ``latents``. Gradients reach ``estimate`` only.
        """
        noise, timesteps = torch.randn_like(latents), self._levels(latents)
        with torch.no_grad():
            wanted = self._middle(self.scheduler.add_noise(latents, noise, timesteps), timesteps, condition)
        seen = self._middle(self.scheduler.add_noise(estimate, noise, timesteps), timesteps, condition.detach())
        size = wanted.square().mean(dim=(1, 2, 3)).clamp(min=1e-12)
        return (seen - wanted).square().mean(dim=(1, 2, 3)) / size

    @property
    def _is_whole(self) -> bool:
        return self.unet.dtype == torch.float32

    def _predict(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """The U-Net's own word; a U-Net in half precision reads and speaks in it, whatever it is handed."""
        if not self._is_whole:
            noisy, condition = noisy.to(self.unet.dtype), condition.to(self.unet.dtype)
        return self.unet(noisy, timesteps, encoder_hidden_states=condition).sample

    def _levels(self, latents: Tensor) -> Tensor:
        levels = self.scheduler.config.num_train_timesteps
        return torch.randint(0, levels, (len(latents),), device=latents.device)

    def _middle(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """What leaves the U-Net's middle block, [B, c, h, w]."""
        seen: list[Tensor] = []
        handle = self.unet.mid_block.register_forward_hook(lambda module, given, made: seen.append(made))
        try:
            self._predict(noisy, timesteps, condition)
        finally:
            handle.remove()
        return seen[0].float()

    def _target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        kind = self.scheduler.config.prediction_type
        if kind == "epsilon":
            return noise
        if kind == "v_prediction":
            return self.scheduler.get_velocity(latents, noise, timesteps)
        raise ValueError(f"prediction_type {kind!r} is not one of: {', '.join(PREDICTIONS)}")

    @torch.no_grad()
    def draw(
        self,
        condition: Tensor,
        *,
        unconditional: Tensor | None = None,
        steps: int = 20,
        guidance: float = 3.0,
        seed: int = 0,
    ) -> list[Image.Image]:
        """One picture per condition [B, L, d_t], by deterministic DDIM with classifier-free guidance.

        Picture i starts from noise number ``seed + i``, whatever else is in the batch. ``unconditional`` is [L, d_t],
        [1, L, d_t] or [B, L, d_t]; without it the empty prompt is used, which fits conditions of prompt length.
        """
        guided = guidance != 1.0
        both = condition
        if guided:
            if unconditional is None:
                unconditional = self.encode_prompts([""])[0].to(condition)
            if unconditional.shape[-2:] != condition.shape[-2:]:
                raise ValueError(
                    f"the unconditional sequence is {tuple(unconditional.shape[-2:])}, the condition "
                    f"{tuple(condition.shape[-2:])}: give `unconditional` of the condition's length and width"
                )
            both = torch.cat([unconditional.expand_as(condition), condition])
        scheduler = DDIMScheduler.from_config(self.scheduler.config)
        scheduler.set_timesteps(steps, device=condition.device)
        latents = self._noise(len(condition), seed).to(condition) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            twice = torch.cat([latents, latents]) if guided else latents
            predicted = self._predict(scheduler.scale_model_input(twice, t), t, both)
            if guided:
                without, with_words = predicted.chunk(2)
                predicted = without + guidance * (with_words - without)
            latents = scheduler.step(predicted, t, latents).prev_sample
        return self.decode(latents)

    def _noise(self, count: int, seed: int) -> Tensor:
        shape = (self.unet.config.in_channels, self.unet.config.sample_size, self.unet.config.sample_size)
        return torch.stack(
            [torch.randn(shape, generator=torch.Generator().manual_seed(seed + i)) for i in range(count)]
        )


def checked(folder: Path) -> dict[str, Any]:
    """The scheduler's settings of a pipeline's folder. Raises ExpungeError where the pipeline is none of ours."""
    index = saved.told(folder / "model_index.json")
    for place, kind in PARTS.items():
        found = (index.get(place) or [None, None])[1]
        if found != kind:
            raise ExpungeError(
                f"{folder} is a {index.get('_class_name', 'pipeline')} whose {place} is {found or 'missing'}; this "
                f"needs {kind}, as in Stable Diffusion 1.x and 2.x."
            )
    if index.get("text_encoder_2"):
        raise ExpungeError(f"{folder} has two text encoders; Stable Diffusion 1.x and 2.x have one.")
    scheduler = saved.told(folder / "scheduler" / "scheduler_config.json")
    kind = scheduler.get("prediction_type", PREDICTIONS[0])
    if kind not in PREDICTIONS:
        raise ExpungeError(f"{folder} predicts {kind!r}; this knows {' and '.join(PREDICTIONS)}.")
    return scheduler
