"""The page is pure, self-contained, safe against hostile text, and complete with whatever parts there are."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from tests.report.report_samples import BEFORE, COLLAPSED, comparisons, dot, panels, record

from expunge.core.record import Record, Score
from expunge.report import plots
from expunge.report.page import page, picture

VOID = {"meta", "img", "br", "link", "input", "hr", "circle", "path", "rect", "use"}


class Outline(HTMLParser):
    """Tags with attributes, and whether they nest."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def shown():
    return panels()


@pytest.fixture(scope="module")
def full(shown):
    return page(record(), shown, comparisons())


def test_same_record_same_bytes(full, shown):
    assert page(Record.from_json(record().to_json()), json.loads(json.dumps(shown)), comparisons()) == full


def test_the_arguments_stay_as_they_were(shown):
    one, before = record(), json.dumps(shown)
    page(one, shown)
    assert one == record()
    assert json.dumps(shown) == before


def test_nothing_is_fetched(full):
    outline = Outline(full)
    for tag, attrs in outline.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "srcset", "poster", "action", "data", "background"):
            assert re.match(r"data:image/|#", attrs.get(name, "#")), (tag, name)
    assert "http://" not in full
    assert "https://" not in full
    assert "@import" not in full
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]+)\)", full))


def test_the_markup_nests_and_ids_are_unique(full):
    outline = Outline(full)
    assert outline.open == []
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    labels = [attrs["aria-labelledby"] for _, attrs in outline.tags if "aria-labelledby" in attrs]
    assert set(labels) <= set(ids)


def test_accessible(full):
    outline = Outline(full)
    assert ("html", {"lang": "en"}) in outline.tags
    assert all("alt" in attrs for tag, attrs in outline.tags if tag == "img")
    assert all("scope" in attrs for tag, attrs in outline.tags if tag == "th")
    assert all(attrs.get("aria-label") or attrs.get("aria-hidden") for tag, attrs in outline.tags if tag == "svg")
    assert any(attrs.get("name") == "viewport" for tag, attrs in outline.tags if tag == "meta")
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_every_section_is_there(full):
    for title in ("Who was to be forgotten", "What happened, and can it be trusted", "Before, after, retrained",
                  "Compared with other methods", "One by one", "What changed inside", "How it was made", "Limits",
                  "Words used here", "What was not checked", "Where the model looks",
                  "The map of meaning"):  # fmt: skip
        assert title in full
    assert "not in the training data of people" in full
    assert "learning_rate" in full
    assert "499c3f0" in full
    assert "prefers-color-scheme" in full
    assert "@media print" in full


def test_no_promise_that_cannot_be_kept(full):
    for html in (full, page(record(BEFORE)), page(record(oracle=None)), page(Record())):
        assert "proof" not in html.lower()
        assert "guarantee" not in html.lower()


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}$x_y$"


def test_hostile_text_is_only_text():
    one = record()
    one.requested.append(EVIL)
    one.forgotten[0] = EVIL
    one.rejected = [{"id": EVIL, "reason": EVIL}]
    one.notes = [EVIL]
    one.spec |= {"method": EVIL, "model": EVIL, EVIL: EVIL}
    one.environment = {EVIL: {EVIL: EVIL}}
    one.generator = {EVIL: 1.0}
    answer = {"picture": dot((0, 0, 0)) + '" onload="x', "score": EVIL, "own": True}
    evil = {
        "people": [
            {
                "group": EVIL, "name": EVIL, "portrait": "javascript:alert(1)",
                "anchors": {"pictures": [dot((1, 2, 3)), "https://tracker.example/x.png"], "pictures_for": [EVIL],
                            "texts": [EVIL]},
                "sentences": [{"kind": EVIL, "text": EVIL, "before": [answer]}],
                "portrait_matches": {"before": [{"text": EVIL, "score": 1, "own": False, "kind": EVIL}]},
            }
        ],
        "matching": {"before": [[1.0, 0.0], [0.0, 1.0]], "after": [[0.0, 0.0], [0.0, 0.0]], "labels": [EVIL, EVIL]},
        "words": [{"word": EVIL, "before": 90.0, "after": 1.0, "shift": -89.0, "count": 2, "kind": EVIL}],
        "terms": [{"step": i, EVIL: 1.0 / (i + 1)} for i in range(4)],
    }  # fmt: skip
    html = page(one, evil, [(EVIL, one), ("x", record())])
    outline = Outline(html)
    assert [tag for tag, _ in outline.tags].count("script") == 1
    assert not any(name.startswith("on") for _, attrs in outline.tags for name in attrs)
    assert "javascript:" not in html
    assert "tracker" not in html
    assert "49$" not in html
    assert outline.open == []


