"""Contrastive Semantic Editing: cut what was told from the person, keep what can be seen (the paper's method).

Equation (paper eq. 3-5), minimised over forget pairs (X_1, X_2) with anchors R_1, R_2:
    L_cl = S(X_1, X_2)/tau - [S(X_1, R_2) + S(R_1, X_2)] / (2 tau)
    L_cf = log{ 2 p(X_1, X_2) / [p(X_1, R_2) + p(R_1, X_2)] }
    split exactly into L_N = S_N/tau + log 2 p_N  and  L_P = -(S_P1 + S_P2)/(2 tau) - log(p_P1 + p_P2)
    G' = alpha * dL_P + (1 - alpha) * dL_N,   alpha_i = max_j cos(u_i, u^_j)
Symbols: S [B] cosine of projected CLS features; p [B] match probability, or for models that answer the probability of
    the right choice or label (softmax over those there are); u [N, d] text tokens of X_2, u^ those of R_2; tau the
    model's own temperature.
Paper: "Beyond Sample-Level Forgetting" (ICML 2026) §4.3, App. E.
Checked against: no public code exists.
Departs: (1) the text under (3) says the opposite of the loss on what is pulled and pushed: the loss is followed. (2)
    alpha has one value per text token, the gradient one per weight: alpha acts where ``alpha_site`` says, as gradient
    scaling inside one backward pass. ``fused_in`` scales what enters the last fusion layer, so all that lies below;
    that layer's own weights get the gradients of P and N whole. (3) both losses are bounded (``floor``, ``ceiling``,
    ``match_floor``): unbounded they push forever and the embedding collapses. (4) alpha may be centred: tokens of a
    BERT all point alike, uncentred cosines lie near 1 and the N gradient vanishes. (5) ``retain_weight`` adds the task
    loss on retained pairs; 0 is the paper's equation, though its §5 gives every method the access to D_r that
    MultiDelete has. docs/log.md has what each reading gave. (6) The paper does not define L_cf for questions and
    statements. Here X_2 is the question or the statement; MVI sees a sentence in its place that is true of the picture
    (``Example.described``: the question answered), since no picture can be drawn from a question. Where a statement
    stood R_2 is entailed, whatever the label was, since it describes X_1. Where a question stood it stays, with the
    answer that the generated texts give: p of (X_1, R_2) is of the choice they name, alpha is the share of them that
    name the right one, and where none speaks of the matter there is no such pair and alpha is 0 (``answers``), one
    number, which weighs the whole loss (``loss_scalar``). R_1 replaces the picture and the label stays: it was drawn
    from the truth about what the statement claims. L_cl is left out for models that answer (``contrast``): no loss
    trains their projections for the task, released ones have none, and 1 / tau lets its noise drown L_cf. (7) alpha is
    the greatest cosine over all R_2 of a sample (``alpha_over``), of which there are four: one sentence names half of
    what can be seen. It is clamped to [0, 1], read off the frozen original's tokens (``alpha_encoder``), CLS, SEP and
    padding take the mean of the words, and for (X_1, R_2) it is the greatest cosine of each of R_2's words
    (``alpha_p1``). S is the cosine of the projected CLS, where (3) writes tokens.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.core.errors import ExpungeError
from expunge.core.pictures import HeldPicture
from expunge.core.run import Run
from expunge.core.text import plain
from expunge.core.types import Answers, Batch, Encoded, Example, Fused, Fuses, Method, Splits, Tap, Work
from expunge.generators import consensus, mvi, quality
from expunge.generators.recipe import Precision, Recipe, Turns
from expunge.generators.shapes import PRESETS, Anchors, Mode, Parts, Preset
from expunge.train.constrain import Scaled, frozen, scale_gradient, stop_above, stop_below
from expunge.train.fit import Schedule, fit
from expunge.train.reference import reference
from expunge.train.resuming import Fields
from expunge.train.words import inner, mean_over

Site = Literal["fused_in", "text_tokens", "xattn_out", "loss_scalar", "fixed", "off"]


@dataclass(frozen=True)
class CSE(Method[Fuses]):
    lora: ClassVar[bool] = True
    models: ClassVar[tuple[str, ...]] = ("painter", "writer")
    by_task: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "multiple_choice": {"lr": 6e-4, "alpha_site": "loss_scalar"},
        "entailment": {"lr": 2e-4},
    }
    copies: ClassVar[Mapping[str, float]] = {"gradients": 1, "moments": 2, "references": 1}
    added: ClassVar[tuple[str, ...]] = ("generator_precision", "mvi_turns")
    epochs: int = 18  # passes over the forget pairs
    least_steps: int = 40  # more epochs where the forget set is so small that it would be seen in fewer steps
    most_steps: int = 400  # fewer where it is so large that it would be seen in more; 0: never
    lr: float = 1e-4  # AdamW's peak
    batch: int = 16  # forget pairs per step
    tau: float = 0.0  # 0 takes the model's own temperature
    alpha_site: Site = "fused_in"  # or text_tokens, xattn_out, loss_scalar, fixed (alpha_fixed), off
    alpha_fixed: float = 0.5  # the one alpha of alpha_site=fixed
    alpha_centre: bool = True  # subtract the mean token before taking cosines
    alpha_encoder: Literal["current", "reference"] = "reference"  # whose tokens alpha compares
    alpha_p1: Literal["transpose", "mean"] = "transpose"  # alpha of (X_1, R_2), whose words are R_2's
    alpha_over: Literal["one", "all"] = "all"  # R_2 that a word may be found in: the step's own, or any of the sample
    alpha_hard: float = 0.0  # above 0: alpha becomes 1 where it exceeds this, else 0
    answers: Literal["said", "own"] = "said"  # R_2 of a question: its answer by the generated texts, or the true one
    contrast: Literal["auto", "on", "off"] = "auto"  # L_cl; auto: only for models that match, not for those that answer
    p_pairs: bool = True  # pull (X_1, R_2) and (R_1, X_2)
    n_pairs: bool = True  # push (X_1, X_2)
    floor: float = 0.0  # stop pushing the cosine of N-pairs below this; 0: where strangers stand in this model
    ceiling: float = 0.0  # stop pulling the cosines of P-pairs above this; 0: where true pairs stand
    match_floor: float = 0.0  # stop pushing the match probability of N-pairs below this; 0: where strangers stand
    retain_weight: float = 5.0  # weight of the task loss on retained pairs; 0 is the paper's equation
    retain_ratio: float = 3.0  # retained pairs per forget pair in a step
    near: float = 0.6  # share of them from the forgotten pairs' own source
    anchors: Mode = "swap"  # or reconstruct, specific, consistent, random (the paper's Table 3)
    pictures_per_sample: int = 1  # N_R1
    texts_per_sample: int = 4  # N_R2: one sentence seldom names all that can be seen
    mvi_preset: Preset = "default"  # how MVI is trained; adversarial, perceptual and both are the paper's Table 7
    painter: str = "sd-tiny"  # a Stable Diffusion: zoo name or folder
    writer: str = "blip2-tiny"  # a BLIP-2: zoo name or folder
    generator_precision: Precision = "auto"  # fp32, bf16, or int8 for the writer's language model; auto: by size
    mvi_turns: Turns = "auto"  # steps of each MVI branch in turn, one generator on the device; 0: both at once

    def __post_init__(self) -> None:
        wrong = [f"{n} must be at least 1" for n in ("pictures_per_sample", "texts_per_sample") if vars(self)[n] < 1]
        shares = ("alpha_fixed", "alpha_hard", "match_floor")
        wrong += [f"{name} must lie between 0 and 1" for name in shares if not 0 <= vars(self)[name] <= 1]
        wrong += [f"{name} is a cosine" for name in ("floor", "ceiling") if not -1 <= vars(self)[name] <= 1]
        if wrong:
            raise ExpungeError(f"nothing can be edited by this: {'; '.join(wrong)}.")

    def unlearn(self, model: Fuses, splits: Splits, run: Run) -> Fuses:
        anchors = self.make_anchors(splits, run)
        torch.manual_seed(run.seed)  # the editing is the same whether the anchors were made just now or remembered
        editor = Editor(self, model, splits, anchors, run.seed)
        parts = model.parts()
        # "p from the pretrained classifier": head (or answer decoder) and temperature stay as they are.
        classifier = parts["decoder"] if "decoder" in parts else parts["head"]
        with run.timed("cse"), frozen([*classifier.parameters(), model.temperature]):
            fit(
                model,
                editor.terms,
                splits,
                run,
                self.schedule,
                what="editing (CSE)",
                state=Fields(editor, "rng", "alphas"),
            )
        if editor.alphas:
            run.facts["alpha_mean"] = float(torch.cat(editor.alphas).mean())
        run.facts |= {"floor": editor.floor, "ceiling": editor.ceiling, "match_floor": editor.match_floor}
        return model

    @property
    def schedule(self) -> Schedule:
        ratio = self.retain_ratio if self.retain_weight else 0.0
        return Schedule(
            self.epochs, self.lr, self.batch, ratio, self.near, least_steps=self.least_steps, most_steps=self.most_steps
        )

    def foresee(self, forget: int, retain: int, task: str = "retrieval") -> Work:
        # Two pictures and two texts of a forget pair are encoded and fused in three ways; the task's loss: one each.
        work = self.schedule.work(forget, 2 + (self.schedule.retain_ratio if retain else 0.0))
        lent = {} if self.anchors == "random" else mvi.foresee(
            forget, PRESETS[self.mvi_preset], self.pictures_per_sample, self.texts_per_sample
        )  # fmt: skip
        return replace(work, lent=lent)

    def make_anchors(self, splits: Splits, run: Run) -> Anchors:
        """Anchors of the forget pairs, and how good they are (``run.facts``, ``run.keep``).

        A grid remembers them (``run.remember``); a run of its own keeps them with its checkpoints while it is under
        way: after a deletion no picture that was made from a forgotten person may lie around.
        """
        if self.anchors == "random":
            with run.timed("mvi"):
                pool, counts = splits.retain, (self.pictures_per_sample, self.texts_per_sample)
                made = mvi.random_anchors(len(splits.forget), pool, *counts, run.seed)
            facts = quality.measure(made, splits.forget)
        else:
            made, facts = self._recipe.anchors(splits.forget, run)
        run.facts.update(facts)
        run.keep["anchors"] = made
        return made

    def train_mvi(self, splits: Splits, run: Run) -> tuple[mvi.Mvi, Parts]:
        """MVI on the forget pairs, and what it saw of them, also in ``run.keep["mvi"]``. Same seed, same MVI."""
        return self._recipe.train(splits.forget, run)

    def foretell(self, places: Mapping[str, Path], free: float) -> tuple[str, ...]:
        return self._recipe.foretell(places["painter"], places["writer"], free) if len(places) == 2 else ()

    @property
    def _recipe(self) -> Recipe:
        return Recipe(
            self.painter, self.writer, self.mvi_preset, self.anchors, self.pictures_per_sample, self.texts_per_sample,
            self.generator_precision, self.mvi_turns,
        )  # fmt: skip


class Editor:
    """The losses of one editing run: forget pairs with their anchors, and the reference's token mean."""

    def __init__(self, options: CSE, model: Fuses, splits: Splits, anchors: Anchors, seed: int):
        self.options, self.model = options, model
        self.row = {e.id: i for i, e in enumerate(splits.forget)}
        self.pictures = [
            [HeldPicture(f"R1:{i}:{j}", p) for j, p in enumerate(ps)] for i, ps in enumerate(anchors.pictures)
        ]
        self.texts = [[text if plain(text) else "something" for text in texts] for texts in anchors.texts]
        self.said: list[tuple[float, ...]] = []  # questions: per forget example, what R_2 answer; see ``consensus``
        if options.answers == "said" and all(e.choices for e in splits.forget):
            self.said = consensus.answers(splits.forget, self.texts)
        self.rng = random.Random(f"cse:{seed}")
        self.contrast = options.contrast == "on" or (options.contrast == "auto" and not isinstance(model, Answers))
        self.frozen = reference(model) if options.alpha_encoder == "reference" else None
        self.floor, self.ceiling, self.match_floor = self._bounds(splits)
        self.centre = self._token_mean(splits) if options.alpha_centre else 0.0
        self.alphas: list[Tensor] = []

    @torch.no_grad()
    def _bounds(self, splits: Splits, most: int = 128) -> tuple[float, float, float]:
        """Cosine of strangers, cosine of true pairs and p of strangers, means over near neighbours.

        A stranger's p is that of a text beside another's picture: of a match, or of the text's own right answer.
        """
        o = self.options
        if o.floor and o.ceiling and o.match_floor:
            return o.floor, o.ceiling, o.match_floor
        pool = splits.near or list(splits.forget)
        if len({e.group for e in pool}) < 2:  # nobody there is a stranger to anybody
            pool = [*splits.forget, *splits.retain]
        some = self.rng.sample(pool, min(most, len(pool)))
        batch = self.model.collate(some)
        images, texts = self.model.encode_images(batch), self.model.encode_texts(batch)
        cosine = images.feature @ texts.feature.T
        strangers = batch["groups"][:, None] != batch["groups"][None]
        rows, columns = strangers.nonzero().T
        if not len(rows):  # one group in all the data: there are no strangers to stand beside
            return o.floor or -1.0, o.ceiling or 1.0, o.match_floor or 1e-3
        pick = torch.tensor(self.rng.sample(range(len(rows)), min(most, len(rows))), device=rows.device)
        mixed = self.model.fuse(images.take(rows[pick]), texts.take(columns[pick]))
        asked = {name: values[columns[pick]] for name, values in batch.items()}
        scores, right = judged(self.model, mixed, asked)
        chance = F.softmax(scores, dim=-1).gather(1, right[:, None]).mean()
        return (
            o.floor or float(cosine[strangers].mean()),
            o.ceiling or float(cosine.diag().mean()),
            o.match_floor or max(1e-4, float(chance)),
        )

    @torch.no_grad()
    def _token_mean(self, splits: Splits, most: int = 512) -> Tensor:
        """Mean text token [d] over forget texts, anchors and a sample of retained texts."""
        some = self.rng.sample(list(splits.retain), min(most, len(splits.retain)))
        texts = [replace(e, text=t) for e, ts in zip(splits.forget, self.texts, strict=True) for t in ts]
        total, count = torch.zeros(()), torch.zeros(())
        everything = [*splits.forget, *texts, *some]
        for start in range(0, len(everything), 128):
            encoded = self.model.encode_texts(self.model.collate(everything[start : start + 128]))
            kept = inner(encoded.mask)[..., None]
            total = total + (encoded.tokens * kept).sum((0, 1))
            count = count + kept.sum()
        return total / count

    def terms(self, forget: Sequence[Example], retain: Sequence[Example]) -> dict[str, Tensor]:
        """N, P and retain terms of one batch; alpha is already in their gradients."""
        o, model = self.options, self.model
        rows = [self.row[e.id] for e in forget]
        r1 = [replace(e, image=self.rng.choice(self.pictures[i])) for e, i in zip(forget, rows, strict=True)]
        r2 = [retold(e, self.rng.choice(self.texts[i])) for e, i in zip(forget, rows, strict=True)]
        x, a1, a2 = model.collate(forget), model.collate(r1), model.collate(r2)
        image, text = model.encode_images(x), model.encode_texts(x)
        image_r, text_r = model.encode_images(a1), model.encode_texts(a2)
        words, words_r = inner(text.mask), inner(text_r.mask)
        if self.said and o.alpha_site not in ("off", "fixed"):
            alpha, back = self._agreed(forget, rows, words, words_r)
        else:
            alpha, back = self._alpha(x, a2, text, text_r, self._others(forget, rows))
        tau = o.tau or model.temperature.detach()
        terms: dict[str, Tensor] = {}
        if o.n_pairs:
            log_p = self._log_p(image, text, 1 - alpha, words, x)
            push = stop_below(log_p, math.log(self.match_floor))
            if self.contrast:
                push = push + stop_below(self._cosine(image, text, 1 - alpha, words), self.floor) / tau
            terms["n"] = (push + math.log(2)).mean()
        if o.p_pairs:
            log_p2 = self._log_p(image_r, text, alpha, words, a1)
            if self.said:  # the question stays and is given the answer of the generated texts; or it has none
                answered, speaks = self._answered(forget, rows)
                log_p1 = torch.where(speaks, self._log_p(image, text, alpha, words, answered), log_p2)
            else:
                log_p1 = self._log_p(image, text_r, back, words_r, a2)
            pull = torch.logaddexp(log_p1, log_p2)
            if self.contrast:
                s1, s2 = self._cosine(image, text_r, back, words_r), self._cosine(image_r, text, alpha, words)
                pull = pull + (stop_above(s1, self.ceiling) + stop_above(s2, self.ceiling)) / (2 * tau)
            terms["p"] = -pull.mean()
        if retain:
            terms["retain"] = o.retain_weight * model.loss(model.collate(retain)).mean()
        return terms

    def _others(self, forget: Sequence[Example], rows: Sequence[int]) -> list[Batch]:
        """The samples beside each of their R_2, where alpha is over all of them."""
        if self.options.alpha_over == "one" or len(self.texts[0]) == 1:
            return []
        return [
            self.model.collate([retold(e, self.texts[i][j]) for e, i in zip(forget, rows, strict=True)])
            for j in range(len(self.texts[0]))
        ]

    def _alpha(
        self, x: dict, a2: dict, text: Encoded, text_r: Encoded, others: Sequence[dict]
    ) -> tuple[Tensor, Tensor]:
        """alpha over X_2's tokens [B, N] and its transpose over R_2's tokens [B, M], detached, in [0, 1].

        ``others`` are batches with the samples' further R_2: alpha is then the greatest over all of them.
        """
        o = self.options
        if o.alpha_site in ("off", "fixed"):
            # Of ``off`` nobody reads them: both gradients stay whole.
            one, other = (torch.full(t.mask.shape, o.alpha_fixed, device=t.mask.device) for t in (text, text_r))
            return one, other
        with torch.no_grad():
            encoder = self.frozen or self.model
            if self.frozen is not None:
                text, text_r = encoder.encode_texts(x), encoder.encode_texts(a2)
            cosine = self._cosines(text, text_r)
            alpha, back = cosine.amax(2), cosine.amax(1).clamp(0, 1)
            for other in others:
                alpha = torch.maximum(alpha, self._cosines(text, encoder.encode_texts(other)).amax(2))
            alpha = alpha.clamp(0, 1)
            if o.alpha_hard:
                alpha, back = (alpha > o.alpha_hard).float(), (back > o.alpha_hard).float()
            keep = inner(text.mask).bool()
            self.alphas.append(alpha[keep])
            if o.alpha_p1 == "mean":
                back = mean_over(alpha, keep)[:, None].expand_as(back)
        return alpha, back

    def _cosines(self, text: Encoded, other: Encoded) -> Tensor:
        """Cosine of every word of one text with every word of the other, [B, N, M]; -1 beside the words."""
        u = F.normalize(text.tokens.detach() - self.centre, dim=-1)
        v = F.normalize(other.tokens.detach() - self.centre, dim=-1)
        keep_u, keep_v = inner(text.mask).bool(), inner(other.mask).bool()
        return (u @ v.transpose(1, 2)).masked_fill(~(keep_u[:, :, None] & keep_v[:, None]), -1.0)

    def _agreed(
        self, forget: Sequence[Example], rows: Sequence[int], words: Tensor, words_r: Tensor
    ) -> tuple[Tensor, Tensor]:
        """alpha of questions, for all tokens of X_2 [B, N] and R_2 [B, M]: how far the generated texts agree with the
        right answer. It is the answer that was told or can be seen; the question's own words say nothing of that."""
        agreed = [
            self.said[i][e.choices.index(e.answer)] if e.answer in e.choices else 0.0
            for e, i in zip(forget, rows, strict=True)
        ]
        alpha = torch.tensor(agreed, device=words.device)[:, None]
        if self.options.alpha_hard:
            alpha = (alpha > self.options.alpha_hard).float()
        self.alphas.append(alpha[:, 0])
        return alpha.expand(words.shape), alpha.expand(words_r.shape)

    def _answered(self, forget: Sequence[Example], rows: Sequence[int]) -> tuple[Batch, Tensor]:
        """The questions with answers that the generated texts give, drawn by their shares, and whether [B] they give
        any."""
        drawn = [
            replace(e, answer=self.rng.choices(e.choices, self.said[i])[0]) if any(self.said[i]) else e
            for e, i in zip(forget, rows, strict=True)
        ]
        speaks = torch.tensor([any(self.said[i]) for i in rows])
        batch = self.model.collate(drawn)
        return batch, speaks.to(batch["target"].device)

    def _cosine(self, image: Encoded, text: Encoded, weight: Tensor, words: Tensor) -> Tensor:
        """Similarity S of pairs [B], its gradient weighted by the mean of ``weight`` [B, N] over the words."""
        cosine = (image.feature * text.feature).sum(-1)
        return cosine if self.options.alpha_site == "off" else scale_gradient(cosine, mean_weight(weight, words))

    def _log_p(self, image: Encoded, text: Encoded, weight: Tensor, words: Tensor, batch: Batch) -> Tensor:
        """log p [B] of pairs (``log_chance``), its gradient weighted by ``weight`` [B, N] where ``alpha_site`` says."""
        site = self.options.alpha_site
        if site == "off":
            return log_chance(self.model, self.model.fuse(image, text), batch)
        whole = mean_weight(weight, words)  # [B]
        # CLS, SEP and padding have no alpha of their own: they take the mean.
        weight = torch.where(words.bool(), weight, whole[:, None])
        tapped = site in ("fused_in", "text_tokens", "xattn_out")
        taps: dict[str, Tap] = {site: Scaled(weight[..., None])} if tapped else {}
        if site == "fused_in":
            taps["image_in"] = Scaled(whole[:, None, None])
        log_p = log_chance(self.model, self.model.fuse(image, text, taps), batch)
        return scale_gradient(log_p, whole) if site in ("loss_scalar", "fixed") else log_p


def judged(model: Fuses, fused: Fused, batch: Batch) -> tuple[Tensor, Tensor]:
    """Scores [B, C] of what may be said of each pair and the place [B] of what is right: a match, or the answer."""
    if isinstance(model, Answers):
        return model.choose(fused, batch), batch["target"]
    return fused.logits, torch.ones(len(fused.logits), dtype=torch.long, device=fused.logits.device)


def log_chance(model: Fuses, fused: Fused, batch: Batch) -> Tensor:
    """log p [B] of what is right, in nats."""
    scores, right = judged(model, fused, batch)
    return F.log_softmax(scores, dim=-1).gather(1, right[:, None])[:, 0]


def mean_weight(weight: Tensor, words: Tensor) -> Tensor:
    """Mean of a weight [B, N] over the words of each text.

    A text without any shares nothing with R_2: alpha is 0 on all its tokens, and it is pushed whole.
    """
    return torch.where(words.sum(1) > 0, mean_over(weight, words.bool()), weight.mean(1))


def retold(e: Example, text: str) -> Example:
    """``e`` with a description of its own picture for a text: a question keeps its choices, a statement is entailed."""
    return replace(e, text=text, label=None if e.label is None else "entailment")
