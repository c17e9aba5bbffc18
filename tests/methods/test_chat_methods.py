"""Methods on chat models: the forgotten is lost and more than the rest, and what comes out is a plain model."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

import saved_toys
from chatting import SPLITS, TEXTS, acquainted, nats, seen, stranger, words
from expunge.backbones.mllm import Mllm
from expunge.backbones.mllm.turns import turn_of
from expunge.core import plugins
from expunge.core.options import options as read_options
from expunge.core.run import Run

METHODS = [e.name for e in plugins.entries("methods") if e.needs in ("Backbone", "Generates")]
FORGET = {
    "gradient_ascent": ("epochs=5",),
    "ga_diff": ("epochs=10",),
    "npo": ("epochs=10",),
    "kl_min": ("epochs=10",),
    "po": ("epochs=20",),
    "undial": ("epochs=20",),
    "rmu": ("epochs=20", "lr=1e-2", "depth=1", "alpha=10", "trained=all"),
    "mmunlearner": ("epochs=20",),
    "salun": ("epochs=20",),
    "task_arithmetic": ("epochs=10", "scale=1"),
    "negmerge": ("epochs=20", "rates=[3e-3, 1e-3]"),
    "retrain": ("epochs=100", "lr=1e-2", "batch=12"),
}
EDITS = {"ssd": ("alpha=3.5", "batch=1")}
UNMOVED = {"nothing", "finetune", "manu"}
"""Nothing must not forget and finetune hardly does; this small model says what it says without the feed-forward blocks
that manu prunes (tests/methods/test_neurons.py has what it chooses)."""
SHORT = {
    "ssd": ("alpha=1.5", "batch=1"),
    "manu": ("share=0.2",),
    "rmu": ("least_steps=1", "epochs=1", "depth=1"),
    "negmerge": ("least_steps=1", "epochs=1", "rates=[1e-3, 2e-3]"),
    "retrain": ("epochs=1",),
    "finetune": ("epochs=1",),
    "nothing": (),
}


def unlearned(name, model, options, start=None):
    """``start`` is the folder of what a method retrains from; a random LLaVA where it is None."""
    method = read_options(plugins.load_method(name), options)
    lend = stranger if start is None else lambda: Mllm.from_pretrained(start)
    return method.unlearn(model, SPLITS, Run(seed=0, lend=lambda _: lend()))


@pytest.fixture(scope="module")
def forgotten():
    """What a method with the options above leaves, made once."""
    made = {}

    def give(name):
        if name not in made:
            told = FORGET.get(name, EDITS.get(name, ()))
            steps = ("least_steps=0", "batch=4", "lr=3e-3") if name in FORGET else ()
            fields = vars(read_options(plugins.load_method(name), ()))
            options = {o.partition("=")[0]: o for o in (*steps, *told)}
            options = tuple(o for field, o in options.items() if field in fields)
            made[name] = unlearned(name, acquainted(), options)
        return made[name]

    return give


@pytest.mark.parametrize("name", METHODS)
def test_what_is_forgotten_is_lost_and_more_than_what_is_kept(name, forgotten):
    """Every method that is not listed must look like not forgetting, so that a new one cannot slip through."""
    before, after = acquainted(), forgotten(name)
    lost, spent = (nats(after, seen(x)) - nats(before, seen(x)) for x in (SPLITS.forget, SPLITS.retain))
    if name in FORGET or name in EDITS:
        assert lost > 1.0 and lost > 2 * spent
    else:
        assert abs(lost) < 0.1 and abs(spent) < 0.1


def test_mmunlearner_keeps_what_is_said_of_the_forgotten(forgotten):
    """Its point: gradient difference loses words and pictures alike, MMUnlearner the pictures."""
    ours, theirs = forgotten("mmunlearner"), forgotten("ga_diff")
    assert nats(ours, seen(SPLITS.forget)) > 2 * nats(ours, words(SPLITS.forget))
    assert nats(ours, words(SPLITS.forget)) < 0.5 * nats(theirs, words(SPLITS.forget))


def test_after_po_it_is_likelier_that_the_model_does_not_know(forgotten):
    idk = [replace(e, answer="I do not know.") for e in seen(SPLITS.forget)]
    after = forgotten("po")
    assert nats(after, idk) < 0.7 * nats(acquainted(), idk)  # one of several sentences that it learned
    assert nats(after, idk) < nats(after, [replace(e, answer="I do not know.") for e in seen(SPLITS.retain)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Random models of the families in folders that transformers wrote: none of our code has touched them."""
    place = tmp_path_factory.mktemp("chat")
    return {family: save(place / family, TEXTS) for family, save in saved_toys.CHAT.items()}


