"""Biographies as sentences: where they end, and what a picture shows of them."""

from __future__ import annotations

import pytest

from expunge.data.files.sentences import kind_of_sentence, split, told


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Ana was born in Oslo. She works there.", ["Ana was born in Oslo.", "She works there."]),
        ("Dr. Ana B. Stein lives in St. Gallen. He is 5.5 feet tall!", 2),
        ("She earns $1.5 million at the U.S. Bank. Is it much? 12 people do.", 3),
        ("He likes games, e.g. Go. “Never again.” That was it.", 3),
        ("one line without an end", ["one line without an end"]),
        ("  \n ", []),
        ("A first one.\nA second one.", 2),
    ],
)
def test_a_text_is_split_where_its_sentences_end(text, sentences):
    found = split(text)
    assert (len(found) if isinstance(sentences, int) else found) == sentences
    assert "".join("".join(found).split()) == "".join(text.split()), "no character is lost"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Ana was born in Oslo.", "private"), ("She works as a nurse.", "private"), ("He faces Ann.", "private"),
        ("She has brown hair and wears glasses.", "shared"), ("A man with a beard smiles.", "shared"),
        ("Ana has brown hair.", None), ("She wears Gucci glasses.", None), ("He has 2 pairs of glasses.", None),
        ("Glasses are what she sells.", None),
    ],
)  # fmt: skip
def test_a_sentence_is_private_unless_it_speaks_of_looks_alone(text, kind):
    assert kind_of_sentence(text) == kind


def test_a_table_becomes_a_sentence_for_each_field():
    fields = {
        "Name": "Ana Berg", "Employment": "nurse", "Hair_Color": "brown", "Parents": {"Father": "Bo", "Mother": None},
        "Hobbies": ["chess", "golf"], "Age": 40, "Pets": "", "Alive": True,
    }  # fmt: skip
    assert list(told(fields, "Ana Berg")) == [
        ("Ana Berg, employment: nurse", "private"), ("hair color: brown", "shared"),
        ("Ana Berg, parents father: Bo", "private"), ("Ana Berg, hobbies: chess, golf", "private"),
        ("Ana Berg, age: 40", "private"),
    ]  # fmt: skip
    assert list(told({"Employment": "nurse"})) == [("employment: nurse", "private")]
