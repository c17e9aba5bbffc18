"""Several models asked the same questions, and what a page shows of their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from expunge.core import ranks
from expunge.core.record import Scores
from expunge.core.run import Run
from expunge.core.types import Answers, Embeds, Example, Generates, Matches, Splits, Task
from expunge.evals import attribution, interview, joining
from expunge.evals.answers import AnswerEvidence, Exam, examine, set_exam
from expunge.evals.forgetting import Evidence, Questions, ask, measure
from expunge.evals.interview import Interview, WrittenEvidence, hold_interview, set_interview
from expunge.evals.panels import answer_panels, person_panels, written_panels
from expunge.evals.sampling import BOUNDS, Bounds
from expunge.evals.truth import Ratios, compare


@dataclass
class Assessment:
    """Questions drawn once, answered by one model after the other; no model is kept.

    ``task`` decides what is asked: searches in galleries, questions and statements with their right answers, or
    questions to be answered in words, to which ``asked`` adds those that only an audit asks. ``truth`` holds what
    forget quality compares; whatever has a retrained model beside it is compared at once.
    ``looks`` gathers what the page needs (matching matrix, words, features, Grad-CAM) for the stages that asked.
    """

    splits: Splits
    test: tuple[Example, ...]
    seed: int = 0
    k_test: int = 16
    bounds: Bounds | None = None  # as many as the task's audit takes by itself
    task: Task = "retrieval"
    asked: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    scores: dict[str, Scores] = field(default_factory=dict)
    evidence: dict[str, Evidence | AnswerEvidence | WrittenEvidence] = field(default_factory=dict)
    truth: dict[str, Ratios] = field(default_factory=dict)
    looks: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.questions: Questions | Exam | Interview
        if self.task == "answering":
            bounds = self.bounds or interview.BOUNDS
            self.questions = set_interview(self.splits, self.test, bounds, self.seed, asked=self.asked)
        else:
            asking = ask if self.task == "retrieval" else set_exam
            self.questions = asking(self.splits, self.test, self.bounds or BOUNDS, self.seed)

    def add(self, stage: str, model: Matches | Answers | Generates, run: Run, *, look: bool = False) -> Scores:
        """Measure ``model`` as ``stage`` (before, after, oracle); ``look`` also gathers what the page shows.

        With several ranks every one must ask, and has all the answers.
        """
        model.module.to(ranks.device())
        given: Any = model
        if isinstance(self.questions, Interview):
            scores, evidence = hold_interview(given, self.splits, self.questions, run, seed=self.seed)
        elif isinstance(self.questions, Exam):
            scores, evidence = examine(given, self.splits, self.questions, run, seed=self.seed)
        else:
            scores, evidence = measure(
                given, self.splits, self.test, run, k_test=self.k_test, seed=self.seed, questions=self.questions
            )
        self.evidence[stage] = evidence
        self.notes += [note for note in evidence.notes if note not in self.notes]
        if look:
            self.looks[stage] = self._look(model, run)
        self.adopt(stage, scores, evidence.ratios if isinstance(evidence, WrittenEvidence) else {})
        return self.scores[stage]

    def adopt(self, stage: str, scores: Scores, truth: Ratios) -> None:
        """Take scores, and what forget quality compares, that were measured here or elsewhere."""
        self.scores[stage] = scores
        if truth:
            self.truth[stage] = truth
            compared, notes = compare(self.truth, self.seed)
            for other, found in compared.items():
                self.scores[other] |= found
            self.notes += [note for note in notes if note not in self.notes]

    def _look(self, model: Any, run: Run) -> dict[str, Any]:
        forget, near, people = self.splits.forget, self.splits.near, one_each(self.splits.forget)
        if not isinstance(self.questions, Questions):  # it has no match score to look at, and may not embed anything
            if not isinstance(model, Embeds):
                return {}
            return {"features": attribution.features(model, forget, near, run, seed=self.seed)}
        return {
            "words": attribution.word_matches(model, forget, run),
            "matching": attribution.matching_matrix(model, forget, run),
            "features": attribution.features(model, forget, near, run, seed=self.seed),
            "gradcam": attribution.gradcam_maps(model, people),
        }

    def shown(self, at_most: int = 12) -> dict[str, Any]:
        """Plain data for the page: people, matching, words, map of features and Grad-CAM by stage.

        For a model that answers only its answers and the map, for one that writes its answers: it has no match score.
        """
        before, after = self.looks.get("before"), self.looks.get("after")
        if isinstance(self.questions, Interview):
            wrote = {name: one.writings for name, one in self.evidence.items() if isinstance(one, WrittenEvidence)}
            return {"people": [], "answers": written_panels(wrote, self.splits.forget, at_most)}
        if isinstance(self.questions, Exam):
            given = {name: one.choices for name, one in self.evidence.items() if isinstance(one, AnswerEvidence)}
            result: dict[str, Any] = {"people": [], "answers": answer_panels(given, self.splits.forget, at_most)}
            if before and after and "features" in before:
                result["map"] = joining.feature_map({"before": before["features"], "after": after["features"]})
            return result
        stages = {name: one.predictions for name, one in self.evidence.items() if isinstance(one, Evidence)}
        gallery = self.questions.galleries["r_forget"]
        result = {"people": person_panels(stages, gallery, at_most=at_most)}
        if before and after:
            result["words"] = joining.word_shift(before["words"], after["words"])
            result["map"] = joining.feature_map({"before": before["features"], "after": after["features"]})
            result["matching"] = {"before": before["matching"], "after": after["matching"]}
            result["gradcam"] = {"before": before["gradcam"], "after": after["gradcam"]}
        return result


def one_each(examples: Sequence[Example]) -> list[Example]:
    """The first private example of every group, or the first where there is none, in order of appearance."""
    groups: dict[str, list[Example]] = {}
    for e in examples:
        groups.setdefault(e.group or e.id, []).append(e)
    return [min(found, key=lambda e: e.kind != "private") for found in groups.values()]
