"""Long JSON lists item by item: what is read is what is there, wherever the pieces are cut."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expunge.data.files import arrays
from expunge.data.files.arrays import read_items, read_members, read_values


def items_of(path, problems=None):
    return [(line.where.removeprefix(f"{path}: "), line.value) for line in read_items(path, problems)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    values=st.lists(json_values, min_size=1, max_size=9), piece=st.integers(1, 40),
    indent=st.sampled_from([None, 1]), escaped=st.booleans(),
)  # fmt: skip
def test_any_list_comes_back_whatever_the_size_of_the_pieces(tmp_path, values, piece, indent, escaped):
    path = tmp_path / "list.json"
    text = json.dumps(values, indent=indent, ensure_ascii=escaped)
    path.write_text(text.encode("utf-8", "replace").decode(), encoding="utf-8")
    wanted = json.loads(path.read_text(encoding="utf-8"))
    before, arrays.PIECE = arrays.PIECE, piece
    try:
        problems = []
        found = list(read_values(path, problems))
    finally:
        arrays.PIECE = before
    assert [value for _, value in found] == wanted
    assert [where for where, _ in found] == [f"{path}: item {n}" for n in range(1, len(wanted) + 1)]
    assert len(problems) == wanted.count(None)


def test_items_are_numbered_from_one_and_only_objects_are_taken(tmp_path):
    path = tmp_path / "list.json"
    path.write_text('[{"a": 1}, 2,\n {"a": "é"}]', encoding="utf-8")
    problems = []
    assert items_of(path, problems) == [("item 1", {"a": 1}), ("item 2", None), ("item 3", {"a": "é"})]
    assert [str(p) for p in problems] == [f"{path}: item 2: is a number, not an object. Every item is an object, {{…}}"]


@pytest.mark.parametrize("piece", [1, 7, 1 << 18])
def test_the_place_of_a_fault_is_told_to_the_byte(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(arrays, "PIECE", piece)
    path = tmp_path / "list.json"
    text = '[{"a": "zoë"},\n {"a": "ü", "b": tru}]'
    path.write_text(text, encoding="utf-8")
    problems = []
    assert items_of(path, problems)[-1] == ("item 2", None)
    byte = text.encode().index(b"tru}")
    assert f"at line 2, column {text.splitlines()[1].index('tru') + 1} (byte {byte})" in problems[0].found
    path.write_bytes(text.replace("tru", "1").encode().replace(b"\xc3\xbc", b"\xfc"))
    problems.clear()
    list(read_items(path, problems))
    at = path.read_bytes().index(b"\xfc")
    assert [p.found for p in problems] == [f"byte 0xfc at byte {at} is not valid UTF-8"]


def test_what_is_refused_is_one_item_and_the_next_is_read(tmp_path):
    path = tmp_path / "list.json"
    path.write_text('[{"a": 1, "a": 2}, {"b": NaN}, {"c": [Infinity]}, {"d": 4}]')
    problems = []
    assert [v for _, v in items_of(path, problems)] == [None, None, None, {"d": 4}]
    assert ["twice" in problems[0].found, *(p.found for p in problems[1:])] == [
        True, "NaN is not a JSON value", "Infinity is not a JSON value",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[" * 60_000, "is not usable JSON"), ('[{"a": ' + "9" * 5_000 + "}]", "is not usable JSON"),
        ('[{"a": "' + "x" * (arrays.LONGEST + 9) + '"}]', "is longer than 1,048,576 characters"),
        ('[{"a": 1, "a": 2', "is not valid JSON"), ("[{},", "the file ends within its list"),
        ("[{} {}]", "comes neither a comma nor the end"), ("\u00a0[{}]", "is no list of items"),
    ],
)  # fmt: skip
def test_what_ends_the_reading_is_said_once(tmp_path, text, found):
    path = tmp_path / "list.json"
    path.write_text(text, encoding="utf-8")
    problems = []
    assert len(items_of(path, problems)) <= 1
    assert len(problems) == 1 and found in problems[0].found, problems


def test_lists_within_an_object_are_read_and_the_rest_is_passed_over(tmp_path):
    path = tmp_path / "object.json"
    told = {"info": {"x": [1, {"y": 2}]}, "long": [{"z": "x" * 1000}] * 2000, "one": [{"a": 1}], "two": [{"b": 2}, 3]}
    path.write_text(json.dumps(told))
    problems = []
    found = [(key, line.where.removeprefix(str(path)), line.value) for key, line in read_members(
        path, ("one", "two"), problems)]  # fmt: skip
    assert found == [
        ("one", ": one: item 1", {"a": 1}),
        ("two", ": two: item 1", {"b": 2}),
        ("two", ": two: item 2", None),
    ]
    assert len(problems) == 1 and problems[0].where == f"{path}: two: item 2"
    list(read_members(path, ("three",), problems))
    assert problems[-1].found == "the key 'three' is missing"


def test_a_long_list_is_never_whole_in_memory(tmp_path):
    path = tmp_path / "long.json"
    item = {"image": "flickr30k-images/1000092795.jpg", "caption": "a man on a ladder cleans a window " * 3}
    with open(path, "w") as file:
        file.write("[" + ",".join([json.dumps(item)] * 40_000) + "]")
    size = path.stat().st_size
    tracemalloc.start()
    count = sum(1 for _ in read_items(path, []))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 40_000 and size > 5_000_000 and peak < 3 * arrays.PIECE + 1_000_000
