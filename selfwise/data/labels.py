"""Class labels of any kind -> int64 and their names."""

import numpy as np

LAYOUTS = (
    "a folder of images per class, a csv with a label column, y or labels in an .npz, "
    "a pair (x, y), or a named data set such as digits"
)

EncodedLabels = tuple[np.ndarray, list[str]]


def encode_labels(values: object, where: str) -> EncodedLabels:
    """Return labels as int64 (n,), and the name of each: `names[label]`.

    Whole numbers 0..65535 keep their value, so that two files of one data set agree even when
    one of them lacks a class; other numbers and text are numbered in sorted order.

    Raises ValueError for fractions, bytes that are not UTF-8, and tables of more than one column.
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{where}: labels must be one per example, got shape {array.shape}")
    if array.dtype.kind == "f" and np.array_equal(array, np.round(array)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iubUS":
        raise ValueError(f"{where}: labels must be whole numbers or text, got {array.dtype}")
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: a label is not UTF-8 ({error.reason})") from error
    if array.dtype.kind == "U":
        array = _as_numbers(array)
    if array.dtype.kind != "U" and len(array) and array.min() >= 0 and array.max() < 65536:
        return array.astype(np.int64), [str(i) for i in range(int(array.max()) + 1)]
    names, codes = np.unique(array, return_inverse=True)
    return codes.astype(np.int64), [str(name) for name in names]


def _as_numbers(text: np.ndarray) -> np.ndarray:
    """Return text that consists of plain whole numbers as numbers; other text unchanged."""
    names, codes = np.unique(text, return_inverse=True)
    plain = all(name.isascii() and name.isdigit() and str(int(name)) == name for name in names)
    if not plain or any(len(name) > 15 for name in names):
        return text
    return np.array([int(name) for name in names], dtype=np.int64)[codes]
