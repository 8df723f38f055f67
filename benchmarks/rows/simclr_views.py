"""Two SimCLR views of each image, on one core: crop, flip, colour jitter, grayscale, blur."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.photos import squares
from benchmarks.row import Contest, Prepared, Run, Setting
from selfwise.core.rng import Rng, generator
from selfwise.core.types import ImageBatch
from selfwise.views.image.augment import Augment

PEER = (
    "lightly's `SimCLRTransform` on PIL images, then a stack, as its data loader's; one core on "
    "both sides. lightly works on 8-bit values, resizes bilinearly, as torchvision does unasked, "
    "and blurs with PIL's boxes; selfwise works on float32, resizes bicubically, as the paper's "
    "code, and blurs with a Gaussian"
)
PACKAGES = ("lightly", "torchvision", "pillow")
BATCH = {"32": 256, "96": 64, "224": 32}
CASES = {
    side: f"{n} photos of {side} px, decoded in memory, two views of each"
    for side, n in BATCH.items()
}
OURS, THEIRS = "selfwise", "lightly"
GOALS = {
    side: [Contest(OURS, THEIRS, goal, on_gpu=10)]
    for side, goal in {"32": 8, "96": 3, "224": 1.2}.items()
}
DRAWS = 16  # of both views of every image, for the check
WITHIN = 0.02  # of the range 0 to 1


class Ours:
    """As a source of images in memory gives them: one uint8 tensor."""

    def __init__(self, images: list[Image.Image], side: int, device: str) -> None:
        x = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
        x = x.permute(0, 3, 1, 2).contiguous().to(device)
        self.batch, self.augment = ImageBatch(x, torch.arange(len(x))), Augment(side)

    def __call__(self, number: int) -> list[Tensor]:
        rng = Rng(generator(0, "view", number))
        return [self.augment(self.batch, rng) for _ in range(2)]


class Theirs:
    """As in a data loader without processes."""

    def __init__(self, images: list[Image.Image], side: int, device: str) -> None:
        from lightly.transforms import SimCLRTransform

        self.images, self.device = images, device
        self.transform = SimCLRTransform(input_size=side, normalize=None)

    def __call__(self, number: int) -> list[Tensor]:
        views = zip(*(self.transform(image) for image in self.images), strict=True)
        return [torch.stack(view).to(self.device) for view in views]


def same_settings(ours: Augment, theirs: Any) -> None:
    """Read off the transforms that lightly has made, in their order; `Augment` holds ours."""
    crop, flip, upright, turn, jitter, gray, blur, _ = theirs.transforms[0].transform.transforms
    low, high = max(0.0, 1 - 0.8 * ours.strength), 1 + 0.8 * ours.strength
    ranges = {
        "scale": (tuple(crop.scale), ours.scale),
        "aspect": (tuple(crop.ratio), ours.ratio),
        "size": (tuple(crop.size), (ours.size, ours.size)),
        "probabilities": (
            (flip.p, jitter.p, gray.p, blur.prob),
            (ours.flip, ours.jitter, ours.grayscale, ours.blur),
        ),
        "sigma": (tuple(blur.sigmas), (0.1, 2)),  # appendix A; fixed in `Augment`
        "not done": ((upright.p, turn.prob), (0, 0)),
    }
    color = jitter.transforms[0]
    for name in ("brightness", "contrast", "saturation"):
        ranges[name] = (tuple(getattr(color, name)), (low, high))
    ranges["hue"] = (tuple(color.hue), (-0.2 * ours.strength, 0.2 * ours.strength))
    for name, (a, b) in ranges.items():
        assert np.allclose(a, b), f"{name}: lightly {a}, selfwise {b}"


def looks(views: list[Tensor]) -> Tensor:
    """Mean of each channel, spread of the pixels of a view, mean step from pixel to pixel."""
    x = torch.cat(views)
    step = x.diff(dim=3).abs().mean()[None]
    return torch.cat([x.mean(dim=(0, 2, 3)), x.std(dim=(1, 2, 3)).mean()[None], step]).cpu()


def equal_work(ours: Ours, theirs: Theirs) -> str:
    """A sentence. Raises AssertionError where the views differ in more than their kernels."""
    same_settings(ours.augment, theirs.transform)
    found = []
    for side in (ours, theirs):
        np.random.seed(0)  # lightly's blur draws from the global one
        torch.manual_seed(0)
        drawn = [side(number) for number in range(DRAWS)]
        for views in drawn:
            for view in views:
                assert view.dtype == torch.float32
                assert view.min() >= 0
                assert view.max() <= 1
        found.append((drawn[0][0].shape, torch.stack([looks(v) for v in drawn]).mean(dim=0)))
    (shape, a), (other, b) = found
    assert shape == other, (shape, other)
    apart = (a - b).abs()
    assert apart.max() <= WITHIN, f"views differ: selfwise {a.tolist()}, lightly {b.tolist()}"
    return (
        f"the same probabilities and ranges, float32 in [0, 1]; over {DRAWS} draws the channels' "
        f"means agree within {apart[:3].max():.3f}, the pixels' deviation within {apart[3]:.3f}, "
        f"the mean step from pixel to pixel within {apart[4]:.3f} ({a[4]:.3f} and {b[4]:.3f})"
    )


def images_of(side: Ours | Theirs, images: int, device: str) -> Run:
    def run(number: int) -> float:
        side(number)
        if device != "cpu":
            torch.cuda.synchronize()
        return images

    return run


def prepare(case: str, setting: Setting) -> Prepared:
    torch.set_num_threads(1)
    images = squares(BATCH[case], int(case))
    ours = Ours(images, int(case), setting.device)
    theirs = Theirs(images, int(case), setting.device)
    equal = equal_work(ours, theirs)
    sides = {
        name: images_of(side, len(images), setting.device)
        for name, side in ((OURS, ours), (THEIRS, theirs))
    }
    return Prepared("images", sides, equal, told={"cores": 1, "batch": len(images)}, in_a_run=True)
