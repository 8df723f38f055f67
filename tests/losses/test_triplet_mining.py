"""Triplets against three nested loops in float64, and what mining must not cost."""

import math
from inspect import unwrap

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from selfwise.core.rng import generator
from selfwise.losses import triplet_mining as mining
from selfwise.losses.triplet import triplet_loss
from selfwise.losses.triplet_mining import (
    Triplets,
    compute_hinge_costs,
    compute_squared_distances,
    find_positives,
    find_positives_grouped,
)

MARGIN = 0.2


def embeddings(n: int, d: int = 6, seed: int = 0) -> torch.Tensor:
    """float64, on the unit sphere."""
    z = torch.randn(n, d, generator=generator(seed, "z"), dtype=torch.float64)
    return F.normalize(z, dim=1)


IDENTITIES = {
    "uneven": torch.randint(5, (30,), generator=generator(0, "identity")) ** 2,
    "one of each but one": torch.tensor([3, 1, 0, 3, 2, 4]),
    "groups": torch.arange(8).repeat_interleave(4),
    "shuffled": torch.arange(32).roll(5) * 7 % 8 - 4,
    "views": torch.arange(15).repeat(2),
    "two": torch.tensor([1, 0, 1, 1]),
}


@pytest.fixture(params=IDENTITIES.values(), ids=IDENTITIES)
def identity(request) -> torch.Tensor:
    return request.param


def named(triplets: Triplets) -> set[tuple[int, int, int]]:
    """The chosen ones; each once."""
    rows = torch.stack(triplets[:3])[:, triplets.chosen].T.tolist()
    assert len(rows) == len({tuple(row) for row in rows})
    return {tuple(row) for row in rows}


def pairs(identity: torch.Tensor) -> list[tuple[int, int]]:
    n = range(len(identity))
    return [(a, p) for a in n for p in n if a != p and identity[a] == identity[p]]


def by_loops(z: torch.Tensor, identity: torch.Tensor, rule) -> set[tuple[int, int, int]]:
    """`rule(d(a, p), negatives)` chooses from (d(a, n), n) of all negatives of a pair."""
    found = set()
    for a, p in pairs(identity):
        others = [n for n in range(len(z)) if identity[n] != identity[a]]
        negatives = [(float((z[a] - z[n]).square().sum()), n) for n in others]
        chosen = rule(float((z[a] - z[p]).square().sum()), negatives)
        if chosen is not None:
            found.add((a, p, chosen))
    return found


def semihard_rule(near: float, negatives: list[tuple[float, int]]) -> int | None:
    within = [(far, n) for far, n in negatives if near < far < near + MARGIN]
    return min(within)[1] if within else None


def hard_rule(near: float, negatives: list[tuple[float, int]]) -> int | None:
    return min(negatives)[1] if negatives else None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("mine", "rule"), [(mining.mine_semihard, semihard_rule), (mining.mine_hard, hard_rule)]
)
def test_against_three_loops(identity, mine, rule, seed):
    z = embeddings(len(identity), seed=seed)
    found = mine(compute_squared_distances(z), identity, find_positives(identity))
    assert named(found) == by_loops(z, identity, rule)


def test_semihard_has_all_kinds_of_pairs():
    """What is compared above contains pairs with a triplet, and both kinds without."""
    identity = IDENTITIES["groups"]
    z = embeddings(len(identity))
    d = compute_squared_distances(z)
    found = mining.mine_semihard(d, identity, find_positives(identity), margin=MARGIN)
    other = d.masked_fill(identity[:, None] == identity, math.inf)
    own = d[found.anchor, found.positive]
    beyond = (other[found.anchor] >= own[:, None] + MARGIN).all(dim=1)
    assert 20 < found.chosen.sum() < len(own)
    assert beyond[found.chosen].sum() == 0
    wide = mining.mine_semihard(d, identity, find_positives(identity), margin=8.0)
    assert (wide.chosen & ~found.chosen).any()  # nothing within 0.2, but something farther
    assert (~wide.chosen).any()  # nothing farther at all


def test_batch_hard_against_two_loops(identity):
    """Hermans et al. 2017, eq. 5: the hardest positive and the hardest negative of each anchor."""
    z = embeddings(len(identity))
    d = (z[:, None] - z[None]).square().sum(dim=2).tolist()
    expected, rows = set(), range(len(z))
    for a in rows:
        own = [(d[a][p], p) for p in rows if p != a and identity[p] == identity[a]]
        others = [(d[a][n], n) for n in rows if identity[n] != identity[a]]
        if own and others:
            expected.add((a, max(own)[1], min(others)[1]))
    found = mining.mine_batch_hard(compute_squared_distances(z), identity, find_positives(identity))
    assert len(found.anchor) == len(z)
    assert named(found) == expected


