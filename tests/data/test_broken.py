"""A corpus of broken inputs, one flaw each: every one is named by file and item, and the totals balance.

Broken lines of a user's own JSONL are in test_jsonl.py, broken requests in test_matching.py; here are the published
layouts, the pictures in them, and a few of each of those two through the command line.
"""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.data import test_jsonl
from tests.requests import test_matching

import published
from albums import png_header
from expunge import cli
from expunge.core import plugins
from expunge.core.errors import DataError
from expunge.data import jsonl
from expunge.data.files.reading import Reading, joined
from expunge.requests.matching import match

TRAIN, VAL = "flickr30k_train.json", "flickr30k_val.json"
SHARD = "Full_Set/train-00000-of-00001.parquet"


class Case(NamedTuple):
    """``spoil`` breaks a sound folder of ``data``; the one complaint stands at ``where`` and says ``found``."""

    data: str
    spoil: Callable[[Path], Any]
    where: str
    found: str
    options: dict[str, Any] = {}


def item(file: str, number: int, **changes: Any) -> Callable[[Path], None]:
    """Change the item of that number, counted from 1; ``...`` removes a key."""

    def spoil(folder: Path) -> None:
        items = json.loads((folder / file).read_text(encoding="utf-8"))
        changed = {k: v for k, v in (items[number - 1] | changes).items() if v is not ...}
        items[number - 1] = changed
        published.dump(folder / file, items)

    return spoil


