"""The few types everything else is made of.

``Example`` is one item before any tokenizer. ``Corpus`` is a data set cut into its splits, ``Splits`` is
what a method is given. ``Backbone`` is the waist: methods and tasks ask it for roles and capabilities, never
for module names. Tensor shapes use B (batch), N (tokens), d (width), D (projection width).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor, nn

    from expunge.core.errors import Problem
    from expunge.core.run import Run

Kind = Literal["shared", "private"]
Form = Literal["classification", "generation", "cloze"]
"""How a question to a model that writes is put: options and a letter, a whole sentence, or the word for a blank."""
Task = Literal["retrieval", "multiple_choice", "entailment", "answering"]
TASKS: tuple[Task, ...] = ("retrieval", "multiple_choice", "entailment", "answering")
"""What a run may be asked for. ``answering`` is for models that write."""
Unit = Literal["groups", "pictures", "samples", "pictured"]
"""What is drawn when somebody asks for a number of them to be forgotten. ``pictured`` are groups of which only the
examples with a picture go: what is said of them in words alone is kept."""
LABELS = ("contradiction", "neutral", "entailment")
"""What a statement may be to a picture, in the order of the classes of the released entailment models."""
DESCRIBE = "what is in the picture"
"""What a model that writes is asked about a picture with a caption."""
Batch = dict[str, Any]


@runtime_checkable
class Picture(Protocol):
    """A picture that is opened only when somebody looks at it."""

    @property
    def key(self) -> str:
        """Identity of the content: equal keys mean the same picture."""
        ...

    def open(self, pixels: int) -> Image.Image:
        """The picture as RGB, ``pixels`` x ``pixels``. Raises ``DataError`` when it cannot be read."""
        ...


@dataclass(frozen=True)
class Example:
    """One image-text pair, or a text alone: then ``image`` is ``core.pictures.NO_PICTURE``.

    ``group`` is the person, artist or concept that a deletion request names. ``source`` is the population the
    example was drawn from (people, scenes, ...): audits compare like with like. ``kind`` says whether the text
    can be read off the picture (``shared``) or was told (``private``). ``meaning`` is what the text states and
    ``facts`` what is true of the picture, as canonical keys: the text describes any picture whose facts include
    its meaning, which is how ties between identical descriptions are counted fairly.

    For a task with answers ``text`` is what the model reads beside the picture: the question, or the statement to be
    judged. ``statement`` is then a sentence that is true of the picture and that a picture can be drawn from (the
    question answered, or the truth about what the statement claims); empty where ``text`` is such a sentence itself.

    For a model that writes, ``question`` is all that the user says and ``answer`` what the model should write, a letter
    of ``choices`` in a classification. ``paraphrased`` holds the answer in other words, ``perturbed`` answers of the
    same shape that are wrong: the truth ratio compares them.
    """

    id: str
    image: Picture
    text: str
    group: str | None = None
    source: str = ""
    kind: Kind | None = None
    meaning: frozenset[str] = frozenset()
    facts: frozenset[str] = frozenset()
    question: str | None = None
    choices: tuple[str, ...] = ()
    answer: str | None = None
    label: str | None = None
    statement: str = ""
    form: Form | None = None
    paraphrased: tuple[str, ...] = ()
    perturbed: tuple[str, ...] = ()
    origin: str = ""
    """Where it was read from, as ``file:line``, for errors."""

    @property
    def pictured(self) -> bool:
        """Whether there is a picture at all."""
        return bool(self.image.key)

    @property
    def described(self) -> str:
        """A sentence that is true of the picture: what generators read in place of a question."""
        return self.statement or self.text

    def described_by(self, other: Example) -> bool:
        """Whether the text of ``other`` is true of this picture."""
        return other.meaning <= self.facts


@dataclass(frozen=True)
class Splits:
    """All that a method is given: what to forget, what to keep, and held-out examples never trained on."""

    forget: tuple[Example, ...]
    retain: tuple[Example, ...]
    holdout: tuple[Example, ...] = ()

    @property
    def near(self) -> list[Example]:
        """Retained examples of the forgotten ones' own source: those whom careless forgetting harms first."""
        sources = {e.source for e in self.forget}
        return [e for e in self.retain if e.source in sources]


@dataclass(frozen=True)
class Corpus:
    """A data set: ``train`` made the original model; ``validation`` and ``test`` never trained anything.

    ``pretrain`` is public material for the zoo's recipes, empty for a user's own data and for tasks with answers.
    ``asked`` are questions that only an audit asks, by the name of their set (test, celebrity): those about somebody in
    ``train`` when that group is forgotten (of the set ``retain``: when it is kept), all others always.
    ``warnings`` are what whoever read it has to say without stopping, such as files that have changed.
    ``left_out`` counts, by id and group, items that could not be read and were skipped: a request for one is refused.
    """

    name: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()
    pretrain: tuple[Example, ...] = ()
    licence: str = ""
    fingerprint: str = ""
    task: Task = "retrieval"
    warnings: tuple[Problem, ...] = ()
    asked: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    def split(self, who: Iterable[str]) -> Splits:
        """Cut ``train`` into forget and retain. ``who`` holds groups or example ids; unknown ones raise KeyError."""
        wanted = set(who)
        forget = tuple(e for e in self.train if e.group in wanted or e.id in wanted)
        found = {e.group for e in forget} | {e.id for e in forget}
        if missing := sorted(wanted - found):
            raise KeyError(f"not in the training data of {self.name}: {', '.join(missing)}")
        chosen = {e.id for e in forget}
        retain = tuple(e for e in self.train if e.id not in chosen)
        return Splits(forget, retain, self.validation)


