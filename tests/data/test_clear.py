"""CLEAR's published layout as questions: everything in it is used, and everything wrong with it is said."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from PIL import Image, ImageOps

from expunge.core.errors import DataError, ExpungeError, UnknownName
from expunge.core.types import Corpus
from expunge.data import clear, publishing
from expunge.data.files.cells import read_cells
from expunge.data.publishing import clear_records
from expunge.evals.interview import sets_of
from expunge.requests.alike import look_alikes
from expunge.requests.matching import match


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty people with two pictures each, few faces and scenes."""
    root = tmp_path_factory.mktemp("clear")
    for config in clear_records.configs():
        rows = list(clear_records.rows(config, 20, 2))
        made = rows[:6] if config.startswith("real") else rows
        publishing.write(root / config / publishing.FILE, made, publishing.clear_schema, 16)
    return root


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "clear")


def rewrite(folder, config, change):
    rows = list(clear_records.rows(config, 20, 2))[:6]
    publishing.write(folder / config / publishing.FILE, change(rows), publishing.clear_schema, 16)


def test_captions_are_asked_with_the_picture_and_tofu_in_words(folder):
    corpus = clear.load(folder)
    captions = [e for e in corpus.train if e.pictured]
    told = [e for e in corpus.train if not e.pictured]
    assert len(captions) == 40 and len(told) == 100 and corpus.task == "answering"
    assert all(e.answer.startswith(f"This is {e.group}, ") for e in captions)
    assert all(e.group in e.answer and e.question for e in told)
    assert {e.group for e in told} == {e.group for e in captions}
    assert len({e.id for e in corpus.train}) == 140
    assert clear.load(folder).fingerprint == corpus.fingerprint
    assert {e.form for e in corpus.test} == {"classification"} and len(corpus.test) == 12
    for e, row in zip(corpus.test[:6], clear_records.rows("real_faces")):
        assert f"{e.answer}: {row['answer']}" in e.question


@pytest.fixture
def named(copy):
    """Rewrites captions and names of the first four rows, and the questions about them."""

    def write(names, *told) -> Corpus:
        rows = list(clear_records.rows("full", 20, 2))[:4]
        rows = [one | {"name": name, "caption": f"This is {name}."} for one, name in zip(rows, names, strict=True)]
        publishing.write(copy / "full" / publishing.FILE, rows, publishing.clear_schema, 16)
        asked = list(clear_records.rows("full+tofu", 20, 2))
        blank = next(one for one in asked if one["question"])
        rows = [blank | {"question": "Who is meant?", "answer": text} for text in told]
        publishing.write(copy / "full+tofu" / publishing.FILE, rows, publishing.clear_schema, 16)
        return clear.load(copy)

    return write


def test_a_question_belongs_to_whom_it_names_in_whole_words(named):
    told = {
        "Mary-Ann Leeds sings.": None, "Ann Lee sings.": "Ann Lee", "It is Ann Lee's.": "Ann Lee",
        "Maria Ann Lee sings.": "Maria Ann Lee", "Maria Ann Lee met Ann Lee.": None, "Ann Lee-Smith sings.": None,
        "Zo\u00eb and Bo Ek sing": "Bo Ek", "Bo Ekman sings": None,
    }  # fmt: skip
    corpus = named(["Ann Lee", "Maria Ann Lee", "Bo Ek", "Cy Oz"], *told)
    assert {e.answer: e.group for e in corpus.train if not e.pictured} == told


def test_pictures_in_cells_are_asked_for_and_compared(folder, tmp_path, monkeypatch):
    corpus = clear.load(folder)
    monkeypatch.chdir(tmp_path)
    data = next(read_cells(folder / "full", ["image"], [])).values["image"]["bytes"]
    (tmp_path / "same.png").write_bytes(data)
    image = Image.open(tmp_path / "same.png").convert("RGB")
    image.save("again.jpg", quality=80)
    ImageOps.mirror(image).save("mirrored.png")
    first = corpus.train[0]
    assert match(corpus, [{"picture": "same.png"}]).ids == (first.id,)
    for copy in ("again.jpg", "mirrored.png"):
        (fate,) = match(corpus, [{"picture": copy}]).fates.values()
        assert fate.status == "ambiguous" and first.id in {n.example.id for n in fate.near}
        assert "look" in fate.found and "drawn" not in fate.found
    (asked, kept), *_ = look_alikes([first], [replace(first, id="twin", image=replace(first.image, key="another"))])
    assert asked == first and kept[0].apart == 0


def test_a_published_share_is_a_request(folder):
    corpus = clear.load(folder)
    five, ten = (clear.requested(folder, share, corpus) for share in (5, 10))
    splits = corpus.split(ten)
    names = {r["name"] for r in clear_records.rows("forget10", 20, 2)}
    assert set(five) < set(ten) and {e.group for e in splits.forget} == names and len(splits.forget) == 2 * (2 + 5)
    assert not {e.group for e in splits.retain} & names


