"""ALBEF that answers: labels of statements (visual entailment) and choices of questions (multiple choice).

Both satisfy ``Answers``. They start from a retrieval ALBEF, whose projections and temperature they keep, so that
picture and text still have a cosine (the S of CSE); a released checkpoint for these tasks has none, and then the
features are the normalised CLS and ``traits.extras["projected"]`` is False.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.backbones.albef.answer_models import (
    AlbefAnswersConfig,
    AlbefAnswersModel,
    AlbefEntailmentConfig,
    AlbefEntailmentModel,
)
from expunge.backbones.albef.model import AlbefEncoders
from expunge.backbones.albef.pairs import AlbefPairs
from expunge.core.errors import ExpungeError
from expunge.core.types import LABELS, Batch, Encoded, Example, Fused, Prepared, Tap, Task
from expunge.train.rows import by_rows


class AnsweringAlbef(AlbefPairs):
    """What both have: fusion without match logits, and the pretrained encoders to start from."""

    task: Task

    @by_rows
    def fuse(self, images: Encoded | Prepared, texts: Encoded, taps: Mapping[str, Tap] | None = None) -> Fused:
        """See ``Answers.fuse``. The ``image_in`` tap needs encoded images: prepared ones are past it."""
        states = self.fused_states(images, texts, taps)
        return Fused(states, states.new_zeros(len(states), 0), texts.mask)

    def for_task(self, task: Task) -> Self:
        """This model, where it was made for ``task``; ExpungeError otherwise."""
        if task != self.task:
            raise ExpungeError(f"{self.traits.name} was made for {self.task}, not for {task}.")
        return self

    def pair(self, batch: Batch) -> Fused:
        """Encode and fuse a batch of pairs."""
        return self.fuse(self.encode_images(batch), self.encode_texts(batch))


def _sizes(model: AlbefEncoders) -> dict:
    told = model.config.to_dict()
    return {k: v for k, v in told.items() if k not in ("model_type", "architectures", "masked_language")}


def _begun(kind: type, config: type, albef: AlbefPairs, seed: int) -> AlbefEncoders:
    """A model with the encoders, projections and temperature of ``albef``; the rest is drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config(**_sizes(albef.module)))
    mine = model.state_dict()
    model.load_state_dict({k: v for k, v in albef.module.state_dict().items() if k in mine}, strict=False)
    return model.to(albef.device).eval()


def _known(batch: Batch, what: str) -> Tensor:
    """The targets [B]. Raises ValueError when one is not known."""
    if bool((batch["target"] < 0).any()):
        raise ValueError(f"training needs the {what} of every example; {int((batch['target'] < 0).sum())} have none")
    return batch["target"]


