"""A table of word vectors as an encoder of text (Mikolov et al. 2013, arXiv:1301.3781).

With sub-words (Bojanowski et al. 2016, arXiv:1607.04606) a word also has the rows of its n-grams.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from selfwise.core.ranges import PositiveInt
from selfwise.core.rng import init_seed
from selfwise.core.types import Features, TextBatch
from selfwise.encoders.char_ngrams import hash_words
from selfwise.encoders.option_checks import build_shape, check_options
from selfwise.nn.sparse_table import look_up_rows

WORD_TABLE = "word2vec"  # its name as an encoder


@dataclass(frozen=True)
class WordTableShape:
    """Everything that decides on the weights of a table of word vectors.

    Args:
        dim: width of the vectors.
        subwords: add vectors of the character n-grams of each word, so that rare words learn from
            words that are spelled alike.
        buckets: rows of the table of n-grams; n-grams with equal hashes share a row.
        min_ngram: length of the shortest n-grams, with < and > at the ends of the word.
        max_ngram: length of the longest n-grams.
    """

    dim: PositiveInt = 100
    subwords: bool = False
    buckets: PositiveInt = 100_000
    min_ngram: PositiveInt = 3
    max_ngram: PositiveInt = 6


class WordTable(nn.Module):
    """A vector for each token id, whatever is around it; `pooled` is the mean over real words.

    Special tokens, the unknown word among them, are not words: their vectors are 0, and the mean
    leaves them out. The vectors start uniform in +-0.5 / dim (word2vec.c, `InitNet`), and their
    gradients are sparse.

    With sub-words, a word's vector is the sum of its own row and the rows of its n n-grams, divided
    by sqrt(n + 1). The paper has the sum, for which the rate would depend on n. fastText's code has
    the mean with gradients that it does not divide, which equals gradient descent on our quotient
    as far as words have equal n: a step moves a vector as far as a step of word2vec does.

    Args:
        vocab: number of token ids.
        special: ids that are not words.
        words: the word of each id, for sub-words; later ids have no n-grams.
        options: fields of `WordTableShape`.

    Raises ValueError with one sentence for an option that does not fit.
    """

    special: Tensor
    ngram_rows: Tensor
    ngram_starts: Tensor
    causal, segments, pooler = False, 0, None
    pooling, contextual = "mean", False  # a vector does not depend on its neighbors

    def __init__(
        self,
        *,
        vocab: int,
        special: tuple[int, ...] = (),
        words: Sequence[str] = (),
        **options: Any,
    ):
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
        self.ngram: nn.Embedding | None = None
        if self.shape.subwords:
            self._add_ngrams(words, special)

    def forward(self, batch: TextBatch) -> Features:
        tokens, real = self.embed(batch), self.real_words(batch)
        mean = (tokens * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True).clamp_min(1)
        return Features(mean, tokens, (tokens.shape[1],))

    def hidden(self, batch: TextBatch) -> list[Features]:
        """Return the output of the only layer."""
        return [self(batch)]

    def forward_at(self, batch: TextBatch, where: Int64[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
        """Return the vectors at the positions `where`."""
        return self._read(batch.ids.gather(1, where))

    def embed(self, batch: TextBatch) -> Float[Tensor, "b n d"]:
        """Return the vectors of all ids."""
        return self._read(batch.ids)

    def look_up(self, ids: Int64[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        """Return the vectors of ids; the gradients of the tables are sparse."""
        if self.ngram is None:
            return look_up_rows(self.token.weight, ids)
        words, places = ids.unique(return_inverse=True)
        return self._compose(words).index_select(0, places.flatten()).view(*ids.shape, self.dim)

    @torch.no_grad()
    def without_ngrams(self) -> "WordTable":
        """Return a table whose rows are the vectors of the ids; this table if it is one already."""
        if self.ngram is None:
            return self
        plain = deepcopy(self)
        plain.shape, plain.ngram = replace(self.shape, subwords=False), None
        plain.token.weight.copy_(
            self._compose(torch.arange(self.vocab, device=self.special.device))
        )
        return plain

    @torch.no_grad()
    def scale(self, factors: Float[Tensor, "v"]) -> "WordTable":
        """Return a table with the vector of each id times its factor."""
        scaled = deepcopy(self.without_ngrams())
        scaled.token.weight.mul_(factors[:, None])
        return scaled

    def real_words(self, batch: TextBatch) -> Bool[Tensor, "b n"]:
        """Return which positions hold a word."""
        words = ~self.special[batch.ids]
        return words if batch.valid is None else words & batch.valid

    def _read(self, ids: Int64[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        vectors: Tensor = self.token(ids) if self.ngram is None else self.look_up(ids)
        return vectors

    def _add_ngrams(self, words: Sequence[str], special: tuple[int, ...]) -> None:
        shape = self.shape
        if shape.min_ngram > shape.max_ngram:
            raise ValueError(
                f"encoder {WORD_TABLE}: min_ngram {shape.min_ngram} is more than max_ngram "
                f"{shape.max_ngram}"
            )
        names = [*words, *[""] * (self.vocab - len(words))]
        without = {*special, *range(len(words), self.vocab)}
        rows, starts = hash_words(
            names, without, buckets=shape.buckets, shortest=shape.min_ngram, longest=shape.max_ngram
        )
        self.register_buffer("ngram_rows", rows, persistent=False)
        self.register_buffer("ngram_starts", starts, persistent=False)
        vectors = (torch.rand(shape.buckets, self.dim) - 0.5) / self.dim
        self.ngram = nn.Embedding(shape.buckets, self.dim, _weight=vectors, sparse=True)

    def _compose(self, words: Int64[Tensor, "w"]) -> Float[Tensor, "w d"]:
        """Return the vectors of distinct ids from their own rows and the rows of their n-grams."""
        assert self.ngram is not None
        first = self.ngram_starts[words]
        count = self.ngram_starts[words + 1] - first
        owner = torch.arange(len(words), device=words.device).repeat_interleave(count)
        inside = torch.arange(len(owner), device=words.device) - (count.cumsum(0) - count)[owner]
        parts = look_up_rows(self.ngram.weight, self.ngram_rows[first[owner] + inside])
        sums = look_up_rows(self.token.weight, words).index_add(0, owner, parts)
        return sums / (count + 1).to(sums.dtype).sqrt()[:, None]


def build_word_table(
    *,
    vocab: int,
    special: tuple[int, ...] = (),
    words: Sequence[str] = (),
    seed: int = 0,
    **options: Any,
) -> WordTable:
    """Build a `WordTable` whose random vectors are a function of the seed."""
    with init_seed(seed, "encoder"):
        return WordTable(vocab=vocab, special=special, words=words, **options)
