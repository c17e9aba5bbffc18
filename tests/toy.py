"""A small deterministic ``Matches`` model and a small world, for tests that should not need a backbone."""

from __future__ import annotations

import copy
import random
import zlib
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import nn

from expunge.core.types import Encoded, Example, Fused, Traits

WIDTH = 16


@dataclass(frozen=True)
class Noise:
    """A picture of noise that its key determines."""

    key: str

    def open(self, pixels: int) -> Image.Image:
        rng = random.Random(self.key)
        return Image.frombytes("RGB", (pixels, pixels), rng.randbytes(3 * pixels * pixels))


class Prepared:
    def __init__(self, keys, values):
        self.keys, self.values = keys, values

    def __getitem__(self, index):
        return Prepared(self.keys[index], self.values[index])


class Net(nn.Module):
    def __init__(self, seed: int):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.see = nn.Linear(12, WIDTH)
            self.read = nn.Embedding(500, WIDTH)
            self.key, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
            self.head = nn.Linear(WIDTH, 2)
            self.drop = nn.Dropout(0.5)  # bites when somebody forgets eval()


class Toy:
    """Patches and hashed words, one cross-attention; word order matters through a running sum."""

    traits = Traits("toy", 8, 12, WIDTH)
    temperature = torch.tensor(0.07)

    def __init__(self, seed: int = 0):
        self.module = Net(seed)
        self.fused_pairs = 0

    def collate(self, examples):
        pixels = [torch.frombuffer(bytearray(e.image.open(8).tobytes()), dtype=torch.uint8) for e in examples]
        words = [[zlib.crc32(w.encode()) % 499 + 1 for w in e.text.lower().split()][:12] for e in examples]
        longest = max(map(len, words))
        ids = torch.tensor([[0, *w, *[0] * (longest - len(w))] for w in words])
        mask = torch.tensor([[1] * (1 + len(w)) + [0] * (longest - len(w)) for w in words])
        return {
            "pixels": torch.stack(pixels).float().reshape(-1, 16, 12) / 255 - 0.5,
            "input_ids": ids,
            "attention_mask": mask,
        }

    def _encoded(self, tokens, mask):
        mean = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        tokens = torch.cat([mean[:, None], tokens[:, 1:]], 1)
        return Encoded(nn.functional.normalize(mean, dim=-1), tokens, mask)

    def encode_images(self, batch):
        tokens = self.module.drop(self.module.see(batch["pixels"]))
        return self._encoded(tokens, torch.ones(tokens.shape[:2], dtype=torch.long))

    def encode_texts(self, batch):
        return self._encoded(self.module.read(batch["input_ids"]).cumsum(1).tanh(), batch["attention_mask"])

    def prepare_images(self, images):
        return Prepared(self.module.key(images.tokens), self.module.value(images.tokens))

    def fuse(self, images, texts, taps=None):
        self.fused_pairs += len(texts.tokens)
        held = images if isinstance(images, Prepared) else self.prepare_images(images)
        attention = (texts.tokens @ held.keys.transpose(1, 2)).softmax(-1)
        states = (texts.tokens + attention @ held.values) * texts.mask[..., None]
        states = torch.cat([(states.sum(1) / texts.mask.sum(1, keepdim=True))[:, None], states[:, 1:]], 1)
        return Fused(states, self.module.head(states[:, 0]))

    def loss(self, batch):
        logits = self.fuse(self.encode_images(batch), self.encode_texts(batch)).logits
        return -logits.log_softmax(-1)[:, 1]

    def parts(self):
        return {"vision": self.module.see, "text": self.module.read, "head": self.module.head}

    def clone(self):
        return copy.deepcopy(self)

    def drop_training_state(self):
        pass

    def save_pretrained(self, folder):
        torch.save(self.module.state_dict(), f"{folder}/toy.pt")


def person(name: str, source: str = "people") -> list[Example]:
    """A picture with two shared and two private sentences."""
    rng = random.Random(name)
    hair, coat = rng.choice(["red", "black", "blond"]), rng.choice(["hoodie", "shirt"])
    told = frozenset({f"{name}:0"}), frozenset({f"{name}:1"})
    facts = frozenset({f"hair={hair}", f"coat={coat}"}).union(*told)
    lines = [
        ("shared", f"someone with {hair} hair", frozenset({f"hair={hair}"})),
        ("shared", f"a person with {hair} hair in a {coat}", frozenset({f"hair={hair}", f"coat={coat}"})),
        ("private", f"{name} lives in town {name[-1]}", told[0]),
        ("private", f"{name} really likes number {rng.randrange(99)} best of all", told[1]),
    ]
    return [
        Example(f"{name}-{i}", Noise(name), text, name, source, kind, meaning, facts)
        for i, (kind, text, meaning) in enumerate(lines)
    ]


def scene(name: str) -> list[Example]:
    """A picture with three everyday captions."""
    facts = frozenset({f"has={name}", "ground"})
    lines = [f"there is {name}", f"{name} on the ground today", f"a drawing of {name} and nothing else at all"]
    return [
        Example(f"{name}-{i}", Noise(name), t, name, "scenes", "shared", frozenset({f"has={name}"}), facts)
        for i, t in enumerate(lines)
    ]


def people(prefix: str, count: int) -> tuple[Example, ...]:
    return tuple(e for i in range(count) for e in person(f"{prefix}{i}"))


def scenes(prefix: str, count: int) -> tuple[Example, ...]:
    return tuple(e for i in range(count) for e in scene(f"{prefix}{i}"))


class ToyAnswers(Toy):
    """The same net choosing among three labels, or the first ``choices`` of them; ``label`` names the right one."""

    traits = Traits("toy-answers", 8, 12, WIDTH)
    LABELS = ("yes", "no", "maybe")

    def __init__(self, seed: int = 0):
        super().__init__(seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed + 1)
            self.module.head = nn.Linear(WIDTH, len(self.LABELS))

    def collate(self, examples):
        target = [self.LABELS.index(e.label) if e.label in self.LABELS else -1 for e in examples]
        offered = torch.tensor([len(e.choices) or 3 for e in examples])
        return super().collate(examples) | {"target": torch.tensor(target), "offered": offered}

    def fuse(self, images, texts, taps=None):
        states = super().fuse(images, texts, taps).states
        return Fused(states, states.new_empty(len(states), 0))

    def choose(self, fused, batch):
        scores = self.module.head(fused.states[:, 0])
        return scores.masked_fill(torch.arange(3) >= batch["offered"][:, None], float("-inf"))

    def loss(self, batch):
        scores = self.choose(self.fuse(self.encode_images(batch), self.encode_texts(batch)), batch)
        return nn.functional.cross_entropy(scores, batch["target"].clamp(min=0), reduction="none")


def labelled(examples):
    """Examples with a label each, yes or no; every third offers these two only, the others all three."""
    labels = ToyAnswers.LABELS
    return tuple(
        replace(e, label=labels[i % 2], choices=labels[:2] if i % 3 == 0 else labels) for i, e in enumerate(examples)
    )
