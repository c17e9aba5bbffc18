"""Every picture and every text of an evaluation encoded once, and pairs of them fused.

Where several ranks evaluate together each computes some of the batches, the same ones that a single process would form,
so that the numbers are the same; all ranks have all results.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from expunge.core.groups import digest
from expunge.core.run import Run
from expunge.core.types import Backbone, Embeds, Encoded, Example, Matches, batches
from expunge.train.pairs import joined
from expunge.train.rows import spread

Precision = Literal["float32", "model"]

PREPARED_BYTES = 2**29
"""How much of the prepared images one step may hold: the released 384 px model needs 21 MB for a single image."""


@dataclass(frozen=True)
class Blank:
    """Stands in for the picture where only the text of an example is wanted: collate would draw it again."""

    key: str = "blank"

    def open(self, pixels: int) -> Image.Image:
        return Image.new("RGB", (pixels, pixels))


@dataclass(frozen=True)
class Encodings:
    """Both sides of I pictures and T texts, by digest in sorted order; texts padded to the longest."""

    pictures: tuple[str, ...]
    texts: tuple[str, ...]
    images: Encoded
    words: Encoded

    @cached_property
    def rows(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.pictures)}

    @cached_property
    def columns(self) -> dict[str, int]:
        return {name: j for j, name in enumerate(self.texts)}

    def pairs(self, examples: Iterable[Example]) -> Tensor:
        """[n, 2] picture row and text column of each example. Raises KeyError for what was not encoded."""
        found = [(self.rows[digest(e.image.key)], self.columns[digest(e.text)]) for e in examples]
        return torch.tensor(found, dtype=torch.long).reshape(-1, 2)


@contextmanager
def judging(model: Backbone, precision: Precision = "float32") -> Iterator[None]:
    """Evaluation mode, no gradients and no autocast; the training flag of every module comes back afterwards.

    Raises ``TypeError`` when weights are not float32 and ``precision`` is not "model": at half precision logits
    near each other tie or swap, so recalls of such a model are only comparable among themselves.
    """
    odd = {p.dtype for p in model.module.parameters() if p.is_floating_point() and p.dtype != torch.float32}
    if odd and precision != "model":
        raise TypeError(f"weights in {', '.join(map(str, odd))}: convert to float32 or pass precision='model'")
    training = [(m, m.training) for m in model.module.modules()]
    model.module.eval()
    device = next((p.device.type for p in model.module.parameters()), "cpu")
    try:
        with torch.no_grad(), torch.autocast(device, enabled=False):
            yield
    finally:
        for module, flag in training:
            module.training = flag


def encode(
    model: Embeds,
    examples: Iterable[Example],
    run: Run | None = None,
    *,
    batch: int = 64,
    precision: Precision = "float32",
) -> Encodings:
    """Encode each distinct picture and each distinct text once. Raises what ``judging`` and ``collate`` raise."""
    examples = tuple(examples)
    run = run or Run()
    pictures = {digest(e.image.key): e for e in examples}
    texts = {digest(e.text): replace(e, image=Blank()) for e in examples}
    # Texts of like length share a batch, or one long caption would pad all the others.
    by_length = sorted(texts, key=lambda name: (len(texts[name].text.split()), name))
    with judging(model, precision), run.stage("encoding", len(pictures) + len(texts)):
        seen = _encode(model, pictures, sorted(pictures), model.encode_images, batch, run)
        read = _encode(model, texts, by_length, model.encode_texts, batch, run)
    return Encodings(tuple(sorted(pictures)), tuple(sorted(texts)), seen, read)


def _encode(model: Embeds, found: dict[str, Example], order: Sequence[str], encoder, batch: int, run: Run) -> Encoded:
    """Encode in ``order``, return in sorted order, padded at the right to the longest."""
    made = spread(
        list(batches(list(order), batch)),
        lambda names: encoder(model.collate([found[name] for name in names])),
        run.progress,
        len,
    )
    chunks = [Encoded(*one) for one in made]
    place = {name: i for i, name in enumerate(order)}
    back = torch.tensor([place[name] for name in sorted(order)], device=chunks[0].feature.device)
    return joined(chunks).take(back)


def take(encoded: Encoded, rows: Tensor | slice) -> Encoded:
    """Some rows, cut to the longest of them."""
    some = encoded.take(rows)
    # The last column that anyone uses, not the sum: a mask may have holes.
    used = int(torch.nonzero(some.mask.any(0)).max()) + 1
    ids = None if some.ids is None else some.ids[:, :used]
    return Encoded(some.feature, some.tokens[:, :used], some.mask[:, :used], ids)


@dataclass(frozen=True)
class FusedPairs:
    """Pairs after the fused encoder, on the CPU: match logits [M, 2] and fused CLS [M, d] if asked for."""

    logits: Tensor
    cls: Tensor | None

    @property
    def probability(self) -> Tensor:
        """[M] chance of a match."""
        return self.logits.softmax(-1)[:, 1]


def fuse_pairs(
    model: Matches,
    encodings: Encodings,
    pairs: Tensor,
    run: Run | None = None,
    *,
    pair_batch: int = 256,
    keep_cls: bool = False,
    precision: Precision = "float32",
) -> FusedPairs:
    """Fuse pairs [M, 2] of (picture row, text column), image by image.

    A block of images is prepared once (their cross-attention keys and values), then all pairs of the block go
    through in batches of texts of like length. ``pair_batch`` is an upper bound; big images lower it so that a
    step holds about ``PREPARED_BYTES``.
    """
    run = run or Run()
    count = len(pairs)
    _, tokens, width = encodings.images.tokens.shape
    per_image = tokens * width * 4 * 6  # keys and values of some three fusion layers; deeper models have more
    pair_batch = max(1, min(pair_batch, PREPARED_BYTES // per_image))
    block = max(1, min(64, PREPARED_BYTES // per_image))
    lengths = encodings.words.mask.sum(1).cpu()
    # Sort by block of images, then by text length; a stable order, so that results do not depend on chance.
    key = (pairs[:, 0] // block) * (int(lengths.max()) + 1) + lengths[pairs[:, 1]] if count else pairs[:, 0]
    order = key.argsort(stable=True)
    numbers, sizes = torch.unique_consecutive(pairs[order, 0] // block, return_counts=True)
    jobs = [
        (int(number) * block, some)
        for number, chosen in zip(numbers, order.split(sizes.tolist()), strict=True)
        for some in chosen.split(pair_batch)
    ]
    device = encodings.images.tokens.device
    held: dict[int, Any] = {}

    def fused(job: tuple[int, Tensor]) -> tuple[Tensor, Tensor | None]:
        first, chosen = job
        if first not in held:
            held.clear()
            held[first] = model.prepare_images(take(encodings.images, slice(first, first + block)))
        rows, columns = pairs[chosen].to(device).T
        made = model.fuse(held[first][rows - first], take(encodings.words, columns))
        return made.logits.float().cpu(), made.states[:, 0].float().cpu() if keep_cls else None

    with judging(model, precision), run.stage("matching pairs", count):
        done = spread(jobs, fused, run.progress, lambda job: len(job[1]))
    logits = torch.empty(count, 2)
    cls: Tensor | None = None
    for (_, chosen), (scores, states) in zip(jobs, done, strict=True):
        logits[chosen] = scores
        if states is not None:
            cls = torch.empty(count, states.shape[1]) if cls is None else cls
            cls[chosen] = states
    if keep_cls and cls is None:
        cls = torch.empty(0, width)
    return FusedPairs(logits, cls)