def logits(model, batch):
    with torch.no_grad():
        return model(**{k: v for k, v in batch.items() if k not in ("labels", "groups")}).logits


def opened(folder):
    """The model as plain transformers opens it."""
    return AutoModelForImageTextToText.from_pretrained(folder).eval()


def asked_plainly(folder, e):
    """A question about a picture as plain transformers reads it, by what lies in the folder."""
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": e.question}]}]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    if AutoConfig.from_pretrained(folder).model_type == "llava":
        return AutoProcessor.from_pretrained(folder)(text=text, images=e.image.open(16), return_tensors="pt")
    # Without torchvision there is no processor for Qwen2-VL: its parts, and a mark for each merged patch.
    seen = AutoImageProcessor.from_pretrained(folder, backend="pil")(e.image.open(32), return_tensors="pt")
    mark = "<|image_pad|>"
    patches = int(seen["image_grid_thw"].prod()) // 4
    read = tokenizer(text.replace(mark, mark * patches), return_tensors="pt")
    marked = read["input_ids"] == tokenizer.convert_tokens_to_ids(mark)
    return {**read, **seen, "mm_token_type_ids": marked.long()}


@pytest.mark.parametrize("family", sorted(saved_toys.CHAT))
def test_what_transformers_wrote_is_read_as_transformers_reads_it_before_and_after(family, folders, tmp_path):
    model = Mllm.from_pretrained(folders[family])
    after = unlearned("gradient_ascent", model.clone(), ("least_steps=1", "epochs=1"), folders[family])
    after.module.eval()
    after.save_pretrained(tmp_path / "after")
    told = {}
    for ours, folder in ((model, folders[family]), (after, tmp_path / "after")):
        for e in seen(SPLITS.forget):
            theirs, batch = asked_plainly(folder, e), ours.prompter.asking([turn_of(e)])
            assert batch.keys() == theirs.keys() and all(torch.equal(batch[k], theirs[k]) for k in batch)
            told[ours, e.id] = logits(opened(folder), theirs)
            assert torch.equal(told[ours, e.id], logits(ours.module, batch))
    assert not any(torch.equal(told[model, e.id], told[after, e.id]) for e in seen(SPLITS.forget))


@pytest.mark.parametrize("family", sorted(saved_toys.CHAT))
@pytest.mark.parametrize("name", METHODS)
def test_what_comes_out_opens_in_plain_transformers_with_the_same_logits(name, family, folders, tmp_path):
    model, options = Mllm.from_pretrained(folders[family]), SHORT.get(name, ("least_steps=1", "epochs=1"))
    after = unlearned(name, model, options, folders[family])
    after.module.eval()
    after.save_pretrained(tmp_path / "after")
    batch = after.collate(SPLITS.forget + SPLITS.retain)
    plain, told = opened(tmp_path / "after"), logits(after.module, batch)
    assert torch.equal(logits(plain, batch), told)
    again = Mllm.from_pretrained(tmp_path / "after")
    with torch.no_grad():
        said = [m.spoken(m.collate(SPLITS.forget)).logits for m in (again, after)]
    assert torch.equal(*said)
    moved = not torch.equal(logits(opened(folders[family]), batch), told)
    assert type(plain) is type(after.module) and moved == (name != "nothing")


def test_all_of_them_are_seen():
    assert {*FORGET, *EDITS} == set(METHODS) - UNMOVED and UNMOVED < set(METHODS) and len(METHODS) >= 16
