"""What holds for speech encoders whatever their weights: padding, frames, stems, gradients."""

import re

import pytest
import torch
import torch.nn.functional as F

from selfwise.core.rng import generator
from selfwise.core.types import AudioBatch, SpeechEncoder, count_frames
from selfwise.encoders import speech
from selfwise.encoders.speech_presets import SIZES
from selfwise.nn.attention import Layout
from selfwise.nn.audio_stems import (
    MelStem,
    WaveStem,
    conv1d_channels_last,
    group_norm_conv,
    mel_filters,
)
from selfwise.nn.transformer import Transformer

STEMS = {
    "group": {},
    "bias": {"stem_bias": True},
    "layer": {"stem_norm": "layer", "norm": "pre", "normalize": True},
    "logmel": {"stem": "logmel"},
    "fixed": {"stem": "logmel", "mel_norm": "fixed", "mels": 40},
}
LENGTHS = (8000, 5137, 3999, 400)
NONE = dict.fromkeys(("dropout", "input_dropout", "attention_dropout"), 0.0)
stems = pytest.mark.parametrize("stem", STEMS)


def encoder_of(stem="group", **options):
    encoder = speech.build_speech_encoder("hubert-tiny", **STEMS[stem] | NONE | options)
    rng = generator(0, "weights")
    with torch.no_grad():
        for name, p in encoder.named_parameters():
            if name.endswith("bias"):
                p.copy_(0.3 * torch.randn(p.shape, generator=rng))
    return encoder


def wave(lengths=LENGTHS, *, junk=0.0):
    """Coloured noise of several lengths, with numbers beyond each end."""
    draw = generator(0, "wave")
    x = torch.randn(len(lengths), max(lengths) + 100, generator=draw).cumsum(dim=1)
    x = (0.1 * (x - x.roll(7, 1)))[:, 100:] + 0.05
    extent = torch.tensor(lengths)
    beyond = torch.arange(x.shape[1]) >= extent[:, None]
    return AudioBatch(torch.where(beyond, junk, x), torch.arange(len(lengths)), extent)


def alone(batch, i, *, more=0):
    """Row i by itself, with `more` samples of padding."""
    n = int(batch.extent[i])
    x = F.pad(batch.x[i : i + 1, :n], (0, more))
    return AudioBatch(x, batch.index[i : i + 1], batch.extent[i : i + 1] if more else None)


@stems
@pytest.mark.parametrize("more", [0, 1, 319, 5000])
def test_nothing_real_depends_on_the_padding(stem, more):
    encoder, batch = encoder_of(stem).eval(), wave()
    with torch.no_grad():
        found, layers = encoder(batch), encoder.layers(batch)
        for i, length in enumerate(LENGTHS):
            part, t = alone(batch, i, more=more), count_frames(length)
            want = encoder(part)
            torch.testing.assert_close(found.pooled[i], want.pooled[0], rtol=1e-5, atol=2e-5)
            for layer, other in zip(layers, encoder.layers(part), strict=True):
                torch.testing.assert_close(layer[i, :t], other[0, :t], rtol=1e-5, atol=2e-5)


@stems
@pytest.mark.parametrize("junk", [9.0, float("nan")])
def test_what_is_beyond_the_end_is_never_read(stem, junk):
    encoder = encoder_of(stem).eval()
    clean, dirty = (encoder(wave(junk=value)) for value in (0.0, junk))
    for i, length in enumerate(LENGTHS):
        t = count_frames(length)
        assert torch.equal(clean.tokens[i, :t], dirty.tokens[i, :t])
    assert torch.equal(clean.pooled, dirty.pooled)


@stems
def test_gradients_do_not_depend_on_the_padding(stem):
    encoder, batch = encoder_of(stem).double(), wave()
    batch = batch._replace(x=batch.x.double())
    found = []
    for parts in ([batch], [alone(batch, i) for i in range(len(LENGTHS))]):
        encoder.zero_grad()
        for part in parts:
            encoder(part).pooled.square().sum().backward()
            if encoder.shape.stem == "wave":
                encoder.embed(part).power.sum.backward()
        found.append({n: p.grad for n, p in encoder.named_parameters() if p.grad is not None})
    for name, grad in found[0].items():
        torch.testing.assert_close(grad, found[1][name], rtol=1e-6, atol=1e-9, msg=name)


