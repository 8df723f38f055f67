"""Encoders from outside the package: any torch module of images becomes one of ours."""

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from selfwise.core.config_class import Config, drop_none
from selfwise.core.plugins import is_import_path, load_entry_point, load_object
from selfwise.core.rng import init_seed
from selfwise.core.types import Features

GROUP = "selfwise.encoders"  # of entry points

Factory = Callable[..., nn.Module]


def installed_encoders() -> dict[str, EntryPoint]:
    """Encoders of installed packages by name: installing a package is consent to import them."""
    return {point.name: point for point in entry_points(group=GROUP)}


def find_factory(name: str) -> Factory | None:
    """The factory of an encoder that is not ours, by its place or its entry point; else None.

    Raises ValueError if it cannot be imported, or is not callable.
    """
    if name in (points := installed_encoders()):
        factory = load_entry_point(points[name])
    elif is_import_path(name):
        factory = load_object(name)
    else:
        return None
    if isinstance(factory, nn.Module) or not callable(factory):
        raise ValueError(f"encoder {name} must be a class or function that returns a torch module")
    return cast(Factory, factory)


def build_outside_encoder(
    factory: Factory, options: Config, *, in_channels: int, size: int, seed: int
) -> nn.Module:
    """Return an encoder of images by somebody else's factory; its weights are a function of the
    seed.

    The factory gets `in_channels` and `size` where it takes arguments of these names. What it makes
    may return features (b, d), a map (b, c, h, w), tokens (b, n, d), or `Features`.

    Raises ValueError if it returns something else.
    """
    offered = {"in_channels": in_channels, "size": size}
    parameters = inspect.signature(factory).parameters
    facts = {name: value for name, value in offered.items() if name in parameters}
    module = _call_factory(factory, facts | drop_none(options), seed)
    return adapt_image_encoder(module, in_channels=in_channels, size=size)


def build_checked_encoder(
    factory: Factory, options: Config, protocol: type, *, kind: str, seed: int, vocab: int = 0
) -> nn.Module:
    """Return an encoder of text or speech by somebody else's factory, which keeps the contract
    `protocol`.

    The factory of a text encoder gets `vocab` where it takes an argument of that name.

    Raises ValueError naming what the encoder lacks.
    """
    takes_vocab = vocab and "vocab" in inspect.signature(factory).parameters
    facts = {"vocab": vocab} if takes_vocab else {}
    module = _call_factory(factory, facts | drop_none(options), seed)
    check_contract(module, protocol, kind=kind)
    return module


def _call_factory(factory: Factory, arguments: Mapping[str, object], seed: int) -> nn.Module:
    """Return the module of somebody else's factory; its weights are a function of the seed."""
    with init_seed(seed, "encoder"):
        return factory(**arguments)


def adapt_image_encoder(module: nn.Module, *, in_channels: int, size: int) -> nn.Module:
    """Return the module as an encoder of ours; an encoder stays unchanged."""
    if not isinstance(module, nn.Module):
        raise ValueError(f"an encoder must be a torch module, not {type(module).__name__}")
    output = _try_module(module, torch.zeros(2, in_channels, size, size))
    if isinstance(output, Features) and hasattr(module, "dim"):
        return module
    return AdaptedEncoder(module, as_features(output, module).pooled.shape[1])


class AdaptedEncoder(nn.Module):
    """A torch module of images whose outputs become Features.

    Args:
        module: from images (b, c, h, w) in 0..1 to features.
        dim: width of `pooled`.
    """

    def __init__(self, module: nn.Module, dim: int):
        super().__init__()
        self.module, self.dim = module, dim

    def forward(self, x: Float[Tensor, "b c h w"]) -> Features:
        return as_features(self.module(x), self.module)

    def hidden(self, x: Float[Tensor, "b c h w"]) -> list[Features]:
        """Raise ValueError: nothing is known of the layers of somebody else's module."""
        layers = getattr(self.module, "hidden", None)
        if layers is None:
            raise ValueError(
                f"{type(self.module).__name__} does not expose its layers: add a method "
                "hidden(x) that returns the features of each layer"
            )
        return [as_features(output, self.module) for output in layers(x)]


def as_features(output: object, module: nn.Module) -> Features:
    """Return features (b, d), a map (b, c, h, w) or tokens (b, n, d) as Features; positions are
    averaged.

    Raises ValueError for an output of another kind.
    """
    if isinstance(output, Features):
        return output
    if isinstance(output, Tensor) and output.ndim == 2:
        return Features(output)
    if isinstance(output, Tensor) and output.ndim == 4:
        tokens = output.flatten(2).transpose(1, 2)
        return Features(output.mean(dim=(2, 3)), tokens, tuple(output.shape[2:]))
    if isinstance(output, Tensor) and output.ndim == 3:
        return Features(output.mean(dim=1), output)
    what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise ValueError(
        f"the encoder {type(module).__name__} returns {what}; features (b, d), a map "
        "(b, c, h, w), tokens (b, n, d) or selfwise.core.types.Features are supported"
    )


def check_contract(module: nn.Module, protocol: type, *, kind: str) -> None:
    """Raise ValueError naming what an encoder of text or speech lacks."""
    wanted = getattr(protocol, "__protocol_attrs__", None) or {*protocol.__annotations__}
    lacks = sorted(name for name in wanted if not hasattr(module, name))
    if lacks:
        raise ValueError(
            f"an encoder of {kind} needs {', '.join(lacks)}, which {type(module).__name__} does "
            f"not have: see {protocol.__module__}.{protocol.__name__}"
        )


def reset_weights(module: nn.Module) -> nn.Module:
    """Draw all weights of a module again, by the `reset_parameters` of its parts.

    Raises ValueError naming a part that has weights and cannot draw them: an untrained encoder
    needs a factory.
    """
    for name, part in module.named_modules():
        own = [*part.parameters(recurse=False)]
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
        elif own:
            raise ValueError(
                f"the encoder's {name or 'module'} ({type(part).__name__}) has weights but no "
                "reset_parameters, so selfwise cannot build an untrained encoder: pass a function "
                "that returns the encoder instead of the encoder itself"
            )
    return module


@torch.no_grad()
def _try_module(module: nn.Module, images: Float[Tensor, "b c h w"]) -> object:
    modes = [(part, part.training) for part in module.modules()]
    try:
        return module.eval()(images)
    except (RuntimeError, TypeError, ValueError) as error:
        shape = " x ".join(str(n) for n in images.shape)
        raise ValueError(
            f"the encoder {type(module).__name__} does not take images of {shape}: {error}"
        ) from error
    finally:
        for part, training in modes:
            part.training = training
