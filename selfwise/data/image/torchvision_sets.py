"""Data sets by torchvision's readers: those that neither unpickle nor download."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from torch.utils.data import Dataset, Subset

from selfwise.core.memory_limit import check_size
from selfwise.data.image.arrays import from_array
from selfwise.data.image.dataset import Images
from selfwise.data.image.files import ReadOptions
from selfwise.data.image.map_style import from_items
from selfwise.data.indexable import Indexable


class TorchvisionSet(NamedTuple):
    """Torchvision's name of a data set, and its splits: the first is the default."""

    cls: str
    splits: tuple[str, ...] = ()
    in_memory: bool = False  # its pixels are one array in `data`


MATLAB_BYTES = {"uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "single": 4}
TRAIN_TEST = ("train", "test")
TRAIN_VAL_TEST = ("train", "val", "test")

# Left out on purpose: CIFAR (Python version), LSUN and ImageNet load pickles or caches of them;
# SEMEION downloads unless told not to.
SETS = {
    "caltech101": TorchvisionSet("Caltech101"),
    "caltech256": TorchvisionSet("Caltech256"),
    "country211": TorchvisionSet("Country211", ("train", "valid", "test")),
    "dtd": TorchvisionSet("DTD", TRAIN_VAL_TEST),
    "eurosat": TorchvisionSet("EuroSAT"),
    "fgvcaircraft": TorchvisionSet("FGVCAircraft", ("trainval", *TRAIN_VAL_TEST)),
    "flowers102": TorchvisionSet("Flowers102", TRAIN_VAL_TEST),
    "food101": TorchvisionSet("Food101", TRAIN_TEST),
    "gtsrb": TorchvisionSet("GTSRB", TRAIN_TEST),
    "imagenette": TorchvisionSet("Imagenette", ("train", "val")),
    "oxfordiiitpet": TorchvisionSet("OxfordIIITPet", ("trainval", "test")),
    "pcam": TorchvisionSet("PCAM", TRAIN_VAL_TEST),
    "renderedsst2": TorchvisionSet("RenderedSST2", TRAIN_VAL_TEST),
    "stanfordcars": TorchvisionSet("StanfordCars", TRAIN_TEST),
    "stl10": TorchvisionSet(
        "STL10", ("train", "test", "unlabeled", "train+unlabeled"), in_memory=True
    ),
    "sun397": TorchvisionSet("SUN397"),
    "svhn": TorchvisionSet("SVHN", ("train", "test", "extra"), in_memory=True),
}


def open_torchvision(
    name: str, root: Path, split: str | None, reading: ReadOptions, *, labelled: bool
) -> Images:
    """Return a split of a data set in torchvision's folder layout below `root`; nothing is
    downloaded.

    Raises ValueError with torchvision's reason if its files are not there.
    """
    import torchvision.datasets

    dataset = SETS[name]
    if dataset.in_memory:
        _check_arrays(name, root, split or "")
    read = partial(getattr(torchvision.datasets, dataset.cls), str(root), download=False)
    try:
        items = read(split=split) if dataset.splits else read()
    except (RuntimeError, OSError, ImportError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ValueError(
            f"{name}: torchvision's {dataset.cls} cannot read {root} ({reason})"
        ) from error
    if dataset.in_memory:
        labels = np.asarray(items.labels)
        missing = (labels < 0).any()  # STL10 marks its unlabeled images by -1
        where = f"{name}:{root}"
        return from_array(
            items.data, None if missing else labels, where=where, channels=reading.channels
        )
    if hasattr(items, "_image_files"):
        items = _in_file_order(items, items._image_files)
    channels = 3 if reading.channels is None else reading.channels
    return from_items(items, reading._replace(channels=channels), labelled=labelled)


def _check_arrays(name: str, root: Path, split: str) -> None:
    """Raise ValueError if the arrays of a split exceed the memory limit. Missing files pass."""
    if name == "svhn":
        path = root / f"{split}_32x32.mat"
        sizes = [(path, _measure_matlab(path))] if path.is_file() else []
    else:
        paths = [root / "stl10_binary" / f"{part}_X.bin" for part in split.split("+")]
        sizes = [(path, path.stat().st_size) for path in paths if path.is_file()]
    for path, size in sizes:
        check_size(path, size)


def _measure_matlab(path: Path) -> int:
    """Return the bytes of the arrays in a file of MATLAB by its headers; 0 for a damaged file."""
    from scipy.io import whosmat

    try:
        return sum(math.prod(shape) * MATLAB_BYTES.get(kind, 8) for _, shape, kind in whosmat(path))
    except Exception:  # torchvision's reader reports the reason
        return 0


def _in_file_order(items: Indexable, files: Sequence[Path]) -> Indexable:
    """SUN397 lists its files in the order of the file system, which differs between disks."""
    names = [str(path) for path in files]
    order = sorted(range(len(names)), key=names.__getitem__)
    if order == list(range(len(names))):
        return items
    return Subset(cast("Dataset[object]", items), order)
