"""A training step of SimCLR from image files on: lightly's way and ours."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.photos import photos
from benchmarks.row import Contest, Prepared, Run, Setting
from benchmarks.scratch import scratch
from benchmarks.training import Training, agreed
from selfwise.core.rng import Rng, generator, init_seed
from selfwise.core.types import ImageBatch
from selfwise.encoders.image import build_image_encoder
from selfwise.methods.simclr import SimCLR
from selfwise.modalities import modality_of
from selfwise.modalities.modality import Opening
from selfwise.runs.build import open_newest
from selfwise.runs.pretrain_config import make_request

PEER = (
    "lightly's SimCLR tutorial: `LightlyDataset`, `SimCLRTransform`, a `DataLoader` with as many "
    "workers as cores, a ResNet-18, `SimCLRProjectionHead`, `NTXentLoss`, SGD (fused and with "
    "Nesterov's momentum, as ours); each view goes through the network by itself, in selfwise both "
    "at once. selfwise convolves with channels last; a third side is lightly's with channels last. "
    "Images of 32 px are decoded once by selfwise, before the clock starts, and every time by "
    "lightly's data set, in workers that have little else to do"
)
PACKAGES = ("lightly", "timm")
OTHER_PROCESSES = ("32", "224")
CASES = {
    "32": "SimCLR step, ResNet-18 with the stem for CIFAR, 128 images of 32 px",
    "224": "SimCLR step, ResNet-18, 16 images of 256 px for views of 224",
}
EQUAL, BEST, THEIRS = "selfwise float32", "selfwise bf16", "lightly float32"
LAST = " channels last"
CONTESTS = [
    Contest(EQUAL, THEIRS, 1.1, on_gpu=4),
    Contest(EQUAL, THEIRS + LAST, 1),
    Contest(BEST, THEIRS, 1.5, "bf16 autocast", on_gpu=4),
]
GOALS = dict.fromkeys(CASES, CONTESTS)
# images in a batch, files, their side, suffix
SHAPES = {"32": (128, 2560, 32, ".png"), "224": (16, 320, 256, ".jpg")}
RATE, MOMENTUM, DECAY = 0.06, 0.9, 5e-4  # the tutorial's
SGD: dict[str, Any] = {"optimizer": "sgd", "lr": RATE, "weight_decay": DECAY}


def model(size: int) -> Any:
    """Our method; its encoder is a timm ResNet-18 for both sides."""
    with init_seed(0, "method"):
        return SimCLR(build_image_encoder("resnet18", in_channels=3, size=size), size=size)


class Peer(nn.Module):
    """As in the tutorial, around the same ResNet."""

    def __init__(self, size: int) -> None:
        from lightly.models.modules import SimCLRProjectionHead

        super().__init__()
        self.backbone = model(size).encoder.model
        with init_seed(0, "peer"):
            self.head = SimCLRProjectionHead(512, 512, 128)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))  # type: ignore[no-any-return]


def their_step(peer: Peer, sgd: Any, loss: Any, a: Tensor, b: Tensor) -> None:
    found = loss(peer(a), peer(b))
    found.backward()
    sgd.step()
    sgd.zero_grad()


def their_optimizer(peer: nn.Module, lr: float = RATE) -> Any:
    told: Any = {"momentum": MOMENTUM, "weight_decay": DECAY, "nesterov": True, "fused": True}
    return torch.optim.SGD(peer.parameters(), lr=lr, **told)


def their_transform(size: int) -> Any:
    """Up to 64 px as the paper has it for CIFAR (appendix B.9)."""
    from lightly.transforms import SimCLRTransform

    told = {"cj_strength": 0.5, "gaussian_blur": 0.0} if size <= 64 else {}
    return SimCLRTransform(input_size=size, normalize=None, **told)


def their_batches(folder: Path, batch: int, size: int) -> Iterator[Any]:
    """Endless; the workers stay, so that an epoch's beginning costs nothing."""
    from lightly.data import LightlyDataset

    transform = their_transform(size)
    loader = torch.utils.data.DataLoader(
        LightlyDataset(str(folder), transform=transform), batch_size=batch, shuffle=True,
        drop_last=True, num_workers=os.cpu_count() or 1, persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip
    while True:
        yield from loader


def theirs(folder: Path, batch: int, size: int, device: str, *, last: bool = False) -> Run:
    from lightly.loss import NTXentLoss

    order = torch.channels_last if last else torch.contiguous_format
    peer = Peer(size).train().to(device=device, memory_format=order)
    sgd, loss, stream = their_optimizer(peer), NTXentLoss(temperature=0.5), None

    def step(number: int) -> float:
        nonlocal stream
        stream = stream or their_batches(folder, batch, size)
        (a, b), *_ = next(stream)
        a, b = (x.to(device=device, memory_format=order, non_blocking=True) for x in (a, b))
        their_step(peer, sgd, loss, a, b)
        return batch

    return step


def ours(folder: Path, batch: int, size: int, setting: Setting, precision: str) -> Run:
    """As `pretrain` opens and reads the folder, with as many workers as it takes."""
    request = make_request("simclr", {"image_size": size}, data=str(folder), encoder="resnet18")
    opening = Opening(request.kind, request.encoder, open_newest)
    modality, reading = modality_of(request.kind), request.config.reading
    images = modality.read_data(str(folder), reading, request.kind)
    data = modality.open_data(images, reading, opening)
    method = model(size)
    source = data.source(method, batch_size=batch, seed=0)
    return Training(method, source, setting, batch_size=batch, num_workers=data.workers,
                    precision=precision, **SGD)  # fmt: skip


def same_losses(size: int, setting: Setting) -> str:
    """From the same weights three steps as they are timed here, and theirs on the same views."""
    from lightly.loss import NTXentLoss

    method, peer = model(size), Peer(size)
    # lightly's last norm has a bias, which the authors' code has not: it stays 0 here
    peer.head.layers[-1].bias.requires_grad_(False)
    others = [part for part in peer.head.parameters() if part.requires_grad]
    for own, other in zip(method.projection.parameters(), others, strict=True):
        other.data.copy_(own.data)
    x = torch.randint(256, (8, 3, size, size), dtype=torch.uint8)
    batch = ImageBatch(x, torch.arange(8))
    slow = SGD | {"lr": RATE / 100}  # so few images at the full rate multiply what is rounded
    step = Training(method, None, setting, batch_size=8, precision="float32", **slow)
    peer.train().to(setting.device)
    sgd, found = their_optimizer(peer, RATE / 100), []
    for number in range(3):
        views = method.view(batch, Rng(generator(0, "view", number), slice(0, 8), 8, seed=0))
        # batch norm over both views, as here
        z = peer(torch.cat([view.to(setting.device) for view in views]))
        loss = NTXentLoss(temperature=0.5)(*z.chunk(2))
        loss.backward()
        sgd.step()
        sgd.zero_grad()
        found.append((step.loss(batch, number), float(loss.detach())))
    same_views(size, method)
    first, second = (list(losses) for losses in zip(*found))
    return agreed(first, second, within=1e-3, what="losses of three steps on the same views")


def same_views(size: int, method: Any) -> None:
    """What lightly draws, and how often, is what selfwise draws."""
    ours, theirs = method.augment, their_transform(size)
    _, flip, _, _, jitter, gray, blur, _ = theirs.transforms[0].transform.transforms
    assert (flip.p, jitter.p, gray.p) == (ours.flip, ours.jitter, ours.grayscale)
    assert blur.prob == ours.blur, (blur.prob, ours.blur)
    low, high = jitter.transforms[0].brightness
    assert abs((high - low) / 2 - 0.8 * ours.strength) < 1e-6, (low, high, ours.strength)


def prepare(case: str, setting: Setting) -> Prepared:
    batch, files, side, suffix = SHAPES[case]
    size = int(case)
    equal = same_losses(size, setting)
    home = scratch()
    folder = photos(home / "photos", files, (side, side), suffix=suffix)
    sides: dict[str, Run] = {
        THEIRS + name: theirs(folder, batch, size, setting.device, last=bool(name))
        for name in ("", LAST)
    }
    for name, precision in {EQUAL: "float32", BEST: "bf16"}.items():
        sides[name] = ours(folder, batch, size, setting, precision)
    return Prepared("images", sides, equal, in_a_run=True)
