"""The units of every frame of many recordings, as one array on disk."""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64
from torch import Tensor

from selfwise.core.files import write_file
from selfwise.core.own_files import check_readable, read_own
from selfwise.core.types import HOP, count_frames

FORMAT = 1
ARRAY_FILE, FACTS_FILE, HALF_FILE = "units.npy", "units.json", "units.half.npy"
SAVE_SECONDS = 20.0  # between two flushes to the disk
# of a batch: the recordings (b,), the first samples of its rows (b,) or None for the start,
# the units (b t), and a mask of the real frames (b t)
LabelledBatch = tuple[
    Int64[Tensor, "_"], Int64[Tensor, "_"] | None, Int64[Tensor, "_ _"], Bool[Tensor, "_ _"]
]


class LabelFacts(NamedTuple):
    """Facts about an array of labels other than its content."""

    size: int  # number of label kinds
    samples: list[int]  # of each recording, at 16 kHz
    done: int | None = None  # batches written so far, while the array is incomplete


class FrameLabels:
    """Units by recording and frame; read from disk on demand."""

    def __init__(self, units: np.ndarray, offsets: Int64[np.ndarray, "r1"], size: int):
        """`units`: those of all recordings, concatenated; `offsets`: where each begins."""
        self.units, self.offsets, self.size = units, offsets, size

    @classmethod
    def open(cls, folder: Path) -> "FrameLabels":
        """Open the files of `write_labels`. Raises ValueError if they are missing or were
        changed."""
        facts = _read_facts(folder / FACTS_FILE)
        check_readable(folder / ARRAY_FILE)
        try:
            units = np.load(folder / ARRAY_FILE, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{folder / ARRAY_FILE} is missing, or not an array of units"
            ) from error
        offsets = _frame_offsets(np.asarray(facts.samples, dtype=np.int64))
        if units.shape != (offsets[-1],) or units.dtype != _label_dtype(facts.size):
            raise ValueError(
                f"{folder / ARRAY_FILE} has {len(units):,} units of {units.dtype}, but "
                f"{FACTS_FILE} records {offsets[-1]:,} of {_label_dtype(facts.size)}"
            )
        return cls(units, offsets, facts.size)

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.offsets) - 1

    def read_labels(self, i: int, first: int, count: int) -> Int64[np.ndarray, "n"]:
        """Return units of the frames `first` to `first + count` of recording i.

        Raises ValueError if the recording has fewer frames: the units belong to other recordings.
        """
        begin, end = (int(bound) for bound in self.offsets[i : i + 2])
        if first < 0 or begin + first + count > end:
            raise ValueError(
                f"recording {i} has units for {end - begin:,} frames, not for frames {first:,} to "
                f"{first + count:,}: the units belong to other recordings"
            )
        return self.units[begin + first : begin + first + count].astype(np.int64)

    def count_labels(self) -> Int64[np.ndarray, "k"]:
        """Return the number of frames with each unit."""
        counts = np.zeros(self.size, dtype=np.int64)
        for part in range(0, len(self.units), 2**22):
            counts += np.bincount(self.units[part : part + 2**22], minlength=self.size)
        return counts

    @property
    def perplexity(self) -> float:
        """The number of equally frequent units with this entropy: exp of the entropy."""
        share = self.count_labels() / max(1, len(self.units))
        share = share[share > 0]
        return float(np.exp(-(share * np.log(share)).sum()))


def count_written(folder: Path) -> int:
    """Count the batches that a killed `write_labels` left in the folder, to pass as `first`."""
    path = folder / f".{FACTS_FILE}"
    return _read_facts(path).done or 0 if path.is_file() and (folder / HALF_FILE).is_file() else 0


