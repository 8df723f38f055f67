"""Images that are numbers already: .npy, .npz, numpy arrays and torch tensors."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.lib.npyio import NpzFile

from selfwise.core.errors import did_you_mean
from selfwise.core.files import digest
from selfwise.data.compact_paths import RowNumbers
from selfwise.data.image.dataset import ArrayImages, MappedFile, channels_first
from selfwise.data.image.numpy_headers import NUMPY_ERRORS, check_npy, check_npz, shorten_error
from selfwise.data.labels import encode_labels
from selfwise.data.regular_files import check_regular

IMAGE_KEYS = ("x", "images", "data")
LABEL_KEYS = ("y", "labels")
MAX_HASHED_BYTES = 2**30  # bytes; of a larger array, evenly spaced rows are hashed


def from_array(
    x: object, y: object = None, *, where: str, channels: int | None = None
) -> ArrayImages:
    """Return images from an array or tensor (n h w), (n h w c) or (n c h w) and labels (n,), if
    any.

    uint8, or float in 0..1, which becomes uint8. Raises ValueError for anything else.
    """
    array = as_numpy(x)
    layout = find_layout(array, where)
    pixels = channels_first(to_uint8(array, where), layout)
    return _build_images(pixels, y, where=where, channels=channels)


def from_npy(path: Path, *, channels: int | None = None) -> ArrayImages:
    """Return a .npy file; one of uint8 is memory-mapped and never loaded as a whole."""
    check_npy(path)
    array = _load_numpy(path, mmap_mode="r")
    assert isinstance(array, np.ndarray), "an archive ends in .npz"
    layout = find_layout(array, str(path))
    if array.dtype != np.uint8:
        return from_array(array, where=str(path), channels=channels)
    file = MappedFile(str(path.absolute()), layout)
    return _build_images(file.open(), None, where=str(path), channels=channels, file=file)


def from_npz(path: Path, *, channels: int | None = None) -> ArrayImages:
    """Return a .npz file with the images as x, images, data or its only array; labels as y or
    labels."""
    check_npz(path)
    archive = _load_numpy(path)
    assert isinstance(archive, NpzFile), "an array ends in .npy"
    with archive as stored:
        names = [name for name in IMAGE_KEYS if name in stored.files]
        if not names and len(stored.files) == 1:
            names = stored.files
        if not names:
            raise ValueError(
                f"{path}: expected an array named x, images or data"
                f"{did_you_mean('x', stored.files)}"
            )
        label_name = next((name for name in LABEL_KEYS if name in stored.files), None)
        x = _read_member(path, stored, names[0])
        y = None if label_name is None else _read_member(path, stored, label_name)
    return from_array(x, y, where=str(path), channels=channels)


def as_numpy(x: object) -> np.ndarray:
    """Return an array or tensor (on any device) as an array."""
    return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


def find_layout(x: np.ndarray, where: str) -> str:
    """Return which of the three layouts an array has. Raises ValueError if none, or if it is
    unclear."""
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise ValueError(
            f"{where}: expected images as (n, h, w), (n, h, w, c) or (n, c, h, w), got {x.shape}"
        )
    if x.ndim == 3:
        return "nhw"
    first, last = x.shape[1] in (1, 3), x.shape[3] in (1, 3)
    if first == last:
        trouble = "which axis holds the channels is unclear" if first else "no axis has 1 or 3"
        raise ValueError(f"{where}: images have 1 or 3 channels, but in {x.shape} {trouble}")
    return "nchw" if first else "nhwc"


def to_uint8(x: np.ndarray, where: str) -> np.ndarray:
    """Return uint8 unchanged, and float 0..1 as rounded uint8. Raises ValueError for other types or
    ranges."""
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind != "f":
        raise ValueError(f"{where}: pixels must be uint8 0..255 or float 0..1, got {x.dtype}")
    low, high = x.min(), x.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"{where}: float pixels must be 0..1, got {low:g} to {high:g}")
    pixels = np.empty(x.shape, dtype=np.uint8)
    for start in range(0, len(x), 1024):
        part = slice(start, start + 1024)
        pixels[part] = np.rint(x[part].astype(np.float32) * 255)
    return pixels


def _build_images(
    x: np.ndarray, y: object, *, where: str, channels: int | None, file: MappedFile | None = None
) -> ArrayImages:
    labels, classes = (None, None) if y is None else encode_labels(as_numpy(y), where)
    if labels is not None and len(labels) != len(x):
        raise ValueError(f"{where}: {len(x)} images, but {len(labels)} labels")
    return ArrayImages(
        x=x,
        ids=RowNumbers(np.arange(len(x))),
        channels=x.shape[1] if channels is None else channels,
        fingerprint=hash_pixels(x),
        labels=labels,
        classes=classes,
        file=file,
    )


def hash_pixels(x: np.ndarray) -> str:
    """Return a hash of the pixels (n c h w)."""
    step = max(1, -(-x.nbytes // MAX_HASHED_BYTES))
    return digest(str(x.shape), np.ascontiguousarray(x[::step]))


def _load_numpy(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray | NpzFile:
    check_regular(path)
    try:
        stored = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except NUMPY_ERRORS as error:
        raise ValueError(f"{path}: not a plain numpy file ({shorten_error(error)})") from error
    is_archive = isinstance(stored, NpzFile)
    if is_archive != (path.suffix.lower() == ".npz"):
        raise ValueError(f"{path}: its name does not fit its content; .npz is an archive of arrays")
    return stored


def _read_member(path: Path, stored: NpzFile, name: str) -> np.ndarray:
    try:
        return stored[name]
    except NUMPY_ERRORS as error:
        raise ValueError(f"{path}: {name} is not a plain array ({shorten_error(error)})") from error
