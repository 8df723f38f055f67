"""Agreement of discrete units with labels: mutual information and purity (HuBERT, section V-A)."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Integer

from selfwise.core.progress import format_all


class UnitAgreement(NamedTuple):
    """Agreement of units with labels, frame by frame."""

    pnmi: float  # 0 to 1: how much of the uncertainty about the label the unit takes away
    label_purity: float  # how often a frame has the most frequent label of its unit
    unit_purity: float  # how often a frame has the most frequent unit of its label
    frames: int
    units: int  # kinds of unit that occur
    labels: int  # kinds of label that occur


def measure_agreement(
    units: Integer[np.ndarray, "n"], labels: Integer[np.ndarray, "n"]
) -> UnitAgreement:
    """Phone-normalized mutual information and purities, of any labels (Hsu et al. 2021, eq. 5-7).

    `pnmi` is I(label; unit) / H(label), where the base of the logarithm cancels. It rises with the
    number of units, and so does the label purity, while the unit purity falls: compare at one
    number of units. A unit of -1 marks a frame that does not exist, and is left out.

    Raises ValueError if there are no frames, or one kind of label, whose entropy is zero.
    """
    counts = count_unit_pairs(units, labels)
    n = int(counts.sum())
    if not n:
        raise ValueError("units and labels can only be compared on frames, and there are none")
    if counts.shape[1] < 2:
        frames = format_all(n, "frame", "have", "one label")
        raise ValueError(f"{frames}, so there is nothing to measure")
    whole = compute_entropy(counts.sum(axis=0))
    # H(label) - H(label | unit), as a difference of entropies
    shared = whole + compute_entropy(counts.sum(axis=1)) - compute_entropy(counts.ravel())
    label_purity, unit_purity = (float(counts.max(axis=axis).sum() / n) for axis in (1, 0))
    return UnitAgreement(shared / whole, label_purity, unit_purity, n, *counts.shape)


def compute_pnmi(units: Integer[np.ndarray, "n"], labels: Integer[np.ndarray, "n"]) -> float:
    """I(label; unit) / H(label), as in `measure_agreement`."""
    return measure_agreement(units, labels).pnmi


def count_unit_pairs(
    units: Integer[np.ndarray, "n"], labels: Integer[np.ndarray, "n"]
) -> Int64[np.ndarray, "u l"]:
    """Return how often each unit that occurs goes with each label that occurs, both ascending."""
    real = units >= 0
    _, row = np.unique(units[real], return_inverse=True)
    _, column = np.unique(labels[real], return_inverse=True)
    shape = (int(row.max(initial=-1)) + 1, int(column.max(initial=-1)) + 1)
    return np.bincount(row * shape[1] + column, minlength=shape[0] * shape[1]).reshape(shape)


def compute_entropy(counts: Integer[np.ndarray, "k"]) -> float:
    """Return the entropy of the shares of some counts, in nats."""
    shares: Float64[np.ndarray, "j"] = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def flatten_units(
    units: Iterable[Integer[np.ndarray, "_"]], labels: Int64[np.ndarray, "r"]
) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
    """Return units of r recordings end to end, and for each the label of its recording.

    Raises ValueError if there are not as many recordings as labels.
    """
    parts = [np.asarray(part, dtype=np.int64) for part in units]
    if len(parts) != len(labels):
        raise ValueError(f"{len(parts)} recordings have units, but {len(labels)} have labels")
    flat = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    return flat, np.repeat(labels, [len(part) for part in parts])