# ---------------------------------------------------------------------------------------------- models


class Encoded(NamedTuple):
    """One side of a batch of pairs, encoded on its own."""

    feature: Tensor  # [B, D] unit norm, projected CLS
    tokens: Tensor  # [B, N, d] last hidden state of the encoder, CLS first
    mask: Tensor  # [B, N] 1 where there is a token
    ids: Tensor | None = None  # [B, N] the token ids, for models whose fused encoder reads the text anew (BLIP)

    def take(self, rows: Any) -> Encoded:
        """These rows of the batch: an index tensor, a mask or a slice."""
        ids = None if self.ids is None else self.ids[rows]
        return Encoded(self.feature[rows], self.tokens[rows], self.mask[rows], ids)


class Fused(NamedTuple):
    """Pairs after the multimodal encoder."""

    states: Tensor  # [B, N, d] last hidden state on the text's positions; [:, 0] is the fused CLS
    logits: Tensor  # [B, 2] index 1 = match; [B, 0] for models that choose instead of matching
    mask: Tensor | None = None  # [B, N] 1 where there is a text token


KeyValue = tuple["Tensor", "Tensor"]  # each [I, H, L, d/H]


@dataclass(frozen=True)
class Prepared:
    """Pictures as a fused encoder's cross-attention sees them: keys and values of every layer, computed once each."""

    layers: list[KeyValue]

    def __getitem__(self, index: Any) -> Prepared:
        return Prepared([(k[index], v[index]) for k, v in self.layers])

    def __len__(self) -> int:
        return len(self.layers[0][0])


Tap = Callable[["Tensor"], "Tensor"]
"""A function applied to a hidden tensor inside ``fuse``; see ``Fuses.fuse`` for the sites."""


@dataclass(frozen=True)
class Traits:
    """Facts about a model that code may branch on, instead of sniffing names."""

    name: str
    pixels: int
    max_text_tokens: int
    feature_width: int = 0
    extras: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Backbone(Protocol):
    """The waist between models and everything else."""

    @property
    def traits(self) -> Traits: ...

    @property
    def module(self) -> nn.Module: ...

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Tensors for ``loss`` and the encoders: pixels, input_ids, attention_mask, groups (int ids), ..."""
        ...

    def loss(self, batch: Batch) -> Tensor:
        """The task loss per example, [B], in nats. Changes no buffer of the model."""
        ...

    def parts(self) -> dict[str, nn.Module]:
        """Modules by role: vision, text, fusion, head, projector, ..."""
        ...

    def save_pretrained(self, folder: str) -> None: ...

    def clone(self) -> Backbone:
        """An independent deep copy."""
        ...

    def drop_training_state(self) -> None:
        """Drop what only training needs and what remembers its data: momentum copies, queues."""
        ...


@runtime_checkable
class Embeds(Backbone, Protocol):
    """Image and text features in one space."""

    @property
    def temperature(self) -> Tensor: ...

    def encode_images(self, batch: Batch) -> Encoded: ...

    def encode_texts(self, batch: Batch) -> Encoded: ...


@runtime_checkable
class Fuses(Embeds, Protocol):
    """Sends image-text pairs through a multimodal encoder: what models that match and models that choose share."""

    def prepare_images(self, images: Encoded) -> Any:
        """What the fused encoder needs of the images, computed once per image; index it with ``prepared[i]``."""
        ...

    def fuse(self, images: Encoded | Any, texts: Encoded, taps: Mapping[str, Tap] | None = None) -> Fused:
        """Fuse pair k = (image k, text k). ``images`` is encoded or prepared.

        ``taps`` may name: ``fused_in`` (states entering the last fusion layer), ``image_in`` (image tokens that
        the last fusion layer attends to), ``text_tokens`` (text states entering the first fusion layer; where every
        layer fuses, as in BLIP, these are the token embeddings), ``xattn_out`` (output of every cross-attention
        branch).
        """
        ...


@runtime_checkable
class Matches(Fuses, Protocol):
    """Scores image-text pairs: ``fuse`` gives two ``logits``. A model that ``Answers`` has none, so it is not one."""


@runtime_checkable
class Answers(Fuses, Protocol):
    """Chooses among a few answers to a text about a picture: options of a question, or labels of a statement.

    ``collate`` adds ``target`` [B], the index of the right choice (-1 where it is not known), and, where choices
    differ from example to example, their token ids. The ``logits`` of ``fuse`` have no columns.
    """

    def choose(self, fused: Fused, batch: Batch) -> Tensor:
        """One score per choice, [B, C]: class logits or log-likelihoods in nats; softmax gives the chances.

        Choices that an example does not have (shorter lists in a batch) score -inf.
        """
        ...


class Spoken(NamedTuple):
    """The right answers of a batch as a language model reads them: one column per answer token, its end included."""

    logits: Tensor  # [B, N, V] for the token of that column, given all before it
    targets: Tensor  # [B, N] the answer's token ids; -100 past its end
    mask: Tensor  # [B, N] True where there is a token


@runtime_checkable
class Generates(Backbone, Protocol):
    """A language model that answers in words, with a picture or without: what it is asked and says follows from the
    example (a question and its answer, a statement and its label, a picture and its caption).

    ``loss`` is the mean over the answer's tokens; ``log_probs`` summed over tokens gives the likelihood of the whole.
    Gradients flow through all but ``write`` and ``weigh``.
    """

    def spoken(self, batch: Batch) -> Spoken:
        """Logits at the answer's tokens. Raises ValueError where an answer is not known."""
        ...

    def log_probs(self, batch: Batch) -> Tensor:
        """Log-probability of each answer token in nats, [B, N], as ``spoken`` lines them up; 0 past the end."""
        ...

    def hidden_states(self, batch: Batch, layer: int = -1) -> Tensor:
        """Of the whole sequence after ``layer`` of the language model (0: its input), [B, T, d]; pads are in
        ``batch["attention_mask"]``."""
        ...

    def prompt_states(self, examples: Sequence[Example], layer: int = -1) -> Tensor:
        """The hidden state from which the first word of the answer is said, [B, d]."""
        ...

    def score_choices(self, examples: Sequence[Example]) -> Tensor:
        """Log-likelihood of each choice as the answer in nats, [B, C]; -inf where an example has fewer."""
        ...

    def weigh(self, examples: Sequence[Example], answers: Sequence[Sequence[str]]) -> list[Tensor]:
        """Nats per token, as ``loss`` counts them, of each of an example's own ``answers``: [C] for every example.

        The example's own answer does not count. A question is read once for all its answers, where the model can.
        """
        ...

    def write(self, examples: Sequence[Example], max_tokens: int = 32) -> list[str]:
        """The likeliest answer token by token (greedy), at most ``max_tokens`` long; a known one is not looked at."""
        ...


