"""Encoders as ONNX models, for use without torch.

Exported with `torch.onnx.export(dynamo=True)`, which needs the extra `export`, and then compared in
onnxruntime with torch. A file whose numbers differ is removed, and so are files of an encoder that
cannot be traced.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from io import StringIO
from pathlib import Path
from textwrap import shorten
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from selfwise.core.extras import check_extra, import_extra
from selfwise.core.files import atomic_write
from selfwise.core.types import WINDOW, AudioBatch, Encoder, SpeechEncoder, TextBatch, TextEncoder

INPUTS, OUTPUTS = ("ids", "valid"), ("tokens", "pooled")
MAX_EXAMPLE_LENGTH = 512  # tokens in a row to trace; a table of word vectors has no longest row
MAX_DIFFERENCE = 1e-4  # difference from torch, of features of order 1, that is still rounding


class PlainTextEncoder(nn.Module):
    """A text encoder from plain tensors to plain tensors."""

    def __init__(self, encoder: TextEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(
        self, ids: Int64[Tensor, "b n"], valid: Bool[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b d"]]:
        features = self.encoder(TextBatch(ids, ids[:, 0], valid))
        assert features.tokens is not None
        return features.tokens, features.pooled


class PlainImageEncoder(nn.Module):
    """An image encoder from plain tensors to plain tensors: those of `outputs` that it has."""

    def __init__(self, encoder: Encoder[Tensor]):
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Float[Tensor, "b c h w"]) -> tuple[Tensor, ...]:
        features = self.encoder(x)
        return (features.pooled,) if features.tokens is None else (features.tokens, features.pooled)


class PlainSpeechEncoder(nn.Module):
    """A speech encoder from plain tensors to plain tensors."""

    def __init__(self, encoder: SpeechEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(
        self, x: Float[Tensor, "b s"]
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b d"]]:
        features = self.encoder(AudioBatch(x, x[:, 0].long()))
        assert features.tokens is not None
        return features.tokens, features.pooled


def export_text(encoder: TextEncoder, path: Path) -> float:
    """Write the encoder; batch and row length stay open. Returns the largest difference from torch.

    Inputs `ids` int64 (b n) and `valid` bool (b n), outputs `tokens` (b n d) and `pooled` (b d).
    Raises ValueError where the extra `export` is not installed, the encoder cannot be traced, or
    onnxruntime finds other numbers than torch.
    """
    vocab, length = encoder.vocab, min(encoder.length, MAX_EXAMPLE_LENGTH)
    length_dim = torch.export.Dim("length", min=2, max=encoder.length)
    shapes = ((3, min(length, 7)), (1, 1), (2, length), (5, max(2, length // 2)))
    return _export_and_check(
        PlainTextEncoder(deepcopy(encoder)),  # the encoder itself stays unchanged
        path,
        [_make_example(b, n, vocab) for b, n in shapes],
        inputs=INPUTS,
        dynamic_shapes=(
            {0: _make_batch_dim(), 1: length_dim},
            {0: _make_batch_dim(), 1: length_dim},
        ),
        select_real=lambda example: example[1],
    )


def export_image(encoder: Encoder[Tensor], path: Path, *, size: int, channels: int) -> float:
    """Write the encoder; the batch stays open. Returns the largest difference from torch.

    Input `x` float32 (b c h w) in 0..1 with sides of `size`, outputs `tokens` (b n d) where the
    encoder has positions, and `pooled` (b d). Raises ValueError where the extra `export` is not
    installed, the encoder cannot be traced, or onnxruntime finds other numbers than torch.
    """
    rows = torch.arange(5 * channels * size * size, dtype=torch.float32)
    x = (rows * 0.7548777 % 1).view(5, channels, size, size)
    return _export_and_check(
        PlainImageEncoder(deepcopy(encoder)),
        path,
        [(x[:3],), (x[:1],), (x,)],
        inputs=("x",),
        dynamic_shapes=({0: _make_batch_dim()},),
    )


def export_speech(encoder: SpeechEncoder, path: Path) -> float:
    """Write the encoder; batch and length stay open. Returns the largest difference from torch.

    Input `x` float32 (b s): clips of one length, mono, 16 kHz, at least 400 samples; outputs
    `tokens` (b t d) and `pooled` (b d). Raises ValueError where the extra `export` is not
    installed, the encoder cannot be traced, or onnxruntime finds other numbers than torch.
    """
    time = torch.arange(5 * 8000, dtype=torch.float64).view(5, 8000)
    noise = (time.sin() * 43758.5453).frac()
    x = (0.1 * (0.05 * time).sin() + 0.2 * noise).float()
    return _export_and_check(
        PlainSpeechEncoder(deepcopy(encoder)),
        path,
        [(x[:3, :4321],), (x[:1, :WINDOW],), (x,)],
        inputs=("x",),
        dynamic_shapes=({0: _make_batch_dim(), 1: torch.export.Dim("samples", min=2 * WINDOW)},),
    )


@runtime_checkable
class OnnxSession(Protocol):
    """The part of onnxruntime's InferenceSession that is used here."""

    def run(
        self, output_names: Sequence[str], input_feed: Mapping[str, np.ndarray]
    ) -> list[np.ndarray]: ...


