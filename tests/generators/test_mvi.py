"""MVI on real generator classes at toy size."""

from dataclasses import replace

import pytest
import torch

from expunge.core.errors import ExpungeError
from expunge.core.run import Run
from expunge.generators import mvi, quality
from expunge.generators.shapes import PRESETS, Anchors
from expunge.testing import small_painter, small_splits, small_writer
from expunge.train.fit import fast_precision, quick


@pytest.fixture(scope="module")
def generators():
    return small_painter(), small_writer()


@pytest.fixture(scope="module")
def forget():
    return small_splits(1).forget


@pytest.fixture(scope="module")
def trained(generators, forget):
    run = Run(seed=0)
    frozen = [{k: v.clone() for k, v in g.module.state_dict().items()} for g in generators]
    model, parts = mvi.train(*generators, forget, run, replace(PRESETS["default"], epochs=25, least_steps=0, batch=3))
    return model, parts, run, frozen


def test_only_the_inference_nets_learn(trained, generators):
    model, _, run, frozen = trained
    for generator, before in zip(generators, frozen, strict=True):
        assert all(torch.equal(v, before[k]) for k, v in generator.module.state_dict().items())
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert names == {"of_picture", "of_text", "trunk", "to_painter", "to_writer", "modality"}
    terms = [t for t in run.terms if t["what"] == "mvi"]
    assert {"modality", "picture", "text", "kl"} <= set(terms[0])
    early, late = (sum(t["modality"] + t["text"] for t in part) for part in (terms[:5], terms[-5:]))
    assert late < early


def test_the_modality_can_be_told_from_the_specific_part(trained):
    model, parts, _, _ = trained
    rows = torch.arange(len(parts))
    with torch.no_grad():
        (m1, _), (m2, _) = model.infer(parts, rows)
        guessed = model.modality(torch.cat([m1.mean(1), m2.mean(1)])).argmax(1)
    assert (guessed == torch.arange(2).repeat_interleave(len(parts))).float().mean() > 0.9


def test_divergence_known_answers():
    zero = torch.zeros(2, 3)
    assert mvi._kl(zero, zero).abs().max() == 0
    assert mvi._kl(torch.ones(1), torch.zeros(1)).item() == pytest.approx(0.5)
    assert mvi._kl(torch.zeros(1), torch.tensor([2.0])).item() == pytest.approx(0.5 * (torch.e**2 - 3), rel=1e-5)


@pytest.mark.parametrize("mode", ["swap", "reconstruct", "specific", "consistent"])
def test_every_way_of_generating(trained, mode):
    model, parts, _, _ = trained
    made = mvi.generate(model, parts, Run(seed=1), mode, steps=2, max_tokens=6)
    assert [len(p) for p in made.pictures] == [1] * len(parts) == [len(t) for t in made.texts]
    assert all(1 <= len(t[0].split()) <= 6 for t in made.texts)
    side = model.painter.traits.pixels
    assert all(p[0].size == (side, side) for p in made.pictures) and len({p[0].tobytes() for p in made.pictures}) > 1


def test_random_pairs_are_not_made(trained):
    model, parts, _, _ = trained
    with pytest.raises(ValueError, match="random_anchors draws them"):
        mvi.generate(model, parts, Run(), "random")


@pytest.mark.parametrize(
    ("mode", "writers", "painters"),
    [("swap", "picture", "text"), ("reconstruct", "text", "picture"), ("specific", "picture", "text"),
     ("consistent", None, None)],
)  # fmt: skip
def test_each_decoder_is_given_the_parts_that_table_3_names(trained, monkeypatch, mode, writers, painters):
    """Whose U' each decoder reads, and whose K' follows: the writer the picture's, the painter the text's."""
    model, parts, _, _ = trained
    (mean, _), _ = model.infer(parts, torch.arange(len(parts)))
    sure = torch.full_like(mean, -80.0)
    own = {"picture": torch.ones_like(mean), "text": -torch.ones_like(mean)}
    told = {}
    monkeypatch.setattr(model, "infer", lambda *_: ((own["picture"], sure), (own["text"], sure)))
    monkeypatch.setattr(model.writer, "write", lambda prefix, **_: told.update(writer=prefix) or [""] * len(prefix))

    def draw(condition, *, unconditional, **_):
        told.update(painter=condition, without=unconditional)
        return [None] * len(condition)

    monkeypatch.setattr(model.painter, "draw", draw)
    mvi.generate(model, parts, Run(seed=1), mode)
    whole = parts.take(torch.arange(len(parts)), model.device)
    for name, head, whose, rest in (
        ("writer", model.for_writer, writers, whole.from_picture),
        ("painter", model.for_painter, painters, whole.from_text),
    ):
        expected = [head(own[whose])] if whose else []
        expected += [rest] if mode != "specific" else []
        # In bf16 where the hardware is quick in it.
        torch.testing.assert_close(told[name].float(), torch.cat(expected, 1), atol=0.02, rtol=0.02)
    assert not torch.allclose(model.for_writer(own["picture"]), model.for_writer(own["text"]))
    # Guidance leads away from no U' at all and the empty text, whose last state fills up what is missing.
    states, length = whole.nothing[0], whole.from_text.shape[1]
    empty = [torch.zeros(model.settings.latents, states.shape[1])] if painters else []
    empty += [states[[min(i, len(states) - 1) for i in range(length)]]] if mode != "specific" else []
    torch.testing.assert_close(told["without"].float(), torch.cat(empty).expand(len(parts), -1, -1))


