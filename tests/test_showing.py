"""What a page shows beside the record is kept, read again, and held against one reference."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

from expunge import showing
from expunge.core.record import Record, Score
from expunge.core.run import Run

PANELS = {"people": [{"group": "p1", "portrait": "data:image/png;base64,AAAA"}], "terms": [{"what": "mvi", "step": 0}]}


def scores(mi: float, forget: float, test: float) -> dict[str, Score]:
    return {"mi": Score(mi, 9), "r_forget": Score(forget, 9), "r_test": Score(test, 9)}


def record(method: str, after: tuple, oracle: tuple | None) -> Record:
    found = {"before": scores(60, 90, 92), "after": scores(*after)}
    found |= {"oracle": scores(*oracle)} if oracle else {}
    return Record(spec={"method": method, "hash": f"of {method}"}, scores=found, summary={"avg_g": 99.0})


OLD, NEW = (30, 20, 91), (34, 26, 89)
NAMED = [(name, record(name, after, OLD)) for name, after in (("cse", (33, 20, 91)), ("ga", (40, 20, 91)),
                                                                ("retrain", OLD))]  # fmt: skip


def shown_by(run: Run) -> list:
    nobody = SimpleNamespace(train=(), validation=(), test=())
    assessment = SimpleNamespace(shown=lambda: {"people": []}, splits=SimpleNamespace(forget=()))
    return showing.panels(assessment, nobody, run)["terms"]  # type: ignore[arg-type]


def test_the_terms_of_every_method_are_shown_and_of_nothing_else():
    run = Run()
    for what in ("retraining", "mvi", "negative preference optimisation"):
        run.log(what=what, step=0, loss=1.0)
    run.keep["terms"] = run.terms[1:]
    assert [term["what"] for term in shown_by(run)] == ["mvi", "negative preference optimisation"]


def test_without_leave_nobody_is_kept():
    assert showing.kept(PANELS, True) == PANELS
    assert showing.kept(PANELS, False) == {"terms": PANELS["terms"]}
    assert showing.kept(None, True) == {}


def test_what_was_kept_is_read_again(tmp_path):
    assert showing.read(tmp_path) == ({}, []) and showing.texts({}, []) == {}
    for name, text in showing.texts(PANELS | {"words": [{"shift": float("nan")}]}, NAMED).items():
        json.loads(text, parse_constant=lambda word: 1 / 0)  # JSON has no NaN
        (tmp_path / name).write_text(text, encoding="utf-8")
    panels, named = showing.read(tmp_path)
    assert panels == PANELS | {"words": [{"shift": None}]}
    assert [label for label, _ in named] == ["cse", "ga", "retrain"]
    assert [one.to_json() for _, one in named] == [one.to_json() for _, one in NAMED]


def test_one_table_has_one_reference():
    told = [(label, one.to_json()) for label, one in NAMED]
    again = replace(NAMED[0][1], scores=NAMED[0][1].scores | {"oracle": scores(*NEW)})
    held = dict(showing.held_alike(NAMED, again))
    assert list(held) == ["cse", "ga", "retrain"] and held["cse"] is again
    assert held["ga"].scores["oracle"] == held["retrain"].scores["after"] == scores(*NEW)
    assert held["ga"].scores["after"] == scores(40, 20, 91) and held["ga"].summary["avg_g"] == (6 + 6 + 2) / 3
    assert held["retrain"].summary["avg_g"] == 0
    alone = dict(showing.held_alike(NAMED, record("cse", (33, 20, 91), None)))
    assert all("oracle" not in one.scores for one in alone.values()) and alone["ga"].summary == {}
    assert [(label, one.to_json()) for label, one in NAMED] == told
