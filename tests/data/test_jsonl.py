"""The user's own pairs: what is accepted means what it says, what is not is named by its line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from expunge.core import plugins
from expunge.core.errors import PRINTED, DataError, in_lines
from expunge.core.pictures import NO_PICTURE
from expunge.core.types import DESCRIBE, Corpus
from expunge.data import jsonl
from expunge.data.files import album as albums
from expunge.data.files import pictures
from expunge.data.files.pictures import FilePicture
from expunge.data.fingerprint import fingerprint


def sound(number: int, **changes) -> dict:
    """A sound line; a change to ``...`` removes the key."""
    made = {"id": f"e{number}", "image": f"{number}.png", "text": f"picture number {number}", "group": f"g{number}"}
    return {key: value for key, value in (made | changes).items() if value is not ...}


def raw(**changes) -> str:
    return json.dumps(sound(1, **changes))


ASK = {"question": "what is it?", "choices": ["a cat", "a dog"], "answer": "a cat"}

# name -> (the broken line, what its problem must say)
BROKEN: dict[str, tuple[dict | str | bytes, str]] = {
    "not JSON": ("{broken", "not valid JSON"),
    "cut off": ('{"id": "e1", "image": "1.png"', "not valid JSON"),
    "two objects": (raw() + raw(), "not valid JSON"),
    "single quotes": ("{'id': 'e1'}", "not valid JSON"),
    "trailing comma": ('{"id": "e1",}', "not valid JSON"),
    "a list": ("[1, 2]", "is a list, not an object"),
    "a bare string": ('"hello"', "is a string, not an object"),
    "null": ("null", "is null, not an object"),
    "NaN": ('{"id": NaN, "image": "1.png", "text": "x", "group": "g"}', "NaN is not a JSON value"),
    "infinity": ('{"id": -Infinity}', "-Infinity is not a JSON value"),
    "a huge number": ('{"id": ' + "9" * 5_000 + "}", "not usable JSON"),
    "brackets without end": ("[" * 200_000, "not usable JSON"),
    "a duplicate key": ('{"id": "e1", "id": "e9", "image": "1.png", "text": "x", "group": "g"}', "'id' occurs twice"),
    "a duplicate key inside": ('{"id": "e1", "group": {"a": 1, "a": 2}}', "'a' occurs twice"),
    "invalid UTF-8": (b'{"id": "e1\xff"}', "byte 0xff is not valid UTF-8"),
    "latin-1": ('{"id": "Zoë"}'.encode("latin-1"), "is not valid UTF-8"),
    "a line too long": ('{"id": "' + "x" * (1 << 20) + '"}', "is longer than 1,048,576 bytes"),
    "an unknown key": (sound(1, grop="x"), "unknown key 'grop'. Did you mean 'group'?"),
    "an unknown key in capitals": (sound(1, Text="x"), "unknown key 'Text'. Did you mean 'text'?"),
    "an unknown key like nothing": (sound(1, zzzz=1), "unknown key 'zzzz'. Known are id, image"),
    "no id": (sound(1, id=...), "the key 'id' is missing"),
    "no image": (sound(1, image=...), "the key 'image' is missing"),
    "no text": (sound(1, text=...), "the key 'text' is missing"),
    "no group": (sound(1, group=...), "the key 'group' is missing"),
    "an id that is a number": (sound(1, id=7), "'id' is a number, not a string"),
    "an id that is true": (sound(1, id=True), "'id' is true or false, not a string"),
    "an id that is null": (sound(1, id=None), "'id' is null, not a string"),
    "an empty id": (sound(1, id=""), "'id' is empty"),
    "an id with a space at its end": (sound(1, id="e1 "), "'id' has white space at its ends"),
    "an id with a line break": (sound(1, id="e\n1"), "'id' holds a control character (U+000A) as its character 2"),
    "a no-break space": (sound(1, group="g\u00a01"), "'group' holds NO-BREAK SPACE (U+00A0) as its character 2"),
    "a group that is a list": (sound(1, group=["a"]), "'group' is a list, not a string"),
    "a text that is an object": (sound(1, text={}), "'text' is an object, not a string"),
    "an empty text": (sound(1, text=""), "'text' is empty"),
    "a white text": (sound(1, text=" \t\n"), "'text' is only white space"),
    "a text of ideographic spaces": (sound(1, text="\u3000\u00a0"), "'text' is only white space"),
    "a text without words": (sound(1, text="?!..."), "'text' holds no words"),
    "half a surrogate": ('{"id": "e1", "image": "1.png", "text": "\\ud800", "group": "g"}', "half of a surrogate pair"),
    "a NUL": (sound(1, text="a\x00b"), "holds a NUL character"),
    "an unknown kind": (sound(1, kind="privat"), "'kind' is 'privat'. Did you mean 'private'?"),
    "an unknown split": (sound(1, split="dev"), "'split' is 'dev'. It may be train, validation, test"),
    "a kind that is null": (sound(1, kind=None), "'kind' is null, not a string"),
    "a source that is a number": (sound(1, source=3), "'source' is a number"),
    "a used id": (sound(1, id="e0"), "the id 'e0' was already used at {file}:1"),
    "a used id in another spelling": (sound(1, id="zoe\u0308"), "the id used at {file}:2 in another Unicode spelling"),
    "a missing picture": (sound(1, image="11.png"), "'11.png' does not exist in"),
    "a picture outside": (sound(1, image="../1.png"), "climbs out of its folder"),
    "an absolute picture": (sound(1, image="/tmp/1.png"), "is an absolute path"),
    "a picture that is a folder": (sound(1, image="."), "is a folder"),
    "a picture that is a number": (sound(1, image=1), "'image' is a number, not a string"),
    "a truncated picture": (sound(1, image="cut.png"), "cannot be decoded"),
    "an absurd picture": (sound(1, image="huge.png"), "absurdly large"),
    "an empty picture": (sound(1, image="empty.png"), "is an empty file"),
    "a web page": (sound(1, image="page.jpg"), "a web page or XML"),
    "a link that leads out": (sound(1, image="link.png"), "is a link that leads out"),
    "a question without an answer": (sound(1, question="what?"), "neither 'answer' nor 'label'"),
    "choices without a question": (sound(1, choices=["a", "b"]), "'choices' without a 'question'"),
    "choices that are a string": (sound(1, **ASK | {"choices": "a cat"}), "'choices' is a string, not a list"),
    "one choice": (sound(1, **ASK | {"choices": ["a cat"]}), "holds 1 of at least 2"),
    "a choice that is a number": (sound(1, **ASK | {"choices": ["a cat", 2]}), "one of 'choices' is a number"),
    "equal choices": (sound(1, **ASK | {"choices": ["a cat", "A cat!"]}), "holds 'a cat' twice"),
    "an answer not among the choices": (
        sound(1, **ASK | {"answer": "a cot"}),
        "is not among the choices. Did you mean",
    ),
    "a label that is a number": (sound(1, label=0), "'label' is a number, not a string"),
}


@pytest.fixture
def furnished(album, claim_png):
    (album.root / "cut.png").write_bytes((album.root / "0.png").read_bytes()[:60])
    (album.root / "empty.png").write_bytes(b"")
    (album.root / "page.jpg").write_text("<html>not found</html>")
    (album.root / "huge.png").write_bytes(claim_png(65_536, 65_536))
    (album.root / "link.png").symlink_to("/etc/hostname")
    return album


def test_there_are_enough_broken_lines():
    assert len(BROKEN) >= 40


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_line_is_named_by_its_true_number(furnished, name):
    broken, found = BROKEN[name]
    path = furnished.write(sound(0), sound(2, id="zo\u00eb"), "", broken, sound(3))
    reading = jsonl.read(path)
    assert reading.items == 4 and reading.rejected == 1
    assert [e.id for e in reading.parts["train"]] == ["e0", "zo\u00eb", "e3"]
    assert reading.problems
    for problem in reading.problems:
        assert problem.where.startswith(f"{path}:4") and problem.remedy
    said = "\n".join(map(str, reading.problems))
    assert found.replace("{file}", str(path)) in said, said
    with pytest.raises(DataError) as error:
        jsonl.load(path)
    assert error.value.problems == reading.problems


def test_all_broken_lines_are_told_together_and_the_totals_balance(furnished):
    path = furnished.write(sound(0), sound(2, id="zo\u00eb"), *(one for one, _ in BROKEN.values()))
    reading = jsonl.read(path)
    accepted = sum(map(len, reading.parts.values()))
    assert reading.items == len(BROKEN) + 2
    assert accepted == 2 and accepted + reading.rejected == reading.items
    told = {int(p.where.removeprefix(f"{path}:").split(":")[0]) for p in reading.problems}
    assert told == set(range(3, len(BROKEN) + 3))


def test_several_faults_of_one_line_are_all_told(album):
    path = album.write({"id": 7, "image": "nowhere.png", "text": "", "grup": "x"})
    said = "\n".join(map(str, jsonl.read(path).problems))
    for found in ("'id' is a number", "does not exist", "'text' is empty", "unknown key 'grup'", "'group' is missing"):
        assert found in said


def test_a_column_is_given_where_it_is_known(album):
    path = album.write(sound(0), '{"id": "e1", }', b'{"id": "\xe9"}')
    assert [p.where for p in jsonl.read(path).problems] == [f"{path}:2:14", f"{path}:3:9"]


def test_the_printed_list_is_capped_but_counted(album):
    path = album.write(*(sound(n, image=f"{n}.pgn") for n in range(PRINTED + 50)))
    with pytest.raises(DataError) as error:
        jsonl.load(path)
    assert len(error.value.problems) == PRINTED + 50
    text = str(error.value)
    assert text.startswith(f"{PRINTED + 50} problems") and text.endswith("… 50 more; `expunge check … --json` has all")
    assert len(text.splitlines()) == PRINTED + 2


def test_one_wrong_column_is_said_once(album):
    path = album.write(*(sound(n, image="0.png", text=..., caption="x") for n in range(3_000)))
    with pytest.raises(DataError) as error:
        jsonl.load(path)
    head, *lines = str(error.value).splitlines()
    assert len(error.value.problems) == 6_000 and head.startswith("6000 problems") and len(lines) == 2
    assert lines[0].startswith(f"  {path}:1: unknown key 'caption'. Known are id, image, text")
    assert all("(the same in 3 000 places; this is the first)" in line for line in lines)


def test_what_is_alike_in_few_places_is_said_at_each(album):
    path = album.write(*(sound(n, image="0.png", text="") for n in range(3)))
    lines = in_lines(jsonl.read(path).problems)
    assert [line.partition(": ")[0] for line in lines] == [f"{path}:{n}" for n in (1, 2, 3)]


def test_a_missing_root_is_one_problem_before_the_lines(album):
    path = album.write(*(sound(n) for n in range(4)), sound(4, text=""))
    problems = jsonl.read(path, album.root / "nowhere").problems
    assert [p.where for p in problems] == [str(album.root / "nowhere"), f"{path}:5"]
    assert "is no folder" in problems[0].found and "--images FOLDER" in problems[0].remedy


def test_an_extra_column_is_answered_with_what_there_is_to_do(album):
    (problem,) = jsonl.read(album.write(sound(0, extra="x"))).problems
    assert "Did you mean" not in problem.remedy  # 'text' is not what anybody meant
    assert problem.remedy.startswith("Known are id, image, text, group, kind") and "leave it out" in problem.remedy
    (problem,) = jsonl.read(album.write(sound(0, grop="x"))).problems
    assert "Did you mean 'group'? Known are" in problem.remedy


@pytest.mark.parametrize(
    "name, content",
    [
        ("mine.csv", b"id,image,text\n1,0.png,hello\n"),
        ("array.json", b'[\n {"id": "e0"}\n]\n'),
        ("pretty.json", b'{\n "id": "e0"\n}\n'),
        ("ana.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF"),
    ],
)
def test_a_file_that_is_no_jsonl_is_told_as_one(album, monkeypatch, name, content):
    (album.root / name).write_bytes(content)
    (problem,) = jsonl.read(album.root / name).problems
    assert "own data is JSONL, one object a line" in problem.found and "expunge show jsonl" in problem.remedy
    monkeypatch.chdir(album.root)
    with pytest.raises(DataError, match="own data is JSONL"):
        plugins.load_data(name)  # a name without a folder, too


def test_jsonl_may_be_called_otherwise(album):
    path = album.write(sound(0), "{broken", name="mine.txt")
    reading = jsonl.read(path)
    assert len(reading.parts["train"]) == 1 and [p.where for p in reading.problems] == [f"{path}:2:2"]


def test_a_folder_without_its_file_names_the_one_that_is_there(album):
    album.write(sound(0), name="mine.jsonl")
    (problem,) = jsonl.read(album.root).problems
    assert problem.where.endswith("captions.jsonl") and problem.remedy.endswith(f"--data {album.root / 'mine.jsonl'}")


# ---------------------------------------------------------------------------------------------- the file itself


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_an_empty_file_says_so(album, content):
    album.file.write_bytes(content)
    with pytest.raises(DataError, match="holds no line at all"):
        jsonl.load(album.file)


def test_a_missing_file_has_a_nearest_match(album):
    album.write(sound(0))
    with pytest.raises(DataError, match=r"does not exist\. Did you mean 'captions\.jsonl'"):
        jsonl.load(album.root / "caption.jsonl")


def test_a_byte_order_mark_is_refused_once_and_its_line_read(album):
    path = album.write(b"\xef\xbb\xbf" + json.dumps(sound(0)).encode(), sound(1))
    reading = jsonl.read(path)
    assert [p.where for p in reading.problems] == [f"{path}:1:1"]
    assert len(reading.parts["train"]) == 2


def test_utf16_is_one_problem_and_not_a_thousand(album):
    path = album.root / "wide.jsonl"
    path.write_bytes("\n".join(json.dumps(sound(n)) for n in range(3)).encode("utf-16"))
    problems = jsonl.read(path).problems
    assert len(problems) == 1 and "UTF-16" in problems[0].found


def test_windows_line_ends_blank_lines_and_no_final_newline_are_fine(album):
    text = json.dumps(sound(0)) + "\r\n\r\n" + json.dumps(sound(1))
    album.file.write_bytes(text.encode())
    assert [e.origin for e in jsonl.load(album.file).train] == [f"{album.file}:1", f"{album.file}:3"]


def test_a_line_separator_inside_a_text_starts_no_line(album):
    path = album.write(json.dumps(sound(0, text="a\u2028b"), ensure_ascii=False), sound(1))
    assert [e.origin for e in jsonl.load(path).train] == [f"{path}:1", f"{path}:2"]


def test_only_held_out_lines_cannot_be_forgotten(album):
    with pytest.raises(DataError, match="no line is in the train split"):
        jsonl.load(album.write(sound(0, split="test")))


# ---------------------------------------------------------------------------------------------- what is accepted


def test_a_sound_file_becomes_a_corpus(album):
    path = album.write(
        sound(0, kind="private", source="staff"),
        sound(1, group=None, **ASK),
        sound(2, split="validation", label="entailment"),
        sound(3, split="test", question="where?", answer="here"),
    )
    corpus = jsonl.load(path)
    assert isinstance(corpus, Corpus) and corpus.name == album.root.name and not corpus.pretrain
    first, second = corpus.train
    assert (first.id, first.group, first.kind, first.source, first.text) == (
        "e0",
        "g0",
        "private",
        "staff",
        "picture number 0",
    )
    assert isinstance(first.image, FilePicture) and first.image.open(16).size == (16, 16)
    assert second.group is None and second.choices == ("a cat", "a dog") and second.answer == "a cat"
    assert corpus.validation[0].label == "entailment" and corpus.test[0].question == "where?"
    assert corpus.fingerprint == jsonl.load(path).fingerprint != ""
    album.paint("0.png", seed=77)
    assert corpus.fingerprint != jsonl.load(path).fingerprint


def test_a_source_is_part_of_the_fingerprint_where_a_line_gives_one(album):
    def hashed(*sources):
        return jsonl.load(album.write(*(sound(n, source=s) for n, s in enumerate(sources)))).fingerprint

    cases = [(...,), ("staff",), ("guests",), ("staff", ...), (..., "staff"), (..., ...)]
    marks = [hashed(*sources) for sources in cases]
    assert len(set(marks)) == len(marks)
    album.write(sound(0), sound(1))
    corpus = jsonl.load(album.file)
    bare = {"train": [replace(e, origin="") for e in corpus.train], "validation": (), "test": ()}
    assert corpus.fingerprint == fingerprint(bare), "without a source it is as it was"


def test_a_folder_is_found_by_its_captions(album):
    album.write(sound(0))
    assert jsonl.load(album.root).train == jsonl.load(album.file).train
    album.file.unlink()
    with pytest.raises(DataError, match=r"captions\.jsonl: does not exist"):
        jsonl.load(album.root)


def test_pictures_may_lie_under_another_root(album, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "pairs.jsonl"
    elsewhere.write_text(json.dumps(sound(0)))
    assert jsonl.load(elsewhere, root=album.root).name == "pairs.jsonl"
    with pytest.raises(DataError, match="does not exist"):
        jsonl.load(elsewhere)


def test_ids_and_groups_are_composed(album):
    lines = sound(0, id="zoe\u0308", group="Zoe\u0308", source="ae\u0308"), sound(1, group="Zo\u00eb", source="a\u00eb")
    corpus = jsonl.load(album.write(*lines))
    assert {e.source for e in corpus.train} == {"a\u00eb"}
    assert corpus.train[0].id == "zo\u00eb"
    assert {e.group for e in corpus.train} == {"Zo\u00eb"}


def test_equal_texts_are_fair_ties_and_facts_gather_over_a_picture(album):
    (album.root / "twin.png").write_bytes((album.root / "0.png").read_bytes())
    corpus = jsonl.load(
        album.write(
            sound(0, text="A red hat."), sound(1, image="twin.png", text="a tall man"), sound(2, text="a red  hat!"),
            sound(3, text="a blue hat"),
        )
    )  # fmt: skip
    one, twin, same, other = corpus.train
    assert one.image.key == twin.image.key
    assert one.facts == twin.facts == {"a red hat", "a tall man"}
    assert same.described_by(one) and one.described_by(same) and not other.described_by(one)
    assert twin.described_by(one) and not same.described_by(twin)


def test_every_distinct_picture_is_decoded_once(album, monkeypatch):
    (album.root / "twin.png").write_bytes((album.root / "0.png").read_bytes())
    decoded = []
    original = pictures.decode
    monkeypatch.setattr(albums, "decode", lambda data: decoded.append(1) or original(data))
    album.write(sound(0), sound(1, image="0.png"), sound(2, image="twin.png"), sound(3))
    assert len(jsonl.load(album.file).train) == 4 and len(decoded) == 2


def test_a_broken_picture_is_told_for_every_line_that_names_it(furnished):
    path = furnished.write(*(sound(n, image="cut.png") for n in range(3)))
    assert [p.where for p in jsonl.read(path).problems] == [f"{path}:{n}" for n in (1, 2, 3)]


# ---------------------------------------------------------------------------------------------- tasks with answers

LACKING = {
    "no question": ("multiple_choice", sound(1), "the key 'question' is missing, which multiple_choice needs"),
    "no choices": (
        "multiple_choice", sound(1, question="what is it?", answer="a cat"),
        "the key 'choices' is missing, which multiple_choice needs",
    ),
    "no answer": (
        "multiple_choice", sound(1, question="what is it?", choices=["a", "b"], label="x"),
        "the key 'answer' is missing, which multiple_choice needs",
    ),
    "an answer that is no choice": ("multiple_choice", sound(1, **ASK | {"answer": "a cow"}), "not among the choices"),
    "no label": ("entailment", sound(1), "the key 'label' is missing, which entailment needs"),
    "another label": ("entailment", sound(1, label="entails"), "Did you mean 'entailment'"),
    "a label like nothing": ("entailment", sound(1, label="yes"), "It may be contradiction, neutral, entailment"),
    "a label that is no string": ("entailment", sound(1, label=2), "the label 2 is none of entailment's"),
}  # fmt: skip


@pytest.mark.parametrize("name", LACKING)
def test_a_line_that_the_task_cannot_use_is_named(album, name):
    task, broken, found = LACKING[name]
    good = sound(0, **ASK) if task == "multiple_choice" else sound(0, label="neutral")
    path = album.write(good, broken)
    reading = jsonl.read(path, task=task)
    assert reading.rejected == 1 and [e.id for e in reading.parts["train"]] == ["e0"]
    assert {p.where for p in reading.problems} == {f"{path}:2"}
    assert any(found in str(p) for p in reading.problems)
    with pytest.raises(DataError, match=f"{path.name}:2"):
        jsonl.load(path, task=task)


def test_questions_are_read_beside_the_picture_and_their_answer_can_be_drawn(album):
    corpus = jsonl.load(album.write(sound(0, text="a cat sits there", **ASK)), task="multiple_choice")
    (e,) = corpus.train
    assert corpus.task == "multiple_choice"
    assert (e.text, e.described) == ("what is it?", "a cat sits there")
    assert (e.choices, e.answer) == (("a cat", "a dog"), "a cat")


def test_what_a_model_that_writes_is_asked(album):
    lines = [
        sound(0, text="a cat sits there"),
        sound(1, text="a cat sits there", question="what is it?", answer="a cat"),
        sound(2, text="a dog sits there", **ASK | {"answer": "a dog"}),
        sound(3, text="the cat is called Tom", image=None, question="what is the name of the cat?", answer="Tom"),
    ]
    corpus = jsonl.load(album.write(*lines), task="answering")
    caption, question, options, words = corpus.train
    assert corpus.task == "answering" and all(e.text == e.question for e in corpus.train)
    assert (caption.question, caption.answer, caption.form) == (DESCRIBE, "a cat sits there", "generation")
    assert (question.question, question.answer, question.form) == ("what is it?", "a cat", "generation")
    assert (options.answer, options.choices, options.form) == ("B", ("A", "B"), "classification")
    assert "what is it?" in options.question and "B: a dog" in options.question
    assert [e.described for e in corpus.train] == [line["text"] for line in lines]
    assert [e.pictured for e in corpus.train] == [True, True, True, False] and words.image is NO_PICTURE
    assert [e.group for e in corpus.train] == [f"g{i}" for i in range(4)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (sound(1, question="what is it?", label="neutral"), "'answer' is missing, which answering needs"),
        (sound(1, image=None), "'image' is null"),
        (sound(1, image=None, question="what is it?"), "neither 'answer' nor 'label'"),
        (sound(1, question="q", choices=[f"c{i}" for i in range(30)], answer="c1"), "more than there are letters"),
    ],
)
def test_what_a_model_that_writes_cannot_be_asked_is_named(album, line, found):
    reading = jsonl.read(album.write(sound(0), line), task="answering")
    assert reading.rejected == 1 and any(found in str(p) for p in reading.problems)
    if line["image"] is None:  # words alone are no pair for the other tasks
        assert jsonl.read(album.write(sound(0), line | {"answer": "a cat"}), task="retrieval").rejected == 1


def test_what_a_label_denies_is_no_fact(album):
    lines = [sound(i, image="0.png", text=f"claim {i}", label=label) for i, label in
             enumerate(("entailment", "neutral", "contradiction"))]  # fmt: skip
    corpus = jsonl.load(album.write(*lines), task="entailment")
    assert {e.facts for e in corpus.train} == {frozenset({"claim 0"})}
    assert [e.described for e in corpus.train] == ["claim 0", "claim 1", "claim 2"]


def test_names_may_hold_the_joiners_that_their_script_needs(album):
    persian, malayalam = "\u0645\u06cc\u200c\u0646\u0627", "\u0d28\u0d4d\u200d"
    corpus = jsonl.load(album.write(sound(0, group=persian), sound(1, id=malayalam)))
    assert corpus.train[0].group == persian and corpus.train[1].id == malayalam
