"""Opening a run folder, with its trained method in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from selfwise.core.plugins import allow_plugins
from selfwise.methods import Method
from selfwise.modalities import find_modality
from selfwise.modalities.modality import AnyModality, EncoderFactory, Examples
from selfwise.runs.build import (
    LoadedRun,
    RunCode,
    build_untrained,
    find_checkpoint,
    find_code,
    load_at,
)
from selfwise.runs.names import name_encoder
from selfwise.runs.run_yaml import RunRecord, read_record
from selfwise.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Run:
    """A run folder with its trained method in memory."""

    folder: Path
    loaded: LoadedRun

    @property
    def record(self) -> RunRecord:
        """The contents of run.yaml."""
        return self.loaded.record

    @property
    def method(self) -> Method:
        """The trained method, in the mode in which it was last used."""
        return self.loaded.method

    @property
    def weights(self) -> str:
        """SHA-256 of the weights."""
        return self.loaded.weights

    @property
    def step(self) -> int:
        """The number of optimizer steps done."""
        return self.loaded.step

    @property
    def encoder(self) -> Any:
        """The trained encoder, in the mode in which it was last used."""
        return self.method.encoder

    @property
    def modality(self) -> AnyModality:
        return find_modality(self.record.modality)

    @property
    def facts(self) -> Any:
        """Facts about the data from the folder; for text, with the tokenizer."""
        return self.loaded.facts

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of a run on text; other runs have none."""
        tokenizer: Tokenizer = self.facts.tokenizer
        return tokenizer

    @property
    def size(self) -> int:
        """Side of the images that the encoder expects, in pixels."""
        return int(self.record.info.size)

    def describe_unread(self, examples: Examples, window: str = "") -> list[str]:
        """Return sentences on parts of the examples that are not read."""
        return self.modality.describe_unread(self, examples, window)

    def build_untrained(self, seed: int) -> Any:
        """Return the untrained version of the encoder, with weights from a seed."""
        return build_untrained(self.record, self.loaded.code, self.facts, seed)

    def __repr__(self) -> str:
        steps = f"step {self.step} of {self.record.steps}"
        return (
            f"Run({str(self.folder)!r}, {self.record.method}, {self.record.encoder_name}, {steps})"
        )

    def _repr_html_(self) -> str:
        from html import escape

        rows = {
            "run": str(self.folder),
            "method": self.record.method,
            "encoder": self.record.encoder_name,
            "data": self.record.data,
            "step": f"{self.step:,} of {self.record.steps:,}",
            "parameters": f"{sum(p.numel() for p in self.encoder.parameters()):,}",
        }
        lines = [f"<tr><th>{n}</th><td>{escape(value)}</td></tr>" for n, value in rows.items()]
        return f"<table>{''.join(lines)}</table>"


def load(
    run: str | Path,
    *,
    plugins: Sequence[str] = (),
    method: type[Method] | None = None,
    encoder: EncoderFactory | nn.Module | None = None,
) -> Run:
    """Open a run folder at its newest whole checkpoint, or one of its checkpoints, on the CPU.

    Args:
        run: folder of the run; `RUN/checkpoints/step-00000400` opens that step.
        plugins: modules and .py files outside selfwise that the run may import.
        method: the class of a run whose method was defined in Python.
        encoder: the function or module of a run whose encoder was passed in Python.

    Raises ValueError if the folder is not a run, has no whole checkpoint, or names code that is
    neither allowed nor passed.
    """
    allow_plugins(plugins)
    folder, saved = find_checkpoint(run)
    code = resolve_code(folder, read_record(folder), method=method, encoder=encoder)
    return Run(folder, load_at(folder, saved, code))


def resolve_code(
    folder: Path,
    record: RunRecord,
    *,
    method: type[Method] | None = None,
    encoder: EncoderFactory | nn.Module | None = None,
) -> RunCode:
    """Return the code that a run's record names; `method` and `encoder` as for `load`."""
    factory = None if encoder is None else name_encoder(encoder)[1]
    return find_code(folder, record, method=method, encoder=factory)
