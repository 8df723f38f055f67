"""A linear probe of a frozen encoder: from 50,000 images, or from their features."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from benchmarks.row import Contest, Prepared, Run, Setting
from selfwise.data.image.arrays import from_array
from selfwise.data.image.dataset import ArrayImages
from selfwise.encoders.image import TimmEncoder, build_image_encoder, enable_residual_blocks
from selfwise.evaluation.features.compute import ComputeOptions
from selfwise.evaluation.features.image import extract_features
from selfwise.evaluation.probes.linear import LinearFit, fit_linear
from selfwise.views.image.augment import evaluation_view

PEER = (
    "lightly's `LinearClassifier` with pytorch-lightning's `Trainer`: 90 epochs of SGD in batches "
    "of 256, the frozen encoder computed anew for a random crop of every image in each, test "
    "images after each; selfwise computes features once, without crops, and searches the penalty "
    "of a logistic regression. Crops are more images to learn from, and this peer can be more "
    "often right for them; a side of it without crops learns from the same images as selfwise. "
    "And scikit-learn's `LogisticRegressionCV` on the same features, with the same penalties and "
    "held-out labels, at its own tolerance, 1e-4, and at 1e-3; selfwise's is 1e-3 in the search "
    "and 1e-4 in the last fit. lightly is timed over one of its epochs, start of the workers "
    "included, which counts as a 90th of a probe; the accuracy of both is compared on fewer "
    "images"
)
PACKAGES = ("lightly", "pytorch-lightning", "scikit-learn", "scikit-image", "timm", "torchvision")
OTHER_PROCESSES = ("lightly",)
CASES = {
    "lightly": "32-px squares of ten photos, which photo?; a ResNet of 4 blocks, 512 features",
    "sklearn": "the features of the same images",
}
OURS = "selfwise"
LIGHTLY, SKLEARN = "lightly", "sklearn"
PLAIN = f"{LIGHTLY} without crops"
LOOSE = f"{SKLEARN} at a tolerance of 1e-3"
ON_CPU = (SKLEARN,)
QUICK_IS_LESS = True
GOALS = {
    "lightly": [Contest(OURS, LIGHTLY, 5), Contest(OURS, PLAIN, 5)],
    "sklearn": [Contest(OURS, SKLEARN, 1), Contest(OURS, LOOSE, 1)],
}
FULL, QUICK, FEW = 50_000, 2_500, 1_000  # images to learn from; a fifth as many to test
TESTS = 5_000  # for the comparison with scikit-learn: half a point is 25 of them
# images, as many to test, and epochs for a comparison of accuracy: 50,000 would take hours
QUALITY = {"full": (2_000, 90), "quick": (1_000, 20)}
SIDE, CLASSES, DIM = 32, 10, 512
EPOCHS, BATCH, WORKERS = 90, 256, 2  # lightly's documented ones; processes that load
ENCODER: dict[str, Any] = {"stem": "half", "layers": [1, 1, 1, 1], "channels": [16, 32, 64, DIM]}
FIRST = 1000  # number of the first piece that is timed; before it, a warm-up
HALF_A_POINT, TWO_POINTS = 0.005, 0.02


def photos() -> list[np.ndarray]:
    """Ten that come with scikit-image and scikit-learn."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    names = "astronaut chelsea coffee hubble_deep_field immunohistochemistry retina rocket"
    return [
        *(getattr(data, name)() for name in names.split()),
        data.stereo_motorcycle()[0],
        *load_sample_images().images,
    ]


