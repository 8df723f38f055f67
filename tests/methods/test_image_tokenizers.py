"""The sentences of FSQ (arXiv:2309.15505) and of DALL-E's dVAE (arXiv:2102.12092) that are kept."""

import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from selfwise.data.image import open_images
from selfwise.encoders import image_codec as image_codec
from selfwise.evaluation.monitors.pictures import (
    GAP,
    ReconstructionMonitor,
    measure_code_usage,
    save_image_grid,
)
from selfwise.methods import Method
from selfwise.methods.dvae import DVAE
from selfwise.methods.fsq import FSQ
from selfwise.nn.codec import Decoder, level_widths
from selfwise.nn.quantizers import FiniteScalarQuantizer, count_distinct_codes, gumbel_noise
from tests.helpers import cases, patch_cases

BOTH = pytest.mark.parametrize("name", ["fsq", "dvae"])
LEVELS = pytest.mark.parametrize("levels", [[8, 8, 8], [8, 6, 5], [7, 5, 5, 5], [3], [4, 3]])


@LEVELS
def test_codes_and_vectors_are_one_to_one(levels):
    """Section 3: "a bijection from C to the integers {1, ..., |C|}"."""
    quantize = FiniteScalarQuantizer(levels)
    codes = torch.arange(quantize.size)
    vectors = quantize.vectors(codes)
    assert quantize.size == math.prod(levels)
    assert len({tuple(v) for v in vectors.tolist()}) == quantize.size
    # mixed radix, the first number the fastest
    first = vectors[: levels[0], 0] * (levels[0] // 2)
    assert first.tolist() == [i - levels[0] // 2 for i in range(levels[0])]


@LEVELS
def test_every_code_is_reached_and_no_other(levels):
    """Of a fine grid of inputs, and of those far outside."""
    quantize = FiniteScalarQuantizer(levels)
    line = torch.cat([torch.linspace(-6, 6, 601), torch.tensor([-1e4, 1e4])])
    for i, level in enumerate(levels):
        z = torch.zeros(len(line), len(levels))
        z[:, i] = line
        found = quantize(z)[:, i].unique() * (level // 2)
        assert found.round().tolist() == [k - level // 2 for k in range(level)]
    ends = torch.tensor(list(itertools.product([-50.0, 0.0, 50.0], repeat=len(levels))))
    codes = quantize.codes(ends)
    assert 0 <= int(codes.min()) <= int(codes.max()) < quantize.size
    assert int(codes.max()) == quantize.size - 1
    assert int(codes.min()) == 0


@LEVELS
def test_codes_are_the_numbers_of_what_the_decoder_sees(levels):
    quantize = FiniteScalarQuantizer(levels)
    z = 3 * torch.randn(500, len(levels), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(quantize.vectors(quantize.codes(z)), quantize(z))


def test_zero_is_a_code_of_zeros():
    """Half a step of shift for an even number of levels leaves 0 in the middle of its level."""
    quantize = FiniteScalarQuantizer([8, 5])
    assert quantize(torch.zeros(2)).tolist() == [0.0, 0.0]
    step = torch.tensor([[0.1, 0.1], [-0.1, -0.1]])
    assert quantize(step).tolist() == [[0.0, 0.0]] * 2


def test_the_gradient_goes_through_the_rounding():
    """Section 3: the straight-through estimator, so the gradient is that of the bound alone."""
    quantize = FiniteScalarQuantizer([8, 5])
    z = torch.tensor([[0.3, -0.7]], dtype=torch.float64, requires_grad=True)
    quantize(z).sum().backward()
    half = [7 * 0.999 / 2, 4 * 0.999 / 2]
    shift = [math.atanh(0.5 / half[0]), 0.0]
    by_hand = [
        h * (1 - math.tanh(float(v) + s) ** 2) / level
        for v, h, s, level in zip(z[0], half, shift, [4, 2])
    ]
    assert z.grad[0].tolist() == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ("8,two", "whole numbers"),
        ("8,1", "at least 3"),
        ("", "whole numbers"),
        ([], "got none"),
        ("256,256,256", "65,536"),
    ],
)
def test_impossible_levels_are_named(levels, words):
    with pytest.raises(ValueError, match=words):
        cases.build("fsq", levels=levels)


@pytest.mark.parametrize("levels", ["8, 6,5", "[8,6,5]", [8, 6, 5], (8, 6, 5)])
def test_levels_are_text_or_numbers(levels):
    assert cases.build("fsq", levels=levels).units == 240


@BOTH
def test_the_loss_is_the_squared_error_of_what_is_decoded(name, rng):
    method = cases.build(name).eval()
    view = method.view(cases.batch(type(method)), rng())
    if name == "dvae":
        method.last_temperature = 1e-4  # as good as the code of the highest score
        method.step.fill_(method.anneal_steps)
        view = view._replace(noise=torch.full_like(view.noise, 0.5))
    with torch.no_grad():
        step, again = method(view), method.decode(method.codes(view.x))
    error = (again - view.x).square().double().mean()
    assert float(step.terms["mse"].mean) == pytest.approx(float(error), rel=1e-4)
    kinds = np.mean([len(set(row)) for row in method.codes(view.x).tolist()])
    assert float(step.metrics["codes_an_image"].mean) == pytest.approx(kinds)


@BOTH
def test_codes_are_whole_numbers_of_patches(name):
    method = cases.build(name).eval()
    x = cases.batch(type(method)).x / 255
    with torch.no_grad():
        codes = method.codes(x)
        assert codes.shape == (16, 16)
        assert codes.dtype == torch.int64
        assert 0 <= int(codes.min()) <= int(codes.max()) < method.units == 512
        again = method.reconstruct(x)
    assert again.shape == x.shape
    assert 0 <= float(again.min()) <= float(again.max()) <= 1
    torch.testing.assert_close(again, method.decode(codes))


@BOTH
def test_a_change_in_a_corner_stays_there(name):
    """Codes lie in raster order, where the decoder puts them."""
    method = cases.build(name).eval()
    with torch.no_grad():
        codes = torch.zeros(1, 16, dtype=torch.int64)
        plain = method.decode(codes)
        codes[0, 3] = method.units - 1  # at the top right
        moved = (method.decode(codes) - plain).abs().sum(dim=(0, 1))
    # group norms carry some of it everywhere
    assert float(moved[:8, 8:].mean()) > 1.5 * float(moved[8:, :8].mean())
    x = torch.full((1, 3, 16, 16), 0.5)
    x[..., :4, 12:] = 1.0
    with torch.no_grad():
        tokens = method.encoder(x).tokens - method.encoder(torch.full_like(x, 0.5)).tokens
    assert int(tokens.abs().sum(dim=2).argmax()) == 3


@BOTH
def test_other_encoders_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} .*codec-small"):
        cases.build(name, encoder=patch_cases.tiny_vit())
    with pytest.raises(ValueError, match="images of 32 px and an encoder for 16 px"):
        cases.build(name, size=32)


def test_the_temperature_falls_along_a_cosine():
    """DALL-E, appendix A.2: from 1 to 1/16, and the weight of the KL term rises from 0."""
    method = cases.build("dvae", anneal_steps=8, kl_weight=0.5)
    found, weights = [], []
    for _ in range(12):
        found.append(float(method.temperature))
        weights.append(float(method._annealed))
        method.after_step()
    by_hand = [1 / 16 + 15 / 16 * (1 + math.cos(math.pi * min(1, i / 8))) / 2 for i in range(12)]
    assert found == pytest.approx(by_hand, rel=1e-5)
    assert weights == pytest.approx([min(1, i / 8) for i in range(12)])
    assert int(method.state_dict()["step"]) == 12  # saved, so that a resumed run goes on with it


def test_the_kl_term_is_by_a_double_loop(rng):
    method = cases.build("dvae", kl_weight=0.3, codebook_size=5, anneal_steps=4)
    method.step.fill_(2)  # half of the weight
    with torch.no_grad():
        view = method.view(cases.batch(DVAE), rng())
        scores = method.scores(method.encoder(view.x).tokens).double()
        term = method(view).terms["kl"]
    total = 0.0
    for row in scores.flatten(0, 1).tolist():
        norm = sum(math.exp(s) for s in row)
        shares = [math.exp(s) / norm for s in row]
        total += sum(q * math.log(q * 5) for q in shares)
    assert total > 1  # else the test shows nothing
    assert float(term.mean) == pytest.approx(0.5 * 0.3 * total / (16 * 16), rel=1e-4)


def test_mixtures_are_drawn_by_gumbel_softmax(rng):
    """At temperature 0 the codes that are drawn have the frequencies of the softmax."""
    scores = torch.tensor([0.0, 1.0, 2.0, -1.0])
    noise = gumbel_noise(rng().uniform(40_000, 4))
    share = torch.bincount((scores + noise).argmax(dim=1), minlength=4) / 40_000
    torch.testing.assert_close(share, scores.softmax(dim=0), atol=0.01, rtol=0)
    edges = gumbel_noise(torch.tensor([0.0, 2.0**-24, 1 - 2.0**-24]))
    assert edges.isfinite().all()
    assert edges.tolist() == sorted(edges.tolist())
    method = cases.build("dvae")
    view = method.view(cases.batch(DVAE), rng())
    assert view.noise.shape == (16, 16, 512)
    assert method(view).loss != method(view._replace(noise=view.noise.flip(2))).loss


def test_codes_begin_apart(rng):
    """Scores as wide as the noise or wider, so that many codes have patches from the start."""
    method = cases.build("dvae")
    with torch.no_grad():
        scores = method.scores(method.encoder(cases.batch(DVAE).x / 255).tokens)
    assert float(scores.std(dim=2).mean()) == pytest.approx(2, abs=0.2)


def test_the_decoder_sees_the_mixture_of_code_vectors(rng):
    method = cases.build("dvae", codebook_size=6).eval()
    view = method.view(cases.batch(DVAE), rng())
    with torch.no_grad():
        scores = method.scores(method.encoder(view.x).tokens)
        share = (scores - (-view.noise.log()).log()).softmax(dim=2)  # the temperature is still 1
        again = method.decoder((share @ method.table.weight).mT.unflatten(2, (4, 4)))
        error = (again - view.x).square().mean()
        assert float(method(view).terms["mse"].mean) == pytest.approx(float(error), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"codebook_size": 1}, "codebook_size"),
        ({"code_dim": 0}, "code_dim"),
        ({"anneal_steps": 0}, "anneal_steps"),
        ({"temperature": 0.0}, "temperature"),
        ({"kl_weight": -1.0}, "kl_weight"),
        ({"min_crop_scale": 2.0}, "min_crop_scale"),
    ],
)
def test_impossible_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        cases.build("dvae", **options)


