"""Vectors to whole numbers and back, with a gradient."""

from collections.abc import Sequence
from math import atanh, prod

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

EPS = 1e-3  # how far from the next whole number the outermost values stay
MIN_LEVELS, MAX_CODES = 3, 2**16  # levels of a number; codes in all


class FiniteScalarQuantizer(nn.Module):
    """Finite scalar quantization (Mentzer et al. 2023, arXiv:2309.15505, section 3 and app. A.1).

    Number i of a vector is bounded by tanh and rounded to one of `levels[i]` whole numbers; the
    gradient goes through the rounding as if it were not there. An even number of levels has one
    more below 0 than above it; bounds are shifted by half a step for that. The paper's listing
    shifts the input by the tangent, by which 0 stays only about 0; here it is the inverse of tanh.

    Raises ValueError if there are no levels, or too few or too many.
    """

    levels: Tensor
    basis: Tensor
    reach: Tensor
    offset: Tensor
    shift: Tensor

    def __init__(self, levels: Sequence[int]):
        super().__init__()
        check_levels(levels)
        self.size, self.dim = prod(levels), len(levels)
        half = [(level - 1) * (1 - EPS) / 2 for level in levels]
        offset = [0.0 if level % 2 else 0.5 for level in levels]
        shift = [atanh(o / h) for o, h in zip(offset, half, strict=True)]
        constants = {"reach": half, "offset": offset, "shift": shift}
        for name, values in constants.items():  # of the options, so they are not saved
            self.register_buffer(name, torch.tensor(values), persistent=False)
        whole = torch.tensor(list(levels))
        self.register_buffer("levels", whole, persistent=False)
        basis = torch.cat([whole.new_ones(1), whole[:-1].cumprod(0)])
        self.register_buffer("basis", basis, persistent=False)

    def forward(self, z: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Return each number on its level, divided by half their number: about -1 to 1."""
        bounded = self._bound(z)
        return (bounded + (bounded.round() - bounded).detach()) / (self.levels // 2)

    def codes(self, z: Float[Tensor, "... d"]) -> Int64[Tensor, "..."]:
        """Return the number of the code that `forward` rounds to, in mixed radix: 0 to size - 1."""
        digits = self._bound(z).round().long() + self.levels // 2
        return (digits * self.basis).sum(dim=-1)

    def vectors(self, codes: Int64[Tensor, "..."]) -> Float[Tensor, "... d"]:
        """What `forward` gives where these are the codes."""
        digits = codes[..., None] // self.basis % self.levels
        return (digits - self.levels // 2).to(self.reach.dtype) / (self.levels // 2)

    def _bound(self, z: Tensor) -> Tensor:
        # in bf16 whole numbers and halves of them are soon the same
        z = z.to(torch.promote_types(z.dtype, self.reach.dtype))
        return (z + self.shift).tanh() * self.reach - self.offset

    def extra_repr(self) -> str:
        return f"levels={self.levels.tolist()}"


def check_levels(levels: Sequence[int]) -> None:
    """Raise ValueError unless FSQ can have these levels."""
    spelling = ",".join(map(str, levels))
    if not levels or min(levels) < MIN_LEVELS:
        raise ValueError(
            f"levels must be numbers of at least {MIN_LEVELS}, such as 8,8,8 "
            f"(the paper: 5 or more), got {spelling or 'none'}"
        )
    if prod(levels) > MAX_CODES:
        raise ValueError(
            f"levels {spelling} give {prod(levels):,} codes; at most {MAX_CODES:,} are allowed, "
            "and 256 to 1000 suit 50,000 small images"
        )


@torch.no_grad()
def count_distinct_codes(codes: Int64[Tensor, "b n"]) -> Float[Tensor, "b"]:
    """Count the different codes of each image: 1 to n."""
    ordered = codes.sort(dim=1).values
    return 1.0 + (ordered[:, 1:] != ordered[:, :-1]).sum(dim=1)


@torch.no_grad()
def gumbel_noise(uniform: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Standard Gumbel noise of uniform numbers in [0, 1)."""
    # multiples of 2^-24 below 1; of 0 there is no logarithm
    return uniform.clamp_min(2.0**-25).log_().neg_().log_().neg_()
