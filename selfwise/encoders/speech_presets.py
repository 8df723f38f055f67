"""The settings and sizes of HuBERT's speech encoder.

Base and Large are those of "HuBERT", Hsu et al. 2021 (arXiv:2106.07447), Table I; the others are
ours, for small data and for CPUs. Where paper and code differ:

- Attention heads of Base: 8 in the paper, 12 in fairseq and in all published weights. We take 12.
- The wave of Large has mean 0 and variance 1. fairseq adds 1e-5 to the variance and transformers
  1e-7, which matters for quiet clips. We follow transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from selfwise.core.errors import did_you_mean
from selfwise.core.ranges import NonNegativeFloat, PositiveFloat, PositiveInt
from selfwise.encoders.option_checks import (
    DropProbability,
    Option,
    build_shape,
    check_divides,
    check_options,
)


@dataclass(frozen=True)
class SpeechShape:
    """Everything that decides on the weights of a speech encoder and how they are used.

    Args:
        depth: number of layers.
        dim: width.
        heads: attention heads of each layer; they divide `dim`.
        ff: width inside the MLP; by default 4 times `dim`.
        stem: "wave", seven convolutions, or "logmel", which is several times faster.
        stem_norm: of the wave stem: "group" after its first convolution, "layer" after each.
        stem_dim: channels of the wave stem.
        stem_bias: biases in the wave stem.
        stem_grad: what the gradient into the stem is multiplied by; 0: the stem is not trained.
        mels: filters of the log-mel stem.
        mel_norm: "clip": each filter over its clip; "fixed": the same for all clips.
        normalize: whether each clip is first given mean 0 and variance 1.
        position_kernel: frames that the convolution for positions sees.
        position_groups: its groups; they divide `dim`.
        norm: "post" or "pre": where the LayerNorm of each part is.
        eps: of every LayerNorm outside of the stem.
        activation: of the MLPs: gelu, gelu_tanh or relu.
        dropout: of what the first layer gets and of what each part adds.
        input_dropout: of the frames, before any is masked.
        attention_dropout: of attention weights.
        layerdrop: probability that a layer is left out of a training step (arXiv:1909.11556).
    """

    depth: PositiveInt
    dim: PositiveInt
    heads: PositiveInt
    ff: PositiveInt
    stem: Literal["wave", "logmel"] = "wave"
    stem_norm: Literal["group", "layer"] = "group"
    stem_dim: PositiveInt = 512
    stem_bias: bool = False
    stem_grad: NonNegativeFloat = 0.1
    mels: PositiveInt = 80
    mel_norm: Literal["clip", "fixed"] = "clip"
    normalize: bool = False
    position_kernel: PositiveInt = 128
    position_groups: PositiveInt = 16
    norm: Literal["post", "pre"] = "post"
    eps: PositiveFloat = 1e-5
    activation: Literal["gelu", "gelu_tanh", "relu"] = "gelu"
    dropout: DropProbability = 0.1
    input_dropout: DropProbability = 0.1
    attention_dropout: DropProbability = 0.1
    layerdrop: DropProbability = 0.0


def _preset(depth: int, dim: int, heads: int, **other: Option) -> dict[str, Option]:
    return {"depth": depth, "dim": dim, "heads": heads, **other}


SIZES: dict[str, dict[str, Option]] = {
    "tiny": _preset(2, 64, 2, stem_dim=32, position_kernel=16, position_groups=4),
    "mini": _preset(4, 256, 4, stem_dim=128, position_kernel=32),
    "small": _preset(8, 384, 6, stem_dim=256, position_kernel=64),
    "base": _preset(12, 768, 12, layerdrop=0.05),
    "large": _preset(
        depth=24,
        dim=1024,
        heads=16,
        stem_norm="layer",
        stem_grad=1.0,
        normalize=True,
        norm="pre",
        dropout=0.0,
        input_dropout=0.0,
        attention_dropout=0.0,
    ),
}


def list_speech_encoders() -> list[str]:
    """List hubert-SIZE for every size; hubert alone is its base."""
    return [f"hubert-{size}" for size in SIZES]


def resolve_speech_shape(name: str, options: Mapping[str, Any]) -> SpeechShape:
    """Resolve a preset; options replace values of the preset.

    Raises ValueError with one sentence for an unknown name or option, and for values that do
    not go together.
    """
    family, _, size = name.partition("-")
    if family != "hubert" or (size or "base") not in SIZES:
        near = did_you_mean(name, [*list_speech_encoders(), "hubert"])
        raise ValueError(f"unknown speech encoder {name!r}{near}")
    check_options(name, SpeechShape, options)
    settings = SIZES[size or "base"] | dict(options)
    shape = build_shape(SpeechShape, {"ff": 4 * settings["dim"]} | settings)
    parts = {"heads": "heads", "position_groups": "position groups"}
    check_divides(name, shape, parts)
    return shape
