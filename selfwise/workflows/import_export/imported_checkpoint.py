"""A checkpoint of other software, as each modality's reader returns it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from selfwise.core.data_info import DataInfo
from selfwise.tokenizers.tokenizer import Tokenizer

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class ImportOptions:
    """Options of an import that only some families take."""

    tokenizer: str = ""
    method: str = ""
    encoder: str = ""
    image_size: int = 0

    def list_given(self) -> dict[str, str | int]:
        """Return the options that the user has set."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True)
class ImportedCheckpoint:
    """A checkpoint in selfwise's terms."""

    encoder: str  # its name
    encoder_options: Mapping[str, Any]
    weights: Weights  # of the encoder
    head: Weights  # the rest of the method
    missing: list[str] | None  # weights it lacks, to be drawn at random; None: all but a timm model
    notes: list[str]  # what was left out, a sentence each
    info: DataInfo  # facts on its training examples
    reading: Mapping[str, Any] = field(default_factory=dict)  # options that follow from it
    needs: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    tokenizer: Tokenizer | None = None
