"""Data sets by name: `digits`, `mnist:ROOT:test`, `stl10:ROOT:unlabeled`."""

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfwise.core.errors import did_you_mean
from selfwise.core.rng import shuffle_indices
from selfwise.data.image import idx_cifar, torchvision_sets
from selfwise.data.image.arrays import from_array
from selfwise.data.image.dataset import Images
from selfwise.data.image.files import ReadOptions

DIGITS_TEST = 500  # of 1,797; by class in proportion
DIGITS = "digits"
SPLITS = {name: tuple(idx_cifar.IDX_SPLITS) for name in idx_cifar.FOLDER_NAMES}
SPLITS |= {name: tuple(splits) for name, splits in idx_cifar.CIFAR_SPLITS.items()}
SPLITS |= {name: dataset.splits for name, dataset in torchvision_sets.SETS.items()}
SET_NAMES = {DIGITS, *SPLITS}


class NamedSet(NamedTuple):
    """The parts of `NAME:ROOT:SPLIT`."""

    name: str
    root: Path | None
    split: str | None


def parse_name(text: str) -> NamedSet | None:
    """The parts of a data set's name; None if the text is a path.

    Raises ValueError for a split that does not exist and for a missing root.
    """
    head, colon, rest = text.partition(":")
    name = head.lower().replace("-", "").replace("_", "")
    if name == DIGITS:
        return NamedSet(name, None, _check_split(name, rest, ("train", "test")) if colon else None)
    if name not in SET_NAMES or (not colon and Path(text).exists()):
        return None
    if not rest:
        raise ValueError(f"{text}: the folder is missing; use {head}:FOLDER or {head}:FOLDER:SPLIT")
    folder, colon, split = rest.rpartition(":")
    splits = SPLITS[name]
    if not colon or Path(rest).exists():
        return NamedSet(name, Path(rest), splits[0] if splits else None)
    return NamedSet(name, Path(folder), _check_split(name, split, splits))


def open_named(name: NamedSet, reading: ReadOptions, *, labelled: bool) -> Images:
    """Return the images of a named data set. Raises ValueError if its files are missing or
    damaged."""
    if name.root is None:
        return open_digits(name.split, channels=reading.channels)
    if name.name in torchvision_sets.SETS:
        return torchvision_sets.open_torchvision(
            name.name, name.root, name.split, reading, labelled=labelled
        )
    assert name.split is not None
    read = idx_cifar.read_cifar if name.name in idx_cifar.CIFAR_SPLITS else idx_cifar.read_mnist
    x, y, classes = read(name.name, name.root, name.split)
    images = from_array(x, y, where=f"{name.name}:{name.root}", channels=reading.channels)
    images.classes = classes
    return images


def open_digits(split: str | None, *, channels: int | None = None) -> Images:
    """Return the 1,797 gray 8x8 digits inside scikit-learn, values 0..16 as 0..255.

    `train` and `test` are a fixed split drawn by class: 1,297 and 500.
    """
    pixels, labels = _read_digits()
    x = np.rint(pixels * (255 / 16)).astype(np.uint8)
    images = from_array(x, labels, where=DIGITS, channels=channels)
    if split is None:
        return images
    test = _sample_stratified(labels, DIGITS_TEST)
    return images.take(test if split == "test" else np.setdiff1d(np.arange(len(x)), test))


def _read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the images (1797, 8, 8) and the labels of `sklearn.datasets.load_digits`.

    They are read from a file inside scikit-learn, because importing it takes a second.
    """
    package = find_spec("sklearn")
    assert package is not None, "scikit-learn is a dependency"
    assert package.submodule_search_locations, "a package is a folder"
    folder = Path(package.submodule_search_locations[0])
    with gzip.open(folder / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def _sample_stratified(labels: np.ndarray, count: int) -> np.ndarray:
    """`count` rows, sorted, with each class in proportion; the largest remainders get the rest."""
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * count / len(labels)
    shares = exact.astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: count - shares.sum()]] += 1
    parts = [
        np.flatnonzero(labels == label)[
            shuffle_indices(int(size), 0, "digits test", int(label))[:share]
        ]
        for label, size, share in zip(classes, sizes, shares)
    ]
    return np.sort(np.concatenate(parts))


def _check_split(name: str, split: str, splits: tuple[str, ...]) -> str:
    if split in splits:
        return split
    if not splits:
        raise ValueError(f"{name} has no splits, so {split!r} is not one")
    raise ValueError(f"{name} has no split {split!r}{did_you_mean(split, splits)}")
