"""Which colours images are made of, as colorization counts them."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selfwise.core.rng import shuffled
from selfwise.data.image import Images
from selfwise.evaluation.features.image import views
from selfwise.views.image.color_bins import BINS, colored, smoothed, soft_encode, thinned
from selfwise.views.image.color_space import rgb_to_lab

__all__ = ["BINS", "MOST", "occurrences", "smoothed"]

MOST = 2_000  # images that are read: 128,000 pixels of CIFAR, 6 million of photos of 224 px
AT_ONCE = 100
SEED = 0  # a function of the images alone: runs of several seeds share it


def occurrences(images: Images, *, size: int) -> tuple[Float[Tensor, "q"], int, int]:
    """How often each bin is the nearest, of how many coloured images, and how many were read.

    A fixed sample at the size of training, every fourth pixel down and across, gray images left
    out: the pixels that the loss reads.
    """
    drawn = np.sort(shuffled(len(images), SEED, "colors")[:MOST])
    counts, kept = torch.zeros(BINS, dtype=torch.float64), 0
    for x in views(images, np.array_split(drawn, -(-len(drawn) // AT_ONCE)), size=size):
        ab = rgb_to_lab(thinned(x))[:, 1:]
        ab = ab[colored(ab)]
        nearest = soft_encode(ab.permute(0, 2, 3, 1), 1)[0]
        counts += torch.bincount(nearest.flatten(), minlength=BINS)
        kept += len(ab)
    return counts, kept, len(drawn)
