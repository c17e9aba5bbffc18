"""Folders that diffusers and transformers wrote: opened as they are, in agreement with the libraries' own numbers."""

import json
import shutil

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Blip2ForConditionalGeneration, Blip2Processor

import saved_toys
from expunge.backbones import blip2, saved, stable_diffusion
from expunge.backbones.blip2 import Blip2
from expunge.backbones.stable_diffusion import StableDiffusion
from expunge.core.errors import ExpungeError
from expunge.core.pictures import HeldPicture
from expunge.core.types import Example
from expunge.train.precision import WHOLE

PROMPTS = ["a red hat on a man", "nothing but a wall behind a woman with a long and winding sentence about her hat", ""]


@pytest.fixture(scope="module", params=["1.5", "2.1"])
def painting(request, tmp_path_factory):
    """A pipeline's folder (2.1: half-precision files only), the pipeline that reads it, and ours."""
    variant = "fp16" if request.param == "2.1" else None
    folder = saved_toys.save_painter(request.param, tmp_path_factory.mktemp("sd") / "toy", variant)
    theirs = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, variant=variant)
    theirs.set_progress_bar_config(disable=True)
    return folder, theirs, StableDiffusion.from_pretrained(folder)


@pytest.fixture(scope="module", params=["opt", "t5"])
def writing(request, tmp_path_factory):
    """A model's folder in several shards, what transformers makes of it, and ours."""
    folder = saved_toys.save_writer(request.param, tmp_path_factory.mktemp("blip2") / "toy", "30KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    theirs = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    return folder, theirs, Blip2Processor.from_pretrained(folder), Blip2.from_pretrained(folder)


# ------------------------------------------------------------------------------------------ Stable Diffusion


@torch.no_grad()
def test_text_states_are_those_of_the_pipeline(painting):
    _, theirs, ours = painting
    states, _ = ours.encode_prompts(PROMPTS)
    expected, nothing = theirs.encode_prompt(PROMPTS, "cpu", 1, True)
    assert states.shape[1] == 77 and torch.equal(states, expected)
    assert torch.equal(ours.encode_prompts([""])[0][0], nothing[0])


def test_texts_are_padded_as_the_tokenizer_says(painting):
    folder, _, ours = painting
    ids = ours.tokens(["a hat"])["input_ids"][0]
    pad = 0 if ours.scheduler.config.prediction_type == "v_prediction" else ours.tokenizer.eos_token_id
    assert ids[-60:].eq(pad).all() and ours.tokenizer.pad_token == ("!" if pad == 0 else "<|endoftext|>")
    assert ours.traits.pixels == (24 if pad == 0 else 16)


@torch.no_grad()
def test_prediction_and_step_are_those_of_the_pipeline(painting):
    _, theirs, ours = painting
    states = ours.encode_prompts(PROMPTS[:2])[0]
    side = ours.traits.extras["latent_pixels"]
    torch.manual_seed(0)
    latents, noise = torch.randn(2, 2, 4, side, side)
    levels = torch.tensor([13, 900])
    noisy = theirs.scheduler.add_noise(latents, noise, levels)  # PNDM's for one of them
    predicted = theirs.unet(noisy, levels, encoder_hidden_states=states).sample
    kind = theirs.scheduler.config.prediction_type
    target = noise if kind == "epsilon" else theirs.scheduler.get_velocity(latents, noise, levels)
    loss, estimate = ours.denoise(latents, states, noise=noise, timesteps=levels)
    torch.testing.assert_close(loss, (predicted - target).square().mean((1, 2, 3)))
    theirs_step = DDIMScheduler.from_config(theirs.scheduler.config, clip_sample=False)
    for i, level in enumerate(levels):  # what the prediction amounts to
        stepped = theirs_step.set_timesteps(1000) or theirs_step.step(predicted[i], level, noisy[i])
        torch.testing.assert_close(stepped.pred_original_sample, estimate[i], rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_pictures_are_drawn_as_the_pipeline_draws_by_ddim(painting):
    _, theirs, ours = painting
    own, side = theirs.scheduler, ours.traits.pixels
    theirs.scheduler = DDIMScheduler.from_config(own.config, clip_sample=False)
    drawn = theirs(
        PROMPTS[0], num_inference_steps=3, guidance_scale=2.0, height=side, width=side, latents=ours._noise(1, 5)
    ).images[0]
    theirs.scheduler = own
    mine = ours.draw(ours.encode_prompts(PROMPTS[:1])[0], steps=3, guidance=2.0, seed=5)[0]
    assert mine.size == (side, side)
    assert max(abs(a - b) for a, b in zip(drawn.tobytes(), mine.tobytes(), strict=True)) <= 1


def test_another_schedulers_settings_serve(painting, tmp_path):
    folder, theirs, ours = painting
    copied = shutil.copytree(folder, tmp_path / "euler")
    saved_toys.euler(theirs.scheduler.config).save_pretrained(copied / "scheduler")
    other = StableDiffusion.from_pretrained(copied)
    assert other.scheduler.config.prediction_type == ours.scheduler.config.prediction_type
    assert torch.equal(other.scheduler.alphas_cumprod, ours.scheduler.alphas_cumprod)


def test_names_of_an_older_layout_serve(painting, tmp_path):
    """Released text encoders call their weights text_model.*, and hold a buffer of positions."""
    folder, _, ours = painting
    copied = shutil.copytree(folder, tmp_path / "older")
    path = next((copied / "text_encoder").glob("*.safetensors"))
    weights = {f"text_model.{k.removeprefix('text_model.')}": v for k, v in load_file(path).items()}
    save_file(weights | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, path, {"format": "pt"})
    with torch.no_grad():
        again = StableDiffusion.from_pretrained(copied).encode_prompts(PROMPTS)[0]
        assert torch.equal(again, ours.encode_prompts(PROMPTS)[0])


def test_a_mask_is_used_where_the_encoder_was_trained_with_one(painting):
    _, theirs, ours = painting
    ours.text.config.use_attention_mask = theirs.text_encoder.config.use_attention_mask = True
    try:
        with torch.no_grad():
            masked = ours.encode_prompts(PROMPTS[:1])[0]
            assert torch.equal(masked, theirs.encode_prompt(PROMPTS[:1], "cpu", 1, False)[0])
    finally:
        ours.text.config.use_attention_mask = theirs.text_encoder.config.use_attention_mask = False
    with torch.no_grad():  # with causal attention padding behind the words changes none of them, but itself
        assert not torch.equal(masked, ours.encode_prompts(PROMPTS[:1])[0])


def test_texts_in_several_rounds_are_the_same(painting, monkeypatch):
    *_, ours = painting
    with torch.no_grad():
        whole = ours.encode_prompts(PROMPTS)[0]
        monkeypatch.setattr(stable_diffusion, "MOST_STATES", 1)
        torch.testing.assert_close(ours.encode_prompts(PROMPTS)[0], whole)


def test_a_painter_in_halves_computes_in_halves(painting):
    folder, _, ours = painting
    half = StableDiffusion.from_pretrained(folder, dtype=torch.bfloat16)
    assert {p.dtype for p in half.unet.parameters()} == {torch.bfloat16} == {p.dtype for p in half.text.parameters()}
    assert {p.dtype for p in half.vae.parameters()} == {torch.float32}
    side = ours.traits.extras["latent_pixels"]
    latents, noise, level = torch.randn(1, 4, side, side), torch.randn(1, 4, side, side), torch.tensor([400])
    condition = torch.randn(1, 5, ours.traits.feature_width, requires_grad=True)
    loss = half.denoising_loss(latents, condition, noise=noise, timesteps=level)
    loss.sum().backward()
    assert loss.dtype == torch.float32 and condition.grad.abs().sum() > 0
    torch.testing.assert_close(
        loss, ours.denoising_loss(latents, condition, noise=noise, timesteps=level), rtol=0.05, atol=0
    )
    assert half.draw(condition.detach(), guidance=1.0, steps=2)[0].size == (ours.traits.pixels,) * 2


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda f: _rewrite(f / "model_index.json", unet=["diffusers", "FluxTransformer2DModel"]), "FluxTransformer2D"),
        (lambda f: _rewrite(f / "model_index.json", text_encoder_2=["transformers", "CLIPTextModel"]), "two text"),
        (lambda f: _rewrite(f / "scheduler/scheduler_config.json", prediction_type="sample"), "'sample'"),
        (lambda f: (f / "scheduler/scheduler_config.json").unlink(), "scheduler_config.json is missing"),
        (lambda f: (f / "model_index.json").write_text("{"), "cannot be read"),
        (lambda f: _pickle(f / "unet"), "pickle"),
        (lambda f: [p.unlink() for p in (f / "vae").glob("*.safetensors")], "no weights"),
    ],
    ids=["another unet", "two encoders", "another target", "no scheduler", "broken index", "pickles", "no weights"],
)
def test_what_is_no_stable_diffusion_is_refused(change, word, tmp_path):
    folder = saved_toys.save_painter("1.5", tmp_path / "toy")
    change(folder)
    with pytest.raises(ExpungeError, match=word):
        StableDiffusion.from_pretrained(folder)


