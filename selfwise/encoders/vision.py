"""Image encoders: any timm model, with a stem for small images."""

from typing import Any

import timm
from jaxtyping import Float
from torch import Tensor, nn

from selfwise.names import nearest
from selfwise.rng import seeded
from selfwise.types import Features

STEMS = ("auto", "timm", "cifar", "half")


class Vision(nn.Module):
    """A timm model without its classifier.

    Args:
        name: of a timm model, such as resnet18 or vit_small_patch16_224.
        in_channels: of the images, 1 or 3.
        size: side of the images in pixels.
        stem: for ResNets on small images. `cifar` (SimCLR, appendix B.9): 3x3 convolution with
            stride 1 and no max-pool; `half`: the same with stride 2, a quarter of the cost;
            `timm`: as it is. `auto`: cifar up to 64 px where the model is a ResNet.
        options: what the timm model takes besides, such as layers, channels, drop_path_rate.
    """

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        size: int = 224,
        stem: str = "auto",
        **options: Any,
    ):
        super().__init__()
        self.model: Any = _create(name, in_channels, size, options)
        _fit_stem(self.model, name, _resolve(stem, self.model, size))
        self.dim: int = self.model.num_features

    def forward(self, x: Float[Tensor, "b c h w"]) -> Features:
        features = self.model.forward_features(x)
        pooled = self.model.forward_head(features, pre_logits=True)
        return Features(pooled, *_tokens(self.model, features))

    def hidden(self, x: Float[Tensor, "b c h w"]) -> list[Features]:
        """Mean-pooled feature maps of every stage (ResNet) or block (ViT)."""
        maps = self.model.forward_intermediates(x, intermediates_only=True, output_fmt="NCHW")
        return [_from_map(m) for m in maps]


def _create(name: str, channels: int, size: int, options: dict[str, Any]) -> Any:
    if not timm.is_model(name):
        raise ValueError(f"unknown encoder {name!r}{nearest(name, timm.list_models())}")
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        options = {"img_size": size, **options}
    try:
        return timm.create_model(name, in_chans=channels, num_classes=0, **options)
    except TypeError as error:
        unknown = str(error).rpartition("argument ")[2]
        raise ValueError(f"encoder {name} has no option {unknown}") from error
    except AssertionError as error:
        raise ValueError(f"encoder {name} does not fit {size} px images: {error}") from error


def _resolve(stem: str, model: Any, size: int) -> str:
    if stem not in STEMS:
        raise ValueError(f"unknown stem {stem!r}{nearest(stem, STEMS)}")
    if stem == "auto":
        return "cifar" if size <= 64 and _has_stem(model) else "timm"
    return stem


def _has_stem(model: Any) -> bool:
    return isinstance(getattr(model, "conv1", None), nn.Conv2d) and hasattr(model, "maxpool")


def _fit_stem(model: Any, name: str, stem: str) -> None:
    if stem == "timm":
        return
    if not _has_stem(model):
        raise ValueError(f"stem {stem!r} is for ResNets; {name} has no stem that it could replace")
    old = model.conv1
    stride = 1 if stem == "cifar" else 2
    model.conv1 = nn.Conv2d(old.in_channels, old.out_channels, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()


def _tokens(model: Any, features: Tensor) -> tuple[Tensor | None, tuple[int, ...] | None]:
    """The features at each position, and the grid of positions, where timm gives them."""
    if features.ndim == 4:
        if features.shape[-1] == model.num_features != features.shape[1]:  # Swin's layout
            features = features.permute(0, 3, 1, 2)
        return features.flatten(2).transpose(1, 2), tuple(features.shape[2:])
    if features.ndim == 3 and hasattr(model, "patch_embed"):
        grid = getattr(model.patch_embed, "grid_size", None)
        return features[:, getattr(model, "num_prefix_tokens", 0) :], grid
    return None, None


def _from_map(x: Float[Tensor, "b c h w"]) -> Features:
    return Features(x.mean(dim=(2, 3)), x.flatten(2).transpose(1, 2), tuple(x.shape[2:]))


def build(name: str, *, in_channels: int, size: int, seed: int = 0, **options: Any) -> Vision:
    """A `Vision` whose random weights are a function of the seed."""
    with seeded(seed, "encoder"):
        return Vision(name, in_channels=in_channels, size=size, **options)
