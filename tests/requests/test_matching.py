"""Requests: every one is matched or rejected with a reason, and none is guessed at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.core.errors import DataError
from expunge.core.groups import group_of
from expunge.core.pictures import NO_PICTURE
from expunge.core.spec import Spec
from expunge.core.types import Corpus, Example
from expunge.data import jsonl, people
from expunge.data.worlds.drawing import DrawnPicture
from expunge.requests.asked import Request, Words
from expunge.requests.matching import Requests, match, resolve
from expunge.requests.register import Fate


def example(name: str, group: str | None, text: str = "", **more) -> Example:
    return Example(name, DrawnPicture(f"picture of {group or name}", str), text or f"text of {name}", group, **more)


ADA = (example("a1", "Ada"), example("a2", "Ada", "Ada lives in Riga"))
BOB = (example("b1", "Bob"), example("b2", "Bob", "a red hat"))
CORPUS = Corpus(
    "small",
    train=(*ADA, *BOB, example("c1", None, "a red hat"), example("Ada-Mae", "M"), example("zo\u00eb", "Zo\u00eb")),
    validation=(example("v1", "Vera"),),
    test=(example("t1", "Tom"),),
)


def test_groups_and_ids_are_matched_in_the_order_asked_for():
    requests = resolve(CORPUS, ["b2", "Ada"])
    assert requests.ids == ("b2", "a1", "a2") and not requests.rejected
    splits = requests.split(CORPUS)
    assert {e.id for e in splits.forget} == {"a1", "a2", "b2"}
    assert {e.id for e in splits.retain} == {"b1", "c1", "Ada-Mae", "zo\u00eb"}
    assert splits.holdout == CORPUS.validation


def test_one_string_may_hold_several():
    assert resolve(CORPUS, "Ada, b1").ids == ("a1", "a2", "b1")
    assert resolve(CORPUS, "Ada").ids == ("a1", "a2")


def test_a_name_with_a_comma_is_not_taken_apart():
    corpus = Corpus("x", (example("1", "Doe, Jane"), example("2", "Bob")))
    assert resolve(corpus, "Doe, Jane").ids == ("1",)


DOES = tuple(example(str(n), name) for n, name in enumerate(("Doe, Jane", "Doe", "Jane", "bob", "Roe, Richard"), 1))
COMMAS = Corpus("x", DOES)


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["Roe, Richard"], "5"), (["Roe, Richard", "bob"], "54"), (["bob, Roe, Richard,Doe"], "452"),
        (["Doe", "Jane, bob"], "234"), (["bob,", " ", "5"], "45"), (["Jane,Doe"], "32"),
    ],
    ids=str,
)  # fmt: skip
def test_words_are_cut_at_commas_but_for_names_that_hold_one(words, ids):
    assert resolve(COMMAS, Words(words)).ids == tuple(ids)
    assert resolve(COMMAS, ",".join(words)).ids == tuple(ids)


@pytest.mark.parametrize("who", ["Doe, Jane", Words(["Doe, Jane", "bob"]), Words(["bob, Doe, Jane"])], ids=str)
def test_a_name_whose_parts_are_names_is_ambiguous_in_a_word(who):
    (problem,) = match(COMMAS, who).problems
    assert "'Doe, Jane' is one name, and its parts are names, too ('Doe', 'Jane')" in problem.found
    assert '{"group": "Doe, Jane"}' in problem.remedy
    assert "ambiguous" in {fate.status for fate in match(COMMAS, who).fates.values()}
    for clear, ids in (([{"group": "Doe, Jane"}], "1"), (["Doe, Jane"], "1"), (Words(["Doe", "Jane"]), "23")):
        assert resolve(COMMAS, clear).ids == tuple(ids)


def test_a_single_mapping_is_one_request():
    assert resolve(CORPUS, {"id": "a1"}).ids == ("a1",)
    assert resolve(CORPUS, {"group": "Ada", "reason": "a letter"}).requested[0].reason == "a letter"


@pytest.mark.parametrize("key", ["id", "group", "text", "picture", "reason"])
@pytest.mark.parametrize("value", ["a\ud800", "\x00", "a\x00b"], ids=repr)
def test_what_cannot_be_written_is_refused_and_can_be_said(key, value):
    asked = [{key: value}] if key != "reason" else [{"id": "a1", key: value}]
    requests = match(CORPUS, asked)
    (problem,) = requests.problems
    assert f"{key!r} holds " in problem.found
    for request in requests.requested:
        f"{problem} {request} {request.label} {request.reason}".encode()
    (problem,) = match(CORPUS, [value]).problems
    f"{problem} {match(CORPUS, [value]).requested[0]}".encode()


def test_a_long_list_in_one_string_is_no_file_name():
    assert resolve(CORPUS, ",".join(["Ada"] * 2_000)).ids == ("a1", "a2")


def test_either_spelling_of_an_accent_is_the_same_person():
    assert resolve(CORPUS, ["Zoe\u0308"]).ids == resolve(CORPUS, ["Zo\u00eb"]).ids == ("zo\u00eb",)


def test_an_overlap_of_requests_forgets_each_example_once():
    requests = resolve(CORPUS, ["a1", "Ada", "Ada"])
    assert requests.ids == ("a1", "a2") and len(requests.matched) == 3


def test_a_file_of_requests(tmp_path):
    path = tmp_path / "who.jsonl"
    lines = [{"id": "b1", "reason": "asked on Monday"}, {"group": "Ada"}, {"text": "ADA lives in Riga."}]
    path.write_text("\n".join(map(json.dumps, lines)))
    for who in (path, str(path)):
        requests = resolve(CORPUS, who)
        assert requests.ids == ("b1", "a1", "a2")
        assert requests.requested[0] == Request("id", "b1", f"{path}:1", "asked on Monday")
        assert str(requests.requested[1]) == "group=Ada"


UNKNOWN = [
    (["Adda"], "no id or group 'Adda'", "Did you mean 'Ada'?"),
    (["qqqqqq"], "no id or group 'qqqqqq'", "Check the name"),
    ([{"id": "Ada"}], "no id 'Ada'", "There is a group of that name"),
    ([{"group": "a1"}], "no group 'a1'", "There is an id of that name"),
    ([{"group": "bob"}], "no group 'bob'", "Did you mean 'Bob'?"),
    ([{"text": "nobody said this"}], "no training text says", "Give the text"),
    ([{"text": "a red hat"}], "stands for 2 different subjects (example b2, example c1)", "Ask by id or by group"),
    ([{"text": "..."}], "no training text says", "Give the text"),
    (["Vera"], "is in the validation split", "Only examples of the train split"),
    (["t1"], "is in the test split", "Only examples of the train split"),
    ([""], "the request is empty", "Name an id or a group"),
    ([7], "the request is a number, not a string", "Name an id or a group"),
    ([{}], "names nobody", "exactly one of"),
    ([{"id": "a1", "group": "Ada"}], "holds 'id' and 'group'", "exactly one of"),
    ([{"gruop": "Ada"}], "unknown key 'gruop'", "Did you mean 'group'?"),
    ([{"id": 7}], "'id' is a number, not a string", "Give a string"),
    ([{"id": "a1", "reason": 5}], "'reason' is a number", "Give a string"),
    ([{"id": " a1"}], "'id' has white space at its ends", "Mend it"),
    ([{"id": "a1", "pictured": True}], "'pictured' stands beside 'id'", "Only of a 'group'"),
    ([{"group": "Ada", "pictured": 1}], "'pictured' is a number, not true or false", "Write true or false"),
]


def test_of_a_group_the_pictures_alone_may_be_asked_for():
    said = Example("a3", NO_PICTURE, "Ada likes tea", "Ada", question="what does Ada like", answer="tea")
    corpus = Corpus("spoken", train=(*ADA, said, *BOB, replace(said, id="s1", group="Said")))
    requests = resolve(corpus, [{"group": "Ada", "pictured": True}, {"group": "Bob", "pictured": False}])
    assert requests.ids == ("a1", "a2", "b1", "b2")
    assert [str(one) for one in requests.requested] == ["group=Ada, pictures only", "group=Bob"]
    assert requests.fates[requests.requested[0]].how == "pictures of the group; 1 in words stay"
    assert tuple(requests.names) == ("a1", "a2", "Bob")  # a run is measured again by these
    assert said in requests.split(corpus).retain
    (why,) = match(corpus, [{"group": "Said", "pictured": True}]).problems
    assert "none of the 1 examples of 'Said' has a picture" in str(why) and "without" in why.remedy


@pytest.mark.parametrize(("who", "found", "remedy"), UNKNOWN, ids=[str(u[0]) for u in UNKNOWN])
def test_what_cannot_be_matched_stops_the_run(tmp_path, who, found, remedy):
    with pytest.raises(DataError) as error:
        resolve(CORPUS, ["Bob", *who])
    (problem,) = error.value.problems
    assert problem.where == "request 2" and found in problem.found and remedy in problem.remedy
    requests = match(CORPUS, ["Bob", *who])
    assert requests.ids == ("b1", "b2") and list(requests.rejected.values()) == [problem.found]

    if isinstance(who[0], dict):  # the same in a file, with its line
        path = tmp_path / "who.jsonl"
        path.write_text(json.dumps({"group": "Bob"}) + "\n\n" + json.dumps(who[0]))
        (problem,) = match(CORPUS, path).problems
        assert problem.where == f"{path}:3" and found in problem.found


def test_a_name_that_is_an_id_here_and_a_group_there_is_ambiguous():
    corpus = Corpus("x", (example("Ada", "Bob"), example("2", "Ada"), example("3", "Cleo")))
    with pytest.raises(DataError, match="is an id .example Ada. and also a group of 1 examples"):
        resolve(corpus, ["Ada"])
    assert resolve(corpus, [{"id": "Ada"}]).ids == ("Ada",)
    requests = resolve(corpus, [{"group": "Ada"}])
    assert [e.id for e in requests.split(corpus).forget] == ["2"]
    # where the split by names alone would take both
    assert len(corpus.split(["Ada"]).forget) == 2
    same = Corpus("x", (example("Ada", "Ada"), example("2", "Bob")))
    assert resolve(same, ["Ada"]).ids == ("Ada",)


TWOFOLD = Corpus(
    "x",
    train=(
        example("ana", "bea", "Bea sings"), example("2", "ana", "Ana sings"), example("3", "ana", "Ana reads"),
        example("4", "cay"), example("cay", "dan"), example("eve", "eve"), example("fay, gus", None),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    "who",
    [
        [{"id": "ana"}], [{"group": "ana"}], [{"group": "ana", "pictured": True}], [{"text": "bea sings"}],
        [{"group": "bea"}], ["bea"], [{"group": "cay"}], [{"group": "dan"}], ["2", {"id": "cay"}], ["eve"],
        [{"id": "eve"}], ["fay, gus"], [{"id": "fay, gus"}], [{"group": "ana"}, {"id": "ana"}],
    ],
    ids=str,
)  # fmt: skip
def test_names_ask_for_the_same_again(who):
    requests = resolve(TWOFOLD, who)
    assert resolve(TWOFOLD, list(requests.names)).ids == requests.ids
    told = json.loads(Spec("m", "d", tuple(requests.names)).to_json())["forget"]
    assert resolve(TWOFOLD, told).ids == requests.ids


def test_an_id_and_a_group_of_one_name_are_two_questions():
    one, two = (Spec("m", "d", tuple(resolve(TWOFOLD, [asked]).names)) for asked in ({"id": "ana"}, {"group": "ana"}))
    assert one.hash != two.hash and one.slug != two.slug
    assert Spec.from_json(one.to_json()) == one
    assert list(resolve(CORPUS, [{"group": "Ada"}, {"id": "b1"}]).names) == ["Ada", "b1"]  # as runs of before have them


def test_an_added_look_alike_is_named_by_its_id():
    requests = resolve(TWOFOLD, ["eve"])
    assert requests.by_id("ana") == {"id": "ana"} and requests.by_id("2") == "2"


def test_a_broken_line_of_a_request_file_is_a_rejected_request(tmp_path):
    path = tmp_path / "who.jsonl"
    path.write_text('{"id": "a1"}\n{"id": "b1"\n["c1"]\n{"id": "b1", "id": "b2"}\n{"group": "Adda"}\n')
    requests = match(CORPUS, path)
    assert len(requests.requested) == 5 and len(requests.matched) == 1 and len(requests.rejected) == 4
    assert [p.where.removeprefix(str(path)) for p in requests.problems] == [":2:12", ":3", ":4", ":5"]


@pytest.mark.parametrize("who", [[], "", ",", {}, Words(["", ","])])
def test_asking_for_nobody_is_a_problem(who):
    with pytest.raises(DataError, match="names nobody"):
        resolve(CORPUS, who)


def test_a_missing_or_an_empty_file_of_requests_is_a_problem(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        resolve(CORPUS, str(tmp_path / "who.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="holds no line"):
        resolve(CORPUS, Path(tmp_path / "empty.jsonl"))


@pytest.mark.parametrize("text", ["“Ada” lives in Riga…", "Ada lives – in Riga", "ada lives in Ri­ga »"])
def test_typographic_marks_do_not_count(text):
    assert resolve(CORPUS, [{"text": text}]).ids == ("a2",)


def test_questions_in_words_are_not_one_subject():
    said = [Example(n, NO_PICTURE, "What does Ana drink?", None, question="?", answer="tea") for n in ("1", "2")]
    (problem,) = match(Corpus("x", tuple(said)), [{"text": "what does Ana drink"}]).problems
    assert "stands for 2 different subjects" in problem.found
    assert group_of(said[0]) != group_of(said[1]) == group_of(said[1])


@pytest.mark.parametrize("task", ["answering", "multiple_choice"])
def test_what_was_said_is_found_where_a_model_reads_a_question(album, row, task):
    asked = {"question": "What is it?", "choices": ["a hat", "a cat"], "answer": "a hat"}
    more = asked if task == "multiple_choice" else {}
    path = album.write(row(0, text="Ana works at the mill.", **more), row(1, **asked), row(2, **asked))
    corpus = jsonl.load(path, task=task)
    assert resolve(corpus, [{"text": "Ana works at the mill"}]).ids == ("e0",)
    (problem,) = match(corpus, [{"text": "Ana works at a mill"}]).problems
    assert "The nearest is 'Ana works at the mill.'" in problem.remedy


def test_names_in_broken_lines_of_the_data_are_not_called_unknown():
    requests = match(CORPUS, ["Ada", "Dan"], mentioned={"Dan"})
    assert not requests.problems and len(requests.rejected) == 1


def test_losing_a_request_is_impossible():
    one = Request("id", "a1", "request 1")
    with pytest.raises(AssertionError, match="a request was lost"):
        Requests((one,), {})
    with pytest.raises(AssertionError, match="is matched with 0 examples"):
        Requests((one,), {one: Fate("matched")})
    with pytest.raises(AssertionError, match="is not found with 1 examples"):
        Requests((one,), {one: Fate("not found", ("a1",))})


words = st.sampled_from(["Ada", "Bob", "a1", "nobody", "Vera", "", " ", "zo\u00eb"])
asked = st.one_of(
    words,
    st.dictionaries(
        st.sampled_from(["id", "group", "text", "reason", "idd"]), st.one_of(words, st.none(), st.integers())
    ),
)


@given(st.lists(asked, max_size=8))
def test_requested_is_matched_plus_rejected(who):
    requests = match(CORPUS, who)
    assert len(requests.requested) == len(who) == len(requests.matched) + len(requests.rejected)
    assert len(requests.problems) == (len(requests.rejected) or (not who))
    assert set(requests.ids) <= {e.id for e in CORPUS.train}
    splits = requests.split(CORPUS)
    assert len(splits.forget) + len(splits.retain) == len(CORPUS.train)


def test_the_embedded_people_are_found_by_group_and_by_id():
    corpus = people.load()
    assert len(resolve(corpus, ["p017", "p042"]).ids) == 12
    assert resolve(corpus, ["p017-private1"]).ids == ("p017-private1",)
    with pytest.raises(DataError, match="is in the test split of people"):
        resolve(corpus, ["qt001"])
