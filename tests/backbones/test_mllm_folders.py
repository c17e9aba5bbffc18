"""Chat models: what is asked of an example, and folders that say less than those of today or lack something."""

import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from expunge.backbones.mllm import FAMILIES, Mllm
from expunge.backbones.mllm.model import picture_size
from expunge.backbones.mllm.processors import VIDEO_FILE
from expunge.backbones.mllm.prompts import Prompter
from expunge.backbones.mllm.turns import Turn, conversations, turn_of
from expunge.core.errors import ExpungeError
from expunge.core.pictures import NO_PICTURE, HeldPicture
from expunge.core.types import DESCRIBE, LABELS, Example
from expunge.testing import small_mllm

RED = HeldPicture("red", Image.new("RGB", (32, 32), "red"))
TEXTS = ["what is the job of this person", "a nurse in a town", "what is in the picture"]
EXAMPLES = [Example(str(i), RED, TEXTS[1], group=g) for i, g in enumerate(("p", "q", "p", None))]


@pytest.fixture(scope="module")
def llava() -> Mllm:
    return small_mllm("llava", TEXTS)


def test_what_is_asked_follows_from_the_example():
    asked = Example("1", RED, "told beside", question="who", choices=("a", "b"), answer="b", label="entailment")
    assert turn_of(asked) == Turn("who", "b", ("a", "b"), RED)
    assert turn_of(Example("2", NO_PICTURE, "a cat")) == Turn(DESCRIBE, "a cat", (), None)
    judged = [turn_of(Example("3", RED, "a cat", label=label)) for label in LABELS]
    assert [t.answer for t in judged] == ["no", "maybe", "yes"]
    assert {t.question for t in judged} == {"a cat . is that so"} and {t.choices for t in judged} == {
        ("no", "maybe", "yes")
    }
    (talk,) = conversations([turn_of(asked)], answered=True)
    assert [c["type"] for c in talk[0]["content"]] == ["image", "text"]  # the picture is shown before the question
    assert [m["role"] for m in talk] == ["user", "assistant"]


def test_the_tokenizers_begin_is_not_written_twice():
    told = SimpleNamespace(tokenizer=SimpleNamespace(bos_token="<s>", eos_token="</s>"))
    prompter = Prompter(told, FAMILIES["llava"], 32)
    assert prompter._begins(["USER: hi"]) and not prompter._begins(["<s>USER: hi"])
    told.tokenizer.bos_token = None
    assert prompter._begins(["USER: hi"]) and prompter.end == "</s>"
    assert Prompter(told, FAMILIES["qwen2_vl"], 32).end == "<|im_end|>"


def test_writing_stops_at_the_end_of_a_turn_and_of_the_text():
    prompter = small_mllm("qwen2_vl", TEXTS).prompter
    ends = prompter.tokenizer.convert_tokens_to_ids(["<|im_end|>", prompter.tokenizer.eos_token])
    assert prompter.end_ids == sorted(set(ends))


def test_people_are_numbered_as_groups(llava):
    assert llava.collate(EXAMPLES)["groups"].tolist() == [0, 1, 0, 2]


def test_writing_leaves_training_as_it_was_even_when_it_fails(llava, monkeypatch):
    twin, seen = llava.clone(), []

    def fails(**given):
        seen.append(twin.module.training)
        raise RuntimeError("no room")

    own = twin.module.generation_config
    monkeypatch.setattr(twin.module, "generate", fails)
    for training in (True, False):
        twin.module.train(training)
        with pytest.raises(RuntimeError, match="no room"):
            twin.write(EXAMPLES[:1])
        assert twin.module.training is training and twin.module.generation_config is own
    assert seen == [False, False]


@pytest.mark.parametrize(("most", "pixels"), [(28 * 28 * 1280, 448), (300 * 300, 280), (20 * 20, 28)])
def test_pictures_of_any_size_are_opened_by_whole_steps(most, pixels):
    """``longest_edge`` is an area; a step is a patch of patches."""
    image = SimpleNamespace(patch_size=14, merge_size=2, size={"longest_edge": most})
    config = SimpleNamespace(vision_config=SimpleNamespace())
    assert picture_size(config, SimpleNamespace(image_processor=image)) == pixels
    assert picture_size(SimpleNamespace(vision_config=SimpleNamespace(image_size=336)), None) == 336


# ------------------------------------------------------------------------------------------ folders


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_a_folder_that_lacks_weights_is_refused(family, tmp_path):
    model = small_mllm(family, TEXTS)
    model.save_pretrained(tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in held if "mlp" in name)
    save_file({k: v for k, v in held.items() if k != gone}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ExpungeError, match="lacks 1 of the weights"):
        Mllm.from_pretrained(tmp_path)


def test_a_head_that_is_tied_lacks_nothing(tmp_path):
    model = small_mllm("qwen2_vl", TEXTS)
    for config in (model.module.config, model.module.config.get_text_config()):
        config.tie_word_embeddings = True
    model.module.tie_weights()
    model.save_pretrained(tmp_path)
    assert not any("lm_head" in name for name in load_file(tmp_path / "model.safetensors"))
    back = Mllm.from_pretrained(tmp_path)
    assert back.module.get_output_embeddings().weight is back.module.get_input_embeddings().weight
    with torch.no_grad():
        assert torch.equal(back.loss(back.collate(EXAMPLES)), model.loss(model.collate(EXAMPLES)))


def test_a_template_in_the_older_file_counts(llava, tmp_path):
    llava.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    loud = FAMILIES["llava"].turns.replace("ASSISTANT", "ANSWER")
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": loud}))
    assert Mllm.from_pretrained(tmp_path).processor.chat_template == loud


def test_the_class_of_a_processor_may_stand_beside_the_pictures_settings(llava, tmp_path):
    llava.save_pretrained(tmp_path)
    told = json.loads((tmp_path / "processor_config.json").read_text())
    image = told.pop("image_processor")
    del told["processor_class"]
    (tmp_path / "processor_config.json").write_text(json.dumps(told))
    for name in ("LlavaProcessor", "PoetProcessor"):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps({**image, "processor_class": name}))
        if name == "LlavaProcessor":
            assert type(Mllm.from_pretrained(tmp_path).processor).__name__ == name
    with pytest.raises(ExpungeError, match="'PoetProcessor', which transformers does not have"):
        Mllm.from_pretrained(tmp_path)


def test_without_a_padding_of_its_own_the_end_pads(llava, tmp_path):
    llava.save_pretrained(tmp_path)
    told = json.loads((tmp_path / "tokenizer_config.json").read_text())
    told["pad_token"] = None
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told))
    back = Mllm.from_pretrained(tmp_path)
    assert back.prompter.tokenizer.pad_token == back.prompter.tokenizer.eos_token
    assert back.loss(back.collate([*EXAMPLES, Example("5", NO_PICTURE, "a town")])).isfinite().all()


def test_video_settings_within_the_processors_are_kept(tmp_path):
    small_mllm("qwen2_vl", TEXTS).save_pretrained(tmp_path / "one")
    path = tmp_path / "one" / "processor_config.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "video_processor": {"max_frames": 7}}))
    Mllm.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two")
    assert json.loads((tmp_path / "two" / VIDEO_FILE).read_text()) == {"max_frames": 7}