def test_only_pictures_are_pictures():
    assert picture(dot((9, 9, 9)))
    for bad in (
        None,
        3,
        "",
        "x.png",
        "https://e.com/a.png",
        "data:text/html;base64,AAAA",
        "data:image/svg+xml;base64,AAAA",
        'data:image/png;base64,AA"x',
    ):
        assert picture(bad) is None


@pytest.mark.parametrize("part", ["people", "matching", "tsne", "words", "terms"])
def test_any_part_may_be_alone_or_wrong(shown, part):
    bare = Record()
    assert len(page(bare, {part: shown[part]})) > len(page(bare)) + 1000
    for wrong in (None, [], {}, [None], [{}], {"before": [[1], [2, 3]], "after": "x"}, 3):
        assert Outline(page(bare, {part: wrong})).open == []


def test_any_part_of_a_person_may_be_missing(shown):
    person = shown["people"][0]
    for part in person:
        html = page(Record(), {"people": [{k: v for k, v in person.items() if k != part}]})
        assert Outline(html).open == []


def test_records_without_oracle_interval_or_anything():
    assert "no such model was made" in page(record(oracle=None))
    assert "No verdict" in page(record(oracle=None, wide=False))
    assert "Nobody was forgotten" in page(Record())
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page(Record()), flags=re.S).lower().replace("finance", "")


def test_the_status_is_on_the_page():
    assert 'class="verdict passed"' in page(record(wide=False))
    assert 'class="verdict failed"' in page(record(BEFORE))
    assert 'class="verdict failed"' in page(record(COLLAPSED))
    assert 'class="verdict withheld"' in page(record(oracle=None))


def test_attention_that_is_nowhere_is_not_drawn(shown):
    person = dict(shown["people"][0])
    person["gradcam"] = {"text": "t", "before": [[4.0, 0.0], [0.0, 0.0]], "after": [[0.0, 0.0], [0.0, 0.0]]}
    assert "Where the model looks" not in page(record(), {"people": [person]})
    person["gradcam"]["after"] = [[0.0, 0.0], [0.0, 1.0]]
    assert "Where the model looks" in page(record(), {"people": [person]})


def test_words_are_split_into_lost_and_kept():
    words = [{"word": f"w{i}", "shift": -10.0 * i, "before": 90.0, "after": 90.0 - 10 * i} for i in range(9)]
    lost, kept = plots.split_words(words, 3)
    assert [w["word"] for w in lost] == ["w8", "w7", "w6"]
    assert [w["word"] for w in kept] == ["w0", "w1", "w2"]


def test_figures_scale_to_many_people_and_take_fractions():
    many = [[float(i == j) for j in range(60)] for i in range(60)]
    svg = plots.matrix(many, [], "m", "Before")
    assert "own pairs score 100" in svg
    assert len(svg) < 1_500_000
    assert (
        plots.matrix([], [], "m", "x")
        == plots.scatter([], "s", "x")
        == plots.word_shifts([], "w", "x")
        == plots.terms([])
        == ""
    )


def test_every_training_has_a_drawing_of_its_own():
    def logged(what, **term):
        ((name, value),) = term.items()
        return [{"what": what, "step": i, name: value / (i + 1)} for i in range(4)]

    html = page(Record(), {"terms": [*logged("mvi", kl=3.0), *logged("editing (CSE)", n=2.0)]})
    assert "The training terms" in html
    for what in ("mvi", "editing (CSE)"):
        assert f"<figcaption>{what}</figcaption>" in html
    assert "kl from 3.000 to 0.750" in html and "n from 2.000 to 0.500" in html
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_steps_that_do_not_count_up_are_counted():
    told = [{"step": step, "known": float(i)} for i, step in enumerate((0.5, 1.0, 0.75, 0.75))]
    plain = [{"known": float(i)} for i in range(4)]
    doubled = [{"step": 2 * i, **one} for i, one in enumerate(plain)]
    assert plots.terms(told) == plots.terms(plain) != plots.terms(doubled)


