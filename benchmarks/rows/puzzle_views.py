"""Views of jigsaw and of rotation, on one core: tiles in a permuted order, and four turns."""

from collections.abc import Callable
from functools import partial
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from benchmarks.photos import squares
from benchmarks.row import Contest, Prepared, Setting
from benchmarks.training import counting
from selfwise.core.rng import Rng, generator
from selfwise.core.types import Features, ImageBatch
from selfwise.methods.jigsaw import Jigsaw
from selfwise.methods.rotation import Rotation
from selfwise.views.image.permutations import permutation_set

PEER = (
    "our own writing in the way of the public code, since no package makes these views: PIL and "
    "torchvision, one image at a time, one tile or turn at a time, then a stack, as a data loader "
    "does it; one core on both sides. Jigsaw does more in selfwise: windows of sides that are "
    "drawn, resized bicubically (there 225 of 256 pixels are cut, and resized bilinearly for "
    "32 px), channels that are moved by up to 2 pixels at 225 px, and order and tiles apart, so "
    "that tiles can be read in several orders. Rotation at 225 px is a crop that torchvision "
    "resizes bilinearly and selfwise bicubically"
)
PACKAGES = ("torchvision", "pillow")
BATCH = {32: 256, 225: 32}  # images at each side of a view in pixels
STORED = {32: 32, 225: 256}  # side of the images in memory
WORK = {"jigsaw": "nine tiles of each, standardised", "rotation": "four turns of each"}
CASES = {
    f"{task}_{side}": f"{n} photos of {STORED[side]} px, views of {side} px; {what}"
    for task, what in WORK.items()
    for side, n in BATCH.items()
}
OURS, THEIRS = "selfwise", "one at a time"
GOALS = {case: [Contest(OURS, THEIRS, 1)] for case in CASES}
CHECKED = 512  # views of each kind
WITHIN = 0.02  # of the range 0 to 1
GRAY, ORDERS = 0.3, 100  # share of images, permutations
Views = Callable[[int], tuple[Tensor, Tensor]]  # a number -> views, and tile orders or turns
Sides = dict[str, Callable[[list[Image.Image]], Views]]


class Nothing(nn.Module):
    """Views need no encoder."""

    dim = 1

    def forward(self, x: Tensor) -> Features:
        return Features(x.mean(dim=(1, 2, 3))[:, None])

    def hidden(self, x: Tensor) -> list[Features]:
        return [self(x)]


def batched(method: Jigsaw | Rotation, images: list[Image.Image], device: str) -> Views:
    """As a source of images in memory gives them: one uint8 tensor."""
    x = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    batch = ImageBatch(x.contiguous().to(device), torch.arange(len(x)))

    def views(number: int) -> tuple[Tensor, Tensor]:
        view = method.view(batch, Rng(generator(0, "view", number)))
        return view.x, view.label

    return views


def single_jigsaw(images: list[Image.Image], size: int, tile: int, device: str) -> Views:
    """One image after the other, one tile after the other."""
    cell, random = size // 3, Random(0)
    window = round(images[0].width * 225 / 256)
    steps = [transforms.RandomCrop(window), transforms.Resize(size)]
    steps += [transforms.RandomHorizontalFlip(), transforms.RandomGrayscale(GRAY)]
    whole, orders = transforms.Compose(steps), permutation_set(9, ORDERS)
    part = transforms.Compose([transforms.RandomCrop(tile), transforms.ToTensor()])

    def one(image: Image.Image) -> tuple[Tensor, int]:
        image, tiles = whole(image), []
        for place in range(9):
            left, top = place % 3 * cell, place // 3 * cell
            x = part(image.crop((left, top, left + cell, top + cell)))
            flat = x.flatten(1)
            deviation = flat.std(dim=1).clamp_min(1 / 255)
            tiles.append(transforms.functional.normalize(x, flat.mean(dim=1), deviation))
        label = random.randrange(len(orders))
        return torch.stack([tiles[t] for t in orders[label]]), label

    def views(number: int) -> tuple[Tensor, Tensor]:
        tiles, labels = zip(*(one(image) for image in images), strict=True)
        return torch.stack(tiles).to(device), torch.tensor(labels).to(device)

    return views


