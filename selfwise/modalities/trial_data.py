"""The examples of short trials, by which a search compares settings."""

from dataclasses import dataclass

from selfwise.evaluation.monitors.held_out_loss import HeldOutBatches
from selfwise.training.loop import Batches


@dataclass(frozen=True)
class TrialData:
    """Batches for short trials of a setting, and examples that no trial trains on."""

    source: Batches
    held_out: HeldOutBatches
    cost: int
    """Steps that read as many examples as a measurement; a step also has a backward pass."""
