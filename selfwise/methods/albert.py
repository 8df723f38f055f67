"""ALBERT (Lan et al. 2019, arXiv:1909.11942): predict masked n-grams, and which text is first."""

from types import MappingProxyType
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor, nn

from selfwise.core.ranges import ProperShare, check_ranges
from selfwise.core.rng import Rng
from selfwise.core.types import RowSampler, Step, TextBatch, TextEncoder, Vocabulary
from selfwise.methods.inspection import MaskedTextExamples, predict_pairs, rank_predictions
from selfwise.methods.method import (
    Method,
    PaperDefaults,
    Summary,
    check_pairs,
    check_sees_all,
    check_text,
    cross_entropy_step,
)
from selfwise.methods.needs import VOCABULARY
from selfwise.nn.mlm_head import MaskedLMHead
from selfwise.views.text import token_mask as mask
from selfwise.views.text.collate import collate_pairs
from selfwise.views.text.sentence_pairs import plan_sentence_order
from selfwise.views.text.token_mask import MaskedTokens
from selfwise.views.text.whole_word_mask import choose_ngrams, group_words


class ALBERT(Method):
    """Masked-LM plus sentence-order loss; each loss is averaged over the whole batch.

    N-grams of whole words are chosen, longer n-grams less often (section 3.1), up to 15 % of the
    tokens. Each chosen token becomes the mask (80 %), becomes a random token (10 %) or stays,
    independently of its neighbors.

    Args:
        encoder: a text encoder that sees both sides, with a pooler and two segments.
        vocab: the tokenizer's vocabulary.
        mask_prob: largest fraction of a row's tokens, counting special tokens, that is chosen.
        max_ngram: words in the longest n-gram; 1 masks single words.
    """

    modality = "text"
    summary = Summary(
        predicts="masked words and n-grams; whether two segments are swapped",
        source="the rest of two segments of one document",
        loss="masked-LM and sentence-order cross-entropy",
        reference="Lan et al. 2019, arXiv:1909.11942",
    )
    needs = MappingProxyType({"vocab": VOCABULARY})
    default_encoder = "albert-mini"
    default_tokenizer = "unigram"
    learns_pairs = True
    # Section 4.1 and the authors' code: LAMB, 0.00176 at 4,096 rows, 3,125 of 125,000 steps of
    # warm-up. The paper's LAMB scales the rate with the square root of the batch.
    paper = PaperDefaults(
        "lamb",
        lr=0.00176,
        base_batch=4096,
        scaling="sqrt",
        weight_decay=0.01,
        warmup=0.025,
        schedule="linear",
        eps=1e-6,
        grad_clip=1.0,
    )

    mask: int
    special: Tensor
    starts: Tensor

    @check_ranges
    def __init__(
        self,
        encoder: TextEncoder,
        *,
        vocab: Vocabulary,
        mask_prob: ProperShare = 0.15,
        max_ngram: Annotated[int, Ge(1), Le(10)] = 3,
    ):
        super().__init__()
        check_text("albert", encoder, vocab, roles=("mask", "first", "last"))
        check_sees_all("albert", encoder)
        check_pairs("albert", encoder)
        assert vocab.mask is not None
        self.mask_prob, self.max_ngram = mask_prob, max_ngram
        self.mask, self.size = vocab.mask, vocab.size
        self.register_buffer("special", mask.id_table(vocab.special, vocab.size), persistent=False)
        self.register_buffer("starts", vocab.starts, persistent=False)
        self.encoder, self.draw = (
            encoder,
            RowSampler(plan_sentence_order, collate_pairs, needs_sentences=True),
        )
        self.head = MaskedLMHead(
            encoder.dim,
            encoder.token.embedding_dim,
            encoder.token.num_embeddings,
            activation=encoder.shape.activation,
            eps=encoder.shape.eps,
        )
        self.order = nn.Linear(encoder.dim, 2)
        nn.init.trunc_normal_(self.order.weight, std=0.02, a=-0.04, b=0.04)
        nn.init.zeros_(self.order.bias)

    def view(self, batch: TextBatch, rng: Rng) -> MaskedTokens:
        (b, n), device = batch.ids.shape, batch.ids.device
        k = mask.max_masked(n, self.mask_prob)
        score, draw = rng.uniform(b, 2, n).to(device, non_blocking=True).unbind(dim=1)
        candidate = mask.maskable_positions(batch, self.special)
        covered = choose_ngrams(
            group_words(batch.ids, candidate, self.starts),
            candidate,
            score=score,
            draw=draw,
            budget=mask.num_to_mask(mask.count_valid_tokens(batch), self.mask_prob),
            longest=self.max_ngram,
        )
        where, chosen = mask.sort_masked_first(covered, k)
        kind = rng.uniform(b, k).to(device, non_blocking=True)
        other = rng.integers(self.size, b, k).to(device, non_blocking=True)
        return mask.apply_mask(batch, where, chosen, kind=kind, other=other, mask=self.mask)

    def counts(self, view: MaskedTokens) -> dict[str, Tensor]:
        chosen = view.chosen.sum().float()
        return {"mlm_loss": chosen, "sop_loss": chosen.new_full((), len(view.chosen))}

    def forward(self, view: MaskedTokens) -> Step:
        assert view.batch.pair is not None, "rows of pairs have labels"
        logits, answer = self._scores(view)
        words = cross_entropy_step("mlm", logits, view.target.flatten(), view.chosen.flatten())
        texts = cross_entropy_step("sop", answer, view.batch.pair)
        return Step(words.terms | texts.terms, words.metrics | texts.metrics)

    def inspect(self, view: MaskedTokens) -> MaskedTextExamples:
        """Return the predictions at masked tokens and for each pair; rows may be single texts."""
        logits, answer = self._scores(view)
        about = (
            "Some n-grams are masked and the encoder predicts them. For two consecutive texts it "
            "also predicts whether they are in their original order."
        )
        answers = predict_pairs(("in order", "swapped"), view.batch.pair, answer)
        predictions = rank_predictions(logits, view.where, view.chosen, view.target)
        return MaskedTextExamples(about, view.batch, predictions, answers)

    def _scores(self, view: MaskedTokens) -> tuple[Float[Tensor, "m v"], Float[Tensor, "b 2"]]:
        """Return token scores at each masked position of each row, and scores of the pair
        classes."""
        read = self.encoder.forward_at(view.batch, F.pad(view.where, (1, 0)))
        pooled = torch.tanh(self.encoder.pooler(read[:, 0]))
        logits = self.head(read[:, 1:].flatten(0, 1), self.encoder.token.weight)
        return logits, self.order(pooled)