def test_random_negatives_are_uniform_among_the_others(identity):
    """Draws in even steps meet each negative of a pair equally often."""
    partner = find_positives(identity)
    others = (identity[:, None] != identity).sum(dim=1, keepdim=True)
    met: dict[tuple[int, int], list[int]] = {}
    for step in range(2 * len(identity)):
        draw = ((step + 0.5) / (2 * others) % 1).expand_as(partner)
        found = named(mining.mine_random(identity, partner, draw))
        assert {t[:2] for t in found} == set(pairs(identity))
        for a, p, n in found:
            if step < 2 * others[a]:
                met.setdefault((a, p), []).append(n)
    for (a, _), negatives in met.items():
        expected = [n for n in range(len(identity)) if identity[n] != identity[a]]
        assert sorted(negatives) == sorted(2 * expected)


def test_the_largest_draw_is_another_identity():
    identity = torch.arange(3).repeat_interleave(2)
    largest = torch.full((6, 1), 1 - 2**-24)
    found = mining.mine_random(identity, find_positives(identity), largest)
    assert found.negative.tolist() == [5, 5, 5, 5, 3, 3]
    one = mining.mine_random(identity, find_positives(identity), torch.zeros(6, 1))
    assert one.negative.tolist() == [2, 2, 0, 0, 0, 0]


def test_partners_against_a_loop(identity):
    found = find_positives(identity)
    width = max(int((identity == who).sum()) for who in identity) - 1
    assert found.shape == (len(identity), width)
    for a, row in enumerate(found.tolist()):
        own = [p for p in range(len(identity)) if p != a and identity[p] == identity[a]]
        assert row == own + [a] * (width - len(own))


@pytest.mark.parametrize("name", ["groups", "shuffled", "views"])
def test_groups_are_partners_whose_sizes_are_known(name):
    identity = IDENTITIES[name]
    size = int((identity == identity[0]).sum())
    assert torch.equal(find_positives_grouped(identity, size), find_positives(identity))


def test_strangers_are_never_chosen():
    """As where a broken image was replaced by one of another identity."""
    identity = torch.tensor([0, 0, 0, 0, 1, 1, 2, 1])
    z = embeddings(8)
    told = (compute_squared_distances(z), identity, find_positives_grouped(identity, 4))
    for found in (
        mining.mine_semihard(*told),
        mining.mine_hard(*told),
        mining.mine_batch_hard(*told),
    ):
        assert all(identity[a] == identity[p] for a, p, _ in named(found))
        assert all(identity[a] != identity[n] for a, _, n in named(found))
    found = mining.mine_hard(*told)
    assert {t[:2] for t in named(found)} == set(pairs(identity))


def test_groups_that_do_not_come_out_even():
    with pytest.raises(ValueError, match=r"a batch of 30 images does not have 4 of each.*28"):
        find_positives_grouped(torch.arange(30), 4)


def test_a_negative_as_far_as_the_positive_is_not_semihard():
    """Eq. 4 and what follows: d(a, p) < d(a, n), and inside the margin. Whole numbers are exact."""
    z = torch.tensor([[0.0], [2.0], [-2.0], [3.0], [-3.0], [9.0]])
    identity = torch.tensor([0, 0, 1, 1, 2, 2])
    told = (compute_squared_distances(z), identity, torch.tensor([[1], [0], [3], [2], [5], [4]]))
    # from the anchor at 0: the positive at 4, negatives at 4, 9, 9 and 81
    first = {margin: mining.mine_semihard(*told, margin=margin) for margin in (5.0, 5.1)}
    assert not first[5.0].chosen[0]  # 9 is not below 4 + 5
    assert first[5.1].chosen[0]
    assert first[5.1].negative[0] == 3  # of two as far as each other the first
    assert mining.mine_hard(*told).negative[0] == 2


