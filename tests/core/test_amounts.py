"""Amounts read like speech, in powers of ten, and everywhere alike."""

from __future__ import annotations

from expunge.core.amounts import duration, gigabytes
from expunge.report import measures
from expunge.train import budget


def test_bytes_are_counted_in_powers_of_ten():
    assert [gigabytes(b) for b in (12e6, 412e6, 999.6e6, 2.048e9)] == ["12 MB", "412 MB", "1.0 GB", "2.0 GB"]
    assert gigabytes(float("inf")) == "inf GB"


def test_durations_read_like_speech():
    seconds = (0.25, 9.97, 59.6, 61, 3599.7, 3600, 10_000)
    assert [duration(s) for s in seconds] == [
        "0.2 s", "10 s", "1 min 00 s", "1 min 01 s", "1 h 00 min", "1 h 00 min", "2 h 47 min",
    ]  # fmt: skip
    assert [duration(s, tenths=False) for s in (0.4, 5.2, 59.6, 245, 7800)] == [
        "0 s", "5 s", "1 min 00 s", "4 min 05 s", "2 h 10 min",
    ]  # fmt: skip


def test_forecast_page_and_terminal_say_the_same_amount_alike():
    assert measures.memory(1999) == gigabytes(1.999e9) == budget.gigabytes(1.999e9) == "2.0 GB"
    assert measures.memory(1049) == "1.0 GB"  # 1024 of them made it 1.0, and 1075 too
    assert measures.memory(1075) == "1.1 GB"
    assert measures.duration(5.0) == duration(5.0) and measures.duration(None) == measures.memory("x") == "–"