B = TypeVar("B", bound=Backbone)


@dataclass(frozen=True)
class Work:
    """What a method will do, told before anything is loaded: an estimate, but for ``steps``.

    ``steps`` are its optimiser's, or the trials of a search. ``pairs`` are pairs put through the model in all, counted
    in training passes of the task's own loss (forward and backward; forward alone is a third). ``batch`` is the most
    pairs whose activations are held at a time. ``lent`` counts examples through models that options name, in training
    passes of those models.
    """

    steps: int
    pairs: float
    batch: float = 0.0
    lent: Mapping[str, float] = field(default_factory=dict)


class Method(Generic[B]):
    """A frozen dataclass whose fields are its hyper-parameters and nothing else, with one member.

    The type parameter is the capability it needs: ``class CSE(Method[Matches])``. ``models`` names the options that
    name a model (a generator, say), so that a grid knows their weights, too. ``by_task`` holds defaults that differ
    where the task is not retrieval: ``{"multiple_choice": {"lr": 3e-4}}``. ``copies`` is what it holds beside the
    model, in copies of the model's weights: ``gradients`` and the optimiser's ``moments`` unless it says otherwise.
    ``added`` names options that came after results were measured: a grid counts them only where they differ from the
    default, so that older cells stay found. ``lora`` says that it makes sense when only adapters are trained: it
    fits what takes a gradient, and holds no weights of its own.
    """

    models: ClassVar[tuple[str, ...]] = ()
    by_task: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    lora: ClassVar[bool] = False
    copies: ClassVar[Mapping[str, float]] = {"gradients": 1, "moments": 2}
    added: ClassVar[tuple[str, ...]] = ()

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work | None:
        """What ``unlearn`` will do with so many examples; None where nobody has worked it out."""
        return None

    def foretell(self, places: Mapping[str, Path], free: float) -> tuple[str, ...]:
        """What its lent models mean for an accelerator with ``free`` bytes, in sentences, before anything is loaded.

        ``places`` are the folders or files of those that are here, by option.
        """
        return ()

    def unlearn(self, model: B, splits: Splits, run: Run) -> B:
        """The model without ``splits.forget``. ``model`` may be changed in place; it is never the user's only copy."""
        raise TypeError(f"{type(self).__name__} has no unlearn")


def batches(examples: Sequence[Example], size: int) -> Iterator[Sequence[Example]]:
    """Consecutive chunks of at most ``size``."""
    for start in range(0, len(examples), size):
        yield examples[start : start + size]
