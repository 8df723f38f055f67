"""One test for each sentence of the HuBERT paper (arXiv:2106.07447) that the method keeps."""

from math import log

import pytest
import torch
import torch.nn.functional as F

from selfwise.core.rng import Rng, generator
from selfwise.core.types import HOP, WINDOW, map_tensors
from selfwise.losses.cross_entropy import cosine_logits, masked_cross_entropy
from selfwise.methods.hubert import HuBERT
from selfwise.views.audio.span_mask import MaskedFrames, SpanMask
from tests.helpers import cases, speech_cases


def build(**options) -> HuBERT:
    return cases.build("hubert", encoder=speech_cases.Plain(16), **options)


def double(tree):
    return map_tensors(lambda t: t.double() if t.is_floating_point() else t, tree)


def published(hidden: torch.Tensor, codes: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The sum of the losses as the authors' code has it: a row's own code first, then all codes,
    its own among them at minus infinity, as vectors of one large tensor."""
    every = torch.cat([codes[target][None], codes[:, None].expand(-1, len(hidden), -1)])
    scores = F.cosine_similarity(hidden[None], every, dim=-1) / 0.1
    again = torch.arange(len(codes))[:, None] == target
    scores = torch.cat([scores[:1], scores[1:].masked_fill(again, -torch.inf)]).T
    return F.cross_entropy(scores, torch.zeros_like(target), reduction="sum")


def mask_tones() -> MaskedFrames:
    """Six rows of tones, 12 to 40 frames."""
    return SpanMask().mask_frames(speech_cases.tones(6), Rng(generator(0)))


@pytest.fixture(scope="module")
def view() -> MaskedFrames:
    return mask_tones()


def losses(method: HuBERT, view: MaskedFrames) -> dict[str, float]:
    return {name: term.mean.item() for name, term in method(view).terms.items()}


def with_units(view: MaskedFrames, units: torch.Tensor) -> MaskedFrames:
    target = torch.where(view.chosen, units.gather(1, view.where), 0)
    return view._replace(batch=view.batch._replace(units=units), target=target)


def spoken(view: MaskedFrames, sample: int) -> MaskedFrames:
    """One sample of the first row is another one."""
    x = view.batch.x.clone()
    x[0, sample] += 0.5
    return view._replace(batch=view.batch._replace(x=x))


def test_scores_are_cosines_over_the_temperature():
    """Equation 3, pair by pair in float64."""
    hidden, codes = (torch.randn(n, 5, generator=generator(n)).double() for n in (7, 4))
    found = cosine_logits(hidden, codes, 0.1)
    for i in range(7):
        for j in range(4):
            dot = sum(float(a * b) for a, b in zip(hidden[i], codes[j]))
            size = [sum(float(a * a) for a in v) ** 0.5 for v in (hidden[i], codes[j])]
            assert float(found[i, j]) == pytest.approx(dot / size[0] / size[1] / 0.1, rel=1e-12)
    assert torch.allclose(cosine_logits(hidden, codes, 0.2), found / 2)


def test_loss_and_gradients_are_those_of_the_published_way():
    shapes = ((30, 12), (9, 12))
    drawn = [torch.randn(shape, generator=generator(0, str(shape))).double() for shape in shapes]
    target, chosen = torch.arange(30) % 9, torch.arange(30) % 4 > 0
    a, b = ([t.clone().requires_grad_() for t in drawn] for _ in range(2))
    ours = masked_cross_entropy(cosine_logits(*a), target, chosen)
    theirs = published(b[0][chosen], b[1], target[chosen])
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    ours.backward()
    theirs.backward()
    for one, other in zip(a, b):
        assert torch.allclose(one.grad, other.grad, rtol=1e-9, atol=1e-12)


def test_scores_are_computed_in_float32():
    hidden, codes = (torch.randn(n, 64, generator=generator(n)) for n in (30, 50))
    exact = cosine_logits(hidden, codes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(cosine_logits(hidden, codes), exact)
    rough = hidden.bfloat16()
    assert cosine_logits(rough, codes).dtype == torch.float32
    assert torch.equal(cosine_logits(rough, codes), cosine_logits(rough.float(), codes))
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        cosine_logits(hidden, codes, 0.0)


def test_the_loss_is_the_mean_over_hidden_frames_and_the_penalty(view):
    """alpha = 1 of equation 2 (here 0: no weight on the others), by hand in float64."""
    method = build().double()
    view = double(view)
    tokens, valid, power = method.encoder.embed(view.batch)
    hidden = torch.where(view.mask[..., None], method.mask_embedding, tokens)
    out, found = method.encoder.trunk(hidden, valid).tokens, []
    for i, j in view.mask.nonzero().tolist():
        v = method.final_projection(out[i, j])
        scores = torch.stack(
            [torch.dot(v, c) / v.norm() / c.norm() / 0.1 for c in method.code_embeddings]
        )
        found.append(scores.logsumexp(0) - scores[view.batch.units[i, j]])
    said = losses(method, view)
    assert set(said) == {"masked_loss", "feature_penalty"}
    assert said["masked_loss"] == pytest.approx(torch.stack(found).mean().item(), rel=1e-10)
    assert said["feature_penalty"] == pytest.approx(10 * power.mean.item(), rel=1e-10)


def test_the_penalty_is_the_mean_square_of_the_stem(view):
    """fairseq, hubert_pretraining: 10 * mean square * frames, divided by the frames."""
    stem = build().encoder.embed(view.batch)
    square = stem.tokens[stem.valid].square().mean()
    assert "feature_penalty" not in losses(build(feature_penalty=0.0), view)
    for penalty in (1.0, 10.0):
        said = losses(build(feature_penalty=penalty), view)
        assert said["feature_penalty"] == pytest.approx(penalty * square.item(), rel=1e-5)
    step = build()(view)
    assert step.loss.item() == pytest.approx(sum(losses(build(), view).values()), rel=1e-6)


def test_alpha_weighs_the_frames_that_are_seen(view):
    plain, half, whole = (losses(build(unmasked_weight=a), view) for a in (0.0, 0.5, 1.0))
    assert "unmasked_loss" not in plain
    assert half["masked_loss"] == pytest.approx(plain["masked_loss"], rel=1e-5)
    assert whole["unmasked_loss"] == pytest.approx(2 * half["unmasked_loss"], rel=1e-6)
    # those that are real and not hidden, as hidden ones that nothing stands for would be
    seen = build(unmasked_weight=1.0)(view).terms["unmasked_loss"]
    assert float(seen.count) == float(view.mask.numel()) - float(
        view.mask.sum() + (view.batch.units < 0).sum()
    )


@pytest.mark.parametrize("unmasked_weight", [0.0, 0.5])
def test_which_units_the_loss_reads(view, unmasked_weight):
    """Another unit at a hidden frame is another loss; at a frame that is seen only with alpha; at
    one that does not exist never, whatever stands there."""
    method, units = build(unmasked_weight=unmasked_weight), view.batch.units
    before = losses(method, view)
    for i, j in [(0, 3), (1, 20), (4, 9), (5, 5), *view.mask.nonzero()[::9].tolist()]:
        other = units.clone()
        other[i, j] = (other[i, j] + 1) % 8
        after = losses(method, with_units(view, other))
        assert (after["masked_loss"] != before["masked_loss"]) == bool(view.mask[i, j])
        if unmasked_weight:
            assert (after["unmasked_loss"] != before["unmasked_loss"]) == (not view.mask[i, j])
    assert losses(method, with_units(view, units.clamp_min(0) + 7 * (units < 0))) == before


def test_hidden_frames_are_not_heard(view):
    """A sample that only hidden frames cover leaves the guesses alone, and moves the penalty."""
    method, hidden = build(), view.mask[0]
    before, kinds = losses(method, view), set()
    for frame in range(2, len(hidden) - 1):
        # frame t begins at 320 t and ends 80 samples into the next
        for sample, cover in [(40, {frame - 1, frame}), (200, {frame})]:
            after = losses(method, spoken(view, frame * HOP + sample))
            # by a hidden frame, whose guess it moves: the trunk sees one to either side
            heard = any(not hidden[t] and hidden[t - 1 : t + 2].any() for t in cover)
            assert (after["masked_loss"] != before["masked_loss"]) == heard
            assert after["feature_penalty"] != before["feature_penalty"]
            kinds.add(heard)
    assert kinds == {True, False}


def test_the_mask_vector_stands_in_the_place_of_the_projection(view):
    """Section II-C: in the trunk's width, behind the stem; frames that are seen stay."""
    method, seen = build(), []
    inner = method.encoder.forward_at
    method.encoder.forward_at = lambda tokens, *rest: (seen.append(tokens), inner(tokens, *rest))[1]
    method(view)
    stem = method.encoder.embed(view.batch).tokens
    assert torch.equal(seen[0][view.mask], method.mask_embedding.expand(int(view.mask.sum()), -1))
    assert torch.equal(seen[0][~view.mask], stem[~view.mask])
    assert method.mask_embedding.requires_grad


def test_one_mask_vector_and_codes_start_uniform():
    """fairseq: mask_emb.uniform_() and label_embs_concat uniform, both in 0..1."""
    method = build(num_clusters=500, proj_dim=64)
    assert method.mask_embedding.shape == (16,)
    for drawn in (method.mask_embedding.detach(), method.code_embeddings.detach()):
        assert 0 <= float(drawn.min()) < 0.2
        assert 0.8 < float(drawn.max()) < 1
    assert float(method.code_embeddings.detach().mean()) == pytest.approx(0.5, abs=0.01)
    assert float(method.code_embeddings.detach().std()) == pytest.approx(12**-0.5, abs=0.01)


def test_units_are_of_the_frames_that_are_hidden():
    """Frame t of the units is frame t of the encoder: 320 t to 320 t + 400, and so is what is
    hidden. A tone for each unit is replaced, and its own frame's guess is what changes."""
    batch = speech_cases.tones(1, widest=40, shortest=40)
    tokens = build().encoder.embed(batch).tokens[0]
    for t in (0, 7, 39):
        x = batch.x.clone()
        x[0, t * HOP + 80 : t * HOP + HOP] = 0
        moved = (build().encoder.embed(batch._replace(x=x)).tokens[0] != tokens).any(dim=1)
        assert moved.nonzero()[:, 0].tolist() == [t]
        pitch = 200.0 * 1.4 ** int(batch.units[0, t])
        wave = batch.x[0, t * HOP : t * HOP + HOP - 80]
        crossings = int((wave[1:].sign() != wave[:-1].sign()).sum())
        assert crossings == pytest.approx(2 * pitch * 239 / 16_000, abs=1.01)
    assert speech_cases.samples(40) == 39 * HOP + WINDOW


@pytest.mark.parametrize("unmasked_weight", [0.0, 0.5])
def test_nothing_depends_on_the_padding(view, unmasked_weight):
    """Five more frames of zeros, and not a number changes."""
    batch = view.batch
    wide = batch._replace(
        x=F.pad(batch.x, (0, 5 * HOP)), units=F.pad(batch.units, (0, 5), value=-1)
    )
    padded = view._replace(batch=wide, mask=F.pad(view.mask, (0, 5)))
    a, b = (build(unmasked_weight=unmasked_weight)(v) for v in (view, padded))
    for name, term in (a.terms | a.metrics).items():
        assert (b.terms | b.metrics)[name].mean.item() == pytest.approx(term.mean.item(), rel=1e-6)


@torch.no_grad()
def test_metrics_are_the_share_hidden_and_how_often_the_guess_is_right(view):
    method = build(unmasked_weight=0.5)
    step = method(view)
    assert float(step.metrics["masked_share"].mean) == pytest.approx(
        float(view.mask.sum() / (view.batch.units >= 0).sum())
    )
    tokens, valid, _ = method.encoder.embed(view.batch)
    out = method.encoder.trunk(
        torch.where(view.mask[..., None], method.mask_embedding, tokens), valid
    ).tokens
    right = cosine_logits(
        method.final_projection(out.flatten(0, 1)), method.code_embeddings
    ).argmax(dim=1)
    right = right.view_as(view.mask) == view.batch.units
    for name, frames in {"masked": view.mask, "unmasked": valid & ~view.mask}.items():
        found = step.metrics[f"{name}_accuracy"]
        assert float(found.mean) == pytest.approx(float(right[frames].float().mean()))


@pytest.mark.run  # training
def test_it_guesses_tones_from_what_is_around_them():
    """Tones last five frames: a hidden frame's neighbours say what it was. New tones every step,
    so nothing can be learned by heart."""
    method = cases.build("hubert", encoder=speech_cases.Plain(32), mask_length=1, mask_prob=0.2)
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    for step in range(50):
        view = method.view(speech_cases.tones(16, seed=step), Rng(generator(step)))
        optimizer.zero_grad()
        method(view).loss.backward()
        optimizer.step()
    found = method(method.view(speech_cases.tones(64, seed=999), Rng(generator(9))))
    assert float(found.terms["masked_loss"].mean.detach()) < 0.6 * log(8)
    assert float(found.metrics["masked_accuracy"].mean) > 0.6


def test_the_recipe_is_the_papers():
    """Section IV-C and hubert_base_librispeech.yaml."""
    d = HuBERT.paper
    assert (d.optimizer, d.lr, d.scaling, d.weight_decay) == ("adamw", 5e-4, "none", 0.01)
    assert (d.betas, d.eps, d.grad_clip) == ((0.9, 0.98), 1e-6, 10.0)
    assert (d.schedule, d.warmup) == ("linear", 0.08)
    method = build()
    assert (method.spans, method.temperature) == (SpanMask(0.8, 10), 0.1)
    assert (method.unmasked_weight, method.feature_penalty) == (0.0, 10.0)
    assert (
        method.final_projection.out_features == 16
    )  # 256, and the encoder's width if that is less
    wide = cases.build("hubert", encoder=speech_cases.Plain(768))
    assert wide.code_embeddings.shape == (8, 256)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_clusters": 1}, "num_clusters must be at least 2, got 1"),
        ({"mask_length": 0}, "mask_length must be at least 1, got 0"),
        ({"mask_prob": 80.0}, "mask_prob must be above 0 and at most 1, got 80"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0"),
        ({"unmasked_weight": -1.0}, "unmasked_weight must be at least 0, got -1"),
        ({"feature_penalty": float("nan")}, "feature_penalty must be at least 0, got nan"),
        ({"proj_dim": 0}, "proj_dim must be at least 1, got 0"),
    ],
)
def test_numbers_that_make_no_task_are_refused(options, says):
    with pytest.raises(ValueError, match=says) as error:
        build(**options)
    assert "\n" not in str(error.value)


def test_an_encoder_of_images_is_refused():
    for encoder in (cases.tiny_encoder(), cases.tiny_text_encoder("bert")):
        with pytest.raises(
            ValueError, match=r"hubert needs a speech encoder, and [A-Z]\w+ is not one"
        ):
            cases.build("hubert", encoder=encoder)


def test_the_units_must_be_there_and_fit():
    method, batch = build(), speech_cases.tones(2)
    with pytest.raises(AssertionError, match="span masks need the units"):
        method.view(batch._replace(units=None), Rng(generator(0)))
    with pytest.raises(AssertionError, match="39 units for"):
        method.view(batch._replace(units=batch.units[:, 1:]), Rng(generator(0)))
