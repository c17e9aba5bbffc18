"""VQA v2 as questions with four choices: one right answer and three unrelated ones (ALBEF's JSON).

Below `folder` lie

    vqa_train.json     [{"question_id": 262148000, "question": "…", "answer": [ten answers], "image":
                         "train2014/COCO_train2014_000000262148.jpg", "dataset": "vqa"}, …]
    vqa_val.json       the same
    vqa_test.json      without "answer", as published, it is not used: the pictures of vqa_val.json are dealt to
                       validation and test
    answer_list.json   ["yes", "no", …]; optional

and the pictures in train2014/ and val2014/, in `images` if not in `folder`. Questions of Visual Genome ("dataset":
"vg", one answer as a string) may stand among them.

The right choice is the most frequent of the ten answers (the first of them on a tie). The wrong ones are right answers
of other training questions, none of which anybody gave to this one, drawn by `seed` and the question's id; where there
is an answer_list.json only answers in it are drawn, as ALBEF's released model knows only those. That is the paper's
protocol: unrelated choices are easy to tell. A deletion request names a picture by its file without ending, or one
question by its id. Answers can be seen, so all questions count as shared knowledge.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expunge.core.errors import Problem
from expunge.core.identity import composed, normalised
from expunge.core.run import Progress
from expunge.core.types import Corpus, Example, Picture, Task
from expunge.data.files.arrays import read_values
from expunge.data.files.captioned import names
from expunge.data.files.intake import Intake, accepted, dealt, for_task
from expunge.data.files.lines import Line, kind_of, unsound
from expunge.data.files.reading import Reading, Row
from expunge.data.worlds.asking import WRONG

LICENCE = (
    "VQA v2: annotations CC BY 4.0; photographs of COCO, which belong to their photographers, under Flickr's terms."
)
DOWNLOAD = (
    "Questions and answers: the download page of the VQA project (visualqa.org), pictures: that of COCO "
    "(cocodataset.org). The vqa_*.json and answer_list.json are in the data download that ALBEF's repository "
    "(salesforce/ALBEF) links."
)
TASKS = ("multiple_choice",)
TRAIN, VALIDATION, TEST, ANSWERS = "vqa_train.json", "vqa_val.json", "vqa_test.json", "answer_list.json"


def load(
    folder: Path,  # where the JSON files lie
    images: Path | None = None,  # the folder that holds train2014/ and val2014/, if that is not `folder`
    seed: int = 0,  # drives which wrong answers are drawn
    extra: list[str] | str = (),  # keys of your files to read past
    skip: bool = False,  # leave out items that cannot be used, and say so, instead of stopping
    task: Task = "multiple_choice",
    progress: Progress | None = None,
) -> Corpus:
    """The corpus. Raises one ``DataError`` with everything that is wrong, file and item."""
    return accepted(read(folder, images, seed, extra, skip, task, progress))


def read(
    folder: Path,
    images: Path | None = None,
    seed: int = 0,
    extra: list[str] | str = (),
    skip: bool = False,
    task: Task = "multiple_choice",
    progress: Progress | None = None,
    fresh: bool = False,
) -> Reading:
    """The same without stopping at a problem. ``fresh`` decodes every picture again."""
    task = for_task("vqa", task, TASKS)
    intake = Intake("vqa", folder, images, extra, progress, fresh)
    if intake.is_there:
        _Questions(intake, seed).go_through()
    return intake.reading(task, LICENCE, skip)


class _Questions:
    def __init__(self, intake: Intake, seed: int):
        self._intake, self._seed = intake, seed
        self._keys = intake.keys(("question_id", "question", "image", "answer"), ("dataset",))
        self._pool: list[str] = []

    def go_through(self) -> None:
        intake = self._intake
        splits = {TRAIN: "train"}
        if intake.has(VALIDATION, "nothing is held out"):
            splits[VALIDATION] = "held out"
        if (intake.folder / TEST).exists():
            if any("answer" in value for value in intake.glance(TEST)):
                splits = {TRAIN: "train", TEST: "test"} | ({VALIDATION: "validation"} if VALIDATION in splits else {})
            else:
                found = "holds no answers, as published, and is not used"
                remedy = f"The pictures of {VALIDATION} are dealt to validation and test"
                intake.warnings.append(Problem(str(intake.folder / TEST), found, remedy))
        images: list[Any] = []
        given: set[str] = set()
        for file in splits:
            for value in intake.glance(file):
                images.append(value.get("image"))
                if file == TRAIN and (answers := _answers(value.get("answer"))):
                    given.add(_most_frequent(answers))
        self._pool = sorted(self._listed(given))
        intake.look_ahead(images)
        for file, split in splits.items():
            intake.go_through(file, lambda value, where, at=split: self._turn(value, where, at), _names)

    def _listed(self, given: set[str]) -> set[str]:
        """The right answers that stand in the list of answers, where there is one."""
        path = self._intake.folder / ANSWERS
        if not path.exists():
            return given
        tally, known = self._intake.tally, set()

        def turn(value: dict[str, Any], where: str) -> list[Row]:
            if wrong := unsound(value["answer"]):
                tally.wrong(where, f"the answer {wrong}", "Every item is a string")
            else:
                known.add(value["answer"])
            return []

        told = read_values(path, tally.problems)
        lines = (Line(where, None if value is None else {"answer": value}) for where, value in told)
        self._intake.count(path, lines, turn, lambda value: ())
        return given & known

    def _turn(self, value: dict[str, Any], where: str, split: str) -> list[Row]:
        intake, tally = self._intake, self._intake.tally
        before = len(tally.problems)
        self._keys.check(value, where, tally)
        number = intake.number(value["question_id"], "question_id", where) if "question_id" in value else None
        if number is not None:
            tally.claim(number, where, "question_id")
        if "question" in value:
            intake.text(value["question"], "'question'", where)
        answers = self._check_answers(value["answer"], where) if "answer" in value else []
        if value.get("dataset", "vqa") not in ("vqa", "vg"):
            tally.wrong(where, f"'dataset' is {value['dataset']!r}", "It may be vqa or vg")
        found = intake.picture(value["image"], where) if "image" in value else None
        wrong = self._unrelated(number, answers) if number is not None and answers else []
        if number is not None and answers and len(wrong) < WRONG:
            tally.wrong(where, f"there are fewer than {WRONG} answers that nobody gave to it", "Give more questions")
        if len(tally.problems) > before or found is None or number is None:
            return []
        name, picture = found
        at = dealt(name) if split == "held out" else split
        return [(at, self._example(composed(number), name, picture, value["question"], answers, wrong, where))]

    def _check_answers(self, written: Any, where: str) -> list[str]:
        tally = self._intake.tally
        if not isinstance(written, list | str):
            tally.wrong(where, f"'answer' is {kind_of(written)}, not a list", "Write the ten answers")
        elif not written:
            tally.wrong(where, "'answer' is empty", "Write the ten answers")
        for n, one in enumerate(written if isinstance(written, list) else [written] if written else [], 1):
            if wrong := unsound(one):
                tally.wrong(where, f"answer {n} {wrong}", "Every answer is a string")
        return _answers(written)

    def _unrelated(self, number: str, answers: Sequence[str]) -> list[str]:
        """Right answers of other questions that nobody gave here: drawn by the question's id, not by its place."""
        said = {normalised(a) for a in answers} | {a.casefold() for a in answers}
        rng = random.Random(f"{self._seed}:choices:{number}")
        chosen: list[str] = []
        for index in rng.sample(range(len(self._pool)), min(len(self._pool), WRONG + len(said) + 20)):
            one = self._pool[index]
            if one.casefold() in said or normalised(one) in said:
                continue
            chosen.append(one)
            said |= {one.casefold(), normalised(one)}  # "2" and "2." are no two choices
            if len(chosen) == WRONG:
                break
        return chosen

    def _example(
        self, number: str, name: str, picture: Picture, question: str, answers: list[str], wrong: list[str], where: str
    ) -> Example:
        right = _most_frequent(answers)
        choices = [right, *wrong]
        random.Random(f"{self._seed}:order:{number}").shuffle(choices)
        statement = f"{question.rstrip(' ?')} {right}"
        meaning = frozenset({normalised(statement)})
        return Example(
            number, picture, question, name, "vqa", "shared", meaning, question=question, choices=tuple(choices),
            answer=right, statement=statement, origin=where,
        )  # fmt: skip


def _answers(written: Any) -> list[str]:
    """The sound answers of an item: ten of VQA, one of Visual Genome."""
    told = written if isinstance(written, list) else [written]
    return [one for one in told if not unsound(one)]


def _most_frequent(answers: Sequence[str]) -> str:
    return Counter(answers).most_common(1)[0][0]


def _names(value: dict[str, Any]) -> list[str]:
    return [*names(value), *([str(value["question_id"])] if "question_id" in value else [])]
