"""Arrays in files: which are too large for the memory that is left, and which are not."""

import numpy as np
import pytest

from selfwise.core.memory_limit import limit_memory
from selfwise.data.image.numpy_headers import check_npy, check_npz

MIB = 2**20


def test_floats_of_a_file_take_the_memory_of_their_bytes(tmp_path):
    """The file is mapped, and 1,024 images at a time are converted."""
    images = np.zeros((40_000, 3, 8, 8), np.float32)  # 29 MiB, as bytes 7.3
    np.save(tmp_path / "a.npy", images)
    with limit_memory("9M"):
        check_npy(tmp_path / "a.npy")
    with limit_memory("7M"), pytest.raises(ValueError, match=r"a.npy: .*of memory"):
        check_npy(tmp_path / "a.npy")


def test_arrays_that_are_not_read_do_not_decide(tmp_path):
    names = np.array(["cat", "dog"] * 5_000, dtype=object)
    note = np.array("x" * 300_000)
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 3, 8, 8), np.uint8), names=names, note=note)
    check_npz(tmp_path / "a.npz")