class AlbefEntailment(AnsweringAlbef):
    """Visual entailment: does the picture contradict, leave open or entail the statement (``core.types.LABELS``)?"""

    built = AlbefEntailmentModel
    task = "entailment"

    def __init__(self, model: AlbefEntailmentModel, processor, name: str = "albef-entailment"):
        super().__init__(model, processor, name)

    @classmethod
    def start_from(cls, albef: AlbefPairs, seed: int = 0) -> AlbefEntailment:
        """Pretrained encoders under a fresh classifier, drawn from ``seed``."""
        model = _begun(AlbefEntailmentModel, AlbefEntailmentConfig, albef, seed)
        return cls(model, albef.processor, f"{albef.traits.name.removesuffix('.pth')}-entailment")

    def collate(self, examples: Sequence[Example]) -> Batch:
        """As for retrieval, with ``target`` [B]: the label's place in ``LABELS``, -1 where there is none."""
        batch = self.processor.collate(examples)
        places = [LABELS.index(e.label) if e.label in LABELS else -1 for e in examples]
        batch["target"] = torch.tensor(places, dtype=torch.long)
        return {k: v.to(self.device) for k, v in batch.items()}

    @by_rows
    def choose(self, fused: Fused, batch: Batch) -> Tensor:
        """Class logits [B, 3]."""
        return self.module.cls_head(fused.states[:, 0])

    @by_rows
    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the label, [B]. Raises ValueError where a label is missing."""
        return F.cross_entropy(self.choose(self.pair(batch), batch).float(), _known(batch, "label"), reduction="none")

    def parts(self) -> dict[str, nn.Module]:
        return {**super().parts(), "head": self.module.cls_head}


class AlbefAnswers(AnsweringAlbef):
    """Questions with choices: the answer decoder's likelihood of each choice decides."""

    built = AlbefAnswersModel
    task = "multiple_choice"

    def __init__(self, model: AlbefAnswersModel, processor, name: str = "albef-answers"):
        super().__init__(model, processor, name)

    @classmethod
    def start_from(cls, albef: AlbefPairs, seed: int = 0) -> AlbefAnswers:
        """Pretrained encoders and a decoder that starts as the fusion layers, as released (VQA.py:146-170).

        The decoder's embeddings start as the text encoder's. Its word head starts as the one for masked words where
        the pretrained model has that, and is otherwise drawn from ``seed``. Cross-attention of another width than
        the picture's cannot be copied and is drawn, too.
        """
        model = _begun(AlbefAnswersModel, AlbefAnswersConfig, albef, seed)
        source, decoder = albef.module.text_encoder, model.text_decoder
        decoder.bert.embeddings.load_state_dict(source.embeddings.state_dict())
        for ours, theirs in zip(decoder.bert.upper, source.upper, strict=False):
            fits = ours.state_dict()
            ours.load_state_dict(
                {k: v for k, v in theirs.state_dict().items() if fits[k].shape == v.shape}, strict=False
            )
        if (pretrained := getattr(albef.module, "mlm_head", None)) is not None:
            words = decoder.cls.predictions
            words.transform.dense.load_state_dict(pretrained.dense.state_dict())
            words.transform.LayerNorm.load_state_dict(pretrained.LayerNorm.state_dict())
            words.bias.data.copy_(pretrained.decoder.bias.data)
        return cls(model, albef.processor, f"{albef.traits.name.removesuffix('.pth')}-answers")

    def collate(self, examples: Sequence[Example]) -> Batch:
        """As for retrieval, with ``choice_ids`` and ``choice_mask`` [B, C, L] and ``target`` [B].

        C is the longest list of choices in the batch, at least one; the mask is 0 on padding and on choices that an
        example does not have. ``target`` is the place of ``answer`` among ``choices``, -1 where it is not there.
        """
        batch = {**self.processor.collate(examples), **self.processor.choices([e.choices for e in examples])}
        places = [e.choices.index(e.answer) if e.answer in e.choices else -1 for e in examples]
        batch["target"] = torch.tensor(places, dtype=torch.long)
        return {k: v.to(self.device) for k, v in batch.items()}

    @by_rows
    def choose(self, fused: Fused, batch: Batch) -> Tensor:
        """Log-likelihood of each choice in nats, [B, C]: minus the summed NLL of its tokens after the first."""
        ids, mask = batch["choice_ids"], batch["choice_mask"]
        rows, columns = mask.any(-1).nonzero().T
        questions = self.module.read_questions(fused.states, fused.mask)[rows]
        nll = self.module.answer_nll(questions, ids[rows, columns], mask[rows, columns])
        scores = nll.new_full(ids.shape[:2], -torch.inf)
        return scores.index_put((rows, columns), -nll)

    def answer_loss(self, fused: Fused, ids: Tensor, mask: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        """Weighted NLL per question, [B]: M answers [M, L], each of question ``rows`` [M] with ``weights`` [M].

        Its mean is the released training loss without distillation (models/model_vqa.py:104-117).
        """
        questions = self.module.read_questions(fused.states, fused.mask)[rows]
        nll = self.module.answer_nll(questions, ids, mask)
        return nll.new_zeros(len(fused.states)).index_add(0, rows, weights * nll)

    @by_rows
    def loss(self, batch: Batch) -> Tensor:
        """NLL of the right answer, [B]. Raises ValueError where it is not known."""
        rows, target = torch.arange(len(batch["target"]), device=self.device), _known(batch, "right answer")
        ids, mask = batch["choice_ids"][rows, target], batch["choice_mask"][rows, target]
        return self.answer_loss(self.pair(batch), ids, mask, rows, torch.ones(len(rows), device=self.device))

    def rank_answers(self, fused: Fused, answers: Sequence[str], k: int) -> tuple[Tensor, Tensor]:
        """The released inference over a list of answers: indices and chances [B, k], best first."""
        made = self.processor.answers(answers)
        ids, mask = made["input_ids"].to(self.device), made["attention_mask"].to(self.device)
        return self.module.rank_answers(fused.states, fused.mask, ids, mask, min(k, len(answers)))

    def parts(self) -> dict[str, nn.Module]:
        return {**super().parts(), "decoder": self.module.text_decoder}