def _make_batch_dim() -> object:
    return torch.export.Dim("batch", min=1)


def _export_and_check(
    model: nn.Module,
    path: Path,
    examples: Sequence[tuple[Tensor, ...]],
    *,
    inputs: Sequence[str],
    dynamic_shapes: tuple[dict[int, object], ...],  # torch.export.Dim of each open axis
    select_real: Callable[[tuple[Tensor, ...]], Tensor] | None = None,
) -> float:
    """Return the model traced with the first example and tried with all; the largest difference.

    `select_real` returns which tokens (b n) of an example are not padding.
    """
    check_extra("export")
    onnxruntime = import_extra("onnxruntime")
    model = model.cpu().eval()
    with torch.no_grad():
        outputs = OUTPUTS[-len(model(*examples[0])) :]
    try:
        with atomic_write(path) as partial:
            with _silence_torch():
                torch.onnx.export(
                    model,
                    examples[0],
                    partial,
                    input_names=list(inputs),
                    output_names=list(outputs),
                    dynamic_shapes=dynamic_shapes,
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                )
            session = onnxruntime.InferenceSession(partial, providers=["CPUExecutionProvider"])
            return _measure_difference(session, model, examples, inputs, outputs, select_real)
    except Exception as error:  # torch, onnxscript and onnxruntime have dozens of their own
        if isinstance(error, OSError) and error.errno is not None:  # such as a full disk
            raise
        name = getattr(model.encoder, "name", type(model.encoder).__name__)
        raise ValueError(
            f"encoder {name} cannot be exported to ONNX: {_describe_error(error)}; --to "
            "safetensors writes any encoder"
        ) from error


@contextmanager
def _silence_torch() -> Iterator[None]:
    """torch prints pages of code where it cannot trace, warns of axes of one name, and logs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _measure_difference(
    session: OnnxSession,
    model: nn.Module,
    examples: Sequence[tuple[Tensor, ...]],
    inputs: Sequence[str],
    outputs: Sequence[str],
    select_real: Callable[[tuple[Tensor, ...]], Tensor] | None,
) -> float:
    """Return the largest difference from torch, of features above 1 as a share of the largest of
    them.

    Raises RuntimeError if it is more than rounding.
    """
    worst = 0.0
    for example in examples:
        feed = {name: tensor.numpy() for name, tensor in zip(inputs, example)}
        outputs_of_onnx = [torch.from_numpy(array) for array in session.run(list(outputs), feed)]
        with torch.no_grad():
            expected = list(model(*example))
        if select_real is not None:
            mask = select_real(example)
            outputs_of_onnx[0], expected[0] = outputs_of_onnx[0][mask], expected[0][mask]
        for ours, theirs in zip(expected, outputs_of_onnx):
            error = float((ours - theirs).abs().max()) / max(1.0, float(ours.abs().max()))
            worst = max(worst, error) if error == error else float("inf")  # NaN is above any number
    if not worst <= MAX_DIFFERENCE:
        raise RuntimeError(
            f"onnxruntime differs from torch by {worst:.1e}, above {MAX_DIFFERENCE:.0e}"
        )
    return worst


def _describe_error(error: Exception) -> str:
    """Return the innermost reason in one line: torch.export wraps it in pages of advice."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return shorten(f"{type(error).__name__}: {error}", 240, placeholder=" ...")


def _make_example(b: int, n: int, vocab: int) -> tuple[Tensor, Tensor]:
    """Return rows that end in more and more padding."""
    ids = (torch.arange(b * n) * 7919 % vocab).reshape(b, n)
    num_real = (n - torch.arange(b)).clamp_min(1)
    return ids, torch.arange(n) < num_real[:, None]