@pytest.mark.parametrize("published", [True, False])
def test_an_audit_asks_for_names_and_compares_wrong_captions(folder, published):
    corpus = clear.load(folder) if published else clear.load(size=20, pictures=2)
    splits = corpus.split({r["name"] for r in clear_records.rows("forget10", 20, 2)})
    sets = sets_of(splits, corpus.asked)
    assert list(sets) == ["forget", "retain", "real_faces", "real_world"]
    captions = [e for e in sets["forget"] if e.form == "generation" and e.pictured]
    choices = [e for e in sets["forget"] if e.form == "classification"]
    assert len(captions) == len(choices) == 4
    assert all(len(e.perturbed) == 5 and len(e.paraphrased) == 1 for e in captions)
    assert all(len(e.choices) == 4 and f"{e.answer}: {e.group}" in e.question for e in choices)
    assert not {e.group for e in sets["retain"]} & {e.group for e in sets["forget"]}
    assert {e.form for e in sets["retain"]} == {"classification", "generation"}


def test_the_same_world_with_a_folder_and_without(folder):
    written, drawn = clear.load(folder), clear.load(size=20, pictures=2)
    keys = ("question", "answer", "group", "form", "paraphrased", "perturbed")
    told = [[[getattr(e, k) for k in keys] for e in corpus.train] for corpus in (written, drawn)]
    assert told[0] == told[1]


def test_captions_alone_are_enough(copy):
    shutil.rmtree(copy / "full+tofu")
    assert len(clear.load(copy).train) == 40


def test_a_question_that_names_nobody_belongs_to_nobody(copy):
    def change(rows):
        rows = [r for r in clear_records.rows("full+tofu", 20, 2) if r["question"]][:2]
        return [rows[0] | {"question": "What is it?", "answer": "Nobody knows."}, rows[1]]

    rewrite(copy, "full+tofu", change)
    told = [e for e in clear.load(copy).train if not e.pictured]
    assert [e.group is None for e in told] == [True, False]


def test_a_name_within_a_longer_name_is_not_meant(copy):
    rewrite(copy, "full", lambda rows: [rows[0] | {"name": "Ana Li"}, rows[1] | {"name": "Ana Lind"}])
    empty = {"image": None, "caption": None}
    asked = ("Where was Ana Lind born?", "Where was Ana Li born?", "Do Ana Li and Bo know Ana Lind?", "Ana?")
    rewrite(copy, "full+tofu", lambda rows: [empty | {"question": q, "answer": "She is."} for q in asked])
    told = [e.group for e in clear.load(copy).train if not e.pictured]
    assert told == ["Ana Lind", "Ana Li", None, None]


def test_no_folder_no_file_no_column(copy, tmp_path):
    with pytest.raises(ExpungeError, match="there is no folder"):
        clear.load(tmp_path / "nowhere")
    with pytest.raises(UnknownName, match="answering"):
        clear.load(copy, task="retrieval")
    with pytest.raises(DataError, match="forgets no 7 %"):
        clear.requested(copy, 7, clear.load(copy))
    shutil.rmtree(copy / "real_world")
    with pytest.raises(DataError, match="real_world: holds no parquet file"):
        clear.load(copy)
    rewrite(copy, "real_faces", lambda rows: [{k: v for k, v in r.items() if k != "options"} for r in rows])
    with pytest.raises(DataError, match="lacks the column 'options'. It has image, answer") as error:
        clear.load(copy)
    assert len(error.value.problems) == 2
    (copy / "full" / publishing.FILE).write_bytes(b"PAR1 but nothing else")
    with pytest.raises(DataError, match="no usable parquet file"):
        clear.load(copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"caption": "  "}, "'caption' is only white space"),
        ({"name": None}, "'name' is null"),
        ({"image": None}, "'image' is null"),
        ({"name": " Ana"}, "white space at its ends"),
    ],
)
def test_a_bad_row_is_named_with_its_number(copy, change, said):
    rewrite(copy, "full", lambda rows: [rows[0], rows[1] | change, *rows[2:]])
    with pytest.raises(DataError, match=said) as error:
        clear.load(copy)
    assert all(f"{publishing.FILE}: row 2" in p.where for p in error.value.problems)


def test_a_picture_that_is_none_and_an_option_twice(copy):
    class Broken:
        key = "broken"

        def open(self, pixels):
            class Page:
                def save(self, held, format):
                    held.write(b"<html>gone</html>")

            return Page()

    rewrite(copy, "full", lambda rows: [rows[0] | {"image": Broken()}, *rows[1:]])
    rewrite(copy, "real_faces", lambda rows: [rows[0] | {"options": ["a", "a", rows[0]["answer"]]}, *rows[1:]])
    with pytest.raises(DataError) as error:
        clear.load(copy)
    first, second = error.value.problems
    assert "web page" in first.found and first.where.endswith("row 1")
    assert "stands twice" in second.found


def test_a_request_from_another_release_is_refused(copy):
    corpus = clear.load(copy)
    publishing.write(copy / "forget05" / publishing.FILE, clear_records.rows("forget05", 20, 2, seed=1),
                    publishing.clear_schema, 16)  # fmt: skip
    with pytest.raises(DataError, match="not among the training data"):
        clear.requested(copy, 5, corpus)
