"""Agreement of written answers with the right ones: numbers worked out by hand, and nltk's where it is the source."""

from __future__ import annotations

import math

import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from expunge.evals import wording

SAID, TRUTH = "the cat sat on the mat", "the cat is on the mat"


@pytest.mark.parametrize(
    ("text", "letter"),
    [("B", "B"), (" b ", "B"), ("B.", "B"), ("(C) Lisbon", "C"), ("B: Lisbon", "B"), ("The correct answer is D.", "D"),
     ("Answer: a", "A"), ("B\nLisbon", "B"), ("Berlin", ""), ("A baker", ""), ("About that", ""), ("", ""), ("42", ""),
     ("**B**", "B"), ('"B"', "B"), ("Answer: `B`", "B"), ("The answer is **B**.", "B"), ("B - Lisbon", "B"),
     ("The correct answer is option B.", "B"), ("Option (C)", "C"), ("d'Artagnan", ""), ("I'm not sure", ""),
     ("A-frame", ""), ("A \u2013 a baker", "A")],
)  # fmt: skip
def test_a_letter_counts_where_it_stands_alone(text, letter):
    assert wording.letter_of(text) == letter


def test_the_released_reading_takes_the_first_character():
    assert wording.letter_of(" about that", "first") == "A" and wording.letter_of("", "first") == ""
    said, right = ["About that", "B"], ["A", "B"]
    assert wording.classification_accuracy(said, right, reading="first").value == 100
    assert wording.classification_accuracy(said, right).value == 50


def test_accuracy_over_people():
    score = wording.classification_accuracy(["A", "B", "C", "D"], ["A", "B", "A", "A"], ["p", "p", "q", "q"])
    assert (score.value, score.n, score.better) == (50, 4, "higher") and score.low == 0 and score.high == 100
    alone = wording.classification_accuracy(["A"], ["A"], ["p"])
    assert alone.value == 100 and math.isnan(alone.low)
    never = wording.classification_accuracy(["no"] * 5, ["A"] * 5, list("pqrst"), better="oracle")
    assert (never.value, never.low, never.better) == (0, 0, "oracle") and never.high == pytest.approx(52.2, abs=0.1)


def test_cloze_asks_for_the_words_themselves():
    said = ["Oslo", "It is OSLO, of course", "Olso", ""]
    assert wording.cloze_accuracy(said, ["Oslo"] * 4).value == 50
    with pytest.raises(ValueError, match="without a right answer"):
        wording.cloze_accuracy(["x"], [" "])


def test_rouge_by_hand():
    """Five of six words are shared, three of five pairs of words; the longest common subsequence has five words."""
    for kind, value in (("rouge1", 5 / 6), ("rouge2", 3 / 5), ("rougeL", 5 / 6)):
        assert wording.rouge([SAID], [TRUTH], kind=kind).value == pytest.approx(100 * value)
    short = {"texts": ["Oslo!"], "truths": ["Ana was born in Oslo."], "kind": "rougeL"}
    assert wording.rouge(**short, measure="recall").value == pytest.approx(20)
    assert wording.rouge(**short, measure="precision").value == pytest.approx(100)
    assert wording.rouge(**short).value == pytest.approx(100 * 2 * 0.2 / 1.2)
    assert wording.rouge(["born Oslo in"], ["born in Oslo"], kind="rougeL").value == pytest.approx(200 / 3)
    assert wording.rouge(["born Oslo in"], ["born in Oslo"], kind="rouge1").value == pytest.approx(100)


def test_the_stemmer_is_an_option():
    assert wording.rouge(["she loves gardens"], ["she loved garden"]).value == pytest.approx(100)
    assert wording.rouge(["she loves gardens"], ["she loved garden"], stemmer=False).value == pytest.approx(100 / 3)


def test_bleu_by_hand_and_by_nltk():
    by_hand = (5 / 6 * 3 / 5 * 1 / 4 * 0.1 / 3) ** 0.25
    assert wording.bleu_values([SAID], [TRUTH])[0] == pytest.approx(100 * by_hand)
    assert wording.bleu_values(["Oslo"], ["Oslo"])[0] == pytest.approx(100 * 0.1**0.75)
    assert wording.bleu_values(["the cat"], [TRUTH])[0] == pytest.approx(100 * math.exp(1 - 6 / 2) * 0.1**0.5)
    assert wording.bleu_values(["", "dog"], [TRUTH, TRUTH]).tolist() == [0, 0]
    pairs = [(SAID, TRUTH), (TRUTH, TRUTH), ("Oslo", "Oslo"), ("the cat", TRUTH), ("on the mat the cat", TRUTH),
             ("Ana works as a baker at Kestrel", "Ana works as a nurse at Kestrel .")]  # fmt: skip
    smooth = SmoothingFunction().method1
    for text, truth in pairs:
        theirs = sentence_bleu([truth.split()], text.split(), smoothing_function=smooth)
        assert wording.bleu_values([text], [truth])[0] == pytest.approx(100 * theirs), text


def test_as_many_answers_as_questions():
    for measure in (wording.classification_accuracy, wording.cloze_accuracy, wording.rouge, wording.bleu):
        with pytest.raises(ValueError, match="2 answers, but 1"):
            measure(["a", "b"], ["a"])
        with pytest.raises(ValueError, match="2 values, but 1 groups"):
            measure(["a", "b"], ["a", "b"], ["g"])
        with pytest.raises(ValueError, match="nothing to average"):
            measure([], [])
