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
from selfwise import methods, modalities
from selfwise.methods.simclr import TwoViews
from selfwise.modalities.build import build
from selfwise.rng import seeded

PEER = (
    "lightly's SimCLR tutorial: `LightlyDataset`, `SimCLRTransform`, a `DataLoader` with as many "
    "workers as cores, a ResNet-18, `SimCLRProjectionHead`, `NTXentLoss`, SGD"
)
PACKAGES = ("lightly", "timm")
CASES = {
    "32": "SimCLR step, ResNet-18 with the stem for CIFAR, 128 images of 32 px",
    "224": "SimCLR step, ResNet-18, 16 images of 256 px for views of 224",
}
EQUAL, BEST, THEIRS = "selfwise float32", "selfwise bf16", "lightly float32"
CONTESTS = [Contest(EQUAL, THEIRS, 1.1), Contest(BEST, THEIRS, 1.5, "bf16 autocast")]
GOALS = dict.fromkeys(CASES, CONTESTS)
# images in a batch, files, their side, suffix
SHAPES = {"32": (128, 2560, 32, ".png"), "224": (16, 320, 256, ".jpg")}
RATE, MOMENTUM, DECAY = 0.06, 0.9, 5e-4  # the tutorial's


def model(size: int) -> Any:
    """Our method; its encoder is a timm ResNet-18 for both sides."""
    settings: dict[str, Any] = {
        "method": "simclr",
        "options": {"encoder": {"name": "resnet18"}, "seed": 0, "start": ""},
        "found": {"size": size, "channels": 3, "classes": 0},
    }
    return build(settings, None)


class Peer(nn.Module):
    """As in the tutorial, around the same ResNet."""

    def __init__(self, size: int) -> None:
        from lightly.models.modules import SimCLRProjectionHead

        super().__init__()
        self.backbone = model(size).encoder.model
        with seeded(0, "peer"):
            self.head = SimCLRProjectionHead(512, 512, 128)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))  # type: ignore[no-any-return]


def their_step(peer: Peer, sgd: Any, loss: Any, a: Tensor, b: Tensor) -> float:
    found = loss(peer(a), peer(b))
    found.backward()
    sgd.step()
    sgd.zero_grad()
    return float(found)


def their_optimizer(peer: nn.Module) -> Any:
    return torch.optim.SGD(peer.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)


def their_batches(folder: Path, batch: int, size: int) -> Iterator[Any]:
    """Endless; the workers stay, so that an epoch's beginning costs nothing."""
    from lightly.data import LightlyDataset
    from lightly.transforms import SimCLRTransform

    small = size <= 64
    told = {"cj_strength": 0.5, "gaussian_blur": 0.0} if small else {}
    transform = SimCLRTransform(input_size=size, normalize=None, **told)
    loader = torch.utils.data.DataLoader(
        LightlyDataset(str(folder), transform=transform), batch_size=batch, shuffle=True,
        drop_last=True, num_workers=os.cpu_count() or 1, persistent_workers=True,
    )  # fmt: skip
    while True:
        yield from loader


def theirs(folder: Path, batch: int, size: int) -> Run:
    from lightly.loss import NTXentLoss

    peer = Peer(size).train()
    sgd, loss, stream = their_optimizer(peer), NTXentLoss(temperature=0.5), None

    def step(number: int) -> float:
        nonlocal stream
        stream = stream or their_batches(folder, batch, size)
        (a, b), *_ = next(stream)
        their_step(peer, sgd, loss, a, b)
        return batch

    return step


def ours(folder: Path, batch: int, size: int, setting: Setting, precision: str) -> Run:
    """As `pretrain` opens and reads the folder, with as many workers as it takes."""
    kind = methods.find("simclr")
    data = modalities.of(kind).opened(str(folder), kind, encoder={"name": "resnet18"}, size=size)
    method = model(size)
    told: dict[str, Any] = {"optimizer": "sgd", "lr": RATE, "weight_decay": DECAY}
    source = data.source(method, batch=batch, seed=0)
    return Training(method, source, setting, batch=batch, workers=data.workers,
                    precision=precision, **told)  # fmt: skip


def same_losses(size: int) -> str:
    """Both from the same weights, on the same views: three of our steps' losses and theirs."""
    from lightly.loss import NTXentLoss

    method, peer = model(size), Peer(size)
    # lightly's last norm has a bias, which the authors' code has not: it stays 0 here
    peer.head.layers[-1].bias.requires_grad_(False)
    others = [part for part in peer.head.parameters() if part.requires_grad]
    for own, other in zip(method.projection.parameters(), others, strict=True):
        other.data.copy_(own.data)
    draw = torch.Generator().manual_seed(0)
    sgd, other_sgd = their_optimizer(method), their_optimizer(peer)
    found = []
    for _ in range(3):
        a, b = torch.rand(2, 8, 3, size, size, generator=draw)
        (term,) = method.train()(TwoViews(a, b)).terms.values()
        term.mean.backward()
        sgd.step()
        sgd.zero_grad()
        z = peer.train()(torch.cat([a, b]))  # batch norm over both, as ours
        loss = NTXentLoss(temperature=0.5)(*z.chunk(2))
        loss.backward()
        other_sgd.step()
        other_sgd.zero_grad()
        found.append((float(term.mean), float(loss)))
    first, second = (list(side) for side in zip(*found))
    return agreed(first, second, within=1e-3, what="losses of three steps on the same views")


def prepare(case: str, setting: Setting) -> Prepared:
    batch, files, side, suffix = SHAPES[case]
    size = int(case)
    equal = same_losses(size)
    home = scratch()
    folder = photos(home / "photos", files, (side, side), suffix=suffix)
    sides: dict[str, Run] = {THEIRS: theirs(folder, batch, size)}
    for name, precision in {EQUAL: "float32", BEST: "bf16"}.items():
        sides[name] = ours(folder, batch, size, setting, precision)
    return Prepared("images", sides, equal)
