"""The contract that every method keeps."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from selfwise.core.rng import Rng
from selfwise.core.types import LabelSampler, RowSampler, Step, Term, TextEncoder, Vocabulary
from selfwise.distributed.collectives import world_size
from selfwise.losses.cross_entropy import count_correct, masked_cross_entropy
from selfwise.methods.inspection import Inspection
from selfwise.methods.needs import Need

OptimizerName = Literal["adamw", "lamb", "lars", "sgd"]
ScheduleName = Literal["cosine", "linear", "constant", "wsd"]


class PaperDefaults(NamedTuple):
    """How the paper trains the method, as plain data that `resolve_training` completes."""

    optimizer: OptimizerName = "adamw"  # a function of training/optimizers.py
    lr: float = 1e-3  # at `base_batch` examples; see `scaling`
    base_batch: int = 256
    scaling: str = "none"  # how lr grows with the batch: "none", "linear" or "sqrt"
    batch_size: int = 256
    weight_decay: float = 0.0
    warmup: float = 0.1  # share of all steps in which lr rises from 0
    schedule: ScheduleName = "cosine"  # a function of training/schedules.py
    betas: tuple[float, float] = (0.9, 0.999)  # of adamw and lamb
    eps: float = 1e-8  # of adamw and lamb
    grad_clip: float = 0.0  # largest norm of the gradient; 0 for no limit


class Summary(NamedTuple):
    """A method in one row of a table: it predicts something from something, with a loss."""

    predicts: str
    source: str  # from what
    loss: str
    reference: str  # authors, year and arXiv id; "-" for a baseline


class Method(nn.Module):
    """A pretext task: how to make a view of a batch, and the loss of undoing or ignoring it.

    A subclass takes the encoder and keyword-only options, and is found by its file's name.
    """

    modality: ClassVar[str]
    summary: ClassVar[Summary | None] = None  # a row of `selfwise methods`
    labelled: ClassVar[bool] = False  # True: `view` receives Labelled batches
    needs: ClassVar[Mapping[str, Need]] = MappingProxyType({})  # keyword arguments made of the data
    couples_batch: ClassVar[str] = ""  # why micro-batches cannot replace a batch; empty if they can
    paper: ClassVar[PaperDefaults] = PaperDefaults()
    default_encoder: ClassVar[str] = "resnet18"
    # options of the encoder that go with the method, unless the user says otherwise
    encoder_options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    rounded_view: ClassVar[bool] = False  # True: in half precision the view itself is rounded
    carried: ClassVar[tuple[str, ...]] = ()  # parameters that `start` takes over with the encoder
    least_documents: ClassVar[int] = 1  # text only
    default_tokenizer: ClassVar[str] = ""  # a kind that tokenizers can be trained as; text only

    encoder: Any  # an Encoder that is a module
    # how a row is drawn from the data, such as from documents or from the images of a class; a
    # method sets its own, from views/, and the data source of a run calls it. None: each example is
    # a row by itself, as most images are
    draw: RowSampler | LabelSampler | None = None

    def view(self, batch: Any, rng: Rng) -> Any:
        """Make the task out of the batch, on its device; all randomness comes from `rng`."""
        raise NotImplementedError  # the contract: every method has its own

    def counts(self, view: Any) -> dict[str, Tensor]:
        """The count of each loss term, known before the forward pass.

        The loop adds these over micro-batches first, so that each backward pass is already
        divided by the count of the whole batch.
        """
        raise NotImplementedError  # the contract: every method has its own

    def forward(self, view: Any) -> Step:
        """The loss terms and metrics of a view."""
        raise NotImplementedError  # the contract: every method has its own

    @property
    def about(self) -> dict[str, float]:
        """What a user should know of how the task was made; it is shown once, and kept."""
        return {}

    def inspect(self, view: Any) -> Inspection | None:
        """What there is to look at in a view, with the answers that are given now; for reports.

        It runs in eval mode without gradients. None: the pictures of the view are all there is.
        """
        return None

    def after_step(self) -> None:
        """Called once after each optimiser step: averages, queues. Most methods need nothing."""


def mean_over(value: Tensor, n: int) -> Term:
    """A term whose mean over `n` examples is `value`."""
    return Term(value * n, value.new_full((), n))


def scale_by_world_size(step: Step) -> Step:
    """A process's share of a step that every process has computed whole, of the rows of all.

    Added over the processes it is the step again, and so are its gradients.
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
    """Cross-entropy as the term NAME_loss and the share of right answers as the metric
    NAME_accuracy, over the chosen rows; without `chosen`, over all rows."""
    if chosen is None:
        chosen = torch.ones_like(target, dtype=torch.bool)
    count = chosen.sum().float()
    loss, hits = (f(logits, target, chosen) for f in (masked_cross_entropy, count_correct))
    return Step({f"{name}_loss": Term(loss, count)}, {f"{name}_accuracy": Term(hits, count)})


def check_text(
    name: str, encoder: TextEncoder, vocab: Vocabulary, *, roles: tuple[str, ...] = ()
) -> None:
    """Raises ValueError if the tokenizer lacks a special token that method `name` needs, or has
    ids that the encoder has not."""
    for role in roles:
        if getattr(vocab, role) is None:
            raise ValueError(
                f"{name} needs a tokenizer with {_ROLES[role]}, which this one has not; "
                "one that selfwise trains has it: --tokenizer wordpiece"
            )
    if vocab.size > encoder.vocab:
        raise ValueError(
            f"the tokenizer has {vocab.size} tokens, but the encoder only {encoder.vocab}: "
            "give the encoder a vocabulary of that size, or the tokenizer that it was made for"
        )


_ROLES = {
    "mask": "a mask token ([MASK], <mask>)",
    "first": "a token that begins a text ([CLS], <s>)",
    "last": "a token that ends a text ([SEP], </s>)",
}


def check_sees_all(name: str, encoder: TextEncoder) -> None:
    """Raises ValueError if the encoder sees only what comes before, so that masks make no task."""
    if encoder.causal:
        raise ValueError(
            f"{name} needs an encoder that sees both sides of a mask, and this one is causal; "
            "bert-mini would be right"
        )


def check_pairs(name: str, encoder: TextEncoder) -> None:
    """Raises ValueError if the encoder cannot judge a pair of texts."""
    if encoder.pooler is None or encoder.segments < 2:
        lacks = "no pooler" if encoder.pooler is None else f"{encoder.segments} segments"
        raise ValueError(
            f"{name} needs an encoder with a pooler and two segments for its pairs of texts, and "
            f"this one has {lacks}; bert-mini would be right"
        )
