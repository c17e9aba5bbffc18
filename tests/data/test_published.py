"""Public data sets: what an item of the published layout becomes, and what is remembered of files."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import replace

import pytest

import published
from expunge.core import plugins
from expunge.core.errors import DataError, ExpungeError
from expunge.core.run import Silent
from expunge.core.types import TASKS
from expunge.data import mllmu, vqa
from expunge.data.files import album
from expunge.data.files.intake import dealt
from expunge.data.files.manifest import Manifest
from expunge.data.fingerprint import fingerprint


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("sets")
    for name, write in published.ALL.items():
        write(place / name)
    return place


def corpus(place, name, **options):
    return plugins.load_data(name, folder=place / name, **options)


def test_every_public_set_says_what_it_is_without_being_imported():
    entries = {e.name: e for e in plugins.entries("data")}
    for name in ("flickr30k", "coco", "vqa", "snli_ve", "mllmu"):
        tree = plugins.tree_of(entries[name].path)
        assert plugins.constant(tree, "LICENCE") and plugins.constant(tree, "DOWNLOAD")
        assert not entries[name].is_embedded and set(entries[name].tasks) < set(TASKS)
        assert plugins.is_own(name) and "folder" in plugins.places(name)
    assert [n for n, e in entries.items() if e.is_embedded] == ["dossiers", "people", "scenes"]
    assert not plugins.is_own("people:validation") and plugins.is_own("x.jsonl")


# ---------------------------------------------------------------------------------------------- captions


@pytest.mark.parametrize("name", ["flickr30k", "coco"])
def test_captions_are_shared_and_true_of_their_picture(place, name):
    found = corpus(place, name)
    assert (len(found.train), len(found.validation), len(found.test)) == (12, 8, 8)
    assert Counter(e.group for e in found.train) == dict.fromkeys({e.group for e in found.train}, 2)
    first, second = found.train[:2]
    assert (first.id, second.id) == (f"{first.group}-0", f"{first.group}-1") and first.image.key == second.image.key
    assert first.facts == first.meaning | second.meaning and first.kind == "shared" and first.source == name
    assert first.origin.endswith("_train.json: item 1") and found.licence
    assert first.image.open(8).size == (8, 8)


def test_coco_itself_is_read_where_albefs_files_are_not(place):
    found = plugins.load_data("coco", folder=place / "coco_annotations")
    assert len(found.train) == 12 and len(found.validation) + len(found.test) == 20
    assert {e.group for e in found.validation}.isdisjoint(e.group for e in found.test)
    assert min(len(found.validation), len(found.test)) > 0
    with pytest.raises(DataError, match="does not exist"):
        plugins.load_data("coco", folder=place / "coco_annotations", year="2017")


def test_pictures_may_lie_elsewhere(place, tmp_path):
    for part in ("train", "val", "test"):
        name = f"flickr30k_{part}.json"
        (tmp_path / name).write_bytes((place / "flickr30k" / name).read_bytes())
    with pytest.raises(DataError, match="does not exist"):
        plugins.load_data("flickr30k", folder=tmp_path)
    moved = plugins.load_data("flickr30k", folder=tmp_path, images=place / "flickr30k")
    assert moved.fingerprint == corpus(place, "flickr30k").fingerprint


@pytest.mark.parametrize("name", ["flickr30k", "coco", "coco_annotations", "snli_ve", "vqa", "mllmu"])
def test_the_source_of_a_published_set_is_no_part_of_its_fingerprint(place, name):
    """It follows from the set; models that were made before a line of one's own could have one are found again."""
    found = plugins.load_data(name.partition("_")[0] if "coco" in name else name, folder=place / name)
    parts = {part: getattr(found, part) for part in ("train", "validation", "test")}
    assert {e.source for e in found.train} != {""}
    unnamed = {part: [replace(e, source="") for e in examples] for part, examples in parts.items()}
    assert fingerprint(parts) == fingerprint(unnamed)


def test_a_file_that_one_may_do_without_is_missed_aloud(place, tmp_path):
    published.flickr30k(tmp_path)
    (tmp_path / "flickr30k_test.json").unlink()
    reading = plugins.read_data("flickr30k", folder=tmp_path)
    assert reading.problems == () and reading.parts["test"] == ()
    assert [str(w) for w in reading.warnings] == [
        f"{tmp_path / 'flickr30k_test.json'}: does not exist. So there is no test split"
    ]


