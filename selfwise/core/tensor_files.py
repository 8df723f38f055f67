"""Tensors from files that strangers may have written: nothing runs, and no file takes too much."""

import errno
import os
import re
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from selfwise.core.memory_limit import check_size

SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")  # in messages of the library, which is in Rust


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises ValueError for another file, and for one that exceeds the memory limit. The library
    checks that the header announces no more than the file has.
    """
    with path.open("rb"):
        pass  # a file that may not be read is not a broken one
    check_size(path, path.stat().st_size)
    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} cannot be read as safetensors: {reason}") from error


def save_safetensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file. Raises OSError with its cause, as for any other file."""
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        found = SYSTEM_ERROR.search(str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def load_plain_objects(path: Path) -> object:
    """Return tensors and plain data from a file that torch.save wrote.

    Raises ValueError for anything else, which torch's loader refuses before it runs.
    """
    with path.open("rb"):
        pass
    check_size(path, _measure_unpacked(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the protocol of files that are not a pickle
            content: object = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # of damaged bytes: UnpicklingError, IndexError, struct.error, ...
        raise ValueError(
            f"{path} is broken, or holds more than tensors and could run code; selfwise does not "
            "load it"
        ) from error
    return content


def _measure_unpacked(path: Path) -> int:
    """Return the bytes of a file's content; torch writes an archive of which a copy may shrink."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return path.stat().st_size  # the format before archives, or a broken file
