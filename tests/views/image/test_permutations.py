"""Sets of permutations (arXiv:1603.09246, algorithm 1), against loops over small cases."""

import os
from itertools import combinations, permutations
from math import factorial

import numpy as np
import pytest

from selfwise.views.image import permutations as module
from selfwise.views.image.permutations import hamming_distances, permutation_set


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A folder of its own, and nothing remembered."""
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path))
    permutation_set.cache_clear()
    yield tmp_path / "permutations"
    permutation_set.cache_clear()


def apart(a, b) -> int:
    return sum(int(s != t) for s, t in zip(a, b, strict=True))


def by_loop(tiles: int, count: int, first: tuple[int, ...], rule: str) -> list[tuple[int, ...]]:
    """Algorithm 1 as it is printed: all distances anew for each; the first of equals."""
    left, chosen = list(permutations(range(tiles))), [first]
    left.remove(first)
    while len(chosen) < count:
        total = {"mean": sum, "min": min}[rule]
        scores = [total(apart(c, p) for p in chosen) for c in left]
        chosen.append(left.pop(scores.index(max(scores))))
    return chosen


@pytest.mark.parametrize("tiles", [2, 3, 5])
def test_the_candidates_are_all_orders(tiles):
    found = module._list_orders(tiles)
    assert found.T.tolist() == [list(p) for p in permutations(range(tiles))]


@pytest.mark.parametrize("rule", ["mean", "min"])
@pytest.mark.parametrize(("tiles", "count"), [(3, 6), (4, 24), (5, 30)])
def test_the_set_is_that_of_a_naive_loop(tiles, count, rule):
    """To the last order: also when the candidates run out."""
    found = [tuple(int(t) for t in row) for row in permutation_set(tiles, count, rule=rule)]
    assert found == by_loop(tiles, count, found[0], rule)
    assert len(set(found)) == count


def test_two_by_two_has_24():
    assert len(np.unique(permutation_set(4, 24), axis=0)) == 24


@pytest.mark.parametrize("tiles", [4, 9])
def test_distances_are_those_of_a_double_loop(tiles):
    perms = permutation_set(tiles, 20, rule="min")
    pairs = [apart(a, b) for a, b in combinations(perms.tolist(), 2)]
    least, mean = hamming_distances(perms)
    assert least == min(pairs)
    assert mean == pytest.approx(sum(pairs) / len(pairs), rel=1e-12)


def test_distances_of_many_are_compared_across_blocks():
    """Rows 0 and 600 are the same but for one swap, and no others are so near."""
    perms = permutation_set(9, 700, rule="min").copy()
    assert hamming_distances(perms)[0] > 2
    perms[600] = perms[0]
    perms[600, [3, 4]] = perms[0, [4, 3]]
    assert hamming_distances(perms)[0] == 2


@pytest.mark.parametrize(("count", "mean"), [(1000, 8.00), (100, 8.08)])
def test_the_numbers_of_the_paper(count, mean):
    """Its ablation of the sets has these means, and a least distance of 2 for both."""
    found = hamming_distances(permutation_set(9, count))
    assert found[0] == 2
    assert found[1] == pytest.approx(mean, abs=0.01)


def test_the_first_nine_differ_everywhere():
    """There are at most nine such, and both rules find them first."""
    for rule in ("mean", "min"):
        assert hamming_distances(permutation_set(9, 9, rule=rule)) == (9, 9.0)


def test_the_other_rule_keeps_them_farther_apart():
    assert hamming_distances(permutation_set(9, 100, rule="min"))[0] == 6


def test_the_set_is_the_same_on_every_machine():
    """No number of another library's generator is in it."""
    found = permutation_set(9, 64)
    assert found.shape == (64, 9)
    assert found.dtype == np.int64
    assert found[[0, 1, 63]].tolist() == KNOWN
    assert found[0].tolist() != permutation_set(9, 2, seed=1)[0].tolist()


KNOWN = [[0, 7, 3, 5, 8, 4, 6, 2, 1], [1, 0, 2, 3, 4, 5, 7, 6, 8], [0, 1, 2, 3, 4, 6, 5, 7, 8]]


@pytest.mark.parametrize(
    ("tiles", "count", "rule"),
    [(4, 25, "mean"), (4, 1, "mean"), (9, 362_881, "min"), (16, 100, "mean"), (4, 10, "mena")],
)
def test_impossible_sets_are_named(tiles, count, rule):
    with pytest.raises(ValueError, match=r"permutations.*(not|did you mean 'mean')"):
        permutation_set(tiles, count, rule=rule)


def test_nobody_can_write_to_what_is_shared():
    with pytest.raises(ValueError, match="read-only"):
        permutation_set(4, 10)[0] = 0


def test_small_sets_leave_no_file(cache):
    permutation_set(4, 24)
    assert not cache.exists()


@pytest.fixture
def kept(monkeypatch, cache):
    """The file of a small set that was thought worth keeping, and the set."""
    monkeypatch.setattr(module, "WORTH_SAVING", 0)
    found = permutation_set(4, 10)
    (path,) = cache.iterdir()
    permutation_set.cache_clear()
    return path, found


def test_a_large_set_is_read_from_its_file(kept):
    path, found = kept
    other = found[::-1].astype(np.uint8)
    np.save(path, other)
    assert (permutation_set(4, 10) == other).all()


def test_sets_of_other_arguments_have_other_files(kept):
    path, _ = kept
    for options in ({"seed": 1}, {"rule": "min"}):
        permutation_set(4, 10, **options)
    permutation_set(4, 11)
    assert len(list(path.parent.iterdir())) == 4


@pytest.mark.parametrize("damage", ["cut", "empty", "shape", "same", "wrong", "wide", "pickle"])
def test_a_damaged_file_is_made_again(kept, damage):
    path, found = kept
    rows = found.astype(np.uint8)
    bad = {"shape": rows[:9], "same": rows[[0] * 10], "wrong": rows * 0, "wide": found}
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "pickle":
        np.save(path, np.array([{}] * 10, dtype=object), allow_pickle=True)
    else:
        np.save(path, bad[damage])
    assert (permutation_set(4, 10) == found).all()
    assert (np.load(path, allow_pickle=False) == found).all()


def test_without_a_place_for_it_the_set_is_made_all_the_same(kept, monkeypatch, tmp_path):
    _, found = kept
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "file"))
    assert (permutation_set(4, 10) == found).all()


def test_a_half_written_file_has_another_name(kept, monkeypatch):
    """A process that is killed, or a full disk, leaves nothing that would be read."""
    path, found = kept
    path.unlink()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert (permutation_set(4, 10) == found).all()
    assert not list(path.parent.iterdir())


def test_all_orders_of_six(cache):
    """As many as there are: the running sums stay right to the end."""
    found = permutation_set(6, factorial(6))
    assert len(np.unique(found, axis=0)) == 720
    assert hamming_distances(found)[1] == pytest.approx(5 * 720 / 719)
