"""Image encoders: any timm model, with a stem for small images."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from math import prod
from textwrap import shorten
from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from selfwise.core.errors import did_you_mean
from selfwise.core.rng import init_seed
from selfwise.core.types import Features
from selfwise.nn.strided_conv import guard_small_maps
from selfwise.views.image.color_space import lightness

STEMS = ("auto", "timm", "cifar", "half")
NORMALIZE = ("auto", "unit", "timm")
SEES = ("color", "lightness")

_FILES = "timm does not load files; for your own weights use --init-from"
REFUSED = {
    "in_chans": "the images determine the channels",
    "num_classes": "an encoder has no classes",
    "patch_drop_rate": "the positions would differ between training and evaluation",
    **dict.fromkeys(("checkpoint_path", "cache_dir"), _FILES),
    **dict.fromkeys(("pretrained_cfg", "pretrained_cfg_overlay"), _FILES),
}

# what timm and torch raise where options, size and channels do not go together
_BUILD_ERRORS = (RuntimeError, AssertionError, AttributeError, TypeError, ValueError)
_BUILD_ERRORS += (LookupError, ArithmeticError)  # type: ignore[assignment]


class TimmEncoder(nn.Module):
    """A timm model without its classifier.

    `dim` is the width of `pooled`; in models with a layer between pooling and classifier, such as
    MobileNetV3, `tokens` come before that layer and have a width of their own.

    Args:
        name: of a timm model, such as resnet18 or vit_small_patch16_224.
        in_channels: of the images, 1 or 3.
        size: side of the images in pixels.
        stem: for ResNets on small images. `cifar` (SimCLR, appendix B.9): 3x3 convolution with
            stride 1 and no max-pool; `half`: the same with stride 2, a quarter of the cost;
            `timm`: unchanged. `auto`: cifar up to 64 px where the model is a ResNet whose weights
            are not published ones.
        pretrained: start from timm's published weights, which are downloaded once.
        normalize: `unit`: the values stay in [0, 1]; `timm`: they are brought to the mean and
            standard deviation that the published weights expect. `auto`: timm if pretrained. Or
            these themselves, as imported weights have them: two lists, a number for each channel.
        color_space: `color`: the channels as they are; `lightness`: only L of Lab, as 0 to 1,
            whatever the channels of the images. A method that is trained to guess colors asks for
            it.
        options: what the timm model takes besides, such as layers, channels, drop_path_rate.

    Raises ValueError with one sentence for a model that cannot be built or does not fit the
    images: two black ones are passed through it.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        size: int = 224,
        stem: str = "auto",
        pretrained: bool = False,
        normalize: str | Sequence[Sequence[float]] = "auto",
        color_space: str = "color",
        **options: Any,
    ):
        super().__init__()
        _check_options(
            name,
            options,
            stem=stem,
            pretrained=pretrained,
            normalize=normalize,
            color_space=color_space,
        )
        timm_options = options | ({"pretrained": True} if pretrained else {})
        with _explain_errors(name, in_channels, size, timm_options):
            channels = 1 if color_space == "lightness" else in_channels
            self.model: Any = _create_model(name, channels, size, timm_options)
        self.name, self.color_space, self.stem = (
            name,
            color_space,
            _resolve_stem(stem, self.model, size, pretrained),
        )
        _replace_stem(self.model, name, self.stem)
        guard_small_maps(self.model)
        mean, std = _channel_statistics(self.model, normalize, pretrained, channels)
        # constants of the model's name, so they are not saved with the weights
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        with _explain_errors(name, in_channels, size, timm_options):
            self.dim: int = _measure_width(self, torch.zeros(2, in_channels, size, size))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Features:
        features = self.model.forward_features(self._normalise_images(x))
        pooled = self.model.forward_head(features, pre_logits=True)
        return Features(pooled, *_split_tokens(self.model, features, x.shape[2:]))

    def hidden(self, x: Float[Tensor, "b c h w"]) -> list[Features]:
        """Mean-pooled feature maps of every stage (ResNet) or block (ViT).

        Raises ValueError for one of the few timm models that do not show them.
        """
        if not hasattr(self.model, "forward_intermediates"):
            raise ValueError(f"encoder {self.name} does not expose its layers, only the last one")
        x = self._normalise_images(x)
        maps = self.model.forward_intermediates(x, intermediates_only=True, output_fmt="NCHW")
        return [_from_map(m) for m in maps]

    def _normalise_images(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b seen h w"]:
        x = lightness(x) / 100 if self.color_space == "lightness" else x
        return x if self.mean is None or self.std is None else (x - self.mean) / self.std


def build_image_encoder(
    name: str, *, in_channels: int, size: int, seed: int = 0, **options: Any
) -> TimmEncoder:
    """Build a `TimmEncoder` whose random weights are a function of the seed."""
    with init_seed(seed, "encoder"):
        return TimmEncoder(name, in_channels=in_channels, size=size, **options)


def enable_residual_blocks(encoder: TimmEncoder) -> TimmEncoder:
    """Set the norms that start at 0 to 1, in place, and return the encoder.

    timm starts the last norm of each residual block at 0 to help training: the block then adds
    nothing. An untrained encoder without its blocks would be a baseline that is too weak.
    """
    with torch.no_grad():
        for module in encoder.modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, nn.Parameter) and weight.ndim == 1 and not weight.any():
                weight.fill_(1.0)
    return encoder


