"""The token table of a new encoder from the table of an earlier run, such as vectors of words."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from selfwise.core.config_class import spell_option
from selfwise.encoders.word_table import WordTable
from selfwise.modalities.earlier_run import OpenRun
from selfwise.tokenizers.tokenizer import Tokenizer

WORD2VEC = "word2vec"  # in place of a run: vectors that are trained first, in a folder of that name
TOKENIZER = "tokenizer"  # the tokenizer in a run folder
# A transformer learns its first rows from a table of this deviation; vectors of words are longer
DEVIATION = 0.05


@dataclass(frozen=True)
class FirstTokens:
    """The token table of an earlier run, for a new encoder."""

    where: Path
    """Folder of the earlier run."""
    open_run: OpenRun

    def copy(self, encoder: nn.Module, tokenizer: Tokenizer) -> None:
        """Replace the token table of an encoder. Raises ValueError if it does not fit."""
        earlier = self.open_run(self.where).method.encoder
        if isinstance(earlier, WordTable):
            earlier = earlier.without_ngrams()
        theirs = Tokenizer.load(self.where / TOKENIZER)
        copy_token_table(encoder, earlier, ours=tokenizer, theirs=theirs, where=self.where)


@torch.no_grad()
def copy_token_table(
    encoder: nn.Module, earlier: nn.Module, *, ours: Tokenizer, theirs: Tokenizer, where: Path
) -> None:
    """Replace the rows of the encoder's token table by the rows of an earlier encoder.

    The rows are centered, and scaled to a common deviation of 0.05. Heads that share the table get
    it too. Rows beyond the tokenizer's tokens stay, and so do those of special tokens where the
    earlier table is one of word vectors, which has learned nothing about them.

    Args:
        encoder: the new encoder.
        earlier: the encoder of the earlier run.
        ours: the tokenizer of the new run.
        theirs: the tokenizer of the earlier run.
        where: folder of the earlier run, for errors.

    Raises ValueError if the tokenizers or the widths differ, or a table is missing.
    """
    option = f"{spell_option('init_tokens')} {where}"
    target, source = getattr(encoder, "token", None), getattr(earlier, "token", None)
    if not isinstance(source, nn.Embedding):
        raise ValueError(f"{option} is a run whose encoder has no token table")
    if not isinstance(target, nn.Embedding):
        raise ValueError(f"{option} is for encoders with a token table, and this one has none")
    if ours.fingerprint != theirs.fingerprint:
        raise ValueError(
            f"{option} has another tokenizer than this run, so its vectors belong to other tokens: "
            f"leave out {spell_option('tokenizer')} to take the tokenizer of {where}, or give "
            f"{spell_option('init_tokens')} {WORD2VEC}, which trains vectors of this run's tokens"
        )
    if (given := source.embedding_dim) != (width := target.embedding_dim):
        raise ValueError(
            f"{option} has vectors of {given} numbers, and the token table of this encoder has "
            f"{width}: use vectors of {width}, or give {spell_option('encoder.embedding')} "
            f"{given}, which adds a linear layer after the table"
        )
    known = torch.ones(ours.vocabulary.size, dtype=torch.bool)
    if isinstance(earlier, WordTable):
        known[list(ours.vocabulary.special)] = False
    rows = source.weight[: len(known)][known].float()
    rows = rows - rows.mean(dim=0)
    deviation = rows.square().mean().sqrt()
    if not deviation > 0:
        raise ValueError(f"{option} has equal vectors for all tokens, or broken ones")
    target.weight[: len(known)][known] = rows * (DEVIATION / deviation)
