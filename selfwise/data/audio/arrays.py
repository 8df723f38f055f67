"""Recordings that are arrays already, mono and at 16 kHz."""

import numpy as np

from selfwise.core.files import digest
from selfwise.core.types import WINDOW
from selfwise.data.audio.dataset import ListStore, Recordings
from selfwise.data.audio.decode import MAX_SAMPLE
from selfwise.data.compact_paths import RowNumbers
from selfwise.data.image.arrays import as_numpy
from selfwise.data.indexable import Indexable
from selfwise.data.labels import encode_labels


def from_arrays(data: object, *, skip_broken: bool) -> Recordings:
    """Return recordings of a list of float arrays (s,), or of a pair (arrays, labels).

    Raises ValueError for other types and shapes, for NaN, and if none is left.
    """
    name, labels = type(data).__name__, None
    if isinstance(data, tuple) and len(data) == 2 and not _is_sound(data[0]):
        data, labels = data
    if not isinstance(data, Indexable):
        raise ValueError(f"the {name} is neither a path, a list of arrays nor a pair with labels")
    arrays = [_check_array(recording, i) for i, recording in enumerate(iter(data))]
    if not arrays:
        raise ValueError(f"the {name} is empty; pass a list of float arrays at 16 kHz")
    codes, classes = (
        (None, None) if labels is None else encode_labels(as_numpy(labels), f"the {name}")
    )
    if codes is not None and len(codes) != len(arrays):
        raise ValueError(f"the {name}: {len(arrays)} recordings, but {len(codes)} labels")
    reasons = [_exclusion_reason(array) for array in arrays]
    broken = [i for i, reason in enumerate(reasons) if reason.startswith(BROKEN)]
    if broken and not skip_broken:
        raise ValueError(
            f"recording {broken[0]} of the {name} {reasons[broken[0]]}; samples must be finite, "
            "and those of sound are from -1 to 1"
        )
    usable = np.array([i for i, reason in enumerate(reasons) if not reason], dtype=np.int64)
    left_out = [f"{i}: {reason}" for i, reason in enumerate(reasons) if reason]
    if not len(usable):
        raise ValueError(f"the {name}: no recording is usable: {'; '.join(left_out[:3])}")
    return Recordings(
        ids=RowNumbers(usable),
        samples=np.array([len(arrays[i]) for i in usable], dtype=np.int64),
        store=ListStore(arrays),
        rows=usable,
        fingerprint=digest(*(arrays[i] for i in usable)),
        labels=None if codes is None else codes[usable],
        classes=classes,
        broken=left_out,
    )


BROKEN = "has samples"


def _is_sound(recording: object) -> bool:
    """Return whether this is one recording, and not a list or a table of them."""
    return getattr(recording, "ndim", 0) == 1 and as_numpy(recording).dtype.kind == "f"


def _check_array(recording: object, i: int) -> np.ndarray:
    array = as_numpy(recording)
    if array.dtype.kind != "f" or array.ndim != 1:
        raise ValueError(
            f"recording {i}: expected floats of shape (samples,), mono and at 16 kHz, got "
            f"{array.dtype} of shape {array.shape}"
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def _exclusion_reason(array: np.ndarray) -> str:
    """Explain why an array is left out; "" if it is not."""
    if len(array) < WINDOW:
        return f"too short: {len(array)} samples, but one frame needs {WINDOW}"
    if not np.isfinite(array).all():
        return f"{BROKEN} that are NaN or infinite"
    if (peak := float(np.abs(array).max())) > MAX_SAMPLE:
        return f"{BROKEN} up to {peak:g}; expected -1 to 1"
    return "" if array.any() else "silent"