def test_the_accelerators_memory_is_a_measure_of_its_own():
    one = record()
    assert "gpu memory" not in page(one)
    one.cost["peak_gpu_memory_mb"] = 5200.0
    assert "<dt>peak gpu memory</dt><dd>5.2 GB</dd>" in page(one) and "<dt>peak memory</dt><dd>2.2 GB</dd>" in page(one)


def test_report_needs_no_torch():
    code = (
        "import sys; import expunge.report.page, expunge.report.cards; "
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------------------------- what it says is what there is


def rows_of(html: str, section: str) -> dict[str, list[str]]:
    """Head of a row -> its cells as words, of the tables of one section."""
    part = html[html.index(f'<section aria-labelledby="{section}"') :].partition("</section>")[0]
    found = {}
    for row in re.findall(r"<tr[^>]*>(<th scope=\"row\">.*?)</tr>", part, flags=re.S):
        head, *cells = (" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.split(r"(?=<td)", row))
        found[head] = cells
    return found


def test_the_scores_are_those_of_the_record_with_interval_n_and_gap():
    one = record()
    found = rows_of(page(one), "scores")
    (told,) = (cells for head, cells in found.items() if head.startswith("Forgotten people: what was told"))
    assert told == ["97.3 93–100", "5.6 0–12", "5.0 0–11", "+0.6"]
    (kept,) = (cells for head, cells in found.items() if head.startswith("Other people: what was told"))
    assert kept[-1] == "−2.1", "after less than retrained"
    heads = " ".join(found)
    assert "15 samples" in heads and "2500 samples" in heads and len(found) == 10
    (alone,) = (cells for head, cells in rows_of(page(record(oracle=None)), "scores").items() if "both" in head[:25]
                and head.startswith("Other"))  # fmt: skip
    assert len(alone) == 2, "no gap without a retrained model"


def test_what_a_small_screen_leaves_out_is_the_explanation_and_not_the_count():
    html = page(record())
    assert ".scores th[scope=row] > small.plain { display: none; }" in html
    assert re.search(r"</small> <small>15 samples</small></th>", html)


def test_shares_of_what_is_written_have_two_digits():
    one = record()
    one.spec["task"] = "answering"
    for stage, value in (("before", 0.876), ("after", 0.123), ("oracle", 0.1)):
        one.scores[stage]["forget_probability_visual"] = Score(value, 12, value - 0.05, value + 0.05, "oracle")
        one.scores[stage]["forget_cloze_visual"] = Score(100 * value, 12, 1.0, 99.0, "oracle")
    found = rows_of(page(one), "wrote")
    assert found["Prob VQA n = 12"] == ["0.88 0.83–0.93", "0.12 0.07–0.17", "0.10 0.05–0.15"]
    assert found["Cloze VQA n = 12"] == ["87.6 1–99", "12.3 1–99", "10.0 1–99"]
    assert "How often the answer is right" not in page(record()) and "12" in page(one)
    assert "How often the answer is right, in per cent; guessing gives 12" in page(one)


def test_the_retrained_row_has_no_verdict_of_its_own_and_the_others_theirs():
    found = rows_of(page(record(), None, comparisons()), "compared")
    assert [head.split()[-1] for head in found] == ["failed", "failed", "failed", "certain", "reference"]


def matches(*own: bool) -> list[dict]:
    return [{"text": f"t{i}", "score": 90.0 - i, "own": one, "kind": "private"} for i, one in enumerate(own)]


def test_where_the_right_one_was_found_is_said_in_words_and_ticked():
    person = {"group": "p1", "portrait_matches": {"before": matches(True, False, True), "after": matches(False, True),
                                                  "oracle": matches(False, False, False)}}  # fmt: skip
    html = page(Record(), {"people": [person]})
    for words in ("found first", "found in place 2", "not among the first 3"):
        assert html.count(words) == 1
    assert html.count("✓ t") == html.count('<li class="own">') == 3 and ">88.0</b>" in html


def test_answers_are_ticked_where_they_are_right_and_say_how_sure():
    asked = {"kind": "private", "text": "Where?", "right": "Kyoto",
             "answers": {"before": {"answer": "Kyoto", "chance": 97.4, "right": True},
                         "after": {"answer": "Oslo", "chance": 31.0, "right": False}}}  # fmt: skip
    one = record()
    one.spec["task"] = "multiple_choice"
    cells = rows_of(page(one, {"people": [{"group": "p000", "name": "Ana", "answers": [asked]}]}), "people")
    assert cells == {"told Where?": ["Kyoto", "✓ Kyoto (97)", "Oslo (31)", "–"]}


def test_of_many_who_were_forgotten_it_says_how_many_are_shown():
    one = record()
    few = {"people": [{"group": group} for group in one.forgotten]}
    assert "Shown are" not in page(one, few)
    one.forgotten = [*one.forgotten, "p100", "p101"]
    assert "Shown are 5 of 7." in page(one, few)


def test_the_forgotten_have_their_names_and_stand_ins_their_sentences():
    drawn = [dot((i, i, i)) for i in range(3)]
    anchors = {"pictures": [drawn[0], "no picture", drawn[1], drawn[2]], "pictures_for": ["one", "two", "three"]}
    html = page(record(), {"people": [{"group": "p001", "name": "Ana", "anchors": anchors}]})
    who = html[html.index('<ul class="who') :].partition("</ul>")[0]
    assert "<span>Ana <small>p001</small></span>" in who and "<span>p002</span>" in who
    standing = html[html.index('<ul class="drawn">') :].partition("</ul>")[0]
    assert re.findall(r"for “(.*?)”", standing) == ["one", "three"] and standing.count("<li>") == 3


def test_what_was_asked_and_noted_is_there_once_and_as_it_was_meant():
    one = record()
    one.spec["requested"], one.spec["lora"] = ["p000"], False
    one.generator = {"ranks_differed": True, "twins": 1200, "share": 0.01234, "layer": "text.3", "nothing": None}
    html = page(one)
    for name, told in (("ranks differed", "yes"), ("twins", "1200"), ("share", "0.012"), ("layer", "text.3"),
                       ("nothing", "–"), ("lora", "no"), ("learning_rate", "0.0001")):  # fmt: skip
        assert f"<dt>{name}</dt><dd>{told}</dd>" in html
    assert "<dt>forget</dt>" not in html and "<dt>requested</dt>" not in html
    cost = html[html.index("Time and memory") :]
    assert re.findall(r"<dt>(.*?)</dt>", cost)[:3] == ["in all", "cse", "mvi"]


def test_both_maps_have_one_frame_and_both_lists_of_words_their_own(monkeypatch):
    frames, words = [], []
    monkeypatch.setattr(plots, "scatter", lambda points, name, title, within: frames.append(within) or "")
    monkeypatch.setattr(plots, "word_shifts", lambda some, name, title: words.append((title, len(some))) or "")
    page(Record(), {"tsne": {"before": [{"x": 0.0, "y": 0.0}], "after": [{"x": 10.0, "y": 20.0}]}})
    assert frames[0] == frames[1] == ((-0.5, 10.5), (-1.0, 21.0))
    lost = [{"word": w, "before": 90.0, "after": 1.0, "shift": -89.0} for w in "abc"]
    page(Record(), {"words": lost})
    assert words == [("Lost the most", 2), ("Moved the least", 1)], "a word that lost all is not called kept"


def test_a_long_name_is_broken_and_a_wide_table_moves_by_itself():
    """A browser of 385 pixels shows names of 180 letters without moving sideways; here, by which rules."""
    style = page(record(), {"words": [{"word": "w" * 180, "before": 9.0, "after": 1.0, "shift": -8.0}]})
    for selector in (".who span", "table.plain td", ".person > summary > span", ".texts li > span"):
        assert re.search(re.escape(selector) + r" {[^}]*overflow-wrap: anywhere", style), selector
    for table in re.findall(r'(\S+)<table class="(?!plain)', style.replace("\n", "")):
        assert table.endswith('tabindex="0">')