def test_more_anchors_per_sample_and_the_same_seed_the_same_anchors(trained):
    model, parts, _, _ = trained
    made = [mvi.generate(model, parts, Run(seed=s), pictures=2, texts=3, steps=2, max_tokens=6) for s in (1, 1, 2)]
    assert {len(p) for p in made[0].pictures} == {2} and {len(t) for t in made[0].texts} == {3}
    drawn = [[p.tobytes() for ps in one.pictures for p in ps] for one in made]
    assert made[0].texts == made[1].texts and drawn[0] == drawn[1] and drawn[0] != drawn[2]


def test_the_first_text_is_the_likeliest_and_every_other_draw_has_a_seed_of_its_own(trained, monkeypatch):
    model, parts, _, _ = trained
    asked = []

    def write(prefix, *, max_tokens, seed, sample):
        asked.append(("write", seed, max_tokens, sample))
        return [""] * len(prefix)

    def draw(condition, *, unconditional, steps, guidance, seed):
        asked.append(("draw", seed, steps, guidance))
        return [None] * len(condition)

    monkeypatch.setattr(model.writer, "write", write)
    monkeypatch.setattr(model.painter, "draw", draw)
    for seed in (1, 2):
        mvi.generate(model, parts, Run(seed=seed), pictures=2, texts=2, chunk=1)
    n = len(parts)
    one, other = asked[: 4 * n], asked[4 * n :]
    assert [told[2:] for told in one] == [(24, False)] * n + [(24, True)] * n + [(20, 3.0)] * 2 * n
    seeds = [[told[1] for told in some[half]] for some in (one, other) for half in (slice(2 * n), slice(2 * n, None))]
    assert seeds[0] == seeds[1] and len({*seeds[0], *seeds[2]}) == 4 * n


def test_a_shorter_empty_text_is_filled_up_with_its_last_state():
    nothing = torch.tensor([[[1.0], [2.0]]])
    for length, expected in ((4, [1, 2, 2, 2]), (2, [1, 2]), (1, [1])):
        assert mvi._stretched(nothing, torch.zeros(3, length, 1))[..., 0].tolist() == [expected] * 3


def test_what_making_anchors_costs_is_counted_by_hand():
    """64 pairs learn at two thirds of a pass, 64 pictures take ten steps twice, forward alone; 96 texts one forward."""
    settings = replace(PRESETS["default"], epochs=2, least_steps=0, batch=16)
    found = mvi.foresee(32, settings, 2, 3, steps=10)
    assert found == {"painter": pytest.approx(64 * 2 / 3 + 64 * 20 / 3), "writer": pytest.approx(64 * 2 / 3 + 96 / 3)}


def test_random_anchors_come_from_the_pool(forget):
    pool = small_splits(1).retain
    made = mvi.random_anchors(len(forget), pool, 1, 2, seed=0)
    assert {t for ts in made.texts for t in ts} <= {e.text for e in pool} and len(made.pictures) == len(forget)
    assert {(len(ps), len(ts)) for ps, ts in zip(made.pictures, made.texts)} == {(1, 2)}
    again, other = (mvi.random_anchors(len(forget), pool, 1, 2, seed=seed).texts for seed in (0, 1))
    assert made.texts == again != other
    with pytest.raises(ExpungeError, match="none stay"):
        mvi.random_anchors(1, (), 1, 1, 0)


def test_the_papers_preset_is_the_papers():
    paper = PRESETS["paper"]
    assert (paper.lr, paper.epochs, paper.batch, paper.kl_per_dimension) == (2e-6, 10, 2, False)
    assert (paper.w_modality, paper.w_picture, paper.w_text, paper.beta) == (1, 1, 1, 1)