def test_known_extras_are_read_past_and_the_unusable_is_left_out_on_request(tmp_path):
    published.flickr30k(tmp_path)
    path = tmp_path / "flickr30k_train.json"
    items = json.loads(path.read_text())
    published.dump(path, [one | {"sentid": n, "note": ""} for n, one in enumerate(items)])
    assert len(plugins.read_data("flickr30k", folder=tmp_path).problems) == 24
    for extra in ("sentid,note", ["sentid", "note"]):
        assert plugins.read_data("flickr30k", folder=tmp_path, extra=extra).problems == ()
    items[3]["caption"] = ""
    published.dump(path, items)
    reading = plugins.read_data("flickr30k", folder=tmp_path, skip=True)
    assert reading.problems == () and len(reading.parts["train"]) == 11 and reading.rejected == 1
    assert [str(w) for w in reading.warnings if "1 of 20 items are left out" in w.found or "item 4" in w.where][1:]


# ---------------------------------------------------------------------------------------------- questions, statements


def test_a_question_has_its_most_frequent_answer_and_three_unrelated_ones(place):
    found = corpus(place, "vqa")
    given = {e.answer for e in found.train}
    for e in (*found.train, *found.validation, *found.test):
        assert len(set(e.choices)) == 4 and e.answer in e.choices and set(e.choices) - {e.answer} <= given
        assert e.kind == "shared" and e.text == e.question and e.statement.endswith(e.answer)
    items = json.loads((place / "vqa" / "vqa_train.json").read_text())
    for item, e in zip(items, found.train):
        assert e.id == str(item["question_id"]) and e.answer == Counter(item["answer"]).most_common(1)[0][0]
        assert set(e.choices) & set(item["answer"]) == {e.answer}, "what anybody answered is no wrong choice"
    assert len({e.choices.index(e.answer) for e in found.train}) > 1, "the right one has no fixed place"


def test_the_first_of_the_most_frequent_answers_is_right_and_no_choice_says_what_another_says(tmp_path):
    published.vqa(tmp_path)
    (tmp_path / "answer_list.json").unlink()
    items = json.loads((tmp_path / "vqa_train.json").read_text())
    said = [word for one in ("one", "two", "three", "four") for word in (one, one.capitalize(), f"{one}.")]
    for item, word in zip(items[1:], said * 2):
        item["answer"] = [word]
    items[0]["answer"] = ["blue", "red", "red", "green", "green"]
    published.dump(tmp_path / "vqa_train.json", items)
    first, *others = plugins.load_data("vqa", folder=tmp_path).train
    assert first.answer == "red" and [e.answer for e in others[:3]] == ["one", "One", "one."]
    assert all(len({choice.casefold().strip(".") for choice in e.choices}) == 4 for e in (first, *others))


def test_choices_are_the_same_at_every_start_and_others_with_another_seed(place):
    one, two, other = (corpus(place, "vqa", seed=seed) for seed in (0, 0, 1))
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert [e.answer for e in one.train] == [e.answer for e in other.train]


def test_a_choice_does_not_hang_on_the_order_of_the_file(place, tmp_path):
    published.vqa(tmp_path)
    items = json.loads((tmp_path / "vqa_train.json").read_text())
    published.dump(tmp_path / "vqa_train.json", items[::-1])
    turned = {e.id: e.choices for e in plugins.load_data("vqa", folder=tmp_path).train}
    assert turned == {e.id: e.choices for e in corpus(place, "vqa").train}


def test_held_out_pictures_are_dealt_and_no_picture_stands_twice(place, tmp_path):
    found = corpus(place, "vqa")
    names = [dealt(f"COCO_val2014_{n:012d}") for n in range(2000)]
    assert set(names) == {"validation", "test"} and 900 < names.count("test") < 1100, "half each"
    parts = [{e.image.key for e in part} for part in (found.train, found.validation, found.test)]
    assert all(parts) and not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert "vqa_test.json: holds no answers" in str(found.warnings[0])
    published.vqa(tmp_path)
    told = json.loads((tmp_path / "vqa_test.json").read_text())
    published.dump(tmp_path / "vqa_test.json", [one | {"answer": ["cat"]} for one in told])
    whole = plugins.load_data("vqa", folder=tmp_path)
    assert len(whole.test) == len(told) and len(whole.validation) == 24 and whole.warnings == ()


def test_only_listed_answers_are_drawn(place, tmp_path):
    published.vqa(tmp_path)
    listed = {*published.COLOURS, "car"}
    published.dump(tmp_path / vqa.ANSWERS, sorted(listed))
    for e in plugins.load_data("vqa", folder=tmp_path).train:
        assert set(e.choices) - {e.answer} <= listed


def test_a_statement_has_its_label_and_only_the_true_is_a_fact(place):
    found = corpus(place, "snli_ve")
    assert Counter(e.label for e in found.train) == {"entailment": 6, "neutral": 6, "contradiction": 6}
    one = [e for e in found.train if e.group == "3001"]
    assert [e.id for e in one] == ["3001-0", "3001-1", "3001-2"]
    assert all(e.facts == next(o.meaning for o in one if o.label == "entailment") for e in one)
    assert len({e.meaning for e in one}) == 3