def test_twins_are_pairs_like_others():
    """Duplicates: the distance 0 is nearer than any other; a negative on the anchor is not."""
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.96, 0.28]])
    told = (
        compute_squared_distances(z),
        torch.tensor([0, 0, 1, 1]),
        torch.tensor([[1], [0], [3], [2]]),
    )
    found = mining.mine_semihard(*told)
    assert named(found) == {(0, 1, 3), (1, 0, 3)}
    assert compute_hinge_costs(told[0], found, 0.2).tolist() == pytest.approx(
        [0.12, 0.12, 0, 0], abs=1e-6
    )
    assert mining.mine_hard(*told).negative.tolist() == [2, 2, 0, 0]


@pytest.mark.parametrize("way", mining.LABEL_RULES)
def test_one_identity_costs_nothing(way):
    z = embeddings(4).requires_grad_()
    identity = torch.zeros(4, dtype=torch.int64)
    told = {"mining": way, "margin": 0.2, "draw": torch.rand(4, 3)}
    step = mining.triplet_step(z, identity, find_positives(identity), **told)
    step.loss.backward()
    assert step.loss == 0
    assert z.grad.abs().max() == 0


@pytest.mark.parametrize("way", mining.LABEL_RULES)
@pytest.mark.parametrize("where", [slice(3, 4), slice(None)])
def test_what_is_not_a_number_is_seen_in_the_loss(way, where):
    identity = torch.arange(8).repeat(2)
    for wrong in (math.nan, -math.nan):
        z = embeddings(16).float()
        z[where] = wrong
        told = {"mining": way, "margin": 0.2, "draw": torch.rand(16, 1)}
        step = mining.triplet_step(z, identity, find_positives(identity), **told)
        assert step.loss.isnan()


def test_distances_are_squared_and_euclidean():
    z = 3 * torch.randn(20, 5, generator=generator(0, "z"), dtype=torch.float64)
    expected = torch.cdist(z, z).square()
    torch.testing.assert_close(compute_squared_distances(z), expected, atol=1e-10, rtol=1e-10)
    single = F.normalize(z.float(), dim=1)
    exact = torch.cdist(single.double(), single.double()).square()
    assert (compute_squared_distances(single) - exact).abs().max() < 1e-6


def test_distances_are_float32_under_autocast():
    z = embeddings(16, 64).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(compute_squared_distances(z), exact := compute_squared_distances(z))
    assert exact.dtype == torch.float32
    assert compute_squared_distances(z.bfloat16()).dtype == torch.float32
    identity = torch.arange(8).repeat(2)
    told = {"mining": "semihard", "margin": 0.2}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = mining.triplet_step(z, identity, find_positives(identity), **told).loss
    assert torch.equal(
        mixed, mining.triplet_step(z, identity, find_positives(identity), **told).loss
    )


def test_the_hinge_is_the_triplet_loss_of_what_is_chosen(identity):
    z = embeddings(len(identity))
    d = compute_squared_distances(z)
    for found in (
        mining.mine_semihard(d, identity, find_positives(identity)),
        mining.mine_hard(d, identity, find_positives(identity)),
    ):
        cost = compute_hinge_costs(d, found, 0.3)
        assert (cost[~found.chosen] == 0).all()
        if found.chosen.any():
            rows = (z[each[found.chosen]] for each in found[:3])
            expected = triplet_loss(*rows, margin=0.3)
            torch.testing.assert_close(cost[found.chosen].mean(), expected)


def test_no_gradient_through_what_is_not_chosen():
    identity = IDENTITIES["groups"]
    d = compute_squared_distances(embeddings(32)).requires_grad_()
    found = mining.mine_semihard(d, identity, find_positives(identity))
    assert not any(each.requires_grad for each in found)
    compute_hinge_costs(d, found, MARGIN).sum().backward()
    expected = torch.zeros_like(d)
    for a, p, n in named(found):
        expected[a, p] += 1
        expected[a, n] -= 1
    assert torch.equal(d.grad, expected)


