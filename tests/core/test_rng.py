"""Every draw is a pure function of its keys, and a slice draws what the whole draws."""

import numpy as np
import pytest
import torch

from selfwise.core.rng import Rng, generator, hash_keys, seed_global, shuffle_indices


def test_keys_and_their_order_matter():
    streams = [
        (0,),
        (1,),
        (0, "view"),
        (0, "view", 1),
        (0, "view", 2),
        (0, 1, "view"),
        (0, "1"),
        (0, 1),
    ]
    numbers = {hash_keys(*keys) for keys in streams}
    assert len(numbers) == len(streams)
    assert hash_keys(0, "view", 1) == hash_keys(0, "view", 1)


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


def test_the_global_state_is_a_function_of_the_keys():
    device = torch.device("cpu")
    seed_global(device, 1, "forward", 2)
    first = torch.rand(3)
    seed_global(device, 1, "forward", 3)
    assert not first.equal(torch.rand(3))
    seed_global(device, 1, "forward", 2)
    assert first.equal(torch.rand(3))
    torch.manual_seed(hash_keys(1, "forward", 2))  # which tells all kinds of devices
    assert first.equal(torch.rand(3))


def test_orders_are_permutations_and_all_occur(rng):
    orders = rng().orders(3, 6000)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(3).expand(6000, 3))
    counts = (orders * torch.tensor([9, 3, 1])).sum(1).unique(return_counts=True)[1]
    assert len(counts) == 6
    assert (counts - 1000).abs().max() < 5 * 1000**0.5


def test_shuffled_is_a_keyed_permutation():
    a, b = shuffle_indices(1000, 0, "epoch", 0), shuffle_indices(1000, 0, "epoch", 1)
    assert np.array_equal(np.sort(a), np.arange(1000))
    assert np.array_equal(a, shuffle_indices(1000, 0, "epoch", 0))
    assert not np.array_equal(a, b)


def test_a_wrong_number_of_rows_is_our_own_mistake():
    with pytest.raises(AssertionError, match="expected 4 rows"):
        Rng(generator(0), slice(0, 3), 10).uniform(4)


def test_keyed_draws_are_functions_of_the_seed_and_the_keys():
    keys = torch.tensor([[0, 5], [1, 5], [0, 6], [5, 0], [0, 5]])
    a = Rng(generator(0), seed=3).keyed(keys, 4, 2)
    assert a.shape == (5, 4, 2)
    # neither the generator nor the place in the batch has a part in it
    assert torch.equal(a, Rng(generator(9), seed=3).keyed(keys, 4, 2))
    assert torch.equal(a[1:3], Rng(generator(0), seed=3).keyed(keys[1:3], 4, 2))
    assert torch.equal(a[0], a[4])
    assert len({tuple(row.flatten().tolist()) for row in a}) == 4
    assert not torch.equal(a, Rng(generator(0), seed=4).keyed(keys, 4, 2))
    # a longer draw begins with the shorter one
    assert torch.equal(a, Rng(generator(0), seed=3).keyed(keys, 9, 2)[:, :4])


def test_keyed_draws_are_uniform_and_do_not_hang_together():
    keys = torch.stack([torch.arange(4000) % 4, torch.arange(4000) // 4], dim=1)
    drawn = Rng(generator(0), seed=0).keyed(keys, 64)
    assert 0 <= drawn.min() < 1e-4
    assert 1 - 1e-4 < drawn.max() < 1
    counts = torch.histc(drawn, 64, 0, 1)
    n = drawn.numel() / 64
    assert (counts - n).abs().max() < 5 * n**0.5
    # neighbours in the row, in the epoch and in the index; the lowest bits too
    for values in (drawn - 0.5, (drawn * 2**24 % 256) / 256 - 0.5):
        for other in (values.roll(1, 1), values.roll(1, 0), values.roll(4, 0)):
            assert (values * other).mean().abs() < 5 / 12 / drawn.numel() ** 0.5
    assert (drawn.mean(dim=1) - 0.5).abs().max() < 5 * (1 / 12 / 64) ** 0.5


def test_keyed_draws_need_the_seed_of_the_run():
    with pytest.raises(AssertionError, match="seed"):
        Rng(generator(0)).keyed(torch.zeros(2, 2, dtype=torch.int64), 3)


def test_the_mixing_is_that_of_splitmix64():
    """The first numbers of the published generator from the seed 1234567."""
    from selfwise.core.rng import STRIDE, _mix

    state = 1234567 + torch.arange(1, 4) * STRIDE
    ours = [int(bits) % 2**64 for bits in _mix(state)]
    assert ours == [6457827717110365317, 3203168211198807973, 9817491932198370423]
