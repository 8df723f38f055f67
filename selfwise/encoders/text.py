"""Text encoders: BERT, RoBERTa, ALBERT and GPT, which differ in the arguments of one transformer.

BERT: arXiv:1810.04805; RoBERTa: arXiv:1907.11692; ALBERT: arXiv:1909.11942; GPT-1 and GPT-2:
Radford et al. 2018 and 2019. `text_presets.py` has what each of them is.
"""

from math import sqrt
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from selfwise.core.rng import init_seed
from selfwise.core.types import Features, TextBatch
from selfwise.encoders.text_presets import TextShape, list_text_encoders, resolve_text_shape
from selfwise.nn.attention import (
    KeyValueCache,
    Layout,
    build_layout,
    gather_positions,
    number_positions,
)
from selfwise.nn.dropout import dropout
from selfwise.nn.transformer import Transformer

__all__ = ["TextTransformer", "build_text_encoder", "list_text_encoders"]


class TextTransformer(nn.Module):
    """A transformer over token ids. `token` is the table to which heads tie their output.

    Attention stays inside the documents of a row and ignores padding; what is computed at padding
    means nothing. `pooled` follows from `tokens` as `pooling` says; `pooler`, where there is one,
    is for the sentence heads of methods and has no part in it.

    Args:
        name: FAMILY-SIZE, such as bert-mini, or a family alone for its base.
        vocab: number of token ids.
        options: fields of `text_presets.TextShape`, in place of the preset's.

    Raises ValueError with one sentence for a name, an option or values that do not fit.
    """

    def __init__(self, name: str, *, vocab: int, **options: Any):
        super().__init__()
        if vocab < 1:
            raise ValueError(f"encoder {name}: the vocabulary must have tokens, not {vocab}")
        shape = resolve_text_shape(name, options)
        self.name, self.shape, self.vocab = name, shape, vocab
        self.dim, self.length, self.segments = shape.dim, shape.length, shape.segments
        self.causal, self.pooling, self.dropout = shape.causal, shape.pooling, shape.dropout
        width = shape.embedding
        self.token = nn.Embedding(vocab, width)
        self.position = nn.Embedding(shape.offset + shape.length, width)
        self.segment = nn.Embedding(shape.segments, width) if shape.segments else None
        self.norm = nn.LayerNorm(width, eps=shape.eps) if shape.embedding_norm else None
        self.widen = nn.Linear(width, shape.dim) if shape.widen else None
        self.trunk = Transformer(
            shape.depth,
            shape.dim,
            shape.heads,
            shape.ff,
            norm=shape.norm,
            eps=shape.eps,
            shared=shape.shared,
            activation=shape.activation,
            dropout=shape.dropout,
            attention_dropout=shape.attention_dropout,
        )
        self.pooler = nn.Linear(shape.dim, shape.dim) if shape.pooler else None
        _initialise(self, shape, name.partition("-")[0])

    def forward(self, batch: TextBatch) -> Features:
        x = self.embed(batch)
        return self._features(self.trunk(x, self._layout(x, batch)), batch)

    def hidden(self, batch: TextBatch) -> list[Features]:
        """Return the output of every layer; GPT-2's final norm is part of the last one alone."""
        x = self.embed(batch)
        outputs = self.trunk.all_layers(x, self._layout(x, batch))
        return [self._features(tokens, batch) for tokens in outputs]

    def forward_at(self, batch: TextBatch, where: Int64[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
        """`forward(batch).tokens` at the positions `where`, by `Transformer.forward_at`."""
        x = self.embed(batch)
        return self.trunk.forward_at(x, self._layout(x, batch), where)

    def extend(
        self, ids: Int64[Tensor, "b m"], cache: KeyValueCache | None = None
    ) -> tuple[Float[Tensor, "b m d"], KeyValueCache]:
        """Return the next m tokens of rows without padding, and the cache with them in it.

        Raises ValueError for an encoder that is not causal and for rows beyond the position table.
        """
        if not self.causal:
            raise ValueError(f"encoder {self.name} is not causal, so it cannot continue a text")
        past = 0 if cache is None else cache.size
        return self.trunk.extend(self._embed(ids, past=past), cache)

    def embed(self, batch: TextBatch) -> Float[Tensor, "b n d"]:
        """Return the input of the first layer. Raises ValueError for rows beyond the position
        table."""
        return self._embed(batch.ids, segment=batch.segment, starts=batch.starts)

    def _embed(
        self,
        ids: Int64[Tensor, "b n"],
        *,
        segment: Int64[Tensor, "b n"] | None = None,
        starts: Int64[Tensor, "b s"] | None = None,
        past: int = 0,
    ) -> Float[Tensor, "b n d"]:
        n = past + ids.shape[1]
        if n > self.length:
            raise ValueError(
                f"encoder {self.name} takes rows of at most {self.length} tokens, not {n}; "
                f"its option length sets that"
            )
        x = self._embed_tokens(ids)
        first = self.shape.offset + past
        if starts is None:
            x = x + self.position.weight[first : self.shape.offset + n]
        else:
            x = x + self.position(number_positions(starts, n) + first)
        if self.segment is not None:
            x = x + (self.segment.weight[0] if segment is None else self.segment(segment))
        x = x if self.norm is None else self.norm(x)
        x = dropout(x, self.dropout) if self.training else x
        return x if self.widen is None else self.widen(x)

    def _embed_tokens(self, ids: Int64[Tensor, "b n"]) -> Float[Tensor, "b n e"]:
        try:
            embedded: Tensor = self.token(ids)
            return embedded
        except IndexError as error:  # on the CPU alone; on CUDA a check would wait for the device
            raise ValueError(
                f"token ids range from {ids.min()} to {ids.max()}, but encoder {self.name} has a "
                f"vocabulary of {self.vocab}; use the tokenizer that the encoder was built for"
            ) from error

    def _layout(self, x: Float[Tensor, "b n d"], batch: TextBatch) -> Layout:
        dropout = self.shape.attention_dropout if self.training else 0.0
        return build_layout(
            x, starts=batch.starts, valid=batch.valid, causal=self.causal, dropout=dropout
        )

    def _features(self, tokens: Float[Tensor, "b n d"], batch: TextBatch) -> Features:
        return Features(self._pool(tokens, batch), tokens, (tokens.shape[1],))

    def _pool(self, tokens: Float[Tensor, "b n d"], batch: TextBatch) -> Float[Tensor, "b d"]:
        if self.pooling == "cls":
            return tokens[:, 0]
        if batch.valid is None:
            return tokens[:, -1] if self.pooling == "last" else tokens.mean(dim=1)
        if self.pooling == "last":
            last = batch.valid.sum(dim=1, keepdim=True) - 1
            return gather_positions(tokens, last.clamp_min(0))[:, 0]
        share = batch.valid / batch.valid.sum(dim=1, keepdim=True).clamp_min(1)
        return (tokens * share[..., None]).sum(dim=1)


def build_text_encoder(name: str, *, vocab: int, seed: int = 0, **options: Any) -> TextTransformer:
    """Build a `TextTransformer` whose random weights are a function of the seed."""
    with init_seed(seed, "encoder"):
        return TextTransformer(name, vocab=vocab, **options)


@torch.no_grad()
def _initialise(model: TextTransformer, shape: TextShape, family: str) -> None:
    """N(0, 0.02), biases 0, norms 1; of BERT and ALBERT nothing is beyond two deviations.

    google-research/bert `modeling.py:create_initializer`; transformers draws an untruncated
    normal for them too. GPT-2's positions are N(0, 0.01) (openai/gpt-2 `model.py`).
    """
    cut = family in ("bert", "albert")

    def draw(weight: Tensor, std: float = 0.02) -> None:
        if cut:
            nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
        else:
            nn.init.normal_(weight, std=std)

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            draw(module.weight)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    if family == "gpt":
        draw(model.position.weight, 0.01)
        for block in model.trunk.blocks:
            for linear in (block.attention.out, block.mlp.down):  # type: ignore[union-attr]
                draw(linear.weight, 0.02 / sqrt(2 * shape.depth))  # type: ignore[union-attr,arg-type]
