"""Views of colorization, on one core: a crop in Lab, and the nearest of 313 colours."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage.color import rgb2lab
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits
from torch import Tensor
from torchvision.transforms import (
    Compose,
    InterpolationMode,
    RandomHorizontalFlip,
    RandomResizedCrop,
)

from benchmarks.photos import squares
from benchmarks.row import Contest, Prepared, Setting
from benchmarks.training import counting
from selfwise.core.rng import Rng, generator
from selfwise.core.types import ImageBatch
from selfwise.encoders import image as image_encoders
from selfwise.methods.colorization import Colorization
from selfwise.views.image.color_bins import BINS, bin_centers, rarity_weights, smooth_prior
from selfwise.views.image.color_space import lightness

PEER = (
    "our own writing in the way of the public code, since nobody keeps a trainer of this method: "
    "one image at a time, PIL and torchvision for crop and flip, scikit-image for Lab, "
    "scikit-learn's nearest neighbours for the bins, then a stack, as a data loader does it; one "
    "core on both sides. It has all of Lab at every pixel, as `rgb2lab` gives it; selfwise has a "
    "and b only where they are read, at one of 4 x 4 pixels"
)
PACKAGES = ("scikit-image", "scikit-learn", "torchvision", "pillow")
BATCH = {"32": 256, "176": 32}
CASES = {
    side: f"{n} photos of {side} px, decoded in memory; lightness, soft bins, weights, grayness"
    for side, n in BATCH.items()
}
OURS, THEIRS = "selfwise", "one at a time"
GOALS = {case: [Contest(OURS, THEIRS, 1)] for case in CASES}
NEIGHBOURS, SIGMA = 5, 5.0
CLOSE = 1e-3  # in Lab, and of shares
FEW = 1e-3  # of the pixels: two bins are equally far to float32, and come in another order
CHECKED = 512  # crops of each side
Views = Callable[[int], tuple[Tensor, ...]]  # lightness / 100, bins, shares, weights, has colours


def prior() -> Tensor:
    """Gray is frequent, and the rest less and less."""
    return smooth_prior((-bin_centers().norm(dim=1) / 20).exp())


def batched(
    images: list[Image.Image], device: str, *, least: float = 0.08, flip: float = 0.5
) -> Views:
    """As a source of images in memory gives them: one uint8 tensor."""
    x = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    batch = ImageBatch(x.contiguous().to(device), torch.arange(len(x)))
    side = images[0].width
    encoder = image_encoders.build_image_encoder(
        "resnet18", in_channels=3, size=side, color_space="lightness"
    )
    method = Colorization(
        encoder, size=side, prior=prior(), min_crop_scale=least, flip_prob=flip
    ).to(device)

    def views(number: int) -> tuple[Tensor, ...]:
        view = method.view(batch, Rng(generator(0, "view", number)))
        light = lightness(view.x) / 100  # which the encoder makes of it
        return light, view.bins, view.share, view.weight, view.chosen

    return views


def one_at_a_time(
    images: list[Image.Image], device: str, *, least: float = 0.08, flip: float = 0.5
) -> Views:
    side, bicubic = images[0].width, InterpolationMode.BICUBIC
    cut = RandomResizedCrop(side, scale=(least, 1), interpolation=bicubic)
    crop = Compose([cut, RandomHorizontalFlip(flip)])
    search = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="ball_tree").fit(
        bin_centers().numpy()
    )
    weights = rarity_weights(prior()).numpy()

    def view(image: Image.Image) -> tuple[Tensor, ...]:
        lab = rgb2lab(np.asarray(crop(image)))
        ab = lab[2::4, 2::4, 1:]
        far, near = search.kneighbors(ab.reshape(-1, 2))
        share = np.exp(-(far**2) / (2 * SIGMA**2))
        share /= share.sum(axis=1, keepdims=True)
        colored = np.abs(ab).max() > 5
        parts: tuple[Any, ...] = (
            lab[None, :, :, 0] / 100,
            near,
            share,
            weights[near[:, 0]],
            colored,
        )
        return tuple(torch.as_tensor(part) for part in parts)

    def views(number: int) -> tuple[Tensor, ...]:
        parts = zip(*(view(image) for image in images), strict=True)
        return tuple(torch.stack(part).to(device) for part in parts)

    return views


def same_pixels(images: list[Image.Image], device: str) -> str:
    """A sentence. Raises AssertionError where targets of the same whole images differ."""
    found = []
    for made in (batched, one_at_a_time):
        light, near, share, weight, chosen = made(images, device, least=1.0, flip=0.0)(0)
        near, share = (x.reshape(-1, NEIGHBOURS).cpu() for x in (near, share))
        spread = torch.zeros(len(near), BINS, dtype=torch.float64).scatter_(1, near, share.double())
        light, weight = light.double().cpu(), weight.flatten().double().cpu()
        found.append((light, near, spread, weight, chosen.cpu()))
    (light, near, spread, weight, chosen), theirs = found
    dark = float((light - theirs[0]).abs().max())
    assert dark < CLOSE / 100, f"lightness differs by {100 * dark:g} of 100"
    other = (near != theirs[1]).any(dim=1)
    assert other.float().mean() <= FEW, f"{int(other.sum())} of {len(other)} have other bins"
    shares = float((spread - theirs[2])[~other].abs().max())
    weights = float((weight / theirs[3] - 1)[~other].abs().max())
    assert max(shares, weights) < CLOSE, (shares, weights)
    assert chosen.equal(theirs[4]), "not the same images have colours"
    return (
        f"of the same whole images lightness agrees within {dark:.0e} of 1, of {len(other):,} "
        f"pixels all but {int(other.sum())} have the same five bins in the same order, with shares "
        f"within {shares:.0e} and weights within {weights:.0e}; the same {int(chosen.sum())} have "
        "colours"
    )


def same_crops(sides: dict[str, Views], images: int) -> str:
    """A sentence. Raises AssertionError where crops do not look alike, or tensors differ."""
    looks, sizes = [], []
    for views in sides.values():
        found = [views(number) for number in range(CHECKED // images)]
        sizes.append((found[0][0].shape, *(part.numel() for part in found[0])))
        light = torch.cat([parts[0] for parts in found])
        step = light.diff(dim=3).abs().mean()
        looks.append(torch.stack([light.mean(), light.std(dim=(2, 3)).mean(), step]).cpu())
    assert sizes[0] == sizes[1], sizes
    apart = (looks[0] - looks[1]).abs()
    assert apart.max() < 0.02, looks
    return (
        f"over {CHECKED} crops the mean lightness agrees within {apart[0]:.3f}, its "
        f"deviation within {apart[1]:.3f}, its mean step from pixel to pixel within {apart[2]:.3f}"
    )


def prepare(case: str, setting: Setting) -> Prepared:
    torch.set_num_threads(1)
    threadpool_limits(1)  # numpy's products
    torch.manual_seed(0)
    images = squares(BATCH[case], int(case))
    sides = {
        OURS: batched(images, setting.device),
        THEIRS: one_at_a_time(images, setting.device),
    }
    equal = f"{same_pixels(images, setting.device)}; {same_crops(sides, len(images))}"
    runs = {name: counting(len(images), views) for name, views in sides.items()}
    return Prepared("images", runs, equal, told={"cores": 1, "batch": len(images)}, in_a_run=True)
