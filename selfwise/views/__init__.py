"""Views of images, text and sound, as functions of tensors and a seed."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from selfwise.core.rng import Rng, generator
from selfwise.core.types import ImageBatch

__all__ = ["simclr"]

Images = UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]


def simclr(
    images: Images,
    *,
    seed: int = 0,
    size: int | None = None,
    crop: float = 0.08,
    flip: float = 0.5,
    strength: float | None = None,
    blur: float | None = None,
) -> tuple[Float[Tensor, "b c s s"], Float[Tensor, "b c s s"]]:
    """Two augmentations of each image, as SimCLR makes them (arXiv:2002.05709, appendix A).

    Args:
        images: (b, c, h, w), uint8 in 0..255 or float in 0..1, of one or three channels.
        seed: every draw is a function of it; a training loop passes the number of the step.
        size: side of the views in px; by default the shorter side of the images.
        crop: smallest share of the image's area that a crop may show.
        flip: probability of a horizontal flip.
        strength: of the colour jitter; by default 1, and 0.5 up to 64 px.
        blur: probability of Gaussian blur; by default 0.5, and 0 up to 64 px.

    Returns two float tensors (b, c, size, size) on the device of the images.
    """
    from selfwise.views.image.augment import build_simclr_augment  # text needs none of it

    side = size or min(images.shape[2:])
    augment = build_simclr_augment(side, crop=crop, flip=flip, strength=strength, blur=blur)
    rows = torch.arange(len(images), device=images.device)
    rng = Rng(generator(seed, "views"), seed=seed)
    batch = ImageBatch(images, rows)
    return augment(batch, rng), augment(batch, rng)
