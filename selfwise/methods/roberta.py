"""RoBERTa (Liu et al. 2019, arXiv:1907.11692): predict masked tokens, with new masks every
epoch."""

from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from selfwise.core.device import to_float64
from selfwise.core.errors import did_you_mean
from selfwise.core.ranges import ProperShare, check_ranges
from selfwise.core.rng import Rng
from selfwise.core.types import RowSampler, Step, TextBatch, TextEncoder, Vocabulary
from selfwise.methods.default_rules import short_text_rules
from selfwise.methods.inspection import MaskedTextExamples, rank_predictions
from selfwise.methods.method import (
    Method,
    PaperDefaults,
    Summary,
    check_sees_all,
    check_text,
    cross_entropy_step,
)
from selfwise.methods.needs import VOCABULARY
from selfwise.nn.mlm_head import MaskedLMHead
from selfwise.views.text import token_mask as mask
from selfwise.views.text.collate import collate_packed
from selfwise.views.text.packing import plan_best_fit, plan_full_sentences
from selfwise.views.text.token_mask import MaskedTokens

PACKINGS = {
    "full_sentences": RowSampler(plan_full_sentences, collate_packed, needs_sentences=True),
    "best_fit": RowSampler(plan_best_fit, collate_packed),
}


RULES = short_text_rules(
    lambda about: 7e-4,
    "0.0007 up to 20,000 steps and a width of 256",
    "the rate of BERT mini on novels",
    average_decay=0.98,
)


class RoBERTa(Method):
    """Masked-LM loss on full rows, without pairs.

    The masks of an example are a function of the seed, the epoch and the example: they differ in
    every epoch and repeat when the run is repeated. As in the authors' code, the number of chosen
    tokens is rounded up or down at random, and a random token is never a special token. Special
    tokens are never chosen, unlike in fairseq (`mask_tokens_dataset.py`), which may choose <s>
    and </s>.

    Args:
        encoder: a text encoder that sees both sides.
        vocab: the tokenizer's vocabulary.
        mask_prob: fraction of a row's tokens, counting special tokens, that is chosen.
        final_mask_prob: fraction that is chosen at the end of the run, to which it changes linearly
            from `mask_prob`; by default constant. Held-out losses have the fraction of the end.
        packing: full_sentences (paper) fills rows with whole sentences; best_fit cuts and packs
            documents so that rows have almost no padding, without looking for sentences.
    """

    modality = "text"
    rules = RULES
    summary = Summary(
        predicts="masked tokens",
        source="the rest of a full row of text",
        loss="masked-LM cross-entropy",
        reference="Liu et al. 2019, arXiv:1907.11692",
    )
    needs = MappingProxyType({"vocab": VOCABULARY})
    default_encoder = "roberta-mini"
    default_tokenizer = "bpe"
    progress_options = ("final_mask_prob",)
    # The base model had 8,192 rows and 6e-4, with 24,000 of 500,000 steps of warm-up and no
    # clipping. The authors' table for other batches has 1e-4 at 256: square-root scaling.
    paper = PaperDefaults(
        lr=1e-4,
        base_batch=256,
        scaling="sqrt",
        weight_decay=0.01,
        warmup=0.06,
        schedule="linear",
        betas=(0.9, 0.98),
        eps=1e-6,
    )

    mask: int
    special: Tensor
    plain: Tensor

    @check_ranges
    def __init__(
        self,
        encoder: TextEncoder,
        *,
        vocab: Vocabulary,
        mask_prob: ProperShare = 0.15,
        final_mask_prob: ProperShare | None = None,
        packing: str = "full_sentences",
    ):
        super().__init__()
        check_text("roberta", encoder, vocab, roles=("mask", "first", "last"))
        check_sees_all("roberta", encoder)
        assert vocab.mask is not None
        self.encoder, self.mask = encoder, vocab.mask
        self.mask_prob, self.final_mask_prob = mask_prob, final_mask_prob
        self.register_buffer("special", mask.id_table(vocab.special, vocab.size), persistent=False)
        self.register_buffer("plain", mask.text_ids(vocab), persistent=False)
        self.draw = _choose_sampler(packing)
        self.head = MaskedLMHead(
            encoder.dim,
            encoder.token.embedding_dim,
            encoder.token.num_embeddings,
            activation=encoder.shape.activation,
            eps=encoder.shape.eps,
        )

    def view(self, batch: TextBatch, rng: Rng) -> MaskedTokens:
        n = batch.ids.shape[1]
        share = mask.share_at(rng.progress, self.mask_prob, self.final_mask_prob)
        k = min(n, int(n * share) + 1)
        epoch = torch.zeros_like(batch.index) if batch.epoch is None else batch.epoch
        keys = torch.stack([epoch, batch.index], dim=1)
        # the first number of a row sets the count; then three numbers for each position
        drawn = rng.keyed(keys, 1 + 3 * n)
        score, kind, other = drawn[:, 1:].unflatten(1, (n, 3)).unbind(dim=2)
        length = to_float64(mask.count_valid_tokens(batch))
        count = (length * share + to_float64(drawn[:, 0])).floor().long().to(drawn.device)
        candidate = mask.maskable_positions(batch, self.special)
        where, chosen = mask.choose_positions(candidate, score, count, k)
        pool = self.plain
        random = pool[(other.gather(1, where) * len(pool)).long().clamp_max(len(pool) - 1)]
        kind = kind.gather(1, where)
        return mask.apply_mask(batch, where, chosen, kind=kind, other=random, mask=self.mask)

    def counts(self, view: MaskedTokens) -> dict[str, Tensor]:
        return {"mlm_loss": view.chosen.sum().float()}

    def forward(self, view: MaskedTokens) -> Step:
        return cross_entropy_step(
            "mlm", self._scores(view), view.target.flatten(), view.chosen.flatten()
        )

    def inspect(self, view: MaskedTokens) -> MaskedTextExamples:
        """Return the predictions at masked tokens."""
        predictions = rank_predictions(self._scores(view), view.where, view.chosen, view.target)
        return MaskedTextExamples(
            "Some tokens are masked, and the encoder predicts them.", view.batch, predictions
        )

    def _scores(self, view: MaskedTokens) -> Float[Tensor, "m v"]:
        """Return token scores at each masked position of each row."""
        hidden = self.encoder.forward_at(view.batch, view.where).flatten(0, 1)
        logits: Tensor = self.head(hidden, self.encoder.token.weight)
        return logits


def _choose_sampler(name: str) -> RowSampler:
    if name not in PACKINGS:
        raise ValueError(f"unknown packing {name!r}{did_you_mean(name, PACKINGS)}")
    return PACKINGS[name]
