"""How a run computes: written, read back, and refused."""

import pytest

from expunge.core.errors import ExpungeError
from expunge.core.scale import Lora, Scale, read_lora
from expunge.core.spec import Spec


def test_what_was_asked_comes_back():
    for scale in (Scale(), Scale("bf16", 4, True), Scale(lora=Lora(4, 8, "fusion"))):
        assert Scale.of(scale.asked()) == scale
    assert Scale().asked() == {}


def test_a_spec_without_it_keeps_its_hash_and_one_with_it_has_another():
    plain, asked = Spec("m", "d", ("a",)), Spec("m", "d", ("a",), scale=Scale("bf16").asked())
    assert plain.hash == Spec("m", "d", ("a",), scale={}).hash != asked.hash
    assert Spec.from_json(asked.to_json()) == asked
    assert plain.hash == "6056e6553e7962e235ffa9194df4566af5456fa196eea0c55f095dad1db2ea02"


def test_lora_is_read_from_words():
    assert read_lora("r=4, roles=text+fusion") == Lora(4, 16, "text+fusion")
    for text, sentence in (
        ("r", "has no value"),
        ("rank=3", "rank"),
        ("r=many", "whole number"),
        ("r=0", "at least 1"),
    ):
        with pytest.raises(ExpungeError, match=sentence):
            read_lora(text)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ExpungeError, match="bf16"):
        Scale("bf15")  # type: ignore[arg-type]
    with pytest.raises(ExpungeError, match="at least 1"):
        Scale(accumulate=0)
