"""What turns sound into 50 frames a second: convolutions over the wave, or log-mel energies.

"wav2vec 2.0", Baevski et al. 2020 (arXiv:2006.11477), has the seven convolutions that HuBERT
shares. Nothing in a real frame depends on what lies beyond the end of its clip: the windows of
real frames hold real samples only, and norms over time count nothing else.
"""

from math import sqrt

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn

from selfwise.core.device import to_float64
from selfwise.core.types import HOP, RATE, WINDOW

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
EPS = 1e-5  # of the norms inside the stem, whatever the rest of an encoder has
MEL_FRAME = (WINDOW, HOP // 2, 512)  # window, hop and FFT of log-mel energies, in samples
MIN_ENERGY = 1e-8  # no energy counts as less: log-mel energies of silence are -18
LOUDNESS = (-6.0, 4.0)  # mean and deviation of log-mel energies of speech about -1..1, roughly


def valid_windows(
    extent: Int64[Tensor, "b"] | None, like: Float[Tensor, "b n _"], *, window: int, hop: int
) -> Bool[Tensor, "b n"] | None:
    """True where a window is inside its clip as a whole. None means that all windows are."""
    if extent is None:
        return None
    count = torch.div(extent - window, hop, rounding_mode="floor") + 1
    return torch.arange(like.shape[1], device=extent.device) < count[:, None]


def conv1d_channels_last(
    x: Float[Tensor, "b l c"], layer: nn.Conv1d, *, stride: int = 1, padding: int = 0
) -> Float[Tensor, "b m o"]:
    """Return a convolution over time, of signals whose channels lie next to each other in memory.

    In two dimensions, since torch has this layout for them alone. On one CPU core with 192
    channels, forward and backward take 106 ms instead of 237 in bfloat16, 380 of 455 in float32.
    """
    return conv1d_with_weights(x, layer.weight, layer.bias, stride, padding, layer.groups)


def conv1d_with_weights(
    x: Float[Tensor, "b l c"],
    weight: Float[Tensor, "o i k"],
    bias: Float[Tensor, "o"] | None,
    stride: int,
    padding: int,
    groups: int,
) -> Float[Tensor, "b m o"]:
    """`conv1d_channels_last` with weights that do not belong to a layer."""
    image = x[:, None].permute(0, 3, 1, 2)
    convolved = F.conv2d(image, weight[:, :, None], bias, (1, stride), (0, padding), (1, 1), groups)
    return convolved.permute(0, 2, 3, 1)[:, 0]


class WaveStem(nn.Module):
    """Seven convolutions, 320 samples from frame to frame.

    Args:
        dim: channels of each.
        norm: "group": after the first, each channel over time, in each clip by itself; "layer":
            after each, all channels of a moment.
        bias: whether the convolutions have one.
    """

    def __init__(self, dim: int, *, norm: str = "group", bias: bool = False):
        super().__init__()
        self.dim, self.norm = dim, norm
        sizes = zip((1, *[dim] * 6), KERNELS, STRIDES, strict=True)
        convs = [nn.Conv1d(i, dim, k, s, bias=bias) for i, k, s in sizes]
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(
            nn.LayerNorm(dim, eps=EPS) for _ in range(1 if norm == "group" else len(KERNELS))
        )
        for layer in convs:
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(
        self, x: Float[Tensor, "b s"], extent: Int64[Tensor, "b"] | None
    ) -> Float[Tensor, "b t c"]:
        """x is 0 beyond each clip's extent."""
        first, *rest = (layer for layer in self.convs if isinstance(layer, nn.Conv1d))
        x = x.unfold(1, KERNELS[0], STRIDES[0])
        if self.norm == "group":
            norm = self.norms[0]
            assert isinstance(norm, nn.LayerNorm)
            x = group_norm_conv(x, first, norm, extent)
        else:
            x = _project_windows(x, first.weight[None, :, 0], first.bias)
            x = _to_autocast_dtype(self.norms[0](x))
        x = F.gelu(x)
        for i, (layer, stride) in enumerate(zip(rest, STRIDES[1:], strict=True), 1):
            x = conv1d_channels_last(x, layer, stride=stride)
            x = F.gelu(x if self.norm == "group" else _to_autocast_dtype(self.norms[i](x)))
        return x


def group_norm_conv(
    windows: Float[Tensor, "b l k"],
    layer: nn.Conv1d,
    norm: nn.LayerNorm,
    extent: Int64[Tensor, "b"] | None,
) -> Float[Tensor, "b l c"]:
    """Return a convolution over one channel, with each result normalized over the clip's real
    windows.

    What comes out is linear in a window, so its mean and variance follow from those of the
    windows, a matrix k x k, and are part of the weights before anything is multiplied: the
    statistics of a result many times larger are never taken. A bias of the convolution would be
    taken off with the mean. In float64, since speech has little energy where a high-pass listens;
    the result is float32 at least.
    """
    wide = torch.promote_types(windows.dtype, torch.float32)
    with torch.autocast(windows.device.type, enabled=False):
        mean, spread = _window_moments(windows, extent)
        weight = to_float64(layer.weight[:, 0])
        variance = ((weight @ spread) * weight).sum(dim=-1)
        scale = to_float64(norm.weight) * (variance + EPS).rsqrt()
        folded = (weight * scale[..., None]).to(wide).to(windows.device)
        centred = windows.to(wide) - mean.to(wide).to(windows.device)[:, None]
    return _project_windows(centred, folded, norm.bias)


def _project_windows(
    windows: Float[Tensor, "b l k"],
    weight: Float[Tensor, "_ c k"],
    bias: Float[Tensor, "c"] | None,
) -> Float[Tensor, "b l c"]:
    """windows @ weight.T + bias, in the dtype of autocast.

    There the wave is the sum of two numbers with 8 bits (bfloat16) or 11 (float16), since one
    alone would add noise to it. On a CPU the product and its backward pass take 41 ms, and 143 in
    float32 with a conversion, whose results are many times larger than the wave.
    """
    kind = windows.device.type
    start = weight.new_zeros(1, 1, 1) if bias is None else bias[None, None]
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        high, start, weight = windows.to(dtype), start.to(dtype), weight.to(dtype)
        windows = torch.cat([high, (windows - high).to(dtype)], dim=-1)
        weight = torch.cat([weight, weight], dim=-1)
    return torch.baddbmm(start, windows, weight.mT.expand(windows.shape[0], -1, -1))


@torch.no_grad()
def _window_moments(
    windows: Float[Tensor, "b l k"], extent: Int64[Tensor, "b"] | None
) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k k"]]:
    """Return the mean and covariance of the real windows."""
    x = to_float64(windows)
    valid = valid_windows(extent, windows, window=KERNELS[0], hop=STRIDES[0])
    if valid is None:
        mean = x.mean(dim=1)
        x = x - mean[:, None]
        return mean, x.mT @ x / x.shape[1]
    valid = valid.to(x.device)
    count = valid.sum(dim=1).clamp_min(1)[:, None].double()
    mean = (x * valid[..., None]).sum(dim=1) / count
    x = (x - mean[:, None]) * valid[..., None]
    return mean, x.mT @ x / count[..., None]


def _to_autocast_dtype(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """In the dtype of autocast: norms return float32, and what follows would carry it along."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


class MelStem(nn.Module):
    """Log-mel energies, 100 a second, two side by side in each frame. Nothing is trained.

    Args:
        mels: number of triangular filters on the mel scale, from 20 Hz to 8 kHz.
        norm: "clip": each filter over the real energies of its clip; "fixed": by `LOUDNESS`.

    The second half of a frame is 0 where its window is not real as a whole.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, mels: int, *, norm: str = "clip"):
        super().__init__()
        self.dim, self.norm = 2 * mels, norm
        self.register_buffer(
            "window", torch.hann_window(MEL_FRAME[0], periodic=False), persistent=False
        )
        self.register_buffer("filters", mel_filters(mels), persistent=False)

    @torch.no_grad()
    def forward(
        self, x: Float[Tensor, "b s"], extent: Int64[Tensor, "b"] | None
    ) -> Float[Tensor, "b t c"]:
        window, hop, size = MEL_FRAME
        with torch.autocast(x.device.type, enabled=False):
            parts = x.float().unfold(1, window, hop) * self.window
            energy = torch.fft.rfft(parts, n=size).abs().square() @ self.filters
            x = energy.clamp_min(MIN_ENERGY).log()
            valid = valid_windows(extent, x, window=window, hop=hop)
            x = _standardize(x, valid) if self.norm == "clip" else (x - LOUDNESS[0]) / LOUDNESS[1]
            x = x if valid is None else x * valid[..., None]
            pairs: Tensor = F.pad(x, (0, 0, 0, x.shape[1] % 2)).unflatten(1, (-1, 2)).flatten(2)
            return pairs


def _standardize(x: Float[Tensor, "b m c"], valid: Bool[Tensor, "b m"] | None) -> Tensor:
    """Return the mean 0 and variance 1 over time. Not more: a silent clip stays silent."""
    if valid is None:
        mean, variance = x.mean(dim=1), x.var(dim=1, correction=0)
    else:
        count = valid.sum(dim=1, keepdim=True).clamp_min(1)
        mean = (x * valid[..., None]).sum(dim=1) / count
        variance = ((x - mean[:, None]).square() * valid[..., None]).sum(dim=1) / count
    return (x - mean[:, None]) * (variance[:, None] + EPS).rsqrt()


def mel_filters(mels: int, low: float = 20.0) -> Float32[Tensor, "f m"]:
    """Triangles with corners at equal distances on the mel scale (O'Shaughnessy's, as in HTK)."""

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * (1.0 + hertz / 700.0).log()

    ends = mel(torch.tensor([low, RATE / 2], dtype=torch.float64))
    corners = torch.linspace(float(ends[0]), float(ends[1]), mels + 2, dtype=torch.float64)
    mel_of_bin = mel(
        torch.arange(MEL_FRAME[2] // 2 + 1, dtype=torch.float64) * RATE / MEL_FRAME[2]
    )[:, None]
    start, top, end = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (mel_of_bin - start) / (top - start), (end - mel_of_bin) / (end - top)
    return torch.minimum(rising, falling).clamp_min(0).float()


class ConvPositions(nn.Module):
    """Positions as a wide convolution over the frames, with GELU, to be added to them.

    Its weights are `v` with the norm of each step in time set to `g` (weight normalization,
    arXiv:1602.07868). An even kernel gives one frame too many, and the last is left out.
    """

    def __init__(self, dim: int, *, kernel: int, groups: int):
        super().__init__()
        self.groups, self.kernel = groups, kernel
        self.v = nn.Parameter(torch.randn(dim, dim // groups, kernel) * sqrt(4 / (kernel * dim)))
        self.g = nn.Parameter(self.v.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        weight = self.v * (self.g / self.v.norm(dim=(0, 1), keepdim=True))
        embedded = conv1d_with_weights(x, weight, self.bias, 1, self.kernel // 2, self.groups)
        return F.gelu(embedded[:, : x.shape[1]])
