"""What each modality takes from a checkpoint."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Taken:
    """A checkpoint as a run of ours."""

    encoder: dict[str, Any]  # its name and options
    weights: Weights  # of the encoder
    head: Weights  # the rest of the method
    missing: list[str] | None  # what it lacks, to be drawn anew; None: all but a timm model
    notes: list[str]  # what was left out, a sentence each
    found: dict[str, Any]  # what the examples were, as run.yaml records it
    reading: dict[str, Any] = field(default_factory=dict)  # options of reading that follow from it
    kept: Any = None  # what the run folder keeps for reading
