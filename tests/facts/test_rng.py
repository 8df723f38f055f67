"""Every draw is a pure function of its keys, and a slice draws what the whole draws."""

import numpy as np
import pytest
import torch

from selfwise.rng import Rng, generator, hashed, shuffled


def test_keys_and_their_order_matter():
    streams = [(0,), (1,), (0, "view"), (0, "view", 1), (0, "view", 2), (0, 1, "view"), (0, "1")]
    numbers = {hashed(*keys) for keys in streams}
    assert len(numbers) == len(streams)
    assert hashed(0, "view", 1) == hashed(0, "view", 1)


def test_generator_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    a = torch.rand(5, generator=generator(3, "x"))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(a, torch.rand(5, generator=generator(3, "x")))
    assert not torch.equal(a, torch.rand(5, generator=generator(4, "x")))


@pytest.mark.parametrize("part", [slice(0, 3), slice(3, 10), slice(9, 10)])
def test_a_slice_draws_what_the_whole_draws(part):
    n = part.stop - part.start
    whole, some = Rng(generator(0, "a")), Rng(generator(0, "a"), part, 10)
    assert torch.equal(whole.uniform(10, 2)[part], some.uniform(n, 2))
    assert torch.equal(whole.normal(10)[part], some.normal(n))
    assert torch.equal(whole.integers(7, 10, 3)[part], some.integers(7, n, 3))
    assert torch.equal(whole.orders(4, 10)[part], some.orders(4, n))


def test_orders_are_permutations_and_all_occur(rng):
    orders = rng().orders(3, 6000)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(3).expand(6000, 3))
    counts = (orders * torch.tensor([9, 3, 1])).sum(1).unique(return_counts=True)[1]
    assert len(counts) == 6
    assert (counts - 1000).abs().max() < 5 * 1000**0.5


def test_shuffled_is_a_keyed_permutation():
    a, b = shuffled(1000, 0, "epoch", 0), shuffled(1000, 0, "epoch", 1)
    assert np.array_equal(np.sort(a), np.arange(1000))
    assert np.array_equal(a, shuffled(1000, 0, "epoch", 0))
    assert not np.array_equal(a, b)


def test_a_wrong_number_of_rows_is_our_own_mistake():
    with pytest.raises(AssertionError, match="asked for 4 rows"):
        Rng(generator(0), slice(0, 3), 10).uniform(4)
