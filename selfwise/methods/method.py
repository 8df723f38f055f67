"""The contract of every method."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from selfwise.core.rng import Rng
from selfwise.core.types import LabelSampler, RowSampler, Step, Term, TextEncoder, Vocabulary
from selfwise.distributed.collectives import world_size
from selfwise.losses.cross_entropy import count_correct, masked_cross_entropy
from selfwise.methods.default_rules import DefaultRule
from selfwise.methods.inspection import Inspection
from selfwise.methods.needs import Need

OptimizerName = Literal["adamw", "lamb", "lars", "sgd", "sparse_sgd"]
ScheduleName = Literal["cosine", "linear", "constant", "wsd"]


class PaperDefaults(NamedTuple):
    """How the paper trains the method, as plain data that `resolve_training` completes."""

    optimizer: OptimizerName = "adamw"  # a function of training/optimizers.py
    lr: float = 1e-3  # at `base_batch` examples; see `scaling`
    base_batch: int = 256
    scaling: str = "none"  # how lr grows with the batch: "none", "linear" or "sqrt"
    batch_size: int = 256
    weight_decay: float = 0.0
    warmup: float = 0.1  # fraction of all steps in which lr rises from 0
    schedule: ScheduleName = "cosine"  # a function of training/schedules.py
    betas: tuple[float, float] = (0.9, 0.999)  # of adamw and lamb
    eps: float = 1e-8  # of adamw and lamb
    grad_clip: float = 0.0  # largest norm of the gradient; 0 for no limit
    epochs: float = 100.0  # without steps, epochs or minutes


class Summary(NamedTuple):
    """One row of the table of methods: what a method predicts, from what, and with which loss."""

    predicts: str
    source: str  # what it predicts from
    loss: str
    reference: str  # authors, year and arXiv id; "-" for a baseline


class Method(nn.Module):
    """A pretext task: how to make a view of a batch, and the loss on that view.

    A subclass takes the encoder and keyword-only options. Its file name is its name.
    """

    modality: ClassVar[str]
    summary: ClassVar[Summary | None] = None  # a row of `selfwise methods`
    labelled: ClassVar[bool] = False  # True: `view` receives batches with labels
    needs: ClassVar[Mapping[str, Need]] = MappingProxyType({})  # keyword arguments from the data
    couples_batch: ClassVar[str] = ""  # why micro-batches cannot replace a batch; empty if they can
    paper: ClassVar[PaperDefaults] = PaperDefaults()
    rules: ClassVar[
        tuple[DefaultRule, ...]
    ] = ()  # defaults for data and budgets unlike the paper's
    # values of its options that a search (--tune-options) tries, where others than half and double
    # the default are sensible
    candidates: ClassVar[Mapping[str, Sequence[object]]] = MappingProxyType({})
    default_encoder: ClassVar[str] = "resnet18"
    # options of the encoder that the method sets, unless the user sets them
    encoder_options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    rounded_view: ClassVar[bool] = False  # True: in half precision the view itself is rounded
    # True: gradients hold only the rows of tables that a step reads; needs sparse_sgd
    sparse_gradients: ClassVar[bool] = False
    carried: ClassVar[tuple[str, ...]] = ()  # parameters that `init_from` copies with the encoder
    least_documents: ClassVar[int] = 1  # text only
    # text only; True: it learns whether sentences follow each other, so documents need several
    learns_pairs: ClassVar[bool] = False
    # options that, where they are set, make views depend on `rng.progress`; each is an attribute of
    # the method too. A longer run then has other views from its first step
    progress_options: ClassVar[tuple[str, ...]] = ()
    default_tokenizer: ClassVar[str] = ""  # a kind of tokenizer that can be trained; text only

    encoder: Any  # an Encoder that is a module
    # how to draw a row from the data, such as from documents or from the images of a class. A
    # method sets its own sampler, from views/, and the data source of a run calls it. None: each
    # example is a row, as with most images
    draw: RowSampler | LabelSampler | None = None

    @classmethod
    def paper_for(cls, options: Mapping[str, object]) -> PaperDefaults:
        """Return how the paper trains the method with these options."""
        return cls.paper

    @property
    def views_change(self) -> bool:
        """Whether views depend on `rng.progress`."""
        return any(getattr(self, name) is not None for name in self.progress_options)

    def view(self, batch: Any, rng: Rng) -> Any:
        """Return the task made from the batch, on its device; all randomness comes from `rng`."""
        raise NotImplementedError  # the contract: every method defines it

    def counts(self, view: Any) -> dict[str, Tensor]:
        """Return the count of each loss term, which is available before the forward pass.

        The loop first adds these counts over micro-batches, so that each backward pass already
        divides by the count of the whole batch.
        """
        raise NotImplementedError  # the contract: every method defines it

    def forward(self, view: Any) -> Step:
        """Return the loss terms and metrics of a view."""
        raise NotImplementedError  # the contract: every method defines it

    @property
    def about(self) -> dict[str, float]:
        """Numbers on how the task was made; the run prints them once and records them."""
        return {}

    def inspect(self, view: Any) -> Inspection | None:
        """Return what a report shows of a view, with the current predictions.

        Called in eval mode without gradients. None: the report shows only the pictures of the view.
        """
        return None

    def after_step(self) -> None:
        """Update averages or queues after each optimizer step. Most methods need nothing."""


def mean_over(value: Tensor, n: int) -> Term:
    """Return a term whose mean over `n` examples is `value`."""
    return Term(value * n, value.new_full((), n))


def scale_by_world_size(step: Step) -> Step:
    """Return this process's fraction of a step that every process computed on the rows of all.

    The sum over the processes is the step again, and so is the sum of the gradients.
    """
    n = world_size()
    if n == 1:
        return step
    terms, metrics = (
        {name: Term(term.sum / n, term.count / n) for name, term in part.items()} for part in step
    )
    return Step(terms, metrics)


def cross_entropy_step(
    name: str,
    logits: Float[Tensor, "m v"],
    target: Int64[Tensor, "m"],
    chosen: Bool[Tensor, "m"] | None = None,
) -> Step:
    """Return cross-entropy as the term NAME_loss and the fraction of correct predictions as the
    metric NAME_accuracy, over the chosen rows; without `chosen`, over all rows."""
    if chosen is None:
        chosen = torch.ones_like(target, dtype=torch.bool)
    count = chosen.sum().float()
    loss, hits = (f(logits, target, chosen) for f in (masked_cross_entropy, count_correct))
    return Step({f"{name}_loss": Term(loss, count)}, {f"{name}_accuracy": Term(hits, count)})


def check_text(
    name: str, encoder: TextEncoder, vocab: Vocabulary, *, roles: tuple[str, ...] = ()
) -> None:
    """Raise ValueError if the tokenizer lacks a special token that method `name` needs, or has more
    tokens than the encoder."""
    for role in roles:
        if getattr(vocab, role) is None:
            raise ValueError(
                f"{name} needs a tokenizer with {_ROLES[role]}, and this one has none: "
                "--tokenizer wordpiece trains one that has"
            )
    if vocab.size > encoder.vocab:
        raise ValueError(
            f"the tokenizer has {vocab.size} tokens, but the encoder only {encoder.vocab}: "
            "give the encoder a vocabulary of that size, or use the encoder's own tokenizer"
        )


_ROLES = {
    "mask": "a mask token ([MASK], <mask>)",
    "first": "a token that begins a text ([CLS], <s>)",
    "last": "a token that ends a text ([SEP], </s>)",
}


def check_sees_all(name: str, encoder: TextEncoder) -> None:
    """Raise ValueError for an encoder that does not see both sides of a mask: one that is causal,
    or a table of word vectors."""
    if not getattr(encoder, "contextual", True):
        raise ValueError(
            f"{name} needs an encoder that sees both sides of a mask, and a table of word vectors "
            "sees neither; bert-mini would be right"
        )
    if encoder.causal:
        raise ValueError(
            f"{name} needs an encoder that sees both sides of a mask, and this encoder is causal; "
            "bert-mini would be right"
        )


def check_pairs(name: str, encoder: TextEncoder) -> None:
    """Raise ValueError if the encoder cannot classify a pair of texts."""
    if encoder.pooler is None or encoder.segments < 2:
        lacks = "no pooler" if encoder.pooler is None else f"{encoder.segments} segments"
        raise ValueError(
            f"{name} needs an encoder with a pooler and two segments for its pairs of texts, and "
            f"this encoder has {lacks}; bert-mini would be right"
        )
