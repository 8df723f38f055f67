"""One transformer for all text encoders: norm after or before, own or shared weights.

"Attention is all you need", Vaswani et al. 2017 (arXiv:1706.03762) puts the norm after each
residual sum, as BERT and GPT-1 do; GPT-2 puts it before each part and one more at the end.
ALBERT (arXiv:1909.11942) applies one block again and again.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from selfwise.core.rng import draw_shared
from selfwise.nn.attention import (
    Attention,
    KeyValueCache,
    Layout,
    build_additive_mask,
    build_query_layout,
    gather_positions,
)
from selfwise.nn.dropout import dropout
from selfwise.nn.gelu import gelu_tanh

# "gelu" is x times the normal distribution function; "gelu_tanh" the approximation of
# Hendrycks and Gimpel (arXiv:1606.08415), which they round from and OpenAI's and Google's code use
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "relu": F.relu,
}


class MLP(nn.Module):
    """Two layers, for each position alone."""

    def __init__(self, dim: int, ff: int, *, activation: str = "gelu"):
        super().__init__()
        self.up, self.down = nn.Linear(dim, ff), nn.Linear(ff, dim)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        outputs: Tensor = self.down(self.activation(self.up(x)))
        return outputs


class Block(nn.Module):
    """Attention and MLP, each with its residual sum and its norm."""

    def __init__(
        self,
        dim: int,
        heads: int,
        ff: int,
        *,
        norm: str = "post",
        activation: str = "gelu",
        eps: float = 1e-5,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ):
        super().__init__()
        self.attention = Attention(dim, heads, dropout=attention_dropout)
        self.mlp = MLP(dim, ff, activation=activation)
        self.norm1, self.norm2 = (nn.LayerNorm(dim, eps=eps) for _ in range(2))
        self.pre, self.dropout = norm == "pre", dropout

    def forward(self, x: Float[Tensor, "b n d"], layout: Layout) -> Float[Tensor, "b n d"]:
        return self._finish(x, self.attention(self._norm_input(x), layout))

    def forward_at(
        self, x: Float[Tensor, "b n d"], where: Int64[Tensor, "b k"], layout: Layout
    ) -> Float[Tensor, "b k d"]:
        """`forward` at the positions `where` alone; keys and values come from all positions."""
        inner = self._norm_input(x)
        query = gather_positions(inner, where)
        residual = gather_positions(x, where) if self.pre else query
        return self._finish(residual, self.attention.forward_at(inner, query, layout))

    def extend(
        self, x: Float[Tensor, "b m d"], before: tuple[Tensor, Tensor] | None, layout: Layout
    ) -> tuple[Float[Tensor, "b m d"], tuple[Tensor, Tensor]]:
        """Return the next m positions, with keys and values of those before."""
        attended, keys_and_values = self.attention.extend(self._norm_input(x), before, layout)
        return self._finish(x, attended), keys_and_values

    def _norm_input(self, x: Tensor) -> Tensor:
        return self.norm1(x) if self.pre else x

    def _finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Return the rest of the block after the attention; it needs no other position."""
        x = x + self._drop(attended)
        if self.pre:
            return x + self._drop(self.mlp(self.norm2(x)))
        x = self.norm1(x)
        outputs: Tensor = self.norm2(x + self._drop(self.mlp(x)))
        return outputs

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout) if self.training else x


class Transformer(nn.Module):
    """`depth` blocks; with `shared` one block, `depth` times. `block`: what a Block takes.

    In training each block is left out with probability `layerdrop` (arXiv:1909.11556).
    """

    def __init__(
        self,
        depth: int,
        dim: int,
        heads: int,
        ff: int,
        *,
        norm: str = "post",
        eps: float = 1e-5,
        shared: bool = False,
        layerdrop: float = 0.0,
        **block: str | float,
    ):
        super().__init__()
        self.depth, self.layerdrop = depth, layerdrop
        build_block = partial(Block, dim, heads, ff, norm=norm, eps=eps, **block)  # type: ignore[arg-type]
        self.blocks = nn.ModuleList(build_block() for _ in range(1 if shared else depth))
        self.norm = nn.LayerNorm(dim, eps=eps) if norm == "pre" else None

    def layers(self) -> Iterator[Block]:
        """Yield the blocks in the order in which they are applied."""
        for i in range(self.depth):
            block = self.blocks[i % len(self.blocks)]
            assert isinstance(block, Block)
            yield block

    def draw_layers(self) -> list[Block]:
        """Return the blocks without those that this training step skips. The CPU draws them.

        They are equal in all processes of a run, which add the gradients of the same weights.
        """
        blocks = list(self.layers())
        if not (self.training and self.layerdrop):
            return blocks
        active = draw_shared(len(blocks)) >= self.layerdrop
        return [block for block, is_active in zip(blocks, active.tolist()) if is_active]

    def forward(self, x: Float[Tensor, "b n d"], layout: Layout) -> Float[Tensor, "b n d"]:
        for block in self.draw_layers():
            x = block(x, layout)
        return self._final_norm(x)

    def all_layers(self, x: Float[Tensor, "b n d"], layout: Layout) -> list[Float[Tensor, "b n d"]]:
        """Return the output of every block; the final norm is part of the last output alone."""
        outputs = []
        for block in self.layers():
            outputs.append(x := block(x, layout))
        return [*outputs[:-1], self._final_norm(x)]

    def forward_at(
        self, x: Float[Tensor, "b n d"], layout: Layout, where: Int64[Tensor, "b k"]
    ) -> Float[Tensor, "b k d"]:
        """Return the output at the positions `where`, without the rest of the last block."""
        if not (blocks := self.draw_layers()):
            return self._final_norm(gather_positions(x, where))
        *first, last = blocks
        for block in first:
            x = block(x, layout)
        return self._final_norm(last.forward_at(x, where, build_query_layout(layout, where, x)))

    def extend(
        self, x: Float[Tensor, "b m d"], cache: KeyValueCache | None
    ) -> tuple[Float[Tensor, "b m d"], KeyValueCache]:
        """Return the next m positions of a causal transformer, and the cache with them added."""
        layout = _causal_layout(x, 0 if cache is None else cache.size)
        keys, values = [], []
        for i, block in enumerate(self.layers()):
            before = None if cache is None else (cache.keys[i], cache.values[i])
            x, (k, v) = block.extend(x, before, layout)
            keys.append(k)
            values.append(v)
        return self._final_norm(x), KeyValueCache(keys, values)

    def _final_norm(self, x: Tensor) -> Tensor:
        return x if self.norm is None else self.norm(x)


def _causal_layout(x: Float[Tensor, "b m d"], past: int) -> Layout:
    """Return the layout of m new positions: each sees all `past` positions and those up to
    itself."""
    m = x.shape[1]
    if past == 0 or m == 1:
        return Layout(causal=m > 1)
    position = torch.arange(past + m, device=x.device)
    return Layout(mask=build_additive_mask((position <= position[past:, None])[None, None], x))
