"""Bugs that the tests of random numbers notice."""

from functools import partial

import numpy as np
import pytest
import torch

from selfwise.core.rng import Rng, generator, hash_keys, seed_global, shuffle_indices
from tests.core import test_rng as facts
from tests.helpers.planted import Bug, assert_caught, changed_output, make_rng

KEYS = facts.test_keys_and_their_order_matter
SLICE = partial(facts.test_a_slice_draws_what_the_whole_draws, slice(3, 10))
KEYED = facts.test_keyed_draws_are_functions_of_the_seed_and_the_keys


def draw_few(name):
    """The numbers are drawn for the slice alone."""
    return Bug(
        f"a slice draws its own {name}",
        getattr(Rng, name),
        lambda healthy: lambda self, *given: healthy(Rng(self.generator), *given),
        SLICE,
    )


BUGS = [
    Bug("the order of keys does not matter", hash_keys,
        lambda healthy: lambda *keys: healthy(*sorted(keys, key=str)), KEYS),
    Bug("numbers and their names are one key", hash_keys,
        lambda healthy: lambda *keys: healthy(keys[0], *map(str, keys[1:])), KEYS),
    Bug("the last key is left out", hash_keys,
        lambda healthy: lambda *keys: healthy(*keys[:2]), KEYS),
    Bug("a generator is torch's own", generator,
        lambda _: lambda *keys, device="cpu": torch.default_generator.manual_seed(hash_keys(*keys)),
        facts.test_generator_leaves_the_global_state_alone),
    Bug("the seed does not matter", generator,
        lambda healthy: lambda seed, *keys, device="cpu": healthy(0, *keys),
        facts.test_generator_leaves_the_global_state_alone),
    *map(draw_few, ("uniform", "normal", "integers")),
    Bug("the global state is that of the first key", seed_global,
        lambda healthy: lambda device, seed, *keys: healthy(device, seed),
        facts.test_the_global_state_is_a_function_of_the_keys),
    Bug("an order never begins with the last", Rng.orders,
        changed_output(lambda orders: torch.where(
            orders[:, :1] == 2, orders.flip(1), orders)),
        partial(facts.test_orders_are_permutations_and_all_occur, make_rng)),
    Bug("every epoch is shuffled alike", shuffle_indices,
        lambda healthy: lambda n, seed, *keys: healthy(n, seed),
        facts.test_shuffled_is_a_keyed_permutation),
    Bug("a row is there twice", shuffle_indices,
        changed_output(lambda order: np.concatenate([order[:1], order[:-1]])),
        facts.test_shuffled_is_a_keyed_permutation),
    Bug("keyed draws are the generator's", Rng.keyed,
        lambda _: lambda self, keys, *shape: self.uniform(len(keys), *shape), KEYED),
    Bug("keyed draws are those of the first key", Rng.keyed,
        lambda healthy: lambda self, keys, *shape: healthy(self, keys[:, :1], *shape), KEYED),
    Bug("keyed draws are squeezed", Rng.keyed, changed_output(lambda x: x * 0.9),
        facts.test_keyed_draws_are_uniform_and_do_not_hang_together),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
