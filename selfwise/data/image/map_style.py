"""Any map-style data set from Python: `len(items)`, `items[i]` -> image or (image, label)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from selfwise.core.config_class import spell_option
from selfwise.core.files import digest
from selfwise.core.memory_limit import OPTION, find_limit, format_size
from selfwise.core.types import ImageBatch
from selfwise.data.compact_paths import RowNumbers, take_rows
from selfwise.data.image.arrays import as_numpy, find_layout, hash_pixels, to_uint8
from selfwise.data.image.dataset import ArrayImages, channels_first, with_channels
from selfwise.data.image.decode import decode_image, fit_size, limit_pixels
from selfwise.data.image.files import ReadOptions, stack_on_canvas
from selfwise.data.indexable import Indexable
from selfwise.data.labels import encode_labels
from selfwise.data.unreadable import ReadError

PROBE_COUNT = 64  # evenly spaced items that are looked at before anything is decided
SMALL_SIDE = 96  # px; pictures up to this side stay in memory,
MAX_MEMORY_BYTES = 2**30  # if they fit in so many bytes


@dataclass(kw_only=True)
class ItemImages:
    """Images that a map-style data set makes on demand. It must give the same each time."""

    items: Indexable
    ids: Sequence[str]
    rows: np.ndarray
    channels: int
    decode: int
    side: int
    fingerprint: str
    labels: np.ndarray | None = None
    classes: list[str] | None = None
    broken: list[str] = field(default_factory=list)
    broken_log: Path | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: np.ndarray) -> ImageBatch:
        pictures = [self._picture(int(self.rows[row])) for row in rows]
        return stack_on_canvas(pictures, rows.astype(np.int64))

    def take(self, rows: np.ndarray) -> "ItemImages":
        return replace(
            self,
            ids=take_rows(self.ids, rows),
            rows=self.rows[rows],
            labels=None if self.labels is None else self.labels[rows],
            fingerprint=digest(self.fingerprint, rows),
        )

    def _picture(self, row: int) -> np.ndarray:
        item = _read_item(self.items, row)
        return _decode_named(self.items, row, item, self.channels, self.decode)


def _read_item(items: Indexable, row: int) -> object:
    """Return an item; its own errors keep their traceback, but not a picture above the limit."""
    try:
        with limit_pixels():
            return items[row]
    except Image.DecompressionBombError as error:
        limit = find_limit()
        raise ReadError(
            f"item {row} of {_type_name(items)}: its pixels exceed the limit of Pillow or of "
            f"{format_size(limit.bytes)} ({limit.source}); give a smaller picture, or set a higher "
            f"{spell_option(OPTION)}"
        ) from error


def _decode_named(
    items: Indexable, row: int, item: object, channels: int, decode: int
) -> np.ndarray:
    """`decode_item`; its errors name the item, and the file that a Pillow image comes from."""
    try:
        return decode_item(item, channels, decode)
    except ValueError as error:
        file = getattr(_item_image(item), "filename", "")
        of = f" ({file})" if file else ""
        raise ReadError(f"item {row} of {_type_name(items)}{of}: {error}") from error


def from_items(
    items: Indexable, reading: ReadOptions, *, labelled: bool
) -> ArrayImages | ItemImages:
    """Small pictures are read once and stay in memory, large ones are read when they are needed.

    Labels of large pictures come from the data set's `targets` or `labels`. A data set without
    them is read item by item for its labels if `labelled`, and otherwise has no labels.

    Raises ValueError for items of other types.
    """
    n = len(items)
    if n == 0:
        raise ValueError(f"{_type_name(items)} is empty")
    probed_rows = np.unique(np.linspace(0, n - 1, min(n, PROBE_COUNT)).astype(np.int64))
    probed = {int(row): _read_item(items, int(row)) for row in probed_rows}
    channels = reading.channels or (
        1 if all(_is_grey(_item_image(i)) for i in probed.values()) else 3
    )
    pictures = [
        _decode_named(items, row, item, channels, reading.decode) for row, item in probed.items()
    ]
    sides = np.array([picture.shape[1:] for picture in pictures])
    paired = _item_label(probed[0]) is not None
    small = (
        sides.max() <= SMALL_SIDE and n * channels * np.prod(sides.max(axis=0)) <= MAX_MEMORY_BYTES
    )
    if small and reading.cache != "no":
        return _load_all(items, channels, reading, paired)
    labels = _match_listed_labels(items, probed) if paired else None
    if paired and labels is None and labelled:
        labels = [_item_label(_read_item(items, row)) for row in range(n)]
    codes, classes = (None, None) if labels is None else encode_labels(labels, _type_name(items))
    return ItemImages(
        items=items,
        ids=RowNumbers(np.arange(n)),
        rows=np.arange(n),
        channels=channels,
        decode=reading.decode,
        side=int(np.median(sides.min(axis=1))),
        fingerprint=digest(
            _type_name(items), str(n), *(hash_pixels(picture[None]) for picture in pictures)
        ),
        labels=codes,
        classes=_class_names(items, classes),
    )


def decode_item(item: object, channels: int, decode: int) -> np.ndarray:
    """Return the image of an item as uint8 (c h w). Raises ValueError for unknown types."""
    image = _item_image(item)
    if isinstance(image, Image.Image):
        return decode_image(image, channels, decode)
    where = "an item of the data set"
    array = as_numpy(image)
    if array.dtype == object or array.ndim not in (2, 3):
        raise ValueError(
            f"{where} must be an image or (image, label), the image a Pillow image, or an array "
            f"or tensor (h, w), (h, w, c) or (c, h, w); got {type(image).__name__}"
        )
    layout = find_layout(array[None], where)
    x = with_channels(channels_first(to_uint8(array[None], where), layout), channels)[0]
    height, width = x.shape[1:]
    if fit_size(width, height, decode) == (width, height):
        return np.ascontiguousarray(x)
    return decode_image(Image.fromarray(np.moveaxis(x, 0, 2).squeeze()), channels, decode)


def _load_all(items: Indexable, channels: int, reading: ReadOptions, paired: bool) -> ArrayImages:
    """Return every item read once, in order."""
    pictures, labels = [], []
    for row in range(len(items)):
        item = _read_item(items, row)
        pictures.append(_decode_named(items, row, item, channels, reading.decode))
        labels.append(_item_label(item))
    batch = stack_on_canvas(pictures, np.arange(len(items)))
    codes, classes = encode_labels(labels, _type_name(items)) if paired else (None, None)
    x = batch.x.numpy()
    return ArrayImages(
        x=x,
        ids=RowNumbers(np.arange(len(x))),
        channels=channels,
        fingerprint=hash_pixels(x),
        labels=codes,
        classes=_class_names(items, classes),
        extent=None if batch.extent is None else batch.extent.numpy(),
    )


def _match_listed_labels(items: Indexable, probed: dict[int, object]) -> list | None:
    """Labels that the data set lists, believed if they agree with the probed items."""
    listed = _listed_labels(items)
    if listed is None or len(listed) != len(items):
        return None
    agree = all(_item_label(item) == listed[row] for row, item in probed.items())
    return listed if agree else None


def _listed_labels(items: Indexable) -> list | None:
    """The usual names: torchvision's `targets`, `labels`, `_labels` and `samples`; a Subset's."""
    if hasattr(items, "dataset") and hasattr(items, "indices"):
        whole = _listed_labels(items.dataset)
        return None if whole is None else [whole[int(row)] for row in items.indices]
    for name in ("targets", "labels", "_labels", "y"):
        if hasattr(items, name):
            return as_numpy(getattr(items, name)).tolist()
    for name in ("samples", "_samples"):
        if hasattr(items, name):
            return [sample[1] for sample in getattr(items, name)]
    return None


def _class_names(items: Indexable, names: list[str] | None) -> list[str] | None:
    """The data set's own names of its classes, where it has one for each label."""
    own = getattr(getattr(items, "dataset", items), "classes", None)
    if names is None or not isinstance(own, list) or len(own) < len(names):
        return names
    plain = all(isinstance(name, str) for name in own)
    return list(own) if plain and all(name.isdigit() for name in names) else names


def _item_image(item: object) -> object:
    return item[0] if isinstance(item, tuple | list) and len(item) == 2 else item


def _item_label(item: object) -> object:
    """Return an item's label as a plain number or text; None if it is an image alone."""
    if not (isinstance(item, tuple | list) and len(item) == 2):
        return None
    return item[1].item() if hasattr(item[1], "item") else item[1]


def _is_grey(image: object) -> bool:
    if isinstance(image, Image.Image):
        grey = image.mode in ("1", "L") or image.mode[0] in "IF"
        return grey and "transparency" not in image.info
    shape = as_numpy(image).shape
    return len(shape) == 2 or (len(shape) == 3 and 3 not in (shape[0], shape[2]))


def _type_name(items: Indexable) -> str:
    return type(items).__name__
