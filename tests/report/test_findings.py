"""What was looked at beside the scores, as sheets and drawings, from findings made by hand."""

from dataclasses import replace

import pytest
from tests.report.report_samples import dot

from expunge.core.record import Score
from expunge.report import plots
from expunge.report.findings import Findings, sheets
from expunge.report.grid import GridBlock, GridCell, Results
from expunge.report.illustrations import illustrations, slug
from expunge.report.pictures import decoded, heat, laid_over

WHITE, BLACK = dot((255, 255, 255)), dot((0, 0, 0))


def word(name: str, shift: float, before: float = 50.0) -> dict:
    return {"word": name, "pictures": 4, "seeds": 2, "before": before, "after": before + shift, "shift": shift}


FOUND = Findings(
    scores={
        "before": {"matching_own": Score(90.0, 3, 80.0, 96.0), "cosine_forget": Score(0.5, 3)},
        "cse": {"matching_own": Score(4.0, 3), "self_bleu": Score(float("nan"), 3),
                "classifier_accuracy": Score(93.0, 9), "modality_specific": Score(99.0, 4),
                "modality_specific_pictures": Score(97.0, 2),
                "modality_specific_texts": Score(88.0, 2), "modality_consistent_pictures": Score(60.0, 2),
                "modality_consistent_texts": Score(30.0, 2)},
        "retrained": {"matching_own": Score(5.0, 3)},
    },
    words={"cse": [word("ana", -80.0), word("hair", 0.00234), word("mill", -20.0), word("wall", 1.5)]},
    kinds={"cse": {"told": {"before": Score(70.0, 2), "shift": Score(-45.0, 2, -50.0, -40.0), "words": 12}}},
    seed="1", matching={"before": [[0.9, 0.2], [0.1, 0.8]], "cse": [[0.3, 0.2], [0.1, 0.4]]}, groups=["a", "b"],
    attention={"before": [{"which": "forgotten", "text": "t", "picture": WHITE, "map": [[1.0]]}],
               "cse": [{"which": "forgotten", "text": "t", "picture": WHITE, "map": [[0.0]]}]},
    maps={"cse": [{"stage": stage, "split": "forget", "side": "image", "x": 1.0, "y": y}
                  for stage, y in (("before", 1.0), ("after", 5.0))]},
    samples={"cse": [{"group": "a", "text": "true", "picture": WHITE, "drawn": BLACK, "written": "w" * 300},
                     {"group": "b", "text": "other", "picture": WHITE, "drawn": None, "written": None}],
             "short": [{"group": "a", "text": "true", "picture": WHITE, "drawn": None, "written": "made"}]},
    notes=("factors: none", "factors: none"),
)  # fmt: skip


def results(found: Findings = FOUND) -> Results:
    block = GridBlock("privacy", "retrieval", "albef", 5, "groups", "", (), ("0", "1"), findings=found)
    return Results("s", "s", "T", "", "", "table1", "cse", (), (block,), (), (), 1, 3)


@pytest.fixture(scope="module")
def made():
    return {sheet.name: sheet for sheet in sheets(results())}


def test_words_are_shown_by_what_became_of_them_and_kinds_are_not(made):
    kinds, words = made["words-shifted"].panels
    assert kinds.heads[:3] == ("told: match before", "told: shift", "told: n")
    assert kinds.lines[0].cells == (GridCell("70.0"), GridCell("−45.00", "5.00"), GridCell("12"), *[GridCell()] * 3)
    first, second = words.lines
    assert first.label == "ana" and [c.text for c in first.cells] == [
        "−80.00",
        "50.0",
        "4",
        "hair",
        "+0.00234",
        "50.0",
        "4",
    ]
    assert second.label == "mill" and second.cells[3].text == "wall" and second.cells[4].text == "+1.50"


def test_numbers_to_the_figures_leave_out_what_nobody_has(made):
    (panel,) = made["inside"].panels
    assert panel.heads == ("own pairs (%)", "cosine D_f")
    told = [(line.label, line.reference, *(c.text for c in line.cells)) for line in panel.lines]
    assert told == [("before", True, "90.0", "0.500"), ("cse", False, "4.0", "–"), ("retrained", True, "5.0", "–")]
    assert panel.lines[0].cells[0].half == "8.0"
    (anchors,) = made["anchors"].panels
    assert anchors.heads == ("Self-BLEU-4",) and anchors.lines[0].cells[0].text == "–"
    assert "right for 93 % of unseen pictures" in made["anchors"].note
    assert made["anchors"].note.count("Factors: none.") == 1


def test_a_picture_read_right_as_a_picture_is_read_as_text_the_less(made):
    factors, both = made["factors"].panels
    assert factors.heads == ("U'_1", "U'_2", "K'_1", "K'_2")
    ours = {line.label: [cell.text for cell in line.cells] for line in factors.lines if not line.reference}
    assert ours == {"A_text, fresh probe": ["3.0", "88.0", "40.0", "30.0"],
                    "A_image, fresh probe": ["97.0", "12.0", "60.0", "70.0"]}  # fmt: skip
    assert [line.reference for line in factors.lines] == [False, True] * 2
    assert both.lines[0].cells == (GridCell("99.0"), GridCell())


