"""Measures of a representation that need no labels, and the detection of a collapse."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from selfwise.core.rng import Rng, generator, shuffle_indices
from selfwise.core.types import ImageBatch, slice_batch, to_device
from selfwise.data.image import Images
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.methods.method import Method
from selfwise.nn.evaluation_crop import choose_crop_fraction
from selfwise.views.image.augment import evaluation_view

MAX_EXAMPLES = 512  # at most; 131,000 pairs for the uniformity, and a rank of up to 512
BATCH_SIZE = 128  # examples encoded together, to save memory
EPSILON = 1e-7  # of RankMe, for float32 (arXiv:2210.02885, equation 1)
# Beyond these a representation has collapsed. Untrained networks, which are the narrowest that
# are not (ResNet-18 with batch-norm statistics and ViT-Ti, on digits and on CIFAR-10), have a
# uniformity of -0.25 to -1.3 and a rank of 7 % or more of what it can be.
COLLAPSED_UNIFORMITY, COLLAPSED_RANK_SHARE, COLLAPSED_RANK = -0.05, 0.01, 2.0


def alignment(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Return the mean squared distance of the pairs (a_i, b_i) on the unit sphere, 0 to 4; 0 is
    perfect.

    Two views of each example are a pair. Wang & Isola 2020, arXiv:2005.10242, with alpha = 2.
    """
    return (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(dim=1).mean()


def uniformity(z: Float[Tensor, "n d"], t: float = 2.0) -> Float[Tensor, ""]:
    """log of the mean of exp(-t |x - y|^2) over all pairs of different rows on the unit sphere.

    It is 0 if all rows are one point, and about -2 t if they are spread over the whole sphere. Wang
    & Isola 2020, arXiv:2005.10242. Needs two rows or more.
    """
    assert len(z) > 1, "a pair needs two rows"
    return F.pdist(F.normalize(z, dim=1)).square().mul(-t).exp().mean().log()


def rank_me(z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Return the effective rank: exp of the entropy of the singular values, 1 to min(n, d).

    The rows are neither centered nor normalized. Garrido et al. 2023, arXiv:2210.02885. It is also
    1 if all of `z` is zero.
    """
    values = torch.linalg.svdvals(z)
    share = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny) + EPSILON
    return (-share * share.log()).sum().exp()


class RepresentationMonitor:
    """Alignment, uniformity and effective rank of the features h, for the training loop.

    The monitor reads at most 512 examples once, drawn by the seed, and needs no labels. Uniformity
    and rank are measured on the evaluation views, as a probe will see the examples. The alignment
    is measured on two views `a` and `b` of the method; methods without two views have none. The run
    does not change, and the values are a function of the weights and the seed.
    """

    def __init__(self, images: Images, *, size: int, seed: int, every: int):
        assert len(images) > 1, "the caller has checked that there are examples"
        sample = shuffle_indices(len(images), seed, "health")[:MAX_EXAMPLES]
        self.batch: ImageBatch = images.read(np.sort(sample))
        self.examples = len(sample)  # by which the time of a look is estimated
        self.size, self.seed, self.every = size, seed, every
        self.max_rank = 0  # the largest possible rank, set with the first features

    def __call__(self, method: Method) -> dict[str, float]:
        device = next(method.parameters()).device
        n = len(self.batch.x)
        features: list[tuple[Tensor, ...]] = []
        with evaluation_mode(method.encoder, device):
            has_pair = self._makes_pair(
                method, to_device(slice_batch(self.batch, slice(0, 1)), device)
            )
            for first in range(0, n, BATCH_SIZE):
                part = slice(first, min(first + BATCH_SIZE, n))
                batch = to_device(slice_batch(self.batch, part), device)
                features.append(self._features(method, batch, part, has_pair=has_pair))
            h, *pair = (torch.cat(parts) for parts in zip(*features, strict=True))
            values = {"uniformity": uniformity(h), "effective_rank": _finite_rank(h)}
            if pair:
                values = {"alignment": alignment(*pair), **values}
        self.max_rank = min(h.shape)
        return {name: float(value) for name, value in values.items()}

    def warning(self, values: dict[str, float]) -> str | None:
        """For the user, where the representation has collapsed."""
        return describe_collapse(values, self.max_rank)

    def _features(
        self, method: Method, batch: ImageBatch, part: slice, *, has_pair: bool
    ) -> tuple[Tensor, ...]:
        """h of the evaluation views, and of each of two views, if there are: float32 (n d), CPU."""
        views = [evaluation_view(batch, self.size, fraction=choose_crop_fraction(self.size))]
        if has_pair:
            rng = Rng(generator(self.seed, "health"), part, len(self.batch.x))
            views += find_pair(method.view(batch, rng))
        return tuple(method.encoder(view).pooled.float().cpu() for view in views)

    def _makes_pair(self, method: Method, example: ImageBatch) -> bool:
        """Try one example, because views that are not a pair may cost much, as with a dVAE."""
        rng = Rng(generator(self.seed, "health"))
        return not method.labelled and bool(find_pair(method.view(example, rng)))


def describe_collapse(values: dict[str, float], max_rank: int) -> str | None:
    """A sentence if the features have collapsed: what it means, and what usually helps.

    `values` are those of `RepresentationMonitor`; `max_rank` is the largest possible rank: the
    width of the features, or the number of examples if that is smaller. Features have collapsed at
    a rank below 2 or 1 % of `max_rank`, or at a uniformity above -0.05. An untrained encoder whose
    batch norms have no statistics yet comes close to these limits; a few steps later it does not.
    """
    min_rank = max(COLLAPSED_RANK, COLLAPSED_RANK_SHARE * max_rank)
    if values["effective_rank"] < min_rank:
        symptom = f"an effective rank of {values['effective_rank']:.1f} of {max_rank}"
    elif values["uniformity"] > COLLAPSED_UNIFORMITY:
        symptom = f"a uniformity of {values['uniformity']:.3f}, where 0 is a single point"
    else:
        return None
    return (
        f"the representation has collapsed: its features have {symptom}, so they hardly "
        "distinguish the examples; a lower --lr, a larger --batch-size, stronger views or another "
        "--temperature usually help"
    )


def find_pair(view: object) -> list[Tensor]:
    """Return the two views of a method that makes two, otherwise none."""
    pair = [getattr(view, name, None) for name in ("a", "b")]
    return pair if all(isinstance(one, Tensor) for one in pair) else []  # type: ignore[return-value]


def _finite_rank(h: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Not a number where the features are none: the loop then says that the run diverged."""
    return rank_me(h) if bool(h.isfinite().all()) else h.new_full((), torch.nan)
