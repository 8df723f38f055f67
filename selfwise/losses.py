"""Losses as pure functions of embeddings."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def nt_xent(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], temperature: float = 0.5
) -> Float[Tensor, ""]:
    """NT-Xent (Chen et al. 2020, arXiv:2002.05709, eq. 1), the mean over both directions.

    Rows i of `a` and `b` are two views of example i. For each of the 2n embeddings: the
    cross-entropy of finding its partner among the 2n - 1 others by cosine similarity /
    temperature. Always computed in float32: in bf16 a similarity keeps only 8 bits.

    Raises ValueError if the shapes differ, or if the temperature is not above zero.
    """
    check_temperature(temperature)
    _check_shapes(a=a, b=b)
    with torch.autocast(a.device.type, enabled=False):
        wide = torch.promote_types(a.dtype, torch.float32)
        z = F.normalize(torch.cat([a, b]).to(wide), dim=1)
        similarity = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
        partner = torch.arange(len(z), device=z.device).roll(len(a))
        return F.cross_entropy(similarity, partner)


def triplet(
    anchor: Float[Tensor, "n d"],
    positive: Float[Tensor, "n d"],
    negative: Float[Tensor, "n d"],
    margin: float = 0.2,
) -> Float[Tensor, ""]:
    """Mean of max(|a - p|^2 - |a - n|^2 + margin, 0) (FaceNet, Schroff et al. 2015, eq. 3).

    Raises ValueError if the shapes differ, or if the margin is not above zero: at 0 a constant
    embedding is optimal.
    """
    if not margin > 0:
        raise ValueError(f"margin must be above 0, got {margin:g}")
    _check_shapes(anchor=anchor, positive=positive, negative=negative)
    near = (anchor - positive).square().sum(dim=1)
    far = (anchor - negative).square().sum(dim=1)
    return F.relu(near - far + margin).mean()


def chosen_cross_entropy(
    logits: Float[Tensor, "m v"], target: Int64[Tensor, "m"], chosen: Bool[Tensor, "m"]
) -> Float[Tensor, ""]:
    """The sum of the cross-entropies of the rows that are chosen; in float32 at least.

    All rows are computed, so that no shape depends on how many are chosen.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    ignored = target.masked_fill(~chosen, -100)
    return F.cross_entropy(wide, ignored, ignore_index=-100, reduction="sum")


@torch.no_grad()
def chosen_hits(
    logits: Float[Tensor, "m v"], target: Int64[Tensor, "m"], chosen: Bool[Tensor, "m"]
) -> Float[Tensor, ""]:
    """In how many of the chosen rows the target has the highest score."""
    return ((logits.argmax(dim=1) == target) & chosen).sum().float()


def check_temperature(temperature: float) -> None:
    """Raises ValueError unless the temperature is a number above zero."""
    if not temperature > 0:
        raise ValueError(
            f"temperature must be above 0, got {temperature:g} (the paper uses 0.1 to 1)"
        )


def _check_shapes(**embeddings: Tensor) -> None:
    """Row i of each is example i; torch would broadcast, or pair the wrong rows."""
    shapes = {name: tuple(z.shape) for name, z in embeddings.items()}
    if len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 2:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{' and '.join(shapes)} must have one shape (n, d), got {got}")
