"""MFCC are Kaldi's: golden numbers, loops in float64, and what must not change them."""

import numpy as np
import pytest
import torch

from selfwise.core.types import AudioBatch, count_frames
from selfwise.targets.mfcc import compute_mfcc, mfcc_frames

# Made with kaldi-native-fbank 1.23.0, which is no dependency: OnlineMfcc with dither 0, snip_edges,
# povey, 25 and 10 ms, 23 bands from 20 Hz to 8 kHz, 13 coefficients, no energy, lifter 22, on
# `sound()`; then its compute_deltas with order 2 and window 2. The outermost frames are without
# second differences: there Kaldi looks at repeated coefficients, and torchaudio, which the authors
# of HuBERT call twice, at repeated first differences.
# fmt: off
GOLDEN = {
    0: [
        -3.5733, -15.8519, 15.8588, 15.9723, 12.0360, 1.4513, -3.7700, -12.9477, -23.4183,
        -36.9090, -29.8942, -27.5925, -27.1352, -0.2121, -0.2388, -0.6668, -1.8022, -2.0473,
        -4.2992, -7.1887, -6.2997, -5.9107, -4.3849, -1.5226, 1.6821, 6.5251,
    ],
    5: [
        -4.2609, -16.9929, 8.9942, -9.0122, -20.9797, -34.3234, -54.6503, -47.7376, -28.1353,
        -8.3911, 5.2114, 15.3186, 25.3032, 0.1758, -0.6546, -2.4237, -5.0281, -6.7379,
        -5.6344, -1.1586, 4.6140, 13.2347, 16.5450, 11.6157, 7.9495, 1.3237, 0.0016,
        -0.4761, -0.6767, 0.2981, 0.6720, 0.6489, 3.0559, 3.8958, 2.8910, 0.4550,
        -0.3527, -2.5577, -4.0384,
    ],
    19: [
        -3.2652, -31.7391, -22.7595, -26.1867, -48.4884, 1.0495, 58.1122, 15.3775, -5.9736,
        -21.1857, -63.6130, 10.0550, 32.5938, -0.1814, -0.8021, -2.8480, -1.1757, 1.2424,
        4.7167, 0.6790, -6.5741, -10.0207, -7.0078, 5.4814, 9.7219, 6.1097, -0.0631,
        0.1938, 0.0452, 0.4750, 0.9276, 0.3888, -0.1702, -1.2334, 1.3744, 3.7852,
        3.6312, 0.4527, -2.0414,
    ],
    37: [
        -4.5408, -37.2575, -33.1241, -4.1582, 15.7006, 21.9277, -4.3160, -59.6056, 35.1946,
        59.1016, -36.1753, -21.1808, 16.1341, -0.4000, -0.8684, -1.6528, 0.1151, 2.0038,
        -0.5790, 0.2384, 3.2315, 8.2915, -0.3936, -4.6858, 1.0054, 8.2878,
    ],
}
# fmt: on


def sound() -> torch.Tensor:
    """0.4 s: a rising tone, a second one from 0.15 s on, noise, and a constant."""
    t = np.arange(6400) / 16_000
    noise = np.random.default_rng(0).standard_normal(6400)
    rising = 0.3 * np.sin(2 * np.pi * (200 * t + 900 * t * t * 2))
    second = 0.1 * np.sin(2 * np.pi * 3300 * t) * (t > 0.15)
    return torch.from_numpy((rising + second + 0.02 * noise + 0.05).astype(np.float32))


def by_loops(x: np.ndarray) -> np.ndarray:
    """(s,) -> (m, 39), frame by frame and band by band in float64."""
    n = np.arange(400)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * n / 399)) ** 0.85
    edges = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), 25)
    rows = []
    for begin in range(0, len(x) - 399, 160):
        frame = x[begin : begin + 400].astype(np.float64)
        frame = frame - frame.mean()
        emphasised = [frame[0] - 0.97 * frame[0]]
        emphasised += [frame[i] - 0.97 * frame[i - 1] for i in range(1, 400)]
        power = np.abs(np.fft.fft(np.array(emphasised) * window, 512)) ** 2
        logs = []
        for left, top, right in zip(edges, edges[1:], edges[2:]):
            energy = 0.0
            for k in range(256):
                mel = 1127 * np.log(1 + k * 16_000 / 512 / 700)
                if left < mel <= top:
                    energy += power[k] * (mel - left) / (top - left)
                elif top < mel < right:
                    energy += power[k] * (right - mel) / (right - top)
            logs.append(np.log(max(energy, 2.0**-23)))
        row = []
        for i in range(13):
            basis = np.cos(np.pi * i * (np.arange(23) + 0.5) / 23)
            scale = np.sqrt((1 if i == 0 else 2) / 23)
            row.append(scale * (1 + 11 * np.sin(np.pi * i / 22)) * (basis @ logs))
        rows.append(row)
    first = slopes(np.array(rows))
    return np.concatenate([np.array(rows), first, slopes(first)], axis=1)


