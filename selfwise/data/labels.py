"""Class labels of any kind -> int64 and their names."""

import numpy as np

LAYOUTS = (
    "a folder of images per class, a csv with a label column, y or labels in an .npz, "
    "a pair (x, y), or a named data set such as digits"
)

MAX_DIGITS = 15  # of a text that is a number
MAX_WHOLE = 2.0**53  # up to here every whole number is a float

EncodedLabels = tuple[np.ndarray, list[str]]


def encode_labels(values: object, where: str) -> EncodedLabels:
    """Return labels as int64 (n,), and the name of each: `names[label]`.

    Whole numbers 0..65535 keep their value, so that two files of one data set agree even when
    one of them lacks a class; other numbers and text are numbered in sorted order.

    Raises ValueError for fractions, bytes that are not UTF-8, and tables of more than one column.
    """
    if isinstance(values, list | tuple) and any(isinstance(value, str | bytes) for value in values):
        return _encode_texts([_as_text(value, where) for value in values])
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{where}: labels must be one per example, got shape {array.shape}")
    if array.dtype.kind == "f" and _are_whole(array):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iubUS":
        raise ValueError(f"{where}: labels must be whole numbers or text, got {array.dtype}")
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: a label is not UTF-8 ({error.reason})") from error
    if array.dtype.kind == "U":
        return _encode_texts(array.tolist())
    return _encode_array(array)


def _encode_array(array: np.ndarray) -> EncodedLabels:
    if len(array) and array.min() >= 0 and array.max() < 65536:
        return array.astype(np.int64), [str(i) for i in range(int(array.max()) + 1)]
    names, codes = np.unique(array, return_inverse=True)
    return codes.astype(np.int64), [str(name) for name in names]


def _encode_texts(texts: list[str]) -> EncodedLabels:
    """Return the codes of texts, and their names in sorted order; plain numbers keep their value.

    A dictionary holds each name once. An array of numpy would give every text the room of the
    longest.
    """
    names = sorted(set(texts))
    if all(len(name) <= MAX_DIGITS and _is_plain_number(name) for name in names):
        return _encode_array(np.array([int(text) for text in texts], dtype=np.int64))
    codes = {name: code for code, name in enumerate(names)}
    return np.array([codes[text] for text in texts], dtype=np.int64), names


def _as_text(value: object, where: str) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: a label is not UTF-8 ({error.reason})") from error
    return str(value)


def _is_plain_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and str(int(name)) == name


def _are_whole(array: np.ndarray) -> bool:
    """Return whether all numbers are whole, and of a size that int64 has."""
    return bool(np.isfinite(array).all()) and bool(
        (np.abs(array) < MAX_WHOLE).all() and np.array_equal(array, np.round(array))
    )
