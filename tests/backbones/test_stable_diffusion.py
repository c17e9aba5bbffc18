"""Stable Diffusion at toy size: stored, opened by diffusers itself, differentiated and drawn from."""

import json
import math

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from expunge.backbones.stable_diffusion import StableDiffusion
from expunge.core.errors import ExpungeError
from expunge.core.types import Backbone, Example
from expunge.testing import small_painter

TEXTS = ["a red hat on a man", "a green wall behind a woman"]


class Plain:
    def __init__(self, colour: str) -> None:
        self.key = colour

    def open(self, pixels: int) -> Image.Image:
        return Image.new("RGB", (pixels, pixels), self.key)


EXAMPLES = [
    Example(f"e{i}", Plain(c), t, group=g)
    for i, (c, t, g) in enumerate(zip(("red", "white"), TEXTS, ("p", "q"), strict=True))
]


def tiny(prediction: str = "epsilon") -> StableDiffusion:
    return small_painter(prediction, TEXTS, tokens=12)


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    return tiny()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("sd") / "toy"
    model.save_pretrained(path)
    return path


def test_is_a_backbone_with_its_parts(model):
    assert isinstance(model, Backbone)
    assert model.traits.pixels == 16 and model.traits.max_text_tokens == 12
    assert {"vae", "unet", "text", "cross_attention"} <= model.parts().keys()
    # one down block, two layers of the up block, the middle
    assert len(model.parts()["cross_attention"]) == 4


def test_pictures_come_in_the_models_range(model):
    pixels = model.pixels(EXAMPLES)
    assert pixels.shape == (2, 3, 16, 16)
    assert pixels[0, :, 0, 0].tolist() == [1.0, -1.0, -1.0] and pixels[1].eq(1).all()


def test_latents_bear_the_scaling_factor(model):
    pixels = model.pixels(EXAMPLES)
    with torch.no_grad():
        assert torch.equal(model.encode_pictures(pixels), model.vae.encode(pixels).latent_dist.mean * 0.5)


def test_loss_per_example_is_the_mean_of_the_batch(model):
    batch = model.collate(EXAMPLES)
    assert batch["groups"].tolist() == [0, 1]
    batch |= {"noise": torch.randn(2, 4, 8, 8), "timesteps": torch.tensor([10, 700])}
    with torch.no_grad():
        each = model.loss(batch)
        alone = torch.cat([model.loss({k: v[i : i + 1] for k, v in batch.items()}) for i in range(2)])
        latents, condition = model.encode_pictures(batch["pixels"]), model.encode_prompts(TEXTS)[0]
        noisy = model.scheduler.add_noise(latents, batch["noise"], batch["timesteps"])
        predicted = model.unet(noisy, batch["timesteps"], condition).sample
    assert each.shape == (2,)
    torch.testing.assert_close(each, alone)
    torch.testing.assert_close(each.mean(), torch.nn.functional.mse_loss(predicted, batch["noise"]))


@pytest.mark.parametrize(
    ("kind", "target"),
    [("epsilon", lambda a, x, e: e), ("v_prediction", lambda a, x, e: math.sqrt(a) * e - math.sqrt(1 - a) * x)],
)
def test_the_target_is_known(kind, target):
    """With a U-Net that always says 0 the loss is the target's own mean square."""
    model = tiny(kind)
    torch.nn.init.zeros_(model.unet.conv_out.weight)
    torch.nn.init.zeros_(model.unet.conv_out.bias)
    latents, noise = torch.full((1, 4, 8, 8), 2.0), torch.full((1, 4, 8, 8), -1.0)
    t = 400
    kept = model.scheduler.alphas_cumprod[t].item()
    loss = model.denoising_loss(latents, torch.zeros(1, 3, 16), noise=noise, timesteps=torch.tensor([t]))
    assert loss.item() == pytest.approx(target(kept, 2.0, -1.0) ** 2, rel=1e-4)


def test_an_unknown_target_is_refused():
    model = tiny("sample")
    with pytest.raises(ValueError, match="prediction_type 'sample'"):
        model.denoising_loss(torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 16))


def test_gradient_reaches_a_condition_of_any_length(model):
    condition = torch.randn(2, 17, 16, requires_grad=True)
    model.denoising_loss(torch.randn(2, 4, 8, 8), condition).sum().backward()
    assert condition.grad is not None and condition.grad.abs().sum(dim=(1, 2)).gt(0).all()
    model.module.zero_grad()


def test_prompts_are_cleaned_padded_and_masked(model):
    with torch.no_grad():
        hidden, mask = model.encode_prompts(["A red hat!", "a red hat"])
    assert hidden.shape == (2, 12, 16) and mask.sum(1).tolist() == [5, 5]
    assert torch.equal(hidden[0], hidden[1])


def test_same_seed_same_picture_whatever_the_batch(model):
    with torch.no_grad():
        condition = model.encode_prompts(TEXTS)[0]
    both = model.draw(condition, steps=3, seed=5)
    again = model.draw(condition, steps=3, seed=5)
    second = model.draw(condition[1:], steps=3, seed=6)[0]
    other = model.draw(condition, steps=3, seed=9)
    assert [p.tobytes() for p in both] == [p.tobytes() for p in again]
    assert max(abs(a - b) for a, b in zip(both[1].tobytes(), second.tobytes(), strict=True)) <= 1
    assert both[0].tobytes() != other[0].tobytes() and both[0].size == (16, 16)


