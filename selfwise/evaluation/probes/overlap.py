"""Which test examples are also training examples, and so say nothing of new ones."""

import os
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from selfwise.core.files import digest
from selfwise.data.audio.dataset import Recordings
from selfwise.data.image.dataset import ArrayImages
from selfwise.data.image.files import FileImages
from selfwise.data.image.map_style import ItemImages
from selfwise.data.text.labelled import Texts

PIECE = 4096  # bytes or samples of the middle: of files of one length, few have the same there

Key = Callable[[int], Hashable]  # of the example in a row


def overlap(known: Any, asked: Any) -> int:
    """How many test examples have the content of a training example.

    Texts are compared as they are; files byte by byte, where their lengths and a piece of the
    middle are the same; arrays pixel by pixel, recordings sample by sample. Of data sets from
    Python that are read on demand, only rows of the same object are compared.
    """
    ours, theirs = list(range(len(known))), list(range(len(asked)))
    for of_known, of_asked in zip(_keys(known, asked), _keys(asked, known)):
        theirs = _among(theirs, of_asked, set(map(of_known, ours)))
        ours = _among(ours, of_known, set(map(of_asked, theirs)))
    return len(theirs)


def overlap_sentence(count: int, of: int) -> list[str]:
    """What a score says of test examples that training has seen; nothing if there are none."""
    if not count:
        return []
    those = "it says" if count == 1 else "they say"
    which = f"all {of:,}" if count == of else f"{count:,} of {of:,}"
    noun = "test example is also a training example" if of == 1 else "test examples are also "
    noun += "" if of == 1 else "training examples"
    return [f"Warning: {which} {noun}, so {those} nothing about new data."]


def _among(rows: Iterable[int], key: Key, others: set[Hashable]) -> list[int]:
    return [row for row in rows if (own := key(row)) is not None and own in others]


def _keys(one: Any, other: Any) -> list[Key]:
    """What is compared in turn, of what passed before: cheap keys first, the whole last."""
    if isinstance(one, Texts):
        return [lambda row: (one.texts[row], one.pairs[row] if one.pairs is not None else "")]
    if isinstance(one, Recordings):
        whole = partial(_sound, one)
        return [lambda row: int(one.samples[row]), partial(whole, piece=True), whole]
    if isinstance(one, FileImages) and isinstance(other, FileImages):
        return [partial(_length, one), partial(_bytes, one, piece=True), partial(_bytes, one)]
    if isinstance(one, FileImages | ArrayImages) and isinstance(other, FileImages | ArrayImages):
        return [partial(_pixels, one)]
    return [partial(_item, one)]


def _item(images: Any, row: int) -> Hashable:
    """The row of a data set from Python."""
    return (id(images.items), int(images.rows[row])) if isinstance(images, ItemImages) else None


def _sound(recordings: Recordings, row: int, piece: bool = False) -> str:
    middle = int(recordings.samples[row]) // 2
    return digest(recordings.read(row, middle, middle + PIECE) if piece else recordings.read(row))


def _path(images: FileImages, row: int) -> Path:
    return Path(os.path.join(images.root, images.ids[row]))


def _length(images: FileImages, row: int) -> int:
    return _path(images, row).stat().st_size


def _bytes(images: FileImages, row: int, piece: bool = False) -> str:
    with _path(images, row).open("rb") as file:
        if piece:
            file.seek(_length(images, row) // 2)
        return digest(file.read(PIECE) if piece else file.read())


def _pixels(images: FileImages | ArrayImages, row: int) -> str:
    """The picture without what fills up its canvas."""
    batch = images.read(np.array([row]))
    height, width = batch.x.shape[2:] if batch.extent is None else batch.extent[0].tolist()
    picture = np.ascontiguousarray(batch.x[0, :, :height, :width].numpy())
    return digest(repr(picture.shape), picture)