def text(file: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(change((folder / file).read_bytes()))


def instead(file: str, number: int, value: str) -> Callable[[Path], None]:
    """Put this text in the place of a whole item."""

    def spoil(folder: Path) -> None:
        items = [json.dumps(one) for one in json.loads((folder / file).read_text())]
        items[number - 1] = value
        (folder / file).write_text("[" + ",\n".join(items) + "]")

    return spoil


def picture(number: int, data: bytes | None, name: str = "spoilt.jpg") -> Callable[[Path], None]:
    """Let an item of the training file name a picture that holds these bytes."""

    def spoil(folder: Path) -> None:
        if data is not None:
            (folder / "flickr30k-images" / name).write_bytes(data)
        item(TRAIN, number, image=f"flickr30k-images/{name}", image_id=99)(folder)

    return spoil


def row(number: int, file: str = SHARD, **changes: Any) -> Callable[[Path], None]:
    """Change a row of the people, counted from 1; ``...`` removes a key."""

    def spoil(folder: Path) -> None:
        rows = [published.person(n) for n in range(8)]
        rows[number - 1] = {k: v for k, v in (rows[number - 1] | changes).items() if v is not ...}
        published.write_rows(folder / file, rows, row_group_size=3)

    return spoil


def asked(**changes: Any) -> dict[str, Any]:
    question = published.person(1)["Classification_Task"]["Image_Textual_Questions"][0]
    return {"Image_Textual_Questions": [question | changes], "Pure_Text_Questions": []}


def linked(folder: Path) -> None:
    (folder / "flickr30k-images" / "out.jpg").symlink_to("/etc/hostname")
    item(TRAIN, 3, image="flickr30k-images/out.jpg", image_id=99)(folder)


def twins(first: str, second: str) -> Callable[[Path], None]:
    """Two pictures that a request would call alike."""

    def spoil(folder: Path) -> None:
        for number, name in ((1, first), (3, second)):
            published.paint(folder / name, number)
            item(TRAIN, number, image=name, image_id=100 + number)(folder)

    return spoil


def annotated(key: str, number: int, **changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "annotations" / "captions_train2014.json"
        told = json.loads(path.read_text())
        one = {k: v for k, v in (told[key][number - 1] | changes).items() if v is not ...}
        told[key][number - 1] = one
        published.dump(path, told)

    return spoil


def corrupted(folder: Path) -> None:
    """The second group of rows is overwritten; the list of groups at the end is whole."""
    import pyarrow.parquet

    path = folder / SHARD
    column = pyarrow.parquet.read_metadata(path).row_group(1).column(0)
    start, size = column.dictionary_page_offset or column.data_page_offset, column.total_compressed_size
    data = bytearray(path.read_bytes())
    data[start : start + size] = b"\xff" * size
    path.write_bytes(data)


def gone(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).rename(folder / f"{name}.bak")


F, Q, S, M = "flickr30k", "vqa", "snli_ve", "mllmu"
MC = {"task": "multiple_choice"}
CAPTIONS = "annotations/captions_train2014.json"
NFD = unicodedata.normalize("NFD", "zoë")

CASES: dict[str, Case] = {
    # ---- items of a list
    "a white caption": Case(F, item(TRAIN, 3, caption=" "), f"{TRAIN}: item 3", "'caption' is only white space"),
    "a caption that is a number": Case(F, item(TRAIN, 3, caption=7), f"{TRAIN}: item 3", "is a number, not a string"),
    "no caption": Case(F, item(TRAIN, 3, caption=...), f"{TRAIN}: item 3", "the key 'caption' is missing"),
    "a caption without words": Case(F, item(TRAIN, 3, caption="?!"), f"{TRAIN}: item 3", "holds no words ('?!')"),
    "half a surrogate": Case(F, instead(TRAIN, 3, '{"image": "flickr30k-images/1001.jpg", "caption": "\\ud800"}'),
                             f"{TRAIN}: item 3", "half of a surrogate pair"),
    "a NUL": Case(F, item(TRAIN, 3, caption="a\x00b"), f"{TRAIN}: item 3", "holds a NUL character"),
    "an empty list of captions": Case(F, item(VAL, 2, caption=[]), f"{VAL}: item 2", "'caption' is an empty list"),
    "one bad caption": Case(F, item(VAL, 2, caption=["a cat", None]), f"{VAL}: item 2", "caption 2 of 2 is null"),
    "an unknown key": Case(F, item(TRAIN, 3, captoin="x"), f"{TRAIN}: item 3", "unknown key 'captoin'"),
    "a duplicate key": Case(F, instead(TRAIN, 3, '{"image": "a", "image": "b"}'), f"{TRAIN}: item 3", "occurs twice"),
    "NaN": Case(F, instead(TRAIN, 3, '{"image_id": NaN}'), f"{TRAIN}: item 3", "NaN is not a JSON value"),
    "an id with a fraction": Case(F, item(TRAIN, 3, image_id=1.5), f"{TRAIN}: item 3", "is 1.5, no whole number"),
    "an id that is true": Case(F, item(TRAIN, 3, image_id=True), f"{TRAIN}: item 3", "is true or false"),
    "an id of two pictures": Case(F, item(TRAIN, 3, image_id=0), f"{TRAIN}: item 3", "the image_id 0 is that of"),
    "an item that is a list": Case(F, instead(TRAIN, 3, "[1]"), f"{TRAIN}: item 3", "is a list, not an object"),
    "an item that is null": Case(F, instead(TRAIN, 3, "null"), f"{TRAIN}: item 3", "is null, not an object"),
    # ---- pictures
    "no image": Case(F, item(TRAIN, 3, image=...), f"{TRAIN}: item 3", "the key 'image' is missing"),
    "an image that is a number": Case(F, item(TRAIN, 3, image=1, image_id=9), f"{TRAIN}: item 3", "is a number, not"),
    "an absolute path": Case(F, item(TRAIN, 3, image="/tmp/a.jpg", image_id=9), f"{TRAIN}: item 3", "absolute path"),
    "a way out": Case(F, item(TRAIN, 3, image="../a.jpg", image_id=9), f"{TRAIN}: item 3", "climbs out of its folder"),
    "a link that leads out": Case(F, linked, f"{TRAIN}: item 3", "is a link that leads out"),
    "a missing picture": Case(F, picture(3, None, "101.jpg"), f"{TRAIN}: item 3", "does not exist"),
    "a cut picture": Case(F, picture(3, published.encoded(5, "JPEG")[:300]), f"{TRAIN}: item 3", "cannot be decoded"),
    "an empty picture": Case(F, picture(3, b""), f"{TRAIN}: item 3", "is an empty file"),
    "a web page": Case(F, picture(3, b"<html>404"), f"{TRAIN}: item 3", "a web page or XML"),
    "an absurd picture": Case(F, picture(3, png_header(60_000, 60_000)), f"{TRAIN}: item 3", "absurdly large"),
    "a text file": Case(F, picture(3, b"hello"), f"{TRAIN}: item 3", "something else, no picture in PNG"),
    "two pictures of one name": Case(F, twins("a/7.jpg", "b/7.jpg"), f"{TRAIN}: item 3", "is called '7', as 'a/7.jpg'"),
    "two spellings of one name": Case(F, twins("a/zoë.jpg", f"a/{NFD}.jpg"), f"{TRAIN}: item 3", "is called 'zoë'"),
    # ---- the file itself
    "broken syntax": Case(F, text(TRAIN, lambda b: b.replace(b'"image_id": 1}', b'"image_id": }', 1)),
                          f"{TRAIN}: item 3", "is not valid JSON (Expecting value) at line 1, column"),
    "a file cut short": Case(F, text(TRAIN, lambda b: b[: len(b) // 2]), f"{TRAIN}: ", "is not valid JSON"),
    "a list without an end": Case(F, text(TRAIN, lambda b: b[:-1]), f"{TRAIN}: after item 12", "neither a comma nor"),
    "something after the end": Case(F, text(TRAIN, lambda b: b + b"[]"), TRAIN, "goes on after its end"),
    "UTF-16": Case(F, text(TRAIN, lambda b: b.decode().encode("utf-16")), f"{TRAIN}:1", "is UTF-16 or UTF-32"),
    "a byte order mark": Case(F, text(TRAIN, lambda b: b"\xef\xbb\xbf" + b), f"{TRAIN}:1:1", "a byte order mark"),
    "invalid UTF-8": Case(F, text(TRAIN, lambda b: b.replace(b"number 1001", b"number \xff", 1)),
                          f"{TRAIN}: item 3", "byte 0xff at byte"),
    "an empty file": Case(F, text(TRAIN, lambda b: b""), TRAIN, "holds nothing"),
    "an object": Case(F, text(TRAIN, lambda b: b'{"a": 1}'), TRAIN, "is no list of items"),
    "an empty list": Case(F, text(TRAIN, lambda b: b"[]"), TRAIN, "holds no item at all"),
    "no training file": Case(F, gone(TRAIN), TRAIN, "does not exist"),
    "no folder": Case(F, shutil.rmtree, "", "there is no such folder"),
    "no folder of pictures": Case(F, lambda folder: None, "/nowhere", "is no such folder", {"images": "/nowhere"}),
    # ---- COCO's own annotations
    "an image without a file": Case("coco", annotated("images", 2, file_name=...), f"{CAPTIONS}: images: item 2",
                                    "the key 'file_name' is missing"),
    "a caption of no image": Case("coco", annotated("annotations", 5, image_id=77), f"{CAPTIONS}: annotations: item 5",
                                  "there is no image with the id 77"),
    "a caption's id twice": Case("coco", annotated("annotations", 5, id=10), f"{CAPTIONS}: annotations: item 5",
                                 "was already used at"),
    "no list of captions": Case("coco", text(CAPTIONS, lambda b: b.replace(b'"annotations"', b'"captions"')), CAPTIONS,
                                "the key 'annotations' is missing"),
    # ---- questions and statements
    "a question's id twice": Case(Q, item("vqa_train.json", 2, question_id=1000), "vqa_train.json: item 2",
                                  "the question_id '1000' was already used at"),
    "a question's id that is null": Case(Q, item("vqa_train.json", 2, question_id=None), "vqa_train.json: item 2",
                                         "'question_id' is null"),
    "no answers": Case(Q, item("vqa_train.json", 2, answer=...), "vqa_train.json: item 2", "'answer' is missing"),
    "an empty list of answers": Case(Q, item("vqa_train.json", 2, answer=[]), "vqa_train.json: item 2", "is empty"),
    "an answer that is a number": Case(Q, item("vqa_train.json", 2, answer=["cat", 2]), "vqa_train.json: item 2",
                                       "answer 2 is a number"),
    "another data set": Case(Q, item("vqa_train.json", 2, dataset="gqa"), "vqa_train.json: item 2", "is 'gqa'"),
    "an answer that is no text": Case(Q, text("answer_list.json", lambda b: b.replace(b'"cat"', b"7")),
                                      "answer_list.json: item 7", "the answer is a number"),
    "an unknown label": Case(S, item("ve_train.json", 4, label="entails"), "ve_train.json: item 4",
                             "the label 'entails' is none of entailment's. Did you mean 'entailment'?"),
    "a label that is a number": Case(S, item("ve_train.json", 4, label=2), "ve_train.json: item 4", "the label 2 is"),
    "an image with its ending": Case(S, item("ve_train.json", 4, image="3001.jpg"), "ve_train.json: item 4",
                                     "the image '3001.jpg' has an ending"),
    "no sentence": Case(S, item("ve_train.json", 4, sentence=...), "ve_train.json: item 4", "'sentence' is missing"),
    "a question's id with a space": Case(Q, item("vqa_train.json", 2, question_id="12 "), "vqa_train.json: item 2",
                                         "'question_id' has white space at its ends ('12 ')"),
    "a picture's name with a space": Case(F, twins("a/7.jpg", "b/x .jpg"), f"{TRAIN}: item 3",
                                          "the name of the picture 'b/x .jpg' has white space at its ends"),
    # ---- parquet
    "no parquet": Case(M, text(SHARD, lambda b: b"hello" * 10), SHARD, "is no usable parquet file"),
    "a parquet file cut short": Case(M, text(SHARD, lambda b: b[: len(b) // 2]), SHARD, "is no usable parquet file"),
    "rows overwritten": Case(M, corrupted, SHARD, "cannot be read ("),
    "no such configuration": Case(M, gone("Full_Set"), "Full_Set", "there are no parquet files"),
    "an ID that is null": Case(M, row(4, ID=None), f"{SHARD}: row 4", "'ID' is null"),
    "an ID with a space": Case(M, row(4, ID="7 "), f"{SHARD}: row 4", "'ID' has white space at its ends"),
    "an ID twice": Case(M, row(4, ID="001"), f"{SHARD}: row 4", "the ID '001' was already used at"),
    "an unknown column": Case(M, row(1, biografy="x"), f"{SHARD}: row 1", "unknown key 'biografy'"),
    "a biography cut short": Case(M, row(4, biography='{"Name": "Al'), f"{SHARD}: row 4", "is not valid JSON"),
    "a field twice": Case(M, row(4, biography='{"Name": "A", "Name": "B"}'), f"{SHARD}: row 4", "'Name' occurs twice"),
    "nothing told": Case(M, row(4, biography=None, answer=None), f"{SHARD}: row 4", "neither 'biography' nor 'answer'"),
    "no portrait": Case(M, row(4, image=None), f"{SHARD}: row 4", "there is no 'image'"),
    "a portrait without bytes": Case(M, row(4, image={"bytes": None, "path": None}), f"{SHARD}: row 4", "neither"),
    "a portrait cut short": Case(M, row(4, image={"bytes": published.encoded(1)[:70], "path": None}), f"{SHARD}: row 4",
                                 "'image': the picture cannot be decoded"),
    "a portrait outside": Case(M, row(4, image={"bytes": None, "path": "../a.png"}), f"{SHARD}: row 4", "climbs out"),
    "no such letter": Case(M, row(2, Classification_Task=asked(Correct_Answer="E")), f"{SHARD}: row 2",
                           "Image_Textual_Questions 1: 'Correct_Answer' is 'E', none of A, B, C, D", MC),
    "two equal options": Case(M, row(2, Classification_Task=asked(Options=dict.fromkeys("ABCD", "pilot"))),
                              f"{SHARD}: row 2", "two options are the same", MC),
    "no question at all": Case(M, row(2, Classification_Task=None), f"{SHARD}: row 2", "holds no question", MC),
    "a blank question": Case(M, row(2, Classification_Task=asked(Question=" ")), f"{SHARD}: row 2", "only white", MC),
}  # fmt: skip
FOLLOWED = {"an unknown column", "an image without a file"}
"""Flaws with consequences: a column stands in every row, and captions of an unsound image have none."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """One sound folder of every data set."""
    place = tmp_path_factory.mktemp("sound")
    for name in (F, Q, S, M):
        published.ALL[name](place / name)
    published.coco_annotations(place / "coco")
    return place


def test_there_are_enough_broken_inputs():
    """Each fault once: over 40 here, and as many again in lines and requests."""
    assert len(CASES) >= 70 and len({c.found for c in CASES.values()}) > 55
    assert len(CASES) + len(test_jsonl.BROKEN) + len(test_matching.UNKNOWN) > 140
    assert {c.data for c in CASES.values()} == {F, Q, S, M, "coco"}


@pytest.mark.parametrize("data", [F, Q, S, M, "coco"])
def test_what_they_are_broken_from_is_sound(sound, data):
    reading = plugins.read_data(data, folder=sound / data)
    assert reading.problems == () and reading.rejected == 0 and reading.items == reading.accepted > 10


@pytest.mark.parametrize("name", CASES)
def test_a_broken_input_is_named_and_the_totals_balance(sound, tmp_path, name):
    case = CASES[name]
    folder = tmp_path / case.data
    shutil.copytree(sound / case.data, folder)
    case.spoil(folder)
    reading: Reading = plugins.read_data(case.data, folder=folder, **case.options)
    assert reading.problems, "nothing was said"
    place = case.where if case.where.startswith("/") else str(folder / case.where) if case.where else str(folder)
    for problem in reading.problems if name not in FOLLOWED else reading.problems[:1]:
        assert problem.where.startswith(place) and problem.remedy, str(problem)
    assert case.found in "\n".join(map(str, reading.problems)), "\n".join(map(str, reading.problems))
    assert reading.accepted + reading.rejected == reading.items
    if "item" in case.where and "after" not in case.where or "row 4" in case.where:
        assert reading.rejected >= 1 and reading.accepted >= 1
    with pytest.raises(DataError) as error:
        plugins.load_data(case.data, folder=folder, **case.options)
    assert error.value.problems == reading.problems


OF_FILES = (
    "broken syntax", "a file cut short", "a list without an end", "something after the end", "UTF-16",
    "a byte order mark", "invalid UTF-8", "an empty file", "an object", "an empty list", "no training file",
    "no list of captions", "no parquet", "a parquet file cut short", "rows overwritten", "no such configuration",
)  # fmt: skip
OF_ITEMS = (
    "a white caption", "no caption", "an item that is null", "a duplicate key", "an id of two pictures",
    "a caption of no image", "a question's id twice", "an unknown label", "an ID twice", "a field twice",
)  # fmt: skip


@pytest.mark.parametrize("name", [*OF_FILES, *OF_ITEMS])
def test_items_may_be_skipped_and_files_may_not(sound, tmp_path, name):
    case = CASES[name]
    folder = tmp_path / case.data
    shutil.copytree(sound / case.data, folder)
    case.spoil(folder)
    reading: Reading = plugins.read_data(case.data, folder=folder, skip=True, **case.options)
    if name in OF_FILES:
        assert case.found in "\n".join(map(str, reading.problems))
    else:
        assert not reading.problems and case.found in "\n".join(map(str, reading.warnings))
        assert reading.rejected and plugins.load_data(case.data, folder=folder, skip=True, **case.options).train


def spoilt(sound: Path, tmp_path: Path, *cases: Callable[[Path], Any], data: str = F) -> Path:
    folder = tmp_path / data
    shutil.copytree(sound / data, folder)
    for spoil in cases:
        spoil(folder)
    return folder


def test_whoever_is_skipped_in_part_cannot_be_asked_for(sound, tmp_path, monkeypatch, capsys):
    """Items 3 and 4 are the captions of 1001, and 5 and 6 those of 1002."""
    folder = spoilt(sound, tmp_path, item(TRAIN, 3, caption=" "), item(TRAIN, 5, caption=7), item(TRAIN, 6, caption=7))
    corpus = plugins.load_data(F, folder=folder, skip=True)
    for who, found in (("1001", "1 item of '1001' could not be read"), ("1002", "2 items of '1002' could not be read")):
        for asked in (who, {"group": who}):
            (problem,) = match(corpus, [asked]).problems
            assert found in problem.found and "Mend" in problem.remedy
    monkeypatch.chdir(folder)
    (problem,) = match(corpus, [{"picture": "flickr30k-images/1001.jpg"}]).problems
    assert "1 item of '1001' could not be read" in problem.found
    assert match(corpus, ["1000"]).ids == ("1000-0", "1000-1")
    common = ["--data", F, "-d", f"folder={folder}", "-d", "skip=true"]
    for who, code in (("1001", 1), ("1000", 0)):
        monkeypatch.setattr(sys, "argv", ["expunge", "check", who, *common])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert left.value.code == code
        assert ("could not be read" in capsys.readouterr().err) == bool(code)


def test_a_rejected_caption_keeps_its_number(sound, tmp_path):
    folder = spoilt(sound, tmp_path, item(TRAIN, 3, caption=" "))
    corpus = plugins.load_data(F, folder=folder, skip=True)
    assert [e.id for e in corpus.train if e.group == "1001"] == ["1001-1"]
    assert match(corpus, ["1001-1"]).ids == ("1001-1",) and match(corpus, ["1001-0"]).problems

    folder = spoilt(sound, tmp_path, item("ve_train.json", 1, label="?"), data=S)
    before, after = (plugins.load_data(S, folder=f, skip=True).train for f in (sound / S, folder))
    assert {e.id: e.text for e in after} == {e.id: e.text for e in before[1:]}

    folder = spoilt(sound, tmp_path, annotated("annotations", 1, caption=" "), data="coco")
    before, after = (plugins.load_data("coco", folder=f, skip=True).train for f in (sound / "coco", folder))
    assert {e.id: e.text for e in after} == {e.id: e.text for e in before[1:]}


ODD = [None, True, 0, 5, 1.5, -1, 10**30, "", " ", "x", "\ud800", "a\x00", "\u200d", [], [1], ["a"], [None], [[]], {}]
LINE = {"id": "e0", "image": "0.png", "text": "it is a hat", "group": "g0", "kind": "shared", "split": "train",
        "source": "s", "question": "what is it", "choices": ["a hat", "a cat"], "answer": "a hat",
        "label": "entailment"}  # fmt: skip


@pytest.mark.parametrize("task", jsonl.TASKS)
@pytest.mark.parametrize("key", LINE)
def test_whatever_stands_under_a_key_is_taken_or_refused(album, key, task):
    """A sound line, and then one after the other in which one value is odd."""
    lines = [{**LINE, "id": f"e{n}", key: odd} for n, odd in enumerate(ODD, 1)]
    path = album.write(LINE, *(json.dumps(line) for line in lines))
    reading = jsonl.read(path, task=task)
    assert reading.items == 1 + len(ODD) == reading.accepted + reading.rejected and reading.accepted >= 1
    assert reading.rejected >= 9 and all(p.where.startswith(f"{path}:") and p.remedy for p in reading.problems)
    for odd in ODD:  # the same in a request
        match(reading.corpus(), [{"group": "g0", key: odd}, {key: odd}, odd])


def test_a_choice_of_no_list_is_no_defect(album):
    """``"choices": 5`` was."""
    path = album.write(LINE, {**LINE, "id": "e1", "choices": 5})
    (problem,) = jsonl.read(path, task="answering").problems
    assert problem.found == "'choices' is a number, not a list"


def test_two_sets_that_share_a_group_are_not_joined(sound, tmp_path):
    one = plugins.read_data(F, folder=sound / F)
    folder = spoilt(sound, tmp_path, row(4, ID="1001"), data=M)
    two = plugins.read_data(M, folder=folder)
    (problem,) = [p for p in joined("both", [two, one]).problems if "the id" not in p.found]
    assert "the group '1001' is also one of mllmu, at " in problem.found and problem.where.startswith(str(sound / F))
    assert not joined("both", [plugins.read_data(M, folder=sound / M), one]).problems


LINES = [
    ('{"id": 7}', "'id' is a number, not a string"),
    ('{"id": "1001-0", "group": "1001"}', "holds 'id' and 'group'"),
    ('{"group": "1oo1"}', "no group '1oo1'"),
    ('{"group": "1200"}', "is in the test split"),
    ('{"group": "1001"', "is not valid JSON"),
]


@pytest.mark.parametrize(("line", "found"), LINES)
def test_a_broken_request_leaves_with_a_code_and_its_line(sound, tmp_path, monkeypatch, capsys, line, found):
    who = tmp_path / "who.jsonl"
    who.write_text('{"group": "1002"}\n' + line + "\n")
    words = ["check", str(who), "--data", F, "-d", f"folder={sound / F}"]
    monkeypatch.setattr(sys, "argv", ["expunge", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capsys.readouterr().err
    assert left.value.code == 1 and f"{who}:2" in said and found in said and "Traceback" not in said


@pytest.mark.parametrize("name", ["a duplicate key", "broken syntax", "a cut picture", "no training file", "no folder"])
def test_the_command_line_leaves_with_a_code(sound, tmp_path, monkeypatch, capsys, name):
    case = CASES[name]
    folder = tmp_path / case.data
    shutil.copytree(sound / case.data, folder)
    case.spoil(folder)
    common = ["--data", case.data, "-d", f"folder={folder}"]
    model = ["--model", "albef-tiny", "--forget", "1001", "--method", "nothing"]
    for words, code in ((["check", "1001", *common], 1), (["forget", *model, *common], 2)):
        monkeypatch.setattr(sys, "argv", ["expunge", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr().err
        assert left.value.code == code and case.found in said and str(folder / case.where) in said
        assert "Traceback" not in said