@stems
def test_which_frames_are_real_and_how_many(stem):
    encoder, batch = encoder_of(stem).eval(), wave((8000, 720, 719, 400, 399))
    embedded = encoder.embed(batch)
    assert embedded.valid.sum(dim=1).tolist() == [count_frames(n) for n in batch.extent.tolist()]
    assert embedded.valid.sum(dim=1).tolist() == [24, 2, 1, 1, 0]
    assert embedded.tokens.shape == (5, 24, 64)
    whole = encoder.embed(batch._replace(extent=None))
    assert whole.valid.all()
    assert whole.valid.shape == (5, 24)


def test_log_mels_have_as_many_frames_as_the_wave():
    wide, mel = WaveStem(2), MelStem(3)
    for samples in [*range(400, 1100, 7), 4000, 16_000, 190_800]:
        x = torch.zeros(1, samples)
        assert mel(x, None).shape[1] == count_frames(samples)
        if samples < 1100:
            assert wide(x, None).shape[1] == count_frames(samples)


def test_the_folded_group_norm_is_torchs():
    stem, x = WaveStem(24), wave((6400, 6400)).x
    torch.nn.init.normal_(stem.norms[0].weight)
    torch.nn.init.normal_(stem.norms[0].bias)
    first, norm = stem.convs[0], stem.norms[0]
    want = F.group_norm(F.conv1d(x[:, None], first.weight, stride=5), 24, norm.weight, norm.bias)
    found = group_norm_conv(x.unfold(1, 10, 5), first, norm, None)
    torch.testing.assert_close(found, want.mT, rtol=1e-5, atol=2e-5)
    got = torch.autograd.grad(found.square().mean(), [first.weight, norm.weight, norm.bias])
    ref = torch.autograd.grad(want.square().mean(), [first.weight, norm.weight, norm.bias])
    for a, b in zip(got, ref, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_statistics_hold_where_a_filter_hears_little():
    # a difference of differences on a slow wave: a ten-millionth of its energy comes through
    time = torch.arange(16_000) / 16_000
    x = (torch.sin(2 * torch.pi * 100 * time) + 0.5)[None]
    stem = WaveStem(1)
    with torch.no_grad():
        stem.convs[0].weight.copy_(100 * torch.tensor([1.0, -3, 3, -1] + [0.0] * 6))
        found = group_norm_conv(x.unfold(1, 10, 5), stem.convs[0], stem.norms[0], None)
        exact = F.conv1d(x[:, None].double(), stem.convs[0].weight.double(), stride=5)
        want = F.group_norm(exact, 1, eps=1e-5)[0, 0]
    assert want.std() > 0.5
    assert (found[0, :, 0].double() - want).abs().max() < 0.03


def test_the_wave_keeps_more_than_8_bits_under_autocast():
    # a difference takes the loud hum away and leaves noise, far below the hum's last bit of 8
    time = torch.arange(8000) / 16_000
    noise = 1e-3 * torch.randn(8000, generator=generator(0, "noise"))
    windows = (0.5 * torch.sin(2 * torch.pi * 5 * time) + noise)[None].unfold(1, 10, 5)
    stem = WaveStem(1)
    first, norm = stem.convs[0], stem.norms[0]
    with torch.no_grad():
        first.weight.copy_(64 * torch.tensor([1.0, -1] + [0.0] * 8))
        want = group_norm_conv(windows, first, norm, None)
        with torch.autocast("cpu", torch.bfloat16):
            found = group_norm_conv(windows, first, norm, None)
    assert found.dtype == torch.bfloat16
    assert want.std() > 0.9
    assert (found - want).std() < 0.05


def test_convolutions_are_torchs():
    x = torch.randn(2, 31, 8, generator=generator(0, "x"))
    for stride, padding, groups in ((2, 0, 1), (1, 2, 4)):
        layer = torch.nn.Conv1d(8, 8, 4, stride, padding, groups=groups)
        found = conv1d_channels_last(x, layer, stride=stride, padding=padding)
        torch.testing.assert_close(found, layer(x.mT).mT, rtol=1e-5, atol=1e-6)


def test_mel_filters_are_triangles_that_add_up():
    filters = mel_filters(40)
    assert filters.shape == (257, 40)
    assert (filters.max(dim=0).values > 0.3).all()
    assert filters.max() <= 1
    hertz = torch.arange(257) * 16_000 / 512
    inside = (hertz > 100) & (hertz < 7400)
    torch.testing.assert_close(filters.sum(dim=1)[inside], torch.ones(int(inside.sum())))
    # O'Shaughnessy's scale: 1000 Hz is 1000 mel, so a filter between 0 and 2840 mel sits there
    top = hertz[filters.argmax(dim=0)]
    assert ((top[1:] - top[:-1]) >= 0).all()
    assert float(top[-1]) > 7000
    assert float(top[0]) < 120


def test_a_tone_is_in_the_filter_of_its_pitch():
    time = torch.arange(4000) / 16_000
    stem = MelStem(40, norm="fixed")
    for hertz in (400.0, 1000.0, 3000.0):
        found = stem(0.5 * torch.sin(2 * torch.pi * hertz * time)[None], None)[0, 2]
        expected = mel_filters(40)[round(hertz / 16_000 * 512)].argmax()
        assert found[:40].argmax() == expected == found[40:].argmax()


def test_log_mels_are_those_of_their_definition():
    x = wave((2000,)).x
    stem = MelStem(20, norm="fixed")
    found = stem(x, None)[0]
    for frame, half in ((0, 0), (0, 1), (3, 0)):
        start = 320 * frame + 160 * half
        part = x[0, start : start + 400].double() * torch.hann_window(400, periodic=False).double()
        spectrum = torch.fft.fft(part, 512)[:257].abs() ** 2
        mels = (spectrum @ mel_filters(20).double()).clamp_min(1e-8).log()
        want = ((mels + 6) / 4).float()
        torch.testing.assert_close(found[frame, 20 * half : 20 * half + 20], want,
                                   rtol=1e-4, atol=1e-4)  # fmt: skip


def test_the_power_is_the_mean_square_of_real_frames():
    encoder, batch = encoder_of(), wave()
    with torch.no_grad():
        power = encoder.embed(batch).power
        parts = [encoder.stem(batch.x[i : i + 1, :n], None) for i, n in enumerate(LENGTHS)]
    flat = torch.cat([part.flatten() for part in parts])
    assert float(power.count) == len(flat)
    torch.testing.assert_close(power.mean, flat.square().mean(), rtol=1e-5, atol=0)


def test_the_gradient_into_the_stem_is_scaled_and_nothing_else_is():
    batch, grads, outs = wave(), {}, {}
    for scale in (1.0, 0.1, 0.0):
        encoder = encoder_of(stem_grad=scale)
        out, power = encoder(batch).pooled, encoder.embed(batch).power
        outs[scale] = out.detach()
        (out.sum() + (power.mean if scale else 0)).backward()
        grads[scale] = {n: p.grad for n, p in encoder.named_parameters()}
    assert torch.equal(outs[1.0], outs[0.1])
    assert torch.equal(outs[1.0], outs[0.0])
    for name, grad in grads[1.0].items():
        if name.startswith("stem."):
            torch.testing.assert_close(grads[0.1][name], 0.1 * grad, rtol=1e-4, atol=1e-7)
            assert grads[0.0][name] is None
        elif not name.startswith("stem_norm"):
            assert torch.equal(grads[0.1][name], grad), name


def test_frames_are_read_as_the_whole_is_computed():
    encoder, batch = encoder_of().eval(), wave()
    embedded = encoder.embed(batch)
    where = torch.tensor([[0, 5, 23], [1, 1, 14], [3, 2, 0], [0, 0, 0]])
    whole = encoder.trunk(embedded.tokens, embedded.valid).tokens
    found = encoder.forward_at(embedded.tokens, embedded.valid, where)
    want = whole.gather(1, where[..., None].expand(-1, -1, 64))
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-5)


