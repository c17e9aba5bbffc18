"""How much faster the rerank is when every image is prepared once: ``python benchmarks/rerank.py [--people 40]``.

Random weights at the sizes of the embedded model: speed does not depend on what the weights know.
"""

from __future__ import annotations

import argparse
import time

import torch

from expunge.backbones.albef import Albef, AlbefConfig, AlbefModel, AlbefProcessor
from expunge.data import people
from expunge.tasks.encoding import encode
from expunge.tasks.gallery import Gallery
from expunge.tasks.retrieval import predict
from expunge.zoo.vocabulary import tokenizer


def model_of(texts: list[str]) -> Albef:
    words = tokenizer(texts, 30)
    config = AlbefConfig(
        pixels=64, patch=8, vision_width=128, vision_layers=6, vision_heads=4, text_width=128, text_layers=6,
        fusion_layer=3, text_heads=4, text_inner=512, vocabulary=len(words), positions=64, projection=96, queue=64,
    )  # fmt: skip
    torch.manual_seed(0)
    return Albef(AlbefModel(config), AlbefProcessor(words, 64, 30))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--k-test", type=int, default=16)
    parser.add_argument("--pair-batch", type=int, default=256)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    examples = tuple(e for e in people.load().test if e.source == "people")[: 6 * asked.people]
    model = model_of([e.text for e in examples])
    gallery = Gallery("people", examples)
    encodings = encode(model, examples)
    seconds, found = {}, {}
    for name, naive in (("plain loop", True), ("prepared", False)):
        start = time.perf_counter()
        found[name] = predict(
            model, [gallery], k_test=asked.k_test, pair_batch=asked.pair_batch, naive=naive, encodings=encodings
        )
        seconds[name] = time.perf_counter() - start
    scored = ~found["prepared"].itm.isneginf()
    apart = (found["prepared"].itm - found["plain loop"].itm)[scored].abs().max()
    print(f"{len(gallery.examples)} texts, {asked.people} pictures, {int(scored.sum())} pairs, one thread")
    for name, taken in seconds.items():
        print(f"  {name:11s} {taken:7.2f} s")
    print(f"  ratio {seconds['plain loop'] / seconds['prepared']:.1f}, largest difference {apart:.1e}")


if __name__ == "__main__":
    main()
