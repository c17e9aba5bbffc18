"""Leaks and the whole check: what would make a run fail or lie, all of it, before it starts."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from expunge.core.pictures import NO_PICTURE, HeldPicture
from expunge.core.types import Corpus, Example, Kind, Splits
from expunge.data import jsonl, people
from expunge.data.worlds.drawing import DrawnPicture
from expunge.evals.sampling import draw
from expunge.requests import checking
from expunge.requests.alike import look_alikes
from expunge.requests.checking import check
from expunge.requests.leakage import find_leaks, find_overlap, near_warnings


def example(name: str, picture: str, text: str, kind=None) -> Example:
    return Example(name, DrawnPicture(picture, str), text, name, kind=kind)


# ---------------------------------------------------------------------------------------------- leaks


def test_the_same_picture_on_both_sides_is_one_problem():
    forget = [example("f1", "P", "one"), example("f2", "P", "two"), example("f3", "Q", "three")]
    retain = [example("r1", "P", "one"), example("r2", "P", "four"), example("r3", "R", "five")]
    (problem,) = find_leaks(forget, retain)
    assert problem.where == "example f1"
    assert problem.found == "the same picture is to be forgotten here and kept at example r1 (and 1 more)"
    assert "--allow-leakage" in problem.remedy


def test_a_picture_that_leaks_hides_no_text_that_another_one_keeps():
    """Whatever is done about P, which stays as r1: r2 still says "x". Of "y" only r1 speaks, which is told already."""
    forget = [example("f1", "P", "x"), example("f2", "Q", "y")]
    problems = find_leaks(forget, [example("r1", "P", "y"), example("r2", "R", "x")])
    assert [p.found for p in problems] == [
        "the same picture is to be forgotten here and kept at example r1",
        "the same text is to be forgotten here and kept at example r2",
    ]
    assert [p.where for p in problems] == ["example f1", "example f1"]


@pytest.mark.parametrize(
    ("asked", "kept", "leaks"),
    [(None, None, True), ("private", "private", True), ("shared", "shared", False), ("shared", None, True),
     (None, "shared", True), ("shared", "private", True)],
)  # fmt: skip
def test_the_same_text_is_a_leak_unless_both_sides_call_it_shared(asked, kept, leaks):
    forget = [example("f1", "P", "A red hat!", asked)]
    retain = [example("r1", "Q", "something else"), example("r2", "R", "a  red hat", kept)]
    problems = find_leaks(forget, retain)
    assert len(problems) == leaks
    if leaks:
        assert "the same text is" in problems[0].found and "example r2" in problems[0].found
        assert "hat" not in problems[0].found
        assert '"kind": "shared"' in problems[0].remedy


def test_a_text_leak_names_the_lines_that_are_not_shared():
    forget = [example("f1", "P", "x", "shared"), example("f2", "Q", "x", "private")]
    (problem,) = find_leaks(forget, [example("r1", "R", "x", "shared")])
    assert problem.where == "example f2"
    (problem,) = find_leaks(forget[:1], [example("r1", "R", "x", "shared"), example("r2", "S", "x")])
    assert "example r2" in problem.found


def test_embedded_people_with_equal_visual_sentences_do_not_leak():
    corpus = people.load()
    splits = corpus.split([f"p{n:03d}" for n in range(50)])
    texts = {e.text for e in splits.forget} & {e.text for e in splits.retain}
    assert texts, "the world holds equal descriptions, otherwise this proves nothing"
    assert find_leaks(splits.forget, splits.retain) == []
    assert find_overlap(corpus) == []


def test_captions_leak_and_questions_do_not_whatever_the_task(album, row):
    asked = {"question": "What is it?", "answer": "a hat"}
    lines = [row(0, text="Ana – the “miller”"), row(1, text="Ana - the miller."), row(2, text="a hat", **asked)]
    path = album.write(*lines, row(3, text="a hat", **asked), row(4, image="3.png", text="something else"))
    problems, _ = check(path, ["g0", "g2"], task="answering")
    assert [p.found for p in problems] == [f"the same text is to be forgotten here and kept at {path}:2"]
    lines[1]["text"] = "Ana is said to be the best miller"
    lines[0]["text"] = "Ana is said to be the worst miller"
    path = album.write(*lines, row(3, **asked), row(4, image="3.png", text="something else"))
    problems, warnings = check(path, ["g0", "g2"], task="answering")
    assert not problems and sum("its text is nearly the one" in w.found for w in warnings) == 1


def test_who_is_forgotten_and_held_out_in_another_guise_is_warned_of(album, row):
    lines = sound_lines(row)
    assert not [w for w in check(album.write(*lines), ["g0"])[1] if "held out" in w.found]
    Image.open(album.root / "0.png").save(album.root / "again.jpg", quality=70)
    lines[2]["image"] = "again.jpg"
    lines[8] |= {"text": "Picture number 0!", "group": "G0"}
    path = album.write(*lines)
    problems, warnings = check(path, ["g0"])
    said = [w.found for w in warnings if "held out" in w.found]
    assert not problems and len(said) == 3 and all(w.where == f"{path}:1" for w in warnings if "held out" in w.found)
    assert f"at {path}:3, which is held out" in said[0] and "looks like the one (" in said[0]
    assert said[1] == f"its text is the one at {path}:9, which is held out"
    assert said[2] == f"its group 'g0' is nearly 'G0' at {path}:9, which is held out"


def test_asking_for_one_sentence_of_a_person_leaks_the_portrait():
    splits = people.load().split(["p017-private1"])
    (problem,) = find_leaks(splits.forget, splits.retain)
    assert problem.found.startswith("the same picture") and "(and 4 more)" in problem.found


def test_a_picture_in_training_and_test_makes_audits_lie():
    train, test = (example("a", "P", "x"), example("b", "Q", "y")), (example("c", "P", "z"),)
    (problem,) = find_overlap(Corpus("x", train, test=test))
    assert problem.where == "example a" and "at example c, in the test split" in problem.found
    found = find_overlap(Corpus("x", train, validation=(example("d", "Q", "z"), example("e", "P", "w")), test=test))
    assert [(p.where, p.found) for p in found] == [
        ("example a", "its picture is in the train split and, at example e, in the validation split"),
        ("example b", "its picture is in the train split and, at example d, in the validation split"),
        ("example a", "its picture is in the train split and, at example c, in the test split"),
        ("example e", "its picture is in the validation split and, at example c, in the test split"),
    ]


def test_a_picture_in_any_two_splits_is_told_and_words_alone_are_no_picture():
    one, other = (example("1", "P", "one"),), (example("2", "P", "two"),)
    for early, late in (("train", "validation"), ("train", "test"), ("validation", "test")):
        parts: dict = {"train": (), early: one, late: other}
        (problem,) = find_overlap(Corpus("x", **parts))
        assert f"in the {early} split and, at example 2, in the {late} split" in problem.found
    asked, kept = ((replace(e, image=NO_PICTURE),) for (e,) in (one, other))
    assert find_leaks(asked, kept) == [] == find_overlap(Corpus("x", asked, kept))


def test_nearly_equal_files_are_warned_of_and_drawings_are_not(album, row):
    Image.open(album.root / "0.png").resize((60, 50)).save(album.root / "again.jpg", quality=80)
    corpus = jsonl.load(album.write(row(0), row(1), row(2, image="again.jpg"), row(3)))
    one, two, again, three = corpus.train
    (warning,) = near_warnings(look_alikes([one], [two, again, three]))
    assert warning.where == one.origin and f"the one at {again.origin} (" in warning.found
    assert look_alikes([two], [one, again, three]) == []
    unhashed = [replace(e, image=replace(e.image, look=None)) for e in (two, again, three)]
    assert len(look_alikes([one], unhashed)) == 1
    drawn = people.load().split(["p017"])
    assert look_alikes(drawn.forget, drawn.retain) == []


# ---------------------------------------------------------------------------------------------- the whole check


def sound_lines(row) -> list[dict]:
    """The first two are trained, and so are those after the fourth: as few as every audit can do with."""
    kept = [row(n, image="1.png", kind="private") for n in (4, 5, 6)]
    strangers = [row(n, image="3.png", kind="private", split="test") for n in (7, 8, 9)]
    return [
        row(0, kind="private"), row(1, kind="private"), row(2, split="validation"), row(3, split="test"),
        *kept, *strangers,
    ]  # fmt: skip


def test_a_sound_request_has_neither_problems_nor_warnings(album, row):
    path = album.write(*sound_lines(row))
    assert check(path, ["g0"]) == ([], [])
    assert check(album.root, "g0") == ([], [])
    assert check(jsonl.load(path), ["e0"]) == ([], [])


def test_the_embedded_worlds_pass():
    assert check(people.load(), ["p017", "p042"]) == ([], [])
    assert check(people.load("validation"), ["v017"]) == ([], [])


def test_everything_wrong_is_told_in_one_pass(album, row):
    """Broken data, an unknown name and a leak: none hides another."""
    path = album.write(
        row(0), row(1, id="e0"), row(2, text=""), row(3, group="g9", image="0.png", text="something else"), "{broken"
    )
    who = album.write({"group": "g0"}, {"group": "g99"}, {"group": "g2"}, {"id": 5}, name="who.jsonl")
    problems, _ = check(path, who)
    said = "\n".join(map(str, problems))
    assert f"{path}:2: the id 'e0' was already used at {path}:1" in said
    assert f"{path}:3: 'text' is empty" in said
    assert f"{path}:5:2: is not valid JSON" in said
    assert f"{who}:2: no group 'g99' in the training data" in said and "Did you mean 'g9'?" in said
    assert f"{who}:4: 'id' is a number" in said
    assert f"{path}:1: the same picture is to be forgotten here and kept at {path}:4" in said
    assert "'g2'" not in said  # it stands in a broken line: mending that comes first
    assert len(problems) == 6


def test_a_leak_may_be_allowed_and_is_then_a_warning(album, row):
    lines = sound_lines(row)
    lines[1]["text"] = lines[0]["text"]
    path = album.write(*lines)
    problems, warnings = check(path, ["g0"])
    assert len(problems) == 1 and not warnings
    problems, warnings = check(path, ["g0"], allow_leakage=True)
    assert not problems and len(warnings) == 1 and f"kept at {path}:2" in warnings[0].found


def test_forgetting_everything_is_a_problem(album, row):
    path = album.write(*sound_lines(row))
    problems, _ = check(path, ["g0", "g1", "g4", "g5", "g6"])
    assert [p.found for p in problems] == ["all 5 training examples are to be forgotten and none is kept"]


def test_forgetting_nobody_is_a_problem(album, row):
    (problem,), _ = check(album.write(*sound_lines(row)), [])
    assert problem.found == "names nobody"


def test_missing_data_is_a_problem_and_not_a_crash(album):
    for path in (album.root / "nothing.jsonl", album.root / "nofolder", album.root):
        (problem,), warnings = check(path, ["g0"])
        assert "does not exist" in problem.found and not warnings


def test_audits_that_cannot_be_done_are_named(album, row):
    def warned(*lines) -> str:
        problems, warnings = check(album.write(*lines), ["g0"])
        assert not problems
        return "\n".join(map(str, warnings))

    bare = warned(row(0), row(1))
    assert "no held-out example, so the membership audit (mi, mi_auc) will be withheld" in bare
    assert "no test split, so r_test will be withheld" in bare
    assert "no kind, so r_forget_shared and r_forget_private will be withheld" in bare
    one = warned(row(0, kind="private"), row(1), row(2, split="test"))
    assert "there is 1 retained group and 3 are needed, so the membership audit" in one and "no test split" not in one
    guests = [row(n, source="guests", split="test") for n in (2, 3)]
    sources = warned(row(0, kind="shared", source="staff"), row(1, source="guests"), *guests)
    assert "there are 0 retained groups of the source 'staff' and 3 are needed" in sources and "'guests'" not in sources


def noise(seed: int) -> HeldPicture:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return HeldPicture(str(seed), Image.fromarray(pixels))


def test_audits_are_foreseen_as_they_are_drawn():
    """What is said to be withheld, by the rule of the draw itself, over many small corpora."""
    rng, seen = random.Random(0), set()
    kinds: tuple[Kind | None, ...] = ("private", "shared", None)

    def persons(least: int, most: int, name: str) -> tuple[Example, ...]:
        some = [(f"{name}{n}", rng.choice(("", "", "guests"))) for n in range(rng.randint(least, most))]
        usual = rng.choice(kinds)
        mixed = rng.random() < 0.5  # then a group holds several kinds, and counting groups would not do
        told = [rng.sample(kinds, 2) if mixed else [usual] for _ in some]
        return tuple(
            Example(f"{g}-{kind}", noise(0), g, g, source, kind)
            for (g, source), held in zip(some, told)
            for kind in held
        )

    for _ in range(300):
        splits, test = Splits(persons(1, 2, "f"), persons(1, 9, "r")), persons(0, 9, "t")
        said = [w.found for w in checking._withheld(Corpus("x", splits.forget + splits.retain, (), test), splits)]
        drawn = draw(splits, test)
        wanted = {"mi": not drawn.members, "r_test": not drawn.known}
        told = {"mi": any("membership audit" in one for one in said), "r_test": any("r_test" in one for one in said)}
        assert told == wanted, (drawn.notes, said)
        seen |= set(wanted.items())
    assert len(seen) == 4, "each was both measured and not"


def test_private_strangers_are_not_called_absent():
    """They are there, and left out: nobody told the model what is private of them."""
    lines = [Example(f"e{n}", noise(n), f"text {n}", f"g{n}", kind="private") for n in range(12)]
    splits, test = Splits(tuple(lines[:2]), tuple(lines[2:8])), tuple(lines[8:10])
    notes = draw(splits, test).notes
    assert any(n.startswith("All 2 test examples are private") and "Hold out shared ones" in n for n in notes)
    assert any("2 held-out groups" in n for n in notes) and not any("no test examples" in n for n in notes)
    assert any("There are no test examples" in n for n in draw(splits, ()).notes)
    said = "\n".join(map(str, checking.check(Corpus("x", tuple(lines[:8]), (), test), ["g0", "g1"]).warnings))
    assert "all 2 held-out examples are private" in said and "there are 2 held-out groups and 3 are needed" in said


def test_a_person_on_both_sides_of_the_fence_is_warned_of(album, row):
    lines = sound_lines(row)
    lines[3]["group"] = "g0"
    path = album.write(*lines)
    problems, warnings = check(path, ["g0"])
    assert not problems
    assert [w.where for w in warnings] == [f"{path}:4"] and f"at {path}:1, in training" in warnings[0].found


def test_groups_that_differ_only_in_case_are_warned_of(album, row):
    lines = sound_lines(row)
    lines[1]["group"] = "G0"
    _, warnings = check(album.write(*lines), ["g0"])
    assert [w.found for w in warnings] == ["the groups 'g0' and 'G0' differ only in case"]


def test_the_check_changes_nothing(album, row):
    path = album.write(*sound_lines(row))
    before = {p.name: p.read_bytes() for p in album.root.iterdir()}
    check(path, [json.dumps("x")])
    assert {p.name: p.read_bytes() for p in album.root.iterdir()} == before