def test_layers_are_left_out_at_the_rate_told_and_in_training_alone():
    layers = Transformer(6, 8, 2, 16, layerdrop=0.25)
    torch.manual_seed(0)
    kept = [len(layers.draw_layers()) for _ in range(2000)]
    assert abs(sum(kept) / len(kept) / 6 - 0.75) < 0.02  # sd 0.004
    assert len(layers.eval().draw_layers()) == 6
    nothing = Transformer(1, 8, 2, 16, layerdrop=0.999999)
    x = torch.randn(2, 5, 8)
    assert torch.equal(nothing(x, Layout()), x)
    assert torch.equal(
        nothing.forward_at(x, Layout(), torch.tensor([[1], [4]])), x[[0, 1], [1, 4]][:, None]
    )


def test_weights_are_a_function_of_the_seed_and_as_described():
    a, b, c = (speech.build_speech_encoder("hubert-tiny", seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters()))
    assert not torch.equal(a.project.weight, c.project.weight)
    wide = speech.build_speech_encoder("hubert-mini")
    assert wide.stem.convs[2].weight.detach().std() == pytest.approx(
        (2 / (3 * 128)) ** 0.5, rel=0.05
    )
    assert wide.position.v.detach().std() == pytest.approx((4 / (32 * 256)) ** 0.5, rel=0.05)
    assert wide.blocks.blocks[0].mlp.up.weight.detach().std() == pytest.approx(0.02, rel=0.05)
    weight = wide.position.v * wide.position.g / wide.position.v.norm(dim=(0, 1), keepdim=True)
    torch.testing.assert_close(weight, wide.position.v)