def squares(n: int, seed: int) -> ArrayImages:
    """`n` squares of 32 to 96 px anywhere in the photos, made 32 px; labelled by their photo."""
    from PIL import Image

    draw, known = np.random.default_rng(seed), photos()
    labels = np.arange(n) % len(known)
    found = np.empty((n, SIDE, SIDE, 3), np.uint8)
    for i, label in enumerate(labels):
        photo = known[label]
        side = int(draw.integers(SIDE, 3 * SIDE + 1))
        top, left = (int(draw.integers(0, extent - side + 1)) for extent in photo.shape[:2])
        cut = Image.fromarray(photo[top : top + side, left : left + side])
        found[i] = np.asarray(cut.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return from_array(found, labels, where="the squares")


def encoder(images: ArrayImages) -> TimmEncoder:
    """Not trained, but with the norms' statistics of these images, as a trained one would have."""
    made = enable_residual_blocks(
        build_image_encoder("resnet18", in_channels=3, size=SIDE, seed=0, **ENCODER)
    )
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a mean over all batches
    with torch.no_grad():
        made.train()(evaluation_view(images.read(np.arange(FEW)), SIDE))
    return made.eval()


class Task:
    """Images to learn from and to test, and the encoder."""

    def __init__(self, n: int, device: str, *, tests: int = 0) -> None:
        self.train, self.test = squares(n, 1), squares(tests or n // 5, 2)
        self.encoder, self.device = encoder(squares(FEW, 0)), device

    def features(self) -> tuple[np.ndarray, np.ndarray]:
        told: dict[str, Any] = {"size": SIDE, "compute": ComputeOptions(self.device)}
        return extract_features(self.encoder, self.train, **told), extract_features(
            self.encoder, self.test, **told
        )

    def accuracy(self, predicted: np.ndarray) -> float:
        return float((predicted == self.test.labels).mean())


def ours(task: Task) -> LinearFit:
    """The whole probe."""
    train, test = task.features()
    return fit_linear(train, labels(task.train), test)


def labels(images: ArrayImages) -> np.ndarray:
    assert images.labels is not None
    return images.labels


class Pooled(nn.Module):
    """What lightly wants of a model: features of images."""

    def __init__(self, encoder: TimmEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x).pooled


class Pictures(torch.utils.data.Dataset):
    """PIL images in memory, as torchvision's CIFAR10 has them."""

    def __init__(self, images: ArrayImages, transform: Callable[[Any], Tensor]) -> None:
        self.x = np.ascontiguousarray(images.x.transpose(0, 2, 3, 1))
        self.labels, self.transform = labels(images), transform

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.x[i])), int(self.labels[i])


def loaders(task: Task, *, crops: bool) -> tuple[Any, Any]:
    """With the transforms of lightly's linear evaluation; values stay in 0 to 1 on both sides."""
    from torchvision.transforms import v2 as T

    tensor = [T.PILToTensor(), T.ToDtype(torch.float32, scale=True)]
    drawn = [T.RandomResizedCrop(SIDE), T.RandomHorizontalFlip()] if crops else []
    told: dict[str, Any] = {"batch_size": BATCH, "num_workers": WORKERS}
    told["persistent_workers"] = True
    load = torch.utils.data.DataLoader
    shown = Pictures(task.train, T.Compose([*drawn, *tensor]))
    train = load(shown, shuffle=True, drop_last=True, **told)
    return train, load(Pictures(task.test, T.Compose(tensor)), **told)


def lightly(task: Task, epochs: int, *, crops: bool = True) -> float:
    """The probe as lightly's pages show it; the accuracy on the test images."""
    from lightly.utils.benchmarking import LinearClassifier
    from pytorch_lightning import Trainer

    model = Pooled(task.encoder).requires_grad_(False)
    classifier = LinearClassifier(model, BATCH, feature_dim=DIM, num_classes=CLASSES)
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    where = "cpu" if task.device == "cpu" else "gpu"
    trainer = Trainer(
        max_epochs=epochs, accelerator=where, devices=1, num_sanity_val_steps=0, **quiet
    )
    trainer.fit(classifier, *loaders(task, crops=crops))
    return float(trainer.callback_metrics["val_top1"])


