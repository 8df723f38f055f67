"""GPT (Radford et al. 2018 and 2019): predict each token of a text from the tokens before it."""

from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from selfwise.core.rng import Rng
from selfwise.core.types import RowSampler, Step, TextBatch, TextEncoder, Vocabulary
from selfwise.methods.default_rules import short_text_rules
from selfwise.methods.inspection import NextTokenExamples, rank_predictions
from selfwise.methods.method import Method, PaperDefaults, Summary, check_text, cross_entropy_step
from selfwise.methods.needs import VOCABULARY
from selfwise.views.text.collate import collate_windows
from selfwise.views.text.packing import plan_windows


class NextTokens(NamedTuple):
    """Inputs, and the token that follows each position."""

    batch: TextBatch
    where: Int64[Tensor, "b n"]  # every position
    target: Int64[Tensor, "b n"]
    chosen: Bool[Tensor, "b n"]  # False where the next token is padding or of another document


# 0.004 was best at a width of 128; the rate of Adam falls with the width (arXiv:2203.03466), and at
# 768 this is GPT-2's 0.0006 again
RULES = short_text_rules(
    lambda about: 4e-3 * 128 / about.width,
    "0.004 * 128 / width, up to 20,000 steps and a width of 256",
    "the rate of a small GPT",
    average_decay=0.99,
)


class GPT(Method):
    """The mean cross-entropy of the next token over all tokens of all documents.

    A document begins with the tokenizer's first special token and ends with its last special token
    (both <|endoftext|> in GPT-2's own vocabulary). So the first token is a target too, and the
    model learns where to stop. Short documents share a row but do not attend to each other.

    Args:
        encoder: a causal text encoder; its token table is also the output layer (GPT-1, section
            3.1).
        vocab: the tokenizer's vocabulary.
    """

    modality = "text"
    rules = RULES
    summary = Summary(
        predicts="the next token",
        source="all tokens before it",
        loss="cross-entropy",
        reference="Radford et al. 2019",
    )
    needs = MappingProxyType({"vocab": VOCABULARY})
    default_encoder = "gpt-mini"
    default_tokenizer = "bpe"
    # GPT-2's paper gives no recipe. This is nanoGPT's for GPT-2 small: 480 rows, 6e-4, decay 0.1.
    # nanoGPT ends at a tenth of the rate and we end at 0; its warm-up is 2,000 of 600,000 steps.
    # GPT-1 had 64 rows, 2.5e-4, betas 0.9 and 0.999, decay 0.01, 2,000 steps of warm-up.
    paper = PaperDefaults(
        lr=6e-4,
        base_batch=480,
        batch_size=64,
        weight_decay=0.1,
        warmup=0.01,
        schedule="cosine",
        betas=(0.9, 0.95),
        grad_clip=1.0,
    )

    def __init__(self, encoder: TextEncoder, *, vocab: Vocabulary):
        super().__init__()
        check_text("gpt", encoder, vocab)
        if not encoder.causal:
            raise ValueError(
                "gpt needs a causal encoder, and this encoder sees the token that it has to "
                "predict; gpt-mini would be right"
            )
        self.encoder, self.draw = encoder, RowSampler(plan_windows, collate_windows)

    def view(self, batch: TextBatch, rng: Rng) -> NextTokens:
        """Return the next-token targets. Draws nothing: the plan decides where windows begin."""
        b, n = batch.ids.shape[0], batch.ids.shape[1] - 1
        target = batch.ids[:, 1:]
        chosen = torch.ones_like(target, dtype=torch.bool)
        if batch.valid is not None:
            chosen = batch.valid[:, 1:]
        if batch.starts is not None:  # the first token of a document has no predecessor
            first = torch.zeros_like(batch.ids, dtype=torch.bool)
            first = F.pad(first, (0, 1)).scatter(1, batch.starts, True)
            chosen = chosen & ~first[:, 1 : n + 1]
        inputs = batch._replace(
            ids=batch.ids[:, :-1],
            # padding is at the end, so no real position of a causal encoder sees it
            valid=None,
            starts=None if batch.starts is None else batch.starts.clamp_max(n),
        )
        where = torch.arange(n, device=target.device).expand(b, n)
        return NextTokens(inputs, where, target, chosen)

    def counts(self, view: NextTokens) -> dict[str, Tensor]:
        return {"lm_loss": view.chosen.sum().float()}

    def forward(self, view: NextTokens) -> Step:
        logits = self._scores(view)
        return cross_entropy_step("lm", logits, view.target.flatten(), view.chosen.flatten())

    def inspect(self, view: NextTokens) -> NextTokenExamples:
        """Return every token with the model's predictions for its place."""
        predictions = rank_predictions(self._scores(view), view.where, view.chosen, view.target)
        return NextTokenExamples(
            "The encoder predicts each token from the tokens before it.", view.batch, predictions
        )

    def _scores(self, view: NextTokens) -> Float[Tensor, "m v"]:
        """Return token scores at each position of each row."""
        tokens = self.encoder(view.batch).tokens.flatten(0, 1)
        return F.linear(tokens, self.encoder.token.weight)
