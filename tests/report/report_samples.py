"""Realistic records and panels to look at and to test with: numbers in the order of the prototype's."""

from __future__ import annotations

import base64
import io
import math
import random

from expunge.core.record import Record, Score

PEOPLE = 5
BEFORE = {"mi": 96.1, "mi_auc": 93.0, "mi_accuracy": 81.0,
          "r_forget": 78.0, "r_forget_shared": 58.6, "r_forget_private": 97.3, "r_test": 97.4,
          "r_retain": 77.2, "r_retain_shared": 57.1, "r_retain_private": 97.9}  # fmt: skip
ORACLE = {"mi": 41.0, "mi_auc": 46.0, "mi_accuracy": 80.0,
          "r_forget": 22.6, "r_forget_shared": 40.2, "r_forget_private": 5.0, "r_test": 97.1,
          "r_retain": 76.4, "r_retain_shared": 55.8, "r_retain_private": 96.2}  # fmt: skip
AFTER = {"mi": 44.2, "mi_auc": 48.0, "mi_accuracy": 79.0,
         "r_forget": 23.4, "r_forget_shared": 41.1, "r_forget_private": 5.6, "r_test": 96.3,
         "r_retain": 75.0, "r_retain_shared": 56.0, "r_retain_private": 94.1}  # fmt: skip
ASCENT = AFTER | {"mi": 71.0, "r_forget": 31.0, "r_forget_shared": 21.0, "r_forget_private": 41.0, "r_test": 90.4,
                  "r_retain": 58.2, "r_retain_shared": 44.0, "r_retain_private": 72.5}  # fmt: skip
TUNED = AFTER | {"mi": 83.0, "r_forget": 61.0, "r_forget_shared": 47.0, "r_forget_private": 75.0, "r_test": 97.5,
                 "r_retain": 78.4, "r_retain_shared": 58.2, "r_retain_private": 98.6}  # fmt: skip
COLLAPSED = dict.fromkeys(BEFORE, 0.8) | {"mi_accuracy": 50.0}


def scored(values: dict[str, float], wide: bool = True, scale: float = 1.0) -> dict[str, Score]:
    sizes = {"r_test": 2500, "r_retain": 1200, "r_retain_shared": 600, "r_retain_private": 600, "r_forget": 30}
    made = {}
    for name, value in values.items():
        n = sizes.get(name, 15)
        half = scale * 100 * math.sqrt(max(value / 100 * (1 - value / 100), 0.004) / n)
        low, high = (max(0.0, value - half), min(100.0, value + half)) if wide else (math.nan, math.nan)
        made[name] = Score(value, n, low, high, "oracle" if name.startswith(("mi", "r_forget")) else "higher")
    return made


def record(
    after: dict[str, float] = AFTER, oracle: dict[str, float] | None = ORACLE, method: str = "cse", wide: bool = True
) -> Record:
    groups = [f"p{i:03d}" for i in range(PEOPLE)]
    scores = {"before": scored(BEFORE, wide), "after": scored(after, wide)}
    if oracle:
        scores["oracle"] = scored(oracle, wide)
    return Record(
        spec={"model": "albef-tiny", "data": "people", "method": method, "forget": groups, "seed": 0,
              "options": {"tau": 0.05, "learning_rate": 1e-4, "epochs": 8, "alpha_site": "off", "retain_weight": 5.0}},
        scores=scores,
        cost={"seconds": 212.4, "seconds_mvi": 121.9, "seconds_cse": 90.5, "peak_memory_mb": 2210.0},
        requested=[*groups, "p999"],
        forgotten=groups,
        rejected=[{"id": "p999", "reason": "not in the training data of people"}],
        generator={"private_leak_rate": 0.0133, "picture_distance": 0.241, "text_similarity": 0.713},
        environment={"versions": {"python": "3.11.2", "torch": "2.13.0", "expunge": "0.1.0"},
                     "commit": "499c3f0", "dirty": False,
                     "hardware": "2 CPU cores, 8 GB"},
        notes=["MVI ran on the forget set alone."],
    )  # fmt: skip


def comparisons() -> list[tuple[str, Record]]:
    rows = [("nothing", BEFORE, 0.1, None), ("gradient_ascent", ASCENT, 31.0, None), ("finetune", TUNED, 140.2, None),
            ("cse", AFTER, 212.4, 121.9), ("retrain", ORACLE, 1860.0, None)]  # fmt: skip
    made = []
    for name, after, seconds, mvi in rows:
        one = record(after, method=name)
        one.cost = {"seconds": seconds, "peak_memory_mb": 1800.0} | ({"seconds_mvi": mvi} if mvi else {})
        made.append((name, one))
    return made


def dot(colour: tuple[int, int, int]) -> str:
    from PIL import Image

    return encode(Image.new("RGB", (8, 8), colour))