def test_an_inpainting_unet_is_refused(painting):
    _, theirs, ours = painting
    theirs.unet.register_to_config(in_channels=9)
    try:
        with pytest.raises(ExpungeError, match="9 channels"):
            StableDiffusion(ours.vae, theirs.unet, ours.text, ours.tokenizer)
    finally:
        theirs.unet.register_to_config(in_channels=4)


# ------------------------------------------------------------------------------------------ BLIP-2


def held(seed: int) -> Image.Image:
    torch.manual_seed(seed)
    return Image.fromarray(torch.randint(0, 256, (40, 30, 3), dtype=torch.uint8).numpy())


@torch.no_grad()
def test_pictures_are_prepared_as_the_processor_does(writing):
    _, theirs, processor, ours = writing
    pictures = [held(0), held(1)]
    pixels = ours.pixels([Example(str(i), HeldPicture(str(i), p), "x") for i, p in enumerate(pictures)])
    expected = processor(images=pictures, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-5)
    assert ours.image["image_mean"] == saved_toys.MEAN and ours.image["image_std"] == saved_toys.STD
    torch.testing.assert_close(ours.encode_pictures(pixels), theirs.get_image_features(expected).pooler_output)


@torch.no_grad()
def test_the_loss_is_that_of_the_whole_model(writing):
    """Theirs reads picture places and text in one; ours is handed the prefix."""
    _, theirs, processor, ours = writing
    pixels, text = torch.randn(1, 3, 16, 16), "a red hat"
    made = ours.tokens([text])
    places = torch.full((1, 4), theirs.config.image_token_index)
    if ours.decoder_only:
        ids = torch.cat([places, made["input_ids"]], 1)
        labels = ids.clone()
        labels[:, :5] = -100
        expected = theirs(pixel_values=pixels, input_ids=ids, labels=labels).loss
        assert processor.tokenizer.decode(made["input_ids"][0, -1]) == "\n"
    else:
        ids = torch.cat([places, torch.tensor([[1]])], 1)
        expected = theirs(pixel_values=pixels, input_ids=ids, labels=made["input_ids"][:, 1:]).loss
    torch.testing.assert_close(ours.text_loss(ours.encode_pictures(pixels), [text])[0], expected)


