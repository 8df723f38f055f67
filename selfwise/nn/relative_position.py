"""A bias of attention for each distance between two patches, as BEiT has it.

"BEiT: BERT Pre-Training of Image Transformers", Bao et al. 2022 (arXiv:2106.08254); the table and
its order are those of its code (unilm/beit `modeling_finetune.py:RelativePositionBias`).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn


def relative_position_index(rows: int, columns: int) -> Int64[Tensor, "n n"]:
    """Return which entry of the table each pair (query, key) reads; n = 1 + rows * columns.

    Position 0 is the class token. The last three entries are for pairs with it: class to patch,
    patch to class, class to class.
    """
    down = torch.arange(rows).repeat_interleave(columns)
    across = torch.arange(columns).repeat(rows)
    pairs = down[:, None] - down + rows - 1, across[:, None] - across + columns - 1
    last = count_table_entries(rows, columns) - 1
    index = torch.full((rows * columns + 1,) * 2, last)
    index[1:, 1:] = pairs[0] * (2 * columns - 1) + pairs[1]
    index[0, 1:], index[1:, 0] = last - 2, last - 1
    return index


def count_table_entries(rows: int, columns: int) -> int:
    """Count the rows of the table."""
    return (2 * rows - 1) * (2 * columns - 1) + 3


class RelativeBias(nn.Module):
    """A learned number for each head and distance, which starts at 0."""

    index: Tensor

    def __init__(self, grid: tuple[int, int], heads: int):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(count_table_entries(*grid), heads))
        self.register_buffer("index", relative_position_index(*grid), persistent=False)

    def forward(self, dtype: torch.dtype | None = None) -> Float[Tensor, "1 h n n"]:
        """What is added to the scores of every image. In `dtype`, that of the products."""
        # as a look-up, since its backward pass is deterministic
        bias = F.embedding(self.index, self.table).permute(2, 0, 1)
        return bias[None].to(dtype or self.table.dtype)


def bias_at_queries(
    bias: Float[Tensor, "1 h n n"], where: Int64[Tensor, "b k"]
) -> Float[Tensor, "b h k n"]:
    """Select the bias of the queries at the positions `where`."""
    h, n = bias.shape[1:3]
    rows = F.embedding(where, bias[0].transpose(0, 1).flatten(1))
    scores: Tensor = rows.unflatten(-1, (h, n)).transpose(1, 2)
    return scores
