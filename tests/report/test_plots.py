"""What is drawn stands where its number says, in the colour of whom it is about: read off the figure, not its SVG."""

import math

import pytest
from matplotlib.colors import to_hex
from tests.report.report_samples import dot, record

from expunge.core.record import Score
from expunge.report import plots


@pytest.fixture
def drawn(monkeypatch):
    """Draws, and gives the figure and what is said of it."""
    held = []
    monkeypatch.setattr(plots, "_svg", lambda figure, name, spoken: held.append((figure, spoken)) or "<svg>")

    def draw(made, *rest, **more):
        assert made(*rest, **more) == "<svg>"
        return held.pop()

    return draw


def written(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_bars_are_as_long_as_their_scores_and_lines_as_their_intervals(drawn):
    one = record()
    one.scores["after"]["mi"] = Score(44.2, 9)  # no interval
    figure, spoken = drawn(plots.score_bars, one, ("r_test", "mi", "r_forget_named"))
    (axes,) = figure.axes
    stages = (("before", plots.BEFORE), ("after", plots.AFTER), ("oracle", plots.ORACLE))
    asked = [(one.scores[stage][key], colour) for key in ("r_test", "mi") for stage, colour in stages]
    assert [(bar.get_width(), to_hex(bar.get_facecolor())) for bar in axes.patches] == [
        (score.value, colour) for score, colour in asked
    ]
    ends = [[score.low, score.high] for score, _ in asked if math.isfinite(score.low)]
    assert [list(line.get_xdata()) for line in axes.lines] == [end for end in ends for _ in range(2)]  # under a halo
    places = [bar.get_y() for bar in axes.patches]
    assert places == sorted(places) and axes.get_ylim()[0] > axes.get_ylim()[1] and axes.get_xlim()[1] > 110
    assert "Everyday pictures: before 97.4, after 96.3, retrained 97.1" in spoken and "name" not in spoken
    nothing = record()
    nothing.scores["after"]["mi"] = Score(0.0, 9, 0.0, 3.0)
    bars = drawn(plots.score_bars, nothing, ("mi",))[0].axes[0].patches
    assert 0 < bars[1].get_width() < 1, "a score of nothing is seen, and not long"


ROWS = [("ga", Score(96.0, 3, 85.0, 107.0)), ("none", None), ("nan", Score(math.nan, 3)), ("cse", Score(1.0, 1)),
        ("a name that is much too long", Score(2.26, 3, -4.0, 9.0))]  # fmt: skip


@pytest.mark.parametrize(("distances", "ends", "told"), [
    (False, [[85.0, 100.0], [0.0, 9.0]], ["96.0", "1.0", "2.3"]),
    (True, [[85.0, 107.0], [0.0, 9.0]], ["96.00", "1.00", "2.26"]),
])  # fmt: skip
def test_methods_stand_at_their_means_with_intervals_as_far_as_a_number_goes(drawn, distances, ends, told):
    figure, spoken = drawn(plots.methods, ROWS, Score(50.0, 3), "m", "Here", distances=distances)
    (axes,) = figure.axes
    *intervals, line = axes.lines
    assert [list(one.get_xdata()) for one in intervals] == ends and list(line.get_xdata()) == [50.0, 50.0]
    assert to_hex(line.get_color()) == plots.ORACLE and line.is_dashed()
    assert [tuple(points.get_offsets()[0]) for points in axes.collections] == [(96.0, 0), (1.0, 1), (2.26, 2)]
    assert written(axes) == told and spoken.startswith(f"Here: ga {told[0]}, cse {told[1]}")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ga", "cse", "a name that is mu…"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1] and (axes.get_xlim()[0] == 0) == distances
    assert len(drawn(plots.methods, ROWS, Score(math.nan, 3), "m", "x")[0].axes[0].lines) == 2
    assert plots.methods(ROWS[1:3], None, "m", "x") == ""


def test_a_matrix_has_texts_in_rows_from_the_top_and_one_scale(drawn):
    values = [[90.0, 2.0, 4.0], [1.0, 60.0, math.nan], [0.0, 5.0, 30.0]]
    figure, spoken = drawn(plots.matrix, values, ["a", "b", "c"], "m", "Here")
    (axes,) = figure.axes
    (mesh,) = axes.collections
    assert mesh.get_array().tolist()[0] == values[0] and mesh.get_clim() == (0, 100)
    assert axes.yaxis_inverted() and not axes.xaxis_inverted()
    assert spoken == "Heat map. Here: own pairs score 60 on average, strangers 2."
    assert written(axes)[:6] == ["90", "2", "4", "1", "60", "–"]
    _, spoken = drawn(plots.matrix, [[0.9, 0.02], [0.04, 0.7]], [], "m", "Shares")
    assert "own pairs score 80 on average, strangers 3" in spoken
    _, spoken = drawn(plots.matrix, [[0.9, 0.1], [0.3, 0.7]], [], "m", "Little left", 100.0)
    assert "own pairs score 1 on average, strangers 0" in spoken


def test_after_is_drawn_on_the_scale_of_before(monkeypatch):
    from expunge.report.page import page

    tops = []
    monkeypatch.setattr(plots, "matrix", lambda values, labels, name, title, top: tops.append(top) or "")
    page(record(), {"matching": {"before": [[95.0, 2.0], [1.0, 90.0]], "after": [[0.8, 0.2], [0.1, 0.7]]}})
    page(record(), {"matching": {"before": [[0.95, 0.02]], "after": [[0.8, 0.2]]}})
    assert tops == [100.0, 100.0, 1.0, 1.0]


def test_the_map_shows_whose_point_it_is_and_of_what(drawn):
    points = [{"x": x, "y": -x, "modality": modality, "set": kind}
              for x, modality, kind in ((1.0, "image", "forget"), (2.0, "text", "forget"), (3.0, "image", "retain"),
                                        (4.0, "text", "retain"), (math.nan, "text", "retain"))]  # fmt: skip
    figure, spoken = drawn(plots.scatter, points, "s", "Here")
    (axes,) = figure.axes
    found = {tuple(c.get_offsets()[0]): c for c in axes.collections}
    assert list(found) == [(3.0, -3.0), (4.0, -4.0), (1.0, -1.0), (2.0, -2.0)], "the forgotten lie on top"
    for x, colour in ((1.0, plots.AFTER), (2.0, plots.AFTER), (3.0, plots.BEFORE), (4.0, plots.BEFORE)):
        assert to_hex(found[x, -x].get_edgecolors()[0]) == colour
        rings = len(found[x, -x].get_facecolors()) == 0
        assert rings == (x in (1.0, 3.0)), "pictures are rings"
        assert (len(found[x, -x].get_paths()[0].vertices) > 6) == rings
    assert spoken.endswith("2 forgotten and 2 retained points.")
    assert axes.get_xlim() == pytest.approx((0.85, 4.15)) and axes.get_ylim() == pytest.approx((-4.15, -0.85))
    within = ((0.0, 9.0), (-9.0, 9.0))
    assert drawn(plots.scatter, points, "s", "x", within)[0].axes[0].get_xlim() == within[0]
    assert plots.bounds([{"x": 2.0, "y": 5.0}]) == ((1.0, 3.0), (4.0, 6.0)), "one point has a frame, too"


def test_words_have_a_ring_before_and_a_dot_after(drawn):
    words = [{"word": "ana", "before": 90.0, "after": 12.0, "shift": -78.0},
             {"word": "hair", "before": 60.0, "after": 60.5, "shift": 0.5},
             {"word": "lost", "before": math.nan, "after": 1.0, "shift": 1.0}]  # fmt: skip
    figure, spoken = drawn(plots.word_shifts, words, "w", "Here")
    (axes,) = figure.axes
    rings = [c for c in axes.collections if to_hex(c.get_facecolors()[0]) == plots.PAPER]
    dots = [c for c in axes.collections if to_hex(c.get_facecolors()[0]) == plots.AFTER]
    assert [tuple(c.get_offsets()[0]) for c in rings] == [(90.0, 0), (60.0, 1)]
    assert [tuple(c.get_offsets()[0]) for c in dots] == [(12.0, 0), (60.5, 1)]
    assert written(axes) == ["−78.0", "+0.5"] and spoken == "Here: ana −78.0, hair +0.5."
    assert axes.get_xlim() == (0, 100) and axes.get_ylim()[0] > axes.get_ylim()[1]


def test_only_words_that_lost_something_are_lost():
    words = [{"word": w, "shift": s, "before": 50.0, "after": 50.0 + s} for w, s in zip("abcde", (3, 1, -0.5, 2, 0))]
    lost, kept = plots.split_words(words)
    assert [w["word"] for w in lost] == ["c"] and [w["word"] for w in kept] == ["e", "b", "d", "a"]


def test_long_trainings_are_drawn_as_means_and_single_numbers_not_at_all(drawn):
    rows = [{"step": i, "epoch": 1, "seed": 3, "loss": float(i % 2), **({"once": 1.0} if i == 5 else {})}
            for i in range(1000)]  # fmt: skip
    figure, spoken = drawn(plots.terms, rows)
    (panel,) = [axes for axes in figure.axes if axes.get_visible()]
    (line,) = panel.lines
    assert panel.get_title(loc="left") == "loss" and len(line.get_xdata()) == 143  # means of seven
    assert min(line.get_ydata()) == pytest.approx(3 / 7) and max(line.get_ydata()) == pytest.approx(4 / 7)
    assert list(line.get_xdata()[:2]) == [3.0, 10.0] and "once" not in spoken


def test_pictures_stand_in_the_row_of_their_label_and_the_column_of_their_head(drawn):
    red, green, blue = (dot(c) for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
    figure, spoken = drawn(plots.pictures, [("one", [red, green]), ("none", [None, None]), ("two", [None, blue])],
                           ["Truth", "Drawn"], "p", "made")  # fmt: skip
    shown = {axes.images[0].get_array()[0, 0].tolist()[:3].index(255): axes.get_position() for axes in figure.axes}
    assert shown[0].x0 < shown[1].x0 == shown[2].x0 and shown[0].y0 == shown[1].y0 > shown[2].y0
    assert spoken == "Pictures: made. Columns: Truth, Drawn. Rows: one; two."
