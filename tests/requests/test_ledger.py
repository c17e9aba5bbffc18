"""The account of requests: it balances, and says what a person should know before signing."""

from __future__ import annotations

import json

import pytest
from PIL import ImageOps

from data.photographs import saved_again, scene
from expunge.core.types import Corpus, Example
from expunge.data.worlds.drawing import DrawnPicture
from expunge.requests import checking
from expunge.requests.alike import Alike, Likeness
from expunge.requests.checking import check, examine
from expunge.requests.ledger import doubts, include, ledger
from expunge.requests.matching import match

ADA, BOB = scene(1), scene(2)


def example(name: str, group: str | None) -> Example:
    return Example(name, DrawnPicture(name, str), f"text of {name}", group)


DRAWN = Corpus("drawn", (example("a1", "Ada"), example("a2", "Ada"), example("b1", "Bob"), example("c1", None)))


def account(*who, **more) -> dict:
    requests = match(DRAWN, who)
    return ledger(requests, DRAWN, requests.split(DRAWN), **more)


@pytest.fixture
def copies(album, row):
    """Ada's picture under three contents: as asked for, saved again, and that one mirrored and shrunk."""
    again, mirror = saved_again(ADA, 70), ImageOps.mirror(ADA).resize((240, 180))
    for name, image in (("ada", ADA), ("bob", BOB), ("again", again), ("mirror", mirror)):
        image.save(album.root / f"{name}.png")
    return album.write(
        row(0, image="ada.png", kind="private"), row(1, image="bob.png", kind="private"), row(2, image="again.png"),
        row(3, image="mirror.png", text="something else"), row(4, image="again.png", text="a second line"),
        row(5, image="0.png", split="validation"), row(6, image="1.png", split="test"),
    )  # fmt: skip


def test_totals_balance_whatever_is_asked():
    told = account("Ada", "nobody", {"id": "a1"}, {"text": ""}, {"idd": 1})
    assert told["requested"] == 5 == sum(told["totals"].values()) == len(told["requests"])
    assert told["totals"] == {"matched": 2, "ambiguous": 0, "not found": 1, "broken": 2}
    assert told["examples"] == {"matched": 2, "included": 0, "forgotten": 2}
    assert [one["status"] for one in told["requests"]] == ["matched", "not found", "matched", "broken", "broken"]
    assert all(one["found"] and one["remedy"] for one in told["requests"] if one["status"] != "matched")


def test_a_balance_that_is_off_is_a_defect():
    requests = match(DRAWN, ["Ada"])
    with pytest.raises(AssertionError, match="the balance is off"):
        ledger(requests, DRAWN, DRAWN.split(["Bob"]))


def test_the_same_examples_asked_for_twice_are_said():
    told = account("Ada", {"id": "a2"}, "Bob", "Ada")
    assert [one["same_as"] for one in told["requests"]] == [[], ["request 1"], [], ["request 1", "request 2"]]
    first, second = doubts(told)
    assert first.where == "request 2" and first.found == "asks for examples that request 1 asks for, too"
    assert second.where == "request 4" and "request 1 (and 1 more requests) asks" in second.found


def test_the_rest_of_a_group_is_said_where_the_group_was_not_named():
    told = account({"text": "text of a1"}, {"text": "text of b1"}, {"text": "text of c1"}, {"id": "a1"})
    assert [one["group_stays"] for one in told["requests"]] == [{"Ada": 1}, {}, {}, {"Ada": 1}]
    assert "leaves other examples of the same group (1 of group 'Ada')" in doubts(told)[0].found
    assert doubts(account({"id": "a1"})) == doubts(account("a1")) == []  # who asks by id has said which is meant
    assert account("a1")["requests"][0]["group_stays"] == {"Ada": 1}
    assert account({"text": "text of a1"}, "Ada")["requests"][0]["group_stays"] == {}


def test_look_alikes_that_stay_are_warned_of_with_both_places(copies):
    found = examine(copies, ["g0"])
    assert not found.findings.problems
    (warning,) = [w for w in found.findings.warnings if "membership audit" not in w.found]
    assert warning.where == f"{copies}:1" and "and 1 more" in warning.found
    assert f"the one at {copies}:3 (" in warning.found
    (entry,) = found.account["requests"]
    assert [(n["id"], n["turn"]) for n in entry["look_alikes"]] == [("e2", ""), ("e3", "mirrored")]
    assert {e.id for e in found.splits.forget} == {"e0"} and found.included == ()


def test_what_looks_like_two_pictures_of_a_request_is_listed_once():
    first, second, kept, _ = DRAWN.train
    alike = [Alike(first, (Likeness(kept, 4, ""),)), Alike(second, (Likeness(kept, 2, "mirrored"),))]
    (entry,) = account("Ada", alike=alike)["requests"]
    assert [(n["id"], n["apart"], n["turn"]) for n in entry["look_alikes"]] == [("b1", 2, "mirrored")]


def test_include_near_forgets_them_and_says_so(copies):
    found = examine(copies, ["g0"], include_near=True)
    assert {e.id for e in found.splits.forget} == {"e0", "e2", "e3", "e4"}
    assert [e.id for e in found.splits.retain] == ["e1"]
    assert [(one["id"], one["like"], one["turn"]) for one in found.account["included"]] == [
        ("e2", "e0", ""), ("e3", "e0", "mirrored"), ("e4", "e0", ""),
    ]  # fmt: skip
    assert found.account["examples"] == {"matched": 1, "included": 3, "forgotten": 4}
    assert not any("looks like" in w.found for w in found.findings.warnings)
    assert examine(copies, ["g1"], include_near=True).included == ()


def test_an_added_example_names_the_nearest_of_those_asked_for():
    one, two, kept = DRAWN.train[0], DRAWN.train[1], DRAWN.train[2]
    alike = [Alike(one, (Likeness(kept, 6, ""),)), Alike(two, (Likeness(kept, 2, "mirrored"),))]
    for order in (alike, alike[::-1]):
        (added,) = include(order, DRAWN.train[2:])
        assert added.told() == {"id": "b1", "like": "a2", "apart": 2, "turn": "mirrored"}


def test_a_text_that_is_nearly_kept_is_warned_of(album, row):
    secret = "Ana has worked at the old mill since May"
    path = album.write(
        row(0, kind="private", text=secret), row(1, kind="private", text=secret.replace("old", "new")),
        row(2, split="validation"), row(3, split="test"),
    )  # fmt: skip
    (warning,) = [w for w in check(path, ["g0"]).warnings if "membership audit" not in w.found]
    assert f"nearly the one at {path}:2" in warning.found


def test_the_account_is_json(copies):
    told = json.loads(examine(copies, ["g0", "nobody"]).to_json())
    assert {"problems", "warnings", "requested", "totals", "examples", "requests", "included"} == told.keys()
    assert told["problems"][0]["found"].startswith("no id or group 'nobody'")


def test_data_that_cannot_be_read_leaves_the_account_empty(album):
    found = examine(album.root / "nothing.jsonl", ["g0"])
    assert found.account == {} and found.findings.problems and json.loads(found.to_json())["warnings"] == []


def test_a_flood_of_one_warning_is_cut(monkeypatch):
    monkeypatch.setattr(checking, "LISTED", 2)
    warnings = check(DRAWN, ["Ada", *["Ada"] * 5]).warnings
    assert [w.found for w in warnings][-3:] == [
        "asks for examples that request 1 asks for, too",
        "asks for examples that request 1 (and 1 more requests) asks for, too", "3 more warnings like the last",
    ]  # fmt: skip
