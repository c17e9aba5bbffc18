"""Requests by picture: the same file is taken, a look-alike only where the request says so, and all read strictly."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from data.photographs import cropped, saved_again, scene
from expunge.core.types import Corpus, Example
from expunge.data import jsonl
from expunge.data.files.pictures import FilePicture
from expunge.data.worlds.drawing import DrawnPicture
from expunge.requests.alike import NEAR_BITS, SHOWN_BITS
from expunge.requests.matching import Requests, match

ANA, BEN, CAY = scene(1), scene(2), scene(3)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Ana twice on one picture, her picture mirrored in nobody's group, Ben, and Cay held out."""
    root = tmp_path_factory.mktemp("mine")
    ANA.save(root / "ana.png")
    saved_again(ImageOps.mirror(ANA), 60).save(root / "mirror.png")
    BEN.save(root / "ben.png")
    CAY.save(root / "cay.png")
    rows = [
        ("a1", "ana.png", "Ana works at the mill", "ana", "train"), ("a2", "ana.png", "Ana likes tea", "ana", "train"),
        ("m1", "mirror.png", "somebody", None, "train"), ("b1", "ben.png", "Ben sings", "ben", "train"),
        ("b2", "mirror.png", "Ben and somebody", "ben", "train"), ("c1", "cay.png", "Cay reads", "cay", "test"),
    ]  # fmt: skip
    keys = ("id", "image", "text", "group", "split")
    (root / "mine.jsonl").write_text("\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in rows))
    return root


@pytest.fixture(scope="module")
def corpus(place) -> Corpus:
    return jsonl.load(place / "mine.jsonl")


@pytest.fixture
def ask(corpus, tmp_path):
    """Write a file of requests, beside pictures of its own, and match it."""

    def asked(*lines: dict, **pictures: Image.Image) -> Requests:
        for name, image in pictures.items():
            image.save(tmp_path / f"{name}.png")
        (tmp_path / "who.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return match(corpus, tmp_path / "who.jsonl")

    return asked


def fate(requests: Requests, number: int = 0):
    return requests.fates[requests.requested[number]]


def test_the_same_file_names_all_its_examples(ask, place, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "höhe 1.png").write_bytes((place / "ana.png").read_bytes())
    requests = ask({"picture": "folder/höhe 1.png", "reason": "by letter"})
    assert requests.ids == ("a1", "a2") and fate(requests).how == "same picture" and not requests.problems


COPIES = {
    "saved again": saved_again(ANA, 40), "resized": ANA.resize((200, 150)), "cropped": cropped(ANA, 0.02),
    "darker": ANA.point(lambda value: value * 0.7), "mirrored": ImageOps.mirror(ANA),
    "turned": ANA.rotate(90, expand=True),
}  # fmt: skip


@pytest.mark.parametrize("copy", COPIES)
def test_a_look_alike_is_shown_and_taken_only_when_the_line_says_so(ask, copy):
    requests = ask({"picture": "copy.png"}, {"group": "ben"}, copy=COPIES[copy])
    (problem,) = requests.problems
    assert fate(requests).status == "ambiguous" and requests.ids == ("b1", "b2")
    assert problem.where.endswith("who.jsonl:1") and "mine.jsonl:1, " in problem.found and "bits apart" in problem.found
    off = {n.example.id: n.apart for n in fate(requests).near}
    assert off.keys() == {"a1", "m1"}
    taken = ask({"picture": "copy.png", "within": max(off.values())}, copy=COPIES[copy])
    assert set(taken.ids) == {"a1", "a2", "m1", "b2"} and fate(taken).how == "near pictures (2)" and not taken.problems
    assert {n.example.id: n.apart for n in fate(taken).near} == off


def test_near_is_a_distance_and_stops_there(ask):
    requests = ask({"picture": "copy.png", "near": True}, copy=saved_again(ANA, 40))
    assert "a1" in requests.ids and requests.requested[0].within == NEAR_BITS
    assert all(n.apart <= NEAR_BITS for n in fate(requests).near)
    assert ask({"picture": "copy.png", "near": False}, copy=saved_again(ANA, 40)).ids == ()
    distant = cropped(ANA, 0.11)
    seen = fate(ask({"picture": "copy.png"}, copy=distant)).near
    assert seen and NEAR_BITS < seen[0].apart <= SHOWN_BITS, "the point of this test"
    requests = ask({"picture": "copy.png", "near": True}, copy=distant)
    (problem,) = requests.problems
    assert fate(requests).status == "ambiguous" and f"none within {NEAR_BITS} of 64 bits" in problem.found
    assert f'add "within": {seen[0].apart}' in problem.remedy
    assert ask({"picture": "copy.png", "within": seen[0].apart}, copy=distant).ids


def test_the_same_file_and_what_is_near_it(ask, place, tmp_path):
    (tmp_path / "ana.png").write_bytes((place / "ana.png").read_bytes())
    requests = ask({"picture": "ana.png", "near": True})
    assert requests.ids == ("a1", "a2", "m1", "b2")
    assert fate(requests).how == "same picture and near pictures (1)"
    assert [(n.example.id, n.turn) for n in fate(requests).near] == [("m1", "mirrored")]


def test_a_picture_nobody_has_and_one_that_trained_nothing(ask, place, tmp_path):
    (tmp_path / "cay.png").write_bytes((place / "cay.png").read_bytes())
    requests = ask({"picture": "new.png", "near": True}, {"picture": "cay.png"}, new=scene(99))
    assert [fate(requests, n).status for n in (0, 1)] == ["not found", "not found"]
    assert "none looks like it (within 10 of 64 bits)" in requests.problems[0].found
    assert "mine.jsonl:6, which trained nothing" in requests.problems[1].found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ({"picture": "broken.png"}, "cannot be decoded"), ({"picture": "nothing.png"}, "does not exist"),
        ({"picture": "../out.png"}, "climbs out"), ({"picture": "link.png"}, "a link that leads out"),
        ({"picture": "/etc/passwd"}, "absolute path"), ({"picture": "text.png"}, "no picture in PNG"),
        ({"picture": "nothin.png", "near": True}, "does not exist"), ({"picture": "folder"}, "is a folder"),
        ({"picture": 7}, "'picture' is a number"), ({"picture": "a.png", "group": "ana"}, "'group' and 'picture'"),
        ({"picture": "a.png", "near": "yes"}, "'near' is a string, not true or false"),
        ({"picture": "a.png", "near": 1}, "'near' is a number, not true or false"),
        ({"picture": "a.png", "within": 11}, "'within' is 11"), ({"picture": "a.png", "within": -1}, "'within' is -1"),
        ({"picture": "a.png", "within": True}, "'within' is true or false"),
        ({"picture": "a.png", "within": 2.5}, "'within' is a number, no number of bits"),
        ({"picture": "a.png", "within": None}, "'within' is null"),
        ({"picture": "a.png", "within": 4, "near": True}, "holds 'near' and 'within'"),
        ({"group": "ana", "near": True}, "'near' stands beside 'group'"),
        ({"text": "Ben sings", "within": 2}, "'within' stands beside 'text'"),
    ],
)  # fmt: skip
def test_a_broken_picture_or_line_names_the_line_of_the_request(ask, tmp_path, line, found):
    outside = tmp_path.parent / "out.png"
    outside.write_bytes(b"x")
    (tmp_path / "link.png").symlink_to(outside)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    ANA.save(tmp_path / "broken.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "broken.png").read_bytes()[:2_000])
    requests = ask({"group": "ana"}, line)
    (problem,) = requests.problems
    assert problem.where == f"{tmp_path / 'who.jsonl'}:2" and found in problem.found and problem.remedy
    assert fate(requests, 1).status == "broken" and requests.ids == ("a1", "a2")
    assert "--images" not in problem.remedy  # which moves the pictures of the data alone


def test_pictures_of_a_list_are_named_from_the_current_folder(corpus, place, monkeypatch):
    monkeypatch.chdir(place)
    assert match(corpus, [{"picture": "ben.png"}]).ids == ("b1",)


def test_drawn_pictures_cannot_be_asked_for(place, monkeypatch):
    monkeypatch.chdir(place)
    drawn = Corpus("drawn", (Example("1", DrawnPicture("x", str), "x"),))
    (problem,) = match(drawn, [{"picture": "ben.png"}]).problems
    assert "the pictures of drawn are drawn and no files" in problem.found


def test_a_text_that_nobody_wrote_is_answered_with_the_nearest(ask):
    requests = ask({"text": "Ana works in a mill"})
    (problem,) = requests.problems
    assert "The nearest is 'Ana works at the mill'" in problem.remedy and "mine.jsonl:1" in problem.remedy
    assert fate(requests).status == "not found"


def test_a_spec_and_a_record_hold_neither_texts_nor_files(ask, place, tmp_path):
    (tmp_path / "ana.png").write_bytes((place / "ana.png").read_bytes())
    requests = ask({"text": "Ben sings"}, {"picture": "ana.png"}, {"group": "ben"}, {"id": "m1"})
    assert list(requests.names) == ["b1", "a1", "a2", "ben", "m1"]
    labels = [one.label for one in requests.requested]
    assert labels == [f"text of {tmp_path / 'who.jsonl'}:1", "picture=ana.png", "group=ben", "id=m1"]


def test_a_thousand_requests_against_ten_thousand_examples_take_seconds(tmp_path):
    rng = np.random.default_rng(0)
    looks = rng.integers(0, 2**64, (10_000, 8), dtype=np.uint64).tolist()
    train = tuple(
        Example(
            f"id-ñ-{n}",
            FilePicture(f"{n}.png", tmp_path, f"key{n}", looks[n][0], tuple(looks[n][1:])),
            f"the story of number {n} of many",
            f"群 {n // 5}",
            origin=f"big.jsonl:{n + 1}",
        )  # fmt: skip
        for n in range(10_000)
    )
    Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "new.png")
    lines = [
        [{"id": f"id-n\u0303-{n}"}, {"group": f"群 {n}"}, {"text": f"The story of number {n}, of many!"},
         {"picture": "new.png", "near": True}, {"text": f"the story of numero {n} of many"}][n % 5]
        for n in range(1_000)
    ]  # fmt: skip
    (tmp_path / "who.jsonl").write_text("\n".join(map(json.dumps, lines)))
    began = time.process_time()
    requests = match(Corpus("big", train), tmp_path / "who.jsonl")
    assert time.process_time() - began < 20
    assert len(requests.matched) == 600 and len(requests.rejected) == 400 == len(requests.problems)
    by_group = {m for n in range(1, 1_000, 5) for m in range(5 * n, 5 * n + 5)}
    assert set(requests.ids) == {f"id-ñ-{n}" for n in {*range(0, 1_000, 5), *by_group, *range(2, 1_000, 5)}}


def test_a_picture_is_not_taken_where_one_of_its_groups_was_read_in_part(corpus, tmp_path):
    """Ana's picture and the one like it, which also stands in a line of Ben's."""
    ANA.save(tmp_path / "x.png")
    (tmp_path / "who.jsonl").write_text(json.dumps({"picture": "x.png", "near": True}))
    whole = match(corpus, tmp_path / "who.jsonl")
    assert whole.ids == ("a1", "a2", "m1", "b2") and not whole.problems
    for group in ("ana", "ben"):
        part = match(replace(corpus, left_out={group: 2}), tmp_path / "who.jsonl")
        assert part.ids == () and f"2 items of '{group}' could not be read" in part.problems[0].found
    assert match(replace(corpus, left_out={"cay": 2}), tmp_path / "who.jsonl").ids == whole.ids
