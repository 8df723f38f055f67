"""word2vec (Mikolov et al. 2013, arXiv:1301.3781, 1310.4546): predict the words around a word."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from selfwise.core.ranges import NonNegativeFloat, PositiveInt, check_ranges
from selfwise.core.rng import Rng
from selfwise.core.types import RowSampler, Step, Term, TextBatch, TextEncoder, Vocabulary
from selfwise.losses.negative_sampling import cbow_loss, skipgram_loss
from selfwise.methods.default_rules import DefaultRule
from selfwise.methods.inspection import MaskedTextExamples, rank_predictions
from selfwise.methods.method import Method, PaperDefaults, Summary, check_text
from selfwise.methods.needs import TOKEN_COUNTS, VOCABULARY
from selfwise.nn.sparse_table import look_up_rows
from selfwise.views.text.collate import collate_pieces
from selfwise.views.text.packing import plan_pieces
from selfwise.views.text.word_windows import (
    CENTERS,
    Blocks,
    count_blocks,
    draw_negatives,
    keep_probability,
    make_blocks,
    noise_distribution,
    number_documents,
)

SHARED_NEGATIVES = CENTERS  # drawn for each block of centers
INSPECTED_STRIDE = 5  # words from one that a report shows to the next
EVIDENCE = "word2vec through the loop"
# Rows have no positions to learn, so rules for transformers do not apply. Longer rows have fewer
# ends, where windows are cut, and fill their blocks better; 8 of them are 2,048 words.
RULES = (
    DefaultRule("max_length", "method", lambda _: 256, "256 words: few windows are cut", EVIDENCE),
    DefaultRule("batch_size", "method", lambda _: None, "8 rows, 2,048 words", EVIDENCE),
)


class WordWindows(NamedTuple):
    """Rows of words with everything that is drawn for them."""

    ids: Int64[Tensor, "b n"]
    document: Int64[Tensor, "b n"]  # number of the word's document in its row
    kept: Bool[Tensor, "b n"]  # False: too frequent, and dropped this time; or not a word
    reach: Int64[Tensor, "b n"]  # the window of each center, 1 to the largest
    negatives: Int64[Tensor, "b m k"]  # for each block of centers
    share: Float[Tensor, "b"]  # what each row is of the whole step


class Word2Vec(Method):
    """Skip-gram or CBOW with negative sampling, as sums over pairs of words.

    Frequent words are dropped at random before windows are measured; each center draws its window;
    negatives are drawn by their counts to the power 3/4. The words of a block of 32 centers share
    32 negatives, each with the weight `negatives` / 32, so that the weights of a pair add up to
    `negatives`. A negative may be the true context by chance, as in the paper; word2vec.c leaves
    such a negative out.

    The loss is a sum as in word2vec.c, where each pair is a step: a mean over a batch would move a
    word by a thousandth. So the learning rate belongs to a batch of 2,048 words, and a larger batch
    needs a smaller rate.

    Args:
        encoder: a table of word vectors.
        vocab: the tokenizer's vocabulary.
        counts: how often each token occurs in the training documents.
        objective: skipgram predicts each context from the center; cbow predicts the center from the
            mean of its contexts, is faster, and has a rate of 0.05.
        window: the largest distance between a center and a context, in remaining words; each center
            draws its own from 1 to this.
        negatives: negatives for each pair; 5 to 20 on small texts, 2 to 5 on large ones
            (arXiv:1310.4546, section 2.2).
        subsample: words that are a larger fraction of the text than this are dropped at random;
            0 keeps all.
    """

    modality = "text"
    summary = Summary(
        predicts="the words around a word",
        source="that word alone, against drawn words",
        loss="negative sampling",
        reference="Mikolov et al. 2013, arXiv:1310.4546",
    )
    needs = MappingProxyType({"vocab": VOCABULARY, "counts": TOKEN_COUNTS})
    rules = RULES
    default_encoder = "word2vec"
    default_tokenizer = "words"
    sparse_gradients = True
    # word2vec.c: 0.025 falling linearly (skip-gram), 5 passes
    paper = PaperDefaults(
        optimizer="sparse_sgd",
        lr=0.025,
        base_batch=8,
        batch_size=8,
        warmup=0.0,
        schedule="linear",
        epochs=5.0,
    )

    @classmethod
    def paper_for(cls, options: Mapping[str, object]) -> PaperDefaults:
        """Return the defaults of an objective: word2vec.c has a rate of 0.05 for CBOW."""
        rate = 0.05 if options.get("objective") == "cbow" else cls.paper.lr
        return cls.paper._replace(lr=rate)

    keep: Tensor
    noise: Tensor

    @check_ranges
    def __init__(
        self,
        encoder: TextEncoder,
        *,
        vocab: Vocabulary,
        counts: Int64[Tensor, "v"],
        objective: Literal["skipgram", "cbow"] = "skipgram",
        window: PositiveInt = 5,
        negatives: PositiveInt = 5,
        subsample: NonNegativeFloat = 1e-3,
    ):
        super().__init__()
        check_text("word2vec", encoder, vocab)
        if getattr(encoder, "contextual", True):
            raise ValueError(
                "word2vec needs a table of word vectors, and this encoder reads neighboring words; "
                "--encoder word2vec would be right"
            )
        self.encoder, self.objective = encoder, objective
        self.window, self.negatives = window, negatives
        self.contexts = nn.Parameter(torch.zeros(encoder.vocab, encoder.dim))
        words = counts.clone()
        words[list(vocab.special)] = 0
        if not words.any():
            raise ValueError("word2vec has no word to learn: every token is special or unknown")
        keep = keep_probability(words, subsample) * (words > 0)
        self.register_buffer("keep", keep, persistent=False)
        self.register_buffer("noise", noise_distribution(words), persistent=False)
        self.draw = RowSampler(plan_pieces, collate_pieces)

    @property
    def about(self) -> dict[str, float]:
        return {"vocabulary": float((self.keep > 0).sum())}

    def view(self, batch: TextBatch, rng: Rng) -> WordWindows:
        b, n = batch.ids.shape
        blocks = count_blocks(n)
        epoch = torch.zeros_like(batch.index) if batch.epoch is None else batch.epoch
        keys = torch.stack([epoch, batch.index], dim=1)
        drawn = rng.keyed(keys, 2 * n + blocks * SHARED_NEGATIVES)
        keep, reach, negative = drawn.split([n, n, blocks * SHARED_NEGATIVES], dim=1)
        kept = keep < self.keep[batch.ids]
        if batch.valid is not None:
            kept = kept & batch.valid
        return WordWindows(
            batch.ids,
            number_documents(batch),
            kept,
            (reach * self.window).long() + 1,
            draw_negatives(self.noise, negative.contiguous()).unflatten(1, (blocks, -1)),
            torch.full_like(drawn[:, 0], 1 / (rng.total or b)),
        )

    def counts(self, view: WordWindows) -> dict[str, Tensor]:
        # micro-batches and processes share one step, so their counts add up to 1
        return {"word2vec_loss": view.share.sum()}

    def forward(self, view: WordWindows) -> Step:
        blocks = make_blocks(
            view.ids, view.document, view.kept, view.reach, view.negatives, window=self.window
        )
        if self.objective == "skipgram":
            loss = self._predict_contexts(blocks)
            predicted = blocks.pairs.sum()
        else:
            loss = self._predict_centers(blocks)
            predicted = blocks.pairs.any(dim=2).sum()
        return Step(
            {"word2vec_loss": Term(loss, view.share.sum())},
            {"pair_loss": Term(loss.detach(), predicted.float())},
        )

    def inspect(self, view: WordWindows) -> MaskedTextExamples:
        """Return every fifth kept word with the words that its neighbors predict.

        Their vectors are averaged, as by CBOW, and compared with all words, not only with
        negatives.
        """
        b, n = view.ids.shape
        where = torch.arange(0, n, INSPECTED_STRIDE, device=view.ids.device)
        place = torch.arange(n, device=view.ids.device)
        near = (place - where[:, None]).abs() <= self.window
        near = near & (place != where[:, None]) & view.kept[:, None]
        near = near & (view.document[:, where, None] == view.document[:, None])
        contexts = near.float() @ self.encoder.look_up(view.ids)
        contexts = contexts / near.sum(dim=2, keepdim=True).clamp_min(1)
        scores = contexts.flatten(0, 1) @ self.contexts.T
        valid = view.kept[:, where] & near.any(dim=2)
        return MaskedTextExamples(
            "The mean of the vectors of its neighbors predicts each marked word.",
            TextBatch(view.ids, torch.arange(b, device=view.ids.device)),
            rank_predictions(scores, where.expand(b, -1), valid, view.ids[:, where]),
        )

    def _predict_contexts(self, blocks: Blocks) -> Float[Tensor, ""]:
        centers = self.encoder.look_up(blocks.centers)
        others = look_up_rows(self.contexts, torch.cat([blocks.words, blocks.negatives], dim=1))
        return skipgram_loss(centers, others, blocks.pairs, negatives_per_pair=self.negatives)

    def _predict_centers(self, blocks: Blocks) -> Float[Tensor, ""]:
        contexts = self.encoder.look_up(blocks.words)
        others = torch.cat([blocks.centers, blocks.negatives], dim=1)  # so that gradients are one
        centers, negatives = look_up_rows(self.contexts, others).split(CENTERS, dim=1)
        return cbow_loss(
            contexts, centers, negatives, blocks.pairs, negatives_per_pair=self.negatives
        )