def without_pretrained_weights(options: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the published weights from the options of an encoder.

    Stem and normalization stay those of the pretrained encoder, so that the two differ in their
    weights alone, and their state dicts fit each other.
    """
    untrained = {name: option for name, option in options.items() if name != "pretrained"}
    if options.get("pretrained"):
        names = ("stem", "normalize")
        untrained |= {n: "timm" for n in names if untrained.get(n, "auto") == "auto"}
    return untrained


def _check_options(
    name: str,
    options: Mapping[str, Any],
    *,
    stem: str,
    pretrained: bool,
    normalize: str | Sequence[Sequence[float]],
    color_space: str,
) -> None:
    """Raise ValueError for errors that show without building the encoder."""
    if not timm.is_model(name):
        raise ValueError(f"unknown encoder {name!r}{did_you_mean(name, timm.list_models())}")
    _check_choice("stem", stem, STEMS)
    if isinstance(normalize, str):
        _check_choice("normalize", normalize, NORMALIZE)
    else:
        _check_statistics(normalize)
    _check_choice("color_space", color_space, SEES)
    if not isinstance(pretrained, bool):
        raise ValueError(f"pretrained must be true or false, not {pretrained!r}")
    for option in REFUSED.keys() & options.keys():
        raise ValueError(f"encoder option {option!r} is not available: {REFUSED[option]}")


def _check_choice(option: str, choice: str, allowed: Sequence[str]) -> None:
    if choice not in allowed:
        choice = str(choice)
        raise ValueError(
            f"unknown {option} {choice!r} of the encoder{did_you_mean(choice, allowed)}"
        )


def _check_statistics(normalize: Sequence[Sequence[float]]) -> None:
    """Raise ValueError unless these are the means and the deviations of the same channels."""
    numbers = isinstance(normalize, Sequence) and all(
        isinstance(part, Sequence) and all(type(number) in (int, float) for number in part)
        for part in normalize
    )
    if (
        not numbers
        or len(normalize) != 2
        or len(normalize[0]) != len(normalize[1])
        or not len(normalize[0])
    ):
        raise ValueError(
            f"normalize must be {', '.join(NORMALIZE)} or two lists of numbers, the mean and the "
            f"standard deviation of each channel, not {normalize!r}"
        )
    if not all(deviation > 0 for deviation in normalize[1]):
        raise ValueError(f"normalize: deviations must be above 0, not {list(normalize[1])}")


def _create_model(name: str, channels: int, size: int, options: Mapping[str, Any]) -> nn.Module:
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        options = {"img_size": size, **options}
    return timm.create_model(name, in_chans=channels, num_classes=0, **options)


@contextmanager
def _explain_errors(
    name: str, channels: int, size: int, options: Mapping[str, Any]
) -> Iterator[None]:
    """Turn errors of timm into a ValueError that names the misfit and quotes timm."""
    try:
        yield
    except OSError as error:  # all that the hub and the network raise
        raise ValueError(
            f"the published weights of {name} are not in the cache and could not be fetched; "
            f"leave out pretrained, or connect to the internet once ({_shorten_error(error)})"
        ) from error
    except _BUILD_ERRORS as error:
        unknown = re.search(r"(\w+)(\.__init__)?\(\) got an unexpected .*'(\w+)'$", str(error))
        if unknown and unknown[3] in options:
            near = did_you_mean(unknown[3], _list_options(name, unknown[1]))
            raise ValueError(f"encoder {name} has no option {unknown[3]!r}{near}") from error
        listed = ", ".join(f"{option}={value!r}" for option, value in options.items())
        channel = f"channel{'s' if channels > 1 else ''}"
        raise ValueError(
            f"encoder {name} does not fit {size} px images with {channels} "
            f"{channel}{listed and f' and {listed}'}: {_shorten_error(error)}"
        ) from error


def _shorten_error(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {error}", 240, placeholder=" ...")


def _list_options(name: str, kind: str) -> list[str]:
    """List the options of the class that refused one, if timm defines it next to the model."""
    refusing = getattr(sys.modules[timm.model_entrypoint(name).__module__], kind, None)
    parameters = signature(refusing).parameters if refusing else ()
    return [option for option in parameters if option not in REFUSED]


def _resolve_stem(stem: str, model: nn.Module, size: int, pretrained: bool) -> str:
    if stem == "auto":
        return "cifar" if size <= 64 and _has_resnet_stem(model) and not pretrained else "timm"
    return stem


def _has_resnet_stem(model: nn.Module) -> bool:
    return isinstance(getattr(model, "conv1", None), nn.Conv2d) and hasattr(model, "maxpool")


def _replace_stem(model: nn.Module, name: str, stem: str) -> None:
    if stem == "timm":
        return
    if not _has_resnet_stem(model):
        raise ValueError(f"stem {stem!r} is for ResNets; {name} has no stem to replace")
    old = model.conv1
    assert isinstance(old, nn.Conv2d)
    stride = 1 if stem == "cifar" else 2
    model.conv1 = nn.Conv2d(old.in_channels, old.out_channels, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()


def _channel_statistics(
    model: nn.Module, normalize: str | Sequence[Sequence[float]], pretrained: bool, channels: int
) -> tuple[Float[Tensor, "c 1 1"] | None, Float[Tensor, "c 1 1"] | None]:
    """Of the images that the weights were trained on, or None; for gray images, the average."""
    if normalize == "unit" or (normalize == "auto" and not pretrained):
        return None, None
    config: Any = model.pretrained_cfg
    numbers = (config["mean"], config["std"]) if isinstance(normalize, str) else normalize
    mean, std = (torch.tensor(part, dtype=torch.float32) for part in numbers)
    if len(mean) != channels:
        mean, std = mean.mean().expand(channels), std.mean().expand(channels)
    return mean[:, None, None].clone(), std[:, None, None].clone()


@torch.no_grad()
def _measure_width(encoder: TimmEncoder, images: Float[Tensor, "b c h w"]) -> int:
    """Return the width of `pooled`: timm has several names for it, and none holds for every
    model."""
    modes = [(part, part.training) for part in encoder.modules()]
    pooled = encoder.eval()(images).pooled
    for part, training in modes:
        part.training = training
    if pooled.ndim != 2:
        raise ValueError(f"the features are not pooled: their shape is {tuple(pooled.shape)}")
    return int(pooled.shape[1])


def _split_tokens(
    model: nn.Module, features: object, size: torch.Size
) -> tuple[Tensor | None, tuple[int, ...] | None]:
    """The features at each position, and the grid of positions, where timm gives them."""
    if not isinstance(features, Tensor):  # branches of several resolutions
        return None, None
    if features.ndim == 4:
        if getattr(model, "output_fmt", "NCHW") == "NHWC":  # Swin and its kin
            features = features.permute(0, 3, 1, 2)
        return features.flatten(2).transpose(1, 2), tuple(features.shape[2:])
    grid = _token_grid(model, size)
    prefix = getattr(model, "num_prefix_tokens", 0)  # class and register tokens come first
    if features.ndim == 3 and grid is not None and features.shape[1] == prefix + prod(grid):
        return features[:, prefix:], grid
    return None, None


def _token_grid(model: nn.Module, size: torch.Size) -> tuple[int, ...] | None:
    """The layout of the patches of a transformer or mixer."""
    parts: list[Any] = [getattr(model, name, None) for name in ("patch_embed", "stem")]
    embeddings = [part for part in parts if hasattr(part, "dynamic_feat_size")]
    return tuple(embeddings[0].dynamic_feat_size(tuple(size))) if embeddings else None


def _from_map(x: Float[Tensor, "b c h w"]) -> Features:
    return Features(x.mean(dim=(2, 3)), x.flatten(2).transpose(1, 2), tuple(x.shape[2:]))
