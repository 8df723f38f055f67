"""The visible square of an image for puzzles: whole or moved, without stretching."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from selfwise.core.rng import Rng
from selfwise.core.types import ImageBatch
from selfwise.views.image.augment import CHUNK, StoredImages, evaluation_view, resized_crop


class Shift(NamedTuple):
    """Move each image by up to `by` pixels, with zeros behind it, and flip it.

    RotNet's code for CIFAR (`dataloader.py`): a random crop of the image with 4 pixels of padding.
    Images of another size or shape are brought to the central square of `size` first.
    """

    size: int  # side of the view in pixels
    by: int  # pixels
    flip: float = 0.5  # probability

    def __call__(self, batch: ImageBatch, rng: Rng) -> Float[Tensor, "b c {self.size} {self.size}"]:
        """Return a float32 view in [0, 1] of each image, on the batch's device."""
        corner = rng.integers(2 * self.by + 1, len(batch.x), 2)
        flip = rng.uniform(len(batch.x)) < self.flip
        x = F.pad(_central_squares(batch, self.size), [self.by] * 4)
        return _cut_squares(x, corner.to(x.device, non_blocking=True), self.size, flip)


class Window(NamedTuple):
    """A random square of `min_share` to all of the shorter side, resized to `size`; a flip.

    Jigsaw (Noroozi & Favaro 2016): the shorter side is brought to 256 pixels, and a square of 225
    is cut out at random. Here its side is drawn as well: images that are all resized by one factor
    are blurred in one pattern, and in JPEG files the blocks form one pattern, from which a
    network reads where a tile is. Nothing is padded: a dark edge would say it too.
    """

    size: int  # side of the view in pixels
    min_share: float = 225 / 256
    flip: float = 0.5  # probability

    def __call__(self, batch: ImageBatch, rng: Rng) -> Float[Tensor, "b c {self.size} {self.size}"]:
        """Return a float32 view in [0, 1] of each image, on the batch's device."""
        n, real = len(batch.x), batch.extent
        if real is None:
            real = torch.tensor(batch.x.shape[2:]).expand(n, 2)
        numbers = rng.uniform(n, 4)
        uniform = numbers.to(real.device, non_blocking=True)
        share = self.min_share + (1 - self.min_share) * uniform[:, 3:]
        side = (real.amin(dim=1, keepdim=True) * share).round().clamp_min(1)
        first = (uniform[:, :2] * (real - side + 1)).floor()
        box, flip = torch.cat([first, side.expand(-1, 2)], dim=1), numbers[:, 2] < self.flip
        view = batch.x.new_empty(*batch.x.shape[:2], self.size, self.size, dtype=torch.float32)
        on_cpu = view.device.type == "cpu"
        # the same pixels in a quarter of the time; another device would have to be waited for
        exact = on_cpu and bool((side == self.size).all())
        # a GPU wants everything at once, a CPU core what stays in its cache
        chunk = max(1, CHUNK // view[0].numel()) if on_cpu else max(1, n)
        for start in range(0, n, chunk):
            part = slice(start, start + chunk)
            x, where, mirrored = batch.x[part], box[part], flip[part]
            if exact:
                view[part] = _cut_squares(x, where[:, :2].long(), self.size, mirrored)
            else:
                view[part] = resized_crop(x, where, self.size, flip=mirrored)
        return view


def _cut_squares(
    x: StoredImages, corner: Int64[Tensor, "b 2"], size: int, flip: Bool[Tensor, "b"]
) -> Float[Tensor, "b c {size} {size}"]:
    """Return the square of each image that begins at its corner (down, across), in 0..1."""
    n, channels, height, width = x.shape
    plane = height * width * torch.arange(n * channels, device=x.device).view(n, channels, 1)
    row = corner[:, :1] + torch.arange(size, device=x.device)
    row = plane + (row * width + corner[:, 1:])[:, None]
    # every run of `size` pixels, of which only the chosen ones are copied
    view = x.flatten().unfold(0, size, 1).index_select(0, row.flatten())
    view = view.view(n, channels, size, size)
    mirrored = flip.nonzero()[:, 0].to(x.device, non_blocking=True)
    view.index_copy_(0, mirrored, view.index_select(0, mirrored).flip(3))
    return view.float().div_(255) if view.dtype == torch.uint8 else view.float()


def _central_squares(batch: ImageBatch, size: int) -> StoredImages:
    """Return the images as they are if they have that size, else their central squares."""
    if batch.extent is None and batch.x.shape[2:] == (size, size):
        return batch.x
    return evaluation_view(batch, size)
