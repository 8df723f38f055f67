"""A crop of each image for methods that rebuild or guess it: one view, little color jitter."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from selfwise.core.rng import Rng
from selfwise.core.types import ImageBatch
from selfwise.views.image.augment import CHUNK, crop_boxes, resized_crop
from selfwise.views.image.color_jitter import LEAVE, jitter_colors_, jitter_factors


class Crop(NamedTuple):
    """Random crop, flip, and brightness, contrast and saturation in random order (BEiT, app. G).

    BEiT's code changes the colors of the whole image and crops then (`datasets.py`). Here the
    contrast of the crop changes, which differs in the gray that the contrast is relative to.
    """

    size: int  # side of the view in pixels
    scale: tuple[float, float] = (0.08, 1.0)  # share of the image's area that a crop shows
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height of a crop
    flip: float = 0.5  # probability
    jitter: float = 0.0  # factors are uniform in 1 - jitter to 1 + jitter

    def __call__(self, batch: ImageBatch, rng: Rng) -> Float[Tensor, "b c {self.size} {self.size}"]:
        """Return a float32 view in [0, 1] of each image, on the batch's device."""
        (n, channels), device = batch.x.shape[:2], batch.x.device
        real = batch.extent
        if real is None:
            real = torch.tensor(batch.x.shape[2:]).expand(n, 2)
        box = crop_boxes(real, rng, scale=self.scale, ratio=self.ratio)
        flip = rng.uniform(n) < self.flip
        # jitter_factors is SimCLR's: its strength s means factors of 1 - 0.8 s to 1 + 0.8 s
        factors = jitter_factors(n, self.jitter / 0.8, rng)
        order = torch.cat([rng.orders(3, n), torch.full((n, 1), LEAVE)], dim=1)  # and no hue
        view = batch.x.new_empty(n, channels, self.size, self.size, dtype=torch.float32)
        # a GPU wants everything at once, a CPU core what stays in its cache
        chunk = max(1, CHUNK // view[0].numel()) if device.type == "cpu" else max(1, n)
        for start in range(0, n, chunk):
            part = slice(start, start + chunk)
            x = resized_crop(batch.x[part], box[part], self.size, flip=flip[part])
            view[part] = jitter_colors_(x, factors[part], order[part]) if self.jitter else x
        return view