@pytest.mark.parametrize("way", mining.LABEL_RULES)
def test_the_step_against_loops(identity, way):
    """The mean over all pairs, of embeddings on the sphere; what is logged of them."""
    n, partner = len(identity), find_positives(identity)
    raw = 3 * embeddings(n) * torch.rand(n, 1, generator=generator(0, "length")).double()
    draw = torch.rand(partner.shape, generator=generator(0, "draw"))
    z, told = F.normalize(raw, dim=1), (identity, partner)
    step = mining.triplet_step(raw, *told, mining=way, margin=MARGIN, draw=draw)
    d = (z[:, None] - z[None]).square().sum(dim=2)
    mined = {
        "random": lambda: mining.mine_random(*told, draw),
        "semihard": lambda: mining.mine_semihard(d, *told),
        "hard": lambda: mining.mine_hard(d, *told),
        "batch_hard": lambda: mining.mine_batch_hard(d, *told),
    }
    costs = [max(0.0, float(d[a, p] - d[a, m]) + MARGIN) for a, p, m in named(mined[way]())]
    count = mining.count_mined_pairs(way, n, partner.shape[1])
    assert float(step.terms["triplet_loss"].count) == count
    assert float(step.loss) == pytest.approx(sum(costs) / count, rel=1e-6, abs=1e-9)
    metrics = {name: float(term.mean) for name, term in step.metrics.items()}
    assert metrics["active_triplets"] == pytest.approx(sum(cost > 0 for cost in costs) / count)
    own = pairs(identity)
    other = [(a, m) for a in range(n) for m in range(n) if identity[a] != identity[m]]
    first = [all(d[a, p] < d[a, m] for b, m in other if b == a) for a, p in own]
    assert metrics["contrastive_top1"] == pytest.approx(sum(first) / len(own))
    for name, some in (("positive_distance", own), ("negative_distance", other)):
        assert metrics[name] == pytest.approx(sum(float(d[i]) for i in some) / len(some))


def test_the_gradient_of_the_step():
    z = torch.randn(12, 4, generator=generator(0, "z"), dtype=torch.float64).requires_grad_()
    identity = torch.arange(6).repeat(2)
    told = {"mining": "semihard", "margin": 0.7}

    def loss(z: torch.Tensor) -> torch.Tensor:
        return mining.triplet_step(z, identity, find_positives(identity), **told).loss

    assert loss(z) > 0
    assert torch.autograd.gradcheck(loss, z)


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor has that is made."""

    numel, bytes = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else [made]:
            if isinstance(one, torch.Tensor):
                self.numel = max(self.numel, one.untyped_storage().nbytes() // one.element_size())
        return made


@pytest.mark.parametrize("way", mining.LABEL_RULES)
@pytest.mark.parametrize("size", [2, 8, 128])
def test_no_tensor_is_larger_than_the_distances(way, size):
    n = 256
    z = torch.randn(n, 16, generator=generator(0, "z")).requires_grad_()
    identity = torch.arange(n) // size
    draw = torch.rand(n, size - 1)
    with Largest() as largest:
        told = {"mining": way, "margin": 0.2, "draw": draw}
        step = mining.triplet_step(z, identity, find_positives_grouped(identity, size), **told)
        step.loss.backward()
        find_positives(identity)
    assert n * n <= largest.numel <= n * n


def test_nothing_waits_for_a_device():
    """On the meta device there are shapes and no numbers."""
    d, identity = torch.empty(16, 16, device="meta"), torch.zeros(16).long().to("meta")
    told = identity, find_positives_grouped(identity, 4)
    found = [
        mine(d, *told) for mine in (mining.mine_semihard, mining.mine_hard, mining.mine_batch_hard)
    ]
    found.append(mining.mine_random(*told, torch.empty(16, 3, device="meta")))
    assert [len(each.anchor) for each in found] == [48, 48, 16, 48]
    assert all(compute_hinge_costs(d, each, 0.2).is_meta for each in found)


@pytest.mark.parametrize("way", mining.LABEL_RULES)
def test_two_runs_on_two_threads_are_the_same(way):
    torch.set_num_threads(2)
    identity = torch.arange(256) // 16
    draw = torch.rand(256, 15, generator=generator(0, "draw"))
    base = torch.randn(256, 64, generator=generator(0, "z"))
    grads = []
    for _ in range(3):
        z = base.clone().requires_grad_()
        told = {"mining": way, "margin": 0.2, "draw": draw}
        mining.triplet_step(
            z, identity, find_positives_grouped(identity, 16), **told
        ).loss.backward()
        grads.append(z.grad)
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])


def test_unknown_ways_and_margins():
    with pytest.raises(ValueError, match="unknown mining 'semi-hard'; did you mean 'semihard'"):
        mining.check_mining("semi-hard", 0.2, mining.VIEW_RULES)
    with pytest.raises(ValueError, match="there are: hard, random, semihard"):
        mining.check_mining("batch_hard", 0.2, mining.VIEW_RULES)
    for margin in (0.0, -0.2, math.nan, math.inf):
        with pytest.raises(ValueError, match="margin must be above 0"):
            unwrap(mining.check_mining)("hard", margin, mining.VIEW_RULES)
