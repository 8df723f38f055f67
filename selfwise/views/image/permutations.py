"""Sets of permutations that are far apart (Noroozi & Favaro 2016, arXiv:1603.09246, algorithm 1).

Everybody else downloads such a set. Here it is made, in the same way on every machine: whole
numbers only, and the first of the candidates that are equally far.
"""

from contextlib import suppress
from functools import lru_cache
from math import factorial
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from selfwise.core.errors import did_you_mean
from selfwise.core.files import atomic_write, cache_dir
from selfwise.core.rng import hash_keys

RULES = ("mean", "min")
MAX_TILES = 9  # tiles: of 9 there are 362,880 orders, of 16 no computer holds them all
FORMAT = 1  # to be raised whenever another set is made of the same arguments
WORTH_SAVING = 10**8  # comparisons of orders: from here on making a set takes a blink or more
ALREADY_CHOSEN = (
    2**30
)  # more than candidates can agree: 9 positions with each of 362,880 chosen ones


@lru_cache(maxsize=8)
def permutation_set(
    tiles: int, count: int, *, seed: int = 0, rule: str = "mean"
) -> Int64[np.ndarray, "{count} {tiles}"]:
    """`count` orders of `tiles` tiles; row r, column j is the tile in place j.

    The first is random. Then always the one that is farthest from those chosen, by Hamming
    distance: on average (`mean`: the paper's algorithm, VISSL's `max_avg`), or from the nearest
    (`min`: VISSL's `max_min`). Distances to all candidates are updated, so that 1,000 of
    9 tiles take a fifth of a second; the published scripts compute them again for each. The
    cache folder stores larger sets. The result is shared and must not be written to.

    Raises ValueError unless there are so many orders.
    """
    _check_set(tiles, count, rule)
    path = cache_dir("permutations") / f"{rule}-{tiles}-{count}-{seed}-{FORMAT}.npy"
    worth_saving = count * factorial(tiles) >= WORTH_SAVING
    orders = _load_set(path, (count, tiles)) if worth_saving else None
    if orders is None:
        orders = _choose_orders(_list_orders(tiles), count, hash_keys(seed, "permutations"), rule)
        if worth_saving:
            _save_set(path, orders)
    chosen = orders.astype(np.int64)
    chosen.flags.writeable = False
    return chosen


def hamming_distances(perms: Int64[np.ndarray, "n tiles"]) -> tuple[int, float]:
    """Return the smallest and the mean Hamming distance between two of the permutations."""
    n, tiles = perms.shape
    # with a one for each place and tile, a product counts in how many places two rows agree
    ones = np.eye(tiles, dtype=np.float32)[perms].reshape(n, -1)
    max_agreement = 0
    for start in range(0, n, 512):
        same = ones[start : start + 512] @ ones[start:].T
        np.fill_diagonal(same, 0)
        max_agreement = max(max_agreement, int(same.max()))
    often = ones.sum(axis=0, dtype=np.int64)  # how many have this tile in this place
    agreements = int((often * (often - 1)).sum())
    return tiles - max_agreement, tiles - agreements / (n * (n - 1))


def _check_set(tiles: int, count: int, rule: str) -> None:
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r} of permutations{did_you_mean(rule, RULES)}")
    if not 2 <= tiles <= MAX_TILES:
        raise ValueError(f"permutations need 2 to {MAX_TILES} tiles, not {tiles}")
    if not 2 <= count <= factorial(tiles):
        raise ValueError(
            f"permutations of {tiles} tiles: 2 to {factorial(tiles):,} can be chosen, not {count:,}"
        )


def _list_orders(tiles: int) -> UInt8[np.ndarray, "{tiles} candidates"]:
    """Return every order in lexicographic order, one place a row: a comparison reads along
    memory."""
    orders = np.zeros((1, 1), np.uint8)
    for n in range(2, tiles + 1):
        # behind each first tile: the orders of n - 1, whose numbers leave the first one out
        rest = [orders + (orders >= first) for first in range(n)]
        first = np.arange(n, dtype=np.uint8).repeat(orders.shape[1])
        orders = np.concatenate([first[None], np.concatenate(rest, axis=1).astype(np.uint8)])
    return orders


def _choose_orders(
    orders: UInt8[np.ndarray, "tiles candidates"], count: int, start: int, rule: str
) -> UInt8[np.ndarray, "{count} tiles"]:
    """Algorithm 1. To be far is to agree in few places."""
    n = orders.shape[1]
    same, equal = np.empty(n, np.uint8), np.empty(n, bool)
    # with all that were chosen: the sum, or the most with any of them
    agreement = np.zeros(n, np.int32 if rule == "mean" else np.uint8)
    chosen, best = np.empty((count, len(orders)), np.uint8), start % n
    for row in chosen:
        row[:] = orders[:, best]
        same[:] = 0
        for tiles_there, tile in zip(orders, row, strict=True):
            np.equal(tiles_there, tile, out=equal)
            np.add(same, equal.view(np.uint8), out=same)
        if rule == "mean":
            np.add(agreement, same, out=agreement)
            agreement[best] = ALREADY_CHOSEN
        else:
            np.maximum(agreement, same, out=agreement)  # with itself everywhere: never again
        best = int(agreement.argmin())
    return chosen


def _load_set(path: Path, shape: tuple[int, int]) -> UInt8[np.ndarray, "count tiles"] | None:
    """Load a saved set. None if there is no file or the file is damaged."""
    try:
        orders = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if orders.shape != shape or orders.dtype != np.uint8:
        return None
    valid = (np.sort(orders, axis=1) == np.arange(shape[1])).all()
    return orders if valid and len(np.unique(orders, axis=0)) == len(orders) else None


def _save_set(path: Path, chosen: UInt8[np.ndarray, "count tiles"]) -> None:
    """Save a set under its name once it is complete. Do nothing if the folder is not writable."""
    with suppress(OSError), atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, chosen)
