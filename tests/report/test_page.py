"""The page is pure, self-contained, safe against hostile text, and complete with whatever parts there are."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from tests.report.report_samples import BEFORE, COLLAPSED, comparisons, dot, panels, record

from expunge.core.record import Record
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
