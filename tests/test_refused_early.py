"""What is bound to fail is said before a model is read, by a run and by a dry run alike."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from expunge import api
from expunge.core.errors import ExpungeError, UnknownName
from expunge.testing import small_albef
from expunge.zoo import shelf


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Own pairs of eight people and a small model of one's own; nothing may be opened."""
    place = tmp_path_factory.mktemp("early")
    lines = []
    for i in range(8):
        Image.new("RGB", (16, 16), (30 * i, 0, 90)).save(place / f"{i}.png")
        lines.append({"id": f"e{i}", "image": f"{i}.png", "text": f"this is number {i}", "group": f"g{i}"})
    (place / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    small_albef().save_pretrained(place / "own")
    (place / "junk.pth").write_bytes(b"no weights")
    (place / "empty").mkdir()
    return place


@pytest.fixture(autouse=True)
def unopened(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a model was read")

    monkeypatch.setattr(shelf, "load", refuse)


@pytest.mark.parametrize("call", [api.forget, api.foresee])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"against": "retrain"}, "--pretrained"),
        ({"method": "retrain"}, "--pretrained"),
        ({"against": "retrain", "pretrained": "./nosuch"}, "there is no file or folder .*nosuch"),
        ({"against": "./nosuch"}, "nosuch"),
        ({"method": "rmu"}, "needs a model that has Generates.*Methods that run on it: .*gradient_ascent"),
        ({"model": "blip2-tiny"}, "is a generator"),
        ({"model": "llava-tiny", "method": "npo"}, "serves multiple_choice, entailment, answering, not retrieval"),
        ({"model": "{place}/empty"}, "holds no model"),
        ({"model": "{place}/junk.pth"}, "vocab.txt does not exist"),
        ({"model": "{place}/jink.pth"}, "there is no file or folder .*jink.pth. Did you mean .*junk.pth"),
        ({"model": "models/ALBEF.pth"}, "there is no file or folder .*models/ALBEF.pth"),
    ],
)
def test_it_is_said_before_a_model_is_read(place, call, words, sentence):
    asked = {"model": str(place / "own"), "method": "gradient_ascent"} | words
    asked["model"] = asked["model"].format(place=place)
    with pytest.raises(ExpungeError, match=f"(?s){sentence}"):
        call(data=str(place / "own.jsonl"), forget=["g1"], **asked)


def test_a_misspelt_name_is_still_answered_with_the_zoo(place):
    with pytest.raises(UnknownName, match="Did you mean 'albef-tiny'"):
        shelf.locate("albef-tinny")


def test_every_model_of_the_zoo_says_what_opens_it():
    found = {name: shelf.backbone_of(name) for name in shelf.names()}
    assert found["albef-tiny"] == "albef" and found["blip2-tiny"] == "blip2" and found["llava-tiny"] == "mllm"
    assert found["sd-tiny"] == "stable_diffusion" and found["blip-tiny"] == "blip"
