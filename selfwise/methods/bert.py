"""BERT (Devlin et al. 2018, arXiv:1810.04805): predict masked words, and whether B follows A."""

from types import MappingProxyType

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from selfwise.core.ranges import ProperShare, check_ranges
from selfwise.core.rng import Rng
from selfwise.core.types import RowSampler, Step, TextBatch, TextEncoder, Vocabulary
from selfwise.methods.default_rules import short_text_rules
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
from selfwise.views.text.sentence_pairs import plan_next_sentence
from selfwise.views.text.token_mask import MaskedTokens
from selfwise.views.text.whole_word_mask import choose_ngrams, group_words

RULES = short_text_rules(
    lambda about: 7e-4,
    "0.0007 up to 20,000 steps and a width of 256",
    "the rate of BERT mini on novels",
    average_decay=0.98,
)


class BERT(Method):
    """Masked-LM plus next-sentence loss; each loss is averaged over the whole batch.

    15 % of the tokens are chosen, special tokens never. 80 % of the chosen tokens become the mask,
    10 % become a random token and 10 % stay. The loss covers only the chosen tokens, so only they
    and [CLS] go through the last layer and the head.

    Args:
        encoder: a text encoder that sees both sides, with a pooler and two segments.
        vocab: the tokenizer's vocabulary.
        mask_prob: fraction of a row's tokens, counting special tokens, that is chosen.
        final_mask_prob: fraction that is chosen at the end of the run, to which it changes linearly
            from `mask_prob`; by default constant. Held-out losses have the fraction of the end.
        whole_word_mask: choose all tokens of a word or none, as the authors' later models do.
    """

    modality = "text"
    rules = RULES
    summary = Summary(
        predicts="masked tokens; whether the second text follows the first",
        source="the rest of two texts",
        loss="masked-LM and next-sentence cross-entropy",
        reference="Devlin et al. 2018, arXiv:1810.04805",
    )
    needs = MappingProxyType({"vocab": VOCABULARY})
    default_encoder = "bert-mini"
    default_tokenizer = "wordpiece"
    learns_pairs = True
    progress_options = ("final_mask_prob",)
    least_documents = 2  # a random next sentence comes from another document
    # Appendix A.2: 256 rows, 1e-4, 10,000 of a million steps of warm-up. The authors' Adam
    # (`optimization.py`) does not correct the bias of its averages, which makes the first steps up
    # to three times as large. The paper names plain Adam; we use plain Adam, as others do.
    paper = PaperDefaults(
        lr=1e-4,
        base_batch=256,
        weight_decay=0.01,
        warmup=0.01,
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
        final_mask_prob: ProperShare | None = None,
        whole_word_mask: bool = False,
    ):
        super().__init__()
        check_text("bert", encoder, vocab, roles=("mask", "first", "last"))
        check_sees_all("bert", encoder)
        check_pairs("bert", encoder)
        assert vocab.mask is not None
        self.mask_prob, self.final_mask_prob = mask_prob, final_mask_prob
        self.whole_word_mask = whole_word_mask
        self.mask, self.size = vocab.mask, vocab.size
        self.register_buffer("special", mask.id_table(vocab.special, vocab.size), persistent=False)
        self.register_buffer("starts", vocab.starts, persistent=False)
        self.encoder, self.draw = (
            encoder,
            RowSampler(plan_next_sentence, collate_pairs, needs_sentences=True),
        )
        self.head = MaskedLMHead(
            encoder.dim,
            encoder.token.embedding_dim,
            encoder.token.num_embeddings,
            activation=encoder.shape.activation,
            eps=encoder.shape.eps,
        )
        self.next = nn.Linear(encoder.dim, 2)
        nn.init.trunc_normal_(self.next.weight, std=0.02, a=-0.04, b=0.04)
        nn.init.zeros_(self.next.bias)

    def view(self, batch: TextBatch, rng: Rng) -> MaskedTokens:
        (b, n), device = batch.ids.shape, batch.ids.device
        share = mask.share_at(rng.progress, self.mask_prob, self.final_mask_prob)
        k = mask.max_masked(n, share)
        candidate = mask.maskable_positions(batch, self.special)
        count = mask.num_to_mask(mask.count_valid_tokens(batch), share)
        score = rng.uniform(b, n).to(device, non_blocking=True)
        if self.whole_word_mask:
            words = group_words(batch.ids, candidate, self.starts)
            covered = choose_ngrams(words, candidate, score=score, draw=score, budget=count)
            where, chosen = mask.sort_masked_first(covered, k)
        else:
            where, chosen = mask.choose_positions(candidate, score, count, k)
        kind = rng.uniform(b, k).to(device, non_blocking=True)
        other = rng.integers(self.size, b, k).to(device, non_blocking=True)
        return mask.apply_mask(batch, where, chosen, kind=kind, other=other, mask=self.mask)

    def counts(self, view: MaskedTokens) -> dict[str, Tensor]:
        chosen = view.chosen.sum().float()
        return {"mlm_loss": chosen, "nsp_loss": chosen.new_full((), len(view.chosen))}

    def forward(self, view: MaskedTokens) -> Step:
        assert view.batch.pair is not None, "rows of pairs have labels"
        logits, answer = self._scores(view)
        words = cross_entropy_step("mlm", logits, view.target.flatten(), view.chosen.flatten())
        texts = cross_entropy_step("nsp", answer, view.batch.pair)
        return Step(words.terms | texts.terms, words.metrics | texts.metrics)

    def inspect(self, view: MaskedTokens) -> MaskedTextExamples:
        """Return the predictions at masked tokens and for each pair; rows may be single texts."""
        logits, answer = self._scores(view)
        about = (
            "Some words are masked and the encoder predicts them. For two texts A and B it also "
            "predicts whether B follows A or comes from another document."
        )
        answers = predict_pairs(("B follows A", "B is from another text"), view.batch.pair, answer)
        predictions = rank_predictions(logits, view.where, view.chosen, view.target)
        return MaskedTextExamples(about, view.batch, predictions, answers)

    def _scores(self, view: MaskedTokens) -> tuple[Float[Tensor, "m v"], Float[Tensor, "b 2"]]:
        """Return token scores at each masked position of each row, and scores of the pair
        classes."""
        read = self.encoder.forward_at(view.batch, F.pad(view.where, (1, 0)))
        pooled = torch.tanh(self.encoder.pooler(read[:, 0]))
        logits = self.head(read[:, 1:].flatten(0, 1), self.encoder.token.weight)
        return logits, self.next(pooled)
