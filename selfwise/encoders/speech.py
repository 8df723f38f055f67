"""Speech encoders: HuBERT, in front of its transformer convolutions over the wave or log-mels.

HuBERT: Hsu et al. 2021 (arXiv:2106.07447); `speech_presets.py` has the sizes. Unlike fairseq's and
transformers', no output of a clip depends on how far its batch is padded.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from selfwise.core.rng import init_seed
from selfwise.core.types import HOP, WINDOW, AudioBatch, Features, Frames, Term
from selfwise.encoders.speech_presets import list_speech_encoders, resolve_speech_shape
from selfwise.nn.attention import Layout, build_layout
from selfwise.nn.audio_stems import ConvPositions, MelStem, WaveStem, valid_windows
from selfwise.nn.dropout import dropout
from selfwise.nn.transformer import Transformer

__all__ = ["SpeechTransformer", "build_speech_encoder", "count_layers", "list_speech_encoders"]

QUIET = 1e-7  # added to the variance of a wave, as transformers' Wav2Vec2FeatureExtractor does


class SpeechTransformer(nn.Module):
    """A stem with 50 frames a second and a transformer over them; masks fit between the two.

    What is computed at padding means nothing. `pooled` is the mean over the real frames.

    Args:
        name: hubert-SIZE, such as hubert-mini, or hubert alone for its base.
        options: fields of `speech_presets.SpeechShape`, in place of the preset's.

    Raises ValueError with one sentence for a name, an option or values that do not fit.
    """

    def __init__(self, name: str, **options: Any):
        super().__init__()
        shape = resolve_speech_shape(name, options)
        self.name, self.shape, self.dim, self.depth = name, shape, shape.dim, shape.depth
        self.stem: WaveStem | MelStem
        if shape.stem == "wave":
            self.stem = WaveStem(shape.stem_dim, norm=shape.stem_norm, bias=shape.stem_bias)
        else:
            self.stem = MelStem(shape.mels, norm=shape.mel_norm)
        self.stem_norm = nn.LayerNorm(self.stem.dim, eps=shape.eps)
        self.project = nn.Linear(self.stem.dim, shape.dim)
        self.position = ConvPositions(
            shape.dim, kernel=shape.position_kernel, groups=shape.position_groups
        )
        self.norm = nn.LayerNorm(shape.dim, eps=shape.eps) if shape.norm == "post" else None
        self.blocks = Transformer(
            shape.depth,
            shape.dim,
            shape.heads,
            shape.ff,
            norm=shape.norm,
            eps=shape.eps,
            layerdrop=shape.layerdrop,
            activation=shape.activation,
            dropout=shape.dropout,
            attention_dropout=shape.attention_dropout,
        )
        _initialise(self)

    def forward(self, batch: AudioBatch) -> Features:
        frames, valid = self._embed_frames(batch)
        return self.trunk(frames.tokens, valid)

    def hidden(self, batch: AudioBatch) -> list[Features]:
        """Return the output of every layer; the final norm of "pre" is part of the last one
        alone."""
        frames, valid = self._embed_frames(batch)
        x, layout = self._add_positions(frames.tokens, valid)
        return [_features(tokens, valid) for tokens in self.blocks.all_layers(x, layout)]

    def layers(self, batch: AudioBatch) -> list[Float[Tensor, "b t d"]]:
        """Return the input of the first layer and the output of every layer, as hidden_states."""
        frames, valid = self._embed_frames(batch)
        x, layout = self._add_positions(frames.tokens, valid)
        return [x, *self.blocks.all_layers(x, layout)]

    def embed(self, batch: AudioBatch) -> Frames:
        """Return the frames of a batch, before positions. Raises ValueError where not one fits
        in."""
        x, extent = batch.x, batch.extent
        if x.shape[1] < WINDOW:
            raise ValueError(
                f"encoder {self.name} needs clips of at least {WINDOW} samples, a frame of 25 ms, "
                f"not {x.shape[1]}"
            )
        if extent is not None:
            x = x.masked_fill(torch.arange(x.shape[1], device=x.device) >= extent[:, None], 0.0)
        x = _standardize(x, extent) if self.shape.normalize else x
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.shape.stem_grad > 0):
            x = self.stem(x, extent)
        x = x if self.shape.stem_grad == 1 else _ScaleGradient.apply(x, self.shape.stem_grad)
        valid = valid_windows(extent, x, window=WINDOW, hop=HOP)
        if valid is None:
            valid = x.new_ones(x.shape[:2], dtype=torch.bool)
        power = _power(x, valid)
        x = self.project(self.stem_norm(x))
        return Frames(self._drop(x, self.shape.input_dropout), valid, power)

    def trunk(
        self, tokens: Float[Tensor, "b t d"], valid: Bool[Tensor, "b t"] | None = None
    ) -> Features:
        """Return positions and layers. Where `valid` is None all frames are real, which costs
        less."""
        x, layout = self._add_positions(tokens, valid)
        return _features(self.blocks(x, layout), valid)

    def forward_at(
        self,
        tokens: Float[Tensor, "b t d"],
        valid: Bool[Tensor, "b t"] | None,
        where: Int64[Tensor, "b k"],
    ) -> Float[Tensor, "b k d"]:
        """`trunk(tokens, valid).tokens` at the frames `where`, by `Transformer.forward_at`."""
        x, layout = self._add_positions(tokens, valid)
        return self.blocks.forward_at(x, layout, where)

    def _embed_frames(self, batch: AudioBatch) -> tuple[Frames, Bool[Tensor, "b t"] | None]:
        frames = self.embed(batch)
        return frames, None if batch.extent is None else frames.valid

    def _add_positions(
        self, x: Tensor, valid: Tensor | None
    ) -> tuple[Float[Tensor, "b t d"], Layout]:
        """Return the input of the first layer, and which frames see each other."""
        if valid is not None and valid.device.type == "cpu" and bool(valid.all()):
            valid = None  # elsewhere a look would wait for the device
        if valid is not None:  # a convolution reaches from real frames into the padding
            x = x.masked_fill(~valid[..., None], 0.0)
        x = x + self.position(x)
        x = self._drop(x if self.norm is None else self.norm(x), self.shape.dropout)
        attention_dropout = self.shape.attention_dropout if self.training else 0.0
        return x, build_layout(x, valid=valid, dropout=attention_dropout)

    def _drop(self, x: Tensor, share: float) -> Tensor:
        return dropout(x, share) if self.training else x


def build_speech_encoder(name: str, *, seed: int = 0, **options: Any) -> SpeechTransformer:
    """Build a `SpeechTransformer` whose random weights are a function of the seed."""
    with init_seed(seed, "encoder"):
        return SpeechTransformer(name, **options)


def count_layers(name: str, **options: Any) -> int:
    """Count the layers of an encoder without building it. Raises ValueError as a build does."""
    return resolve_speech_shape(name, options).depth


class _ScaleGradient(torch.autograd.Function):
    """x itself, with another gradient; fairseq's GradMultiply."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, by: float) -> Tensor:
        ctx.by = by
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.by, None


