"""Attention that stays inside documents, and who sees whom, worked out once per forward pass.

SDPA with an additive mask; on CUDA in half precision and without dropout of attention
`torch.nn.attention.varlen`, which never touches a pair of two documents; on the CPU, where SDPA is
slow, two products. A batch of full rows of one document each needs no mask at all.
"""

from collections.abc import Callable
from functools import cache, partial
from inspect import signature
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor, nn

from selfwise.nn.dropout import dropout as drop


class Layout(NamedTuple):
    """Which keys each query sees, shared by all layers. What is None limits nothing."""

    causal: bool = False  # a position sees itself and what is before it
    document: Int64[Tensor, "b n"] | None = None  # equal for positions that see each other
    mask: Float[Tensor, "_ _ _ n"] | None = None  # added to the scores; has `causal` in it
    bounds: Int32[Tensor, "s"] | None = None  # for varlen: where sequences of the flat batch begin


class KeyValueCache(NamedTuple):
    """The keys and values of earlier positions, one pair for each layer."""

    keys: list[Float[Tensor, "b h m c"]]
    values: list[Float[Tensor, "b h m c"]]

    @property
    def size(self) -> int:
        """Number of positions in the cache."""
        return self.keys[0].shape[2]


def number_documents(starts: Int64[Tensor, "b s"], n: int) -> Int64[Tensor, "b n"]:
    """Number the document of each of n positions, from where the documents start."""
    places = torch.arange(n, device=starts.device).expand(len(starts), n)
    ends = torch.searchsorted(starts.contiguous(), places.contiguous(), right=True)
    return (ends - 1).clamp_min(0)


def number_positions(starts: Int64[Tensor, "b s"], n: int) -> Int64[Tensor, "b n"]:
    """Count the positions of each document from 0."""
    begin = starts.gather(1, number_documents(starts, n))
    return torch.arange(n, device=starts.device) - begin


def compute_sequence_bounds(
    starts: Int64[Tensor, "b s"] | None, valid: Bool[Tensor, "b n"]
) -> Int32[Tensor, "_"]:
    """Offsets of the sequences in the flat batch (b n), and its end: `cu_seqlens`.

    Nothing is read on the host. The values n that fill up `starts` give sequences of no length,
    and the padding of each row is a sequence of its own.
    """
    b, n = valid.shape
    real = valid.sum(dim=1, keepdim=True)
    begin = torch.zeros_like(real) if starts is None else torch.minimum(starts, real)
    row = torch.arange(b, device=valid.device)[:, None] * n
    flat = (torch.cat([begin, real], dim=1) + row).flatten()
    return F.pad(flat, (0, 1), value=b * n).to(torch.int32)


def build_layout(
    like: Float[Tensor, "b n d"],
    *,
    starts: Int64[Tensor, "b s"] | None = None,
    valid: Bool[Tensor, "b n"] | None = None,
    causal: bool = False,
    dropout: float = 0.0,
) -> Layout:
    """Build the layout of a batch. `like`: the first layer's input (shape, device and dtype)."""
    b, n = like.shape[:2]
    if causal and starts is None:
        return Layout(causal=True)  # padding is at the end, so that no real position sees it
    if starts is None and valid is None:
        return Layout()
    document = None if starts is None else number_documents(starts, n)
    if document is not None and valid is not None:
        document = document.masked_fill(~valid, n)
    if has_varlen(like) and not dropout:
        real = like.new_ones((b, n), dtype=torch.bool) if valid is None else valid
        if document is None:
            document = (~real).long()
        return Layout(causal, document, None, compute_sequence_bounds(starts, real))
    if document is None:
        assert valid is not None
        return Layout(mask=build_additive_mask(valid[:, None, None], like))
    visible = document[:, :, None] == document[:, None]
    if causal:
        visible = visible.tril()
    return Layout(causal, document, build_additive_mask(visible[:, None], like))


def build_query_layout(
    layout: Layout, where: Int64[Tensor, "b k"], like: Float[Tensor, "b n d"]
) -> Layout:
    """Build the layout of queries at the positions `where` alone, with keys at all n."""
    if layout.document is None and not layout.causal:
        return layout  # the mask is the same for every query
    visible = None
    if layout.document is not None:
        own = layout.document.gather(1, where)
        visible = own[:, :, None] == layout.document[:, None]
    if layout.causal:
        before = torch.arange(like.shape[1], device=where.device) <= where[:, :, None]
        visible = before if visible is None else visible & before
    assert visible is not None
    return Layout(mask=build_additive_mask(visible[:, None], like))


def build_additive_mask(
    visible: Bool[Tensor, "b 1 q n"], like: Float[Tensor, "..."]
) -> Float[Tensor, "b 1 q n"]:
    """0 where a key is visible, and otherwise so low that its weight is exactly 0.

    In the dtype of the products, because SDPA would convert it again in every layer. Not minus
    infinity: a row that is all padding would be NaN.
    """
    dtype = find_product_dtype(like)
    zero = torch.zeros((), dtype=dtype, device=visible.device)
    return torch.where(visible, zero, torch.finfo(dtype).min / 2)


def attend(
    q: Float[Tensor, "b q h c"],
    k: Float[Tensor, "b n h c"],
    v: Float[Tensor, "b n h c"],
    layout: Layout,
    *,
    dropout: float = 0.0,
) -> Float[Tensor, "b q h c"]:
    """Scaled dot-product attention as the layout says."""
    if layout.bounds is not None:
        b, n = q.shape[:2]
        flat = (part.flatten(0, 1) for part in (q, k, v))
        out = load_varlen_kernel()(*flat, layout.bounds, layout.bounds, n, n, causal=layout.causal)
        outputs: Tensor = out.unflatten(0, (b, n))
        return outputs
    # SDPA keeps all scores of a mask that is learned, and takes longer even so: 19 ms against 16
    # for 64 rows of 65 and 3 heads of 64 on one core, 18 against 8 in bfloat16
    learned = layout.mask is not None and layout.mask.requires_grad and not q.is_cuda
    if learned or _sdpa_is_slow(q, dropout):
        return attend_by_products(q, k, v, layout, dropout=dropout)
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=layout.mask,
        dropout_p=dropout,
        is_causal=layout.causal and layout.mask is None,
    )
    return out.transpose(1, 2)


