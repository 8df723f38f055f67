"""Sparse gradients: the rows of a table that a step has read."""

from torch import Tensor


def coalesce_rows(gradient: Tensor) -> Tensor:
    """Return a sparse gradient in which each row is present once, in ascending order.

    As `Tensor.coalesce`, which sorts. On the CPU, rows that are in order already are not sorted
    again: autograd forgets that they are.
    """
    if gradient.is_coalesced():
        return gradient
    if gradient.device.type == "cpu":
        rows = gradient._indices()[0]
        if bool((rows[1:] > rows[:-1]).all()):
            return gradient._coalesced_(True)
    return gradient.coalesce()