# ---------------------------------------------------------------------------------------------- people


def test_a_biography_is_sentences_beside_the_portrait(place):
    found = corpus(place, "mllmu")
    one = [e for e in found.train if e.group == "003"]
    assert [e.text for e in one][0] == "Emil Falk was born on May 4, 1980 in St. Gallen."
    assert [(e.id, e.kind) for e in one] == [
        ("003-0", "private"), ("003-1", "private"), ("003-2", "shared"), ("003-3", "private")
    ]  # fmt: skip
    assert len({e.image.key for e in one}) == 1 and one[0].image.open(8).size == (8, 8)
    assert {e.source for e in found.train} == {"people"}
    assert {e.source for e in (*found.validation, *found.test)} == {"celebrities"}
    table = corpus(place, "mllmu", document="biography", celebrities=False)
    assert table.train[0].text == "Alba Adler, employment: nurse" and table.test == table.validation == ()


def test_people_may_be_held_out_and_trained_ones_named_by_their_shares(place):
    found = corpus(place, "mllmu", held_out=4, celebrities=False)
    sizes = [len({e.group for e in part}) for part in (found.train, found.validation, found.test)]
    assert sizes == [4, 2, 2]
    again, other = (corpus(place, "mllmu", held_out=4, celebrities=False, seed=s) for s in (0, 1))
    assert found.fingerprint == again.fingerprint != other.fingerprint
    whole, shares = (corpus(place, "mllmu", train=t).train for t in ("Full_Set", "forget_5+retain_95"))
    assert [e.id for e in whole] == [e.id for e in shares]
    with pytest.raises(DataError, match="the ID '000' was already used at"):
        corpus(place, "mllmu", train="Full_Set+forget_5")


def test_classification_is_asked_beside_the_portrait(place):
    found = corpus(place, "mllmu", task="multiple_choice")
    (one,) = [e for e in found.train if e.group == "003"]
    assert (one.id, one.question, one.answer) == ("003-q0", "What does this person work as?", "tailor")
    assert one.choices.index("tailor") == 2 and len(one.choices) == 4 and one.kind == "private"
    named = corpus(place, "mllmu", task="multiple_choice", pure_text=True)
    assert len(named.train) == 2 * len(found.train) and any("Emil Falk" in e.text for e in named.train)


def test_the_people_may_stand_amid_everyday_pictures(place):
    found = corpus(place, "mllmu", amid=place / "flickr30k")
    assert found.name == "mllmu+flickr30k"
    assert Counter(e.source for e in found.train) == {"people": 32, "flickr30k": 12}
    assert {"flickr30k", "celebrities"} == {e.source for e in found.test}
    assert "Flickr30k" in found.licence and "MLLMU" in found.licence
    asked = corpus(place, "mllmu", amid=place / "vqa", task="multiple_choice")
    assert Counter(e.source for e in asked.train) == {"people": 8, "vqa": 16}


def test_everything_that_is_asked_is_there_to_read(place):
    people = list(mllmu.records(place / "mllmu", "Full_Set"))
    assert [p.id for p in people] == [f"{n:03d}" for n in range(8)]
    one = people[3]
    asked = {(a.form, a.type): a for a in one.asked}
    assert set(asked) == {
        ("biography", "Image_Textual"), ("classification", "Image_Textual"), ("classification", "Pure_Text"),
        ("generation", "Image_Textual"), ("cloze", "Pure_Text"),
    }  # fmt: skip
    cloze = asked["cloze", "Pure_Text"]
    assert (cloze.person, cloze.question, cloze.answer) == ("003", "Emil Falk works as a [Blank].", "tailor")
    assert asked["classification", "Pure_Text"].options[2] == asked["classification", "Pure_Text"].answer
    assert len(one.pictures) == 1 and len(one.sentences) == 4
    assert all(len(p.pictures) == 2 for p in mllmu.records(place / "mllmu", "Test_Set"))
    (told,) = next(mllmu.records(place / "mllmu", "ft_Data")).asked
    assert told.form == "finetuning" and told.answer.startswith("Alba Adler was born")
    with pytest.raises(ExpungeError, match="Did you mean 'forget_5'"):
        list(mllmu.records(place / "mllmu", "forget_05"))


def test_parquet_without_pyarrow_names_the_extra(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExpungeError, match=r"pip install 'expunge\[parquet\]'"):
        corpus(place, "mllmu")


# ---------------------------------------------------------------------------------------------- what is remembered