def attend_by_products(
    q: Float[Tensor, "b q h c"],
    k: Float[Tensor, "b n h c"],
    v: Float[Tensor, "b n h c"],
    layout: Layout,
    *,
    dropout: float = 0.0,
) -> Float[Tensor, "b q h c"]:
    """`attend` as two matrix products, with all scores in memory."""
    (b, m, h, c), mask = q.shape, layout.mask
    if mask is None and layout.causal:
        mask = build_additive_mask(q.new_ones((m, m), dtype=torch.bool).tril()[None, None], q)
    q, k, v = (part.transpose(1, 2).flatten(0, 1) for part in (q, k, v))
    if mask is None:
        weights = torch.bmm(q * c**-0.5, k.mT).softmax(dim=-1)
    else:
        mask = mask.expand(b, h, m, k.shape[1]).flatten(0, 1)
        weights = torch.baddbmm(mask, q, k.mT, alpha=c**-0.5).softmax(dim=-1)
    outputs: Tensor = torch.bmm(drop(weights, dropout), v).unflatten(0, (b, h)).transpose(1, 2)
    return outputs


def _sdpa_is_slow(q: Float[Tensor, "b q h c"], dropout: float) -> bool:
    """Return whether SDPA takes longer than its products, forward and backward, on the CPU.

    Measured with torch 2.14 on one core for 32 rows of 128 and 4 heads of 64. With dropout SDPA
    keeps all scores too, and draws them one by one: 39 ms against 31 in float32, 41 against 15 in
    bfloat16. Without dropout 25 against 25 and 39 against 10. From about 512 positions on, the
    memory of the scores counts more.
    """
    if q.device.type != "cpu":
        return False
    short = q.dtype != torch.float32 and q.shape[1] <= 512
    return bool(dropout) or (short and torch.is_grad_enabled())


def has_varlen(like: Float[Tensor, "..."]) -> bool:
    """Return whether torch's kernel for sequences of any length takes what is computed from
    `like`."""
    return like.is_cuda and find_product_dtype(like) in (torch.float16, torch.bfloat16)


@cache
def load_varlen_kernel() -> Callable[..., Tensor]:
    """Load torch's kernel. Its argument for causal is `is_causal` in 2.10, and a window later."""
    from torch.nn.attention.varlen import varlen_attn

    old = "is_causal" in signature(varlen_attn).parameters

    def kernel(*arguments: Tensor | int, causal: bool) -> Tensor:
        attend_causally = (
            partial(varlen_attn, is_causal=causal)  # type: ignore[call-arg]
            if old
            else partial(varlen_attn, window_size=(-1, 0 if causal else -1))
        )
        return attend_causally(*arguments)  # type: ignore[return-value,arg-type]

    return kernel


def gather_positions(
    x: Float[Tensor, "b n d"], where: Int64[Tensor, "b k"]
) -> Float[Tensor, "b k d"]:
    """Gather x at the positions `where`, as an embedding: its backward pass is deterministic."""
    b, n = x.shape[:2]
    row = torch.arange(b, device=where.device)[:, None] * n
    return F.embedding(where + row, x.flatten(0, 1))


class Attention(nn.Module):
    """Multi-head attention with one product for queries, keys and values."""

    def __init__(self, dim: int, heads: int, *, dropout: float = 0.0):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b n d"], layout: Layout) -> Float[Tensor, "b n d"]:
        q, k, v = self._split(self.qkv(x), 3)
        return self._attend(q, k, v, layout)

    def forward_at(
        self, x: Float[Tensor, "b n d"], query: Float[Tensor, "b k d"], layout: Layout
    ) -> Float[Tensor, "b k d"]:
        """Attention of `query` alone; keys and values come from all of x."""
        d = x.shape[-1]
        (wq, wkv), (bq, bkv) = (p.split([d, 2 * d]) for p in (self.qkv.weight, self.qkv.bias))
        (q,) = self._split(F.linear(query, wq, bq), 1)
        k, v = self._split(F.linear(x, wkv, bkv), 2)
        return self._attend(q, k, v, layout)

    def extend(
        self, x: Float[Tensor, "b m d"], before: tuple[Tensor, Tensor] | None, layout: Layout
    ) -> tuple[Float[Tensor, "b m d"], tuple[Tensor, Tensor]]:
        """Return the next m positions, and keys and values (b h m c) with them added."""
        q, k, v = self._split(self.qkv(x), 3)
        keys, values = k.transpose(1, 2), v.transpose(1, 2)
        if before is not None:
            keys, values = (torch.cat(pair, dim=2) for pair in zip(before, (keys, values)))
        out = self._attend(q, keys.transpose(1, 2), values.transpose(1, 2), layout)
        return out, (keys, values)

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(b n parts*d) to `parts` tensors (b n h c)."""
        split: tuple[Tensor, ...] = x.unflatten(-1, (parts, self.heads, -1)).unbind(2)
        return split

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        outputs: Tensor = self.out(attend(q, k, v, layout, dropout=dropout).flatten(2))
        return outputs


def find_product_dtype(like: Tensor) -> torch.dtype:
    """Return the dtype of the products: that of autocast where it is on."""
    device_type = like.device.type
    if torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return like.dtype
