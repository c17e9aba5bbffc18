"""The backbone around a chat model: ``Generates`` and nothing that needs pictures and texts apart."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForImageTextToText, GenerationConfig

from expunge.backbones.mllm.families import family_of, parts_of
from expunge.backbones.mllm.processors import open_processor, save_processor
from expunge.backbones.mllm.prompts import IGNORED, Prompter
from expunge.backbones.mllm.reading import Reading
from expunge.backbones.mllm.turns import turn_of
from expunge.backbones.saved import whole
from expunge.core.errors import ExpungeError
from expunge.core.types import Batch, Example, Spoken, Task, Traits
from expunge.train import adapters

OURS = frozenset({"labels", "groups"})
"""What ``collate`` adds to what the model itself reads."""
LARGEST_PICTURE = 448
"""Where a processor takes pictures of any size, they are opened this wide and high at most."""


class Mllm:
    """A chat model and its processor. ``pixels`` is how wide and high pictures are opened."""

    tasks: tuple[Task, ...] = ("multiple_choice", "entailment", "answering")
    task: Task = "multiple_choice"
    traits: Traits
    module: nn.Module

    def __init__(self, model: Any, processor: Any, name: str = "mllm", pixels: int | None = None) -> None:
        self.module, self.processor = model, processor
        self.family = family_of(model.config)
        text = model.config.get_text_config()
        self.traits = Traits(
            name=name,
            pixels=pixels or picture_size(model.config, processor),
            max_text_tokens=text.max_position_embeddings,
            feature_width=text.hidden_size,
            extras={"family": model.config.model_type, "layers": text.num_hidden_layers},
        )
        self.prompter = Prompter(processor, self.family, self.traits.pixels)

    # ------------------------------------------------------------------------------------ life

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, dtype: torch.dtype = torch.float32, pixels: int | None = None
    ) -> Self:
        """Load a transformers folder (or hub id). Code that a folder brings along is never run.

        Raises ExpungeError for a folder that lacks weights.
        """
        opened: Any = AutoModelForImageTextToText.from_pretrained(
            str(folder), dtype=dtype, trust_remote_code=False, output_loading_info=True
        )
        model = whole(opened, folder).eval()
        processor = open_processor(folder, family_of(model.config), model.config)
        return cls(model, processor, Path(folder).name, pixels)

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write what ``AutoModelForImageTextToText`` and ``AutoProcessor`` open; adapters are merged into the weights.

        ``dtype`` stores the weights in another precision, for small files.
        """
        folder = Path(folder)
        model = self.module
        if dtype or adapters.adapted(model):
            model = adapters.merge(copy.deepcopy(model)).to(dtype or self.dtype)
        model.save_pretrained(folder)
        save_processor(self.processor, self.family, folder)

    def clone(self) -> Self:
        return type(self)(copy.deepcopy(self.module), self.processor, self.traits.name, self.traits.pixels)

    def drop_training_state(self) -> None:
        """Nothing to drop: the model holds weights only."""

    def for_task(self, task: Task) -> Self:
        """This model: what is asked follows from the examples. ExpungeError for retrieval: it has no match score."""
        if task not in self.tasks:
            raise ExpungeError(f"{self.traits.name} writes answers; it cannot be trained on {task}.")
        return self

    @property
    def device(self) -> torch.device:
        return self.module.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.module.get_input_embeddings().weight.dtype

    def parts(self) -> dict[str, nn.Module]:
        """vision, projector, language, head: disjoint, but for a head that is tied to the word embeddings."""
        return parts_of(self.module, self.family)

    # ------------------------------------------------------------------------------------ adapters

    def adapt(self, **settings: Any) -> Self:
        """Put LoRA adapters on the linear layers (see ``adapters.adapt``) and freeze all else; returns this model."""
        adapters.adapt(self.module, self.parts(), **settings)
        return self

    def merge(self) -> Self:
        """Add the adapters to the weights and take them off; every weight may be trained again."""
        adapters.merge(self.module)
        self.module.requires_grad_(True)
        return self

    # ------------------------------------------------------------------------------------ learning

    def collate(self, examples: Sequence[Example]) -> Batch:
        """What the model reads, with ``labels`` [B, T] (-100 where no loss is borne) and ``groups`` [B].

        Examples with a picture and without may stand in one batch. Raises ValueError where an answer is not known.
        """
        numbers: dict[str, int] = {}
        groups = [numbers.setdefault(e.group or e.id, len(numbers)) for e in examples]
        batch = self.prompter.learning([turn_of(e) for e in examples])
        return self._sent({**batch, "groups": torch.tensor(groups)})

    def loss(self, batch: Batch) -> Tensor:
        """Mean nats per token of the answer and its end, [B]."""
        made = self.spoken(batch)
        return -_log_probs(made).sum(1) / made.mask.sum(1).clamp_min(1)

    def log_probs(self, batch: Batch) -> Tensor:
        return _log_probs(self.spoken(batch))

    def spoken(self, batch: Batch) -> Spoken:
        """See ``Generates.spoken``. The head reads the answers' positions only: its output is large."""
        states = self._read(batch).last_hidden_state  # [B, T, d]
        labels = batch["labels"]
        borne = labels != IGNORED
        rows, columns = borne.nonzero(as_tuple=True)
        slots = (borne.cumsum(1) - 1)[borne]  # the how-manieth answer token of its row
        counts = borne.sum(1)
        place = labels.new_zeros(len(labels), int(counts.max())).index_put((rows, slots), columns)  # [B, N]
        mask = torch.arange(place.shape[1], device=place.device) < counts[:, None]
        before = (place - 1).clamp_min(0)  # the state that says a token stands one before it
        said = states.gather(1, before[..., None].expand(-1, -1, states.shape[2]))  # [B, N, d]
        targets = labels.gather(1, place).masked_fill(~mask, IGNORED)
        return Spoken(self.module.get_output_embeddings()(said), targets, mask)

    def hidden_states(self, batch: Batch, layer: int = -1) -> Tensor:
        return self._read(batch, output_hidden_states=True).hidden_states[layer]

    def _read(self, batch: Batch, **wanted: Any) -> Any:
        """What transformers' model below its head makes of a batch; ``wanted`` are words of its own."""
        inputs = {k: v for k, v in batch.items() if k not in OURS}
        return self.module.base_model(**{"use_cache": False, **inputs, **wanted})

    def _sent(self, batch: Batch) -> Batch:
        """On the model's device, pictures in its precision."""
        return {k: v.to(self.device, self.dtype if v.is_floating_point() else None) for k, v in batch.items()}

    # ------------------------------------------------------------------------------------ answering

    def prompt_states(self, examples: Sequence[Example], layer: int = -1) -> Tensor:
        batch = self._sent(self.prompter.asking([turn_of(e) for e in examples]))
        return self.hidden_states(batch, layer)[:, -1]  # padded at the left: the last position is everybody's last

    def score_choices(self, examples: Sequence[Example]) -> Tensor:
        """See ``Generates.score_choices``. As many sequences are read at a time as there are examples."""
        turns = [turn_of(e) for e in examples]
        if bare := [e.id for e, t in zip(examples, turns) if not t.choices]:
            raise ValueError(f"example {bare[0]} has nothing to choose from")
        asked = [(row, column, t.answered(c)) for row, t in enumerate(turns) for column, c in enumerate(t.choices)]
        nats = []
        for start in range(0, len(asked), len(turns)):
            some = [t for _, _, t in asked[start : start + len(turns)]]
            nats.append(self.log_probs(self._sent(self.prompter.learning(some))).sum(1))
        found = torch.cat(nats)
        scores = found.new_full((len(turns), max(len(t.choices) for t in turns)), -torch.inf)
        rows, columns = (torch.tensor([a[i] for a in asked], device=found.device) for i in (0, 1))
        return scores.index_put((rows, columns), found)

    @torch.no_grad()
    def weigh(self, examples: Sequence[Example], answers: Sequence[Sequence[str]]) -> list[Tensor]:
        """See ``Generates.weigh``. Raises ValueError for an example without answers."""
        if not all(answers):
            raise ValueError("every example needs an answer to be weighed")
        turns = [turn_of(e) for e in examples]
        asked = self._sent(self.prompter.asking(turns))
        shift = (lambda: self.module.base_model.rope_deltas) if self.family.spatial else None
        reading = Reading(self._read, self.module.get_output_embeddings(), asked, shift)
        columns = []
        for at in range(max(map(len, answers))):
            # Who has fewer answers gets the last one again: the batch stays whole, and that column is dropped.
            some = [turn.answered(own[min(at, len(own) - 1)]) for turn, own in zip(turns, answers)]
            tails = self.prompter.tails(some)
            columns.append(reading.weigh(tails) if tails else self.loss(self._sent(self.prompter.learning(some))))
        return [row[: len(own)] for row, own in zip(torch.stack(columns, 1), answers)]

    @torch.no_grad()
    def write(self, examples: Sequence[Example], max_tokens: int = 32) -> list[str]:
        batch = self._sent(self.prompter.asking([turn_of(e) for e in examples]))
        settings = GenerationConfig(
            max_new_tokens=max_tokens,
            do_sample=False,
            eos_token_id=self.prompter.end_ids,
            pad_token_id=self.prompter.tokenizer.pad_token_id,
        )
        # The trap: what ``settings`` leaves open is taken from the folder's generation_config.json, and a penalty on
        # repeated words falls on the options that a question lists.
        own, was_training = self.module.generation_config, self.module.training
        self.module.eval()
        self.module.generation_config = settings
        try:
            ids = self.module.generate(**batch, generation_config=settings)
        finally:
            self.module.generation_config = own
            self.module.train(was_training)
        return self.prompter.read(ids[:, batch["input_ids"].shape[1] :])


def picture_size(config: Any, processor: Any) -> int:
    """How wide and high pictures are opened: the tower's size, or what the processor takes at most."""
    if fixed := getattr(config.vision_config, "image_size", None):
        return fixed
    image = processor.image_processor
    step = image.patch_size * image.merge_size
    most = min(LARGEST_PICTURE, int(image.size["longest_edge"] ** 0.5))  # of a picture's area, not of a side
    return max(step, most // step * step)


def _log_probs(made: Spoken) -> Tensor:
    logits = made.logits.float().transpose(1, 2)
    return -F.cross_entropy(logits, made.targets, ignore_index=IGNORED, reduction="none")
