"""A run folder with its trained method in memory."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selfwise import modalities
from selfwise.methods import Method
from selfwise.runs.build import located, open_newest, opened


@dataclass(frozen=True)
class Run:
    """A run folder with its trained method in memory."""

    folder: Path
    config: dict[str, Any]
    method: Method
    weights: str  # SHA-256 of the weights
    step: int  # optimiser steps done

    @property
    def encoder(self) -> Any:
        """The trained encoder, in the mode in which it was last used."""
        return self.method.encoder

    @property
    def modality(self) -> Any:
        """The module of the run's modality."""
        return modalities.of(type(self.method))

    @cached_property
    def kept(self) -> Any:
        """What the folder keeps for reading: a tokenizer, units, or None."""
        return self.modality.kept(self.folder, open_newest)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of a run on text; only those have one."""
        return self.kept

    @property
    def size(self) -> int:
        """Side of the images that the encoder expects, in pixels."""
        return int(self.config["found"]["size"])

    def unread(self, examples: Any, window: str = "") -> list[str]:
        """Sentences on what of the examples is not read; of images and recordings all is."""
        return getattr(self.modality, "unread", lambda *_: [])(self, examples, window)

    def fresh(self, seed: int) -> Any:
        """The untrained twin of the encoder, with weights from a seed."""
        return self.modality.fresh(self.config, self.kept, seed)


def load(run: str | Path) -> Run:
    """Open a run folder at its newest whole checkpoint, or one of its checkpoints, on the CPU.

    `RUN/checkpoints/step-00000400` opens that step. Raises ValueError if the folder is no run, or
    has no whole checkpoint.
    """
    folder, found = located(run)
    return Run(folder, *opened(folder, found))
