"""The loss on held-out examples, with fixed examples and fixed views."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from selfwise.core.device import to_float64
from selfwise.core.rng import Rng, generator
from selfwise.core.types import Batch, EpochPlan, Step, Term, to_device
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.methods.method import Method

MAX_TOKENS = 2**15  # read at most; with one token in seven a standard error of about 0.03 nats
BATCH_ROWS = 32  # rows

# a batch by its number, and how many there are
HeldOutBatches = tuple[Callable[[int], Batch], int]


@runtime_checkable
class TextRows(Protocol):
    """Rows of text by their number."""

    length: int  # tokens of a row

    def plan(self, epoch: int) -> EpochPlan: ...

    def rows(self, numbers: np.ndarray) -> Batch: ...


def sample_text_batches(source: TextRows, *, tokens: int = MAX_TOKENS) -> HeldOutBatches:
    """Return rows of text from all over a source that gives row r as `source.rows(r)`."""
    n = source.plan(0).size
    rows = np.linspace(0, n - 1, min(n, max(1, tokens // source.length))).astype(np.int64)
    groups = np.split(rows, range(BATCH_ROWS, len(rows), BATCH_ROWS))
    return lambda number: source.rows(groups[number]), len(groups)


class HeldOutLoss:
    """Loss terms and metrics of the method, in float32 and evaluation mode, as `val/NAME`.

    Views are functions of the seed, so every measurement uses equal masks. The run does not change.
    """

    def __init__(self, batches: HeldOutBatches, *, seed: int, every: int):
        self.every, self.seed = every, seed
        self.read, self.count = batches

    def __call__(self, method: Method) -> dict[str, float]:
        return {f"val/{name}": value for name, value in self.measure(method).items()}

    def measure(self, method: Method) -> dict[str, float]:
        """Return the mean of every term and metric over all examples."""
        return {name: float(term.mean) for name, term in self.terms(method).items()}

    def total(self, method: Method) -> float:
        """Return the loss over all examples: the sum of its terms, as in training."""
        return sum(float(term.mean) for term in self._add(method, lambda step: step.terms).values())

    def terms(self, method: Method) -> dict[str, Term]:
        """Return sums and counts of every term and metric over all examples."""
        return self._add(method, lambda step: step.terms | step.metrics)

    @torch.no_grad()
    def _add(self, method: Method, choose: Callable[[Step], dict[str, Term]]) -> dict[str, Term]:
        device = next(method.parameters()).device
        sums: dict[str, Term] = {}
        with evaluation_mode(method, device):
            for number in range(self.count):
                rng = Rng(generator(self.seed, "held out", number), seed=self.seed)
                step = method(method.view(to_device(self.read(number), device), rng))
                for name, (total, count) in choose(step).items():
                    total, count = to_float64(total), to_float64(count)
                    previous = sums.get(
                        name, Term(torch.zeros_like(total), torch.zeros_like(count))
                    )
                    sums[name] = Term(previous.sum + total, previous.count + count)
        return sums

    def warning(self, values: dict[str, float]) -> None:
        """Return None: a loss alone does not show what is wrong."""