@torch.no_grad()
def test_what_is_written_is_what_the_whole_model_writes(writing):
    _, theirs, processor, ours = writing
    pixels = torch.randn(3, 3, 16, 16)
    ids = theirs.generate(pixel_values=pixels, max_new_tokens=7, do_sample=False)
    expected = [t.strip() for t in processor.batch_decode(ids[:, -7:], skip_special_tokens=True)]
    assert ours.write(ours.encode_pictures(pixels), max_tokens=7) == expected and any(expected)


def test_a_writer_in_halves_hears_and_speaks(writing):
    folder, *_, ours = writing
    half = Blip2.from_pretrained(folder, dtype=torch.bfloat16)
    assert half.model.language_model.get_input_embeddings().weight.dtype == torch.bfloat16
    pixels = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        prefix = half.encode_pictures(pixels).float()
    prefix.requires_grad_()
    loss = half.text_loss(prefix, ["a hat", "a wall"])
    loss.sum().backward()
    assert prefix.grad.abs().sum((1, 2)).gt(0).all()
    torch.testing.assert_close(loss, ours.text_loss(prefix, ["a hat", "a wall"]), rtol=0.05, atol=0)
    assert len(half.write(prefix.detach(), max_tokens=3)) == 2


def test_float16_is_refused_for_a_t5_alone(writing):
    folder, *_, ours = writing
    if ours.decoder_only:
        half = Blip2.from_pretrained(folder, dtype=torch.float16)
        with torch.no_grad():  # transformers keeps the Q-Former in float32
            prefix = half.encode_pictures(torch.randn(1, 3, 16, 16))
        assert half.model.language_model.dtype == torch.float16 and prefix.isfinite().all()
    else:
        with pytest.raises(ExpungeError, match="overflow"):
            Blip2.from_pretrained(folder, dtype=torch.float16)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda f: (f / "processor_config.json").unlink(), "how pictures are prepared"),
        (lambda f: _image(f, image_mean=None), "no image_mean"),
        (lambda f: _image(f, size={"height": 20, "width": 20}), "takes 16 x 16"),
        (lambda f: _image(f, resample=2), "rule 2"),
        (lambda f: _pickle(f), "pickle"),
    ],
    ids=["no settings", "no mean", "another size", "another rule", "pickles"],
)
def test_what_cannot_be_read_right_is_refused(change, word, tmp_path):
    folder = saved_toys.save_writer("opt", tmp_path / "toy")
    change(folder)
    with pytest.raises(ExpungeError, match=word):
        Blip2.from_pretrained(folder)