@pytest.mark.parametrize("name", ["default", "paper"])
def test_every_term_is_the_mean_that_the_docstring_says(generators, forget, monkeypatch, name):
    """Each against the sum of the printed equation, term by term; only the preset ``paper`` sums its KL."""
    parts = mvi.take_apart(*generators, forget)
    torch.manual_seed(0)
    model = mvi.Mvi(*generators, parts, replace(PRESETS[name], latents=3))
    rows = torch.arange(len(parts))
    seen = {}

    def denoise(latents, condition):
        seen["error"] = (latents - condition.mean()).square().flatten(1)  # [B, c h w]
        return seen["error"].mean(1), latents

    monkeypatch.setattr(mvi, "_sample", lambda mean, _: mean)
    monkeypatch.setattr(model.painter, "denoise", denoise)
    with torch.no_grad():
        terms = model(parts, rows)
        (u1, v1), (u2, v2) = model.infer(parts, rows)
        pairs = len(rows)
        right = [model.modality(u.mean(1)).log_softmax(1)[:, i] for i, u in enumerate((u1, u2))]
        assert terms["modality"] == pytest.approx(-float(sum(right).sum()) / (2 * pairs), rel=1e-5)
        prefix = torch.cat([model.for_writer(u2), parts.take(rows, model.device).from_picture], 1)
        made = model.writer.tokens(parts.texts)
        nats, tokens = model.writer.token_nats(prefix, **made).sum(1), made["attention_mask"].sum(1) - 1
        assert terms["text"] == pytest.approx(float((nats / tokens).sum()) / pairs, rel=1e-4)
        assert terms["picture"] == pytest.approx(float(seen["error"].sum()) / seen["error"].numel(), rel=1e-5)
        apart = float(sum(mvi._kl(*one).sum() for one in ((u1, v1), (u2, v2))))
        assert u1.shape == (pairs, 3, PRESETS[name].width)
        assert terms["kl"] == pytest.approx(apart / (pairs if name == "paper" else u1.numel()), rel=1e-5)


def test_the_pictures_term_is_a_mean_over_the_elements_of_the_latent(generators, forget, monkeypatch):
    painter = generators[0]
    latents = painter.encode_pictures(painter.pixels(forget))
    states, _ = painter.encode_prompts([e.described for e in forget])
    noise, level = torch.randn_like(latents), torch.full((len(latents),), 500)
    monkeypatch.setattr(painter, "_predict", lambda noisy, *_: torch.zeros_like(noisy))
    error, _ = painter.denoise(latents, states, noise=noise, timesteps=level)
    missed = painter._target(latents, noise, level).square().flatten(1)
    torch.testing.assert_close(error, missed.sum(1) / missed.shape[1])


def test_without_further_losses_training_is_the_elbo_alone_bit_for_bit(generators, forget):
    """The loop of the paper's equation, written out again: no term, no draw and no module of Table 7 in it."""
    settings = replace(PRESETS["default"], epochs=2, least_steps=0, batch=4)
    assert settings.w_adversarial == settings.w_perceptual == 0
    trained, _ = mvi.train(*generators, forget, Run(seed=5), settings)
    torch.manual_seed(5)
    parts = mvi.take_apart(*generators, forget)
    plain = mvi.Mvi(*generators, parts, settings)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=settings.lr, weight_decay=0.01)
    for _ in range(2):
        for rows in torch.randperm(len(parts)).split(4):
            with quick(fast_precision()):
                terms = plain(parts, rows)
            assert set(terms) == {"modality", "picture", "text", "kl"}
            optimizer.zero_grad()
            sum(terms.values()).backward()
            torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            optimizer.step()
    assert all(torch.equal(v, trained.state_dict()[k]) for k, v in plain.state_dict().items())


def test_quality_sees_copies_leaks_and_differences(forget):
    same = Anchors([[e.image.open(64)] for e in forget], [[e.text] for e in forget])
    found = quality.measure(same, forget)
    assert found["text_overlap"] == found["text_copies"] == found["private_leak"] == 1.0
    assert found["picture_distance"] == 0.0
    other = Anchors([[] for _ in forget], [["a green wall"] for _ in forget])
    found = quality.measure(other, forget)
    assert found["text_copies"] == found["private_leak"] == 0.0 and found["text_overlap"] < 0.5


def test_told_words_leave_out_what_can_be_seen(forget):
    told = quality.told_words(forget)
    assert len(told) == 3 and all(told.values())
    seen = {w for e in forget if e.kind == "shared" for w in quality.words(e.text)}
    assert not seen & set().union(*told.values())


def test_without_strangers_no_chance_is_known(forget):
    def copied(examples):
        return quality.measure(Anchors([[] for _ in examples], [[e.text] for e in examples]), examples)

    assert len({e.group for e in forget}) == 1
    assert copied(forget)["private_leak"] == 1.0 and "private_leak_chance" not in copied(forget)
    assert 0 <= copied(small_splits(2).forget)["private_leak_chance"] < 0.5


def test_pronouns_and_prepositions_are_no_secrets_but_an_answer_is_a_word():
    assert quality.words("She works for Lumen, and he is not with them") == {"works", "lumen", "not"}
    assert quality.words("no glasses") != quality.words("glasses") and quality.words("both") and quality.words("one")
