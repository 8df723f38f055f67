"""`open_images`: one door for folders, tables, arrays, names and Python objects."""

from pathlib import Path

import numpy as np
import torch

from selfwise.core.errors import did_you_mean
from selfwise.core.files import digest
from selfwise.core.parallel import Progress
from selfwise.data.image import decoded_cache
from selfwise.data.image.arrays import from_array, from_npy, from_npz
from selfwise.data.image.dataset import ArrayImages, Images, require_labels
from selfwise.data.image.files import (
    BrokenFiles,
    FileImages,
    ReadOptions,
    check_headers,
    drop_broken,
)
from selfwise.data.image.map_style import from_items
from selfwise.data.image.named_sets import SET_NAMES, open_named, parse_name
from selfwise.data.indexable import Indexable
from selfwise.data.listing import Listing, list_folder
from selfwise.data.listing_table import ColumnNames, check_columns, list_table
from selfwise.data.regular_files import check_regular
from selfwise.data.table_cells import is_table
from selfwise.data.unreadable import BrokenFile

SMALL_SIDE = 96  # px; a set whose longest side is no longer is cached without being asked,
MAX_CACHE_BYTES = 16 * 2**30  # if it takes no more bytes than this
MAX_HEADERS = 20_000  # files whose headers are looked at, evenly spaced if there are more
CACHE_OPTIONS = ("auto", "yes", "no")