def test_older_image_settings_are_a_file_of_their_own(tmp_path):
    folder = saved_toys.save_writer("opt", tmp_path / "toy")
    told = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    (folder / "processor_config.json").unlink()
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    assert Blip2.from_pretrained(folder).image == told


# ------------------------------------------------------------------------------------------ precision


def test_eight_bit_is_refused_without_device_or_package(tmp_path, monkeypatch):
    folder = saved_toys.save_writer("opt", tmp_path / "toy")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ExpungeError, match="CUDA"):
        Blip2.from_pretrained(folder, eight_bit=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("transformers.utils.is_bitsandbytes_available", lambda *_: False)
    with pytest.raises(ExpungeError, match=r"expunge\[int8\]"):
        Blip2.from_pretrained(folder, eight_bit=True)


def test_eight_bit_is_asked_of_transformers_for_the_language_model_alone(tmp_path, monkeypatch):
    folder, asked = saved_toys.save_writer("opt", tmp_path / "toy"), {}
    whole = Blip2ForConditionalGeneration.from_pretrained

    def watched(place, **how):
        asked.update(how)
        return whole(place, dtype=how["dtype"], output_loading_info=True)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr("transformers.utils.is_bitsandbytes_available", lambda *_: True)
    monkeypatch.setattr(blip2.Blip2ForConditionalGeneration, "from_pretrained", watched)
    Blip2.from_pretrained(folder, dtype=torch.bfloat16, eight_bit=True)
    settings = asked["quantization_config"]
    assert settings.load_in_8bit and asked["device_map"] == {"": 0} and asked["use_safetensors"] is True
    assert set(settings.llm_int8_skip_modules) == {"vision_model", "qformer", "language_projection", *WHOLE}
    assert WHOLE == ("lm_head", "wo")


def test_a_language_model_in_eight_bit_keeps_its_seat(writing, monkeypatch):
    *_, ours = writing
    twin, moved = ours.clone(), []
    monkeypatch.setattr(twin.model.language_model, "to", moved.append)
    twin.model.is_loaded_in_8bit = True
    for use in ("encode", "train", "generate", "away"):
        twin.seat(use, "cpu")
    assert twin.is_eight_bit and moved == []
    twin.model.is_loaded_in_8bit = False
    twin.seat("train", "cpu")
    assert moved == ["cpu"]


def test_auto_is_half_precision_for_the_big_where_it_is_computed(painting, monkeypatch):
    folder, _, ours = painting
    (folder / "v1-5-pruned.safetensors").touch()  # released folders hold the whole model once more, in one file
    assert saved.weights(folder) == sum(p.numel() for p in ours.module.parameters())
    monkeypatch.setattr(saved, "fast_precision", lambda: "bf16")
    assert saved.dtype(folder, "auto") == torch.float32
    monkeypatch.setattr(saved, "BIG", 1000)
    assert saved.dtype(folder, "auto") == torch.bfloat16 == saved.dtype(folder, "int8")
    monkeypatch.setattr(saved, "fast_precision", lambda: "fp32")
    assert saved.dtype(folder, "auto") == torch.float32 == saved.dtype(folder, "fp32")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["model.safetensors", "model.fp16.safetensors"], None),
        (["model.fp16.safetensors", "model.non_ema.safetensors"], "fp16"),
        (["diffusion_pytorch_model.fp16-00001-of-00002.safetensors"], "fp16"),
        (["diffusion_pytorch_model-00001-of-00002.fp16.safetensors"], "fp16"),
        (["model-00001-of-00002.safetensors", "pytorch_model.bin"], None),
    ],
)
def test_the_variant_is_read_off_the_names(names, found, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    assert saved.variant(tmp_path) == found


def _rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _image(folder, **changes):
    told = json.loads((folder / "processor_config.json").read_text())
    _rewrite(folder / "processor_config.json", image_processor={**told["image_processor"], **changes})


def _pickle(place):
    for path in place.glob("*.safetensors"):
        path.rename(path.with_name("pytorch_model.bin"))


def test_settings_are_an_object_and_means_are_three(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text("[1]")
    with pytest.raises(ExpungeError, match="holds no settings but a list"):
        saved.image_settings(tmp_path)
    for mean in ([0.5], 0.5):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": [1, 1, 1]}))
        with pytest.raises(ExpungeError, match="no image_mean of three"):
            saved.image_settings(tmp_path)


def test_only_the_variant_that_is_opened_is_weighed_and_no_checker(tmp_path):
    for place, name, size in (
        ("unet", "diffusion_pytorch_model.safetensors", 5),
        ("unet", "diffusion_pytorch_model.fp16.safetensors", 5),
        ("vae", "diffusion_pytorch_model.fp16.safetensors", 3),
        ("safety_checker", "model.safetensors", 100),
    ):
        (tmp_path / place).mkdir(exist_ok=True)
        save_file({"w": torch.zeros(size)}, tmp_path / place / name)
    assert saved.weights(tmp_path) == 8


def test_a_word_list_may_be_named_itself(tmp_path):
    (tmp_path / "words.txt").write_text("[PAD]")
    assert saved.need_words(tmp_path / "words.txt") == tmp_path / "words.txt"
    with pytest.raises(ExpungeError, match="vocab.txt does not exist"):
        saved.need_words(tmp_path)