def write_labels(
    folder: Path,
    samples: Int64[np.ndarray, "r"],
    batches: Iterable[LabelledBatch],
    *,
    size: int,
    first: int = 0,
    progress: Callable[[str], None] | None = None,
) -> FrameLabels:
    """Write the units of all frames: two bytes each, and four if there are more than 65,535 kinds.

    Args:
        folder: where to write them.
        samples: length of each recording, at 16 kHz.
        batches: (recordings, first samples, units, valid); together they cover every frame.
        size: number of unit kinds.
        first: number of the first of `batches`: `count_written(folder)` resumes a killed call, 0
            starts from scratch.
        progress: called with a sentence now and then.

    Raises ValueError for a unit that is not below `size`, for a batch beyond its recording, and if
    frames are left without a unit at the end.
    """
    offsets, dtype = _frame_offsets(samples), _label_dtype(size)
    facts = LabelFacts(size, samples.tolist())
    units, none = _open_array(folder, facts, int(offsets[-1]), first), np.iinfo(dtype).max
    saved = time.monotonic()
    for done, piece in enumerate(batches, start=first + 1):
        _write_batch(units, offsets, size, *piece)
        if time.monotonic() - saved >= SAVE_SECONDS:
            units.flush()
            _write_facts(folder / f".{FACTS_FILE}", facts._replace(done=done))
            saved = time.monotonic()
            if progress is not None:
                progress(f"{done:,} batches labeled")
    missing = int((units == none).sum())
    if missing:
        raise ValueError(f"{missing:,} of {len(units):,} frames have no unit")
    units.flush()
    del units
    (folder / HALF_FILE).replace(folder / ARRAY_FILE)
    _write_facts(folder / FACTS_FILE, facts)
    (folder / f".{FACTS_FILE}").unlink(missing_ok=True)
    return FrameLabels.open(folder)


def _open_array(folder: Path, facts: LabelFacts, total: int, first: int) -> np.memmap:
    """Open the array to write into: a killed call's, or one with `no unit yet` everywhere."""
    path, dtype = folder / HALF_FILE, _label_dtype(facts.size)
    folder.mkdir(parents=True, exist_ok=True)
    if first:
        before = _read_facts(folder / f".{FACTS_FILE}")
        if before._replace(done=None) != facts:
            raise ValueError(f"{folder} was started with other recordings or units: remove it")
        return np.lib.format.open_memmap(path, mode="r+")
    if not total:
        raise ValueError("there are no frames to label: every recording is below 25 ms")
    units = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(total,))
    units[:] = np.iinfo(dtype).max
    units.flush()
    _write_facts(folder / f".{FACTS_FILE}", facts._replace(done=0))
    return units


def _write_batch(
    units: np.ndarray,
    offsets: Int64[np.ndarray, "r1"],
    size: int,
    index: Int64[Tensor, "b"],
    offset: Int64[Tensor, "b"] | None,
    ids: Int64[Tensor, "b t"],
    valid: Bool[Tensor, "b t"],
) -> None:
    numbers, real, row = ids.cpu().numpy(), valid.cpu().numpy(), index.cpu().numpy()
    begin = np.zeros_like(row) if offset is None else offset.cpu().numpy() // HOP
    places = (offsets[row] + begin)[:, None] + np.arange(numbers.shape[1])
    beyond = real & (places >= offsets[row + 1][:, None])
    if beyond.any():
        own = int(row[beyond.any(axis=1)][0])
        raise ValueError(
            f"a batch has more frames of recording {own} than the "
            f"{offsets[own + 1] - offsets[own]:,} in its samples"
        )
    labels = numbers[real]
    if labels.size and not 0 <= labels.min() <= labels.max() < size:
        raise ValueError(f"units must be 0 to {size - 1:,}, got {labels.min()} to {labels.max()}")
    units[places[real]] = labels


def _frame_offsets(samples: Int64[np.ndarray, "r"]) -> Int64[np.ndarray, "r1"]:
    counts = np.fromiter(
        (count_frames(int(n)) for n in samples), dtype=np.int64, count=len(samples)
    )
    return np.concatenate([np.zeros(1, dtype=np.int64), counts.cumsum(dtype=np.int64)])


def _label_dtype(size: int) -> np.dtype:
    """Return the dtype of labels, whose highest number means no unit yet."""
    return np.dtype(np.uint16 if size <= np.iinfo(np.uint16).max else np.uint32)


def _read_facts(path: Path) -> LabelFacts:
    try:
        content = json.loads(read_own(path))
        if content["format"] == FORMAT:
            return LabelFacts(content["size"], content["samples"], content.get("done"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path.parent} has no units, or they are damaged") from error
    raise ValueError(f"{path.parent} has units of another version: remove it")


def _write_facts(path: Path, facts: LabelFacts) -> None:
    content = {"format": FORMAT, "size": facts.size, "samples": facts.samples}
    if facts.done is not None:
        content["done"] = facts.done
    write_file(path, json.dumps(content))