def slopes(c: np.ndarray) -> np.ndarray:
    last = len(c) - 1
    return np.array(
        [
            sum(n * (c[min(t + n, last)] - c[max(t - n, 0)]) for n in (1, 2)) / 10
            for t in range(len(c))
        ]
    )


def clips(*lengths: int) -> AudioBatch:
    """Noise of these lengths, padded with zeros."""
    x = torch.zeros(len(lengths), max(lengths))
    for row, n in enumerate(lengths):
        x[row, :n] = torch.randn(n, generator=torch.Generator().manual_seed(row)) * 0.1
    return AudioBatch(x, torch.arange(len(lengths)), torch.tensor(lengths))


def test_golden_numbers_of_kaldi():
    found = compute_mfcc(sound()[None])[0]
    assert found.shape == (38, 39)
    for t, row in GOLDEN.items():
        torch.testing.assert_close(found[t, : len(row)], torch.tensor(row), atol=1e-3, rtol=0)


def test_loops_in_float64_with_the_differences_at_the_edges():
    x = sound()[:2500]
    expected = torch.from_numpy(by_loops(x.numpy())).float()
    torch.testing.assert_close(compute_mfcc(x[None])[0], expected, atol=1e-3, rtol=0)


def test_quiet_bands_have_the_floor_of_float32():
    x = sound()[:1200] * 1e-5
    expected = torch.from_numpy(by_loops(x.numpy())).float()
    torch.testing.assert_close(compute_mfcc(x[None])[0], expected, atol=1e-3, rtol=0)


def test_nothing_depends_on_the_padding():
    batch = clips(8000, 2000, 5123, 400)
    found = compute_mfcc(batch.x, batch.extent)
    # whatever lies behind the end
    noisy = torch.where(torch.arange(8000) < batch.extent[:, None], batch.x, 9.0)
    torch.testing.assert_close(compute_mfcc(noisy, batch.extent), found, atol=1e-4, rtol=0)
    for row, n in enumerate(batch.extent.tolist()):
        alone = compute_mfcc(batch.x[row : row + 1, :n])[0]
        assert len(alone) == (n - 400) // 160 + 1
        torch.testing.assert_close(found[row, : len(alone)], alone, atol=1e-4, rtol=0)
        assert (found[row, len(alone) :] == 0).all()


def test_a_louder_clip_differs_in_the_first_coefficient_alone():
    found, louder = (compute_mfcc((sound() * scale)[None])[0] for scale in (1, 2))
    # every band has four times the energy
    expected = found.clone()
    expected[:, 0] += np.sqrt(23) * np.log(4)
    torch.testing.assert_close(louder, expected, atol=1e-3, rtol=0)


def test_a_constant_is_taken_away():
    x = sound()[None]
    torch.testing.assert_close(compute_mfcc(x + 0.3), compute_mfcc(x), atol=2e-3, rtol=0)


def test_every_second_frame_is_a_frame_of_the_encoder():
    batch = clips(8000, 5123, 719, 720, 399)
    found, valid = mfcc_frames(batch)
    whole = compute_mfcc(batch.x, batch.extent)
    assert found.shape[1] == count_frames(8000)
    assert valid.sum(dim=1).tolist() == [count_frames(n) for n in (8000, 5123, 719, 720, 399)]
    for t in range(found.shape[1]):
        assert torch.equal(found[:, t], whole[:, 2 * t])
    # frame t covers samples 320 t to 320 t + 400: a click there is heard there alone
    silent, click = torch.zeros(1, 8000), torch.zeros(1, 8000)
    click[0, 320 * 10 + 200] = 1
    quiet, heard = (mfcc_frames(AudioBatch(x, torch.zeros(1).long()))[0] for x in (silent, click))
    changed = (heard != quiet)[0, :, :13].any(dim=1).nonzero()[:, 0]
    assert changed.tolist() == [10]


def test_190_800_samples_have_596_frames():
    found, valid = mfcc_frames(AudioBatch(torch.zeros(1, 190_800), torch.zeros(1).long()))
    assert found.shape == (1, 596, 39)
    assert bool(valid.all())


@pytest.mark.parametrize("samples", [0, 399])
def test_a_clip_below_25_ms_has_no_frames(samples):
    found, valid = mfcc_frames(AudioBatch(torch.zeros(2, samples), torch.arange(2)))
    assert found.shape == (2, 0, 39)
    assert valid.shape == (2, 0)


def test_silence_is_finite_and_autocast_changes_nothing():
    assert bool(compute_mfcc(torch.zeros(1, 4000)).isfinite().all())
    expected = compute_mfcc(sound()[None])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(compute_mfcc(sound()[None]), expected)
