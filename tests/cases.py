"""One small method and one small batch per modality, for the tests of what all methods share."""

from inspect import signature

import torch
import torch.nn.functional as F

from selfwise import methods
from selfwise.encoders import vision
from selfwise.methods import Method
from selfwise.rng import generator, seeded
from selfwise.types import Batch, ImageBatch, Labelled

SIZE = 16
# timm starts each block's last norm at 0, which would hide the rest of the block from gradients
TINY = {"layers": [1, 1, 1, 1], "channels": [8, 16, 16, 32], "zero_init_last": False}


def tiny_encoder(seed: int = 0, **options):
    options = {**TINY, **options}
    return vision.build("resnet18", in_channels=3, size=SIZE, seed=seed, **options)


def build(name: str, **options) -> Method:
    """The method with a tiny encoder, and what run.py would supply."""
    kind = methods.find(name)
    supplied = {"size": SIZE, "classes": 4}
    wanted = signature(kind).parameters
    own = {n: v for n, v in supplied.items() if n in wanted} | options
    with seeded(0, "method"):
        return kind(tiny_encoder(), **own)


def batch(kind: type[Method], n: int = 16) -> Batch:
    """Structured images: smooth colour fields, each unlike the others; never plain noise."""
    field = torch.rand(n, 3, 4, 4, generator=generator(0, "images"))
    x = F.interpolate(field, SIZE, mode="bilinear", align_corners=False)
    images = ImageBatch((x * 255).round().to(torch.uint8), torch.arange(n))
    return Labelled(images, torch.arange(n) % 4) if kind.labelled else images


def tensors(tree) -> list[torch.Tensor]:
    """All tensors of nested NamedTuples."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [t for part in tree for t in tensors(part)] if isinstance(tree, tuple) else []
