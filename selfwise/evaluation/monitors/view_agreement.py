"""Judging an encoder on held-out examples without labels, to compare settings of a method."""

from math import sqrt

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from selfwise.core.rng import Rng, generator
from selfwise.core.types import to_device
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.evaluation.monitors.held_out_loss import HeldOutBatches
from selfwise.evaluation.monitors.representation import find_pair, rank_me
from selfwise.methods.method import Method


def mutual_neighbors(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> float:
    """Return the fraction of examples whose two views are nearest neighbors of each other.

    Row i of `a` and row i of `b` are two views of example i. They count if b_i has the largest
    cosine with a_i among all rows of `b`, and a_i the largest with b_i among all rows of `a`. The
    largest cosine has to be the only largest one, so that equal features do not count. Chance is
    about 1 / n.
    """
    cosines = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T
    own = cosines.diagonal()
    nearest = torch.ones_like(own, dtype=torch.bool)
    others = cosines.masked_fill(torch.eye(len(a), dtype=torch.bool, device=a.device), -torch.inf)
    for dim in (0, 1):
        nearest &= own > others.max(dim=dim).values
    return float(nearest.float().mean())


def score_features(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> dict[str, float]:
    """Return `view_agreement`, `effective_rank`, and `label_free_score`, which is made of both.

    The agreement is that of `mutual_neighbors`. The effective rank is that of RankMe (Garrido et
    al. 2023, arXiv:2210.02885, equation 1) over the features of all views; they are what a probe
    will read, and not the output of a projection head. The score is the geometric mean of the
    agreement and of the rank as a fraction of the largest possible one, min(2 n, d). A collapsed
    encoder has a low rank, and one that keeps every pixel has views that disagree; the geometric
    mean is low if either is. The combination is our own.
    """
    both = torch.cat([a, b])
    agreement, rank = mutual_neighbors(a, b), float(rank_me(both))
    score = sqrt(agreement * rank / min(both.shape))
    return {"view_agreement": agreement, "effective_rank": rank, "label_free_score": score}


class LabelFreeScore:
    """The values of `score_features` on held-out examples.

    One method makes the views for all encoders that are compared: with views of their own, the
    encoder with the easiest views would win. The views are functions of the seed.
    """

    def __init__(self, views: Method, batches: HeldOutBatches, *, seed: int):
        self.views, self.seed = views, seed
        self.read, self.count = batches

    def __call__(self, method: Method) -> dict[str, float]:
        device = next(method.parameters()).device
        pairs: list[list[Tensor]] = []
        with torch.no_grad(), evaluation_mode(method.encoder, device):
            for number in range(self.count):
                rng = Rng(generator(self.seed, "held out", number), seed=self.seed)
                batch = to_device(self.read(number), device)
                pair = find_pair(self.views.view(batch, rng))
                pairs.append([method.encoder(view).pooled.float().cpu() for view in pair])
        a, b = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        if not bool(a.isfinite().all() and b.isfinite().all()):
            return {}
        return score_features(a, b)

    def has_pair(self) -> bool:
        """Return whether the method makes two views of an example."""
        device = next(self.views.parameters()).device
        rng = Rng(generator(self.seed, "held out", 0), seed=self.seed)
        with torch.no_grad(), evaluation_mode(self.views, device):
            return bool(find_pair(self.views.view(to_device(self.read(0), device), rng)))
