"""Several models asked the same questions, and what a page shows of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from expunge.core import ranks
from expunge.core.record import Scores
from expunge.core.run import Run
from expunge.core.types import Answers, Embeds, Example, Generates, Matches, Splits, Task
from expunge.evals import attribution, joining
from expunge.evals.answers import AnswerEvidence, Exam, examine, set_exam
from expunge.evals.forgetting import Evidence, Questions, ask, measure
from expunge.evals.panels import answer_panels, person_panels
from expunge.evals.sampling import BOUNDS, Bounds


@dataclass
class Assessment:
    """Questions drawn once, answered by one model after the other; no model is kept.

    ``task`` decides what is asked: searches in galleries, or questions and statements with their right answers.
    ``looks`` gathers what the page needs (matching matrix, words, features, Grad-CAM) for the stages that asked.
    """

    splits: Splits
    test: tuple[Example, ...]
    seed: int = 0
    k_test: int = 16
    bounds: Bounds = BOUNDS
    task: Task = "retrieval"
    scores: dict[str, Scores] = field(default_factory=dict)
    evidence: dict[str, Evidence | AnswerEvidence] = field(default_factory=dict)
    looks: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        asking = ask if self.task == "retrieval" else set_exam
        self.questions: Questions | Exam = asking(self.splits, self.test, self.bounds, self.seed)

    def add(self, stage: str, model: Matches | Answers | Generates, run: Run, *, look: bool = False) -> Scores:
        """Measure ``model`` as ``stage`` (before, after, oracle); ``look`` also gathers what the page shows.

        With several ranks every one must ask, and has all the answers.
        """
        model.module.to(ranks.device())
        if isinstance(self.questions, Exam):
            scores, evidence = examine(model, self.splits, self.questions, run, seed=self.seed)
        else:
            scores, evidence = measure(
                model, self.splits, self.test, run, k_test=self.k_test, seed=self.seed, questions=self.questions
            )
        self.scores[stage], self.evidence[stage] = scores, evidence
        self.notes += [note for note in evidence.notes if note not in self.notes]
        if look:
            self.looks[stage] = self._look(model, run)
        return scores

    def _look(self, model: Any, run: Run) -> dict[str, Any]:
        forget, near, people = self.splits.forget, self.splits.near, one_each(self.splits.forget)
        if isinstance(self.questions, Exam):  # it has no match score to look at, and may not embed anything
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

        For a model that answers only its answers and the map: it has no match score to look at.
        """
        before, after = self.looks.get("before"), self.looks.get("after")
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
