"""The contract that every method keeps."""

from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from selfwise.rng import Rng
from selfwise.types import Draw, Step, Term


class Defaults(NamedTuple):
    """How the paper trains the method, as plain data that `train` resolves."""

    optimizer: str = "adamw"  # a function of train/optim.py
    lr: float = 1e-3  # at `base_batch` examples; see `scaling`
    base_batch: int = 256
    scaling: str = "none"  # how lr grows with the batch: "none", "linear" or "sqrt"
    batch: int = 256
    weight_decay: float = 0.0
    warmup: float = 0.1  # share of all steps in which lr rises from 0
    schedule: str = "cosine"  # a function of train/schedule.py
    betas: tuple[float, float] = (0.9, 0.999)  # of adamw and lamb
    eps: float = 1e-8  # of adamw and lamb
    clip: float = 0.0  # largest norm of the gradient; 0 for no limit


class Method(nn.Module):
    """A pretext task: how to make a view of a batch, and the loss of undoing or ignoring it.

    A subclass takes the encoder and keyword-only options, and is found by its file's name.
    """

    modality: ClassVar[str]
    labelled: ClassVar[bool] = False  # True: `view` receives Labelled batches
    couples_batch: ClassVar[str] = ""  # why micro-batches cannot replace a batch; empty if they can
    defaults: ClassVar[Defaults] = Defaults()
    default_encoder: ClassVar[str] = "resnet18"
    default_tokenizer: ClassVar[str] = ""  # a kind that tokenizers can be trained as; text only

    encoder: Any  # an Encoder that is a module
    # how rows are made of documents; a method sets its own, made of functions of views/, which
    # run.py hands to the source. None: examples are single, as images are.
    draw: Draw | None = None

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

    def after_step(self) -> None:
        """Called once after each optimiser step: averages, queues. Most methods need nothing."""


def mean_over(value: Tensor, n: int) -> Term:
    """A term whose mean over `n` examples is `value`."""
    return Term(value * n, value.new_full((), n))
