"""What happened, in plain words, and whether it can be trusted.

Every finding holds one number against a threshold that stands here, in ``LIMITS``. There are four levels: ``good``,
``unsure`` (between the thresholds, or an interval too wide to say), ``bad`` and ``unknown`` (could not be
checked). Rules that a reader may rely on:

* Without a retrained model nothing passes: there is no reference. It can still fail.
* A pass needs all four essential checks to be good: told forgotten, seen kept, neighbours and everyday unharmed.
* A check that says nothing (the original never knew it; the attack only guesses) is ``unknown``, never ``good``.
* Small samples: when the far end of the interval lies beyond the second threshold, ``good`` becomes ``unsure``. Losses
  since before are exempt: both models were asked the same, and neither interval is that of their difference.
* No outcome is ever called a proof. These are tests of behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from expunge.core.record import Record, Score
from expunge.report.measures import count, finite, guessing, number, score, task_of, value

Level = Literal["good", "unsure", "bad", "unknown"]
Status = Literal["passed", "unsure", "failed", "withheld"]

LIMITS: dict[str, tuple[float, float]] = {
    # name: (good up to, bad beyond), in points of a 0-100 score
    "told": (5.0, 15.0),  # what was told, above the retrained model
    "seen": (10.0, 25.0),  # what can be seen, lost in per cent of the retrained model's score
    "neighbours": (5.0, 10.0),  # other people, lost since before
    "everyday": (3.0, 6.0),  # everyday pictures, lost since before
    "membership": (5.0, 15.0),  # MI, away from the retrained model
}
LEAST_KNOWN = 10.0
"""A score less than this above guessing, before forgetting, is too little knowledge to lose: the check says nothing."""
LEAST_EFFECT = 5.0
"""Where the original and the retrained model differ by less, nothing was there to be forgotten or to be detected."""
LEAST_ATTACK = 60.0
"""An attack that is right less often than this (50 is guessing) cannot tell, so it cannot reassure."""
FAR_OFF = 15.0
"""So far under the retrained model the forgetting itself may stand out; so far above it, what is left of training."""

ESSENTIAL = ("told", "seen", "neighbours", "everyday")
WORDS = {"good": "Yes", "unsure": "Not certain", "bad": "No", "unknown": "Not known"}


@dataclass(frozen=True)
class Finding:
    """One question, its answer in a word (``level``) and in a sentence, and the numbers behind it."""

    key: str
    question: str
    level: Level
    sentence: str
    numbers: str = ""
    few: bool = False
    """The value alone would be good; only the samples are too few."""

    @property
    def word(self) -> str:
        return WORDS[self.level]


@dataclass(frozen=True)
class Verdict:
    """The whole story: a status, one headline, findings in reading order, and what was not checked."""

    status: Status
    headline: str
    summary: str
    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...]

    def level(self, key: str) -> Level:
        return next(f.level for f in self.findings if f.key == key)


def judge(record: Record) -> Verdict:
    """Read a record into findings. A pure function of the record."""
    findings = (
        _told(record), *_named(record), _seen(record), _neighbours(record), _everyday(record), _membership(record),
    )  # fmt: skip
    levels: dict[str, Level] = {f.key: f.level for f in findings}
    judged = [levels[key] for key in ESSENTIAL]
    people = count(len(record.forgotten), "requested entry", "requested entries")
    if "bad" in levels.values():
        wrong = [f for f in findings if f.level == "bad"]
        status: Status = "failed"
        headline = "This did not work." if levels["told"] == "bad" else "This did damage."
        if levels["told"] != "bad" and {f.key for f in wrong} == {"membership"}:
            headline = "An attacker can still tell."
        lead = f"{count(len(wrong), 'check')} of {len(findings)} failed. The changed model should not be used as it is."
    elif not record.scores.get("oracle"):
        status, headline = "withheld", "There is no reference, so nothing passes."
        lead = ("No model was retrained without these people. Nothing that could be checked without one failed, but "
                "whether the forgetting goes far enough, or too far, cannot be said.")  # fmt: skip
    elif "unknown" in judged:
        status, headline = "withheld", "Too little could be checked for a verdict."
        lead = "At least one essential check has no answer; it is named below."
    elif all(level == "good" for level in judged) and "unsure" not in levels.values():
        status, headline = "passed", "The model behaves as if it had never been told."
        lead = (f"For {people}, what was told and what can be seen come out close to a model retrained without them. "
                "Other people and everyday pictures were lost no more than the limits allow.")  # fmt: skip
    elif all(f.few for f in findings if f.level == "unsure"):
        status, headline = "unsure", "It looks right, on too few samples to be certain."
        lead = ("Every number lies where it should. At least one rests on so few samples that chance alone could have "
                "put it there; its interval reaches beyond the limit.")  # fmt: skip
    else:
        status, headline = "unsure", "Nothing failed, but it is not clear enough."
        lead = "At least one check lies between its limits: not good enough for a yes, not bad enough for a no."
    return Verdict(status, headline, lead, findings, _unchecked(record, levels))


# ------------------------------------------------------------------------------------------ the questions


def _told(record: Record) -> Finding:
    question = "Has it forgotten what it was told about them?"
    key, what = "r_forget_private", "told"
    if score(record, "after", key) is None and score(record, "after", "r_forget") is not None:
        key = "r_forget"  # data that does not mark what is private
    before, after, oracle = (score(record, stage, key) for stage in ("before", "after", "oracle"))
    if after is None:
        return Finding(what, question, "unknown", "This was not measured.")
    shown = _numbers(record, key)
    if before is not None and before.value < LEAST_KNOWN + guessing(record):
        return Finding(
            what, question, "unknown",
            "The original model hardly knew it in the first place, so nothing can be concluded.", shown,
        )  # fmt: skip
    if oracle is None:
        known = None if before is None else before.value - guessing(record)
        if known is not None and after.value - guessing(record) > known / 2:
            much = "half as often as before" if not guessing(record) else "with half the knowledge beyond guessing"
            return Finding(what, question, "bad", f"It still {_recalling(record)}, at least {much}.", shown)
        return Finding(
            what, question, "unknown",
            f"It {_recalling(record)} much less often than before. "
            "Whether that is enough, only a retrained model could say."
            if before is not None else "There is nothing to compare with.", shown,
        )  # fmt: skip
    if before is not None and before.value - oracle.value < LEAST_EFFECT:
        return Finding(
            what, question, "unknown",
            "A model that never saw them does as well as the original, so there was nothing to forget here.", shown,
        )  # fmt: skip
    gap = after.value - oracle.value
    level = _level(gap, what, _far(after, up=True) - oracle.value)
    few = level == "unsure" and gap <= LIMITS[what][0]
    if level == "good":
        sentence = f"It {_recalling(record)} no more often than a model that was never told."
        if gap > 0.05:
            doing = "Searching by what was told finds them about as rarely as in"
            if task_of(record) != "retrieval":
                doing = "Questions about what was told are answered about as rarely as by"
            sentence = f"{doing} a model that was never told ({number(gap)} points apart)."
    elif few:
        sentence = "The number says yes, but it rests on so few samples that some knowledge may well be left."
    elif level == "unsure":
        sentence = f"Mostly: it still scores {number(gap)} points more than a model that was never told."
    else:
        sentence = f"It still {_recalling(record)}: {number(gap)} points more than a model that was never told."
    if gap < -FAR_OFF:
        level, few = "unsure", False
        sentence = (f"More than that: it scores {number(-gap)} points less than a model that never saw them. Avoiding "
                    "somebody so clearly can itself give them away.")  # fmt: skip
    return Finding(what, question, level, sentence, shown, few)


def _named(record: Record) -> tuple[Finding, ...]:
    """Of models that were asked by name alone. What is left there fails no run, for some methods mean to leave it."""
    key, question = "r_forget_named", "And by name alone, without a picture?"
    after, oracle, before = (score(record, stage, key) for stage in ("after", "oracle", "before"))
    if after is None:
        return ()
    shown = _numbers(record, key)
    if before is not None and before.value < LEAST_KNOWN + guessing(record):
        return (Finding("named", question, "unknown", "The original model hardly knew it by name either.", shown),)
    if oracle is None:
        return (Finding("named", question, "unknown", "Only a retrained model could say what is left.", shown),)
    gap = after.value - oracle.value
    if gap <= LIMITS["told"][0]:
        level = _level(gap, "told", _far(after, up=True) - oracle.value)
        sentence = "By name, too, it knows no more than the retrained model."
        if level == "unsure":
            sentence += " There are so few samples that this is not certain."
        return (Finding("named", question, level, sentence, shown, level == "unsure"),)
    left = f"Asked by name, it still gives {number(gap)} points more right answers than a model that was never told."
    meant = "A method that erases the face alone means that; a request to be forgotten seldom does."
    return (Finding("named", question, "unsure", f"{left} {meant}", shown),)


def _seen(record: Record) -> Finding:
    question = "Does it still recognise what anybody can see in their pictures?"
    key, what = "r_forget_shared", "seen"
    after, oracle = score(record, "after", key), score(record, "oracle", key)
    if after is None:
        return Finding(what, question, "unknown", "This was not measured separately.")
    shown = _numbers(record, key)
    if oracle is None:
        before, chance = value(record, "before", key), guessing(record)
        known = 0.0 if before is None else before - chance
        if known >= LEAST_KNOWN and after.value - chance < known / 2:
            return Finding(what, question, "bad", "It lost more than half of it.", shown)
        return Finding(what, question, "unknown", "There is no retrained model to compare with.", shown)
    if oracle.value < LEAST_KNOWN + guessing(record):
        return Finding(
            what,
            question,
            "unknown",
            "The retrained model does not know it either, so nothing can be concluded.",
            shown,
        )
    kept = 100 * after.value / oracle.value
    far = 100 * _far(after, up=False) / oracle.value
    level = _level(100 - kept, what, 100 - far)
    share = "all" if kept >= 100 else f"{number(kept, 0)} %"
    sentence = f"It keeps {share} of what a model retrained without them knows."
    few = level == "unsure" and 100 - kept <= LIMITS[what][0]
    if few:
        sentence += " There are so few samples that this is not certain."
    elif level == "bad":
        sentence = f"It keeps only {share} of it. It forgot more than it was asked to."
    above = after.value - oracle.value
    if above > FAR_OFF:
        level, few = "unsure", False
        sentence = (f"Yes, and {number(above)} points better than a model that never saw these pictures: part of that "
                    "may be remembered, not seen.")  # fmt: skip
    return Finding(what, question, level, sentence, shown, few)


def _neighbours(record: Record) -> Finding:
    question = "Are the people who stay unharmed?"
    what = "neighbours"
    parts = ("r_retain_private", "r_retain_shared")
    keys = [k for k in ("r_retain", *parts) if _drop(record, k) is not None]
    if not keys:
        return Finding(what, question, "unknown", "This was not measured.")
    main = [k for k in keys if k == "r_retain"] or keys
    key = max(main, key=lambda k: _drop(record, k) or 0.0)
    level, sentence = _harm(record, key, what, "people nobody asked to remove")
    worst = max(keys, key=lambda k: _drop(record, k) or 0.0)
    deepest = _drop(record, worst) or 0.0
    if level == "good" and deepest > LIMITS[what][1]:
        kind = "what was told" if worst == "r_retain_private" else "what can be seen"
        level, key = "unsure", worst
        sentence = f"On the whole yes, but for {kind} of them it lost {number(deepest)} points."
    return Finding(what, question, level, sentence, _numbers(record, key))


def _everyday(record: Record) -> Finding:
    question = "Does it work as before on everyday pictures?"
    if _drop(record, "r_test") is None:
        return Finding("everyday", question, "unknown", "This was not measured.")
    level, sentence = _harm(record, "r_test", "everyday", "everyday pictures")
    return Finding("everyday", question, level, sentence, _numbers(record, "r_test"))


def _membership(record: Record) -> Finding:
    question = "Can an attacker no longer tell that they were in the training data?"
    what = "membership"
    attacked = score(record, "after", "mi")
    before, oracle = value(record, "before", "mi"), value(record, "oracle", "mi")
    if attacked is None:
        return Finding(what, question, "unknown", "No membership attack was run.")
    shown = _numbers(record, "mi")
    skill = attack_skill(record)
    if skill is not None and skill < LEAST_ATTACK:
        return Finding(
            what, question, "unknown",
            f"The attack is right about {number(skill, 0)} % of the time, where guessing gives 50 %. It is too weak to "
            "say anything, for or against.", shown,
        )  # fmt: skip
    if oracle is None:
        return Finding(what, question, "unknown", "There is no retrained model to compare with.", shown)
    if before is not None and abs(before - oracle) < LEAST_EFFECT:
        return Finding(
            what, question, "unknown",
            "The attack rates these people the same in a model that saw them and in one that never did. It cannot "
            "tell, so it cannot reassure.", shown,
        )  # fmt: skip
    gap = attacked.value - oracle
    far = max(abs(_far(attacked, up) - oracle) for up in (False, True))  # away to either side gives them away
    level = _level(abs(gap), what, far)
    few = level == "unsure" and abs(gap) <= LIMITS[what][0]
    if level == "good" or few:
        sentence = "To this attack they look like people the model never saw."
        sentence += " There are so few samples that this is not certain." if few else ""
    elif gap > 0:
        sentence = (
            f"The attack still leans towards yes, {number(gap)} points more than with a model that never saw them."
        )
    else:
        sentence = (
            f"They look {number(-gap)} points less familiar than to a model that never saw them. That stands out, too."
        )
    return Finding(what, question, level, sentence, shown, few)


# ------------------------------------------------------------------------------------------ weighing


def attack_skill(record: Record) -> float | None:
    """How often the membership attack is right on known cases, in per cent: the lower of before and after.

    Where ``mi_accuracy`` was not recorded, the AUC on the original model stands in, which did see these people.
    """
    found = [value(record, stage, "mi_accuracy") for stage in ("before", "after")]
    known = [one for one in found if one is not None]
    return min(known) if known else value(record, "before", "mi_auc")


def _level(loss: float, what: str, far: float) -> Level:
    good, bad = LIMITS[what]
    if loss > bad:
        return "bad"
    return "good" if loss <= good and far <= bad else "unsure"


def _far(one: Score, up: bool) -> float:
    """One end of the interval, the upper one for ``up``, or the value where there is none."""
    end = one.high if up else one.low
    return end if finite(end) else one.value


def _drop(record: Record, key: str) -> float | None:
    before, after = value(record, "before", key), value(record, "after", key)
    return None if before is None or after is None else before - after


def _harm(record: Record, key: str, what: str, whom: str) -> tuple[Level, str]:
    """How much was lost since before. Both models answered the same searches, so their difference is not widened
    by either interval."""
    before = value(record, "before", key) or 0.0
    drop = _drop(record, key) or 0.0
    if before < LEAST_KNOWN + guessing(record):
        return "unknown", "The original model was hardly able to do this, so nothing can be concluded."
    level = _level(drop, what, drop)
    if drop <= 0.05:
        return level, f"{_asking(record)} {whom} succeed as often as before."
    found = f"{_asking(record)} {whom} lost {number(drop)} points of {number(before)}."
    return level, found if level != "bad" else found + " That is too much."


def _asking(record: Record) -> str:
    return "Searches for" if task_of(record) == "retrieval" else "Questions about"


def _recalling(record: Record) -> str:
    """What a model that knows what it was told does with it."""
    return "finds them by what was told" if task_of(record) == "retrieval" else "answers what it was told about them"


def _numbers(record: Record, key: str) -> str:
    names = {"before": "before", "after": "after", "oracle": "retrained"}
    found = [(name, score(record, stage, key)) for stage, name in names.items()]
    shown = " · ".join(f"{name} {number(one.value)}" for name, one in found if one is not None)
    after = score(record, "after", key)
    return f"{shown} ({count(after.n, 'sample')})" if after is not None and after.n else shown


def _unchecked(record: Record, levels: Mapping[str, Level]) -> tuple[str, ...]:
    """What a reader must not take for granted."""
    open_ = []
    if not record.scores.get("oracle"):
        open_.append("Comparison with a retrained model: none was made, so there is no reference.")
    missing = [
        (key, text)
        for key, text in (
            ("told", "Whether what was told is gone."),
            ("seen", "Whether what can be seen was kept."),
            ("neighbours", "Whether other people were harmed."),
            ("everyday", "Whether everyday pictures were harmed."),
            ("membership", "Whether an attacker can tell who was trained on: no attack that works was at hand."),
        )
        if levels[key] == "unknown" and (record.scores.get("oracle") or key in ("neighbours", "everyday"))
    ]
    open_ += [text for _, text in missing]
    after = record.scores.get("after", {})
    if after and not any(finite(one.low) for one in after.values()):
        open_.append("How much chance is in the numbers: no intervals were recorded.")
    met = {one.get("request", "") for one in record.matched}  # empty in the records of older versions
    rejected = {one.get("id", "") for one in record.rejected}
    lost = sorted(set(record.requested) - set(record.forgotten) - met - rejected)
    if lost:
        open_.append(f"What became of {', '.join(lost)}: requested, but neither forgotten nor rejected.")
    open_ += [
        "Other copies: backups, older versions, models derived from this one, and the training data itself.",
        "Attacks other than the one above, and whether a little further training brings the knowledge back.",
    ]
    return tuple(open_)
