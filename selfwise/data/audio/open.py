"""`open_recordings`: one door for folders, tables and files of sound, and for arrays."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from selfwise.core.errors import did_you_mean
from selfwise.core.files import digest
from selfwise.core.parallel import Progress
from selfwise.core.progress import format_none, print_progress
from selfwise.core.types import RATE
from selfwise.data.audio import decoded_cache, m4a
from selfwise.data.audio import scan as scan
from selfwise.data.audio.arrays import from_arrays
from selfwise.data.audio.batches import AudioSource, RecordingChunks
from selfwise.data.audio.dataset import FileStore, Recordings, SampleStore
from selfwise.data.audio.decode import AUDIO, AV_SUFFIXES
from selfwise.data.compact_paths import Paths
from selfwise.data.listing import Listing, list_folder
from selfwise.data.listing_table import ColumnNames, check_columns, list_table
from selfwise.data.regular_files import check_regular
from selfwise.data.table_cells import is_table
from selfwise.data.unreadable import BrokenFile

__all__ = ["AudioSource", "RecordingChunks", "Recordings", "open_recordings"]

MAX_CACHE_SAMPLES = (
    10 * 3600 * RATE
)  # samples; up to here recordings are decoded once without being asked
CACHE_OPTIONS = ("auto", "yes", "no")
LAYOUTS = "a folder of recordings per class, a csv with a label column, or a pair (arrays, labels)"


def open_recordings(
    data: object,
    *,
    exclude: str = "",
    labelled: bool = False,
    label_column: str = "",
    group_column: str = "",
    skip_broken: bool = False,
    cache: str = "auto",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Recordings:
    """Return recordings from anything that holds some.

    Args:
        data: a folder, a .csv or .tsv with the columns path, label and group, one file (wav,
            flac, ogg, opus, mp3, aiff; m4a and aac where the package av is installed); a list of
            arrays of floats at 16 kHz, or a pair (arrays, labels).
        exclude: patterns of relative paths to leave out, as *_theo_*, separated by commas.
        labelled: raise an error if there are no labels.
        label_column: header of the column of a table with the labels; by default a usual one.
        group_column: header of the column with the groups, such as speakers; by default a usual
            one.
        skip_broken: leave out files that cannot be read, and list them in `broken`; silent ones
            and those shorter than a frame (400 samples) always are.
        cache: decode once into a file: `auto` up to 10 hours in all, `yes`, or `no`.
        workers: processes that decode; by default one per processor.
        progress: called with (done, total) while files are looked at.

    Raises ValueError for what is missing, empty, unreadable, or not in one of these forms.
    """
    if cache not in CACHE_OPTIONS:
        raise ValueError(f"unknown cache option {cache!r}{did_you_mean(cache, CACHE_OPTIONS)}")
    if workers is not None and workers < 0:
        raise ValueError(f"workers must be 0 or more, got {workers}")
    columns = ColumnNames(label_column, group_column)
    check_columns(columns, data)
    if isinstance(data, str | Path):
        listing = _exclude_paths(_list_recordings(Path(data).expanduser(), columns), exclude)
        recordings = _open_listing(listing, skip_broken, cache, workers, progress)
    else:
        if exclude:
            raise ValueError("exclude needs files, since arrays have no paths")
        recordings = from_arrays(data, skip_broken=skip_broken)
    if labelled and recordings.labels is None:
        raise ValueError(f"these recordings have no labels; labels come with {LAYOUTS}")
    return recordings


def _list_recordings(path: Path, columns: ColumnNames) -> Listing:
    if not path.exists():
        parent = path.absolute().parent
        names = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
        hint = did_you_mean(path.name, names)
        raise ValueError(f"{path} does not exist" + (hint if "mean" in hint else ""))
    if path.is_dir():
        return list_folder(path, AUDIO)
    check_regular(path)
    if is_table(path):
        return list_table(path, AUDIO, columns)
    if not AUDIO.matches(path.name):
        kinds = ", ".join(suffix[1:] for suffix in AUDIO.suffixes)
        raise ValueError(f"{path}: expected a folder, a .csv or a recording ({kinds}), or a .tsv")
    status = path.stat()
    sizes, times = np.array([status.st_size]), np.array([status.st_mtime_ns])
    return Listing(path.parent, Paths.of([path.name]), sizes, times, None, None)


def _exclude_paths(listing: Listing, exclude: str) -> Listing:
    """Without the paths that a pattern fits. Raises ValueError for a pattern that fits none."""
    patterns = [pattern.strip() for pattern in exclude.split(",") if pattern.strip()]
    if not patterns:
        return listing
    paths = list(listing.paths)
    hits = np.array([[fnmatchcase(path, pattern) for pattern in patterns] for path in paths])
    if not hits.any(axis=0).all():
        vain = patterns[int(np.flatnonzero(~hits.any(axis=0))[0])]
        raise ValueError(
            f"{listing.root}: no recording matches the pattern {vain!r} of --exclude, which must "
            f"match the whole relative path, such as {paths[0]!r}; a * matches anything"
        )
    rows = np.flatnonzero(~hits.any(axis=1))
    if not len(rows):
        raise ValueError(f"{listing.root}: --exclude {exclude} leaves no recording")
    excluded_count = f"{len(paths) - len(rows):,} of {len(paths):,} recordings"
    print_progress(f"--exclude {exclude}: {excluded_count} left out")
    return listing.take(rows)._replace(paths=Paths.of([paths[row] for row in rows]))


def _open_listing(
    listing: Listing,
    skip_broken: bool,
    cache: str,
    workers: int | None,
    progress: Progress | None,
) -> Recordings:
    _check_av(listing)
    scanned = scan.scan_listing(listing, workers=workers, progress=progress)
    rows, broken = _choose_usable(listing, scanned, skip_broken)
    key = scan.scan_key(listing)
    store: SampleStore = FileStore(listing.root, listing.paths, scanned.frames, scanned.rates)
    if cache == "yes" or (cache == "auto" and int(scanned.samples.sum()) <= MAX_CACHE_SAMPLES):
        cached = decoded_cache.find_cache(key, scanned)
        store = cached or decoded_cache.build_cache(
            key, listing, scanned, workers=workers, progress=progress
        )
    part = listing.take(rows)
    return Recordings(
        ids=part.paths,
        samples=scanned.samples[rows],
        store=store,
        rows=rows,
        fingerprint=digest(listing.fingerprint(), rows),
        labels=part.labels,
        classes=listing.classes,
        groups=part.groups,
        group_names=listing.group_names,
        broken=broken,
        stamp=digest(key, rows),
        skipped=listing.skipped,
    )


def _check_av(listing: Listing) -> None:
    if m4a.is_av_installed():
        return
    for path in listing.paths:
        if path.lower().endswith(AV_SUFFIXES):
            raise ValueError(
                f"{path} needs the extra: pip install 'selfwise[m4a]', or leave such files out "
                "with --exclude '*.m4a,*.aac'"
            )


def _choose_usable(
    listing: Listing, scanned: scan.Scan, skip_broken: bool
) -> tuple[np.ndarray, list[str]]:
    """Return rows that are left, and the others with the reason. Raises ValueError for broken
    files."""
    n, root = len(listing.paths), listing.root
    unusable = sorted([*scanned.broken, *scanned.unfit])
    if len(unusable) == n:
        raise ValueError(
            f"{root}: {format_none(n, 'recording')} be used: {_name_broken(listing, unusable)}"
        )
    if scanned.broken and not skip_broken:
        advice = "remove the files, or leave them out with --skip-broken"
        raise ValueError(
            f"{root}: {len(scanned.broken):,} of {n:,} files cannot be read as recordings: "
            f"{_name_broken(listing, scanned.broken)}; {advice}"
        )
    rows = np.delete(np.arange(n), np.array([one.row for one in unusable], dtype=np.int64))
    return rows, [f"{listing.paths[row]}: {reason}" for row, reason in unusable]


def _name_broken(listing: Listing, broken: Sequence[BrokenFile]) -> str:
    named = "; ".join(f"{listing.paths[row]} ({reason})" for row, reason in broken[:3])
    return named + ("; ..." if len(broken) > 3 else "")
