"""MLLMU-Bench: 500 fictitious people with a portrait and a biography, and 153 celebrities, as parquet files.

Below `folder` lies a folder for every configuration, `Full_Set/*.parquet` (or one file, `Full_Set.parquet`): Full_Set,
Retain_Set, Test_Set, ft_Data, forget_5, forget_10, forget_15, retain_95, retain_90, retain_85. A row holds `ID`,
`image` (bytes, or a path below `images`), `biography`, `question`, `answer`, `Classification_Task`, `Generation_Task`
and `Mask_Task`; data/files/profiles.py has what these hold. Reading needs pyarrow: pip install 'expunge[parquet]'.

For retrieval the biography is split into sentences, and each is a pair with the portrait, as in the paper; for
multiple_choice the classification questions about the picture are asked; for answering all three forms, with the
picture and by name. A deletion request names a person by `ID`, or one sentence (ID-0) or question (ID-q0). Sentences
count as told (private), unless they speak of looks and of nothing else (shared); those that do both, such as a name
with a look, have no kind and count in neither half of a score.

Everybody of `train` trains the original, but for `held_out` people, who are strangers for the audits: half of them
validation, half test. The celebrities of Retain_Set, never trained, are held out too, as another population. With
`amid` the people stand amid Flickr30k (retrieval) or VQA (multiple_choice), as in the paper's privacy scenario.
For answering Test_Set (other pictures of the same people, other words) and Retain_Set are what an audit asks beside the
training examples, as in the benchmark's table; hold people out where membership and strangers are to be measured, too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from expunge.core.errors import DataError, ExpungeError, Problem, UnknownName
from expunge.core.refusal import Nearest
from expunge.core.run import Progress
from expunge.core.types import Corpus, Picture, Task
from expunge.data import flickr30k, vqa
from expunge.data.files.intake import Intake, accepted, dealt, for_task
from expunge.data.files.lines import kind_of, unsound
from expunge.data.files.parquet import columns, needed, read_rows
from expunge.data.files.pictures import Unreadable
from expunge.data.files.profiles import PIECES, Document, Piece, Profile, Profiles, examples
from expunge.data.files.reading import ASKED, Reading, Row, joined

LICENCE = (
    "MLLMU-Bench: as its own page states, for research; its fictitious people are synthetic, its celebrities real."
)
DOWNLOAD = (
    "The MLLMU-Bench repository (franciscoliu/MLLMU-Bench) links the data set MLLMMU/MLLMU-Bench; download all its "
    "configurations as parquet and keep their folders."
)
TASKS = ("retrieval", "multiple_choice", "answering")
CONFIGS = (
    "Full_Set", "Retain_Set", "Test_Set", "ft_Data",
    "forget_5", "forget_10", "forget_15", "retain_95", "retain_90", "retain_85",
)  # fmt: skip
CELEBRITIES, AGAIN = "Retain_Set", "Test_Set"
NEEDED = {
    "retrieval": ("biography", "answer"), "multiple_choice": ("Classification_Task",),
    "answering": ("Classification_Task", "Generation_Task", "Mask_Task"),
}  # fmt: skip
PIECES_OF: dict[str, tuple[Piece, ...]] = {
    "retrieval": ("biography",), "multiple_choice": ("classification",),
    "answering": ("classification", "generation", "cloze"),
}  # fmt: skip


def load(
    folder: Path,  # where the configurations' folders lie
    images: Path | None = None,  # the folder that pictures are named from, if rows hold paths and it is not `folder`
    train: str = "Full_Set",  # the configuration whose people trained the original; several with +: forget_5+retain_95
    celebrities: bool = True,  # hold out the celebrities of Retain_Set, where it is there
    held_out: int = 0,  # how many of the people never train, half of them validation, half test, drawn by `seed`
    document: Document = "auto",  # which text is split: biography, answer, or auto: whichever of the two is prose
    pure_text: bool = False,  # ask the questions that name the person too, beside the picture
    amid: Path | None = None,  # folder of Flickr30k, or of VQA for multiple_choice, to stand amid
    amid_images: Path | None = None,  # where the pictures of that lie, if not there
    seed: int = 0,  # drives who is held out, and the choices of VQA
    extra: list[str] | str = (),  # columns of your files to read past
    skip: bool = False,  # leave out rows that cannot be used, and say so, instead of stopping
    task: Task = "retrieval",
    progress: Progress | None = None,
) -> Corpus:
    """The corpus. Raises one ``DataError`` with everything that is wrong, file and row."""
    return accepted(
        read(
            folder, images, train, celebrities, held_out, document, pure_text, amid, amid_images, seed, extra, skip,
            task, progress,
        )
    )  # fmt: skip


def read(
    folder: Path,
    images: Path | None = None,
    train: str = "Full_Set",
    celebrities: bool = True,
    held_out: int = 0,
    document: Document = "auto",
    pure_text: bool = False,
    amid: Path | None = None,
    amid_images: Path | None = None,
    seed: int = 0,
    extra: list[str] | str = (),
    skip: bool = False,
    task: Task = "retrieval",
    progress: Progress | None = None,
    fresh: bool = False,
) -> Reading:
    """The same without stopping at a problem. ``fresh`` decodes every picture again."""
    task = for_task("mllmu", task, TASKS)
    intake = Intake("mllmu", folder, images, extra, progress, fresh)
    configs = _known(train)
    if intake.is_there:
        people = _People(intake, task, document, pure_text)
        for config in configs:
            people.take(config, "people")
        _hold_out(intake, held_out, seed)
        if task == "answering":
            people.take_again()
        if celebrities and _serves(intake, CELEBRITIES, task):
            people.take(CELEBRITIES, "celebrities")
    own = intake.reading(task, LICENCE, skip)
    if amid is None:
        return own
    if task == "answering":
        raise ExpungeError("amid is for retrieval and multiple_choice: nothing that can stand there asks for words.")
    if task == "retrieval":
        around = flickr30k.read(amid, amid_images, extra, skip, progress=progress, fresh=fresh)
    else:
        around = vqa.read(amid, amid_images, seed, extra, skip, progress=progress, fresh=fresh)
    return joined(f"{own.name}+{around.name}", [own, around])


def records(
    folder: Path, config: str, images: Path | None = None, document: Document = "auto", extra: list[str] | str = ()
) -> Iterator[Profile]:
    """The people of one configuration with their pictures, sentences and everything that is asked about them.

    Raises one ``DataError`` with everything that is wrong.
    """
    intake = Intake("mllmu", folder, images, extra)
    found: list[Profile] = []
    if intake.is_there:
        for name in _known(config):
            _People(intake, "retrieval", document, wanted=PIECES if _tells(intake, name) else PIECES[1:]).take(
                name, "people", found
            )
    if intake.tally.problems:
        raise DataError(intake.tally.problems)
    yield from found


class _People:
    """Rows of configurations as profiles, and profiles as training examples, or held-out ones of celebrities."""

    def __init__(
        self, intake: Intake, task: Task, document: Document, pure_text: bool = False,
        wanted: tuple[Piece, ...] | None = None,
    ):  # fmt: skip
        self._intake, self._task, self._pure_text = intake, task, pure_text
        self._profiles = Profiles(intake.tally, self._pictures, wanted or PIECES_OF[task], document, intake.extra)

    def take_again(self) -> None:
        """Of Test_Set, where it is there, those who are trained on."""
        tally = self._intake.tally
        trained = {e.group for split, e in tally.rows if split == "train"}
        if _serves(self._intake, AGAIN, self._task):
            self.take(AGAIN, "people", again=True)
        tally.rows = [(s, e) for s, e in tally.rows if s != f"{ASKED}test" or e.group in trained]

    def take(
        self, config: str, source: str, profiles: list[Profile] | None = None, again: bool = False
    ) -> None:  # fmt: skip
        """Judge every row. ``profiles`` collects the persons; otherwise they become examples at once. ``again``: of
        people who are known by their ID."""
        intake = self._intake
        paths = _files(intake, config)
        if not paths:
            near = Nearest(p.name for p in intake.folder.iterdir())(config)
            intake.tally.wrong(str(intake.folder / config), "there are no parquet files", near or "Fetch them")
        for path in paths:

            def turn(value: dict[str, Any], where: str) -> list[Row]:
                intake.progress.advance()
                if (profile := self._profiles.profile(value, where)) is None:
                    return []
                intake.tally.claim(f"{AGAIN}: {profile.id}" if again else profile.id, where, "ID")
                if profiles is not None:
                    profiles.append(profile)
                    return []
                return self._rows(profile, source, again)

            intake.progress.start(f"reading {path.name}", _length(path))
            try:
                intake.count(path, read_rows(path, intake.tally.problems), turn, _names)
            finally:
                intake.progress.finish()

    def _rows(self, profile: Profile, source: str, again: bool) -> list[Row]:
        made = examples(profile, self._task, source, self._pure_text)
        if not made and self._task == "answering":
            found = "none of 'Classification_Task', 'Generation_Task' and 'Mask_Task' holds a question"
            self._intake.tally.wrong(profile.where, found, "answering needs one")
        elif not made:
            found = "'Classification_Task' holds no question about the picture"
            self._intake.tally.wrong(profile.where, found, "multiple_choice needs one; or say -d pure_text=true")
        if again:
            return [(f"{ASKED}test", replace(e, id=f"{e.id}-again")) for e in made]
        if source == "people":
            return [("train", e) for e in made]
        return [(f"{ASKED}celebrity" if self._task == "answering" else dealt(profile.id), e) for e in made]

    def _pictures(self, record: Mapping[str, Any], where: str) -> list[Picture]:
        written = record.get("image") if record.get("image") is not None else record.get("images")
        several = written if isinstance(written, list) else [written]
        if written is None or not several:
            self._intake.tally.wrong(where, "there is no 'image'", "Every person has a picture")
            return []
        found = [self._picture(one, where, number) for number, one in enumerate(several)]
        return [picture for picture in found if picture is not None]

    def _picture(self, one: Any, where: str, number: int) -> Picture | None:
        """What the row holds: a picture, bytes, or a path."""
        tally, album = self._intake.tally, self._intake.album
        if isinstance(one, Picture):
            return one
        data = one.get("bytes") if isinstance(one, Mapping) else one
        if isinstance(data, bytes):
            held = album.hold(f"{where}, picture {number + 1}", data)
            if isinstance(held, Unreadable):
                return tally.wrong(where, f"'image': {held.found}", held.remedy)
            return held
        path = one.get("path") if isinstance(one, Mapping) else one
        if wrong := unsound(path):
            found = "holds neither bytes nor a path" if isinstance(one, Mapping) else wrong
            return tally.wrong(where, f"'image' {found}", f"It is {kind_of(one)}: give the picture's bytes or its path")
        return album.take(path, where, tally.problems)


def _known(configs: str) -> list[str]:
    """The configurations that are named with a plus between them. Raises UnknownName for any other."""
    asked = [one.strip() for one in configs.split("+")]
    for one in asked:
        if one not in CONFIGS:
            raise UnknownName("configuration of mllmu", one, CONFIGS)
    return asked


def _files(intake: Intake, config: str) -> list[Path]:
    single = intake.folder / f"{config}.parquet"
    return sorted((intake.folder / config).glob("*.parquet")) or ([single] if single.exists() else [])


def _length(path: Path) -> int:
    """How many rows there are, for the progress bar; 0 where that cannot be told."""
    pyarrow = needed()
    try:
        return pyarrow.parquet.read_metadata(path).num_rows
    except (pyarrow.ArrowException, OSError):
        return 0


def _serves(intake: Intake, config: str, task: Task) -> bool:
    """Whether a configuration that may be missing is there with a column that the task needs."""
    paths = _files(intake, config)
    if not paths:
        return False
    there = {name for path in paths for name in columns(path)}
    if there and there.isdisjoint(NEEDED[task]):
        found = f"{config} has no column {' or '.join(map(repr, NEEDED[task]))}"
        intake.warnings.append(Problem(str(paths[0]), found, f"So nobody of it is held out for {task}"))
        return False
    return True


def _tells(intake: Intake, config: str) -> bool:
    """Whether the people of a configuration have biographies: ft_Data need not."""
    there = {name for path in _files(intake, config) for name in columns(path)}
    return not there.isdisjoint(NEEDED["retrieval"])


def _hold_out(intake: Intake, count: int, seed: int) -> None:
    """Move that many people of the training examples to validation and test in turn. Raises ExpungeError."""
    people = sorted({e.group for _, e in intake.tally.rows if e.group})
    if not 0 <= count < max(1, len(people)):
        raise ExpungeError(f"held_out={count} of {len(people)} people would leave nobody to train on.")
    drawn = random.Random(f"mllmu:held out:{seed}").sample(people, count)
    to = {person: ("validation", "test")[i % 2] for i, person in enumerate(drawn)}
    intake.tally.rows = [(to.get(e.group or "", split), e) for split, e in intake.tally.rows]


def _names(value: dict[str, Any]) -> list[str]:
    return [str(value["ID"])] if "ID" in value else []
