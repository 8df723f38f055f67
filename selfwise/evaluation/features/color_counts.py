"""Which colours images are made of, as colorization counts them."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selfwise.core.rng import shuffled
from selfwise.data.image import Images
from selfwise.evaluation.features.image import iterate_views
from selfwise.views.image.color_bins import (
    BINS,
    has_color,
    smooth_prior,
    soft_encode,
    subsample_pixels,
)
from selfwise.views.image.color_space import rgb_to_lab

__all__ = ["BINS", "MAX_IMAGES", "count_color_bins", "smooth_prior"]

MAX_IMAGES = 2_000  # images that are read: 128,000 pixels of CIFAR, 6 million of photos of 224 px
BATCH_SIZE = 100
SEED = 0  # a function of the images alone: runs of several seeds share it


def count_color_bins(images: Images, *, size: int) -> tuple[Float[Tensor, "q"], int, int]:
    """How often each bin is the nearest, of how many coloured images, and how many were read.

    A fixed sample at the size of training, every fourth pixel down and across, gray images left
    out: the pixels that the loss reads.
    """
    drawn = np.sort(shuffled(len(images), SEED, "colors")[:MAX_IMAGES])
    counts, kept = torch.zeros(BINS, dtype=torch.float64), 0
    for x in iterate_views(images, np.array_split(drawn, -(-len(drawn) // BATCH_SIZE)), size=size):
        ab = rgb_to_lab(subsample_pixels(x))[:, 1:]
        ab = ab[has_color(ab)]
        nearest = soft_encode(ab.permute(0, 2, 3, 1), 1)[0]
        counts += torch.bincount(nearest.flatten(), minlength=BINS)
        kept += len(ab)
    return counts, kept, len(drawn)
