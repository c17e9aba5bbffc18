"""Multimodal Variational Inference: what a forget sample carries, taken apart, and anchors made from the parts.

Equation (paper eq. 2, App. A), minimised:
    L = w_modality * sum_i CE(theta_M(U'_i), i) + w_picture * L_rec1 + w_text * L_rec2 + beta * sum_i KL_i
    L_rec1 = E || target - UNet(z_t, t, [psi_t(U'_1); K'_2]) ||^2      (picture, given the text's consistent part)
    L_rec2 = -log p_LM(X_2 | [psi_l(U'_2); K'_1])                        (text, given the picture's consistent part)
    KL_i   = KL(N(mu_i, sigma_i^2) || N(0, I))
As computed, each a mean over the B pairs of a batch: CE is also a mean over i (half the sum), L_rec1 over the
    elements of the latent, L_rec2 over the tokens of X_2 and its end, and KL_1 + KL_2 over the n_u * d_u numbers of
    U'; preset ``paper`` alone sums the KL over these. See Departs (5).
Symbols: U'_i [B, n_u, d_u] modality-specific latents of picture (1) and text (2); K'_1 [B, n_q, d_l] the writer's
    projected query tokens; K'_2 [B, L, d_t] the painter's text encoder states; psi one shared trunk with a head per
    decoder, so that the head trained by reconstruction serves the other modality's U' when parts are swapped;
    theta_M a classifier of the modality on mean-pooled U'.
Paper: "Beyond Sample-Level Forgetting" (ICML 2026) §4.1-4.2, App. A, C, D.
Checked against: no public code exists.
Departs: (1) the text of §4.1 calls phi_U' frozen, §4.2 the reverse; only learnable U' fits equation (2). (2) K'_j is
    inferred from X_j, not X_i: K'_2 comes from a text encoder. (3) The trunk of each posterior is frozen (the writer's
    query tokens, the painter's text states): five people are too few for an encoder of pictures from scratch. (4) lr
    2e-6 (preset ``paper``: with 10 epochs of batch 2) hardly moves freshly made modules (AdamW moves a weight by at
    most steps * lr, here about 1e-4 of its scale); preset ``default`` uses 1e-3, 20 epochs and batch 16. The paper
    gives no sizes for U'; both presets' are ours. (5) the terms are means where (2) has sums: per pair 1/2 of its CE,
    1/(c h w) of its L_rec1, 1/T of its L_rec2 (T of that text) and 1/(n_u d_u) of its KL. ``paper`` sums the KL as
    printed and keeps the other means, so the KL weighs more there than in (2): twice as much against CE, c h w times
    against L_rec1, T times against L_rec2. So summed it drives U' to the prior before anything is reconstructed. One
    latent token and beta 1 in ``default``: with more room or a weaker prior the two modalities' U' lie apart, and a
    swapped one is nothing its decoder's head knows (docs/log.md). (6) The paper's Table 7 adds two losses: see
    ``generators.auxiliary``; presets ``adversarial``, ``perceptual`` and ``both`` switch them on. The paper gives no
    weights; ours make either about half as large as the picture's term at the start (on sd-tiny), and were not
    searched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.core.types import Example, batches
from expunge.generators import keeping, seats
from expunge.generators.auxiliary import Beside
from expunge.generators.shapes import PRESETS, Anchors, Branch, Mode, Painter, Parts, Settings, Use, Writer
from expunge.generators.turns import BOTH, Order
from expunge.train.fit import fast_precision, quick, repeatable
from expunge.train.resuming import Stateful, Walk, lasting


class Posterior(nn.Module):
    """q(U'|X): learned queries attend to frozen states [B, L, d] and give mean and log-variance [B, n_u, d_u]."""

    def __init__(self, source: int, latents: int, width: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(latents, width) * 0.02)
        self.read = nn.Linear(source, width)
        self.norm = nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.out = nn.Linear(width, 2 * width)

    def forward(self, states: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        source = self.norm(self.read(states))
        queries = self.queries.expand(len(states), -1, -1)
        hidden, _ = self.attend(queries, source, source, key_padding_mask=None if mask is None else mask == 0)
        hidden = queries + hidden
        mean, log_variance = self.out(hidden + self.mix(hidden)).chunk(2, dim=-1)
        return mean, log_variance.clamp(-8, 8)


class Mvi(nn.Module):
    """phi_U'1, phi_U'2, psi and theta_M around two frozen generators."""

    def __init__(self, painter: Painter, writer: Writer, parts: Parts, settings: Settings):
        super().__init__()
        d_l, d_t = parts.from_picture.shape[-1], parts.from_text.shape[-1]
        self.settings = settings
        self.__dict__["painter"], self.__dict__["writer"] = painter, writer  # frozen: not among the parameters
        self.of_picture = Posterior(d_l, settings.latents, settings.width)
        self.of_text = Posterior(d_t, settings.latents, settings.width)
        self.trunk = nn.Sequential(nn.Linear(settings.width, 2 * settings.width), nn.GELU())
        self.to_painter = nn.Linear(2 * settings.width, d_t)
        self.to_writer = nn.Linear(2 * settings.width, d_l)
        self.modality = nn.Sequential(
            nn.Linear(settings.width, settings.width), nn.GELU(), nn.Linear(settings.width, 2)
        )
        # Each decoder's head starts with outputs of the size of the states it stands beside.
        self.register_buffer("painter_scale", parts.from_text.float().std())
        self.register_buffer("writer_scale", parts.from_picture.float().std())

    def for_painter(self, specific: Tensor) -> Tensor:
        return self.to_painter(self.trunk(specific)) * self.painter_scale

    def for_writer(self, specific: Tensor) -> Tensor:
        return self.to_writer(self.trunk(specific)) * self.writer_scale

    @property
    def device(self) -> torch.device:
        return self.painter_scale.device

    def infer(self, parts: Parts, rows: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Mean and log-variance of U'_1 and of U'_2 for these rows."""
        some = parts.take(rows, self.device)
        return self.of_picture(some.from_picture), self.of_text(some.from_text, some.text_mask)

    def forward(
        self, parts: Parts, rows: Tensor, beside: Beside | None = None, learning: Sequence[Branch] = BOTH
    ) -> dict[str, Tensor]:
        """The weighted terms of the negative ELBO for these rows, and those that stand beside it.

        With one branch ``learning`` only the terms that move it, or what both share: see ``generators.turns``.
        """
        s, some = self.settings, parts.take(rows, self.device)
        inferred = self.infer(parts, rows)
        u1, u2 = (_sample(*one) for one in inferred)
        u1, u2 = u1 if "picture" in learning else u1.detach(), u2 if "text" in learning else u2.detach()
        pooled = torch.cat([u1.mean(1), u2.mean(1)])
        kind = torch.arange(2, device=pooled.device).repeat_interleave(len(rows))
        terms = {"modality": s.w_modality * F.cross_entropy(self.modality(pooled), kind)}
        more: dict[str, Tensor] = {}
        if "picture" in learning:
            condition = torch.cat([self.for_painter(u1), some.from_text], dim=1)
            error, estimate = self.painter.denoise(some.latents, condition)
            terms["picture"] = s.w_picture * error.mean()
            more = beside.terms(estimate, some.latents, some.from_text) if beside is not None else {}
        if "text" in learning:
            prefix = torch.cat([self.for_writer(u2), some.from_picture], dim=1)
            terms["text"] = s.w_text * self.writer.text_loss(prefix, some.texts).mean()
        apart = [_kl(*one) for branch, one in zip(BOTH, inferred, strict=True) if branch in learning]
        divergence = torch.stack(apart).sum(0)  # [B, n_u, d_u]
        terms["kl"] = s.beta * (divergence.mean() if s.kl_per_dimension else divergence.sum((1, 2)).mean())
        return terms | more


def _sample(mean: Tensor, log_variance: Tensor) -> Tensor:
    return mean + torch.randn_like(mean) * (0.5 * log_variance).exp()


def _kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


@torch.no_grad()
def take_apart(painter: Painter, writer: Writer, examples: Sequence[Example], size: int = 64) -> Parts:
    """Run the frozen encoders over the examples once, one generator's after the other's. What comes of it is kept on
    the CPU, and the encoders with it: training needs them no more."""
    _freeze(painter, writer)
    texts = [e.described for e in examples]
    device = seats.accelerator()
    seats.place(painter, writer, device, painting="encode")
    latents = _encoded(painter, examples, size)
    states, mask = painter.encode_prompts(texts)
    nothing, _ = painter.encode_prompts([""])
    seats.place(painter, writer, device, writing="encode")
    pictures = _encoded(writer, examples, size)
    seats.place(painter, writer, device)
    return Parts(latents, pictures, states.cpu(), mask.cpu(), nothing.cpu(), texts)


def _freeze(*generators: Any) -> None:
    """Before anything runs through them: a convolution whose weights may learn takes another way on a CPU, with other
    last digits, even where no gradient is asked for."""
    for model in generators:
        model.module.eval().requires_grad_(False)


def _encoded(model: Painter | Writer, examples: Sequence[Example], size: int) -> Tensor:
    """The pictures as ``model`` encodes them, on the CPU; few at a time where they are large."""
    found = []
    for some in batches(examples, size):
        pixels = model.pixels(some)
        found += [model.encode_pictures(few).cpu() for few in pixels.split(_at_once(pixels, size, 64 * 256**2))]
    return torch.cat(found)


def _at_once(like: Tensor, size: int, area: int) -> int:
    """How many pictures [.., H, W] pass at a time: ``size``, or fewer so that together they have at most ``area``."""
    return max(1, min(size, area // (like.shape[-1] * like.shape[-2])))


def train(
    painter: Painter, writer: Writer, examples: Sequence[Example], run: Run,
    settings: Settings = PRESETS["default"], parts: Parts | None = None,
) -> tuple[Mvi, Parts]:  # fmt: skip
    """Fit MVI on these examples alone (the forget set); the generators stay frozen. ``parts`` may be given where they
    were taken apart before."""
    torch.manual_seed(run.seed)
    _freeze(painter, writer)
    if parts is None:
        parts = take_apart(painter, writer, examples)
    device = seats.accelerator()
    mvi = Mvi(painter, writer, parts, settings).to(device)
    optimizer = torch.optim.AdamW(mvi.parameters(), lr=settings.lr, weight_decay=0.01)
    has_more = settings.w_adversarial or settings.w_perceptual
    beside = Beside(painter, parts.latents.shape[1], settings, device=device) if has_more else None
    steps = settings.schedule.steps(len(parts))
    order = Order(Walk(len(parts), settings.batch), settings.turns, steps)
    lasts: dict[str, Stateful] = {"mvi": mvi, "optimizer": optimizer, "order": order}
    lasts |= {} if beside is None else {"beside": beside}
    seated: tuple[Branch, ...] = ()
    with (
        lasting(run, "taking the samples apart (MVI)", lasts, passing=("optimizer", "order", "beside")) as training,
        run.stage(training.shown, order.steps),
        repeatable(),
    ):
        for step in training.steps(order.steps):
            learning, rows = order.next()
            if learning != seated:
                seated = learning
                here: Mapping[Branch, Use] = dict.fromkeys(learning, "train")
                painting, writing = here.get("picture", "away"), here.get("text", "away")
                seats.place(painter, writer, device, painting=painting, writing=writing)
            optimizer.zero_grad(set_to_none=True)
            terms: dict[str, float] = {}
            for few in torch.tensor(rows).split(settings.at_once or len(rows)):
                with _computing(painter, writer):
                    found = mvi(parts, few, beside, learning)
                share = len(few) / len(rows)
                (share * torch.stack(list(found.values())).sum()).backward()
                terms = {name: terms.get(name, 0.0) + share * value.item() for name, value in found.items()}
            nn.utils.clip_grad_norm_(mvi.parameters(), 1.0)
            optimizer.step()
            if beside is not None and "picture" in learning:
                terms |= {name: value.item() for name, value in beside.learn().items()}
            run.log(what="mvi", step=step, **{name: round(value, 5) for name, value in terms.items()})
            run.progress.advance()
    seats.place(painter, writer, device)
    mvi.eval()
    return mvi, parts


def _computing(*generators: Any) -> Any:
    """Mixed precision around generators in float32, where the hardware has it. Those in half precision compute in it
    by themselves."""
    whole = all(p.dtype == torch.float32 for g in generators for p in g.module.parameters())
    return quick(fast_precision() if whole else "fp32")


@torch.no_grad()
def generate(
    mvi: Mvi, parts: Parts, run: Run, mode: Mode = "swap", pictures: int = 1, texts: int = 1, *,
    steps: int = 20, guidance: float = 3.0, max_tokens: int = 24, chunk: int = 64,
) -> Anchors:  # fmt: skip
    """Anchors R for every row of ``parts``; ``pictures`` and ``texts`` are N_R1 and N_R2.

    Modes (paper Table 3): ``swap`` decodes [psi(U'_i), K'_i] with the other modality's decoder (the method
    as Table 3 has it; §4.1 prints [U'_i, K'_j]);
    ``reconstruct`` keeps training's wiring [psi(U'_j), K'_i], whose output resembles X_j; ``specific`` is U' alone,
    ``consistent`` K' alone. The first R_2 of a sample is decoded greedily, further ones are sampled. The writer writes
    everything, then leaves the device to the painter.

    Raises ValueError for ``random``, which makes nothing: see ``random_anchors``.
    """
    if mode == "random":
        raise ValueError("random anchors are drawn from a pool, not made: random_anchors draws them")
    count = len(parts)
    made = Anchors([[] for _ in range(count)], [[] for _ in range(count)])
    torch.manual_seed(run.seed + 1)
    jobs = [(turn, rows) for turn in range(max(pictures, texts)) for rows in torch.arange(count).split(chunk)]
    crossed = mode != "reconstruct"
    painter, writer = mvi.painter, mvi.writer
    with _computing(painter, writer):
        drafts = [[_sample(*one) for one in mvi.infer(parts, rows)] for _, rows in jobs]
    todo = [("writing", i) for i, (turn, _) in enumerate(jobs) if turn < texts]
    todo += [("painting", i) for i, (turn, _) in enumerate(jobs) if turn < pictures]
    seated = ""
    with (
        lasting(run, "making anchor samples", {"made": keeping.Unfinished(made)}) as making,
        run.stage(making.shown, len(todo)),
        _computing(painter, writer),
    ):
        for step in making.steps(len(todo)):
            use, job = todo[step]
            (turn, rows), (u1, u2) = jobs[job], drafts[job]
            if use != seated:
                seated = use
                seats.place(painter, writer, mvi.device, **{use: "generate"})
            some, seed = parts.take(rows, mvi.device), _seed(run, turn, rows)
            if use == "writing":
                prefix = _join(mvi.for_writer(u1 if crossed else u2), some.from_picture, mode)
                written = writer.write(prefix, max_tokens=max_tokens, seed=seed, sample=turn > 0)
                for i, text in zip(rows.tolist(), written, strict=True):
                    made.texts[i].append(text)
            else:
                special = mvi.for_painter(u2 if crossed else u1)
                condition = _join(special, some.from_text, mode)
                plain = _join(torch.zeros_like(special), _stretched(some.nothing, some.from_text), mode)
                few = _at_once(parts.latents, chunk, 64 * 32**2)
                for start, part in zip(range(0, len(rows), few), rows.split(few)):
                    here = slice(start, start + few)
                    drawn = painter.draw(
                        condition[here], unconditional=plain[here], steps=steps, guidance=guidance, seed=seed + start
                    )
                    for i, picture in zip(part.tolist(), drawn, strict=True):
                        made.pictures[i].append(picture)
            run.progress.advance()
        seats.place(painter, writer, mvi.device)
    return made


def _seed(run: Run, turn: int, rows: Tensor) -> int:
    return run.seed * 7919 + turn * 1009 + int(rows[0])


def _join(specific: Tensor, consistent: Tensor, mode: Mode) -> Tensor:
    if mode == "specific":
        return specific
    return consistent if mode == "consistent" else torch.cat([specific, consistent], dim=1)


def _stretched(nothing: Tensor, like: Tensor) -> Tensor:
    """The empty text's states, padded with its last one to the length of ``like``: [B, L, d]."""
    short = nothing[:, : like.shape[1]]
    tail = short[:, -1:].expand(-1, like.shape[1] - short.shape[1], -1)
    return torch.cat([short, tail], dim=1).expand(len(like), -1, -1)


def random_anchors(count: int, pool: Sequence[Example], pictures: int, texts: int, seed: int) -> Anchors:
    """Pictures and texts of the paper's row of random pairs (Table 3): any of ``pool``, drawn by ``seed``.

    ``pool`` must hold nobody who is forgotten: a sample might be given its own pair, and be held to what it should
    lose. Raises ExpungeError where it is empty.
    """
    import random

    if not pool:
        raise ExpungeError(
            "Random anchors are drawn from a pool of pairs that stay, and none stay. Take other anchors, such as swap."
        )
    rng = random.Random(f"anchors:{seed}")
    return Anchors(
        [[rng.choice(pool).image.open(256) for _ in range(pictures)] for _ in range(count)],
        [[rng.choice(pool).described for _ in range(texts)] for _ in range(count)],
    )


def foresee(forget: int, settings: Settings, pictures: int, texts: int, *, steps: int = 20) -> dict[str, float]:
    """Examples through ``painter`` and ``writer`` for so many forget pairs, in training passes of each.

    Learning goes forward and back, but no gradient of their own weights is taken: two thirds. Drawing is ``steps``
    passes forward with the condition and as many without; writing is about one.
    """
    learnt = settings.schedule.work(forget).pairs * 2 / 3
    return {"painter": learnt + forget * pictures * steps * 2 / 3, "writer": learnt + forget * texts / 3}