def _standardize(
    x: Float[Tensor, "b s"], extent: Int64[Tensor, "b"] | None
) -> Float[Tensor, "b s"]:
    """Return the mean 0 and variance 1 over the real samples; beyond them 0."""
    if extent is None:
        mean = x.mean(dim=1, keepdim=True)
        return (x - mean) * (x.var(dim=1, correction=0, keepdim=True) + QUIET).rsqrt()
    count = extent.clamp_min(1)[:, None]
    valid = torch.arange(x.shape[1], device=x.device) < count
    x = (x - x.sum(dim=1, keepdim=True) / count) * valid
    return x * (x.square().sum(dim=1, keepdim=True) / count + QUIET).rsqrt()


def _power(x: Float[Tensor, "b t c"], valid: Bool[Tensor, "b t"]) -> Term:
    """Return the mean square of the stem's output, the feature penalty of fairseq's HuBERT."""
    square = x.float().square().sum(dim=-1)
    return Term((square * valid).sum(), valid.sum().float() * x.shape[-1])


def _features(tokens: Float[Tensor, "b t d"], valid: Bool[Tensor, "b t"] | None) -> Features:
    wide = torch.promote_types(tokens.dtype, torch.float32)
    if valid is None:
        pooled = tokens.mean(dim=1, dtype=wide)
    else:
        share = valid.to(wide) / valid.sum(dim=1, keepdim=True).clamp_min(1)
        pooled = (tokens * share[..., None]).sum(dim=1)
    return Features(pooled, tokens, (tokens.shape[1],))


@torch.no_grad()
def _initialise(model: SpeechTransformer) -> None:
    """N(0, 0.02) in the layers, biases 0, as BERT; the stem's parts draw their own.

    The projection keeps torch's own uniform numbers, as in fairseq: transformers draws N(0, 0.02).
    """
    for module in model.blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
