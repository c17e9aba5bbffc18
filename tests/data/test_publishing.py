"""The fictitious people as the benchmarks' own records and files, and those read back as questions."""

from __future__ import annotations

import hashlib
import json
import shutil

import pyarrow.parquet as pq
import pytest

from expunge.core import plugins
from expunge.core.errors import DataError, ExpungeError, UnknownName
from expunge.core.types import Picture
from expunge.data import dossiers, publishing
from expunge.data.files import cells
from expunge.data.files.cells import CellAlbum, read_cells
from expunge.data.publishing import clear_records, mllmu_records

SIZE = 20


@pytest.fixture(scope="module")
def mllmu(tmp_path_factory):
    return publishing.write_mllmu(tmp_path_factory.mktemp("mllmu"), size=SIZE, celebrities=3, pixels=24)


def rows_of(folder):
    return pq.read_table(folder).to_pylist()


def content(records) -> str:
    """A hash of everything in records, pictures by their key."""
    plain = json.dumps(list(records), default=lambda p: p.key, sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def test_the_records_are_the_same_everywhere():
    assert content(mllmu_records.records("forget_5", SIZE)) == "4656e2cfba49ae47"
    assert content(mllmu_records.records("forget_5", SIZE, seed=1)) != "4656e2cfba49ae47"
    assert content(clear_records.rows("forget05_perturbed", SIZE, 2)) == "c2409a91b540bdb2"
    assert content(clear_records.rows("real_faces")) == "dcf2a1baf8dde3d8"


# ------------------------------------------------------------------------------------------ MLLMU-Bench


def test_the_shares_are_nested_and_leave_everybody_once():
    ids = {config: {r["ID"] for r in mllmu_records.records(config, SIZE, 3)} for config in mllmu_records.configs()}
    whole = {f"p{i:03d}" for i in range(SIZE)}
    assert ids["Full_Set"] == ids["Test_Set"] == whole and len(ids["Retain_Set"]) == 3
    for share, count in ((5, 1), (10, 2), (15, 3)):
        forgotten, kept = ids[f"forget_{share}"], ids[f"retain_{100 - share}"]
        assert len(forgotten) == count and forgotten | kept == whole and not forgotten & kept
        assert mllmu_records.configs(SIZE, 3)[f"forget_{share}"] == ("p", count)
    assert ids["forget_5"] < ids["forget_10"] < ids["forget_15"]
    with pytest.raises(DataError, match="no config of MLLMU-Bench"):
        list(mllmu_records.records("forget_20"))


def test_the_files_have_the_published_keys_and_types(mllmu):
    assert {p.name for p in mllmu.iterdir()} == set(mllmu_records.configs())
    (row,) = [r for r in rows_of(mllmu / "Full_Set") if r["ID"] == "p003"]
    assert list(row) == ["image", "ID", "Directory", "biography", "question", "answer", "Classification_Task",
                         "Generation_Task", "Mask_Task"]  # fmt: skip
    assert row["image"]["bytes"].startswith(b"\x89PNG")
    assert set(json.loads(row["biography"])) >= {"Name", "Born in", "Occupation"}
    assert list(row["Classification_Task"]) == ["Image_Textual_Questions", "Pure_Text_Questions"]
    (asked, *_) = row["Classification_Task"]["Pure_Text_Questions"]
    assert list(asked) == ["Question", "Options", "Correct_Answer"] and list(asked["Options"]) == list("ABCD")
    for key in ("Generation_Task", "Mask_Task"):
        assert all(list(one) == ["Question", "Ground_Truth", "Type"] for one in row[key])
        assert {one["Type"] for one in row[key]} == {"Image_Textual", "Pure_Text"}
    assert all("__" in one["Question"] for one in row["Mask_Task"])
    test = rows_of(mllmu / "Test_Set")[0]
    assert "image" not in test and len(test["images"]) == 2 and test["images"][0] != test["images"][1]


KEYS = ("question", "answer", "form", "choices", "group", "kind", "pictured")


def asked_of(examples) -> list[str]:
    return sorted(str([getattr(e, k) for k in KEYS]) for e in examples)


def test_files_read_back_by_the_loader_ask_what_dossiers_ask(mllmu):
    """One loader for the published files and ours: the same questions, but for what the schema has no place for."""
    ours = dossiers.load(size=SIZE, celebrities=3)
    found = plugins.load_data("mllmu", folder=str(mllmu), task="answering", held_out=2)
    away = {e.group for e in (*found.validation, *found.test)}
    assert len(away) == 2 and found.task == "answering" and list(found.asked) == ["test", "celebrity"]

    def told(examples):
        return asked_of(e for e in examples if e.kind == "private" and e.group not in away)

    assert asked_of(found.train) == told(ours.train) and asked_of(found.asked["celebrity"]) == told(ours.pretrain)
    assert asked_of(found.asked["test"]) == told(ours.asked["test"])
    everything = [*found.train, *found.validation, *found.test, *(e for some in found.asked.values() for e in some)]
    assert len({e.id for e in everything}) == len(everything)
    (where,) = {e.origin for e in found.train if e.group == "p003"}
    assert where.endswith("row 4")


def test_without_the_test_set_there_are_the_people_alone(mllmu, tmp_path):
    shutil.copytree(mllmu / "Full_Set", tmp_path / "Full_Set")
    found = plugins.load_data("mllmu", folder=str(tmp_path), task="answering")
    assert found.asked == {} and len(found.train) == SIZE * 33
    with pytest.raises(ExpungeError, match="amid is for retrieval"):
        plugins.load_data("mllmu", folder=str(tmp_path), task="answering", amid=str(tmp_path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ID": ""}, "'ID' is empty"),
        ({"image": None}, "there is no 'image'"),
        ({"Mask_Task": [{"Question": "q __", "Ground_Truth": "", "Type": "Pure_Text"}]}, "'Ground_Truth' is empty"),
        (
            {"Classification_Task": {"Image_Textual_Questions": [
                {"Question": "q", "Options": {"A": "x", "B": "y"}, "Correct_Answer": "C"}]}},
            "'Correct_Answer' is 'C', none of A, B",
        ),
        ({"Classification_Task": None, "Generation_Task": None, "Mask_Task": None}, "holds a question"),
    ],
)  # fmt: skip
def test_a_record_that_lacks_something_is_named(tmp_path, change, said):
    rows = [r | (change if i == 1 else {}) for i, r in enumerate(mllmu_records.records("Full_Set", 3))]
    publishing.write(tmp_path / "Full_Set" / publishing.FILE, rows, publishing.mllmu_schema, 16)
    with pytest.raises(DataError, match=said) as error:
        plugins.load_data("mllmu", folder=str(tmp_path), task="answering")
    assert f"{publishing.FILE}: row 2" in str(error.value)


# ------------------------------------------------------------------------------------------ CLEAR


def test_clears_configs_have_the_published_keys():
    keys = {c: {tuple(row) for row in clear_records.rows(c, 20, 2)} for c in clear_records.configs()}
    caption, tofu = ("image", "caption", "name"), ("image", "caption", "question", "answer")
    extra = ("perturbed_captions", "paraphrased_caption", "perturbed_names")
    assert len(keys) == 21
    for config, found in keys.items():
        wanted = tofu if config.endswith("+tofu") else caption + extra if config.endswith("_perturbed") else caption
        wanted = {"real_faces": ("image", "answer", "options"),
                  "real_world": ("image", "question", "answer", "options")}.get(config, wanted)  # fmt: skip
        assert found == {wanted}, config
    with pytest.raises(UnknownName, match="forget05"):
        list(clear_records.rows("forget5"))


def test_a_wrong_caption_differs_from_the_reworded_one_by_the_name_alone():
    for row in clear_records.rows("forget10_perturbed", 20, 3):
        name = row["name"]
        assert name in row["caption"] and name in row["paraphrased_caption"]
        assert row["paraphrased_caption"] != row["caption"]
        assert len(row["perturbed_names"]) == 5 and name not in row["perturbed_names"]
        for other, caption in zip(row["perturbed_names"], row["perturbed_captions"]):
            assert caption.replace(other, name) == row["paraphrased_caption"]


def test_a_row_is_either_a_caption_or_a_question():
    rows = list(clear_records.rows("forget10+tofu", 20, 2))
    captions = [r for r in rows if r["image"] is not None]
    told = [r for r in rows if r["image"] is None]
    assert len(captions) == 2 * 2 and len(told) == 2 * 5
    assert all(r["question"] is None and isinstance(r["image"], Picture) for r in captions)
    assert all(r["caption"] is None and r["answer"] for r in told)


def test_every_picture_of_somebody_is_another_and_its_caption_says_what_is_in_it():
    rows = list(clear_records.rows("full", 20, 3))
    assert len({r["image"].key for r in rows}) == len(rows) == 60
    walls = {json.loads(r["image"].key.split(":", 1)[1]).get("looks", {}).get("wall") for r in rows[1:3]}
    assert all(any(f"before a {wall} wall" in r["caption"] for wall in walls) for r in rows[1:3])


# ------------------------------------------------------------------------------------------ cells


def test_pictures_are_read_from_their_cells_and_mistrusted_when_they_change(tmp_path):
    path = tmp_path / "full" / publishing.FILE
    publishing.write(path, clear_records.rows("full", 2, 2), publishing.clear_schema, 24)
    problems, album = [], CellAlbum()
    rows = list(read_cells(path.parent, ("image", "name"), problems))
    pictures = [album.take(c, "image", problems) for c in rows]
    assert problems == [] and len({p.key for p in pictures}) == 4 and pictures[0].open(16).size == (16, 16)
    assert rows[2].where == f"{path}: row 3" and set(rows[0].values) == {"image", "name"}
    publishing.write(path, clear_records.rows("full", 2, 2, seed=1), publishing.clear_schema, 24)
    cells._column.cache_clear()
    with pytest.raises(DataError, match="row group 0, row 1: has changed"):
        pictures[1].open(16)