def test_an_unconditional_of_another_length_is_refused(model):
    with pytest.raises(ValueError, match="unconditional"):
        model.draw(torch.zeros(1, 20, 16), steps=1)
    pictures = model.draw(torch.zeros(1, 20, 16), unconditional=torch.zeros(20, 16), steps=1)
    assert len(pictures) == 1 and len(model.draw(torch.zeros(1, 20, 16), guidance=1.0, steps=1)) == 1


def test_stored_and_loaded_is_the_same(model, folder):
    back = StableDiffusion.from_pretrained(folder)
    noise, t = torch.randn(2, 4, 8, 8), torch.tensor([5, 900])
    batch = model.collate(EXAMPLES) | {"noise": noise, "timesteps": t}
    with torch.no_grad():
        assert torch.equal(back.loss(batch), model.loss(batch))
    assert back.scheduler.config.prediction_type == "epsilon" and back.traits.max_text_tokens == 12


def test_halves_on_disk_leave_the_model_whole(model, tmp_path):
    model.save_pretrained(tmp_path / "half", dtype=torch.float16)
    assert next(model.unet.parameters()).dtype == torch.float32
    whole = sum(p.numel() for p in model.unet.parameters()) * 4
    assert (tmp_path / "half/unet/diffusion_pytorch_model.safetensors").stat().st_size < 0.7 * whole


def test_opens_in_plain_diffusers_and_draws_the_same(model, folder):
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    assert json.loads((folder / "model_index.json").read_text())["safety_checker"] == [None, None]
    theirs = pipe(
        TEXTS[0], num_inference_steps=4, guidance_scale=2.0, height=16, width=16, latents=model._noise(1, 3)
    ).images[0]
    with torch.no_grad():
        ours = model.draw(model.encode_prompts(TEXTS[:1])[0], steps=4, guidance=2.0, seed=3)[0]
    assert max(abs(a - b) for a, b in zip(theirs.tobytes(), ours.tobytes(), strict=True)) <= 1


def test_a_clone_is_independent(model):
    twin = model.clone()
    with torch.no_grad():
        next(twin.unet.parameters()).add_(1)
    assert twin.module["unet"] is twin.unet
    assert not torch.equal(next(twin.unet.parameters()), next(model.unet.parameters()))


@pytest.mark.parametrize("place", ["vae", "unet", "text_encoder"])
def test_a_folder_that_lacks_weights_is_refused(model, tmp_path, place):
    model.save_pretrained(tmp_path)
    path = next((tmp_path / place).glob("*.safetensors"))
    held = load_file(path)
    gone = max(held)
    save_file({k: v for k, v in held.items() if k != gone}, path, {"format": "pt"})
    with pytest.raises(ExpungeError, match=f"{place} lacks 1 of the weights"):
        StableDiffusion.from_pretrained(tmp_path)


def test_an_estimate_equal_to_the_latents_is_at_no_distance_and_takes_the_gradient_alone(model):
    latents, condition = torch.randn(2, 4, 8, 8, requires_grad=True), torch.randn(2, 5, 16, requires_grad=True)
    assert model.perceptual_distance(latents.detach(), latents, condition).tolist() == [0.0, 0.0]
    estimate = torch.randn(2, 4, 8, 8, requires_grad=True)
    far = model.perceptual_distance(estimate, latents, condition)
    far.sum().backward()
    assert far.gt(0).all() and estimate.grad.abs().sum() > 0 and latents.grad is None and condition.grad is None
    assert not model.unet.mid_block._forward_hooks
    model.module.zero_grad()


def test_levels_are_drawn_from_all_there_are(model, monkeypatch):
    torch.manual_seed(0)
    drawn = model._levels(torch.zeros(4000, 1))
    assert drawn.min() < 5 and drawn.max() > 994


def test_guidance_below_one_is_guidance_too(model):
    given = {"unconditional": torch.zeros(5, 16), "steps": 2, "seed": 1}
    condition = 3 * torch.randn(1, 5, 16)
    less, none = (model.draw(condition, guidance=g, **given)[0].tobytes() for g in (0.0, 1.0))
    assert less == model.draw(torch.zeros(1, 5, 16), guidance=1.0, steps=2, seed=1)[0].tobytes() != none


def test_what_is_not_needed_is_seated_away(model, monkeypatch):
    for use, needed in (("encode", "vae text"), ("train", "unet"), ("generate", "unet vae"), ("away", "")):
        seats = {}
        for name, part in model.module.items():
            monkeypatch.setattr(part, "to", lambda where, name=name, seats=seats: seats.update({name: where}))
        model.seat(use, "meta")
        assert {name for name, where in seats.items() if where == "meta"} == set(needed.split()), use
        assert {name for name, where in seats.items() if where == "cpu"} == set(model.module) - set(needed.split())


def test_people_are_numbered_as_groups(model):
    same = [Example(f"s{i}", Plain("red"), "a red hat", group=g) for i, g in enumerate(("p", "q", "p", None))]
    assert model.collate(same)["groups"].tolist() == [0, 1, 0, 2]
