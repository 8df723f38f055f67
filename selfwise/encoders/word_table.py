"""A table of word vectors as an encoder of text (Mikolov et al. 2013, arXiv:1301.3781)."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from selfwise.core.ranges import PositiveInt
from selfwise.core.rng import init_seed
from selfwise.core.types import Features, TextBatch
from selfwise.encoders.option_checks import build_shape, check_options

WORD_TABLE = "word2vec"  # its name as an encoder


@dataclass(frozen=True)
class WordTableShape:
    """Everything that decides on the weights of a table of word vectors.

    Args:
        dim: width of the vectors.
    """

    dim: PositiveInt = 100


class WordTable(nn.Module):
    """A vector for each token id, whatever is around it; `pooled` is the mean over real words.

    Special tokens, the unknown word among them, are not words: their vectors are 0, and the mean
    leaves them out. The vectors start uniform in +-0.5 / dim (word2vec.c, `InitNet`), and their
    gradients are sparse.

    Args:
        vocab: number of token ids.
        special: ids that are not words.
        options: fields of `WordTableShape`.

    Raises ValueError with one sentence for an option that does not fit.
    """

    special: Tensor
    causal, segments, pooler = False, 0, None
    pooling, contextual = "mean", False  # a vector does not depend on its neighbors

    def __init__(self, *, vocab: int, special: tuple[int, ...] = (), **options: Any):
        super().__init__()
        if vocab < 1:
            raise ValueError(f"encoder {WORD_TABLE}: the vocabulary must have tokens, not {vocab}")
        check_options(WORD_TABLE, WordTableShape, options)
        self.shape = build_shape(WordTableShape, options)
        self.name, self.vocab, self.dim = WORD_TABLE, vocab, self.shape.dim
        self.length = 2**31 - 1  # words have no positions
        is_special = torch.zeros(vocab, dtype=torch.bool)
        is_special[list(special)] = True
        self.register_buffer("special", is_special, persistent=False)
        vectors = (torch.rand(vocab, self.dim) - 0.5) / self.dim
        vectors[is_special] = 0.0
        self.token = nn.Embedding(vocab, self.dim, _weight=vectors, sparse=True)

    def forward(self, batch: TextBatch) -> Features:
        tokens, real = self.embed(batch), self.real_words(batch)
        mean = (tokens * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True).clamp_min(1)
        return Features(mean, tokens, (tokens.shape[1],))

    def hidden(self, batch: TextBatch) -> list[Features]:
        """Return the output of the only layer."""
        return [self(batch)]

    def forward_at(self, batch: TextBatch, where: Int64[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
        """Return the vectors at the positions `where`."""
        vectors: Tensor = self.token(batch.ids.gather(1, where))
        return vectors

    def embed(self, batch: TextBatch) -> Float[Tensor, "b n d"]:
        """Return the vectors of all ids."""
        vectors: Tensor = self.token(batch.ids)
        return vectors

    @torch.no_grad()
    def scale(self, factors: Float[Tensor, "v"]) -> "WordTable":
        """Return a table with the vector of each id times its factor."""
        scaled = deepcopy(self)
        scaled.token.weight.mul_(factors[:, None])
        return scaled

    def real_words(self, batch: TextBatch) -> Bool[Tensor, "b n"]:
        """Return which positions hold a word."""
        words = ~self.special[batch.ids]
        return words if batch.valid is None else words & batch.valid


def build_word_table(
    *, vocab: int, special: tuple[int, ...] = (), seed: int = 0, **options: Any
) -> WordTable:
    """Build a `WordTable` whose random vectors are a function of the seed."""
    with init_seed(seed, "encoder"):
        return WordTable(vocab=vocab, special=special, **options)
