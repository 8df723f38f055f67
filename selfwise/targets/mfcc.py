"""MFCC with their first and second differences, the features of HuBERT's first iteration.

Hsu et al. 2021 (arXiv:2106.07447), section IV-B: 39 numbers per frame. All constants are those of
Kaldi's `compute-mfcc-feats`, as in torchaudio's `compliance.kaldi.mfcc(use_energy=False)`, which
the authors' code uses for its units.
"""

import math
from functools import cache

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from selfwise.core.types import RATE, WINDOW, AudioBatch

FRAME_SHIFT = 160  # samples between frames: 100 per second, where `types.HOP` has 50
NUM_COEFFICIENTS = 13
FFT_SIZE, NUM_BANDS = 512, 23
MIN_HERTZ, MAX_HERTZ = 20.0, RATE / 2  # Hz, of the mel bands
PREEMPHASIS, LIFTER = 0.97, 22.0
DIFFERENCE_REACH = 2  # frames to each side that a difference covers: Kaldi's window of five
ENERGY_FLOOR = torch.finfo(torch.float32).eps  # of a band's energy, before the logarithm


def compute_mfcc(
    x: Float[Tensor, "b s"], extent: Int64[Tensor, "b"] | None = None
) -> Float32[Tensor, "b m 39"]:
    """Return 13 coefficients, their first and second differences, 100 frames per second.

    `x` is at 16 kHz with values about -1..1, as in torchaudio; Kaldi itself takes 16-bit integers,
    which adds a constant to coefficient 0 and changes nothing else above the floor. A row has
    (extent - 400) // 160 + 1 frames; differences repeat its own first and last frame, so that they
    do not depend on the padding, and the output beyond its frames is zero.
    """
    count = max(0, (x.shape[1] - WINDOW) // FRAME_SHIFT + 1)
    if not count:
        return x.new_zeros((len(x), 0, 3 * NUM_COEFFICIENTS), dtype=torch.float32)
    if extent is None:
        extent = torch.full_like(x[:, 0], x.shape[1], dtype=torch.int64)
    own = ((extent - WINDOW).div(FRAME_SHIFT, rounding_mode="floor") + 1).clamp(min=0)
    with torch.autocast(x.device.type, enabled=False):
        static = _static_coefficients(x.float())
        first = _slopes(static, own)
        parts = torch.cat([static, first, _slopes(first, own)], dim=2)
    real = torch.arange(count, device=x.device) < own[:, None]
    return parts.masked_fill(~real[..., None], 0.0)


def mfcc_frames(batch: AudioBatch) -> tuple[Float32[Tensor, "b t 39"], Bool[Tensor, "b t"]]:
    """Return the MFCC of every second frame, at the encoder's frames, and a mask of real frames.

    Frame t of `types.frames` begins at sample 320 t, as frame 2 t of `compute_mfcc` does. In a
    piece of a longer recording, the differences of the outermost four frames do not see beyond it.
    """
    features = compute_mfcc(batch.x, batch.extent)[:, ::2]
    frame = torch.arange(features.shape[1], device=features.device)
    if batch.extent is None:
        return features, torch.ones_like(frame, dtype=torch.bool).expand(features.shape[:2])
    last = (batch.extent - WINDOW).div(2 * FRAME_SHIFT, rounding_mode="floor")
    return features, frame <= last[:, None]


def _static_coefficients(x: Float32[Tensor, "b s"]) -> Float32[Tensor, "b m 13"]:
    window, bands, cosines = (table.to(x.device) for table in _tables())
    frames = x.unfold(1, WINDOW, FRAME_SHIFT)
    frames = frames - frames.mean(dim=2, keepdim=True)
    # the sample before a frame's first is that first sample again, as in Kaldi, where the window is
    # 0
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
    frames = (frames - PREEMPHASIS * before) * window
    power = torch.fft.rfft(frames, n=FFT_SIZE).abs().square()
    cepstra: Tensor = (power @ bands).clamp(min=ENERGY_FLOOR).log() @ cosines
    return cepstra


def _slopes(x: Float32[Tensor, "b m d"], own: Int64[Tensor, "b"]) -> Float32[Tensor, "b m d"]:
    """Return the slope of a line through five frames; a row's first and last frame are repeated."""
    frame = torch.arange(x.shape[1], device=x.device)
    last = (own - 1).clamp(min=0)[:, None]

    def shifted(by: int) -> Tensor:
        where = torch.minimum((frame + by).clamp(min=0)[None], last)
        return x.gather(1, where[..., None].expand(-1, -1, x.shape[2]))

    reach = range(1, DIFFERENCE_REACH + 1)
    slope = sum((n * (shifted(n) - shifted(-n)) for n in reach), start=x.new_zeros(()))
    return slope / (2 * sum(n * n for n in reach))


@cache
def _tables() -> tuple[Tensor, Tensor, Tensor]:
    """Return window (400,), mel bands (257, 23), cosine transform with lifter (23, 13); float32."""
    sample = torch.arange(WINDOW, dtype=torch.float64)
    # Povey's window: Hann's, which ends at zero, to the power 0.85
    window = (0.5 - 0.5 * (2 * math.pi * sample / (WINDOW - 1)).cos()) ** 0.85
    return window.float(), _mel_bands().float(), _cosines().float()


def _hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * (1.0 + hertz / 700.0).log()


def _mel_bands() -> Float[Tensor, "257 23"]:
    """Return triangles that are straight on the mel scale, each between its neighbors' peaks."""
    ends = _hertz_to_mel(torch.tensor([MIN_HERTZ, MAX_HERTZ], dtype=torch.float64))
    edges = torch.linspace(0, 1, NUM_BANDS + 2, dtype=torch.float64) * (ends[1] - ends[0]) + ends[0]
    mel = _hertz_to_mel(torch.arange(FFT_SIZE // 2 + 1, dtype=torch.float64) * RATE / FFT_SIZE)[
        :, None
    ]
    low, top, high = edges[:-2], edges[1:-1], edges[2:]
    up, down = (mel - low) / (top - low), (high - mel) / (high - top)
    return torch.minimum(up, down).clamp(min=0)


def _cosines() -> Float[Tensor, "23 13"]:
    """Return the orthonormal DCT-II; Kaldi's lifter evens out the sizes of the coefficients."""
    order = torch.arange(NUM_COEFFICIENTS, dtype=torch.float64)
    band = torch.arange(NUM_BANDS, dtype=torch.float64)[:, None]
    table = (math.pi / NUM_BANDS * (band + 0.5) * order).cos() * math.sqrt(2 / NUM_BANDS)
    table[:, 0] = math.sqrt(1 / NUM_BANDS)
    return table * (1 + LIFTER / 2 * (math.pi * order / LIFTER).sin())