def single_rotation(images: list[Image.Image], size: int, device: str) -> Views:
    """One image after the other; turned in numpy, as RotNet's data loader does."""
    small = size <= 64
    crop = transforms.RandomCrop(size, size // 8) if small else transforms.RandomResizedCrop(size)
    whole = transforms.Compose([crop, transforms.RandomHorizontalFlip()])
    last = transforms.ToTensor()

    def one(image: Image.Image) -> Tensor:
        upright = np.asarray(whole(image))
        return torch.stack([last(np.rot90(upright, turn).copy()) for turn in range(4)])

    def views(number: int) -> tuple[Tensor, Tensor]:
        turned = torch.stack([one(image) for image in images])
        return turned.to(device), torch.arange(4).repeat(len(images), 1).to(device)

    return views


def slopes(side: int) -> Image.Image:
    """Red grows to the right and green downwards, so that a flip and a loss of colour show."""
    ramp = np.broadcast_to(np.linspace(0, 255, side).round().astype(np.uint8), (side, side))
    return Image.fromarray(np.stack([ramp, ramp.T, np.zeros_like(ramp)], axis=2))


def mean(
    views: Views, images: list[Image.Image], told: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """What is told of the views of a batch, as a mean over batches of `CHECKED` images in all."""
    found = [told(*views(number)) for number in range(CHECKED // len(images))]
    return torch.stack(found).mean(dim=0).cpu()


def near(found: Tensor, expected: float, what: str) -> str:
    """Asserts that both sides' shares are within four deviations of what they should be."""
    bound = 4 * (expected * (1 - expected) / CHECKED) ** 0.5
    assert (found - expected).abs().max() <= bound, (what, found, bound)
    return f"{what} {found[0]:.2f} and {found[1]:.2f}"


def flipped(x: Tensor) -> Tensor:
    """Share of the images (n 3 h w) of slopes whose red falls to the right at most pixels."""
    return (x[:, 0].diff(dim=2).sign().mean(dim=(1, 2)) < 0).float().mean()


def told_of_tiles(side: str, x: Tensor, label: Tensor) -> Tensor:
    """Share of tiles of one value, mean step from pixel to pixel. Asserts mean 0, deviation 1."""
    if side == OURS:  # for encoders that take photos of 0 to 1
        x = (x - 0.5) / 0.25
    assert x.dtype == torch.float32
    assert 0 <= label.min() <= label.max() < ORDERS
    pixels = x.flatten(3)
    deviation = pixels.std(dim=3)
    assert pixels.mean(dim=3).abs().max() < 1e-3
    assert deviation.max() < 1.01
    return torch.stack([(deviation < 0.99).float().mean(), x.diff(dim=4).abs().mean()])


def told_of_slopes(x: Tensor, label: Tensor) -> Tensor:
    """Shares of tiles that are flipped, and of images without colours."""
    apart = (x[:, :, 0] - x[:, :, 1]).abs().flatten(1).amax(dim=1)
    return torch.stack([flipped(x.flatten(0, 1)), (apart < 1e-3).float().mean()])


def told_of_turns(x: Tensor, label: Tensor) -> Tensor:
    """Channels' means, pixels' deviation, mean step. Asserts that the turns are exact."""
    assert x.dtype == torch.float32
    assert 0 <= x.min() <= x.max() <= 1
    for turn in range(4):
        assert (label[:, turn] == turn).all()
        assert x[:, turn].equal(torch.rot90(x[:, 0], turn, (2, 3)))
    step = x[:, 0].diff(dim=3).abs().mean()[None]
    return torch.cat([x.mean(dim=(0, 1, 3, 4)), x.std(dim=(2, 3, 4)).mean()[None], step])


def equal_jigsaw(sides: Sides, images: list[Image.Image]) -> str:
    """A sentence. Raises AssertionError where tiles differ in more than how they were resized."""
    plane = [slopes(images[0].width)] * len(images)
    shapes = [made(images)(0)[0].shape for made in sides.values()]
    assert shapes[0] == shapes[1], shapes
    photos = torch.stack(
        [mean(made(images), images, partial(told_of_tiles, name)) for name, made in sides.items()]
    )
    drawn = torch.stack([mean(made(plane), images, told_of_slopes) for made in sides.values()])
    assert photos[:, 0].max() < 0.02, photos  # there is some sky
    return (
        f"{shapes[0][1]} tiles of {shapes[0][3]} px of each, each channel of each tile with mean 0 "
        f"and deviation 1 (selfwise's, 0.5 and 0.25, brought there); "
        f"{near(drawn[:, 0], 0.5, 'flipped')}, {near(drawn[:, 1], GRAY, 'gray')}; mean step from "
        f"pixel to pixel {photos[0, 1]:.2f} and {photos[1, 1]:.2f}"
    )


def equal_rotation(sides: Sides, images: list[Image.Image]) -> str:
    """A sentence. Raises AssertionError where turns differ in more than how they were resized."""
    plane = [slopes(images[0].width)] * len(images)
    shapes = [made(images)(0)[0].shape for made in sides.values()]
    assert shapes[0] == shapes[1], shapes
    a, b = (mean(made(images), images, told_of_turns) for made in sides.values())
    upright = [mean(made(plane), images, lambda x, _: flipped(x[:, 0])) for made in sides.values()]
    apart = (a - b).abs()
    assert apart.max() <= WITHIN, (a, b)
    return (
        "four turns of each that are turns of each other, pixel by pixel, in [0, 1]; "
        f"{near(torch.stack(upright), 0.5, 'flipped')}; the channels' means agree within "
        f"{apart[:3].max():.3f}, the pixels' deviation within {apart[3]:.3f}, the mean step from "
        f"pixel to pixel within {apart[4]:.3f} ({a[4]:.3f} and {b[4]:.3f})"
    )


def prepare(case: str, setting: Setting) -> Prepared:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task, size = case.split("_")[0], int(case.split("_")[1])
    images, device = squares(BATCH[size], STORED[size]), setting.device
    sides: Sides
    if task == "jigsaw":
        jigsaw = Jigsaw(Nothing(), size=size, repeats=1, grayscale_prob=GRAY).to(device)
        sides = {
            OURS: lambda x: batched(jigsaw, x, device),
            THEIRS: lambda x: single_jigsaw(x, size, jigsaw.tile, device),
        }
        equal = equal_jigsaw(sides, images)
    else:
        rotation = Rotation(Nothing(), size=size).to(device)
        sides = {
            OURS: lambda x: batched(rotation, x, device),
            THEIRS: lambda x: single_rotation(x, size, device),
        }
        equal = equal_rotation(sides, images)
    runs = {name: counting(len(images), made(images)) for name, made in sides.items()}
    return Prepared("images", runs, equal, told={"cores": 1, "batch": len(images)}, in_a_run=True)