def open_images(
    data: object,
    *,
    channels: int | None = None,
    decode: int = 256,
    cache: str = "auto",
    skip_broken: bool = False,
    workers: int | None = None,
    labelled: bool = False,
    label_column: str = "",
    progress: Progress | None = None,
) -> Images:
    """Return images from anything that holds some.

    Args:
        data: a folder, a .csv, .tsv, .npy or .npz file, the name of a data set (`digits`,
            `mnist:ROOT:test`), an array or tensor or a pair (x, y), or a map-style data set.
        channels: 1 or 3; by default files are read in color, arrays as they are.
        decode: longest allowed shorter side in px; larger files are shrunk to it.
        cache: decode once into a file: `auto` where the images are small, `yes`, or `no`.
        skip_broken: leave out files that cannot be read, and list them in `broken`.
        workers: processes that check and cache files; by default one per processor.
        labelled: raise an error if there are no labels.
        label_column: header of the column of a table with the labels; by default a usual one.
        progress: called with (done, total) while many images are cached.

    Raises ValueError for what is missing, empty, unreadable, or not in one of these forms.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    if decode < 1:
        raise ValueError(f"decode must be at least 1 px, got {decode}")
    if cache not in CACHE_OPTIONS:
        raise ValueError(f"unknown cache option {cache!r}{did_you_mean(cache, CACHE_OPTIONS)}")
    if workers is not None and workers < 0:
        raise ValueError(f"workers must be 0 or more, got {workers}")
    columns = ColumnNames(label=label_column)
    check_columns(columns, data)
    reading = ReadOptions(channels, decode, cache, skip_broken, workers, progress, columns)
    images = _open_any(data, reading, labelled)
    if labelled:
        require_labels(images)
    return images


def _open_any(data: object, reading: ReadOptions, labelled: bool) -> Images:
    if isinstance(data, str | Path):
        name = parse_name(data) if isinstance(data, str) else None
        if name is not None:
            return open_named(name, reading, labelled=labelled)
        return _open_path(Path(data).expanduser(), reading)
    where = f"the {type(data).__name__}"
    if isinstance(data, np.ndarray | torch.Tensor):
        return from_array(data, where=where, channels=reading.channels)
    if isinstance(data, tuple) and len(data) == 2 and hasattr(data[0], "shape"):
        return from_array(data[0], data[1], where=where, channels=reading.channels)
    if isinstance(data, Indexable):
        return from_items(data, reading, labelled=labelled)
    raise ValueError(f"{where} is neither a path, an array nor a data set with a length and items")


def _open_path(path: Path, reading: ReadOptions) -> Images:
    if not path.exists():
        raise ValueError(_explain_missing(path))
    if path.is_dir():
        return open_files(list_folder(path), reading)
    check_regular(path)
    if is_table(path):
        return open_files(list_table(path, named=reading.columns), reading)
    kind = path.suffix.lower()
    if kind == ".npy":
        return from_npy(path, channels=reading.channels)
    if kind == ".npz":
        return from_npz(path, channels=reading.channels)
    raise ValueError(
        f"{path}: expected a folder, a .tsv, or a file that ends in .csv, .npy or .npz"
    )


def open_files(listing: Listing, reading: ReadOptions) -> Images:
    """Cached or decoded on demand. Raises ValueError for broken files, unless they are skipped."""
    key = decoded_cache.cache_key(listing, reading)
    decoded = None if reading.cache == "no" else decoded_cache.find_cache(key)
    if decoded is not None and (
        reading.cache == "yes" or max(decoded.file.open().shape[2:]) <= SMALL_SIDE
    ):
        return _open_cached(listing, decoded, reading)
    n = len(listing.paths)
    checked_rows = np.linspace(0, n - 1, min(n, MAX_HEADERS)).astype(np.int64)
    known_broken = np.flatnonzero(listing.sizes <= 0)
    checked_rows = np.union1d(checked_rows, known_broken)
    sizes, broken = check_headers(listing, checked_rows, reading)
    rows, broken_ids = drop_broken(
        listing, broken, checked=len(checked_rows), skip=reading.skip_broken
    )
    if _wants_cache(n, sizes, reading):
        rest = np.setdiff1d(np.arange(n), checked_rows)
        sizes, broken = _complete_headers(listing, (checked_rows, sizes), rest, broken, reading)
        drop_broken(listing, broken, checked=n, skip=reading.skip_broken)
        if _wants_cache(n, sizes, reading):
            return _open_cached(
                listing, decoded_cache.build_cache(key, listing, sizes, broken, reading), reading
            )
        rows, broken_ids = drop_broken(listing, broken, checked=n, skip=reading.skip_broken)
    part = listing.take(rows)
    return FileImages(
        root=listing.root,
        ids=part.paths,
        channels=reading.file_channels,
        decode=reading.decode,
        side=int(np.median(sizes[sizes.any(axis=1)].min(axis=1))),
        fingerprint=listing.fingerprint(),
        labels=part.labels,
        classes=listing.classes,
        skip_broken=reading.skip_broken,
        stamp=digest(listing.where(), listing.times, rows),
        skipped=listing.skipped,
        broken_files=BrokenFiles(broken_ids),
    )


def _wants_cache(n: int, sizes: np.ndarray, reading: ReadOptions) -> bool:
    if reading.cache != "auto":
        return reading.cache == "yes"
    needed = decoded_cache.canvas_bytes(n, sizes, reading.file_channels)
    return int(sizes.max()) <= SMALL_SIDE and needed <= MAX_CACHE_BYTES


def _complete_headers(
    listing: Listing,
    checked: tuple[np.ndarray, np.ndarray],
    rest: np.ndarray,
    broken: list[BrokenFile],
    reading: ReadOptions,
) -> tuple[np.ndarray, list[BrokenFile]]:
    """Return sizes of all files in order: those known, and those of the rest."""
    rows, checked_sizes = checked
    sizes = np.zeros((len(listing.paths), 2), dtype=np.int32)
    sizes[rows] = checked_sizes
    if len(rest):
        sizes[rest], more = check_headers(listing, rest, reading)
        broken = sorted([*broken, *more])
    return sizes, broken


def _open_cached(
    listing: Listing, decoded: decoded_cache.DecodedImages, reading: ReadOptions
) -> ArrayImages:
    n = len(listing.paths)
    rows, broken_ids = drop_broken(listing, decoded.broken, checked=n, skip=reading.skip_broken)
    part = listing.take(rows) if broken_ids else listing
    return ArrayImages(
        x=decoded.file.open(),
        ids=part.paths,
        channels=reading.file_channels,
        fingerprint=listing.fingerprint(),
        labels=part.labels,
        classes=listing.classes,
        extent=decoded.extent,
        rows=rows if broken_ids else None,
        broken=broken_ids,
        file=decoded.file,
        stamp=digest(listing.where(), listing.times, rows),
        skipped=listing.skipped,
    )


def _explain_missing(path: Path) -> str:
    """Suggest what the user meant: an entry of the nearest existing folder, or a data set."""
    head, colon, _ = str(path).partition(":")
    if colon:
        near = did_you_mean(head, SET_NAMES)
        return f"{path}: not a path, and no data set has the name {head!r}{near}"
    parent, child = path.absolute().parent, path.absolute()
    while not parent.exists():
        parent, child = parent.parent, parent
    hint = (
        did_you_mean(child.name, [entry.name for entry in parent.iterdir()])
        if parent.is_dir()
        else ""
    )
    return f"{path} does not exist" + (hint if "mean" in hint else "")