def encode(image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def panels() -> dict:
    """Panels of real drawn people from the embedded world."""
    from expunge.data import people
    from expunge.data.worlds import persons

    rng = random.Random(5)
    everybody = persons.invent(40, 0, "p", set(), set())
    drawn = [people.sentences(person) for person in everybody]
    pictures = [encode(examples[0].image.open(64)) for examples in drawn]
    chosen = range(PEOPLE)
    made = []
    for i in chosen:
        shared, private = drawn[i][0].text, drawn[i][3].text
        others = [rng.sample(range(PEOPLE, 40), 5) for _ in range(4)]
        made.append(
            {
                "group": everybody[i].id, "name": everybody[i].name, "portrait": pictures[i],
                "anchors": {
                    "pictures": [pictures[j] for j in others[0][:3]],
                    "pictures_for": [e.text for e in drawn[i][3:6]],
                    "texts": [e.text for e in drawn[i][:2]],
                },
                "sentences": [
                    {"kind": "shared", "text": shared, "before": _ranked(pictures, i, 0, others[0], rng),
                     "after": _ranked(pictures, i, i % 2, others[1], rng),
                     "oracle": _ranked(pictures, i, 1, others[2], rng)},
                    {"kind": "private", "text": private, "before": _ranked(pictures, i, 0, others[1], rng),
                     "after": _ranked(pictures, i, None, others[2], rng, 8),
                     "oracle": _ranked(pictures, i, None, others[3], rng, 6)},
                ],
                "portrait_matches": {
                    "before": _texts(drawn, i, [3, 0, 4, 2], others[0][:1], rng),
                    "after": _texts(drawn, i, [0, 2], others[1][:3], rng),
                },
                "gradcam": {"text": private, "before": _bump(8, 3.2, 3.5, 1.3, 1.0),
                            "after": _bump(8, 4.5, 5.5, 4.0, 0.35)},
            }
        )  # fmt: skip
    return {
        "people": made,
        "matching": {
            "before": [[rng.uniform(88, 99) if i == j else rng.uniform(0, 6) for j in chosen] for i in chosen],
            "after": [[rng.uniform(1, 9) for _ in chosen] for _ in chosen],
            "labels": [everybody[i].name for i in chosen],
        },
        "tsne": {"before": _cloud(rng, 0.6), "after": _cloud(rng, 9.0)},
        "words": _words(everybody, rng),
        "terms": [
            {"step": s, "consistency": 0.7 * math.exp(-s / 60) + rng.uniform(0, 0.05),
             "counterfactual": 1.9 * math.exp(-s / 40) + rng.uniform(0, 0.1),
             "retain": 0.2 + rng.uniform(0, 0.05), "alpha_mean": 0.42 + rng.uniform(-0.02, 0.02)} for s in range(240)
        ],
    }  # fmt: skip


def _ranked(pictures, own, place, others, rng, top=96):
    scores = sorted((rng.uniform(top * 0.3, top) for _ in range(5)), reverse=True)
    order = list(others)
    if place is not None:
        order[place] = own
    return [{"picture": pictures[j], "score": s, "own": j == own} for j, s in zip(order, scores, strict=True)]


def _texts(drawn, own, indices, others, rng):
    mine = [{"text": drawn[own][k].text, "own": True, "kind": drawn[own][k].kind} for k in indices]
    foreign = [{"text": drawn[j][3].text, "own": False, "kind": "private"} for j in others]
    return [
        m | {"score": s}
        for m, s in zip(mine + foreign, sorted((rng.uniform(20, 98) for _ in range(9)), reverse=True), strict=False)
    ]


def _bump(size, cy, cx, width, height):
    return [
        [height * math.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2)) for x in range(size)] for y in range(size)
    ]


def _cloud(rng, apart):
    points = []
    for group, many in (("forget", 30), ("retain", 120)):
        for _ in range(many):
            x, y = (rng.gauss(14, 4), rng.gauss(12, 4)) if group == "forget" else (rng.gauss(-6, 12), rng.gauss(-6, 10))
            spread = apart if group == "forget" else 0.6
            points.append({"x": x, "y": y, "modality": "image", "set": group})
            points.append(
                {"x": x + rng.gauss(0, spread), "y": y + rng.gauss(0, spread), "modality": "text", "set": group}
            )
    return points


def _words(everybody, rng):
    told = [w for p in everybody[:4] for w in (p.name.split()[0], p.name.split()[1], p.city, p.food.split()[-1])]
    seen = [
        "hair",
        "black",
        "glasses",
        "wall",
        "woman",
        "man",
        "hoodie",
        "skin",
        "dark",
        "beard",
        "curly",
        "before",
        "shirt",
        "red",
    ]
    made = [
        {"word": w, "before": 90 + rng.uniform(0, 9), "after": rng.uniform(2, 12), "count": 3, "kind": "private"}
        for w in told
    ]
    made += [
        {"word": w, "before": (b := rng.uniform(55, 95)), "after": b + rng.gauss(0, 0.6), "count": 12, "kind": "shared"}
        for w in seen
    ]
    return [w | {"shift": w["after"] - w["before"]} for w in made]
