"""Two plain binary formats: idx (MNIST and its relatives) and the binary version of CIFAR."""

import gzip
import zlib
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np

from selfwise.core.memory_limit import check_size
from selfwise.core.plain_data import read_config_text
from selfwise.data.regular_files import check_regular

FOLDER_NAMES = {
    "mnist": "MNIST",
    "fashionmnist": "FashionMNIST",
    "kmnist": "KMNIST",
}  # as torchvision
FASHION_CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]
FASHION_CLASSES += ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
IDX_SPLITS = {"train": "train", "test": "t10k"}
CIFAR_SPLITS = {
    "cifar10": {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
    "cifar100": {"train": ["train.bin"], "test": ["test.bin"]},
}
CIFAR_CLASS_FILES = {"cifar10": "batches.meta.txt", "cifar100": "fine_label_names.txt"}

LabelledSplit = tuple[
    np.ndarray, np.ndarray, list[str]
]  # uint8 (n h w) or (n c h w), (n,), class names


def read_mnist(name: str, root: Path, split: str) -> LabelledSplit:
    """Return a split of `mnist`, `fashionmnist` or `kmnist` from idx files anywhere below `root`.

    Raises ValueError if they are missing, damaged, or there are several different ones.
    """
    prefix = IDX_SPLITS[split]
    x = read_idx(_find_idx(name, root, f"{prefix}-images", 3), 3)
    y = read_idx(_find_idx(name, root, f"{prefix}-labels", 1), 1)
    if len(x) != len(y):
        raise ValueError(f"{name} below {root}: {len(x)} images, but {len(y)} labels")
    return x, y, FASHION_CLASSES if name == "fashionmnist" else [str(i) for i in range(10)]


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Return a uint8 array from an idx file, plain or .gz (format: yann.lecun.com/exdb/mnist, end).

    Raises ValueError if the header is not that of unsigned bytes in so many dimensions, or if
    there are more or fewer bytes than it says.
    """
    check_regular(path)
    opener: Callable = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            head = stream.read(4 + 4 * dimensions)
            if head[:4] != bytes([0, 0, 8, dimensions]) or len(head) < 4 + 4 * dimensions:
                raise ValueError(
                    f"{path}: not an idx file of unsigned bytes in {dimensions} dimensions"
                )
            shape = [int(size) for size in np.frombuffer(head, ">u4", offset=4)]
            count = prod(shape)
            # a compressed stream is joined from its parts
            check_size(path, 2 * count if path.suffix == ".gz" else count)
            data = stream.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
    if len(data) != count:
        raise ValueError(
            f"{path}: its header promises {count} bytes, but the file has another number"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def read_cifar(name: str, root: Path, split: str) -> LabelledSplit:
    """Return a split of `cifar10` or `cifar100` (fine labels) in the binary version, below `root`.

    A record is 1 label byte (CIFAR-100: coarse, fine) and 3x32x32 pixels
    (cs.toronto.edu/~kriz/cifar.html). The Python version is a pickle, which could run code when
    it is loaded: refused. Raises ValueError if files are missing or damaged.
    """
    labels = 1 if name == "cifar10" else 2
    parts = []
    for file in CIFAR_SPLITS[name][split]:
        path = _single_path(name, sorted(root.rglob(file)), root, file)
        check_regular(path)
        check_size(path, path.stat().st_size)
        data = np.fromfile(path, np.uint8)
        if not len(data) or len(data) % (labels + 3072):
            raise ValueError(f"{path}: expected records of {labels + 3072} bytes, got {len(data)}")
        parts.append(data.reshape(-1, labels + 3072))
    records = np.concatenate(parts)
    x, y = records[:, labels:].reshape(-1, 3, 32, 32), records[:, labels - 1].astype(np.int64)
    named = sorted(root.rglob(CIFAR_CLASS_FILES[name]))
    lines = read_config_text(named[0]).split() if named else []
    if len(lines) <= y.max():
        lines = [str(i) for i in range(int(y.max()) + 1)]
    return x, y, lines


def _find_idx(name: str, root: Path, start: str, dimensions: int) -> Path:
    """Return the idx file of a data set; plain before .gz if a folder has both."""
    file_names = [f"{start}{dot}idx{dimensions}-ubyte" for dot in "-."]
    path_by_folder: dict[Path, Path] = {}
    for file in (file + end for end in ("", ".gz") for file in file_names):
        for path in sorted(root.rglob(file)):
            path_by_folder.setdefault(path.parent, path)
    others = {folder.lower() for key, folder in FOLDER_NAMES.items() if key != name}
    inside = {folder: {part.lower() for part in folder.parts} for folder in path_by_folder}
    fitting = [
        path_by_folder[f] for f, parts in inside.items() if FOLDER_NAMES[name].lower() in parts
    ]
    neutral = [path_by_folder[f] for f, parts in inside.items() if not parts & others]
    return _single_path(name, fitting or neutral, root, f"{file_names[0]}[.gz]")


def _single_path(name: str, paths: list[Path], root: Path, file: str) -> Path:
    if len(paths) == 1:
        return paths[0]
    if paths:
        raise ValueError(f"{name}: there is more than one {file}: {paths[0]} and {paths[1]}")
    if name.startswith("cifar") and any(root.rglob("cifar-*-py*")):
        raise ValueError(
            f"{name}: the Python version below {root} is a pickle, which selfwise never loads; use "
            "the binary version of CIFAR or a folder of its images"
        )
    raise ValueError(f"{name}: there is no {file} below {root}")
