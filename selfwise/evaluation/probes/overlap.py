"""Test examples that are also training examples, and so reveal nothing about new examples."""

import os
from collections.abc import Callable, Hashable, Iterable, Sized
from functools import partial
from pathlib import Path

import numpy as np

from selfwise.core.files import digest
from selfwise.data.audio.dataset import Recordings
from selfwise.data.image.dataset import ArrayImages
from selfwise.data.image.files import FileImages
from selfwise.data.image.map_style import ItemImages
from selfwise.data.text.labelled import Texts

PREFIX_SIZE = (
    4096  # bytes or samples of the middle: of files of one length, few have the same there
)

Key = Callable[[int], Hashable]  # of the example in a row


def count_overlap(train: Sized, test: Sized) -> int:
    """Return how many test examples have the content of a training example.

    Texts are compared unchanged; files byte by byte, if their lengths and a piece of the middle are
    equal; arrays pixel by pixel, recordings sample by sample. Of data sets from Python that are
    read on demand, only rows of the same object are compared.
    """
    train_rows, test_rows = list(range(len(train))), list(range(len(test)))
    for train_key, test_key in zip(_comparison_keys(train, test), _comparison_keys(test, train)):
        test_rows = _filter_matches(test_rows, test_key, set(map(train_key, train_rows)))
        train_rows = _filter_matches(train_rows, train_key, set(map(test_key, test_rows)))
    return len(test_rows)


def describe_overlap(count: int, total: int) -> list[str]:
    """Warn of test examples that are also training examples; nothing if there are none."""
    if not count:
        return []
    predicate = "it tells" if count == 1 else "they tell"
    subject = f"all {total:,}" if count == total else f"{count:,} of {total:,}"
    noun = "test example is also a training example" if total == 1 else "test examples are also "
    noun += "" if total == 1 else "training examples"
    return [f"Warning: {subject} {noun}, so {predicate} nothing about new data."]


def _filter_matches(rows: Iterable[int], key: Key, others: set[Hashable]) -> list[int]:
    return [row for row in rows if (own := key(row)) is not None and own in others]


def _comparison_keys(one: object, other: object) -> list[Key]:
    """Return keys to compare one after the other: cheap ones first, whole examples last."""
    if isinstance(one, Texts):
        return [lambda row: (one.texts[row], one.pairs[row] if one.pairs is not None else "")]
    if isinstance(one, Recordings):
        whole = partial(_hash_samples, one)
        return [lambda row: int(one.samples[row]), partial(whole, piece=True), whole]
    if isinstance(one, FileImages) and isinstance(other, FileImages):
        return [
            partial(_file_size, one),
            partial(_hash_bytes, one, piece=True),
            partial(_hash_bytes, one),
        ]
    if isinstance(one, FileImages | ArrayImages) and isinstance(other, FileImages | ArrayImages):
        return [partial(_hash_pixels, one)]
    return [partial(_item_key, one)]


def _item_key(images: object, row: int) -> Hashable:
    """Return the row of a data set from Python."""
    return (id(images.items), int(images.rows[row])) if isinstance(images, ItemImages) else None


def _hash_samples(recordings: Recordings, row: int, piece: bool = False) -> str:
    middle = int(recordings.samples[row]) // 2
    return digest(
        recordings.read(row, middle, middle + PREFIX_SIZE) if piece else recordings.read(row)
    )


def _file_path(images: FileImages, row: int) -> Path:
    return Path(os.path.join(images.root, images.ids[row]))


def _file_size(images: FileImages, row: int) -> int:
    return _file_path(images, row).stat().st_size


def _hash_bytes(images: FileImages, row: int, piece: bool = False) -> str:
    with _file_path(images, row).open("rb") as file:
        if piece:
            file.seek(_file_size(images, row) // 2)
        return digest(file.read(PREFIX_SIZE) if piece else file.read())


def _hash_pixels(images: FileImages | ArrayImages, row: int) -> str:
    """Return the picture without what fills up its canvas."""
    batch = images.read(np.array([row]))
    height, width = batch.x.shape[2:] if batch.extent is None else batch.extent[0].tolist()
    picture = np.ascontiguousarray(batch.x[0, :, :height, :width].numpy())
    return digest(repr(picture.shape), picture)
