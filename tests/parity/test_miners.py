"""Triplets against pytorch-metric-learning, where the two mean the same."""

import pytest
import torch
import torch.nn.functional as F

from selfwise.core.rng import generator
from selfwise.losses import triplet_mining as mining
from selfwise.losses.triplet import triplet_loss

pml = pytest.importorskip("pytorch_metric_learning")
from pytorch_metric_learning.distances import LpDistance  # noqa: E402
from pytorch_metric_learning.losses import TripletMarginLoss  # noqa: E402
from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner  # noqa: E402

MARGIN = 0.2
SQUARED = LpDistance(normalize_embeddings=True, p=2, power=2)  # theirs is not squared by default


@pytest.fixture(params=[2, 4, 16])
def batch(request) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(64, 8, generator=generator(request.param, "z"))
    order = torch.randperm(64, generator=generator(request.param, "order"))
    return F.normalize(z, dim=1), (torch.arange(64) // request.param)[order]


def ours(z: torch.Tensor, identity: torch.Tensor, mine) -> set[tuple[int, int, int]]:
    found = mine(mining.compute_squared_distances(z), identity, mining.find_positives(identity))
    return set(zip(*(each[found.chosen].tolist() for each in found[:3])))


def theirs(z: torch.Tensor, identity: torch.Tensor, kind: str) -> set[tuple[int, int, int]]:
    """All valid triplets of the kind, where we take one of each pair."""
    miner = TripletMarginMiner(margin=MARGIN, type_of_triplets=kind, distance=SQUARED)
    return set(zip(*(each.tolist() for each in miner(z, identity))))


def test_each_semihard_triplet_is_one_of_theirs_and_no_pair_is_left_out(batch):
    z, identity = batch
    own, all_of_them = ours(z, identity, mining.mine_semihard), theirs(z, identity, "semihard")
    assert own
    assert own <= all_of_them
    assert {t[:2] for t in own} == {t[:2] for t in all_of_them}


def test_each_hard_triplet_that_is_hard_is_one_of_theirs(batch):
    """Their "hard" is d(a, n) < d(a, p); ours is the nearest negative, hard or not."""
    z, identity = batch
    d = mining.compute_squared_distances(z)
    own = {t for t in ours(z, identity, mining.mine_hard) if d[t[0], t[2]] < d[t[0], t[1]]}
    all_of_them = theirs(z, identity, "hard")
    assert own <= all_of_them
    assert {t[:2] for t in own} == {t[:2] for t in all_of_them}


def test_batch_hard_is_theirs(batch):
    z, identity = batch
    found = BatchHardMiner(distance=SQUARED)(z, identity)
    assert ours(z, identity, mining.mine_batch_hard) == set(zip(*(each.tolist() for each in found)))


def test_loss_and_gradient_of_given_triplets(batch):
    z, identity = (t.clone() for t in batch)
    found = mining.mine_semihard(
        mining.compute_squared_distances(z), identity, mining.find_positives(identity)
    )
    rows = tuple(each[found.chosen] for each in found[:3])
    grads, values = [], []
    for loss in (
        lambda z: (
            mining.compute_hinge_costs(mining.compute_squared_distances(z), found, MARGIN).sum()
            / found.chosen.sum()
        ),
        lambda z: triplet_loss(*(z[each] for each in rows), margin=MARGIN),
        lambda z: TripletMarginLoss(margin=MARGIN, distance=SQUARED)(z, identity, rows),
    ):
        leaf = z.clone().requires_grad_()
        # all of them see the sphere, which theirs projects onto
        value = loss(F.normalize(leaf, dim=1))
        value.backward()
        values.append(value.detach())
        grads.append(leaf.grad)
    for value, grad in zip(values[1:], grads[1:]):
        torch.testing.assert_close(values[0], value, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(grads[0], grad, atol=1e-6, rtol=1e-4)
