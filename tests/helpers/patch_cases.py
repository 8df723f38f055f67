"""Tiny encoders of patches and units that one can compute by hand, for the tests."""

import torch
import torch.nn.functional as F

from selfwise.encoders import beit as beit_encoders
from selfwise.encoders import image_codec as image_codec

SIZE, PATCH, DIM = 16, 4, 32
PLAIN = {"dim": DIM, "heads": 2, "depth": 2, "patch": PATCH, "drop_path": 0.0}


class Brightness:
    """The unit of a patch is its mean brightness, in so many steps."""

    def __init__(self, size: int = 8, patch: int = PATCH):
        self.size, self.patch = size, patch

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        mean = F.avg_pool2d(x.mean(dim=1, keepdim=True), self.patch)
        return (mean.flatten(1) * self.size).long().clamp_max(self.size - 1)


def tiny_vit(**options):
    return beit_encoders.build_beit_encoder(
        "beit-tiny", in_channels=3, size=SIZE, **{**PLAIN, **options}
    )


def tiny_codec(**options):
    told = {"width": DIM, "dim": DIM, "patch": PATCH, **options}
    return image_codec.build_codec_encoder("codec-tiny", in_channels=3, size=SIZE, **told)


def encoder(name: str):
    """The tiny encoder of the family of an encoder's name; None for families of others."""
    return {"beit": tiny_vit, "codec": tiny_codec}.get(name.partition("-")[0])
