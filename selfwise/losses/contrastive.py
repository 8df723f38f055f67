"""The contrastive loss of SimCLR, as a pure function of embeddings."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def nt_xent(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], temperature: float = 0.5
) -> Float[Tensor, ""]:
    """Return NT-Xent (Chen et al. 2020, arXiv:2002.05709, eq. 1), the mean over both directions.

    Rows i of `a` and `b` are two views of example i. For each of the 2n embeddings, the loss is the
    cross-entropy of finding its partner among the 2n - 1 other embeddings by cosine similarity /
    temperature. Always computed in float32: in bf16 a similarity keeps only 8 bits.

    Raises ValueError if the shapes differ, if there is only one example, whose loss is 0 for any
    encoder, or if the temperature is not above zero.
    """
    check_temperature(temperature)
    check_shapes({"a": a, "b": b})
    if len(a) < 2:
        raise ValueError(f"a contrastive loss compares two examples or more, got {len(a)}")
    with torch.autocast(a.device.type, enabled=False):
        wide = torch.promote_types(a.dtype, torch.float32)
        z = F.normalize(torch.cat([a, b]).to(wide), dim=1)
        similarity = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
        partner = torch.arange(len(z), device=z.device).roll(len(a))
        return F.cross_entropy(similarity, partner)


def nt_xent_shard(
    own: Float[Tensor, "k d"], every: Float[Tensor, "m d"], first: int, temperature: float = 0.5
) -> Float[Tensor, ""]:
    """Return NT-Xent of some examples among all examples.

    `own` holds unit vectors of n examples, all first views before all second views; `every` holds
    the unit vectors of all examples, of which `own` are those from number `first` on. The mean of
    the results of equal shards is `nt_xent` of all examples.

    Raises ValueError if the temperature is not above zero.
    """
    check_temperature(temperature)
    with torch.autocast(own.device.type, enabled=False):
        n, total = len(own) // 2, len(every) // 2
        row = torch.arange(n, device=own.device) + first
        itself, partner = torch.cat([row, row + total]), torch.cat([row + total, row])
        similarity = own @ every.T / temperature
        return F.cross_entropy(similarity.scatter(1, itself[:, None], -torch.inf), partner)


def unit_views(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, "k d"]:
    """Return both views as unit vectors in float32 or wider, all first views before all second.

    Raises ValueError if the shapes differ.
    """
    check_shapes({"a": a, "b": b})
    with torch.autocast(a.device.type, enabled=False):
        wide = torch.promote_types(a.dtype, torch.float32)
        return F.normalize(torch.cat([a, b]).to(wide), dim=1)


def check_temperature(temperature: float) -> None:
    """Raise ValueError unless the temperature is a number above zero."""
    if not temperature > 0:
        raise ValueError(
            f"temperature must be above 0, got {temperature:g} (the paper uses 0.1 to 1)"
        )


def check_shapes(embeddings: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless all shapes are equal; torch would broadcast, or pair wrong rows."""
    shapes = {name: tuple(z.shape) for name, z in embeddings.items()}
    if len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 2:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{' and '.join(shapes)} must have one shape (n, d), got {got}")