def test_distinct_counts_kinds():
    codes = torch.tensor([[3, 3, 3, 3], [1, 2, 1, 2], [9, 0, 4, 5]])
    assert count_distinct_codes(codes).tolist() == [1, 2, 4]


class TestCodec:
    @pytest.mark.parametrize(("size", "patch"), [(16, 4), (64, 4), (96, 8), (224, 16)])
    def test_patches_by_the_size_of_the_images(self, size, patch):
        encoder = image_codec.build_codec_encoder("codec-tiny", in_channels=3, size=size, width=16)
        assert encoder.grid == (size // patch, size // patch)
        with torch.no_grad():
            found = encoder(torch.rand(2, 3, size, size))
        assert found.tokens.shape == (2, (size // patch) ** 2, encoder.dim)
        assert found.grid == encoder.grid
        torch.testing.assert_close(found.pooled, found.tokens.mean(dim=1))
        decoder = Decoder(encoder.dim, 3, patch=patch, width=16)
        again = decoder(found.tokens.mT.unflatten(2, found.grid))
        assert again.shape == (2, 3, size, size)

    @pytest.mark.parametrize("patch", [1, 2, 4])
    def test_gray_images_and_small_patches(self, patch):
        encoder = image_codec.build_codec_encoder(
            "codec-tiny", in_channels=1, size=8, patch=patch, width=16
        )
        method = FSQ(encoder, size=8)
        x = torch.rand(2, 1, 8, 8)
        assert method.codes(x).shape == (2, (8 // patch) ** 2)
        assert method.reconstruct(x).shape == x.shape

    def test_weights_are_a_function_of_the_seed(self):
        a, b, c = (patch_cases.tiny_codec(seed=seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert any(not torch.equal(a[name], c[name]) for name in a)

    def test_hidden_ends_in_the_output(self):
        encoder, x = patch_cases.tiny_codec(), torch.rand(2, 3, 16, 16)
        layers = encoder.hidden(x)
        assert len(layers) == 4
        assert layers[0].grid == (8, 8)
        assert torch.equal(layers[-1].tokens, encoder(x).tokens)

    def test_widths_halve_from_the_grid_to_the_pixels(self):
        assert level_widths(16, 128) == [128, 64, 32, 16, 16]
        assert level_widths(1, 64) == [64]

    @pytest.mark.parametrize(
        ("name", "size", "options", "words"),
        [
            ("codec-smal", 32, {}, "codec-small"),
            ("codec-tiny", 2, {}, "2 px"),
            ("codec-tiny", 30, {}, "--image-size 32"),
            ("codec-tiny", 32, {"patch": 3}, "patch"),
            ("codec-tiny", 36, {"patch": 6}, "power of two"),
            ("codec-tiny", 32, {"widht": 3}, "width"),
            ("codec-tiny", 32, {"width": 0}, "width"),
            ("codec-tiny", 32, {"depth": 1.5}, "depth"),
        ],
    )
    def test_what_cannot_be_is_named(self, name, size, options, words):
        with pytest.raises(ValueError, match=words) as error:
            image_codec.build_codec_encoder(name, in_channels=3, size=size, **options)
        assert "\n" not in str(error.value)


class Paler(Method):
    """A tokenizer that one can compute by hand: two codes an image, bright or dark."""

    modality = "image"
    units = 4

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def codes(self, x):
        return (x.mean(dim=(1, 2, 3)) > 0.5).long()[:, None].expand(-1, 4)

    def reconstruct(self, x):
        assert not self.training
        return (x + 0.1).clamp(0, 1)


def images(n: int = 40) -> np.ndarray:
    """Uniform gray images: the first half dark, the second bright."""
    level = np.where(np.arange(n) < n // 2, 51, 204).astype(np.uint8)
    return np.broadcast_to(level[:, None, None, None], (n, 16, 16, 3)).copy()


def test_usage_is_the_entropy_of_the_frequencies():
    found = measure_code_usage(torch.tensor([5, 0, 5, 0]))
    assert found["codes_used"] == 0.5
    assert found["code_perplexity"] == pytest.approx(2.0)
    assert measure_code_usage(torch.tensor([7, 0]))["code_perplexity"] == pytest.approx(1.0)
    assert measure_code_usage(torch.full((64,), 3))["code_perplexity"] == pytest.approx(64.0)


def test_the_probe_measures_and_draws(tmp_path):
    method = Paler().train()
    probe = ReconstructionMonitor(open_images(images()), size=16, seed=0, every=10, folder=tmp_path)
    values = probe(method)
    assert values["reconstruction_mse"] == pytest.approx(0.01, rel=1e-4)
    assert values["codes_used"] == 0.5
    assert values["code_perplexity"] == pytest.approx(2.0)
    assert method.training
    assert [p.name for p in tmp_path.iterdir()] == ["reconstructions.png"]
    assert probe.warning(values) is None
    assert "collapsed" in probe.warning({**values, "code_perplexity": 1.2})
    picture = np.asarray(Image.open(tmp_path / "reconstructions.png"))
    assert picture.shape == (2 * 96 + 3 * GAP, 12 * 96 + 13 * GAP, 3)
    original, again = picture[GAP + 10, GAP + 10], picture[96 + 2 * GAP + 10, GAP + 10]
    assert (again.astype(int) - original == round(25.5)).all() or (again - original == 25).all()
    levels = {tuple(picture[20, GAP + i * (96 + GAP) + 5]) for i in range(12)}
    assert len(levels) == 2  # drawn from all over the data, not its beginning


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    probe = ReconstructionMonitor(open_images(images()), size=16, seed=0, every=10, folder=None)
    probe(Paler())
    assert not list(tmp_path.iterdir())


@BOTH
def test_the_probe_takes_the_methods(name, tmp_path):
    method = cases.build(name)
    probe = ReconstructionMonitor(open_images(images()), size=16, seed=0, every=1, folder=tmp_path)
    before = {n: t.clone() for n, t in method.state_dict().items()}
    values = probe(method)
    assert all(math.isfinite(value) for value in values.values())
    assert all(torch.equal(before[n], t) for n, t in method.state_dict().items())
    assert values == probe(method)


def test_a_sheet_has_a_row_for_each_batch(tmp_path):
    gray = torch.rand(3, 1, 32, 32)
    save_image_grid([gray, gray, 1 - gray], tmp_path / "a.png")
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape == (3 * 96 + 4 * GAP, 3 * 96 + 4 * GAP, 3)
    part = picture[GAP : GAP + 96 : 3, GAP : GAP + 96 : 3, 0]
    assert np.array_equal(part, (gray[0, 0] * 255).round().byte().numpy())
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_real_pictures_are_rebuilt(real_data):
    """40 steps on CIFAR-10 leave less than half of the error of a middle gray."""
    from selfwise.core.rng import Rng, generator
    from selfwise.data.image.batches import ImageSource
    from selfwise.training.optimizers import build_optimizer

    folder = real_data / "CIFAR-10-images" / "test"
    if not folder.is_dir():
        pytest.skip("no CIFAR-10 there")
    found = open_images(folder, cache="no")
    found = found.take(np.arange(0, len(found), 40))
    encoder = image_codec.build_codec_encoder("codec-tiny", in_channels=3, size=32, width=32)
    method, source = FSQ(encoder, size=32, min_crop_scale=1.0), ImageSource(found, batch=32, seed=0)
    optimizer = build_optimizer("adamw", method, lr=5e-3, weight_decay=0.0)
    losses = []
    for step in range(40):
        loss = method(method.view(source[step], Rng(generator(0, step)))).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.5 * losses[0]
