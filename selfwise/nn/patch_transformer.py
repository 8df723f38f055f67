"""The blocks of BEiT's vision transformer (arXiv:2106.08254; unilm/beit `modeling_finetune.py`).

The norm comes before each part; keys have no bias; LayerScale ("Going deeper with image
transformers", Touvron et al. 2021, arXiv:2103.17239) weighs what a part adds; and a part is left
out at random for an image as a whole (stochastic depth, Huang et al. 2016, arXiv:1603.09382).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from selfwise.nn.attention import Layout, attend, gather_positions
from selfwise.nn.relative_position import RelativeBias, bias_at_queries
from selfwise.nn.transformer import MLP


class PatchAttention(nn.Module):
    """Multi-head attention whose queries and values have a bias and whose keys have none."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias, self.v_bias = (nn.Parameter(torch.zeros(dim)) for _ in range(2))
        self.out = nn.Linear(dim, dim)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        bias: Float[Tensor, "1 h n n"] | None,
        where: Int64[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b k d"]:
        """`bias` is added to the scores. With `where` only those positions ask."""
        if where is None:
            biases = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
            q, k, v = self._split(F.linear(x, self.qkv.weight, biases), 3)
            return self._attend(q, k, v, bias)
        d = x.shape[-1]
        wq, wkv = self.qkv.weight.split([d, 2 * d])
        (q,) = self._split(F.linear(gather_positions(x, where), wq, self.q_bias), 1)
        biases = torch.cat([torch.zeros_like(self.v_bias), self.v_bias])
        k, v = self._split(F.linear(x, wkv, biases), 2)
        return self._attend(q, k, v, None if bias is None else bias_at_queries(bias, where))

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        split: tuple[Tensor, ...] = x.unflatten(-1, (parts, self.heads, -1)).unbind(2)
        return split

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        outputs: Tensor = self.out(attend(q, k, v, Layout(mask=bias)).flatten(2))
        return outputs


class PatchBlock(nn.Module):
    """Attention and MLP; `bias` is this block's own table, where the blocks share none.

    Args:
        scale: LayerScale at the start; 0: none.
        drop_path: probability that an image skips a part in training.
        grid: patches down and across, for a table of its own.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        ff: int,
        *,
        eps: float,
        scale: float,
        drop_path: float,
        grid: tuple[int, int] | None = None,
    ):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(dim, eps=eps) for _ in range(2))
        self.attention, self.mlp = PatchAttention(dim, heads), MLP(dim, ff)
        self.drop_path = drop_path
        self.scale1, self.scale2 = (
            nn.Parameter(torch.full((dim,), scale)) if scale else None for _ in range(2)
        )
        self.bias = RelativeBias(grid, heads) if grid else None

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        bias: Float[Tensor, "1 h n n"] | None,
        where: Int64[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b k d"]:
        """With `where` only those positions; keys and values still come from all."""
        attended = self.attention(self.norm1(x), bias, where)
        x = x if where is None else gather_positions(x, where)
        x = x + self._scale_and_drop(attended, self.scale1)
        return x + self._scale_and_drop(self.mlp(self.norm2(x)), self.scale2)

    def _scale_and_drop(
        self, x: Float[Tensor, "b n d"], scale: Tensor | None
    ) -> Float[Tensor, "b n d"]:
        x = x if scale is None else x * scale
        if not self.training or not self.drop_path:
            return x
        keep_prob = 1 - self.drop_path
        return x * x.new_empty((len(x), 1, 1)).bernoulli_(keep_prob).div_(keep_prob)