def test_written_samples_stand_beside_their_own_truth(made):
    (panel,) = made["written"].panels
    assert panel.prose and panel.heads == ("Ground truth", "cse", "short")
    assert [c.text for c in panel.lines[0].cells] == ["true", "w" * 199 + "…", "made"]
    assert [c.text for c in panel.lines[1].cells] == ["other", "–", "–"] and panel.lines[1].picture == WHITE


def test_drawings_turn_the_matrix_and_share_a_frame(monkeypatch):
    held: dict[str, list] = {"matrix": [], "scatter": [], "pictures": [], "word_shifts": []}
    for name, calls in held.items():
        monkeypatch.setattr(plots, name, lambda *given, calls=calls, **more: calls.append(given) or "<svg>")
    drawn = illustrations(results())
    assert [one.title.partition(":")[0] for one in drawn] == [
        "Who matches whom", "Where the model looks", "A map of meaning", "Words",
        "Pictures that MVI drew (the paper’s Figure 10)"]  # fmt: skip
    assert [call[0] for call in held["matrix"]] == [[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.1], [0.2, 0.4]]]
    assert [figure.caption for figure in drawn[0].figures] == ["Before", "cse"] and "seed 1" in drawn[0].note
    frames = [call[3] for call in held["scatter"]]
    assert frames[0] == frames[1] == frames[2] and [len(call[0]) for call in held["scatter"]] == [1, 1, 0]
    looked, mvi = held["pictures"]
    assert looked[1] == ["Picture", "Before", "cse"] and looked[0][0][0] == "forgotten: t"
    picture, before, after = (decoded(uri).convert("RGB").getpixel((4, 4)) for uri in looked[0][0][1])
    assert picture == after == (255, 255, 255) and before[0] > before[1] + 50, "red where it looks, clear where not"
    assert mvi[0] == [("true", [WHITE, BLACK, None]), ("other", [WHITE, None, None])]
    assert [[w["word"] for w in call[0]] for call in held["word_shifts"]] == [["ana", "mill"], ["hair", "wall"]]


def test_where_nothing_was_looked_at_nothing_is_shown():
    for nothing in (Findings(), None):
        empty = replace(results().blocks[0], findings=nothing)
        assert not any(sheet.panels for sheet in sheets(replace(results(), blocks=(empty,))))
        assert illustrations(replace(results(), blocks=(empty,))) == []


def test_files_of_labels_that_differ_in_marks_stay_apart():
    assert slug("words", "U' + K'", "lost") == "words-u-prime-and-k-prime-lost" != slug("words", "U K", "lost")


def test_heat_is_on_the_scale_of_its_own_peak_and_clear_elsewhere():
    layer = decoded(heat([[2.0, 0.0], [0.0, 0.0]]) or "")
    assert layer.size == (128, 128) and layer.getpixel((2, 2))[:3] == (214, 40, 57)
    assert layer.getpixel((2, 2))[3] == 215 and layer.getpixel((125, 125))[3] == 0
    assert heat([[2.0, 0.0], [0.0, 0.0]]) == heat([[0.02, 0.0], [0.0, float("nan")]])
    assert heat([[0.0, -1.0]]) is None is heat([[float("nan")]])
    assert decoded(laid_over(BLACK, [[0.0]])).getpixel((9, 9)) == (0, 0, 0)
    assert decoded(laid_over(BLACK, [[1.0]])).getpixel((9, 9))[0] > 150


def test_a_pair_is_laid_beside_the_same_pair_and_words_under_their_own_heading(monkeypatch):
    held = []
    monkeypatch.setattr(plots, "pictures", lambda rows, *rest: held.append(rows) or "<svg>")

    def looks(*maps):
        return [{"which": name, "text": name, "picture": WHITE, "map": [[one]]} for name, one in maps]

    looked = {
        "before": looks(("retained", 0.0), ("forgotten", 1.0)),
        "cse": looks(("forgotten", 0.0), ("everyday", 0.0)),
    }
    drawn = illustrations(results(replace(FOUND, attention=looked, samples={})))
    rows, nothing = held  # where it looks, and what MVI drew
    assert nothing == []
    assert [row[0] for row in rows] == ["forgotten: forgotten", "everyday: everyday"]
    assert decoded(rows[0][1][1]).convert("RGB").getpixel((4, 4))[1] < 200 and rows[1][1][1] is None
    (words,) = (one for one in drawn if one.title.startswith("Words"))
    assert [(f.caption, "ana" in f.svg, "hair" in f.svg) for f in words.figures] == [
        ("Lost the most", True, False), ("Moved the least", False, True)]  # fmt: skip


def test_wide_maps_are_not_turned():
    layer = decoded(heat([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]) or "")
    assert layer.getpixel((2, 120))[3] == 215 and layer.getpixel((120, 2))[3] == 0