def sklearn(
    train: np.ndarray, truth: np.ndarray, test: np.ndarray, fit: LinearFit, tol: float = 1e-4
) -> np.ndarray:
    """Predictions; the penalties that selfwise tried, and what it held out."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from selfwise.evaluation.probes.linear import split_folds

    held = split_folds(truth, seed=0)
    cv = [(np.setdiff1d(np.arange(len(truth)), part), part) for part in held]
    search = LogisticRegressionCV(
        Cs=[C for C, _ in fit.searched], cv=cv, max_iter=1000, scoring="accuracy",
        tol=tol, l1_ratios=(0,), use_legacy_attributes=False,
    )  # fmt: skip
    return make_pipeline(StandardScaler(), search).fit(train, truth).predict(test)


def pieces(work: Callable[[Task], object], task: Task, few: Task, share: float = 1.0) -> Run:
    """Images probed; `share` of a probe is done. A few before what is timed."""

    def run(number: int) -> float:
        now = task if number >= FIRST else few
        work(now)
        return share * len(now.train)

    return run


def against_lightly(setting: Setting) -> Prepared:
    n, epochs = QUALITY["quick" if setting.quick else "full"]
    few = Task(n, setting.device, tests=n)
    task = Task(QUICK if setting.quick else FULL, setting.device)
    mine, plain = few.accuracy(ours(few).predicted), lightly(few, epochs, crops=False)
    assert mine >= plain - HALF_A_POINT, f"accuracy: selfwise {mine:.3f}, lightly {plain:.3f}"
    cropped = lightly(few, epochs)
    equal = (
        f"learnt from {n:,} images, {mine:.1%} of {len(few.test):,} others are right; after "
        f"{epochs} epochs of lightly {plain:.1%}, or {cropped:.1%} with crops; timed is one of its "
        f"epochs with its test, taken for a {EPOCHS}th of a probe"
    )
    sides = {
        OURS: pieces(ours, task, few),
        LIGHTLY: pieces(partial(lightly, epochs=1), task, few, 1 / EPOCHS),
        PLAIN: pieces(partial(lightly, epochs=1, crops=False), task, few, 1 / EPOCHS),
    }
    told: dict[str, object] = {"images": len(task.train), "accuracy_on": n, "epochs": epochs}
    told |= {"accuracy": round(mine, 4), "accuracy_of_peer": round(plain, 4)}
    told |= {"accuracy_of_peer_with_crops": round(cropped, 4)}
    return Prepared("images", sides, equal, told=told)


def against_sklearn(setting: Setting) -> Prepared:
    task = Task(QUICK if setting.quick else FULL, setting.device, tests=TESTS)
    (train, test), truth = task.features(), labels(task.train)
    fit = fit_linear(train, truth, test)
    found = sklearn(train, truth, test, fit)
    mine, theirs = task.accuracy(fit.predicted), task.accuracy(found)
    said = (
        f"the same {len(fit.searched)} penalties and held-out labels; {mine:.2%} of {len(test):,} "
        f"test images are right, {theirs:.2%} with scikit-learn"
    )
    # 500 held-out labels choose the penalty when quick: by chance the next one is a point apart
    assert abs(mine - theirs) <= (TWO_POINTS if setting.quick else HALF_A_POINT), said
    work: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
        OURS: lambda x, y: fit_linear(x, y, test),
        SKLEARN: lambda x, y: sklearn(x, y, test, fit),
        LOOSE: lambda x, y: sklearn(x, y, test, fit, tol=1e-3),
    }
    images = len(train)

    def counted(name: str, number: int) -> float:
        part = slice(images if number >= FIRST else QUICK)
        work[name](train[part], truth[part])
        return len(truth[part])

    sides: dict[str, Run] = {name: partial(counted, name) for name in work}
    told: dict[str, object] = {"images": images, "penalties": len(fit.searched)}
    told |= {"accuracy": round(mine, 4), "accuracy_of_peer": round(theirs, 4)}
    return Prepared("images", sides, said, told=told)


def prepare(case: str, setting: Setting) -> Prepared:
    threadpool_limits(setting.threads)  # of scikit-learn's products, on both sides
    return against_lightly(setting) if case == LIGHTLY else against_sklearn(setting)
