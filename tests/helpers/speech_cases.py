"""Tones whose pitch is the unit, and the plainest encoder of speech, for tests of masked frames."""

import torch
from torch import Tensor, nn

from selfwise.core.rng import generator
from selfwise.core.types import HOP, RATE, WINDOW, AudioBatch, Features, Frames, Term

CLUSTERS, WIDEST = 8, 40  # pitches; frames of the longest row


def samples(frames: int) -> int:
    """The samples of so many frames."""
    return WINDOW + HOP * (frames - 1)


def tones(n: int = 16, *, widest: int = WIDEST, shortest: int = 12, seed: int = 0) -> AudioBatch:
    """Rows of tones, 5 frames each, from `shortest` to `widest` frames; one unit per pitch.

    The rows end in zeros, and their last frames have a few samples to spare.
    """
    draw = generator(seed, "tones")
    pitch = torch.randint(CLUSTERS, (n, widest // 5 + 2), generator=draw)
    phase = torch.rand(n, 1, generator=draw)
    width = samples(widest) + 50
    hertz = 200.0 * 1.4 ** pitch.repeat_interleave(5 * HOP, dim=1)[:, :width]
    x = 0.5 * torch.sin(2 * torch.pi * (hertz.cumsum(dim=1) / RATE + phase))
    count = torch.linspace(widest, shortest, n).round().long()
    extent = WINDOW + HOP * (count - 1) + 50
    x = x * (torch.arange(width) < extent[:, None])
    units = pitch.repeat_interleave(5, dim=1)[:, :widest]
    units = units.masked_fill(torch.arange(widest) >= count[:, None], -1)
    return AudioBatch(x, torch.arange(n), extent, torch.zeros_like(count), units)


class Plain(nn.Module):
    """A speech encoder by hand: each frame's size at some pitches, then a sum over neighbours.

    What a frame sees is plain to say: its own 400 samples and, in the trunk, the frames beside it.
    """

    def __init__(self, dim: int = 16, *, seed: int = 0):
        super().__init__()
        self.dim = dim
        draw = generator(seed, "plain")
        wave = torch.arange(WINDOW)[:, None] / RATE * torch.logspace(2.2, 3.5, dim)
        phase = torch.rand(dim, generator=draw)
        self.stem = nn.Parameter(torch.sin(2 * torch.pi * (wave + phase)) / 50)
        self.mix = nn.Parameter(torch.randn(3, dim, dim, generator=draw) / (3 * dim) ** 0.5)
        self.last = nn.Parameter(torch.randn(dim, dim, generator=draw) / dim**0.5)

    def embed(self, batch: AudioBatch) -> Frames:
        tokens = (batch.x.unfold(1, WINDOW, HOP) @ self.stem).abs()
        b, t, d = tokens.shape
        ends = torch.full((b,), batch.x.shape[1]) if batch.extent is None else batch.extent
        valid = torch.arange(t) * HOP + WINDOW <= ends[:, None]
        tokens = tokens * valid[..., None]
        return Frames(tokens, valid, Term(tokens.square().sum(), valid.sum().float() * d))

    def trunk(self, tokens: Tensor, valid: Tensor) -> Features:
        padded = nn.functional.pad(tokens * valid[..., None], (0, 0, 1, 1))
        mixed = sum(padded[:, i : i + tokens.shape[1]] @ self.mix[i] for i in range(3))
        tokens = mixed.tanh() @ self.last * valid[..., None]
        return Features(tokens.sum(dim=1) / valid.sum(dim=1, keepdim=True), tokens)

    def forward_at(self, tokens: Tensor, valid: Tensor, where: Tensor) -> Tensor:
        found = self.trunk(tokens, valid).tokens
        return found.gather(1, where[..., None].expand(-1, -1, self.dim))

    def forward(self, batch: AudioBatch) -> Features:
        return self.trunk(*self.embed(batch)[:2])

    def hidden(self, batch: AudioBatch) -> list[Features]:
        return [self(batch)]