def test_it_is_what_methods_ask_for():
    encoder = speech.build_speech_encoder("hubert-tiny")
    assert isinstance(encoder, SpeechEncoder)
    assert (encoder.dim, encoder.depth, encoder.name) == (64, 2, "hubert-tiny")
    assert speech.list_speech_encoders() == [f"hubert-{size}" for size in SIZES]
    assert speech.build_speech_encoder("hubert-tiny", dim=32).shape.ff == 128


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("hubert-bse", {}, "unknown speech encoder 'hubert-bse'; did you mean 'hubert-base'?"),
        ("bert-mini", {}, "unknown speech encoder 'bert-mini'; did you mean 'hubert-mini'?"),
        ("hubert-mini", {"stem_width": 1}, "no option 'stem_width'; did you mean 'stem_"),
        ("hubert-mini", {"dim": 2.5}, "dim must be a whole number, not 2.5"),
        ("hubert-mini", {"normalize": "yes"}, "normalize must be true or false, not 'yes'"),
        ("hubert-mini", {"stem": "wav"}, "unknown stem 'wav'; did you mean 'wave'?"),
        ("hubert-mini", {"stem_norm": "grop"}, "unknown stem_norm 'grop'; did you mean 'group'?"),
        ("hubert-mini", {"mel_norm": "clips"}, "unknown mel_norm 'clips'; did you mean 'clip'?"),
        ("hubert-mini", {"norm": "before"}, "unknown norm 'before'"),
        ("hubert-mini", {"activation": "gelo"}, "unknown activation 'gelo'; did you mean 'gelu'?"),
        ("hubert-mini", {"heads": 5}, "5 heads do not divide its width of 256"),
        ("hubert-mini", {"position_groups": 3}, "3 position groups do not divide"),
        ("hubert-mini", {"depth": 0}, "depth must be at least 1"),
        ("hubert-mini", {"mels": 0}, "mels must be at least 1"),
        ("hubert-mini", {"layerdrop": 1.0}, "layerdrop must be at least 0 and below 1"),
        ("hubert-mini", {"stem_grad": -1.0}, "stem_grad must be at least 0, not -1.0"),
        ("hubert-mini", {"eps": 0.0}, "eps must be above 0, not 0.0"),
    ],
)
def test_wrong_options_get_one_sentence(name, options, said):
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        speech.build_speech_encoder(name, **options)
    assert "\n" not in str(caught.value)


def test_clips_without_a_frame_are_refused():
    encoder = speech.build_speech_encoder("hubert-tiny")
    with pytest.raises(ValueError, match="needs clips of at least 400 samples, a frame of 25 ms"):
        encoder(AudioBatch(torch.zeros(1, 399), torch.zeros(1).long()))


@pytest.mark.parametrize("stem", ["group", "layer", "logmel"])
def test_silence_and_half_precision_give_numbers(stem):
    encoder = encoder_of(stem)
    batch = wave()
    batch = batch._replace(x=batch.x * torch.tensor([0.0, 1e-6, 1.0, 0.0])[:, None])
    with torch.autocast("cpu", torch.bfloat16):
        embedded = encoder.embed(batch)
        out = encoder.trunk(embedded.tokens, embedded.valid)
        loss = out.pooled.square().sum() + embedded.power.mean
    loss.backward()
    assert torch.isfinite(out.pooled).all()
    assert embedded.power.sum.dtype == torch.float32
    for name, p in encoder.named_parameters():
        assert p.grad is None or torch.isfinite(p.grad).all(), name