@pytest.fixture
def counted(monkeypatch):
    """How many pictures were decoded."""
    decoded = []
    original = album.decode
    monkeypatch.setattr(album, "decode", lambda data: decoded.append(len(data)) or original(data))
    return decoded


class Watched(Silent):
    def __init__(self):
        self.stages, self.steps = [], 0

    def start(self, what, total):
        self.stages.append((what, total))

    def advance(self, steps=1):
        self.steps += steps


def test_the_second_start_decodes_nothing_and_a_check_everything(tmp_path, counted):
    published.flickr30k(tmp_path)
    (tmp_path / "flickr30k-images" / "1001.jpg").write_bytes((tmp_path / "flickr30k-images" / "1000.jpg").read_bytes())
    watched = Watched()
    first = plugins.load_data("flickr30k", folder=tmp_path, progress=watched)
    assert len(counted) == 13, "fourteen files, thirteen contents"
    assert watched.stages == [("looking at every picture", 14)] and watched.steps == 14
    again = plugins.load_data("flickr30k", folder=tmp_path)
    assert len(counted) == 13 and again.fingerprint == first.fingerprint
    assert [e.image.look for e in again.train] == [e.image.look for e in first.train]
    assert None not in {e.image.look for e in again.train}
    for e, kept in zip(first.train, again.train):  # a mirrored or turned copy is told from the list of files, too
        assert kept.image.turned == e.image.turned and len(set(kept.image.turned)) > 1
    plugins.read_data("flickr30k", folder=tmp_path, fresh=True)
    assert len(counted) == 26


def test_a_changed_picture_is_seen_named_and_changes_the_fingerprint(tmp_path, counted):
    published.flickr30k(tmp_path)
    first = plugins.load_data("flickr30k", folder=tmp_path)
    path = tmp_path / "flickr30k-images" / "1002.jpg"
    published.drawn(77).save(path)
    os.utime(path, (9, 9))
    counted.clear()
    again = plugins.load_data("flickr30k", folder=tmp_path)
    assert len(counted) == 1 and again.fingerprint != first.fingerprint
    (said,) = again.warnings
    assert said.where == "flickr30k-images/1002.jpg" and "has changed since it was last read" in said.found
    assert plugins.load_data("flickr30k", folder=tmp_path).warnings == (), "said once"


def test_a_broken_picture_is_remembered_as_broken(tmp_path, counted):
    published.flickr30k(tmp_path)
    (tmp_path / "flickr30k-images" / "1002.jpg").write_bytes(published.encoded(3, "JPEG")[:200])
    first = plugins.read_data("flickr30k", folder=tmp_path)
    counted.clear()
    again = plugins.read_data("flickr30k", folder=tmp_path)
    assert counted == [] and again.problems == first.problems and len(first.problems) == 2


def test_the_list_names_every_file_with_its_hash_and_counts(tmp_path):
    published.flickr30k(tmp_path)
    path = tmp_path / "flickr30k_train.json"
    items = json.loads(path.read_text())
    items[2]["caption"] = ""
    published.dump(path, items)
    plugins.read_data("flickr30k", folder=tmp_path)
    folders = {"folder": str(tmp_path), "images": str(tmp_path)}
    kept = Manifest("flickr30k", folders, "").recall()
    assert kept is not None and not list(tmp_path.glob("*manifest*")), "nothing is written beside the data"
    train = kept.files[str(path)]
    assert (train.accepted, train.rejected, train.bytes) == (11, 1, path.stat().st_size) and len(train.sha256) == 64
    assert len(kept.files) == 3 and len(kept.pictures) == 14
    assert items[0]["caption"] not in kept.path.read_text(), "it holds no text of the data"


def test_a_list_of_another_decoder_or_a_spoilt_one_is_not_believed(tmp_path, counted, monkeypatch):
    published.flickr30k(tmp_path)
    plugins.load_data("flickr30k", folder=tmp_path)
    counted.clear()
    monkeypatch.setattr("expunge.data.files.pictures.POLICY", 2)
    plugins.load_data("flickr30k", folder=tmp_path)
    assert len(counted) == 14
    manifest = Manifest("flickr30k", {"folder": str(tmp_path), "images": str(tmp_path)}, "")
    manifest.path.write_text("{broken")
    assert manifest.recall() is None
    assert plugins.load_data("flickr30k", folder=tmp_path).train and manifest.recall() is not None


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch):
    published.flickr30k(tmp_path / "data")
    (tmp_path / "cache").write_text("a file, no folder")
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path / "cache"))
    found = plugins.load_data("flickr30k", folder=tmp_path / "data")
    assert len(found.train) == 12 and "cannot be kept" in found.warnings[0].found
