"""Semi-hard triplets of a batch: from embeddings to loss and gradient."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.row import Contest, Prepared, Run, Setting
from selfwise.core.rng import generator
from selfwise.losses.triplet_mining import (
    Triplets,
    compute_hinge_costs,
    find_positives,
    find_positives_grouped,
    mine_triplets,
    triplet_step,
)

PEER = (
    "pytorch-metric-learning's `TripletMarginMiner` and `TripletMarginLoss`. Its miner takes every "
    "semi-hard negative of a pair, for which it lists all triplets of the batch; selfwise takes "
    "the nearest, which FaceNet leaves open and which costs most. selfwise also counts what a run "
    "logs: active pairs, mean distances"
)
PACKAGES = ("pytorch-metric-learning",)
N, DIM, MARGIN = 1024, 128, 0.2
CASES = {
    str(k): f"{N:,} embeddings of {DIM} numbers, {k} of each identity, margin {MARGIN}"
    for k in (2, 4, 32)
}
OURS, THEIRS = "selfwise", "pytorch-metric-learning"
GOALS = {case: [Contest(OURS, THEIRS, 10)] for case in CASES}
Loss = Callable[[Tensor, Tensor], Tensor]  # embeddings, identities -> loss
NEAR = 1e-5  # squared distances of unit vectors, as two programs round them


def batch(k: int, device: str) -> tuple[Tensor, Tensor]:
    """Embeddings that identities have begun to shape, and identities, shuffled."""
    draw = generator(0, "benchmark", N, k)
    identity = (torch.arange(N) // k)[torch.randperm(N, generator=draw)]
    middles = torch.randn(N // k, DIM, generator=draw)
    z = middles[identity] + torch.randn(N, DIM, generator=draw)
    return z.to(device), identity.to(device)


def ours(z: Tensor, identity: Tensor, k: int) -> Tensor:
    """As the method `triplet_labelled` does it."""
    told = {"mining": "semihard", "margin": MARGIN}
    return triplet_step(z, identity, find_positives_grouped(identity, k), **told).loss  # type: ignore[arg-type]


def peer() -> tuple[Any, Any]:
    """Miner and loss with FaceNet's distance, that of the embeddings on the sphere, squared."""
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import TripletMarginMiner

    distance = LpDistance(normalize_embeddings=True, p=2, power=2)
    miner = TripletMarginMiner(margin=MARGIN, type_of_triplets="semihard", distance=distance)
    return miner, TripletMarginLoss(margin=MARGIN, distance=distance)


def nearest(listed: tuple[Tensor, ...], distance: Tensor) -> Tensor:
    """Of each anchor and positive the distance of the nearest listed negative, else infinite."""
    anchor, positive, negative = listed
    found = torch.full((N * N,), torch.inf, device=distance.device)
    far = distance[anchor, negative]
    return found.scatter_reduce(0, anchor * N + positive, far, "amin").view(N, N)


def equal_work(z: Tensor, identity: Tensor) -> tuple[str, dict[str, object]]:
    """What both take and what it costs: a sentence, and numbers of triplets.

    Raises AssertionError unless selfwise has the nearest of those negatives that the peer lists
    for a pair, and none where it lists none; and the peer's loss and gradient of these triplets
    are selfwise's.
    """
    miner, loss = peer()
    listed = miner(z, identity)
    distance, triplets = mine_triplets(
        z, identity, find_positives(identity), mining="semihard", margin=MARGIN
    )
    taken = tuple(part[triplets.chosen] for part in triplets[:3])
    mine, theirs = nearest(taken, distance), nearest(listed, distance)
    same = (mine == theirs) | ((mine - theirs).abs() <= NEAR)
    apart = int((~same).sum())
    assert apart <= len(triplets.anchor) / 1000, f"{apart} pairs have another nearest negative"
    said = same_loss(z, identity, triplets, taken, loss)
    told: dict[str, object] = {"taken": len(taken[0]), "taken_by_peer": len(listed[0])}
    return (
        f"of {len(triplets.anchor):,} pairs all but {apart} have the nearest of the negatives "
        f"that the peer lists ({len(taken[0]):,} of {len(listed[0]):,} triplets); {said}"
    ), told


def same_loss(
    z: Tensor, identity: Tensor, triplets: Triplets, taken: tuple[Tensor, ...], loss: Any
) -> str:
    """The peer's loss is a mean over triplets that cost something, selfwise's one over pairs."""
    found = []
    for theirs in (False, True):
        leaf = z.clone().requires_grad_()
        if theirs:
            value = loss(leaf, identity, taken)
        else:
            distance, _ = mine_triplets(
                leaf, identity, find_positives(identity), mining="semihard", margin=MARGIN
            )
            cost = compute_hinge_costs(distance, triplets, MARGIN)
            value = cost.sum() / (cost > 0).sum()
        value.backward()
        assert leaf.grad is not None
        found.append((value.detach(), leaf.grad))
    (a, da), (b, db) = found
    losses = float((a - b).abs() / b)
    gradients = float((da - db).norm() / db.norm())
    assert max(losses, gradients) < 1e-4, (losses, gradients)
    return (
        f"loss and gradient of the same triplets agree within {losses:.0e} and {gradients:.0e}, "
        "both as a mean over those that cost something"
    )


def steps(loss: Loss, z: Tensor, identity: Tensor) -> Run:
    def run(number: int) -> float:
        leaf = z.clone().requires_grad_()
        loss(leaf, identity).backward()
        if z.device.type != "cpu":
            torch.cuda.synchronize()
        return 1.0

    return run


def prepare(case: str, setting: Setting) -> Prepared:
    z, identity = batch(int(case), setting.device)
    equal, told = equal_work(z, identity)
    miner, loss = peer()
    sides = {
        OURS: steps(partial(ours, k=int(case)), z, identity),
        THEIRS: steps(lambda x, who: loss(x, who, miner(x, who)), z, identity),
    }
    return Prepared("steps", sides, equal, told=told, in_a_run=True)
